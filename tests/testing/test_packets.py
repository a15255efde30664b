"""What the builders make is read back by scapy: right checksums, whole conversations, same seed same bytes."""

from __future__ import annotations

from collections import Counter
from io import BytesIO
from random import Random

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.utils import PcapReader

from govsec.testing import trafficfloods, trafficoffice
from govsec.testing.packets import (
    ACK,
    FIN,
    START_NS,
    SYN,
    Conversation,
    Frame,
    echo_pair,
    pcap_bytes,
    station,
    station6,
    tcp_frame,
    udp_frame,
)
from govsec.testing.trafficcases import CASES, build


@pytest.mark.parametrize(
    "data",
    [
        udp_frame(station(2), 1000, station(3), 2000, b"odd"),
        tcp_frame(station6(2), 1000, station6(3), 2000, SYN, payload=b"even", options=b"\1\1\1\1"),
        echo_pair(0, station(2), station(3), 7, 8, b"payload", None)[0].data,
        echo_pair(0, station6(2), station6(3), 7, 8, b"payload!", None)[0].data,
    ],
    ids=["udp", "tcp over v6", "icmp", "icmpv6"],
)
def test_scapy_computes_the_same_checksums(data: bytes) -> None:
    assert bytes(_rebuilt(data)).ljust(60, b"\0") == data


def test_tags_stand_before_the_packet_outermost_first() -> None:
    packet = Ether(udp_frame(station(2), 1, station(3), 2, b"x" * 40, vlans=(100, 7)))

    assert [packet[Dot1Q].vlan, packet[Dot1Q:2].vlan] == [100, 7]
    assert packet[UDP].dport == 2


def test_a_conversation_is_a_connection_that_adds_up() -> None:
    talk = Conversation(Random(3), START_NS, station(2), station(3), 80, mss=1000)
    frames = talk.open().ask(b"q" * 1500).answer(b"a" * 2500).close().frames
    segments = [Ether(frame.data)[TCP] for frame in frames]

    assert [int(segment.flags) for segment in segments[:3]] == [SYN, SYN | ACK, ACK]
    assert [int(segment.flags) & FIN for segment in segments[-3:]] == [FIN, FIN, 0]
    sent = Counter[int]()
    for frame in frames:
        packet = Ether(frame.data)
        sent[packet[TCP].sport] += packet[IP].len - 20 - 4 * packet[TCP].dataofs
    assert sent == {talk.client_port: 1500, 80: 2500}
    # The last ACK acknowledges every byte, the SYN and the FIN of the other end.
    assert segments[-1].ack == (segments[1].seq + 2500 + 2) % (1 << 32)
    assert [frame.time_ns for frame in frames] == sorted(frame.time_ns for frame in frames)


def test_a_capture_file_gives_the_frames_back() -> None:
    frames = [Frame(START_NS + 5, b"x" * 100), Frame(START_NS + 1_000_000_007, b"y" * 60)]
    with PcapReader(BytesIO(pcap_bytes(frames, snap_length=80))) as reader:
        packets = list(reader)

    assert [bytes(packet) for packet in packets] == [b"x" * 80, b"y" * 60]
    assert [packet.wirelen for packet in packets] == [100, 60]
    assert [round(packet.time * 1_000_000_000) for packet in packets] == [frame.time_ns for frame in frames]


def test_the_large_flood_has_another_source_in_each_packet_and_right_checksums() -> None:
    with PcapReader(BytesIO(trafficfloods.syn_flood_file(5, 3000))) as reader:
        packets = list(reader)

    assert len({packet[IP].src for packet in packets}) == 3000
    for packet in packets[::500]:
        assert bytes(_rebuilt(bytes(packet))) == bytes(packet)[:54]


def test_every_case_has_traffic_in_the_order_of_time_and_a_twin() -> None:
    assert len(CASES) > 30
    for builder in {case.attack for case in CASES} | {case.twin for case in CASES}:
        frames = build(builder)
        assert len(frames) > 10, builder
        times = [frame.time_ns for frame in frames]
        assert times == sorted(times), builder
        assert min(times) >= START_NS


@pytest.mark.parametrize("name", ["horizontal", "rogue-dhcp", "dns-tunnel", "service", "sm2"])
def test_one_seed_gives_the_same_bytes_and_another_gives_others(name: str) -> None:
    case = next(case for case in CASES if case.name == name)

    assert build(case.attack, 7) == build(case.attack, 7)
    assert build(case.attack, 7) != build(case.attack, 8)


def test_an_office_hour_has_all_that_an_office_does() -> None:
    frames = trafficoffice.office_day(Random(1), hours=0.1, desktops_count=2)
    protocols = Counter[str]()
    for frame in frames[::3]:
        packet = Ether(frame.data)
        for layer in (TCP, UDP, ICMP, IPv6):
            protocols[layer.__name__] += layer in packet
        if TCP in packet:
            protocols[f"port {min(packet[TCP].sport, packet[TCP].dport)}"] += 1

    assert {"TCP", "UDP", "ICMP", "port 443", "port 5432", "port 9100"} <= {
        name for name in protocols if protocols[name]
    }
    assert frames[-1].time_ns < START_NS + 360 * 1_000_000_000


def _rebuilt(data: bytes) -> Ether:
    """The packet with every checksum computed by scapy."""
    packet = Ether(data)
    for layer in (IP, TCP, UDP, ICMP):
        if layer in packet:
            del packet[layer].chksum
    if IPv6 in packet and packet[IPv6].nh == 58:
        del packet[IPv6].payload.cksum
    padding = packet.getlayer("Padding")
    if padding is not None:
        padding.underlayer.remove_payload()
    return packet
