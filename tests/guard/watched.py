"""A folder under a real guard: the kernel's own events go in, what is really done in it is judged.

Nothing here waits for a time: a sentinel file is written after the deed, and events are read until it comes by.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from govsec.clock import SystemClock, to_ns
from govsec.findings.engine import Engine
from govsec.guard.api import Observation
from govsec.guard.canaries import Canaries
from govsec.guard.registry import Site, build_detectors
from govsec.guard.sampling import Sampler, SamplingSettings
from govsec.guard.watch import DEGRADED, HostGuard, Intervals
from govsec.host.events import FileChange, Record, Stage
from govsec.host.filewatch import WatchOptions
from govsec.host.stream import EventStream, StreamOptions, open_stream
from govsec.records import Finding, Severity

#: A limit against hanging, never a measure.
WAIT_S = 60
_numbers = itertools.count()
#: What a program does at its end: it says that it is done, and stays.
_STAY = "\nopen(sys.argv[-1], 'wb').write(b'x')\nsys.stdin.read()\n"
_RANSOM = ("ransom_canary", "ransom_renames", "ransom_entropy", "ransom_deletes")


class Watched:
    """The folder, its events, and the guard."""

    def __init__(self, folder: Path, stream: EventStream, canaries: Canaries, settings: dict[str, Any]) -> None:
        self.folder = folder
        self.canaries = canaries
        self.stream = stream
        self.clock = SystemClock()
        detectors = [one for one in build_detectors(settings, Site(canaries=canaries)) if one.name in _RANSOM]
        self.guard = HostGuard(
            Engine[Observation](detectors, degraded_kind=DEGRADED),
            Sampler(SamplingSettings(per_s_max=10_000)),
            canaries=canaries,
            intervals=Intervals(look_s=3600),
        )

    @property
    def knows_processes(self) -> bool:
        """The source says who did it (fanotify, as root)."""
        return any("fanotify" in name for name in self.stream.sources().get(Stage.FILES, ()))

    def findings(self) -> list[Finding]:
        """Everything that is found in what was done until now; alarms only."""
        sentinel = self._sentinel()
        sentinel.write_bytes(b"x")
        return self._until(sentinel)

    def while_runs(self, script: str, *arguments: object) -> list[Finding]:
        """The same of what a program does, which stays alive until its deeds were read, so that it can be named."""
        sentinel = self._sentinel()
        argv = [sys.executable, "-c", script + _STAY, *map(str, arguments), str(sentinel)]
        with subprocess.Popen(argv, stdin=subprocess.PIPE) as program:
            try:
                return self._until(sentinel)
            finally:
                program.communicate(timeout=WAIT_S)

    def _sentinel(self) -> Path:
        return self.folder / f".sentinel-{next(_numbers)}"

    def _until(self, sentinel: Path) -> list[Finding]:
        found: list[Finding] = []
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            records = self.stream.read(0.2)
            found += self.guard.step(records, now_ns=to_ns(self.clock.now()))
            if any(self._is(record, sentinel) for record in records):
                return [finding for finding in found if finding.severity > Severity.LOW]
        raise AssertionError("the kernel never told of the sentinel")

    @staticmethod
    def _is(record: Record, path: Path) -> bool:
        return isinstance(record, FileChange) and record.path == str(path)


@contextmanager
def watched(folder: Path, state: Path, *, has_canaries: bool = False, **settings: dict[str, Any]) -> Iterator[Watched]:
    """``folder``, which is there already, under watch; with canaries that were placed before, when wanted."""
    canaries = Canaries(state / "canaries.json")
    if has_canaries:
        canaries.place(folder.resolve(), SystemClock())
    options = StreamOptions(has_processes=False, files=WatchOptions(roots=(folder.resolve(),)), logins=None)
    with open_stream(options, SystemClock()) as stream:
        yield Watched(folder.resolve(), stream, canaries, settings)
