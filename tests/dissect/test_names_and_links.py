"""What is said on the link and about names: ARP, neighbour discovery, DHCP, DNS and its kin, echoes."""

from __future__ import annotations

import struct
from random import Random

import pytest

from govsec.dissect.dissect import DissectLimits, Dissector
from govsec.dissect.dns import looks_like_dns, read_dns
from govsec.dissect.icmpecho import entropy
from govsec.dissect.messages import (
    ArpMessage,
    DhcpMessage,
    DnsMessage,
    DnsQuestion,
    FlowRef,
    IcmpEcho,
    Message,
    NeighborMessage,
    ProtocolError,
    RouterAdvertisement,
)
from govsec.errors import FormatError
from govsec.testing import trafficlan
from govsec.testing.packets import START_NS, Frame, echo_pair, station, station6, tcp_frame, udp_frame
from govsec.testing.traffictunnels import dns_name, dns_query, dns_response
from tests.dissect.dissected import dissect, only

FLOW = FlowRef(1, "192.0.2.1", 5000, "192.0.2.53", 53, 17)
A, CLIENT, SERVER = 1, station(5), station(20)


def read(data: bytes, **more: bool) -> DnsMessage:
    return read_dns(data, time_ns=1, flow=FLOW, is_originator=True, **more)


def datagram(data: bytes, *, port: int = 53, at: int = 0, back: bool = False) -> Frame:
    if back:
        return Frame(START_NS + at, udp_frame(SERVER, port, CLIENT, 5000, data))
    return Frame(START_NS + at, udp_frame(CLIENT, 5000, SERVER, port, data))


def test_arp_tells_both_pairs_and_the_frame_around_them() -> None:
    victim = station(9)
    (message,) = dissect([trafficlan.arp_reply(START_NS, "192.168.10.1", "02:66:66:66:66:66", victim)])

    assert isinstance(message, ArpMessage)
    assert (message.operation, message.sender_address, message.sender_mac) == (2, "192.168.10.1", "02:66:66:66:66:66")
    assert (message.target_address, message.target_mac, message.mac_target) == (victim.address, victim.mac, victim.mac)
    assert message.mac_source == "02:66:66:66:66:66"


def test_a_router_that_presents_itself_and_one_that_is_made_to_leave() -> None:
    attack = only(dissect(trafficlan.router_spoofing(Random(1))), RouterAdvertisement)
    routine = dissect(trafficlan.router_routine(Random(1)))

    assert {m.hop_limit for m in attack} == {255}
    assert any(m.lifetime_s == 0 for m in attack)
    honest = only(routine, RouterAdvertisement)
    assert honest and all(m.lifetime_s > 0 for m in honest)
    assert all(prefix.prefix.endswith("::/64") and prefix.valid_s > 0 for m in honest for prefix in m.prefixes)
    assert {m.kind for m in only(routine, NeighborMessage)} == {"solicitation", "advertisement"}
    assert all(m.target and m.mac == m.mac_source for m in only(routine, NeighborMessage))


def test_a_lease_is_told_in_four_messages() -> None:
    frames = trafficlan.dhcp_lease(Random(1), START_NS, "02:00:00:00:0a:42", "192.168.10.66")

    messages = only(dissect(frames), DhcpMessage)

    assert [m.kind for m in messages] == ["discover", "offer", "request", "ack"]
    assert {m.client_mac for m in messages} == {"02:00:00:00:0a:42"}
    assert messages[1].offered == "192.168.10.66"
    assert messages[1].is_reply and messages[1].server == trafficlan.DHCP_SERVER.address
    assert messages[2].requested == "192.168.10.66"
    assert len({m.transaction for m in messages}) == 1


