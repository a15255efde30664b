"""Writing content into a file at its place, leaving out long runs of zeros.

The format knows no holes; what comes back as a hole is what is zero for long enough and lies on a block's border.
"""

from __future__ import annotations

import os

#: Zeros that are at least this long and lie on a block's border become a hole.
_HOLE_SIZE = 32 << 10
_BLOCK_SIZE = 4096
_HOLE = bytes(_HOLE_SIZE)
_BLOCK = bytes(_BLOCK_SIZE)
#: The longest chunk that the chunker makes of a hole.
_ZEROS = bytes(8 << 20)
#: What a hole leaves of itself in every 4096th byte, wherever it begins.
_SAMPLED_HOLE = bytes(_HOLE_SIZE // _BLOCK_SIZE)


def has_holes(data: bytes) -> bool:
    """Whether :func:`write_sparse` would leave out anything, so that the file has to be made long enough before."""
    # A look at one byte in 4096 first: searching for the long run costs more than writing a small file.
    return len(data) >= _HOLE_SIZE and _SAMPLED_HOLE in data[::_BLOCK_SIZE] and data.find(_HOLE) >= 0


def write_at(descriptor: int, data: bytes, offset: int) -> None:
    """Write all of ``data``. Raises ``OSError``."""
    count = os.pwrite(descriptor, data, offset)
    while count < len(data):
        count += os.pwrite(descriptor, memoryview(data)[count:], offset + count)


def write_sparse(descriptor: int, data: bytes, offset: int) -> None:
    """Write ``data`` into a file that is long enough already, leaving out long runs of zeros. Raises ``OSError``."""
    if data.startswith(_BLOCK) and len(data) <= len(_ZEROS) and data == _ZEROS[: len(data)]:
        return  # also when it is shorter than what counts as a hole within other bytes
    start = 0
    position = data.find(_HOLE) if has_holes(data) else -1
    while position >= 0:
        hole = -(-(offset + position) // _BLOCK_SIZE) * _BLOCK_SIZE - offset
        end = hole
        while end + _BLOCK_SIZE <= len(data) and data[end : end + _BLOCK_SIZE] == _BLOCK:
            end += _BLOCK_SIZE
        write_at(descriptor, data[start:hole], offset + start)
        start = end
        position = data.find(_HOLE, start)
    write_at(descriptor, data[start:] if start else data, offset + start)
