"""What the guard's own looks had to leave out, and when that is told.

One idea: a look that is bounded counts what it left out, by part and reason. What was left out already when people
accepted the baseline is no news; more than that is told, and told again when it has doubled. So a limit that is met on
purpose, to hide behind it, is seen, and one that is met every day is not repeated every hour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from govsec.host.events import EventsLost, Stage, WatchNote

Counters = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class _Reason:
    """Why something was left out. ``is_lost``: nobody looks at it later either, and who left it there may want that."""

    text: str
    is_lost: bool = False


#: By part and counter of :meth:`govsec.guard.watch.HostGuard.counters`.
_REASONS: Mapping[tuple[str, str], _Reason] = {
    ("integrity", "over_limit"): _Reason("files beyond guard.files_max were not looked at", is_lost=True),
    ("integrity", "unreadable"): _Reason("files or folders below guard.roots could not be read"),
    ("integrity", "not_hashed"): _Reason("files were too large, or too many changed at once, for their contents"),
    ("integrity", "other_file_systems"): _Reason("folders below guard.roots are other file systems, not looked into"),
    ("integrity", "roots_missing"): _Reason("of guard.roots were not there"),
    ("integrity", "touched_dropped"): _Reason("changes came faster than files are looked at; all were looked at then"),
    ("integrity", "package_faults"): _Reason("times the package database could not be read"),
    ("sampler", "over_rate"): _Reason("written files were not sampled, for there were more than guard.sampling allows"),
    ("logs", "dropped"): _Reason("logs were not followed, for there are too many"),
    ("logs", "rotated_dropped"): _Reason("rotated files were not followed, for there are too many"),
    ("logs", "shallow"): _Reason("logs are known by their first and last bytes alone, for there are too many"),
    ("logs", "unreadable"): _Reason("logs could not be read"),
    ("keys", "unreadable"): _Reason("key files, or ld.so.preload, could not be read"),
}


def left_out(counters: Counters) -> Iterator[tuple[str, str, int]]:
    """(part, reason, how much) of all that is left out, zeros too."""
    for part, reason in _REASONS:
        yield part, reason, counters.get(part, {}).get(reason, 0)


class Shortfalls:
    """Tells what is left out. ``accepted``: by reason, what a pass over files left out at the baseline."""

    def __init__(self, accepted: Mapping[str, int]) -> None:
        self._accepted = accepted
        self._told: dict[tuple[str, str], int] = {}

    def notes(self, time_ns: int, counters: Counters) -> Iterator[EventsLost | WatchNote]:
        """What is news, by the counters of the looks that were made."""
        for part, reason, count in left_out(counters):
            usual = self._accepted.get(reason, 0) if part == "integrity" else 0
            if count <= usual:
                self._told.pop((part, reason), None)
            elif count >= 2 * self._told.get((part, reason), 0):
                self._told[part, reason] = count
                said = _REASONS[part, reason]
                if said.is_lost:
                    yield EventsLost(time_ns, Stage.FILES, said.text, count - usual)
                else:
                    source = f"the guard ({part}: {reason})"
                    yield WatchNote(time_ns, Stage.FILES, source, True, f"{count} {said.text}")
