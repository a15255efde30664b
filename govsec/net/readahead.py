"""Batches that a second process reads and decodes, while this one works on those before.

One idea: frames and columns lie in memory that both processes share, and only their numbers go through pipes. This
process lends the other one pieces of memory; what comes back in a piece is handed on as it lies there, and the piece is
lent again when nothing in this process looks into it any more. Whoever keeps batches gets copies as soon as there would
not be enough to lend: memory is bounded, and the other process never waits for something that does not come.

The batches are those that the same generator would give here, in the same order, and so are its errors. The process
ends with the generator, whichever way that ends, and by itself when this process dies. One that is killed is a
``WorkerError``. It is a fork: not for a process with threads (``is_suitable``).
"""

from __future__ import annotations

import mmap
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, Pipe
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from govsec.net.columns import PacketBatch
from govsec.net.gather import SLACK, Space
from govsec.net.sharedbatch import TABLE_SIZE, put, view
from govsec.runtime.processes import Desk, Message, Pool, tune_malloc

#: Forking and first touching the shared memory cost as much as decoding a few MiB.
_FILE_MIN = 32 << 20
#: The one that is worked on here, the one before that a caller still has, and those for the other process.
_PIECES = 4
_TABLES = 5
#: What must be left for the other process: the one it is at, and the one that it needs next.
_LEFT_MIN = 2
_PIECE, _TABLE = 0, 1
#: How often the other process looks whether this one is still there.
_LOOK_S = 1.0
#: What it may keep of memory that it frees: the columns of a batch come and go.
_KEEP_FREE_BYTES = 64 << 20


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

    ``read`` is given the space to read pieces of ``size_bytes`` into; ``counters`` is asked there after each batch.

    Raises (on entering):
        OSError: there is no memory or no process to be had.
    """

    def __init__(
        self,
        read: Callable[[Space], Iterator[PacketBatch]],
        counters: Callable[[], Mapping[str, int]],
        size_bytes: int,
    ) -> None:
        self._read = read
        self._counters = counters
        self._size_bytes = size_bytes
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._lent = (_Slots(_PIECES, self._size_bytes), _Slots(_TABLES, TABLE_SIZE))
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

    def batches(self, note: Callable[[Mapping[str, int]], None]) -> Iterator[PacketBatch]:
        """All batches; ``note`` is given the counters before each, and at the end, as they were there then.

        Raises what ``read`` raises of our errors; besides:
            WorkerError: the other process was killed, or failed as nobody foresaw.
        """
        self._lend()
        for event in self._pool.events():
            body = event.body if isinstance(event, Message) else None
            if isinstance(body, _Ready):
                note(body.counters)
                yield self._batch(body)
            elif isinstance(body, _Read):
                self._lent[_PIECE].come_back(body.piece)
            elif isinstance(body, _Over):
                note(body.counters)
            self._lend()

    def _work(self, desk: Desk, theirs: Connection) -> _Reader:
        self._desk.close()
        return _Reader(desk, theirs, self._lent, self._read, self._counters)

    def _batch(self, ready: _Ready) -> PacketBatch:
        pieces, tables = self._lent
        tables.come_back(ready.table)
        data = pieces.arrays[ready.piece].data[ready.start :]
        batch = view(tables.arrays[ready.table], ready.count, data)
        if pieces.has_enough_without(ready.piece) and tables.has_enough_without(ready.table):
            return batch
        return _copied(batch)

    def _lend(self) -> None:
        for which, slots in enumerate(self._lent):
            for number in slots.idle():
                slots.go_away(number)
                with suppress(BrokenPipeError):  # it died; its events tell how
                    self._desk.send((which, number))


@dataclass(frozen=True, slots=True)
class _Ready:
    """A batch: its columns are in ``table``, its frames in ``piece`` from ``start`` on."""

    table: int
    count: int
    piece: int
    start: int
    counters: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Read:
    """No more batches come from this piece."""

    piece: int


@dataclass(frozen=True, slots=True)
class _Over:
    """No more batches come."""

    counters: Mapping[str, int]


class _Slots:
    """Stretches of shared memory of one size, by number; those that are away are the other process's."""

    def __init__(self, count: int, size_bytes: int) -> None:
        self.arrays: list[NDArray[np.uint8]] = [
            np.frombuffer(mmap.mmap(-1, size_bytes), np.uint8) for _ in range(count)
        ]
        self._away: set[int] = set()
        #: References to an array that only this list holds: every view of it is one more.
        self._references_idle = self._references(0)

    def go_away(self, number: int) -> None:
        self._away.add(number)

    def come_back(self, number: int) -> None:
        self._away.discard(number)

    def idle(self) -> list[int]:
        """Those that nobody looks into, here or there."""
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
    """The other process's side: the space that is read into, and the work that fills it."""

    def __init__(
        self,
        desk: Desk,
        lender: Connection,
        lent: tuple[_Slots, _Slots],
        read: Callable[[Space], Iterator[PacketBatch]],
        counters: Callable[[], Mapping[str, int]],
    ) -> None:
        tune_malloc(_KEEP_FREE_BYTES)
        self._desk = desk
        self._lender = lender
        self._arrays = tuple(slots.arrays for slots in lent)
        self._free: tuple[list[int], list[int]] = ([], [])
        self._read = read
        self._counters = counters

    def do(self, task: None) -> None:
        try:
            for batch in self._read(self):
                table = self._borrow(_TABLE)
                put(self._arrays[_TABLE][table], batch)
                piece = self._piece_of(batch.data)
                start = len(self._arrays[_PIECE][piece]) - len(batch.data)
                self._desk.post(_Ready(table, len(batch), piece, start, self._counters()))
        finally:
            self._desk.post(_Over(self._counters()))

    def finish(self) -> None:
        """Nothing is in hand any more."""

    def take(self) -> memoryview:
        return self._arrays[_PIECE][self._borrow(_PIECE)].data

    def give_back(self, buffer: memoryview) -> None:
        self._desk.post(_Read(self._piece_of(buffer)))

    def _borrow(self, which: int) -> int:
        """The one that came back last: its pages are there, and in the processor's cache."""
        while not self._free[which] or self._lender.poll():
            while not self._lender.poll(_LOOK_S):
                if self._desk.is_stopped():
                    raise EOFError("nobody waits for this any more")
            kind, number = self._lender.recv()
            self._free[kind].append(number)
        return self._free[which].pop()

    def _piece_of(self, buffer: memoryview) -> int:
        owner: object = buffer.obj
        return next(number for number, array in enumerate(self._arrays[_PIECE]) if array is owner)


def _copied(batch: PacketBatch) -> PacketBatch:
    """The same packets in memory of their own."""
    columns = batch.take(np.arange(len(batch)))
    first = int(batch.frame_offset.min(initial=len(batch.data)))
    end = int((batch.frame_offset + batch.captured_size).max(initial=0))
    data = memoryview(bytearray(batch.data[first : end + SLACK]))
    return replace(columns, frame_offset=columns.frame_offset - first, data=data)
