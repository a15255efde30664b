"""Every parser of packets is fed damaged and invented input, and raises nothing but FormatError.

The short runs go through the same seeded mutations each time; ``make soak`` gives each parser
``GOVSEC_SOAK_SECONDS`` (600) of processor time and prints the seed with which a failure comes again.
"""

from __future__ import annotations

import random
import resource
import struct
from base64 import b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govsec.crypto.certificates import read_certificate
from govsec.crypto.quicinitial import open_client_initial
from govsec.dissect.arp import read_arp
from govsec.dissect.dcerpc import NETLOGON, DceRpcParser
from govsec.dissect.dhcp import looks_like_dhcp, read_dhcp
from govsec.dissect.dissect import Dissector
from govsec.dissect.dns import looks_like_dns, read_dns
from govsec.dissect.http import HttpParser
from govsec.dissect.icmpecho import read_echo
from govsec.dissect.ldap import LdapParser
from govsec.dissect.lines import FtpParser, ImapParser, Pop3Parser, SmtpParser
from govsec.dissect.messages import FlowRef, Message
from govsec.dissect.neighbor import read_neighbor
from govsec.dissect.ntlm import find_ntlm
from govsec.dissect.parsing import StreamParser
from govsec.dissect.quic import QuicFlows, read_long_header
from govsec.dissect.rdp import RdpParser
from govsec.dissect.recognise import DnsStreamParser, recognise
from govsec.dissect.smb import SmbParser
from govsec.dissect.ssh import SshParser
from govsec.dissect.tls import TlsParser, client_hello
from govsec.dissect.withhold import has_secret, without_secrets
from govsec.errors import FormatError, IntegrityError
from govsec.testing import (
    trafficlan,
    trafficlogins,
    trafficsmb,
    traffictls,
    traffictunnels,
    trafficweb,
)
from govsec.testing.dercertificates import make_certificate
from govsec.testing.packets import Frame
from tests.dissect.dissected import dissect
from tests.support.soak import seeds

