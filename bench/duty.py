"""The duty daemon measured: from an agent's spool to a durable notice, a flood, and kills in the middle of it.

python -m bench.duty [--urgent 300] [--flood 10000] [--kills 20] [--json F]   Everything is on the disk of the temporary
directory when its time is taken. The agent's spool is written by another process, as it is in life.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from govsec.agent.spool import Spool
from govsec.agent.spoolrecord import Entry, Priority
from govsec.assemble.duty import Duty
from govsec.clock import SystemClock
from govsec.config import Config, load_config
from govsec.incident.api import Query
from govsec.incident.entries import FindingJoined
from govsec.notice.outbox import ItemState
from govsec.records import Finding, Notice, Severity

_WRITER = """
import sys, time
from bench.duty import agent_finding, append
from govsec.clock import SystemClock
from govsec.agent.spool import Spool
from pathlib import Path
with Spool(Path(sys.argv[1]), SystemClock()) as spool:
    for number in range(int(sys.argv[2])):
        time.sleep(0.05)
        # The subject says when the agent began to write it down.
        append(spool, [agent_finding(str(time.time_ns()), kind=f"host.urgent{number}.x")])
"""


class _Hurried(SystemClock):
    """Each notice is two minutes after the one before, so that none waits for the limit of notices a minute."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.ahead


class _Timed(Duty):
    """Notes when a notice was on the disk."""

    waits_ms: list[float]

    def put(self, notices: Sequence[Notice]) -> None:
        super().put(notices)
        done_ns = time.time_ns()
        self.waits_ms += [
            (done_ns - int(notice.subject)) / 1e6 for notice in notices if notice.kind == "incident.opened"
        ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--urgent", type=int, default=300)
    parser.add_argument("--flood", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    figures = measure(args.urgent, args.flood, args.kills)
    for name, value in figures.items():
        print(f"{name:40} {value:12,.2f}")
    if args.json is not None:
        args.json.write_text(json.dumps(figures, indent=1))


def measure(urgent: int, flood: int, kills: int) -> dict[str, float]:
    """All figures."""
    with tempfile.TemporaryDirectory() as folder:
        figures = {**_latency(_site(Path(folder) / "urgent"), urgent), **_flood(_site(Path(folder) / "flood"), flood)}
        return {**figures, **_kills(Path(folder) / "kills", flood // 2, kills)}


def agent_finding(subject: str, kind: str = "host.ransomware.canary") -> Finding:
    """One that nobody waits with."""
    return Finding(
        kind=kind, severity=Severity.HIGH, time=datetime.now(UTC), subject=subject, summary=f"{kind} of {subject}"
    )


def append(spool: Spool, findings: Sequence[Finding]) -> None:
    """As an agent does it."""
    spool.append([Entry(Priority.FINDING, {"finding": finding.canonical()}) for finding in findings])


def _site(folder: Path) -> Config:
    folder.mkdir()
    path = folder / "govsec.yaml"
    file = {"kind": "file", "path": str(folder / "notices.jsonl")}
    notify = {"channels": {"duty": file, "mail": file}, "routes": [{"channels": ["duty", "mail"]}]}
    path.write_text(json.dumps({"version": 1, "state_dir": str(folder / "state"), "notify": notify}))
    return load_config(path)


def _spool_of(config: Config) -> Path:
    return config.state_dir / "agent" / "host" / "spool.db"


def _latency(config: Config, count: int) -> dict[str, float]:
    clock = _Hurried()
    with _Timed(config, clock, has_ledger=False) as duty:
        duty.waits_ms = []
        with subprocess.Popen([sys.executable, "-c", _WRITER, str(_spool_of(config)), str(count)]) as writer:
            while len(duty.waits_ms) < count:
                before = len(duty.waits_ms)
                duty.step(1.0)
                clock.ahead += timedelta(minutes=2) * (len(duty.waits_ms) > before)
                assert writer.poll() in (None, 0)
        waits = sorted(duty.waits_ms)
        assert not duty.troubles
    return {"spool_to_notice_ms_p50": waits[count // 2], "spool_to_notice_ms_p99": waits[count * 99 // 100]}


def _flood(config: Config, count: int) -> dict[str, float]:
    clock = SystemClock()
    with Spool(_spool_of(config), clock) as spool:
        append(spool, [agent_finding(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}") for n in range(count)])
    with Duty(config, clock, has_ledger=False) as duty:
        begun = time.perf_counter()
        while duty.step():
            pass
        took = time.perf_counter() - begun
        told = duty.outbox.counters()["waiting"] / 2
        assert duty.counts["findings"] == count
        cases = duty.store.find(Query())
        assert len(cases) == 1
    return {"flood_findings_per_s": count / took, "flood_notices": told}


def _kills(folder: Path, count: int, kills: int) -> dict[str, float]:
    """SIGKILL at moments of chance; then what is missing, doubled, and how often the program died in its work."""
    config, clock, died = _site(folder), SystemClock(), 0
    subjects = [f"/srv/{number}" for number in range(count)]
    with Spool(_spool_of(config), clock) as spool:
        for number in range(kills):
            append(spool, [agent_finding(subject) for subject in subjects[number::kills]])
            argv = [sys.executable, "-m", "govsec_agents.duty", "--config", str(folder / "govsec.yaml")]
            program = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
            # An interpreter takes about a second to begin its work here.
            time.sleep(0.7 + secrets.randbelow(800) / 1000)
            died += spool.state().records_count > 0
            program.send_signal(signal.SIGKILL)
            program.wait()
    with Duty(config, clock, has_ledger=False) as duty:
        while duty.step():
            pass
        joined = [
            entry.subject
            for line in duty.store.find(Query())
            for entry in duty.store.entries(line.id)
            if isinstance(entry, FindingJoined)
        ]
        keys = [item.notice.key + item.channel for state in ItemState for item in duty.outbox.items(state, limit=10**6)]
        cases = len(duty.store.find(Query()))
    return {
        "kills": kills,
        "kills_with_work_left": died,
        "kill_findings": count,
        "kill_findings_lost": len(set(subjects) - set(joined)),
        "kill_findings_doubled": len(joined) - len(set(joined)),
        "kill_notices_doubled": len(keys) - len(set(keys)),
        "kill_cases": cases,
    }


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
