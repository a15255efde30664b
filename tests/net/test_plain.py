"""The short way through plain packets says what the long way says, and leaves to that what is not plain."""

from __future__ import annotations

import random

import numpy as np
import pytest

from govsec.net.decode import read_any
from govsec.net.gather import SLACK
from govsec.net.plain import read_plain
from tests.net.frames import icmp, ipv4, ipv6, tcp, udp

ONE, OTHER = "192.0.2.1", "198.51.100.7"
SIX, OTHER_SIX = "2001:db8::1", "2001:db8:7::9"
#: By whether a packet is IPv6.
TYPES = (0x0800, 0x86DD)
SEED = 20261122


def packet_of(rng: random.Random, is_six: bool) -> bytes:
    """A packet, two times of three with some byte of its headers changed."""
    body = rng.randbytes(rng.choice((0, 1, 30)))
    ports = rng.choice((53, 4789, 50_000)), rng.choice((4789, 443, 40_000))
    options = b"\1" * rng.choice((0, 12))
    inner = rng.choice(
        (
            (6, tcp(*ports, rng.randrange(256), body, sequence=7, acknowledgment=9, options=options)),
            (17, udp(*ports, body)),
            (rng.choice((1, 58)), icmp(rng.choice((0, 8, 3, 128)), rng.randrange(4), body)),
        )
    )
    if is_six:
        packet = bytearray(ipv6(SIX, OTHER_SIX, *inner, size=rng.choice((None, None, 0))))
        places: tuple[int, ...] = (0, 4, 5, 5, 6, 6, 44, 45, 45, 52)
    else:
        packet = bytearray(ipv4(ONE, OTHER, *inner, fragment=rng.choice((0, 0, 0, 0x4000, 0x2000, 3))))
        places = (0, 2, 3, 3, 6, 7, 9, 24, 25, 25, 32)
    if rng.random() < 0.67:
        packet[rng.choice(places) % len(packet)] = rng.choice((0, 1, 6, 17, 20, 44, 58, 0x45, 0x50, 0x60, 0xFF))
    return bytes(packet)


@pytest.mark.parametrize("share_six", [0.0, 0.3, 1.0])
def test_plain_packets_have_the_columns_that_any_packet_gets_and_no_fault(share_six: float) -> None:
    rng = random.Random(SEED)
    are_six = [rng.random() < share_six for _ in range(6000)]
    made = [packet_of(rng, is_six) for is_six in are_six]
    sent = np.array([len(packet) + rng.choice((0, 0, 18)) for packet in made], np.int64)
    held = np.array([rng.choice((len(packet), len(packet), rng.randrange(len(packet)))) for packet in made], np.int64)
    at = np.concatenate([[0], np.cumsum([len(packet) for packet in made])[:-1]]).astype(np.int64)
    data = memoryview(b"".join(made) + bytes(SLACK))
    # Now and then the Ethernet type lies; when all are IPv6, it does not.
    is_lie = [0 < share_six < 1 and rng.random() < 0.2 for _ in made]
    ethertype = np.array([TYPES[a != b] for a, b in zip(are_six, is_lie, strict=True)], np.uint16)
    faults = np.zeros(len(made), np.uint16)

    inside, is_plain = read_plain(data, at, ethertype, held.astype(np.uint32), sent.astype(np.uint32))
    others = read_any(data, at, ethertype, at + held, at + sent, faults)

    assert 500 < np.count_nonzero(is_plain) < 5000, f"seed {SEED}"
    assert not faults[is_plain].any()
    for name, column in inside.columns().items():
        expected = getattr(others, name)
        assert column.dtype == expected.dtype, name
        assert np.array_equal(column[is_plain], expected[is_plain]), f"{name}, seed {SEED}"


def test_an_ordinary_packet_is_plain() -> None:
    made = [
        ipv4(ONE, OTHER, 6, tcp(1, 2, 0x18, b"x", options=b"\1" * 12)),
        ipv4(ONE, OTHER, 17, udp(1, 2, b"x")),
        ipv4(ONE, OTHER, 1, icmp(8)),
        ipv6(SIX, OTHER_SIX, 6, tcp(1, 2, 0x18, b"x", options=b"\1" * 12)),
        ipv6(SIX, OTHER_SIX, 17, udp(1, 2, b"x")),
        ipv6(SIX, OTHER_SIX, 58, icmp(128)),
    ]
    sizes = np.array([len(packet) for packet in made], np.uint32)
    at = np.concatenate([[0], np.cumsum(sizes[:-1], dtype=np.int64)])
    data = memoryview(b"".join(made) + bytes(SLACK))

    _, is_plain = read_plain(data, at, np.array(TYPES, np.uint16).repeat(3), sizes, sizes)

    assert is_plain.all()
