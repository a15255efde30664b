"""The network agent on a real cable: a scan by real packets is in the spool, found by a sensor without any right."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from govsec.agent.spool import Spool
from govsec.assemble.agent import spooled
from govsec.clock import SystemClock
from govsec.config import load_config
from govsec.errors import GovsecError
from govsec.testing import trafficscans
from govsec.testing.packets import station, tcp_frame
from tests.support.namespaces import cable

WAIT_S = 60


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that another user reaches, with a name that is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="gsn-") as name:
        place = Path(name)
        place.chmod(0o755)
        yield place


def found(config: Path) -> set[str]:
    try:
        records = spooled("network", load_config(config), SystemClock(), after=0, limit=10_000)
    except GovsecError:  # it has not begun
        return set()
    bodies = [record.body["finding"] for record in records if "finding" in record.body]
    return {str(body["kind"]) for body in bodies if isinstance(body, dict)}


def capabilities(pid: int) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("CapEff"))


def module_below(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else 0


def test_a_scan_on_a_cable_reaches_the_spool_through_a_sensor_without_rights(folder: Path) -> None:
    config = folder / "agent.yaml"
    config.write_text(
        f"state_dir: {folder}/state\n"
        f"agent: {{run_dir: {folder}/run, interfaces: [wire-b], modules: {{sensor: {{stop_s: 300, hang_s: 600}}}}}}\n"
    )
    frames = [frame.data for frame in trafficscans.vertical_scan(Random(1), ports_count=400)]
    with cable() as (sender, receiver), (folder / "said").open("wb") as said:
        with receiver.inside():
            agent = subprocess.Popen(
                [sys.executable, "-m", "govsec_agents.network", "--config", str(config)],
                stderr=said,
                env={**os.environ, "STATE_DIRECTORY": f"{folder}/state"},
            )
        try:
            limit = time.monotonic() + WAIT_S
            module = 0
            # Listening is what it does once it has no rights any more.
            while not (module and set(capabilities(module)) == {"0"}):
                assert agent.poll() is None, (folder / "said").read_text()
                assert time.monotonic() < limit, (folder / "said").read_text()
                time.sleep(0.05)
                module = module_below(agent.pid)
            for start in range(0, len(frames), 100):
                sender.send(frames[start : start + 100])
            sender.send(tcp_frame(station(1), 1, station(2), 2, 16) for _ in range(10))
        finally:
            agent.terminate()
            agent.wait(WAIT_S)

    assert agent.returncode == 0
    assert not Path(f"/proc/{module}").exists()
    assert "net.scan.vertical" in found(config), "what a sensor says when it is told to end is kept"
    kept = [path for path in (folder / "state/evidence/wire-b").iterdir() if "net.scan.vertical" in path.name]
    assert kept and kept[0].stat().st_uid != 0, "the packets of the scan, written by the sensor itself"
    with Spool(folder / "state/agent/network/spool.db", SystemClock(), is_reader=True) as spool:
        assert {record.body["module"] for record in spool.after(0)} == {"sensor-wire-b"}
