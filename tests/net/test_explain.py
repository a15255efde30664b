"""Packets taken apart by scapy in a process of its own: what is said of them, and what hostile ones can do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from govsec.errors import UsageError
from govsec.net import explainchild
from govsec.net.explain import ExplainedPacket, PickedPacket, explain, pick_flow, pick_packet
from govsec.report.catalog import Catalogue
from govsec.report.explain import dump, note_words, packet_words
from govsec.testing import trafficlan, trafficlogins, trafficsmb, traffictls, traffictunnels, trafficweb
from govsec.testing.packets import (
    Conversation,
    Frame,
    echo_pair,
    merge,
    pcap_bytes,
    station,
    station6,
    tcp_frame,
    udp_frame,
)

_CHILD = Path(explainchild.__file__)


def capture(tmp_path: Path, frames: list[Frame], **options: Any) -> Path:
    path = tmp_path / "in.pcap"
    path.write_bytes(pcap_bytes(frames, **options))
    return path


def picked(data: bytes, number: int = 1, link_type: int = 1) -> PickedPacket:
    return PickedPacket(number=number, time_ns=0, link_type=link_type, wire_size=len(data), data=data)


def codes(explained: ExplainedPacket) -> list[str]:
    return [code for code, _ in explained.notes]


_FRAME = udp_frame(station(2), 1, station(3), 9, b"x" * 200)
_CUT = PickedPacket(number=8001, time_ns=0, link_type=1, wire_size=len(_FRAME), data=_FRAME[:60])
_STRANGE = picked(b"\x01" * 30, 8002, link_type=147)


@pytest.fixture(scope="module")
def of_everything() -> list[ExplainedPacket]:
    """Some packets of many protocols, explained by one process."""
    rng = Random(1)
    frames = merge(
        trafficlan.arp_spoofing(rng)[:2],
        trafficlan.rogue_dhcp(rng)[:4],
        trafficlan.router_spoofing(rng)[:3],
        traffictunnels.ordinary_lookups(rng)[:2],
        trafficweb.sql_injection(rng)[:10],
        traffictls.expired_certificate(rng)[:12],
        trafficsmb.admin_shares(rng)[:12],
        trafficlogins.ssh_guessing(rng)[:8],
        echo_pair(0, station(2), station(3), 1, 1, b"abcd", b"abcd"),
        echo_pair(0, station6(2), station6(3), 1, 1, b"abcd", None),
        Conversation(rng, 0, station(2), station(3), 80).refuse().frames,
    )
    packets = [picked(frame.data, number) for number, frame in enumerate(frames, 1)]
    return list(explain([*packets, _CUT, _STRANGE]))


def test_every_kind_of_packet_is_said_in_words(of_everything: list[ExplainedPacket]) -> None:
    assert all(each.is_readable for each in of_everything)
    said = {code for each in of_everything for code in codes(each)}

    assert said >= {"arp.request", "arp.reply", "dhcp.discover", "dhcp.offer", "dhcp.request", "dhcp.ack", "nd.router"}
    assert said >= {"nd.question", "nd.answer", "dns.question", "dns.answer", "http.request", "http.response"}
    assert said >= {"tcp.opening", "tcp.accepted", "tcp.acknowledged", "tcp.data", "tcp.closing", "tcp.reset"}
    assert said >= {"tls.hello", "tls.answer", "tls.certificate", "smb.request", "smb.response", "udp.data"}
    assert said >= {"icmp.echo", "icmp.reply", "payload.text", "payload.binary"}


def test_both_languages_have_words_for_every_note_and_say_its_values(of_everything: list[ExplainedPacket]) -> None:
    zh, en = Catalogue("explain", "zh"), Catalogue("explain", "en")
    assert zh.keys() == en.keys()
    for each in of_everything:
        for code, values in each.notes:
            for words in (zh, en):
                assert note_words(code, values, words) != words.text("unknown", {"code": code}), code
    hello = next(values for each in of_everything for code, values in each.notes if code == "tls.hello")
    assert note_words("tls.hello", hello, en) == (
        "The client begins an encrypted connection; it wants: portal.example.gov.cn."
    )


def test_every_word_of_the_catalogue_can_be_said() -> None:
    told = _CHILD.read_text() + _CHILD.with_name("explain.py").read_text()
    keys = Catalogue("explain", "en").keys()
    notes = {key.removeprefix("note.") for key in keys if key.startswith("note.")}

    assert len(notes) > 30
    assert {note for note in notes if note not in told and not note.startswith("dhcp.")} == set()


def test_layers_have_fields_as_scapy_reads_them(of_everything: list[ExplainedPacket]) -> None:
    syn = next(each for each in of_everything if "tcp.opening" in codes(each))
    layers = {layer.name: dict(layer.fields) for layer in syn.layers}

    assert list(layers)[:3] == ["Ethernet", "IP", "TCP"]
    assert layers["TCP"]["flags"] == "S"
    assert layers["IP"]["proto"] == "tcp"


def test_what_was_not_captured_is_said_first(of_everything: list[ExplainedPacket]) -> None:
    cut = next(each for each in of_everything if each.packet is _CUT)

    assert cut.notes[0] == ("packet.cut", {"captured": "60", "wire": str(len(_FRAME))})


def test_a_link_type_that_scapy_does_not_know_is_bytes(of_everything: list[ExplainedPacket]) -> None:
    strange = next(each for each in of_everything if each.packet is _STRANGE)

    assert [layer.name for layer in strange.layers] == ["Raw"]


def test_a_packet_is_picked_by_its_number_from_one(tmp_path: Path) -> None:
    frames = [Frame(number, udp_frame(station(2), number, station(3), 9, b"x")) for number in range(1, 6)]
    path = capture(tmp_path, frames)

    assert pick_packet(path, 1).data == frames[0].data
    assert (pick_packet(path, 5).data, pick_packet(path, 5).number) == (frames[4].data, 5)
    with pytest.raises(UsageError, match="has 5 packets, and no number 6"):
        pick_packet(path, 6)


@pytest.mark.parametrize(
    "flow",
    [
        "192.168.10.40:40000-192.168.10.80:80/tcp",
        "192.168.10.80:80-192.168.10.40:40000/TCP",
        "1:v6XdPR7jbQMJpRSQ8nA6ukm8ftY=",  # as tshark 4.0 has it
    ],
)
def test_a_flow_is_picked_by_its_ends_or_by_its_community_id(tmp_path: Path, flow: str) -> None:
    rng = Random(1)
    talk = Conversation(rng, 0, station(40), station(80), 80, client_port=40000).open().ask(b"hello").close()
    other = Conversation(rng, 0, station(41), station(80), 80, client_port=40000).open().close()
    path = capture(tmp_path, merge(talk.frames, other.frames))

    found = pick_flow(path, flow)
    assert [each.data for each in found] == [frame.data for frame in talk.frames]
    assert len(pick_flow(path, flow, count_max=3)) == 3


def test_a_flow_over_ipv6_is_written_in_brackets(tmp_path: Path) -> None:
    frame = Frame(0, tcp_frame(station6(2), 5, station6(3), 6, 2))
    found = pick_flow(capture(tmp_path, [frame]), "[2001:db8:10::2]:5-[2001:db8:10::3]:6/tcp")

    assert [each.data for each in found] == [frame.data]


@pytest.mark.parametrize(
    ("flow", "complaint"),
    [
        ("nonsense", "is no flow: give a community id"),
        ("192.168.10.2:5-192.168.10.3:99999/udp", "there is no port 99999"),
        ("192.168.10.2:5-host:9/udp", "'host' is no address"),
        ("192.168.10.2:5-192.168.10.3:9/udp", "has no flow"),
        ("1:AAAAAAAAAAAAAAAAAAAAAAAAAAA=", "has no flow"),
    ],
)
def test_a_flow_that_is_not_there_is_said(tmp_path: Path, flow: str, complaint: str) -> None:
    path = capture(tmp_path, [Frame(0, udp_frame(station(2), 1, station(3), 9, b"x"))])

    with pytest.raises(UsageError, match=complaint):
        pick_flow(path, flow)


def test_hostile_bytes_are_explained_or_said_to_be_unreadable() -> None:
    rng = Random(7)
    seeds = [frame.data for frame in traffictls.expired_sm2_certificate(rng)[:8]]
    seeds += [frame.data for frame in trafficsmb.service_creation(rng)[3:20:2]]
    packets = []
    for number in range(60):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 30)):
            data[rng.randrange(12, len(data))] = rng.randrange(256)
        packets.append(picked(bytes(data[: rng.randint(0, len(data))]), number + 1))
    explained = explain(packets)

    assert [each.packet.number for each in explained] == list(range(1, 61))
    assert sum(each.is_readable for each in explained) > 50


def test_a_packet_that_kills_the_process_costs_that_packet() -> None:
    deadly = picked(b"x" * 60, 2, link_type="not a number")  # type: ignore[arg-type]  # the child's int() ends it
    good = udp_frame(station(2), 1, station(3), 9, b"x")
    explained = explain([picked(good, 1), deadly, picked(good, 3)])

    assert [each.is_readable for each in explained] == [True, False, True]


def test_the_child_can_open_nothing_once_it_reads() -> None:
    code = f"""
import runpy, socket, sys
child = runpy.run_path({str(_CHILD)!r})
child["_limit"]()
for act in (lambda: open("/etc/hostname"), lambda: socket.socket()):
    try:
        act()
    except OSError:
        print("refused")
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60)

    assert done.stdout.split() == ["refused", "refused"], done.stderr


def test_without_scapy_the_child_says_so_by_its_exit_code() -> None:
    done = subprocess.run([sys.executable, "-I", "-S", str(_CHILD)], input=b"", capture_output=True, timeout=60)

    assert done.returncode == 3


def test_words_cannot_play_tricks_on_a_terminal() -> None:
    said = packet_words(
        number=1,
        time="2026-06-01T01:00:00Z",
        wire_size=60,
        data=bytes(range(60)),
        layers=[("HTTP", [("Path", "/\x1b[2J\u202e")])],
        notes=[("dns.question", {"source": "a", "target": "b", "names": "x\x1b]0;y\x07"})],
        lang="en",
        bytes_max=32,
    )

    assert "\x1b" not in said and "\u202e" not in said and "\x07" not in said
    assert "a asks b for the name x\\u001b]0;y\\u0007." in said
    assert "0010  10 11 12" in said
    assert "… 28 more bytes" in said
    assert dump(b"") == []
