"""Where a recovery is to end, and what it takes to get there: a base backup, log files, and the exact place.

The place is found by reading the log itself, event by event with every checksum, from the base backup on: nothing that
a record says about it is taken on trust. A recovery ends with a whole transaction. To a moment means: before the first
transaction whose second is later; the log keeps whole seconds, in the order of the commits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from govsec.clock import format_time
from govsec.errors import FormatError, IntegrityError, RefusedError, UsageError
from govsec.mariadb.events import HEAD_SIZE, MAGIC, Commit, Event, FileCheck, Transactions, parse_event
from govsec.mariadb.logtree import HEAD_EVENTS, head_of, holds
from govsec.mariadb.record import BaseRecord, LineRecord, LogPlace, LogRecord, MisdatedRecord

#: The server's own limit of a packet; no event is larger.
_EVENT_SIZE_MAX = (1 << 30) + (1 << 16)


@dataclass(frozen=True, slots=True)
class End:
    """As far as the log goes."""

    def __str__(self) -> str:
        return "the end of the log"


@dataclass(frozen=True, slots=True)
class AtTime:
    """The state as of the end of a second of the server's clock."""

    time: datetime

    def __str__(self) -> str:
        return format_time(self.time)


@dataclass(frozen=True, slots=True)
class AtPlace:
    """After the transaction that ends at a place."""

    place: LogPlace

    def __str__(self) -> str:
        return str(self.place)


@dataclass(frozen=True, slots=True)
class AtGtid:
    """After the transaction with a global id, as ``0-1-4711``."""

    gtid: str

    def __str__(self) -> str:
        return f"GTID {self.gtid}"


Target = End | AtTime | AtPlace | AtGtid


@dataclass(frozen=True, slots=True)
class Choice:
    """A base backup and the line whose log is played on top; no line when the base backup is all there is."""

    base: BaseRecord
    line: LineRecord | None


@dataclass(frozen=True, slots=True)
class Stop:
    """Where the recovery ends: after ``commit``, None where nothing is played on top of the base backup."""

    commit: Commit | None
    files: tuple[str, ...]
    transactions: int
    #: Transactions behind the end that say a time before it: long ones, or somebody set a session's clock.
    earlier_behind: int = 0


def parse_target(time: datetime | None, place: str | None, gtid: str | None) -> Target:
    """What the arguments ask for; the end when there are none.

    Raises:
        UsageError: several at once, or no such place.
    """
    if sum(given is not None for given in (time, place, gtid)) > 1:
        raise UsageError("a recovery has one end: a time, a position or a GTID")
    if time is not None:
        return AtTime(time)
    if gtid is not None:
        return AtGtid(gtid)
    if place is None:
        return End()
    file, colon, position = place.rpartition(":")
    try:
        if not colon or not position.isdecimal():
            raise FormatError("expected FILE:POSITION")
        return AtPlace(LogPlace(file=file, position=int(position)))
    except ValueError as error:
        raise UsageError(f"position {place[:200]!r}: {error}") from error
    except FormatError as error:
        raise UsageError(f"position {place[:200]!r}: {error}") from error


def choices(record: LogRecord, target: Target) -> Iterator[Choice]:
    """The base backups that the recovery may begin with, the best first.

    Nothing leads across a gap: behind it there is no way without a base backup that was made behind it.

    Raises:
        RefusedError: none leads to the target; says what there is.
    """
    found = False
    for base in sorted(record.bases, key=lambda known: known.ended, reverse=True):
        line = line_of(record, base)
        if isinstance(target, End):
            _refuse_gap(record, base, line)
        if isinstance(target, AtTime) and not (base.ended <= target.time < _reach(record, base, line)):
            continue
        if isinstance(target, AtPlace) and not _is_between(base, target.place, line):
            continue
        if isinstance(target, AtGtid) and line is None:
            continue
        found = True
        yield Choice(base, line)
    if not found:
        raise RefusedError(f"no base backup here leads to {target}; there is: {window_words(record) or 'none'}")


def line_of(record: LogRecord, base: BaseRecord) -> LineRecord | None:
    """The line whose log follows a base backup; the newest of those that could."""
    fitting = [
        line for line in record.lines if holds(line, base) and (line.broken_at is None or base.began < line.broken_at)
    ]
    # Where the begin of the file is known it decides; holds() has left out the lines with another one.
    known = [line for line in fitting if base.place is not None and base.place.file in line.heads]
    chosen = known or fitting
    return chosen[-1] if chosen else None


