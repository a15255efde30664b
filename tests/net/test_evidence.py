"""Evidence files: of the right packets, complete or saying what they lack, read back by scapy and by our own reader."""

from __future__ import annotations

import hashlib
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.utils import PcapNgReader

from govsec.errors import ConfigurationError
from govsec.net.addresses import parse
from govsec.net.capturefile import CaptureFile
from govsec.net.columns import FLOW, PacketBatch, Protocol
from govsec.net.community import community_ids
from govsec.net.evidence import CaptureCounts, EvidenceFile, EvidenceKeeper, EvidenceOptions
from govsec.records import Finding, Severity
from govsec.testing import trafficlan
from govsec.testing.packets import (
    SECOND,
    START_NS,
    Frame,
    merge,
    outside,
    pcap_bytes,
    station,
    udp_frame,
)

_ONE, _OTHER, _THIRD = station(40), station(41), station(42)
_COUNTS = CaptureCounts("eth0", received_count=1000, dropped_count=7)


def batches(tmp_path: Path, frames: list[Frame], *, size: int = 50) -> list[PacketBatch]:
    """The frames as the batches of a capture file, ``size`` packets each."""
    path = tmp_path / "in.pcap"
    path.write_bytes(pcap_bytes(frames))
    whole = list(CaptureFile(path).batches())
    return [
        batch.take(np.arange(start, min(start + size, len(batch))))
        for batch in whole
        for start in range(0, len(batch), size)
    ]


def talk(first_s: int, last_s: int) -> list[Frame]:
    """A datagram a second between two hosts, and one of a third host at the same time."""
    frames = []
    for second in range(first_s, last_s):
        moment = START_NS + second * SECOND
        frames.append(Frame(moment, udp_frame(_ONE, 5000, _OTHER, 6000, b"number %d" % second)))
        frames.append(Frame(moment + 1000, udp_frame(_THIRD, 5000, _OTHER, 6000, b"somebody else")))
        frames.append(Frame(moment + 2000, udp_frame(_OTHER, 6000, _ONE, 5000, b"answer %d" % second)))
    return frames


