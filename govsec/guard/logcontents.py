"""What a log held, kept as digests: enough to tell whether it still stands there, or in another file.

One idea: a log only grows, so what it once held never changes. Of its whole blocks of 64 KiB the first and the newest
2,048 (128 MiB) are kept as digests, and one of what stands behind the last whole block. A look reads what came since,
the first and the last blocks again, and some of those between in turn, until all were read since the file last changed;
then it rests. So bytes that are written over anywhere in them are found, within as many looks as the share of a look
goes into what is kept.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable

BLOCK_SIZE = 64 << 10
_BLOCKS_MAX = 2048
_DIGEST_SIZE = 16
#: Blocks of a pack that are read in any case.
_ALWAYS_READ = 16
_MARK_MAX = 64
_NO_STAMP = (0, 0, 0, 0)


class Budget:
    """Bytes that may still be read; ``within`` another budget, what is taken is taken of both."""

    def __init__(self, size_bytes: int, within: Budget | None = None) -> None:
        self._left = size_bytes
        self._within = within
        self.taken = 0

    def take(self, size_bytes: int) -> bool:
        """Whether so much more may be read; it is counted when it may."""
        if size_bytes > self._left or (self._within is not None and not self._within.take(size_bytes)):
            return False
        self._left -= size_bytes
        self.taken += size_bytes
        return True


class Content:
    """What one file held at the last look. ``is_sparse``: of its whole blocks the first and the last alone."""

    # There are as many as rotated files.
    __slots__ = ("_blocks", "_is_complete", "_is_sparse", "_mark", "_next", "_stamp", "_tail", "_unread_count", "size")

    def __init__(self, *, is_sparse: bool = False) -> None:
        self.size = 0
        self._is_sparse = is_sparse
        self._blocks: dict[int, bytes] = {}
        self._tail = b""
        #: Bytes that a follower saw, and the position behind them.
        self._mark: tuple[int, bytes] = (0, b"")
        self._stamp = _NO_STAMP
        self._unread_count = 0
        self._next = 0
        self._is_complete = True

    @property
    def blocks_count(self) -> int:
        """Digests that are kept."""
        return len(self._blocks)

    @property
    def end(self) -> int:
        """How far the file is known to have gone: at the last look, or where a follower was by then."""
        return max(self.size, self._mark[0])

    def expect(self, position: int, mark: bytes) -> None:
        """A follower saw ``mark`` right before ``position``; it must be found there too."""
        self._mark = (position, mark[-_MARK_MAX:])

    def forget_mark(self) -> None:
        """What the follower saw has been dealt with."""
        self._mark = (0, b"")

    def is_at_rest(self, status: os.stat_result) -> bool:
        """The file has not changed since all that is held of it was read again: there is nothing to look at."""
        return self._stamp == _stamp(status) and not self._unread_count and self._is_complete

    def check(self, descriptor: int, status: os.stat_result, budget: Budget) -> bool:
        """What was held still stands in the file, as far as this look reads.

        Raises:
            OSError: it cannot be read.
        """
        if status.st_size < self.end:
            return False
        position, mark = self._mark
        if os.pread(descriptor, len(mark), position - len(mark)) != mark:
            return False
        # A program cannot set the change time. It is rough, so a file counts as read only from the next look on.
        stamp, is_new = _stamp(status), False
        if stamp != self._stamp:
            self._unread_count, is_new = len(self._blocks) + 1, True
        elif not self._unread_count:
            return True
        self._stamp = _NO_STAMP
        read_count = self._read_again(descriptor, budget)
        if read_count is None:
            return False
        self._stamp = stamp
        if not is_new:
            self._unread_count = max(0, self._unread_count - read_count)
        return True

    def _read_again(self, descriptor: int, budget: Budget) -> int | None:
        """How much was read of what stands first and last and, in turn, between; ``None`` when it is another."""
        start = self.size - self.size % BLOCK_SIZE
        if self._tail and _digest(os.pread(descriptor, self.size - start, start)) != self._tail:
            return None
        kept = sorted(self._blocks)
        edges = kept[:1] + kept[1:][-1:]
        turn = [*(number for number in kept if number >= self._next), *kept][: len(kept)]
        read_count = 1
        for number in (*edges, *turn):
            if number not in edges and not budget.take(BLOCK_SIZE):
                break
            if _digest(os.pread(descriptor, BLOCK_SIZE, number * BLOCK_SIZE)) != self._blocks[number]:
                return None
            read_count += 1
            self._next = number + 1
        return read_count

    def found_in(self, blocks: Iterable[bytes], budget: Budget) -> int | None:
        """How much of it stands at the beginning of what the blocks say: at least ``end``, or what the budget allows.

        ``None``: something else stands there. The first megabyte is read whatever the budget says.
        """
        position, mark = self._mark
        size, before = 0, b""
        for number, block in enumerate(blocks):
            if number >= _ALWAYS_READ and not budget.take(len(block)):
                return size
            if number in self._blocks and _digest(block) != self._blocks[number]:
                return None
            start = number * BLOCK_SIZE
            is_last = start <= self.size < start + BLOCK_SIZE
            if self._tail and is_last and _digest(block[: self.size - start]) != self._tail:
                return None
            size += len(block)
            before = before[-_MARK_MAX:] + block
            if start < position <= size and not before[: len(before) - (size - position)].endswith(mark):
                return None
            if size >= self.end:
                return size
        return size if size >= self.end else None

    def learn(self, descriptor: int, size: int, budget: Budget) -> None:
        """The file is so long now, and what stands in it is what it holds.

        Raises:
            OSError: it cannot be read.
        """
        if size == self.size and self._is_complete:
            return
        self._is_complete = True
        last = size // BLOCK_SIZE
        for number in [number for number in self._blocks if 0 < number < last - _BLOCKS_MAX]:
            del self._blocks[number]
        for number in self._wanted(last):
            if number not in self._blocks:
                if number not in (0, last - 1) and not budget.take(BLOCK_SIZE):
                    self._is_complete = False
                    break
                self._blocks[number] = _digest(os.pread(descriptor, BLOCK_SIZE, number * BLOCK_SIZE))
        self.size = size
        tail = os.pread(descriptor, size % BLOCK_SIZE, last * BLOCK_SIZE)
        self._tail = _digest(tail) if tail else b""

    def _wanted(self, last: int) -> Iterable[int]:
        """The blocks to keep of a file that has so many whole ones: the first, then the newest first."""
        if not last:
            return ()
        return (0, last - 1) if self._is_sparse else (0, *range(last - 1, max(0, last - 1 - _BLOCKS_MAX), -1))


def _stamp(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_ctime_ns, status.st_size


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:_DIGEST_SIZE]