def windows(record: LogRecord) -> list[tuple[BaseRecord, LineRecord | None]]:
    """What can be recovered: from each base backup on, to the end of its line."""
    return [(base, line_of(record, base)) for base in record.bases]


def window_words(record: LogRecord) -> str:
    """The same in words."""
    return "; ".join(
        f"{format_time(base.ended)} to {format_time(end_of(record, base, line))}" for base, line in windows(record)
    )


def end_of(record: LogRecord, base: BaseRecord, line: LineRecord | None) -> datetime:
    """The moment that a base backup and its line lead to: the last transaction, or when the server had no more."""
    end = base.ended
    if line is not None and line.commit is not None:
        end = max(end, line.commit.time)
    if line is not None and _goes_on(record, line) and record.level_at is not None:
        end = max(end, record.level_at)
    return end


def find_stop(
    choice: Choice, folder: Callable[[str], Path], target: Target, misdated: Sequence[MisdatedRecord] = ()
) -> Stop | None:
    """Read the log from the base backup on and find the end; None when the target lies before this base backup.

    ``folder`` gives the path of a log file by its name; ``misdated`` are transactions that say a time to come.

    Raises:
        IntegrityError: the log is damaged, is not the one that the base backup belongs to, or ends too early.
        UsageError: no transaction ends at the place, or there is no such GTID.
    """
    base, line = choice.base, choice.line
    if line is None or base.place is None:
        return Stop(None, (), 0)
    known = {(item.place.file, item.place.position): item.taken for item in misdated if item.line == line.number}
    scan = _Scan(base, target, known)
    for name in files_between(base.place.file, line.end.file):
        last = line.end.position if name == line.end.file else None
        if scan.read(folder(name), name, last):
            break
    if scan.is_before:
        return None
    if isinstance(target, (AtPlace, AtGtid)) and not scan.is_found:
        near = (
            "" if scan.before is None else f"; the last one before it ends at {scan.before.file}:{scan.before.position}"
        )
        raise UsageError(f"no transaction of the log ends at {target}{near}")
    commit = scan.stop
    if commit is None:
        return Stop(None, (), 0)
    return Stop(commit, tuple(files_between(base.place.file, commit.file)), scan.count, scan.earlier_behind)


def files_between(first: str, last: str) -> list[str]:
    """The names of log files from one to another, both included."""
    stem, _, start = first.rpartition(".")
    end = last.rpartition(".")[2]
    return [f"{stem}.{number:0{len(start)}d}" for number in range(int(start), int(end) + 1)]


class _Scan:
    """Reads log files in turn and keeps the last commit that is wanted."""

    def __init__(self, base: BaseRecord, target: Target, misdated: Mapping[tuple[str, int], datetime]) -> None:
        assert base.place is not None  # find_stop looks
        self.stop: Commit | None = None
        self.before: Commit | None = None
        self.count = 0
        self.is_found = False
        #: The base backup holds more than the target.
        self.is_before = False
        self._base = base
        self._start = base.place
        self._target = target
        self._transactions = Transactions()
        self._met_start = False
        self._misdated = misdated
        #: Only for a time: the log is read on, to see whether its times are in order.
        self._is_behind = False
        self.earlier_behind = 0

    def read(self, path: Path, name: str, last: int | None) -> bool:
        """Read one file up to ``last``; True when nothing more is wanted."""
        check = FileCheck(name)
        events = read_events(path, last)
        if name == self._start.file:
            head: list[Event] = []
            for event in events:
                head.append(event)
                if len(head) == HEAD_EVENTS:
                    break
            if self._base.head and head_of(head) != self._base.head:
                raise IntegrityError(
                    f"binary log {name}: is not the one that base backup {self._base.id} was made with: it was reset"
                )
            events = _chain(head, events)
        for event in events:
            check.take(event)
            commit = self._transactions.take(event, name, check.position, is_checked=check.is_checked)
            if commit is not None and self._is_enough(commit):
                return True
            if self._is_at_place(name, check.position):
                return True
            if name == self._start.file and check.position == self._start.position:
                self._met_start = True
        if name == self._start.file and not self._met_start and self._start.position != len(MAGIC):
            raise IntegrityError(f"binary log {name}: no event ends at {self._start.position}, where the backup begins")
        return False

    def _is_enough(self, commit: Commit) -> bool:
        place = LogPlace(file=commit.file, position=commit.position)
        is_in_base = place.order <= self._start.order
        target = self._target
        if isinstance(target, AtTime):
            is_later = self._misdated.get((commit.file, commit.position), commit.time) > target.time
            self.earlier_behind += self._is_behind and not is_later
            if is_in_base and is_later:
                self.is_before = True
                return True
            self._is_behind |= is_later
            if self._is_behind:
                return False
        if isinstance(target, AtGtid) and commit.gtid == target.gtid and is_in_base:
            # The very last one in the base backup is where it stands.
            self.is_found = place.order == self._start.order
            self.is_before = not self.is_found
            return True
        if is_in_base:
            return False
        if isinstance(target, AtPlace) and place.order > target.place.order:
            return True
        self.is_found = isinstance(target, AtGtid) and commit.gtid == target.gtid
        self.stop = self.before = commit
        self.count += 1
        return self.is_found

    def _is_at_place(self, file: str, position: int) -> bool:
        """Whether the log is read as far as the place that is asked for, and no transaction is open there."""
        target = self._target
        if isinstance(target, AtPlace) and (target.place.file, target.place.position) == (file, position):
            self.is_found = not self._transactions.is_inside
            return True
        return False