def finding(first_s: float, last_s: float, **facts: Any) -> Finding:
    start = datetime.fromtimestamp(START_NS // SECOND, UTC)
    first, last = start + timedelta(seconds=first_s), start + timedelta(seconds=last_s)
    hosts = {"originators": [_ONE.address], "responders": [_OTHER.address]}
    common = {"first": first.isoformat(), "last": last.isoformat(), "pattern": "test|192.168.10.40"}
    return Finding(
        kind="net.test.case",
        severity=Severity.HIGH,
        time=last,
        subject=_ONE.address,
        summary="a test of evidence",
        facts={**common, **hosts, **facts},
    )


def told(keeper: EvidenceKeeper, parts: list[PacketBatch], *, at_s: int, what: Finding) -> list[EvidenceFile]:
    """Batches one after the other; the finding comes with the first batch that reaches ``at_s``."""
    files: list[EvidenceFile] = []
    is_told = False
    for batch in parts:
        files += keeper.observe(batch, _COUNTS)
        if not is_told and int(batch.time_ns.max()) >= START_NS + at_s * SECOND:
            is_told = True
            assert keeper.open_window(what)
    return files + list(keeper.finish())


def community_of(originator: str, originator_port: int, responder: str, responder_port: int) -> str:
    row = np.zeros(1, FLOW)
    row["originator_hi"], row["originator_lo"] = parse(originator)
    row["responder_hi"], row["responder_lo"] = parse(responder)
    row["originator_port"], row["responder_port"] = originator_port, responder_port
    row["protocol"], row["ip_version"] = Protocol.UDP, 4
    return community_ids(row)[0]


def read(path: Path) -> list[Any]:
    with PcapNgReader(str(path)) as reader:
        return list(reader)


def seconds(path: Path) -> list[int]:
    return sorted({int(packet.time) - START_NS // SECOND for packet in read(path)})


def test_a_window_has_its_hosts_packets_from_before_to_after_and_no_others(tmp_path: Path) -> None:
    keeper = EvidenceKeeper(tmp_path / "evidence", EvidenceOptions())
    parts = batches(tmp_path, talk(0, 200))
    (file,) = told(keeper, parts, at_s=102, what=finding(100, 101))

    packets = read(file.path)
    assert seconds(file.path) == list(range(70, 132))
    assert {(packet[IP].src, packet[IP].dst) for packet in packets} == {
        (_ONE.address, _OTHER.address),
        (_OTHER.address, _ONE.address),
    }
    assert file.packets_count == len(packets) == 2 * 61 + 1  # the last answer is 2 microseconds late
    assert [packet.comment for packet in packets if packet.comment] == [b"from here on it counts for the finding"]
    counters = keeper.counters()
    assert (counters.files, counters.cut_packets, counters.refused_quota) == (1, 0, 0)


def test_where_a_finding_names_its_flows_only_their_packets_are_kept(tmp_path: Path) -> None:
    frames = talk(0, 20)
    for second in range(20):
        moment = START_NS + second * SECOND
        frames.append(Frame(moment + 3000, udp_frame(_OTHER, 53, _ONE, 5000, b"another flow")))
        frames.append(Frame(moment + 4000, udp_frame(_ONE, 5000, _OTHER, 6001, b"and another")))
    # Of the flow 5000 to 6000; see tests/net/test_community.py for where such ids come from.
    flow = community_of(_ONE.address, 5000, _OTHER.address, 6000)
    files = []
    cases: tuple[dict[str, Any], ...] = ({"flows": [flow]}, {"flows": [flow], "flows_count": 20}, {})
    for number, more in enumerate(cases):
        keeper = EvidenceKeeper(tmp_path / f"evidence{number}", EvidenceOptions())
        files += told(keeper, batches(tmp_path, merge(frames)), at_s=10, what=finding(9, 10, **more))

    assert [file.packets_count for file in files] == [40, 80, 80]
    assert {(packet[UDP].sport, packet[UDP].dport) for packet in read(files[0].path)} == {(5000, 6000), (6000, 5000)}


def test_a_file_is_its_owners_alone_and_its_digest_lies_beside_it(tmp_path: Path) -> None:
    keeper = EvidenceKeeper(tmp_path / "evidence", EvidenceOptions())
    (file,) = told(keeper, batches(tmp_path, talk(0, 50)), at_s=10, what=finding(9, 10))

    assert file.path.stat().st_mode & 0o777 == 0o600
    assert file.path.parent.stat().st_mode & 0o777 == 0o700
    assert hashlib.sha256(file.path.read_bytes()).hexdigest() == file.sha256
    checked = subprocess.run(
        ["sha256sum", "-c", f"{file.path.name}.sha256"], cwd=file.path.parent, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr
    assert file.path.stat().st_size == file.size_bytes


def test_the_same_packets_give_the_same_bytes_wherever_batches_are_cut(tmp_path: Path) -> None:
    files = []
    for number, size in enumerate((7, 50, 1000)):
        keeper = EvidenceKeeper(tmp_path / f"evidence{number}", EvidenceOptions())
        files += told(keeper, batches(tmp_path, talk(0, 200), size=size), at_s=102, what=finding(100, 101))

    assert len({file.sha256 for file in files}) == 1
    assert len({file.path.name for file in files}) == 1


def test_our_own_reader_reads_what_is_written_with_the_losses_of_the_capture(tmp_path: Path) -> None:
    keeper = EvidenceKeeper(tmp_path / "evidence", EvidenceOptions())
    (file,) = told(keeper, batches(tmp_path, talk(0, 50)), at_s=10, what=finding(9, 10))
    reader = CaptureFile(file.path)
    got = list(reader.batches())

    assert sum(map(len, got)) == file.packets_count
    assert int(got[0].time_ns[0]) == START_NS
    assert reader.counters()["packets_dropped_by_system"] == 7
    data = file.path.read_bytes()
    for words in (b"net.test.case: a test of evidence", b"pattern test|192.168.10.40", b"eth0"):
        assert words in data


def test_a_capture_that_ends_early_gives_what_there_is_and_says_so(tmp_path: Path) -> None:
    keeper = EvidenceKeeper(tmp_path / "evidence", EvidenceOptions())
    (file,) = told(keeper, batches(tmp_path, talk(0, 50)), at_s=45, what=finding(44, 45))

    assert seconds(file.path) == list(range(14, 50))
    assert b"the capture ended before the window did" in file.path.read_bytes()


def test_what_the_ring_no_longer_held_is_said(tmp_path: Path) -> None:
    frames = talk(0, 60)
    for second in range(60, 100):
        frames += [
            Frame(START_NS + second * SECOND + number, udp_frame(_THIRD, 1, _OTHER, 2, bytes(1400)))
            for number in range(40)
        ]
    frames += talk(100, 140)
    keeper = EvidenceKeeper(tmp_path / "evidence", EvidenceOptions(ring_bytes=1 << 20, before_s=90))
    (file,) = told(keeper, batches(tmp_path, merge(frames)), at_s=102, what=finding(100, 101))

    assert min(seconds(file.path)) > 60
    assert b" s of the window were no longer in memory" in file.path.read_bytes()
    assert keeper.counters().evicted_frames > 0


def test_a_file_ends_at_its_limit_and_counts_what_it_left_out(tmp_path: Path) -> None:
    frames = [
        Frame(START_NS + number * 1000, udp_frame(_ONE, 5000, _OTHER, 6000, bytes(1000))) for number in range(200)
    ]
    keeper = EvidenceKeeper(tmp_path / "evidence", EvidenceOptions(file_bytes=1 << 16))
    (file,) = told(keeper, batches(tmp_path, frames), at_s=0, what=finding(0, 0))

    counters = keeper.counters()
    assert file.size_bytes < (1 << 16) + 2000
    assert 0 < file.packets_count == 200 - counters.cut_packets
    assert b"%d later packets left out" % counters.cut_packets in file.path.read_bytes()


def test_a_full_folder_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    folder.mkdir()
    (folder / "older.pcapng").write_bytes(bytes(1 << 20))
    keeper = EvidenceKeeper(folder, EvidenceOptions(folder_bytes=1 << 20))

    assert told(keeper, batches(tmp_path, talk(0, 50)), at_s=10, what=finding(9, 10)) == []
    assert keeper.counters().refused_quota == 1
    assert [path.name for path in folder.iterdir()] == ["older.pcapng"]


def test_more_windows_than_may_be_open_are_refused_and_one_pattern_has_one(tmp_path: Path) -> None:
    keeper = EvidenceKeeper(tmp_path / "evidence", EvidenceOptions(windows_max=2))
    keeper.observe(batches(tmp_path, talk(0, 10))[0], _COUNTS)

    opened = [keeper.open_window(finding(1, 2, pattern=pattern)) for pattern in ("a", "b", "a", "c")]
    assert opened == [True, True, True, False]
    assert keeper.counters().refused_windows == 1
    assert len(keeper.finish()) == 2


@pytest.mark.parametrize("facts", [{"first": None}, {"originators": [], "responders": []}, {"first": 7}])
def test_a_finding_that_is_about_no_packets_has_no_window(tmp_path: Path, facts: dict[str, Any]) -> None:
    keeper = EvidenceKeeper(tmp_path / "evidence", EvidenceOptions())

    assert not keeper.open_window(finding(1, 2, **facts))
    assert keeper.counters().refused_windows == 0


def test_a_side_with_more_hosts_than_are_listed_is_any_host(tmp_path: Path) -> None:
    keeper = EvidenceKeeper(tmp_path / "evidence", EvidenceOptions())
    what = finding(5, 6, originators=["203.0.113.1"], originators_count=500)
    (file,) = told(keeper, batches(tmp_path, talk(0, 10)), at_s=6, what=what)

    assert {packet[IP].src for packet in read(file.path)} == {_ONE.address, _OTHER.address, _THIRD.address}


def test_hosts_are_found_by_mac_and_in_arp(tmp_path: Path) -> None:
    frames = trafficlan.arp_spoofing(Random(1))
    intruder = trafficlan.INTRUDER
    parts = batches(tmp_path, frames)
    by_mac = EvidenceKeeper(tmp_path / "mac", EvidenceOptions())
    (file,) = told(by_mac, parts, at_s=61, what=finding(60, 61, originators=[intruder.mac], responders=[]))
    by_address = EvidenceKeeper(tmp_path / "address", EvidenceOptions())
    what = finding(10, 11, originators=["192.168.10.20"], responders=["192.168.10.1"])
    (other,) = told(by_address, parts, at_s=11, what=what)

    assert {packet[Ether].src for packet in read(file.path)} == {intruder.mac}
    hosts = {(packet[ARP].psrc, packet[ARP].pdst) for packet in read(other.path)}
    assert hosts == {("192.168.10.1", "192.168.10.20"), ("192.168.10.20", "192.168.10.1")}


def test_a_tag_that_stood_in_the_frame_is_there_once(tmp_path: Path) -> None:
    frames = [Frame(START_NS + number, udp_frame(_ONE, 1, _OTHER, 2, b"x", vlans=(77,))) for number in range(3)]
    keeper = EvidenceKeeper(tmp_path / "evidence", EvidenceOptions())
    (file,) = told(keeper, batches(tmp_path, frames), at_s=0, what=finding(0, 0))

    assert [bytes(packet) for packet in read(file.path)] == [frame.data for frame in frames]
    assert read(file.path)[0][Dot1Q].vlan == 77


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigurationError, match="the folder of evidence"):
        EvidenceKeeper(tmp_path / "file" / "evidence", EvidenceOptions())


def test_a_disk_that_fails_is_counted_and_the_sensor_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    keeper = EvidenceKeeper(folder, EvidenceOptions())
    folder.rmdir()

    assert told(keeper, batches(tmp_path, talk(0, 50)), at_s=10, what=finding(9, 10)) == []
    assert keeper.counters().failed_writes == 1


def test_hosts_outside_are_matched_like_hosts_inside(tmp_path: Path) -> None:
    stranger = outside("203.0.113.9")
    frames = [Frame(START_NS + number, udp_frame(stranger, 1, _ONE, 2, b"x")) for number in range(3)]
    keeper = EvidenceKeeper(tmp_path / "evidence", EvidenceOptions())
    what = finding(0, 0, originators=["203.0.113.9", "not-an-address.example"], responders=[])
    (file,) = told(keeper, batches(tmp_path, frames), at_s=0, what=what)

    assert file.packets_count == 3
