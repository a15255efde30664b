"""Columns against what was put into the frames, and random frames against dpkt and scapy's idea of them."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest

from govsec.net import addresses
from govsec.net.columns import Fault, Fragment, PacketBatch, Tunnel
from govsec.net.decode import decode_inner
from tests.net.frames import MACS, batch_of, ethernet, icmp, ipv4, ipv6, tcp, udp

ONE, OTHER = "192.0.2.1", "198.51.100.7"
SIX, OTHER_SIX = "2001:db8::1", "2001:db8:ffff::2"


def said(batch: PacketBatch, index: int, *names: str) -> tuple[object, ...]:
    return tuple(getattr(batch, name)[index].item() for name in names)


def faults(batch: PacketBatch) -> list[Fault]:
    return [Fault(value) for value in batch.faults.tolist()]


def test_every_column_of_a_tcp_segment_is_read() -> None:
    segment = tcp(51000, 443, 0x18, b"hello", sequence=7, acknowledgment=2**32 - 1, window=1024)
    frame = ethernet(ipv4(ONE, OTHER, 6, segment))
    batch = batch_of([frame])

    assert said(batch, 0, "ip_version", "protocol", "ttl", "fragment", "ip_size", "ethertype", "vlan") == (
        4, 6, 64, 0, 45, 0x0800, 0,
    )  # fmt: skip
    assert said(batch, 0, "source_port", "target_port", "tcp_flags", "tcp_sequence") == (51000, 443, 0x18, 7)
    assert said(batch, 0, "tcp_acknowledgment", "tcp_window") == (2**32 - 1, 1024)
    assert said(batch, 0, "payload_offset", "payload_size", "payload_claimed", "faults") == (54, 5, 5, 0)
    assert addresses.format(*said(batch, 0, "source_hi", "source_lo")) == ONE  # type: ignore[arg-type]
    assert addresses.format(*said(batch, 0, "target_hi", "target_lo")) == OTHER  # type: ignore[arg-type]
    assert int(batch.mac_target[0]).to_bytes(6, "big") + int(batch.mac_source[0]).to_bytes(6, "big") == MACS
    assert bytes(batch.payload(0)) == b"hello"
    assert bytes(batch.frame(0)) == frame


def test_options_of_ip_and_tcp_move_what_follows() -> None:
    segment = tcp(1, 2, 2, b"body", options=b"\2\4\5\xb4" + b"\1" * 8)
    batch = batch_of(
        [ethernet(ipv4(ONE, OTHER, 6, segment, options=b"\1" * 40)), ethernet(ipv4(ONE, OTHER, 6, segment))]
    )

    assert batch.tcp_flags.tolist() == [2, 2]
    assert [bytes(batch.payload(i)) for i in (0, 1)] == [b"body", b"body"]


def test_tags_are_taken_off_and_the_outermost_is_told() -> None:
    inside = ipv4(ONE, OTHER, 17, udp(53, 99, b"x"))
    frames = [
        ethernet(inside),
        ethernet(inside, tags=[(0x8100, 0x2064)]),
        ethernet(inside, tags=[(0x88A8, 7), (0x8100, 8)]),
        ethernet(inside, tags=[(0x8100, 1)] * 5),
        ethernet(b"", 0x8100),
    ]
    batch = batch_of(frames)

    assert batch.vlan.tolist() == [0, 0x64, 7, 1, 0]
    assert batch.source_port.tolist() == [53, 53, 53, 0, 0]
    assert faults(batch) == [Fault(0), Fault(0), Fault(0), Fault.NESTED, Fault.SHORT]


def test_a_tag_that_the_kernel_took_is_outside_those_in_the_frame() -> None:
    inside = ipv4(ONE, OTHER, 17, udp(53, 99))
    batch = batch_of([ethernet(inside), ethernet(inside, tags=[(0x8100, 8)])], vlan_moved=[7, 7])

    assert batch.vlan.tolist() == [7, 7]
    assert batch.source_port.tolist() == [53, 53]


def test_extension_headers_are_stepped_over() -> None:
    def extension(following: int, size: int = 8) -> bytes:
        return bytes([following, size // 8 - 1]) + bytes(size - 2)

    segment = tcp(1, 2, 2, b"body")
    authentication = bytes([6, 4]) + bytes(22)
    frames = [
        ethernet(ipv6(SIX, OTHER_SIX, 6, segment), 0x86DD),
        ethernet(ipv6(SIX, OTHER_SIX, 0, extension(43) + extension(60, 24) + extension(6) + segment), 0x86DD),
        ethernet(ipv6(SIX, OTHER_SIX, 51, authentication + segment), 0x86DD),
        ethernet(ipv4(ONE, OTHER, 51, authentication + segment)),
        ethernet(ipv6(SIX, OTHER_SIX, 60, extension(60) * 8 + extension(6) + segment), 0x86DD),
        ethernet(ipv6(SIX, OTHER_SIX, 0, b"\x06\xff" + bytes(6)), 0x86DD),
        ethernet(ipv6(SIX, OTHER_SIX, 59, b""), 0x86DD),
    ]
    batch = batch_of(frames)

    assert batch.protocol.tolist() == [6, 6, 6, 6, 60, 0, 59]
    assert batch.tcp_flags.tolist() == [2, 2, 2, 2, 0, 0, 0]
    assert [bytes(batch.payload(i)) for i in range(4)] == [b"body"] * 4
    assert faults(batch) == [Fault(0)] * 4 + [Fault.NESTED, Fault.SHORT, Fault(0)]


def test_fragments_of_both_versions_tell_ports_in_the_first_one_only() -> None:
    def fragment(offset: int, more: int) -> bytes:
        return struct.pack(">BBHI", 17, 0, offset << 3 | more, 9)

    datagram = udp(53, 99, bytes(16), size=2000)
    frames = [
        ethernet(ipv4(ONE, OTHER, 17, datagram, fragment=0x2000)),
        ethernet(ipv4(ONE, OTHER, 17, datagram, fragment=3)),
        ethernet(ipv6(SIX, OTHER_SIX, 44, fragment(0, 1) + datagram), 0x86DD),
        ethernet(ipv6(SIX, OTHER_SIX, 44, fragment(3, 0) + datagram), 0x86DD),
        ethernet(ipv6(SIX, OTHER_SIX, 44, fragment(0, 0) + udp(53, 99)), 0x86DD),
    ]
    batch = batch_of(frames)

    later = Fragment.LATER
    assert batch.fragment.tolist() == [Fragment.FIRST, later, Fragment.FIRST, later, Fragment.WHOLE]
    assert batch.source_port.tolist() == [53, 0, 53, 0, 53]
    assert batch.protocol.tolist() == [17] * 5
    assert faults(batch) == [Fault(0)] * 5


def test_lengths_that_lie_are_told_and_not_believed() -> None:
    frames = [
        ethernet(ipv4(ONE, OTHER, 17, udp(1, 2, b"abcd"), size=2000)),
        ethernet(ipv4(ONE, OTHER, 17, udp(1, 2, b"abcd"), size=10)),
        ethernet(b"\x44" + ipv4(ONE, OTHER, 17, udp(1, 2))[1:]),
        ethernet(ipv4(ONE, OTHER, 17, udp(1, 2, b"abcd", size=99))),
        ethernet(ipv4(ONE, OTHER, 17, udp(1, 2, b"abcd", size=3))),
        ethernet(ipv4(ONE, OTHER, 6, tcp(1, 2, 2)[:12] + b"\x10" + tcp(1, 2, 2)[13:])),
        ethernet(b"\x65" + ipv4(ONE, OTHER, 17, udp(1, 2))[1:]),
        ethernet(ipv4(ONE, OTHER, 17, udp(1, 2, b"abcd", size=0), size=0)),
    ]
    batch = batch_of(frames)

    assert faults(batch) == [Fault.LENGTH] * 6 + [Fault.VERSION, Fault(0)]
    assert batch.payload_claimed.tolist()[:2] == [4, 0]
    assert batch.payload_claimed.tolist()[3:5] == [4, 4]
    assert all(batch.payload_size <= batch.captured_size)
    assert batch.payload_claimed[7] == 4, "a size of 0 is one that the network card fills in"


def test_ethernet_padding_is_no_payload() -> None:
    batch = batch_of([ethernet(ipv4(ONE, OTHER, 6, tcp(1, 2, 16))) + bytes(6)])

    assert said(batch, 0, "payload_size", "payload_claimed") == (0, 0)


@pytest.mark.parametrize("snap_length", range(0, 62))
def test_a_frame_cut_anywhere_tells_what_was_captured_and_nothing_else(snap_length: int) -> None:
    frame = ethernet(ipv4(ONE, OTHER, 6, tcp(51000, 443, 0x12, b"hello!", sequence=7)), tags=[(0x8100, 9)])
    # What lies behind the frame in the buffer must never be read as part of it.
    batch = batch_of([frame[:snap_length], b"\xff" * 100], wire_sizes=[len(frame), 100])

    assert batch.ip_version[0] == (4 if snap_length >= 38 else 0)
    assert batch.source_port[0] == (51000 if snap_length >= 42 else 0)
    assert batch.tcp_sequence[0] == (7 if snap_length >= 46 else 0)
    assert batch.tcp_flags[0] == (0x12 if snap_length >= 52 else 0)
    assert batch.tcp_window[0] == (512 if snap_length >= 54 else 0)
    if snap_length >= 58:
        assert batch.payload_claimed[0] == 6
        assert bytes(batch.payload(0)) == frame[58:snap_length]
    assert bytes(batch.payload(0)) in frame[:snap_length]
    assert Fault.CUT in faults(batch)[0]
    assert (Fault.SHORT in faults(batch)[0]) == (snap_length < 58)


def test_link_types_lead_to_the_same_packet() -> None:
    packet, six = ipv4(ONE, OTHER, 17, udp(53, 99, b"x")), ipv6(SIX, OTHER_SIX, 17, udp(53, 99, b"x"))
    cooked = struct.pack(">HHH8sH", 0, 1, 6, MACS[:6] + b"\0\0", 0x0800)
    cooked_2 = struct.pack(">HHIHBB8s", 0x86DD, 0, 3, 1, 0, 6, MACS[:6] + b"\0\0")
    frames = {
        1: ethernet(packet), 0: struct.pack("<I", 2) + packet, 108: struct.pack(">I", 30) + six, 101: six, 12: packet,
        228: packet, 229: six, 113: cooked + packet, 276: cooked_2 + six, 9: b"\xff\x03\0\x21" + packet,
        50: b"\0\x57" + six, 127: b"\0" * 40,
    }  # fmt: skip
    for link_type, frame in frames.items():
        batch = batch_of([frame], link_type=link_type)
        if link_type == 127:
            assert faults(batch) == [Fault.LINK]
            continue
        assert said(batch, 0, "source_port", "target_port", "faults") == (53, 99, 0), link_type
        assert bytes(batch.payload(0)) == b"x"
    assert int(batch_of([frames[113]], link_type=113).mac_source[0]).to_bytes(6, "big") == MACS[:6]


def test_merged_packets_are_told() -> None:
    segment = tcp(1, 2, 16, bytes(3000))
    batch = batch_of([ethernet(ipv4(ONE, OTHER, 6, segment, size=0)), ethernet(ipv4(ONE, OTHER, 6, tcp(1, 2, 16)))])

    assert faults(batch) == [Fault.MERGED, Fault(0)]
    assert batch.payload_claimed[0] == 3000
    assert batch.fault_counts() == {"merged": 1}


def test_tunnels_are_told_and_what_they_carry_is_decoded_on_demand() -> None:
    inside = ethernet(ipv4("10.9.9.9", "10.8.8.8", 6, tcp(7, 8, 2)))
    packet = ipv6("fd00::1", "fd00::2", 17, udp(7, 8, b"!"))
    gre_with_key = struct.pack(">HHI", 0x2000, 0x86DD, 5)
    frames = [
        ethernet(ipv4(ONE, OTHER, 17, udp(40000, 4789, bytes(8) + inside))),
        ethernet(ipv4(ONE, OTHER, 47, struct.pack(">HH", 0, 0x6558) + inside)),
        ethernet(ipv4(ONE, OTHER, 47, gre_with_key + packet)),
        ethernet(ipv4(ONE, OTHER, 41, packet)),
        ethernet(ipv4(ONE, OTHER, 47, struct.pack(">HH", 1, 0x880B) + packet)),
        ethernet(ipv4(ONE, OTHER, 47, b"\x20")),
        ethernet(ipv4(ONE, OTHER, 6, tcp(1, 2, 2))),
    ]
    batch = batch_of(frames)
    inner = decode_inner(batch)

    gre = Tunnel.GRE
    assert batch.tunnel.tolist() == [Tunnel.VXLAN, gre, gre, Tunnel.IP_IN_IP, gre, gre, Tunnel.NONE]
    assert inner.position.tolist() == [0, 1, 2, 3]
    assert inner.target_port.tolist() == [8] * 4
    assert inner.protocol.tolist() == [6, 6, 17, 17]
    assert bytes(inner.payload(3)) == b"!"
    assert inner.faults.tolist() == [0] * 4


def test_an_icmp_payload_begins_with_its_type_and_an_arp_payload_with_its_header() -> None:
    echo = icmp(8, 0, b"\0\1\0\2data")
    arp = bytes(range(28))
    batch = batch_of(
        [ethernet(ipv4(ONE, OTHER, 1, echo)), ethernet(arp, 0x0806, tags=[(0x8100, 3)]), ethernet(b"llc", 3)]
    )

    assert said(batch, 0, "icmp_type", "icmp_code", "source_port") == (8, 0, 0)
    assert bytes(batch.payload(0)) == echo
    assert bytes(batch.payload(1)) == arp
    assert batch.ethertype.tolist() == [0x0800, 0x0806, 0]


def test_no_packets_are_no_trouble() -> None:
    batch = batch_of([])

    assert len(batch) == 0
    assert len(decode_inner(batch)) == 0
    assert batch.fault_counts() == {}
    assert len(batch.take(np.zeros(0, np.intp))) == 0


def test_random_packets_are_read_as_scapy_reads_them() -> None:
    from scapy.layers.inet import ICMP, IP, TCP, UDP
    from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop
    from scapy.layers.l2 import Dot1Q, Ether
    from scapy.packet import Packet, Raw

    rng = random.Random(20261122)

    def network() -> Packet:
        if rng.random() < 0.7:
            source, target = (".".join(str(rng.randrange(1, 255)) for _ in range(4)) for _ in range(2))
            options = b"" if rng.random() < 0.8 else b"\1" * 4
            return IP(src=source, dst=target, ttl=rng.randrange(256), options=options)
        six = IPv6(src=f"2001:db8::{rng.randrange(1, 999):x}", dst=f"fd00::{rng.randrange(1, 999):x}", hlim=9)
        for extension in (IPv6ExtHdrHopByHop, IPv6ExtHdrDestOpt):
            six = six / extension() if rng.random() < 0.3 else six
        return six

    def transport() -> Packet:
        ports = {"sport": rng.randrange(65536), "dport": rng.choice([53, 80, 9999])}
        kind = rng.randrange(3)
        if kind == 0:
            options = [("MSS", 1460), ("SAckOK", b"")] if rng.random() < 0.5 else []
            return TCP(**ports, flags=rng.randrange(256), seq=rng.randrange(2**32), ack=7, window=5, options=options)
        return UDP(**ports) if kind == 1 else ICMP(type=rng.choice([0, 8, 3]), code=rng.randrange(4))

    packets = []
    for _ in range(400):
        link = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
        for _ in range(rng.choice([0, 0, 1, 2])):
            link = link / Dot1Q(vlan=rng.randrange(1, 4095))
        packets.append(Ether(bytes(link / network() / transport() / Raw(rng.randbytes(rng.randrange(40))))))
    batch = batch_of([bytes(packet) for packet in packets])

    for index, packet in enumerate(packets):
        ip = packet[IP] if IP in packet else packet[IPv6]
        assert addresses.format(batch.source_hi[index], batch.source_lo[index]) == ip.src
        assert addresses.format(batch.target_hi[index], batch.target_lo[index]) == ip.dst
        assert batch.ttl[index] == (ip.ttl if IP in packet else ip.hlim)
        assert batch.vlan[index] == (packet[Dot1Q].vlan if Dot1Q in packet else 0)
        if TCP in packet:
            segment = packet[TCP]
            assert said(batch, index, "source_port", "target_port", "tcp_flags", "tcp_sequence", "tcp_window") == (
                segment.sport, segment.dport, int(segment.flags), segment.seq, segment.window,
            )  # fmt: skip
            assert bytes(batch.payload(index)) == bytes(segment.payload)
        elif UDP in packet:
            assert said(batch, index, "source_port", "target_port") == (packet[UDP].sport, packet[UDP].dport)
        elif ICMP in packet and IP in packet:
            assert said(batch, index, "icmp_type", "icmp_code") == (packet[ICMP].type, packet[ICMP].code)
