"""From events to files of the live tree: what is taken, checked, and counted as recoverable. No server here.

Events are put at the end of their file as they come; what counts is the end of the last whole transaction. A record of
all that goes into the same snapshot, so a snapshot says by itself how far a recovery from it may go.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import islice
from typing import Protocol

from govsec.errors import FormatError, IntegrityError
from govsec.mariadb.events import (
    MAGIC,
    Commit,
    Event,
    EventType,
    FileCheck,
    Transactions,
    at_rest,
    is_next_log,
    log_number,
    rotate_target,
)
from govsec.mariadb.record import (
    HEADS_MAX,
    LINES_MAX,
    MISDATED_MAX,
    NONCES_MAX,
    RECORD_FILE,
    BaseRecord,
    CommitRecord,
    GroupRecord,
    LineRecord,
    LogPlace,
    LogRecord,
    MisdatedRecord,
    NonceRecord,
    encode,
    log_path,
)

#: The format says when the file was begun, the list of ids what came before: together no two files have them.
HEAD_EVENTS = 2
#: A file of more pieces than this is put together when it is finished, unless it is too large for memory.
_PIECES_MAX = 64
_AWAITED_MAX = 16
#: What a clock may drift between two connections.
_AHEAD_MAX = timedelta(seconds=60)
_REWRITE_SIZE_MAX = 64 << 20


class Tree(Protocol):
    """What is needed of the live tree (:class:`govsec.backup.appending.AppendTree`)."""

    def append(self, path: str, data: bytes) -> None:
        """Put ``data`` at the end of a file."""
        ...

    def replace(self, path: str, data: bytes) -> None:
        """Make ``data`` the whole content of a file."""
        ...

    def remove(self, path: str) -> None:
        """Take a file or folder out."""
        ...

    def graft(self, path: str, tree_id: bytes) -> None:
        """Make a stored tree a folder."""
        ...

    def read(self, path: str, *, size_max: int) -> bytes:
        """A whole file."""
        ...

    def size(self, path: str) -> int | None:
        """How long a file is; None when there is none."""
        ...

    def pieces_count(self, path: str) -> int:
        """Of how many blobs it is made."""
        ...

    def paths(self, path: str = "") -> Iterable[str]:
        """All files below a folder."""
        ...


class LogTree:
    """The log of one job, as far as it was taken."""

    def __init__(self, tree: Tree, job: str, record: LogRecord | None, now: datetime) -> None:
        self._tree = tree
        self.record = record or LogRecord(job=job, written=now)
        self._transactions = Transactions()
        self._check: FileCheck | None = None
        self._head = b""
        self._head_events = 0
        #: Digests of nonces by the GTID that they were written with, until that comes by.
        self._awaited: dict[str, str] = {}
        line = self.line
        if line is not None:
            self._carry_on(line)

    @property
    def line(self) -> LineRecord | None:
        """The line that goes on; None when there is none."""
        lines = self.record.lines
        return lines[-1] if lines and not lines[-1].broken else None

    @property
    def commit(self) -> CommitRecord | None:
        """The last transaction that is wholly here."""
        return None if self.line is None else self.line.commit

    def begin_line(self, file: str, server_id: int) -> None:
        """Begin a stretch of log with the whole of ``file``."""
        assert self.line is None  # the one before was broken
        start = LogPlace(file=file, position=len(MAGIC))
        number = self.record.lines[-1].number + 1 if self.record.lines else 1
        line = LineRecord(number=number, server_id=server_id, first=start, end=start)
        self._set_lines((*self.record.lines, line)[-LINES_MAX:])
        self._transactions = Transactions()
        self._begin_file(file)

    def break_line(self, reason: str, now: datetime) -> None:
        """The log goes on elsewhere: what comes next is not what followed."""
        if self.line is not None:
            self._change(broken=reason[:1000], broken_at=now)
        self._check = None

    def take(self, event: Event, now: datetime | None = None) -> Commit | None:
        """Take the next event that the server sends, made-up ones included; the commit that it is.

        ``now`` is what the server's clock says, as far as is known: a later time in the event is none.

        Raises:
            IntegrityError: its checksum is wrong, or something is missing before it. FormatError: it makes no sense
            here. Nothing of it was taken.
        """
        if event.is_artificial:
            self._artificial(event)
            return None
        check, line = self._check, self.line
        if check is None or line is None:
            raise FormatError("binary log: an event comes before the name of its file")
        event = at_rest(event)
        if event.type == EventType.START_ENCRYPTION:
            raise FormatError(f"binary log {check.name}: is encrypted; the stream of an encrypted log is not supported")
        check.take(event)
        self._tree.append(log_path(line.number, check.name), event.data)
        self._see_head(event)
        commit = self._transactions.take(event, check.name, check.position, is_checked=check.is_checked)
        place = LogPlace(file=check.name, position=check.position)
        if commit is None:
            self._change(end=place, group=self._group(), is_checked=check.is_checked)
        else:
            time = commit.time
            if now is not None and time > now + _AHEAD_MAX:
                time = now
                self._misdated(line.number, commit, now)
            done = CommitRecord(file=commit.file, position=commit.position, time=time, gtid=commit.gtid)
            first = line.first_commit or done
            self._change(end=place, group=None, commit=done, first_commit=first, is_checked=check.is_checked)
            self._see_nonce(line.number, done)
        return commit

    def await_nonce(self, gtid: str, digest: str) -> None:
        """A nonce was written by this transaction; the record names its place when the transaction comes by."""
        self._awaited = dict([*self._awaited.items(), (gtid, digest)][-_AWAITED_MAX:])

    def is_level(self, heartbeat: Event) -> bool:
        """Whether a heartbeat says that the server has nothing that was not taken."""
        return self._check is not None and heartbeat.end == self._check.position & 0xFFFFFFFF

    def begins_as(self, events: Iterable[Event]) -> bool:
        """Whether the current file begins with these events; they are as the server sends the file's beginning."""
        return self.line is not None and head_of(events) == self.line.head

    def add_base(self, base: BaseRecord, tree_id: bytes, keep: int) -> None:
        """Name a stored base backup as part of this tree; with more than ``keep``, the oldest goes, and its log."""
        if any(known.id == base.id for known in self.record.bases):
            return
        self._tree.graft(f"base/{base.id}", tree_id)
        bases = sorted((*self.record.bases, base), key=lambda known: (known.ended, known.id))
        for gone in bases[:-keep]:
            self._tree.remove(f"base/{gone.id}")
        self.record = self.record.model_copy(update={"bases": tuple(bases[-keep:])})
        self._drop_old_log()

    def write_record(self, now: datetime, *, level_at: datetime | None, server_version: str) -> None:
        """Put the record into the tree, for the snapshot that is made next."""
        self.record = self.record.model_copy(
            update={"written": now, "level_at": level_at or self.record.level_at, "server_version": server_version}
        )
        self._tree.replace(RECORD_FILE, encode(self.record))

    def _carry_on(self, line: LineRecord) -> None:
        size = self._tree.size(log_path(line.number, line.end.file))
        if size != line.end.position:
            raise IntegrityError(
                f"{log_path(line.number, line.end.file)}: {size} bytes, where its record says {line.end.position}"
            )
        self._check = FileCheck(line.end.file, line.end.position, is_checked=line.is_checked)
        self._head_events = HEAD_EVENTS if line.head else 0
        if line.group is not None:
            self._transactions.carry_on(line.group.gtid, is_standalone=line.group.is_standalone)

    def _artificial(self, event: Event) -> None:
        if event.type != EventType.ROTATE:
            return
        name, _ = rotate_target(event, has_checksum=_has_sum(event))
        current = self._check.name if self._check is not None else ""
        if name == current:
            return
        if self.line is None:
            raise FormatError(f"binary log: {name} begins before its line")
        if current and not is_next_log(name, current):
            raise IntegrityError(f"binary log: {name} follows {current}: a file is missing")
        self._finish_file()
        self._begin_file(name)

    def _begin_file(self, name: str) -> None:
        line = self.line
        assert line is not None  # the callers look
        self._check = FileCheck(name)
        self._head, self._head_events = b"", 0
        self._tree.append(log_path(line.number, name), MAGIC)
        self._change(end=LogPlace(file=name, position=len(MAGIC)))

    def _finish_file(self) -> None:
        """Many small pieces become few: the file is whole, and will be read as a whole."""
        line, check = self.line, self._check
        if line is None or check is None:
            return
        path = log_path(line.number, check.name)
        if self._tree.pieces_count(path) > _PIECES_MAX and (self._tree.size(path) or 0) <= _REWRITE_SIZE_MAX:
            self._tree.replace(path, self._tree.read(path, size_max=_REWRITE_SIZE_MAX))

    def _see_head(self, event: Event) -> None:
        if self._head_events < HEAD_EVENTS:
            self._head += event.data
            self._head_events += 1
            assert self._check is not None and self.line is not None  # an event of a file was taken
            wanted = {base.place.file for base in self.record.bases if base.place is not None}
            heads = self.line.heads | {self._check.name: hashlib.sha256(self._head).hexdigest()}
            newest = sorted(heads, key=log_number)[-HEADS_MAX:]
            self._change(heads={name: heads[name] for name in heads if name in wanted or name in newest})

    def _misdated(self, line: int, commit: Commit, now: datetime) -> None:
        place = LogPlace(file=commit.file, position=commit.position)
        found = (*self.record.misdated, MisdatedRecord(line=line, place=place, taken=now))[-MISDATED_MAX:]
        self.record = self.record.model_copy(update={"misdated": found})

    def _see_nonce(self, line: int, commit: CommitRecord) -> None:
        digest = self._awaited.pop(commit.gtid, None)
        if digest is not None:
            place = LogPlace(file=commit.file, position=commit.position)
            nonces = (*self.record.nonces, NonceRecord(sha256=digest, line=line, place=place))[-NONCES_MAX:]
            self.record = self.record.model_copy(update={"nonces": nonces})

    def _drop_old_log(self) -> None:
        """Take out what lies before the oldest base backup that is kept: nothing can be recovered from it alone."""
        oldest = self.record.bases[0]
        kept = []
        for line in self.record.lines:
            is_before = line.broken and line.commit is not None and line.commit.time < oldest.began
            if is_before and (oldest.place is None or not holds(line, oldest)):
                self._tree.remove(f"log/{line.number:06d}")
            else:
                kept.append(self._shorten(line, oldest))
        self._set_lines(tuple(kept))

    def _shorten(self, line: LineRecord, oldest: BaseRecord) -> LineRecord:
        if oldest.place is None or not holds(line, oldest):
            return line
        first = LogPlace(file=oldest.place.file, position=len(MAGIC))
        if first.order <= line.first.order:
            return line
        for path in list(self._tree.paths(f"log/{line.number:06d}")):
            if LogPlace(file=path.rpartition("/")[2], position=len(MAGIC)).order < first.order:
                self._tree.remove(path)
        return line.model_copy(update={"first": first, "first_commit": None})

    def _group(self) -> GroupRecord | None:
        if not self._transactions.is_inside:
            return None
        return GroupRecord(gtid=self._transactions.gtid, is_standalone=self._transactions.is_standalone)

    def _change(self, **update: object) -> None:
        line = self.record.lines[-1].model_copy(update=update)
        self._set_lines((*self.record.lines[:-1], line))

    def _set_lines(self, lines: tuple[LineRecord, ...]) -> None:
        self.record = self.record.model_copy(update={"lines": lines})


def head_of(events: Iterable[Event]) -> str:
    """SHA-256 of how a log file begins: its format, and the ids that came before it."""
    real = (at_rest(event).data for event in events if not event.is_artificial)
    return hashlib.sha256(b"".join(islice(real, HEAD_EVENTS))).hexdigest()


def holds(line: LineRecord, base: BaseRecord) -> bool:
    """Whether the log that follows a base backup is in the line.

    The same name and server do not make the same log; the base backup was made while the line was written, or its
    place lies within it.
    """
    if base.place is None or base.server_id != line.server_id:
        return False
    if base.place.file.rpartition(".")[0] != line.first.file.rpartition(".")[0]:
        return False
    known = line.heads.get(base.place.file)
    if known is not None and base.head and known != base.head:
        return False
    return line.first.order <= base.place.order <= line.end.order


def _has_sum(event: Event) -> bool:
    """Whether a made-up rotate carries a checksum: the name in it then ends four bytes before the event."""
    return zlib.crc32(event.data[:-4]) == int.from_bytes(event.data[-4:], "little")