def read_events(path: Path, last: int | None = None) -> Iterator[Event]:
    """The events of a log file, up to the byte ``last``. Raises as :func:`read_event_stream`, also without a file."""
    try:
        with path.open("rb") as file:
            yield from read_event_stream(file, path.name, last)
    except OSError as error:
        raise IntegrityError(f"binary log {path.name}: {error.strerror}") from error


def read_event_stream(file: BinaryIO, name: str, last: int | None = None) -> Iterator[Event]:
    """The events of an open log file, up to the byte ``last``.

    Raises:
        IntegrityError: it ends in the middle of an event, or is none.
    """
    if file.read(len(MAGIC)) != MAGIC:
        raise FormatError(f"binary log {name}: does not begin as one")
    position = len(MAGIC)
    while last is None or position < last:
        data = _read_event(file, name, position, is_end_wanted=last is not None)
        if not data:
            return
        yield parse_event(data)
        position += len(data)


def _read_event(file: BinaryIO, name: str, position: int, *, is_end_wanted: bool) -> bytes:
    head = file.read(HEAD_SIZE)
    if not head and not is_end_wanted:
        return b""
    size = int.from_bytes(head[9:13], "little")
    if len(head) < HEAD_SIZE or not HEAD_SIZE <= size <= _EVENT_SIZE_MAX:
        raise IntegrityError(f"binary log {name}: there is no event at {position}")
    data = head + file.read(size - HEAD_SIZE)
    if len(data) != size:
        raise IntegrityError(f"binary log {name}: ends in the middle of the event at {position}")
    return data


def _chain(first: Sequence[Event], rest: Iterator[Event]) -> Iterator[Event]:
    yield from first
    yield from rest


def _is_between(base: BaseRecord, place: LogPlace, line: LineRecord | None) -> bool:
    if line is None or base.place is None or place.file.rpartition(".")[0] != base.place.file.rpartition(".")[0]:
        return False
    return base.place.order <= place.order <= line.end.order


def _goes_on(record: LogRecord, line: LineRecord) -> bool:
    return line == record.lines[-1] and not line.broken


def _reach(record: LogRecord, base: BaseRecord, line: LineRecord | None) -> datetime:
    """The first moment that a base backup and its line say nothing about: the log keeps whole seconds."""
    return end_of(record, base, line) + timedelta(seconds=1)


def _refuse_gap(record: LogRecord, base: BaseRecord, line: LineRecord | None) -> None:
    """The end of the log is behind a gap that no base backup was made after."""
    if line is None or _goes_on(record, line):
        return
    raise RefusedError(
        f"the log goes on behind a gap after {line.end} ({line.broken or 'another line follows'}), and no base backup "
        f"was made behind it; what leads there ends with --position {line.commit or base.place}"
    )
