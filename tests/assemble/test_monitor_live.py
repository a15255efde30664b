"""The sensor on a real cable: what is sent is found, its packets are kept, and the process has no rights left."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from govsec.assemble.monitorevidence import evidence_of, read_options
from govsec.config import MonitorConfig
from govsec.errors import ConfigurationError
from govsec.net.capturefile import CaptureFile
from govsec.net.evidence import EvidenceOptions
from govsec.net.live import LiveOptions
from govsec.testing import trafficscans
from govsec.testing.packets import pcap_bytes, station, tcp_frame
from tests.support.namespaces import cable


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that another user reaches: not below pytest's, which every other run closes to all but its own user."""
    with tempfile.TemporaryDirectory(prefix="govsec-watch-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_scan_on_a_cable_is_told_and_its_packets_are_kept(folder: Path) -> None:
    command = [sys.executable, "-m", "govsec.cli", "--json", "monitor", "watch", "wire-b", "--evidence"]
    frames = [frame.data for frame in trafficscans.vertical_scan(Random(1), ports_count=400)]
    with cable() as (sender, receiver):
        with receiver.inside():
            process = subprocess.Popen(
                [*command, str(folder / "evidence")],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=folder,
            )
        with process:
            assert process.stderr is not None
            assert process.stderr.readline().startswith("wire-b: nobody, Landlock ")
            for start in range(0, len(frames), 100):
                sender.send(frames[start : start + 100])
            sender.send(tcp_frame(station(1), 1, station(2), 2, 16) for _ in range(10))
            process.send_signal(signal.SIGTERM)
            out, talk = process.communicate(timeout=60)

    findings = [json.loads(line) for line in out.splitlines()]
    scan = next(each for each in findings if each["kind"] == "net.scan.vertical")
    assert scan["facts"]["originators"] == [trafficscans.SCANNER.address]
    assert process.returncode == 1
    assert f"capture: packets {len(frames) + 10}, wide_dropped 0, deep_dropped 0" in talk
    kept = [path for path in (folder / "evidence").iterdir() if path.suffix == ".pcapng"]
    assert any("net.scan.vertical" in path.name for path in kept), (out, talk)
    assert sum(map(len, CaptureFile(kept[0]).batches())) > 100
    assert kept[0].stat().st_uid != 0


def test_evidence_of_a_replay_lies_in_its_folder(tmp_path: Path) -> None:
    from govsec.assemble.monitor import replay

    capture = tmp_path / "scan.pcap"
    capture.write_bytes(pcap_bytes(trafficscans.vertical_scan(Random(1))))
    sums = []
    for name in ("one", "two"):
        with evidence_of(tmp_path / name, MonitorConfig(), "scan.pcap") as sink:
            assert replay(capture, MonitorConfig(), [sink]).findings
        sums.append([(file.path.name, file.sha256) for file in sink.files])

    assert sums[0] == sums[1]
    assert [name.split("-")[1] for name, _ in sums[0]] == ["net.scan.vertical"]


@pytest.mark.parametrize(
    ("read", "complaint"),
    [
        (lambda: read_options(LiveOptions, {"snap_lenght": 1}, "monitor.live"), "monitor.live: .*snap_lenght"),
        (lambda: read_options(EvidenceOptions, {"before_s": -1}, "monitor.evidence"), "monitor.evidence: .*before_s"),
    ],
)
def test_a_wrong_setting_is_named(read: Callable[[], object], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        read()
