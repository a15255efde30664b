"""Reading the same header at many places of a buffer with one call of numpy.

One idea: an array of void items whose stride is one byte has an item at *every* offset of the buffer, so indexing it
with the offsets of headers copies them all side by side; the copy is then viewed as fields. Nothing is copied but the
headers, and numpy checks that each lies in the buffer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from govsec.net.columns import I8

#: Bytes that may be read behind the last frame of a buffer; what they hold is never used.
SLACK = 128


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
