"""Reading the same header at many places of a buffer with one call of numpy.

One idea: an array of void items whose stride is one byte has an item at *every* offset of the buffer, so indexing it
with the offsets of headers copies them all side by side; the copy is then viewed as fields. Nothing is copied but the
headers, and numpy checks that each lies in the buffer.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from govsec.net.columns import I8

#: Bytes that may be read behind the last frame of a buffer; what they hold is never used.
SLACK = 128
#: The one that is read, the one that is worked on, the one before that a caller still has, and one more.
_BUFFERS_MAX = 4


def gather(data: memoryview, offset: I8, header: np.dtype[np.void]) -> NDArray[np.void]:
    """The headers at ``offset``, as rows of ``header``.

    Raises:
        IndexError: an offset is not at least ``header.itemsize`` bytes before the end of ``data``. Callers clip.
    """
    count = max(0, len(data) - header.itemsize + 1)
    everywhere = np.ndarray((count,), dtype=f"V{header.itemsize}", buffer=data, strides=(1,))
    return everywhere[offset].view(header)


def with_slack(data: memoryview, end: int) -> memoryview:
    """``data``, or a copy of it, in which ``SLACK`` bytes may be read behind ``end``."""
    if len(data) >= end + SLACK:
        return data
    padded = bytearray(end + SLACK)
    padded[: min(end, len(data))] = data[:end]
    return memoryview(padded)


class Buffers:
    """Buffers of one size, each used again when nothing looks into it any more.

    A fresh one costs as much as reading a file into it: the kernel clears its pages.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._arrays: list[NDArray[np.uint8]] = [np.empty(size, np.uint8)]
        #: How many references an array has that only this list holds: every view of it is one more.
        self._references_idle = self._references(0)

    def take(self) -> memoryview:
        """A buffer whose contents are arbitrary."""
        for index in range(len(self._arrays)):
            if self._references(index) == self._references_idle:
                return self._arrays[index].data
        array = np.empty(self._size, np.uint8)
        if len(self._arrays) < _BUFFERS_MAX:
            self._arrays.append(array)
        return array.data

    def _references(self, index: int) -> int:
        return sys.getrefcount(self._arrays[index])