def test_a_query_and_its_answer() -> None:
    query, answer = dns_query(7, "Www.Example.CN"), dns_response(7, "Www.Example.CN", A, bytes([192, 0, 2, 80]))

    messages = only(dissect([datagram(query), datagram(answer, at=1, back=True)]), DnsMessage)

    assert [(m.is_response, m.transaction, m.questions) for m in messages] == [
        (False, 7, (DnsQuestion("Www.Example.CN", "A"),)),
        (True, 7, (DnsQuestion("Www.Example.CN", "A"),)),
    ]
    (record,) = messages[1].answers
    assert (record.name, record.type, record.text, record.size_bytes) == ("Www.Example.CN", "A", "192.0.2.80", 4)
    assert [m.size_bytes for m in messages] == [len(query), len(answer)]
    assert messages[0].sender == messages[1].receiver == CLIENT.address


def test_dns_is_recognised_on_any_port_and_over_tcp() -> None:
    query = dns_query(9, "data.tunnel.example")
    stream = struct.pack("!H", len(query)) + query
    segment = tcp_frame(CLIENT, 6000, SERVER, 5300, 0x18, sequence=1, payload=stream + stream[:9])

    messages = dissect([datagram(query, port=5300), Frame(START_NS + 1, segment)])

    assert [m.questions[0].name for m in only(messages, DnsMessage)] == ["data.tunnel.example"] * 2
    assert not looks_like_dns(query + b"x")
    assert not looks_like_dns(bytes(40))


@pytest.mark.parametrize(
    ("port", "service", "name"),
    [(5353, "mdns", "printer.local"), (5355, "llmnr", "printer.local"), (137, "nbns", "FILES<20>.local")],
)
def test_kin_of_dns_is_told_by_its_port(port: int, service: str, name: str) -> None:
    raw = b"FILES".ljust(15) + b"\x20"
    coded = "".join(chr(65 + (byte >> 4)) + chr(65 + (byte & 15)) for byte in raw) + ".local"
    (message,) = only(dissect([datagram(dns_query(1, coded if port == 137 else name), port=port)]), DnsMessage)

    assert (message.service, message.questions[0].name) == (service, name)


def test_a_broken_message_on_the_port_of_dns_is_told_once_a_flow() -> None:
    dissector = Dissector()
    messages: list[Message] = dissect([datagram(b"\x01garbage", at=at) for at in range(5)], dissector=dissector)

    assert [(type(m), m.parser) for m in only(messages, ProtocolError)] == [(ProtocolError, "dns")]
    assert dissector.counters["malformed_packets"] == 5


def test_names_come_compressed_escaped_and_never_in_circles() -> None:
    head = struct.pack("!HHHHHH", 1, 0x8180, 1, 1, 0, 0)
    question = dns_name("a.example") + struct.pack("!HH", 5, 1)
    alias = b"\xc0\x0c" + struct.pack("!HHIH", 5, 1, 60, 4) + b"\x01b\xc0\x0e"
    message = read(head + question + alias)
    assert [(a.name, a.type, a.text) for a in message.answers] == [("a.example", "CNAME", "b.example")]

    odd = b"\x05a.b\\\xff\x03c d\x00"
    named = read(head[:4] + struct.pack("!HHHH", 1, 0, 0, 0) + odd + struct.pack("!HH", 10, 1))
    assert named.questions == (DnsQuestion("a\\.b\\\\\\255.c\\032d", "NULL"),)

    for pointer in (b"\xc0\x0c", b"\xc0\x20", b"\x01a\xc0\x0c"):
        with pytest.raises(FormatError):
            read(struct.pack("!HHHHHH", 1, 0, 1, 0, 0, 0) + pointer + struct.pack("!HH", 1, 1))


def test_a_name_has_255_octets_at_most() -> None:
    head = struct.pack("!HHHHHH", 1, 0, 1, 0, 0, 0)
    tail = b"\0" + struct.pack("!HH", 16, 1)
    longest = (b"\x3f" + b"x" * 63) * 3 + b"\x3d" + b"y" * 61

    assert len(read(head + longest + tail).questions[0].name) == 253
    with pytest.raises(FormatError, match="label"):
        read(head + longest + b"\x01z" + tail)


