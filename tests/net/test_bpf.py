"""The two filters, run on a machine of our own: each frame is for exactly one ring, content for the deep one."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govsec.net import bpf
from govsec.testing import trafficlan, traffictls, traffictunnels, trafficweb
from govsec.testing.packets import ACK, SYN, Conversation, echo_pair, ethernet, station, station6, tcp_frame, udp_frame
from govsec.testing.trafficcases import CASES, build
from govsec.testing.trafficlogins import ssh_key_exchange
from tests.support.bpfmachine import run

SNAP = 128
_CLIENT, _SERVER = station(40), station(80)


def is_deep(frame: bytes, *, is_narrow: bool = False) -> bool:
    deep = run(bpf.deep_filter(is_narrow=is_narrow), frame)
    wide = run(bpf.wide_filter(SNAP, is_narrow=is_narrow), frame)
    assert (deep, wide) in ((bpf.WHOLE, 0), (0, SNAP))
    return deep != 0


def said(payload: bytes, *, port: int = 12345, vlans: tuple[int, ...] = ()) -> bytes:
    return tcp_frame(_CLIENT, 40000, _SERVER, port, ACK, payload=payload, vlans=vlans, options=b"\1" * 12)


@given(st.binary(max_size=120), st.booleans())
def test_any_bytes_are_for_exactly_one_ring(frame: bytes, is_narrow: bool) -> None:
    is_deep(frame, is_narrow=is_narrow)


@given(st.data())
def test_a_frame_that_is_cut_or_changed_anywhere_is_for_exactly_one_ring(data: st.DataObject) -> None:
    frame = bytearray(
        data.draw(st.sampled_from([said(b"GET / HTTP/1.1", vlans=(5, 6)), _DNS, _SOLICITATION, _OPENING]))
    )
    for _ in range(data.draw(st.integers(0, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    for is_narrow in (False, True):
        is_deep(bytes(frame[: data.draw(st.integers(0, len(frame)))]), is_narrow=is_narrow)


_DNS = udp_frame(_CLIENT, 40000, _SERVER, 53, traffictunnels.dns_query(1, "www.example.gov.cn"))
_SOLICITATION = trafficlan.neighbor_lookup(0, trafficlan.station_link(3), trafficlan.ROUTER6)[0].data
_OPENING = tcp_frame(station6(2), 5, station6(3), 443, ACK, payload=traffictls.client_hello(Random(1), "a.example"))
_QUIC = udp_frame(_CLIENT, 40000, _SERVER, 443, b"\xc3\x00\x00\x00\x01" + bytes(40))


@pytest.mark.parametrize(
    "frame",
    [
        trafficlan.arp_request(0, _CLIENT, "192.168.10.9").data,
        trafficlan.router_advertisement(0, trafficlan.ROUTER6).data,
        _SOLICITATION,
        trafficlan.dhcp_frame(0, "discover", _CLIENT.mac, transaction=1).data,
        _DNS,
        _QUIC,
        udp_frame(_CLIENT, 40000, _SERVER, 53, b"x", vlans=(1, 2)),
        _OPENING,
        said(traffictls.client_hello(Random(1), "a.example", version=traffictls.TLCP, is_13=False)),
        said(trafficweb.http_get("/")),
        said(trafficweb.http_get("/"), vlans=(7,)),
        said(b"HTTP/1.1 200 OK\r\n\r\n"),
        said(b"SSH-2.0-x\r\n"),
        said(ssh_key_exchange(Random(1))),
        said(b"\0\0\0\x40\xfeSMB" + bytes(60)),
        said(b"\x05\x00\x0b\x03" + bytes(60)),
        said(b"\x03\x00\x00\x13" + bytes(15)),
        said(bytes.fromhex("300c020101600702010304008000")),
        said(b"USER root\r\n", port=21),
        said(b"body that goes on", port=80),
    ],
    ids=lambda frame: frame[12:14].hex(),
)
def test_what_is_dissected_is_kept_whole_also_by_the_narrow_filter(frame: bytes) -> None:
    assert is_deep(frame)
    assert is_deep(frame, is_narrow=True)


@pytest.mark.parametrize(
    "frame",
    [
        tcp_frame(_CLIENT, 40000, _SERVER, 80, SYN, options=b"\1" * 12),
        tcp_frame(_CLIENT, 40000, _SERVER, 443, ACK),
        said(b"a"),
        said(b"abc"),
        said(b"bulk of no known protocol" * 40),
        said(b"\0\0\0\x10" + b"x" * 60),
        udp_frame(_CLIENT, 40000, _SERVER, 443, b"\x43" + bytes(40)),
        udp_frame(_CLIENT, 40000, _SERVER, 9999, bytes(40)),
        echo_pair(0, _CLIENT, _SERVER, 1, 1, bytes(900), None)[0].data,
        echo_pair(0, station6(2), station6(3), 1, 1, bytes(900), None)[0].data,
        ethernet(_CLIENT.mac, _SERVER.mac, 0x88CC, bytes(60)),
    ],
    ids=lambda frame: frame[12:14].hex(),
)
def test_everything_else_is_cut(frame: bytes) -> None:
    assert not is_deep(frame)
    assert not is_deep(frame, is_narrow=True)


def test_what_servers_go_on_to_say_is_bulk_that_the_narrow_filter_leaves() -> None:
    more = tcp_frame(_SERVER, 443, _CLIENT, 40000, ACK, payload=b"\x8f" * 1400)

    assert is_deep(more)
    assert not is_deep(more, is_narrow=True)


def test_fragments_are_not_dissected_and_packets_with_extension_headers_are() -> None:
    fragment = bytearray(_DNS)
    fragment[20] = 0x20
    extended = bytearray(_OPENING)
    extended[20] = 60

    assert not is_deep(bytes(fragment))
    assert is_deep(bytes(extended))


def test_of_every_attack_that_is_told_by_content_the_deep_ring_has_the_content() -> None:
    told_by_content = [case for case in CASES if case.kind.split(".")[1] in ("web", "certificate", "lateral", "spoof")]
    assert len(told_by_content) > 12
    for case in told_by_content:
        frames = build(case.attack)
        assert sum(is_deep(frame.data) for frame in frames[:120]) >= min(len(frames), 120) // 9, case.name


def test_a_connection_without_words_costs_the_deep_ring_nothing() -> None:
    frames = Conversation(Random(1), 0, _CLIENT, _SERVER, 80).open().close().frames

    assert not any(is_deep(frame.data) for frame in frames)


def test_a_jump_to_nowhere_is_refused_when_the_program_is_built() -> None:
    with pytest.raises(ValueError, match="not ahead"):
        bpf.assemble([bpf.Step(bpf.JUMP, yes="missing")])
    far = [bpf.Step(bpf.EQUAL, 1, yes="end"), *[bpf.Step(bpf.RETURN, 0)] * 300, bpf.Step(bpf.RETURN, 0, label="end")]
    with pytest.raises(ValueError, match="jumps 300 ahead"):
        bpf.assemble(far)
