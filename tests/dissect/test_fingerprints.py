"""Fingerprints are those that their authors published, and QUIC's first packet opens as RFC 9001 says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from govsec.crypto.quicinitial import open_client_initial
from govsec.dissect.fingerprints import ClientOffer, hassh, is_grease, ja3, ja3_text, ja4
from govsec.dissect.messages import QuicInitial, TlsClientHello
from govsec.errors import FormatError, IntegrityError
from govsec.testing.packets import START_NS, Frame, station, udp_frame
from tests.dissect.dissected import dissect, only

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent.parent / "vectors" / "fingerprints.json").read_text())


def offer(**given: Any) -> ClientOffer:
    plain = {
        "legacy_version": 0x0303, "ciphers": (), "extensions": (), "groups": (), "point_formats": (), "versions": (),
        "signatures": (), "alpn": (), "has_server_name": False,
    }  # fmt: skip
    return ClientOffer(**(plain | given))


@pytest.mark.parametrize("vector", VECTORS["ja3"], ids=lambda vector: vector["ja3"])
def test_ja3_is_that_of_its_readme(vector: dict[str, Any]) -> None:
    made = offer(
        legacy_version=vector["version"],
        ciphers=tuple(vector["ciphers"]),
        extensions=tuple(vector["extensions"]),
        groups=tuple(vector["groups"]),
        point_formats=tuple(vector["points"]),
    )

    assert ja3_text(made) == vector["text"]
    assert ja3(made) == vector["ja3"]


def _ja4_offer(**other: Any) -> ClientOffer:
    vector = VECTORS["ja4"]
    lists = {name: tuple(int(value, 16) for value in vector[name]) for name in ("ciphers", "extensions", "signatures")}
    return offer(
        **({"versions": (0x0304, 0x0303), "alpn": (b"h2", b"http/1.1"), "has_server_name": True} | lists | other)
    )


def test_ja4_is_that_of_its_technical_details() -> None:
    assert ja4(_ja4_offer()) == VECTORS["ja4"]["ja4"]


def test_ja4_says_what_else_there_is_to_say() -> None:
    rest = VECTORS["ja4"]["ja4"][10:]
    assert ja4(_ja4_offer(), is_quic=True)[:10] == "q13d1516h2"
    assert ja4(_ja4_offer(has_server_name=False, versions=())) == "t12i1516h2" + rest
    assert ja4(_ja4_offer(alpn=(b"\xab\xcd",)))[8:10] == "ad"
    assert ja4(_ja4_offer(alpn=(b"",)))[8:10] == "00"
    assert ja4(offer(legacy_version=0x0101)) == "t00i000000_000000000000_000000000000"


def test_order_and_grease_do_not_change_ja4_and_grease_does_not_change_ja3() -> None:
    plain = _ja4_offer()
    greased = _ja4_offer(
        ciphers=(0x2A2A, *plain.ciphers[::-1]), extensions=(0xFAFA, *plain.extensions[::-1]), versions=(0x1A1A, 0x0304)
    )

    assert [value for value in range(0x10000) if is_grease(value)] == [0x0A0A + 0x1010 * step for step in range(16)]
    assert ja4(greased) == ja4(plain)
    assert ja3(_ja4_offer(ciphers=(0x0A0A, *plain.ciphers))) == ja3(plain)
    assert ja3(greased) != ja3(plain)


@pytest.mark.parametrize("vector", VECTORS["hassh"], ids=lambda vector: vector["hassh"])
def test_hassh_is_that_of_its_readme(vector: dict[str, Any]) -> None:
    assert hassh(*vector["lists"]) == vector["hassh"]


def _protected(frames: bytes, *, header: bytes, number: int) -> bytes:
    """A client's Initial packet of RFC 9001 A.2's connection with other frames; keys as printed there."""
    vector = VECTORS["quic"]
    nonce = (int(vector["iv"], 16) ^ number).to_bytes(12, "big")
    sealed = AESGCM(bytes.fromhex(vector["key"])).encrypt(nonce, frames, header)
    mask = Cipher(AES(bytes.fromhex(vector["hp"])), ECB()).encryptor().update(sealed[:16])
    masked = bytes(a ^ b for a, b in zip(header[-4:], mask[1:], strict=False))
    return bytes([header[0] ^ mask[0] & 0x0F]) + header[1:-4] + masked + sealed


def _rfc_packet() -> bytes:
    vector = VECTORS["quic"]
    frames = bytes.fromhex(vector["crypto_frame"]).ljust(vector["payload_size"], b"\0")
    packet = _protected(frames, header=bytes.fromhex(vector["header"]), number=2)
    assert packet.hex().startswith(vector["protected_begins"])
    assert packet.hex().endswith(vector["protected_ends"])
    assert len(packet) == 1200
    return packet


def test_the_first_packet_of_quic_opens_and_names_the_server() -> None:
    frame = Frame(START_NS, udp_frame(station(5), 50000, station(20), 4433, _rfc_packet()))

    messages = dissect([frame, frame])

    (initial,) = only(messages, QuicInitial)
    assert (initial.version, initial.target_connection.hex()) == (1, "8394c8f03e515708")
    (hello,) = only(messages, TlsClientHello)
    assert (hello.server_name, hello.alpn, hello.version, hello.is_quic) == ("example.com", ("alpn",), 0x0304, True)
    assert hello.ja4.startswith("q13d0211an_")


def test_a_hello_in_pieces_over_two_datagrams_is_put_together() -> None:
    hello = bytes.fromhex(VECTORS["quic"]["crypto_frame"])[4:]
    cut = 100

    def datagram(number: int, position: int, piece: bytes) -> Frame:
        frames = b"\x01\x06" + (0x4000 | position).to_bytes(2, "big") + (0x4000 | len(piece)).to_bytes(2, "big") + piece
        header = bytes.fromhex(VECTORS["quic"]["header"])[:-4] + number.to_bytes(4, "big")
        packet = _protected(frames.ljust(1162, b"\0"), header=header, number=number)
        return Frame(START_NS + number, udp_frame(station(5), 50000, station(20), 443, packet))

    messages = dissect([datagram(0, cut, hello[cut:]), datagram(1, 0, hello[:cut])])

    assert [m.server_name for m in only(messages, TlsClientHello)] == ["example.com"]
    assert len(only(messages, QuicInitial)) == 1


def test_a_changed_packet_of_quic_does_not_open() -> None:
    packet = bytearray(_rfc_packet())
    packet[700] ^= 1

    with pytest.raises(IntegrityError):
        open_client_initial(bytes(packet), version=1, key_id=bytes.fromhex("8394c8f03e515708"), number_at=18)
    with pytest.raises(FormatError):
        open_client_initial(bytes(packet), version=7, key_id=b"", number_at=18)
    with pytest.raises(FormatError):
        open_client_initial(bytes(packet[:30]), version=1, key_id=b"", number_at=18)
