"""A supervisor of real processes, stepped until what is waited for has come."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from govsec.agent.api import Budget, Context, ModuleSpec
from govsec.agent.spool import Spool
from govsec.agent.spoolrecord import Record
from govsec.agent.supervisor import Supervisor
from govsec.clock import SystemClock
from govsec.records import Finding, Severity
from tests.support.require import missing, require_root

#: Far above what any of these modules uses, and far longer than a machine stands still.
ROOMY = Budget(cpu_percent_max=1_000, memory_max_bytes=2 << 30, hang_s=600, stop_s=60)
WAIT_S = 60


@contextlib.contextmanager
def supervised(folder: Path, *modules: ModuleSpec, size_max_bytes: int = 8 << 20) -> Iterator[Supervisor]:
    """A supervisor that has not begun; in the end its modules are gone."""
    clock = SystemClock()
    with Spool(folder / "spool.db", clock, size_max_bytes=size_max_bytes) as spool:
        supervisor = Supervisor("test", modules, spool, clock)
        try:
            yield supervisor
        finally:
            for life in supervisor.lives.values():
                life.kill("end of the test")
            supervisor.shut_down()


def until(supervisor: Supervisor, condition: Callable[[], object]) -> None:
    """Step until ``condition`` holds."""
    limit = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < limit, f"waited {WAIT_S} s in vain; last: {list(supervisor.intake.recent)[-3:]}"
        supervisor.step(0.05)


def kinds(supervisor: Supervisor) -> list[str]:
    """Of everything in the spool, in order."""
    return [str(finding_of(record)["kind"]) for record in supervisor.intake.spool.after(0) if "finding" in record.body]


def findings(supervisor: Supervisor, kind: str) -> list[dict[str, JsonValue]]:
    """What the spool holds of one kind."""
    found = [finding_of(record) for record in supervisor.intake.spool.after(0, 10_000) if "finding" in record.body]
    return [finding for finding in found if finding["kind"] == kind]


def finding_of(record: Record) -> dict[str, JsonValue]:
    finding = record.body["finding"]
    assert isinstance(finding, dict)
    return finding


def something(context: Context, number: int = 1, severity: Severity = Severity.HIGH, text: str = "x") -> Finding:
    """A finding of a module."""
    return Finding(
        kind="host.test.something",
        severity=severity,
        time=context.clock.now(),
        subject="here",
        summary=f"Number {number}.",
        facts={"number": number, "text": text, "pattern": f"host.test.something|{number}"},
    )


def idle(context: Context) -> None:
    """A module that only lives."""
    while not context.wait(1):
        pass


@dataclass(frozen=True)
class SmallDisk:
    """A file system of one megabyte, until it grows."""

    place: Path

    def grow(self) -> None:
        subprocess.run(["mount", "-o", "remount,size=32m", str(self.place)], check=True)


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[SmallDisk]:
    """Skips without root, or where nothing can be mounted."""
    require_root()
    place.mkdir(mode=0o700)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", str(place)], check=False, capture_output=True
    )
    if done.returncode != 0:
        missing("tmpfs", "no file system can be mounted here")
    try:
        yield SmallDisk(place)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
