"""The last frames that were seen, up to a number of bytes: where evidence from before a finding comes from.

One idea: a batch is kept as one piece of bytes with four columns, and the oldest piece goes when a new one needs its
room. Nothing is looked at until somebody asks, and then only the pieces of the time asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np

from govsec.net.columns import PacketBatch
from govsec.net.decode import Frames, decode
from govsec.net.gather import SLACK

#: What the columns of one frame take.
_COLUMNS_SIZE = 40


class FrameRing:
    """Frames of batches in capture order; at most ``size_bytes_max`` with their columns."""

    def __init__(self, size_bytes_max: int) -> None:
        self._size_max = size_bytes_max
        self._size = 0
        self._pieces: deque[_Piece] = deque()
        #: Frames that made room for later ones.
        self.evicted_count = 0

    @property
    def size_bytes(self) -> int:
        return self._size

    def add(self, batch: PacketBatch) -> None:
        """Keep a copy of the frames; a batch larger than the ring is not kept at all."""
        if not len(batch):
            return
        piece = _Piece(batch)
        self._pieces.append(piece)
        self._size += piece.size
        while self._size > self._size_max:
            oldest = self._pieces.popleft()
            self._size -= oldest.size
            self.evicted_count += len(oldest.frames.time_ns)

    def batches(self, first_ns: int, last_ns: int) -> Iterator[PacketBatch]:
        """Pieces that hold a frame of this time, whole, decoded again, in capture order."""
        for piece in self._pieces:
            if piece.first_ns <= last_ns and piece.last_ns >= first_ns:
                yield decode(piece.frames, piece.link_type)

    def first_ns(self) -> int | None:
        """Time of the oldest frame that is kept."""
        return self._pieces[0].first_ns if self._pieces else None


class _Piece:
    __slots__ = ("first_ns", "frames", "last_ns", "link_type", "size")

    def __init__(self, batch: PacketBatch) -> None:
        data, offset = _packed(batch)
        self.frames = Frames(
            data=data,
            frame_offset=offset,
            captured_size=batch.captured_size,
            wire_size=batch.wire_size,
            time_ns=batch.time_ns,
            position=batch.position,
            vlan_moved=batch.vlan,
        )
        self.link_type = batch.link_type
        self.first_ns, self.last_ns = int(batch.time_ns.min()), int(batch.time_ns.max())
        self.size = len(data) + _COLUMNS_SIZE * len(batch)


def _packed(batch: PacketBatch) -> tuple[memoryview, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """A copy of the frames and where each is in it."""
    sizes = batch.captured_size.astype(np.int64)
    start, end = int(batch.frame_offset.min()), int((batch.frame_offset + sizes).max())
    total = int(sizes.sum())
    if end - start <= 2 * total + SLACK:  # they lie close together: one copy does
        data = bytearray(end - start + SLACK)
        data[: end - start] = batch.data[start:end]
        return memoryview(data), batch.frame_offset - start
    data = bytearray(total + SLACK)
    data[:total] = b"".join(batch.frame(index) for index in range(len(batch)))
    return memoryview(data), np.concatenate([[0], np.cumsum(sizes)[:-1]])