FLOW = FlowRef(1, "192.0.2.1", 5000, "192.0.2.2", 80, 6)
#: What parsers stumble over: ends of ranges, sizes that lie, pointers, line ends, nesting.
TOKENS = [
    b"", b"\0", b"\xff", b"\0\0", b"\xff\xff", b"\x7f\xff", b"\x80\0", b"\xc0\x0c", b"\xc0\xff", b"\x3f" + b"a" * 63,
    b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x80\0\0\0", b"\r\n", b"\r\n\r\n", b"\n", b": ", b"%00", b"${", b"NTLMSSP\0",
    b"Content-Length: 99999999999999999999\r\n", b"Transfer-Encoding: chunked\r\n", b"ffffffff\r\n", b"0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n", b"\xfeSMB", b"\xffSMB", b"\x16\x03\x01", b"\x30\x84\xff\xff\xff\xff", b"\x05\x00\x0b\x03",
    b"STARTTLS\r\n", b"AUTH PLAIN ", b"=" * 40, b"password=",
]  # fmt: skip


@dataclass(frozen=True)
class Parser:
    """One parser, something honest to start from, and the door that hostile bytes come through."""

    name: str
    seed: bytes
    parse: Callable[[bytes], object]


def _stream(parser: type[StreamParser]) -> Callable[[bytes], object]:
    """Input is read as pieces: side (1 bit) and size (15) before each."""

    def parse(data: bytes) -> None:
        made = parser(FLOW)
        waiting = {True: b"", False: b""}
        at = 0
        try:
            while at + 2 <= len(data):
                is_originator, size = bool(data[at] & 0x80), (data[at] & 0x7F) << 8 | data[at + 1]
                waiting[is_originator] += data[at + 2 : at + 2 + size]
                at += 2 + size
                if not made.wants[is_originator]:
                    break
                consumed = made.read(is_originator, waiting[is_originator], 1)
                assert consumed >= 0
                waiting[is_originator] = waiting[is_originator][consumed:]
        finally:
            for side in (True, False):
                made.end(side, waiting[side], 1)
            assert all(isinstance(message, Message) for message in made.messages)
            repr(made.messages)

    return parse


def said(*pieces: tuple[bool, bytes]) -> bytes:
    """Pieces in the form that :func:`_stream` reads."""
    return b"".join(struct.pack("!H", by_originator << 15 | len(data)) + data for by_originator, data in pieces)


def conversation(frames: Iterable[Frame], port: int, stop: int = 12) -> bytes:
    """The first payloads to and from ``port`` in frames of IPv4, as pieces."""
    pieces = []
    for frame in frames:
        begin = 14 + 20 + (frame.data[46] >> 4) * 4
        total = 14 + int.from_bytes(frame.data[16:18], "big")
        if frame.data[23] == 6 and begin < total:
            pieces.append((int.from_bytes(frame.data[36:38], "big") == port, frame.data[begin:total]))
    assert pieces
    return said(*pieces[:stop])


def _dns(data: bytes) -> None:
    looks_like_dns(data)
    for service in ("dns", "nbns"):
        read_dns(data, time_ns=1, flow=FLOW, is_originator=True, service=service, is_cut=len(data) % 2 == 1)


def _dhcp(data: bytes) -> None:
    looks_like_dhcp(data)
    read_dhcp(data, time_ns=1, flow=FLOW, is_originator=True, mac_source="")


def _neighbor(data: bytes) -> None:
    read_neighbor(data, time_ns=1, vlan=0, source="", destination="", mac_source="", hop_limit=255)


def _certificate(data: bytes) -> None:
    body = b64encode(data).decode("ascii")
    read_certificate(f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")


def _echo(data: bytes) -> None:
    read_echo(data, time_ns=1, vlan=0, source="", target="", claimed_size=99)


def _quic(data: bytes) -> None:
    flows = QuicFlows()
    for _ in range(2):
        flows.read(FLOW, True, data.ljust(1200, b"\0"), 1)
    head = read_long_header(data)
    open_client_initial(data, version=head.version, key_id=head.target, number_at=head.number_at)


def _recognise(data: bytes) -> None:
    half = len(data) // 2
    recognise(data, b"")
    recognise(b"", data)
    recognise(data[:half], data[half:])


def _secrets(data: bytes) -> None:
    has_secret(data)
    # Once more changes nothing: what was shaped has its shape.
    shaped = without_secrets(data)
    assert len(shaped) <= 3 * len(data) + 16


def _parsers() -> list[Parser]:
    rng = Random(1)
    hello = traffictls.client_hello(rng, "www.example.cn")
    link = trafficlan.arp_request(1, trafficlan.DHCP_SERVER, "192.168.10.9").data[14:42]
    router = next(frame.data[54:] for frame in trafficlan.router_spoofing(rng) if frame.data[54] == 134)
    lease = trafficlan.dhcp_lease(rng, 1, "02:00:00:00:0a:42", "192.168.10.66")[1].data[42:]
    answer = traffictunnels.dns_response(7, "www.example.cn", 16, b"\4text")
    query = traffictunnels.dns_query(7, "www.example.cn")
    token = trafficsmb.ntlm_authenticate(rng, "zhang", "OFFICE", "PC5")
    initial = bytes.fromhex("c000000001088394c8f03e5157080000449e7b9aec34") + rng.randbytes(1180)
    mail = said((False, b"220 a\r\n"), (True, b"EHLO a\r\nAUTH LOGIN\r\n"), (False, b"334 a\r\n"), (True, b"emhh\r\n"))
    box = said((False, b"+OK\r\n"), (True, b"USER a\r\nPASS b\r\n"), (False, b"+OK\r\n-ERR\r\n"))
    imap = said((False, b"* OK\r\n"), (True, b'a LOGIN "b" c\r\n'), (False, b"a NO\r\n"))
    bind = b"\x30\x12\2\1\1\x60\x0d\2\1\3\4\4cn=a\x80\2pw"
    ldap = said((True, bind), (False, b"\x30\x0c\2\1\1\x61\7\x0a\1\x31\4\0\4\0"))
    call = trafficsmb.rpc_bind(UUID(NETLOGON), 1) + trafficsmb.rpc_request(26, bytes(60), 2)
    rpc = said((True, call), (False, trafficsmb.rpc_response(bytes(12), 2)))
    web = conversation([*trafficweb.sql_injection(rng), *trafficlogins.http_guessing(rng, attempts_count=2)], 80)
    ssh = conversation(trafficlogins.ssh_guessing(rng, connections_count=1), 22)
    ftp = conversation(trafficlogins.ftp_guessing(rng, connections_count=1), 21)
    smb = conversation(trafficsmb.service_creation(rng, hosts_count=1), 445, 40)
    rdp = conversation(trafficlogins.rdp_guessing(rng, connections_count=1), 3389)
    names = said((True, struct.pack("!H", len(query)) + query))
    when = datetime(2026, 1, 1, tzinfo=UTC)
    leaf = make_certificate(rng, subject="a", issuer="b", not_before=when, not_after=when, names=("a.example",))
    return [
        Parser("arp", link, lambda d: read_arp(d, time_ns=1, vlan=0, mac_source="", mac_target="")),
        Parser("neighbor", router, _neighbor),
        Parser("echo", b"\x08\0\0\0\0\1\0\2" + b"payload", _echo),
        Parser("dhcp", lease, _dhcp),
        Parser("dns", answer, _dns),
        Parser("dns stream", names, _stream(DnsStreamParser)),
        Parser("client hello", hello[9:], lambda d: client_hello(d, time_ns=1, flow=FLOW, is_originator=True)),
        Parser("tls", conversation(traffictls.expired_sm2_certificate(rng), 443), _stream(TlsParser)),
        Parser("certificate", leaf, _certificate),
        Parser("quic", initial, _quic),
        Parser("http", web, _stream(HttpParser)),
        Parser("secrets", b'a=1&password=x%27+or+1&b={"token": "y"}<pwd>z</pwd>', _secrets),
        Parser("ssh", ssh, _stream(SshParser)),
        Parser("ftp", ftp, _stream(FtpParser)),
        Parser("smtp", mail, _stream(SmtpParser)),
        Parser("pop3", box, _stream(Pop3Parser)),
        Parser("imap", imap, _stream(ImapParser)),
        Parser("smb", smb, _stream(SmbParser)),
        Parser("smb1", said((True, _smb1()), (False, _smb1(0x80))), _stream(SmbParser)),
        Parser("ntlm", token, lambda d: find_ntlm(d, time_ns=1, flow=FLOW, is_originator=True, service="smb")),
        Parser("dcerpc", rpc, _stream(DceRpcParser)),
        Parser("rdp", rdp, _stream(RdpParser)),
        Parser("ldap", ldap, _stream(LdapParser)),
        Parser("recognise", hello, _recognise),
    ]


def _smb1(flags: int = 0) -> bytes:
    """A session set-up of the old kind, with names in Unicode."""
    words = struct.pack("<BBHHHHIHHII", 0xFF, 0, 0, 4356, 2, 0, 0, 24, 24, 0, 0xD4)
    body = bytes(48) + "\0user\0domain\0".encode("utf-16-le")[1:]
    head = b"\xffSMB" + struct.pack("<BIBHHQHHHHH", 0x73, 0, flags, 0xC001, 0, 0, 0, 0, 1, 0, 1)
    message = head + bytes([len(words) // 2]) + words + struct.pack("<H", len(body)) + body
    return struct.pack("!I", len(message)) + message


PARSERS = _parsers()


def mutated(seed: bytes, chance: Random) -> bytes:
    """``seed`` with a few changes; sometimes nothing of it is left."""
    if chance.random() < 0.05:
        return chance.randbytes(chance.randrange(200))
    data = bytearray(seed)
    for _ in range(chance.randrange(1, 5)):
        start = chance.randrange(len(data) + 1)
        end = min(len(data), start + chance.choice((0, 1, 1, 2, 4, 32, 64)))
        kind = chance.randrange(6)
        if kind == 0:
            token = chance.choice(TOKENS)
            data[start : start + len(token) if chance.random() < 0.5 else end] = token
        elif kind == 1:
            data[start:end] = chance.randbytes(end - start)
        elif kind == 2:
            del data[start:end]
        elif kind == 3:
            data[start:start] = data[start:end] * chance.choice((1, 1, 2, 50))
        elif data:
            data[min(start, len(data) - 1)] ^= 1 << chance.randrange(8)
    return bytes(data[: chance.randrange(len(data) + 1)] if chance.random() < 0.1 else data)


def feed(parser: Parser, data: bytes, seed: object) -> bool:
    """Whether the parser let ``data`` in."""
    try:
        parser.parse(data)
    except IntegrityError as error:
        # A seal that does not open is the one thing besides a broken form.
        assert type(error) is FormatError or parser.name == "quic", f"{parser.name}, seed {seed}: {error!r}"
        return False
    except Exception as error:
        raise AssertionError(f"{parser.name}, seed {seed}: {error!r} from {data!r}") from error
    return True


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_the_honest_input_is_let_in(parser: Parser) -> None:
    assert feed(parser, parser.seed, "itself") or parser.name == "quic"  # whose seed has noise for a seal


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_truncated_input_raises_only_our_errors(parser: Parser) -> None:
    for size in range(0, len(parser.seed), 1 + len(parser.seed) // 400):
        feed(parser, parser.seed[:size], f"the first {size} bytes")


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_mutated_input_raises_only_our_errors(parser: Parser) -> None:
    for seed in range(300):
        feed(parser, mutated(parser.seed, Random(seed)), seed)


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
@given(data=st.binary(max_size=300))
def test_any_bytes_raise_only_our_errors(parser: Parser, data: bytes) -> None:
    feed(parser, data, "hypothesis")


def damaged_traffic(seed: int) -> list[Frame]:
    """A few conversations whose frames lie in their headers, come twice, in another order, or not at all."""
    chance = Random(seed)
    builders: list[Callable[[Random], list[Frame]]] = [
        trafficweb.jndi_lookup,
        trafficlan.router_spoofing,
        traffictls.expired_certificate,
        lambda rng: trafficsmb.service_creation(rng, hosts_count=1),
        lambda rng: trafficlogins.ftp_guessing(rng, connections_count=2),
        lambda rng: trafficlogins.spread_ssh_guessing(rng, connections_count=1),
        lambda rng: traffictunnels.dns_tunnel(rng, queries_count=20),
        lambda rng: traffictunnels.icmp_tunnel(rng, packets_count=20),
    ]
    frames = [frame for builder in chance.sample(builders, 2) for frame in builder(chance)]
    made = []
    for frame in frames:
        fate = chance.random()
        if fate < 0.05:
            continue
        data = mutated(frame.data, chance) if fate < 0.25 else frame.data
        made += [Frame(frame.time_ns, data)] * (2 if fate > 0.95 else 1)
    for _ in range(len(made) // 20):
        one, other = chance.randrange(len(made)), chance.randrange(len(made))
        made[one], made[other] = made[other], made[one]
    return [frame for frame in made if frame.data]


def _dissect_damaged(seed: int) -> None:
    frames = damaged_traffic(seed)
    dissector = Dissector()
    messages = dissect(frames, dissector=dissector, snap=random.Random(seed).choice((65_535, 1400, 200, 70)))
    assert all(isinstance(message, Message) for message in messages)
    assert dissector.counters["held_bytes"] < 1 << 20


def test_damaged_traffic_never_stops_the_dissector() -> None:
    for seed in range(25):
        try:
            _dissect_damaged(seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error


def test_damaged_traffic_says_the_same_wherever_batches_are_cut() -> None:
    for seed in range(6):
        frames = damaged_traffic(seed)
        # By time: messages of one batch come in order, those of several only within each.
        whole, parts = (sorted(dissect(frames, size=size), key=lambda m: m.time_ns) for size in (4096, 13))
        assert whole == parts, f"seed {seed}"


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_ten_minutes_of_mutated_input_raise_only_our_errors_within_bounded_memory(parser: Parser) -> None:
    before = _peak_bytes()
    for seed in seeds(parser.name):
        feed(parser, mutated(parser.seed, Random(seed)), seed)
    assert _peak_bytes() - before < 100 << 20


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_ten_minutes_of_damaged_traffic_never_stop_the_dissector() -> None:
    before = _peak_bytes()
    for seed in seeds("dissector"):
        try:
            _dissect_damaged(seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error
    assert _peak_bytes() - before < 200 << 20
