"""What long runs measure themselves by: processor time and progress. So a slow or suspended machine fails nothing."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Processor time that each fuzzer spends.
SECONDS = float(os.environ.get("GOVSEC_SOAK_SECONDS", "600"))
_LOOK_S = 0.02
#: Looks in a row at which nobody of a group ran or could have: they wait for something that does not come.
_IDLE_LOOKS_MAX = 1500
#: Ending takes milliseconds; whoever uses so much of the processor is busy with something else.
_ENDING_CPU_MAX_S = 30.0


def seeds(what: str) -> Iterator[int]:
    """Seeds from one that is drawn by lot and printed, until this process has spent :data:`SECONDS` on them."""
    seed = secrets.randbits(60)
    print(f"{what}: from seed {seed}")
    first = seed
    end = time.process_time() + SECONDS
    while time.process_time() < end:
        seed += 1
        yield seed
    print(f"{what}: {seed - first} inputs")


def wait_for_group(group: int) -> None:
    """Wait until the last process of a group has gone; they end by themselves when their leader does.

    Raises:
        AssertionError: they sleep and sleep, or use the processor for other things than ending.
    """
    idle_looks = 0
    before: _Group | None = None
    while (now := _look(group)).pids:
        if before is None or now.is_at_work or now.cpu_s != before.cpu_s or now.pids != before.pids:
            idle_looks = 0
        idle_looks += 1
        stuck = idle_looks > _IDLE_LOOKS_MAX or now.cpu_s > _ENDING_CPU_MAX_S
        assert not stuck, f"processes {sorted(now.pids)} of group {group} are still there: {now}"
        before = now
        # Nothing reports the end of another process's children; a short look now and then is all there is.
        time.sleep(_LOOK_S)


@dataclass(frozen=True)
class _Group:
    pids: frozenset[int]
    #: Someone runs, waits for a disk or is stopped: it is not their fault that they are still there.
    is_at_work: bool
    cpu_s: float


def _look(group: int) -> _Group:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return _Group(frozenset(), False, 0.0)
    states: dict[int, str] = {}
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # gone between the two calls
        if int(fields[2]) == group and fields[0] != "Z":
            states[int(path.parent.name)] = fields[0]
            ticks += int(fields[11]) + int(fields[12])
    return _Group(frozenset(states), bool(set(states.values()) & set("RDTt")), ticks / os.sysconf("SC_CLK_TCK"))
