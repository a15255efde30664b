"""Batches that a second process decodes, while this one reads the file and works on the batches before.

One idea: frames and columns lie in memory that both processes share, and only their numbers go through pipes. This
process fills a piece of memory from the file and lends it to the other one, which finds and decodes its packets; what
comes back is handed on as it lies there, and the memory is lent again when nothing in this process looks into it any
more. Whoever keeps batches gets copies as soon as there would not be enough to lend: memory is bounded, and the other
process never waits for something that does not come.

The batches are those that the same generator would give here, in the same order, and so are its errors. The process
ends with the generator, whichever way that ends, and by itself when this process dies. One that is killed is a
``WorkerError``. It is a fork: not for a process with threads (``is_suitable``).
"""

from __future__ import annotations

import mmap
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, Pipe
from types import TracebackType
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from govsec.errors import GovsecError
from govsec.net.columns import PacketBatch
from govsec.net.gather import SLACK
from govsec.net.sharedbatch import TABLE_SIZE, put, view
from govsec.runtime.processes import Desk, Message, Pool, tune_malloc

#: Forking and first touching the shared memory cost as much as decoding a few MiB.
_FILE_MIN = 32 << 20
#: The one that is worked on here, the one before that a caller still has, and those for the other process.
_PIECES = 4
_TABLES = 5
#: Pieces and tables that the other process has or can have: the one it is at, and the one that it needs next.
_LEFT_MIN = 2
#: How often the other process looks whether this one is still there.
_LOOK_S = 1.0
#: What it may keep of memory that it frees: the columns of a batch come and go.
_KEEP_FREE_BYTES = 64 << 20

#: A buffer, and how much of its room was read into.
Piece: TypeAlias = tuple[memoryview, int]
#: Reads until a buffer is full or the file ends; gives how many bytes were read.
Fill: TypeAlias = Callable[[memoryview], int]
Read: TypeAlias = Callable[[Iterator[Piece]], Iterator[PacketBatch]]
Counters: TypeAlias = Mapping[str, int]


def is_suitable(size_bytes: int) -> bool:
    """If a second process pays for a file of that size, and may be forked here."""
    return (
        size_bytes >= _FILE_MIN
        and len(os.sched_getaffinity(0)) > 1
        and threading.active_count() == 1
        and threading.current_thread() is threading.main_thread()
    )


class ReadAhead:
    """Runs ``read`` in a process of its own; a context manager, which ends that process.

    ``read`` is given pieces of ``size_bytes`` whose ``room`` was filled here by ``fill``; the last one is not full.
    ``counters`` is asked there after each batch.

    Raises (on entering):
        OSError: there is no memory or no process to be had.
    """

    def __init__(self, read: Read, counters: Callable[[], Counters], fill: Fill, size_bytes: int, room: slice) -> None:
        self._read = read
        self._counters = counters
        self._fill = fill
        self._size_bytes = size_bytes
        self._room = room
        #: The file's end was lent, or cannot be reached; then what is lent comes back first.
        self._is_over = False
        self._error: GovsecError | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._pieces, self._tables = _Slots(_PIECES, self._size_bytes), _Slots(_TABLES, TABLE_SIZE)
            self._desk, theirs = Pipe()
            stack.callback(self._desk.close)
            stack.callback(theirs.close)
            self._pool = stack.enter_context(Pool([None], lambda desk: self._work(desk, theirs), 1))
            theirs.close()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def batches(self, note: Callable[[Counters], None]) -> Iterator[PacketBatch]:
        """All batches; ``note`` is given the counters before each, and at the end, as they were there then.

        Raises what ``read`` and ``fill`` raise of our errors; besides:
            WorkerError: the other process was killed, or failed as nobody foresaw.
        """
        self._lend()
        for event in self._pool.events():
            body = event.body if isinstance(event, Message) else None
            if isinstance(body, _Ready):
                note(body.counters)
                yield self._batch(body)
            elif isinstance(body, _Done):
                note(body.counters)
                self._pieces.come_back(body.piece)
            elif isinstance(body, _Over):
                note(body.counters)
            self._lend()

    def _work(self, desk: Desk, theirs: Connection) -> _Reader:
        self._desk.close()
        full_size = self._room.stop - self._room.start
        return _Reader(desk, theirs, self._pieces.arrays, self._tables.arrays, self._read, self._counters, full_size)

    def _batch(self, ready: _Ready) -> PacketBatch:
        self._tables.come_back(ready.table)
        data = self._pieces.arrays[ready.piece].data[ready.start :]
        batch = view(self._tables.arrays[ready.table], ready.count, data)
        if self._pieces.has_enough_without(ready.piece) and self._tables.has_enough_without(ready.table):
            return batch
        return _copied(batch)

    def _lend(self) -> None:
        """Tables that are idle, and pieces of the file until the other process has one more than it works on."""
        for number in self._tables.idle():
            self._tables.go_away(number)
            self._send(_Lent(table=number))
        while not self._is_over and self._pieces.away_count < _LEFT_MIN and (idle := self._pieces.idle()):
            room = self._pieces.arrays[idle[0]].data[self._room]
            try:
                size = self._fill(room)
            except GovsecError as error:
                self._error, self._is_over = error, True
                break
            self._is_over = size < len(room)
            self._pieces.go_away(idle[0])
            self._send(_Lent(piece=idle[0], size=size))
        if self._error is not None and not self._pieces.away_count:
            raise self._error

    def _send(self, lent: _Lent) -> None:
        with suppress(BrokenPipeError):  # it died; its events tell how
            self._desk.send(lent)


