"""Hellos and certificates of TLS and TLCP, and what SSH, RDP, LDAP and DCE/RPC say before they encrypt."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

import pytest

from govsec.dissect.dcerpc import NETLOGON, SERVICE_CONTROL
from govsec.dissect.fingerprints import hassh
from govsec.dissect.messages import (
    DceRpcBind,
    DceRpcCall,
    LdapMessage,
    LoginOutcome,
    Message,
    NtlmMessage,
    ProtocolError,
    RdpRequest,
    RdpResponse,
    SmbCommand,
    SshBanner,
    SshKeyExchange,
    TlsCertificates,
    TlsClientHello,
    TlsServerHello,
)
from govsec.dissect.recognise import recognise
from govsec.testing import trafficlogins, trafficsmb, traffictls
from govsec.testing.dercertificates import make_certificate
from govsec.testing.packets import ACK, MILLISECOND, PSH, START_NS, SYN, Frame, station, tcp_frame
from tests.dissect.dissected import dissect, only

CLIENT, SERVER = station(5), station(20)


def talk(*said: tuple[bool, bytes], port: int = 4433) -> list[Message]:
    """What a connection tells on which these bytes are said, by the client (True) or the server, one segment each."""
    opening = tcp_frame(CLIENT, 50000, SERVER, port, SYN)
    frames, sequence = [Frame(START_NS - MILLISECOND, opening)], {True: 1, False: 1}
    for number, (by_client, data) in enumerate(said):
        one, other, ports = (CLIENT, SERVER, (50000, port)) if by_client else (SERVER, CLIENT, (port, 50000))
        frame = tcp_frame(one, ports[0], other, ports[1], PSH | ACK, sequence=sequence[by_client], payload=data)
        frames.append(Frame(START_NS + number * MILLISECOND, frame))
        sequence[by_client] += len(data)
    return dissect(frames)


def test_a_tls_1_3_connection_tells_both_hellos() -> None:
    rng = Random(1)

    messages = talk((True, traffictls.client_hello(rng, "www.example.cn")), (False, traffictls.server_flight(rng)))

    client, server = messages
    assert isinstance(client, TlsClientHello) and isinstance(server, TlsServerHello)
    assert (client.server_name, client.alpn, client.is_quic) == ("www.example.cn", ("h2", "http/1.1"), False)
    assert client.ja4.startswith("t13d") and len(client.ja3) == 32
    assert (server.version, server.server_name, server.sender) == (0x0304, "www.example.cn", SERVER.address)


def test_hellos_in_small_records_and_segments_are_the_same() -> None:
    record = traffictls.client_hello(Random(1), "www.example.cn")
    message = record[5:]
    in_records = b"".join(traffictls.record(22, message[at : at + 50]) for at in range(0, len(message), 50))
    in_bytes = talk(*((True, in_records[at : at + 1]) for at in range(len(in_records))))

    (one,), (other,) = only(talk((True, record)), TlsClientHello), only(in_bytes, TlsClientHello)
    assert (one.ja3, one.ja4, one.server_name) == (other.ja3, other.ja4, other.server_name)


@pytest.mark.parametrize("is_sm2", [False, True])
def test_certificates_of_tls_1_2_and_tlcp_are_read(is_sm2: bool) -> None:
    build = traffictls.expired_sm2_certificate if is_sm2 else traffictls.expired_certificate

    messages = dissect(build(Random(1)))

    chains = only(messages, TlsCertificates)
    assert chains and not only(messages, ProtocolError)
    for chain in chains:
        assert chain.unreadable_count == 0 and not chain.is_originator
        assert chain.certificates[0].not_after.timestamp() * 1e9 < chain.time_ns
        assert (chain.certificates[0].key == "sm2") is is_sm2
        assert chain.server_name in chain.certificates[0].names
        assert chain.version == (0x0101 if is_sm2 else 0x0303)


@pytest.mark.parametrize("record_size", [2000, 16_000, 16_384])
def test_of_a_chain_longer_than_is_read_the_first_certificates_are_told(record_size: int) -> None:
    rng = Random(1)
    when = datetime(2026, 1, 1, tzinfo=UTC)
    leaf = make_certificate(rng, subject="a.example", issuer="b", not_before=when, not_after=when + timedelta(days=9))
    said = traffictls.clear_flight(rng, [leaf, *([leaf] * 3), bytes(20_000)])[5:]
    flight = b"".join(traffictls.record(22, said[at : at + record_size]) for at in range(0, len(said), record_size))
    hello = traffictls.client_hello(rng, "a.example", is_13=False)

    messages = talk((True, hello), *((False, flight[at : at + 1400]) for at in range(0, len(flight), 1400)))

    assert len(only(messages, TlsServerHello)) == 1
    (chain,) = only(messages, TlsCertificates)
    assert [facts.subject for facts in chain.certificates] == ["CN=a.example,O=govsec test"] * 4


def test_ssh_tells_banners_and_what_each_side_offers() -> None:
    messages = dissect(trafficlogins.ssh_guessing(Random(1), connections_count=1))

    banners = {m.is_originator: m.text[:8] for m in only(messages, SshBanner)}
    assert banners == {True: "SSH-2.0-", False: "SSH-2.0-"}
    assert len(only(messages, SshKeyExchange)) == 2


def test_a_side_of_ssh_is_known_by_the_lists_of_its_own_direction() -> None:
    lists = [b"kex", b"key", b"enc-c", b"enc-s", b"mac-c", b"mac-s", b"zip-c", b"zip-s", b"", b""]
    payload = b"\x14" + bytes(16) + b"".join(struct.pack("!I", len(names)) + names for names in lists) + bytes(5)
    packet = struct.pack("!IB", len(payload) + 5, 4) + payload + bytes(4)

    messages = talk((False, b"SSH-2.0-server\r\n" + packet), (True, b"SSH-2.0-client\r\n" + packet))

    found = {m.is_originator: (m.hassh, m.software) for m in only(messages, SshKeyExchange)}
    assert found[True] == (hassh("kex", "enc-c", "mac-c", "zip-c"), "SSH-2.0-client")
    assert found[False] == (hassh("kex", "enc-s", "mac-s", "zip-s"), "SSH-2.0-server")


def test_rdp_tells_who_comes_and_what_is_agreed() -> None:
    messages = dissect(trafficlogins.rdp_guessing(Random(1), connections_count=2))

    assert len(only(messages, RdpRequest)) == len(only(messages, RdpResponse)) == 2
    cookie = b"Cookie: mstshash=administr\r\n" + struct.pack("<BBHI", 1, 0, 8, 3)
    request = b"\3\0" + struct.pack("!H", 11 + len(cookie)) + bytes([6 + len(cookie), 0xE0]) + bytes(5) + cookie
    failure = b"\3\0\0\x13\x0e\xd0" + bytes(5) + struct.pack("<BBHI", 3, 0, 8, 5)
    asked, answered = talk((True, request), (False, failure))
    assert isinstance(asked, RdpRequest) and (asked.user, asked.protocols) == ("administr", 3)
    assert isinstance(answered, RdpResponse) and (answered.protocol, answered.failure) == (None, 5)


def _ldap(number: int, operation: bytes) -> bytes:
    body = bytes([2, 1, number]) + operation
    return bytes([0x30, len(body)]) + body


def _element(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return bytes([tag, len(body)]) + body


def test_ldap_tells_log_ins_without_their_password_and_what_a_search_found() -> None:
    name, secret = b"cn=admin,dc=example", b"Tr0ub4dor"
    bind = _element(0x60, b"\2\1\3", _element(4, name), _element(0x80, secret))
    refused = _element(0x61, b"\x0a\1\x31", _element(4), _element(4, b"no"))
    kinds = (b"javaCodeBase", b"objectClass")
    attributes = b"".join(_element(0x30, _element(4, kind), _element(0x31)) for kind in kinds)
    entry = _element(0x64, _element(4, b"a"), _element(0x30, attributes))

    messages = talk((True, _ldap(1, bind)), (False, _ldap(1, refused) + _ldap(2, entry)), port=1389)

    assert [(m.operation, m.name, m.result) for m in only(messages, LdapMessage)] == [
        ("bind_request", "cn=admin,dc=example", None),
        ("bind_response", "", 49),
        ("search_entry", "a", None),
    ]
    assert only(messages, LdapMessage)[2].attributes == ("javaCodeBase", "objectClass")
    (outcome,) = only(messages, LoginOutcome)
    assert (outcome.service, outcome.user, outcome.is_accepted) == ("ldap", "cn=admin,dc=example", False)
    assert outcome.is_originator
    assert secret.decode() not in repr(messages)


def test_smb_tells_who_logs_in_to_which_share_and_what_is_opened_there() -> None:
    messages = dissect(trafficsmb.admin_shares(Random(1), hosts_count=2))

    commands = only(messages, SmbCommand)
    assert {m.tree for m in commands if m.command == "tree_connect"} == {
        rf"\\{station(110).address}\ADMIN$",
        rf"\\{station(111).address}\C$",
    }
    created = [m for m in commands if m.command == "create" and m.is_response]
    assert [(m.file_name, m.status, m.tree is not None) for m in created] == [(r"Temp\kx81.exe", 0, True)] * 2
    authenticated = [m for m in only(messages, NtlmMessage) if m.kind == "authenticate"]
    assert {(m.user, m.domain) for m in authenticated} == {("administrator", "OFFICE")}
    assert [(m.user, m.is_accepted) for m in only(messages, LoginOutcome)] == [("administrator", True)] * 2


def test_guessed_passwords_over_smb_are_refused_log_ins() -> None:
    outcomes = only(dissect(trafficsmb_guessing()), LoginOutcome)

    assert outcomes and all(not m.is_accepted and m.service == "smb" for m in outcomes)


def trafficsmb_guessing() -> list[Frame]:
    return trafficlogins.smb_guessing(Random(1), connections_count=3)


def test_calls_over_a_pipe_are_told_with_their_interface() -> None:
    messages = dissect(trafficsmb.service_creation(Random(1), hosts_count=1))

    assert {m.interface for m in only(messages, DceRpcBind)} == {SERVICE_CONTROL}
    calls = [(m.operation, m.status) for m in only(messages, DceRpcCall) if m.is_response]
    assert calls == [(15, 0), (12, 0), (19, 0)]
    assert [m.name for m in only(messages, DceRpcCall) if m.operation == 12 and not m.is_response] == ["KX81SVC"]


def test_netlogon_calls_with_null_credentials_are_seen_and_honest_ones_are_not() -> None:
    attack = only(dissect(trafficsmb.netlogon_abuse(Random(1), attempts_count=20)), DceRpcCall)
    routine = [m for m in only(dissect(trafficsmb.domain_routine(Random(1))), DceRpcCall) if m.interface == NETLOGON]

    asked = [m for m in attack if not m.is_response]
    assert {m.operation for m in asked} == {4, 26} and all(m.has_null_credential for m in asked)
    answers = [m.status for m in attack if m.is_response and m.operation == 26]
    assert answers == [0xC0000022] * 19 + [0]
    assert routine and not any(m.has_null_credential for m in routine)


SAMPLES = {
    "tls": traffictls.client_hello(Random(1), "a.example"),
    "http": b"GET /index.html?q=1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "answer": b"HTTP/1.1 200 OK\r\n\r\n",
    "ssh": b"SSH-2.0-OpenSSH_9.6\r\n",
    "smb": b"\0\0\0\x40\xfeSMB" + bytes(60),
    "dcerpc": trafficsmb.rpc_bind(UUID(NETLOGON), 1),
    "rdp": b"\3\0\0\x13\x0e\xe0" + bytes(5) + struct.pack("<BBHI", 1, 0, 8, 3),
    "ldap": _ldap(1, _element(0x60, b"\2\1\3", _element(4, b"cn=x"), _element(0x80, b"x"))),
    "dns": b"\0\x1e\x12\x34\1\0\0\1\0\0\0\0\0\0\4data\7example\0\0\1\0\1",
    "ftp": b"USER anonymous\r\n",
}


@pytest.mark.parametrize("name", SAMPLES)
def test_the_first_bytes_of_a_protocol_are_never_taken_for_nothing_or_for_another(name: str) -> None:
    sample = SAMPLES[name]
    known = recognise(sample, b"")
    assert isinstance(known, type)

    assert {recognise(sample[:cut], b"") for cut in range(1, len(sample))} <= {None, known}


def test_a_certificate_that_breaks_a_small_rule_is_read_without_a_word() -> None:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    leaf = make_certificate(Random(1), subject="Atlantisland", issuer="b", not_before=when, not_after=when)
    country, common_name = bytes.fromhex("0603550406"), bytes.fromhex("0603550403")
    flight = traffictls.clear_flight(Random(1), [leaf.replace(common_name, country), b"\x30\x03\2\1\1"])

    messages = talk((True, traffictls.client_hello(Random(1), "a.example", is_13=False)), (False, flight))

    (chain,) = only(messages, TlsCertificates)
    assert "C=Atlantisland" in chain.certificates[0].subject
    assert chain.unreadable_count == 1