def test_records_cut_off_by_the_capture_are_left_out_and_otherwise_an_error() -> None:
    answer = dns_response(7, "example.cn", A, bytes([192, 0, 2, 80]))[:-2]

    assert read(answer, is_cut=True).answers == ()
    assert read(answer, is_cut=True).questions[0].name == "example.cn"
    with pytest.raises(FormatError):
        read(answer)


def test_text_and_edns_are_read() -> None:
    head = struct.pack("!HHHHHH", 1, 0x8180, 1, 1, 0, 1)
    question = dns_name("t.example") + struct.pack("!HH", 16, 1)
    text = b"\xc0\x0c" + struct.pack("!HHIH", 16, 1, 60, 9) + b"\x03v=1\x04\x00\xff;x"
    options = b"\0" + struct.pack("!HHIH", 41, 1232, 0x01000000, 0)
    message = read(head + question + text + options)

    assert message.answers[0].text == "v=1\\x00\\xff;x"
    assert message.rcode == 16


def test_echoes_of_both_versions_tell_their_payload_by_digest_and_entropy() -> None:
    frames = echo_pair(START_NS, CLIENT, SERVER, 77, 3, b"abcdefgh", b"abcdefgh")
    frames += echo_pair(START_NS + 10_000_000, station6(5), station6(20), 78, 4, bytes(range(256)), bytes(256))

    ask, answer, ask6, answer6 = only(dissect(frames), IcmpEcho)

    assert (ask.identifier, ask.sequence, ask.size_bytes, ask.is_reply) == (77, 3, 8, False)
    assert answer.is_reply and answer.payload_digest == ask.payload_digest
    assert (ask.entropy, ask6.entropy, answer6.entropy) == (3.0, 8.0, 0.0)
    assert (ask6.source, ask6.target) == (station6(5).address, station6(20).address)
    assert ask6.payload_digest != answer6.payload_digest


def test_entropy_is_the_same_however_it_is_counted() -> None:
    rng = Random(3)
    for size in (2, 50, 95, 96, 97, 1400):
        data = bytes(rng.choice(b"abcdefg") for _ in range(size))
        assert entropy(data) == pytest.approx(entropy(data * 8), abs=1e-9)
    assert entropy(b"") == entropy(b"x") == 0.0


def test_budgets_count_what_they_pass_over() -> None:
    dissector = Dissector(DissectLimits(link_messages=3, echoes=4, names=5, tried=6))
    frames = [trafficlan.arp_request(START_NS, CLIENT, f"192.168.10.{at}") for at in range(10)]
    frames += [frame for at in range(10) for frame in echo_pair(START_NS, CLIENT, SERVER, 1, at, b"x", None)]
    frames += [datagram(dns_query(at, "a.example")) for at in range(10)]
    frames += [Frame(START_NS, udp_frame(CLIENT, 7000 + at, SERVER, 9999, b"binary")) for at in range(10)]

    messages = dissect(frames, dissector=dissector, size=7)

    assert [len(only(messages, kind)) for kind in (ArpMessage, IcmpEcho, DnsMessage)] == [3, 4, 5]
    counters = dissector.counters
    assert [counters[f"skipped_{name}"] for name in ("link_messages", "echoes", "names", "tries")] == [7, 6, 5, 4]


def test_a_message_of_more_labels_than_any_honest_one_is_refused() -> None:
    chain = b"\1a" * 120 + b"\0"
    head = struct.pack("!HHHHHH", 1, 0x8180, 1, 20, 0, 0)
    record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + bytes(4)

    assert len(read(head[:6] + b"\0\3" + head[8:] + chain + struct.pack("!HH", 1, 1) + record * 3).answers) == 3
    with pytest.raises(FormatError, match="labels"):
        read(head + chain + struct.pack("!HH", 1, 1) + record * 20)
