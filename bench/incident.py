"""Incidents: findings a second through triage, an agent's spool to a durable notice, lists and board of a full store.

python -m bench.incident [--findings 20000] [--incidents 1000000] [--cases 10000] [--json F]   Everything is on the disk
(``synchronous=FULL``) of the temporary directory when its time is taken.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench import duty
from govsec.incident.api import Query, Summary
from govsec.incident.casefile import CaseFile
from govsec.incident.entries import Opened, Stage
from govsec.incident.levels import EventLevel
from govsec.incident.triage import Triage
from govsec.incident.triagefile import TriageFile
from govsec.notice.outbox import Outbox
from govsec.records import Finding, Severity

_NOW = datetime(2026, 11, 22, tzinfo=UTC)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--findings", type=int, default=20_000)
    parser.add_argument("--incidents", type=int, default=1_000_000)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = {
            **_triage(Path(folder), args.findings, args.incidents),
            **_cases(Path(folder), args.cases),
            **duty.measure(urgent=300, flood=10_000, kills=5),
        }
    for name, value in figures.items():
        print(f"{name:40} {value:12,.2f}")
    if args.json is not None:
        args.json.write_text(json.dumps(figures, indent=1))


def _triage(folder: Path, findings_count: int, incidents_count: int) -> dict[str, float]:
    file = TriageFile(folder / "triage.db")
    triage, outbox = Triage(file), Outbox(folder / "outbox.db")
    findings = [_finding(f"host-{number}") for number in range(findings_count)]
    begun = time.perf_counter()
    for start in range(0, findings_count, 100):
        triage.absorb(findings[start : start + 100], _NOW)
    figures = {"triage_findings_per_s": findings_count / (time.perf_counter() - begun)}
    for start in range(findings_count, incidents_count, 10_000):
        triage.absorb([_finding(f"host-{number}") for number in range(start, start + 10_000)], _NOW)
    waits = []
    for number in range(500):
        moment = _NOW + timedelta(minutes=2 * number + 2)
        urgent = _finding(f"urgent-{number}", kind=f"host.urgent{number}.x", severity=Severity.CRITICAL)
        begun = time.perf_counter()
        triage.absorb([urgent], moment)
        notices = triage.due(moment)
        outbox.put(notices, ["duty", "mail"], moment)
        triage.told(notices, moment)
        waits.append(1000 * (time.perf_counter() - begun))
        assert any(notice.subject == urgent.subject for notice in notices)
    waits.sort()
    figures |= {"finding_to_notice_ms_p50": waits[250], "finding_to_notice_ms_p99": waits[495]}
    figures["triage_incidents"] = file.counters()["incidents"]
    file.close()
    outbox.close()
    return figures


def _cases(folder: Path, count: int) -> dict[str, float]:
    store = CaseFile(folder / "cases.db")
    levels = list(EventLevel)
    for number in range(count):
        opened_at = _NOW + timedelta(seconds=number)
        entry = Opened(
            time=opened_at, by="bench", title=f"case {number}", aware_at=opened_at, roles=("other_operator",)
        )
        due = opened_at + timedelta(hours=4) if number % 3 == 0 else None
        line = Summary(
            "", entry.title, f"system-{number % 50}", list(Stage)[number % 8], levels[number % 4], False, opened_at,
            opened_at, due, "" if number % 2 else "duty", "", False,
        )  # fmt: skip
        store.create("20261122", entry, line)
    figures = {"cases": float(count)}
    asked: dict[str, Callable[[], object]] = {
        "list_newest_ms": lambda: store.find(Query()),
        "list_by_due_ms": lambda: store.find(Query(is_open=True, by_due=True)),
        "list_of_a_system_ms": lambda: store.find(Query(system="system-7", level_min=EventLevel.MAJOR)),
        "board_ms": lambda: store.board(_NOW),
    }
    for name, ask in asked.items():
        times = []
        for _ in range(50):
            begun = time.perf_counter()
            ask()
            times.append(1000 * (time.perf_counter() - begun))
        figures[name] = sorted(times)[49]
    store.close()
    return figures


def _finding(subject: str, *, kind: str = "net.scan.vertical", severity: Severity = Severity.MEDIUM) -> Finding:
    return Finding(kind=kind, severity=severity, time=_NOW, subject=subject, summary=f"{kind} of {subject}")


if __name__ == "__main__":
    main()