@dataclass(frozen=True, slots=True)
class _Lent:
    """For the other process: a table, or a piece into whose room ``size`` bytes of the file were read."""

    table: int | None = None
    piece: int | None = None
    size: int = 0


@dataclass(frozen=True, slots=True)
class _Ready:
    """A batch: its columns are in ``table``, its frames in ``piece`` from ``start`` on."""

    table: int
    count: int
    piece: int
    start: int
    counters: Counters


@dataclass(frozen=True, slots=True)
class _Done:
    """No more batches come from this piece."""

    piece: int
    counters: Counters


@dataclass(frozen=True, slots=True)
class _Over:
    """No more batches come."""

    counters: Counters


class _Slots:
    """Stretches of shared memory of one size, by number; those that are away are the other process's."""

    def __init__(self, count: int, size_bytes: int) -> None:
        self.arrays: list[NDArray[np.uint8]] = [
            np.frombuffer(mmap.mmap(-1, size_bytes), np.uint8) for _ in range(count)
        ]
        self._away: set[int] = set()
        #: References to an array that only this list holds: every view of it is one more.
        self._references_idle = self._references(0)

    @property
    def away_count(self) -> int:
        return len(self._away)

    def go_away(self, number: int) -> None:
        self._away.add(number)

    def come_back(self, number: int) -> None:
        self._away.discard(number)

    def idle(self) -> list[int]:
        """Those that nobody looks into, here or there; always in the same order, so that few of many are touched."""
        return [number for number in range(len(self.arrays)) if number not in self._away and not self._is_seen(number)]

    def has_enough_without(self, number: int) -> bool:
        """If enough are left for the other process while this one and all that are looked into are kept."""
        kept = {number} | {
            other for other in range(len(self.arrays)) if other not in self._away and self._is_seen(other)
        }
        return len(self.arrays) - len(kept) >= _LEFT_MIN

    def _is_seen(self, number: int) -> bool:
        return self._references(number) != self._references_idle

    def _references(self, number: int) -> int:
        return sys.getrefcount(self.arrays[number])


class _Reader:
    """The other process's side: gives pieces to what reads them, and lays down what comes of them."""

    def __init__(
        self,
        desk: Desk,
        lender: Connection,
        pieces: Sequence[NDArray[np.uint8]],
        tables: Sequence[NDArray[np.uint8]],
        read: Read,
        counters: Callable[[], Counters],
        full_size: int,
    ) -> None:
        tune_malloc(_KEEP_FREE_BYTES)
        self._desk = desk
        self._lender = lender
        self._pieces, self._tables = pieces, tables
        self._read = read
        self._counters = counters
        self._full_size = full_size
        self._pieces_lent: deque[tuple[int, int]] = deque()
        self._tables_lent: list[int] = []
        #: The piece that is read now.
        self._piece = 0

    def do(self, task: None) -> None:
        try:
            for batch in self._read(self._each_piece()):
                while not self._tables_lent:
                    self._receive()
                table = self._tables_lent.pop()
                put(self._tables[table], batch)
                start = len(self._pieces[self._piece]) - len(batch.data)
                self._desk.post(_Ready(table, len(batch), self._piece, start, self._counters()))
        finally:
            self._desk.post(_Over(self._counters()))

    def finish(self) -> None:
        """Nothing is in hand any more."""

    def _each_piece(self) -> Iterator[Piece]:
        size = self._full_size
        while size == self._full_size:
            while not self._pieces_lent:
                self._receive()
            self._piece, size = self._pieces_lent.popleft()
            yield self._pieces[self._piece].data, size
            self._desk.post(_Done(self._piece, self._counters()))

    def _receive(self) -> None:
        """Wait for what is lent next."""
        while not self._lender.poll(_LOOK_S):
            if self._desk.is_stopped():
                raise EOFError("nobody waits for this any more")
        lent = self._lender.recv()
        if lent.table is not None:
            self._tables_lent.append(lent.table)
        if lent.piece is not None:
            self._pieces_lent.append((lent.piece, lent.size))


def _copied(batch: PacketBatch) -> PacketBatch:
    """The same packets in memory of their own."""
    columns = batch.take(np.arange(len(batch)))
    first = int(batch.frame_offset.min(initial=len(batch.data)))
    end = int((batch.frame_offset + batch.captured_size).max(initial=0))
    data = memoryview(bytearray(batch.data[first : end + SLACK]))
    return replace(columns, frame_offset=columns.frame_offset - first, data=data)
