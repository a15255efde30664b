"""A server's log and base backups as one tree of a repository, and the page that says what they are.

::

    /postgres/<job>/govsec.json                     the page: which server, how far, base backups, gaps
                    log/<16 digits>/<24 digits>     a segment; 256 of the usual size a folder
                    log/<16 digits>/….partial       the segment that is being written, zeros to its full length
                    log/history/<8 digits>.history  where a timeline branched off
                    base/<id>/data, tablespaces     base backups, the newest few

One snapshot of it is everything that recovery needs, up to its moment. What stands in the page is written together
with the bytes that it speaks of, so a new process carries on at exactly the byte where the last snapshot ended.

Everything that comes is held against the page: another server's system identifier, another segment size or a piece
that does not follow is refused before it is taken in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from govsec import canonical
from govsec.backup.appending import AppendTree
from govsec.backup.archive import ArchiveResult
from govsec.clock import Clock, from_ns
from govsec.errors import FormatError, IntegrityError, RefusedError
from govsec.postgres.basebackup import BaseResult
from govsec.postgres.wal import (
    HEAD_SIZE,
    PARTIAL,
    Branch,
    Segment,
    check_head,
    check_segment_size,
    format_lsn,
    history_name,
    is_history_name,
    parse_history,
    parse_lsn,
)

PAGE = "govsec.json"
LOG, BASE, HISTORY = "log", "base", "log/history"
_PAGE_SIZE_MAX = 1 << 20
_HISTORY_SIZE_MAX = 1 << 20
#: A segment that came in more pieces than this is written once more as a whole when it is complete.
_PIECES_MAX = 16
#: Larger segments are left in their pieces: the whole would have to be in memory.
_REWRITE_SIZE_MAX = 64 << 20
_GAPS_MAX = 1000
_FINISHED_MAX = 256
_NONCES_MAX = 200
_FOLDER_DIGITS = 16
Lsn = str


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Space(_Model):
    """A tablespace of a base backup, and where the server had it."""

    oid: int = Field(ge=1)
    location: str


class Base(_Model):
    """A base backup."""

    id: str = Field(pattern=r"^[0-9]{8}T[0-9]{6}Z$")
    start: Lsn
    stop: Lsn
    timeline: int
    began: AwareDatetime
    ended: AwareDatetime
    size_bytes: int
    tablespaces: tuple[Space, ...] = ()

    @property
    def path(self) -> str:
        """Where it lies in the tree."""
        return f"{BASE}/{self.id}"


class Gap(_Model):
    """Log that nobody has: recovery from before it ends there."""

    timeline: int
    start: Lsn
    end: Lsn
    noticed: AwareDatetime
    why: str


class PlantedNonce(_Model):
    """A row that was written into the database so that a drill finds it again."""

    row: int = Field(ge=1)
    written: AwareDatetime
    after: Lsn
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    database: str


class Page(_Model):
    """What ``govsec.json`` says."""

    version: Literal[1] = 1
    system_id: str = Field(pattern=r"^[0-9]{1,20}$")
    server_version: int
    segment_size: int
    timeline: int
    position: Lsn
    #: The server had nothing more at this moment.
    current_at: AwareDatetime
    bases: tuple[Base, ...] = ()
    gaps: tuple[Gap, ...] = ()
    nonces: tuple[PlantedNonce, ...] = ()


@dataclass(slots=True)
class _Open:
    """The segment that is being written."""

    segment: Segment
    #: Its bytes so far; None when it is too large to be written once more.
    whole: bytearray | None


class Logbook:
    """The live tree with its page. Changes are in memory until :meth:`save`."""

    def __init__(self, tree: AppendTree, clock: Clock) -> None:
        self.tree = tree
        self._clock = clock
        self._open: _Open | None = None
        #: None before :meth:`begin`.
        self.page: Page | None = read_page(tree.read(PAGE, size_max=_PAGE_SIZE_MAX)) if tree.size(PAGE) else None
        self.is_changed = False
        #: SHA-256 of the last segments that were completed here, by name.
        self.finished: dict[str, str] = {}
        if self.page is not None:
            self._take_up(self.page)

    @property
    def position(self) -> int:
        """Where the log that we have ends."""
        return parse_lsn(self.known.position)

    @property
    def known(self) -> Page:
        """The page; there is one once a server was met."""
        if self.page is None:
            raise RefusedError(f"{self.tree.root}: nothing was streamed or backed up yet")
        return self.page

    def begin(self, *, system_id: int, server_version: int, size: int, timeline: int, position: int) -> None:
        """The page of a new log that starts at ``position``, the beginning of a segment; or see that it is the same.

        Raises:
            IntegrityError: the log is another server's.
        """
        if self.page is None:
            self.page = Page(
                system_id=str(system_id),
                server_version=server_version,
                segment_size=check_segment_size(size),
                timeline=timeline,
                position=format_lsn(position),
                current_at=self._clock.now(),
            )
            self.is_changed = True
            return
        if int(self.page.system_id) != system_id:
            raise IntegrityError(
                f"{self.tree.root} is the log of the server {self.page.system_id}; this server is {system_id}: "
                "a job of its own is needed for another cluster"
            )
        if self.page.segment_size != size:
            raise IntegrityError(
                f"{self.tree.root} has segments of {self.page.segment_size} bytes; this server's have {size}"
            )
        if self.page.server_version != server_version:
            self._change(server_version=server_version)

    def write(self, start: int, data: memoryview, *, sent_ns: int) -> None:
        """Take in a piece of the log that follows what is here.

        Raises:
            IntegrityError: it does not follow, or begins a segment of another server.
        """
        if start != self.position:
            raise IntegrityError(
                f"{self.tree.root}: the log goes on at {format_lsn(start)}; expected {format_lsn(self.position)}"
            )
        page = self.known
        while data:
            segment = Segment.at(start, page.timeline, page.segment_size)
            part, data = data[: segment.end - start], data[segment.end - start :]
            self._append(segment, start, part, sent_ns)
            start += len(part)
            if start == segment.end:
                self._finish(segment, sent_ns)
        self._change(position=format_lsn(start))

    def current(self, at: datetime) -> None:
        """The server had nothing more than what is here."""
        self._change(current_at=at)

    def switch(self, timeline: int, history: bytes, position: int) -> None:
        """The log goes on at a new timeline that left the one before at ``position``.

        Its first segment begins with what the old one had up to there, and is taken from its beginning.

        Raises:
            FormatError, IntegrityError: the history is none that leads on from this log.
        """
        page = self.known
        branches = parse_history(history, timeline)
        left = next((branch for branch in branches if branch.timeline == page.timeline), None)
        if left is None or left.end is None:
            raise IntegrityError(
                f"{self.tree.root}: timeline {timeline} does not descend from timeline {page.timeline}, on which this "
                "log is"
            )
        self.add_history(history_name(timeline), history)
        first = Segment.at(left.end, timeline, page.segment_size)
        self._open = None
        self._change(timeline=timeline, position=format_lsn(first.start))

    def add_history(self, name: str, data: bytes) -> None:
        """Keep a history file. Raises ``RefusedError`` when another content has that name."""
        path = f"{HISTORY}/{name}"
        if self.tree.size(path) is not None:
            if self.tree.read(path, size_max=_HISTORY_SIZE_MAX) != data:
                raise RefusedError(f"{self.tree.root}: {name} is here with another content")
            return
        self.tree.append(path, data)
        self.is_changed = True

    def skip_to(self, position: int, timeline: int, why: str) -> Gap:
        """Go on at a later position, the beginning of a segment: the log between is a gap, and said to be one."""
        page = self.known
        gap = Gap(
            timeline=page.timeline,
            start=page.position,
            end=format_lsn(position),
            noticed=self._clock.now(),
            why=why[:300],
        )
        self._open = None
        self._change(gaps=(*page.gaps, gap)[-_GAPS_MAX:], position=format_lsn(position), timeline=timeline)
        return gap

    def plant(self, nonce: PlantedNonce) -> None:
        """Remember a row that a drill is to find."""
        self._change(nonces=(*self.known.nonces, nonce)[-_NONCES_MAX:])

    def add_base(self, base: Base, tree_id: bytes, *, kept: int) -> None:
        """Put a stored base backup into the tree, and let go of those beyond ``kept`` and of log that none needs."""
        page = self.known
        if base.id in {known.id for known in page.bases}:
            return
        self.tree.graft(base.path, tree_id)
        bases = sorted((*page.bases, base), key=lambda item: (item.timeline, parse_lsn(item.stop), item.id))
        for old in bases[:-kept]:
            self.tree.remove(old.path)
        self._change(bases=tuple(bases[-kept:]))
        self._trim()

    def add_segment(self, segment: Segment, data: bytes, *, mtime_ns: int, is_partial: bool = False) -> bool:
        """Take in a whole segment that the server archived; False when it is here already, with the same content.

        Raises:
            IntegrityError: of another server or place.
            RefusedError: another content has that name.
        """
        check_head(data[:HEAD_SIZE], segment, int(self.known.system_id))
        path = path_of(segment) + (PARTIAL if is_partial else "")
        if is_partial and self._open is not None and self._open.segment == segment:
            return False  # what was streamed of it is exact; an archived one is filled up with what was there before
        if self.tree.size(path) is not None:
            if self.tree.read(path, size_max=self.known.segment_size) != data:
                raise RefusedError(f"{self.tree.root}: {segment.name} is here with another content; it is kept")
            return False
        self.tree.replace(path, data, mtime_ns=mtime_ns)
        self.is_changed = True
        page = self.known
        # Only what follows without a hole moves the position: a stream goes on from there, and what it confirms the
        # server throws away.
        is_next = segment.start <= self.position < segment.end and segment.timeline == page.timeline
        if is_next and not is_partial:
            if self._open is not None:
                self.tree.remove(self._partial(self._open.segment))
                self._open = None
            self._change(position=format_lsn(segment.end), current_at=from_ns(mtime_ns))
        return True

    def save(self) -> ArchiveResult:
        """A snapshot of it all, ready to be committed. Raises as :meth:`govsec.backup.appending.AppendTree.save`."""
        self.tree.replace(PAGE, write_page(self.known))
        result = self.tree.save()
        self.is_changed = False
        return result

    def _take_up(self, page: Page) -> None:
        """Cut the open segment back to what was really there: in snapshots it is filled up."""
        check_segment_size(page.segment_size)
        segment = Segment.at(self.position, page.timeline, page.segment_size)
        # Read now, so that nothing has to be read while the log comes and a center may be away.
        for folder in (LOG, HISTORY, path_of(segment).rpartition("/")[0]):
            self.tree.names(folder)
        begun = self.position - segment.start
        path = self._partial(segment)
        if not begun:
            return
        if self.tree.size(path) is None:
            if self.tree.size(path_of(segment)) is None:
                raise FormatError(f"{self.tree.root}: the page speaks of {path}, which is not there")
            return
        self.tree.truncate(path, begun)
        self.tree.pad(path, page.segment_size)
        is_small = page.segment_size <= _REWRITE_SIZE_MAX
        whole = bytearray(self.tree.read(path, size_max=begun)) if is_small else None
        self._open = _Open(segment, whole)

    def _append(self, segment: Segment, start: int, data: memoryview, sent_ns: int) -> None:
        if self._open is None or self._open.segment != segment:
            if start != segment.start:
                raise IntegrityError(f"{self.tree.root}: segment {segment.name} does not begin at its beginning")
            if len(data) < HEAD_SIZE:
                raise IntegrityError(f"{self.tree.root}: segment {segment.name} begins with {len(data)} bytes")
            check_head(bytes(data[:HEAD_SIZE]), segment, int(self.known.system_id))
            is_small = segment.size <= _REWRITE_SIZE_MAX
            self._open = _Open(segment, bytearray() if is_small else None)
            self.tree.remove(self._partial(segment))
        path = self._partial(segment)
        self.tree.append(path, bytes(data), mtime_ns=sent_ns)
        self.tree.pad(path, segment.size)
        if self._open.whole is not None:
            self._open.whole += data

    def _finish(self, segment: Segment, sent_ns: int) -> None:
        assert self._open is not None  # it was just written to
        partial, path = self._partial(segment), path_of(segment)
        self.tree.pad(partial, 0)
        if self._open.whole is not None and self.tree.pieces_count(partial) > _PIECES_MAX:
            self.tree.replace(partial, bytes(self._open.whole), mtime_ns=sent_ns)
        if self._open.whole is not None:
            self.finished[segment.name] = hashlib.sha256(self._open.whole).hexdigest()
            for name in list(self.finished)[:-_FINISHED_MAX]:
                del self.finished[name]
        self.tree.remove(path)  # archived by the server, with the same content, before it was streamed to its end
        self.tree.rename(partial, path)
        self._open = None

    def _trim(self) -> None:
        """Let go of log that is older than what the oldest base backup needs."""
        page = self.known
        # A stream that lags behind the newest base backup still writes where it is.
        needed = [parse_lsn(base.start) // page.segment_size for base in page.bases]
        first = min([*needed, self.position // page.segment_size])
        for segment in list(self.segments()):
            if segment.number < first:
                self.tree.remove(path_of(segment))
                self.tree.remove(self._partial(segment))
        for folder in self.tree.names(LOG):
            if not self.tree.names(f"{LOG}/{folder}"):
                self.tree.remove(f"{LOG}/{folder}")

    def segments(self, *, with_partial: bool = True) -> Iterator[Segment]:
        """The segments that are here, by timeline and number."""
        size = self.known.segment_size
        for folder in self.tree.names(LOG):
            for name in self.tree.names(f"{LOG}/{folder}"):
                if with_partial or not name.endswith(PARTIAL):
                    found = Segment.named(name.removesuffix(PARTIAL), size)
                    if found is not None:
                        yield found

    def histories(self) -> dict[int, list[Branch]]:
        """The timelines whose history is here, each with the way that leads to it."""
        found = {}
        for name in self.tree.names(HISTORY):
            if is_history_name(name):
                timeline = int(name[:8], 16)
                data = self.tree.read(f"{HISTORY}/{name}", size_max=_HISTORY_SIZE_MAX)
                found[timeline] = parse_history(data, timeline)
        return found

    def _partial(self, segment: Segment) -> str:
        return path_of(segment) + PARTIAL

    def _change(self, **changes: object) -> None:
        self.page = self.known.model_copy(update=changes)
        self.is_changed = True


def path_of(segment: Segment) -> str:
    """Where a segment lies in the tree."""
    return f"{LOG}/{segment.name[:_FOLDER_DIGITS]}/{segment.name}"


def base_of(result: BaseResult, *, began: datetime, ended: datetime) -> Base:
    """A base backup that the server finished, as the page names it."""
    return Base(
        id=f"{began:%Y%m%dT%H%M%SZ}",
        start=format_lsn(result.start),
        stop=format_lsn(result.stop),
        timeline=result.timeline,
        began=began,
        ended=ended,
        size_bytes=result.size_bytes,
        tablespaces=tuple(Space(oid=space.oid, location=space.location) for space in result.tablespaces),
    )


def read_page(data: bytes) -> Page:
    """The page in ``data``. Raises ``FormatError``."""
    try:
        page = Page.model_validate_json(data)
    except ValidationError as error:
        raise FormatError(f"{PAGE}: not a page of a log: {error.errors()[0]['msg'][:200]}") from error
    check_segment_size(page.segment_size)
    return page


def write_page(page: Page) -> bytes:
    """The page as it is stored."""
    return canonical.dumps(page.model_dump(mode="json")) + b"\n"
