"""Running programs side by side: wall time, and memory as PSS summed over all processes of the run."""

from __future__ import annotations

import os
import resource
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_SAMPLE_EVERY_S = 0.05


@dataclass(frozen=True)
class Measured:
    """One run."""

    seconds: float
    #: Of all processes, user and system: what is left to compare on a machine that others use as well.
    processor_s: float
    pss_bytes_peak: int


class Failed(Exception):
    """A program did not do its part; a benchmark of what fails means nothing."""


class TooSlow(Failed):
    """It did not end in the time that it was given, and was ended with all its processes."""


def measure(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    is_sampled: bool = True,
    exit_codes: Collection[int] = (0,),
    limit_s: float | None = None,
) -> Measured:
    """Run to the end and measure.

    Raises:
        TooSlow: it had not ended after ``limit_s``.
        Failed: the exit code is none of ``exit_codes``.
    """
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    process = subprocess.Popen(
        argv,
        env={**os.environ, **(environment or {})},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    sampler = _Sampler(process.pid)
    if is_sampled:
        sampler.start()
    try:
        _, errors = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired as error:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise TooSlow(f"{argv[0]} did not end within {limit_s} s") from error
    finally:
        seconds = time.perf_counter() - started
        sampler.is_done.set()
        if is_sampled:
            sampler.join()
    if process.returncode not in exit_codes:
        raise Failed(f"{' '.join(argv)}: exit code {process.returncode}: {errors.decode(errors='replace')[-800:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor_s = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return Measured(seconds, processor_s, sampler.peak)


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def size_of(root: Path) -> int:
    """Bytes of all files below ``root``."""
    return sum(
        os.lstat(os.path.join(directory, name)).st_size for directory, _, names in os.walk(root) for name in names
    )


class _Sampler(threading.Thread):
    """Looks at every process of the run's session, again and again."""

    def __init__(self, session: int) -> None:
        super().__init__(daemon=True)
        self._session = session
        self.peak = 0
        self.is_done = threading.Event()

    def run(self) -> None:
        while not self.is_done.wait(_SAMPLE_EVERY_S):
            self.peak = max(self.peak, sum(_pss(pid) for pid in self._members()))

    def _members(self) -> list[int]:
        members = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    stat = Path(f"/proc/{entry}/stat").read_text()
                except OSError:
                    continue
                if int(stat.rpartition(")")[2].split()[3]) == self._session:
                    members.append(int(entry))
        return members


def _pss(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0
