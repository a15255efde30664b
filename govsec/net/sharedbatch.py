"""A batch of packets laid into memory that two processes share, and seen there as columns again without a copy.

One idea: a table is a stretch of bytes with a fixed place for each column, as long as the longest batch needs, so all
that the other process must be told is how many packets there are and where their frames lie.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from govsec.net.columns import PACKETS_MAX, U1, PacketBatch

#: By the names of the types in ``columns``.
_KINDS = {"U1": np.uint8, "U2": np.uint16, "U4": np.uint32, "U8": np.uint64, "I8": np.int64}
_COLUMNS = tuple(
    (field.name, np.dtype(_KINDS[str(field.type)])) for field in fields(PacketBatch) if field.name != "data"
)
#: Columns begin where a line of the processor's cache does, and no two at the same place of a page.
_GAP_SIZE = 64


def _places() -> tuple[dict[str, int], int]:
    places, at = {}, 0
    for name, kind in _COLUMNS:
        places[name] = at
        at += PACKETS_MAX * kind.itemsize + _GAP_SIZE
    return places, at


_PLACES, TABLE_SIZE = _places()


def put(table: U1, batch: PacketBatch) -> None:
    """Copy the columns of ``batch`` into ``table``, which has ``TABLE_SIZE`` bytes; not the frames."""
    for name, column in _columns(table, len(batch)).items():
        column[:] = getattr(batch, name)


def view(table: U1, count: int, data: memoryview) -> PacketBatch:
    """The ``count`` packets that were put into ``table``; their frames are in ``data``."""
    return PacketBatch(**_columns(table, count), data=data)


def _columns(table: U1, count: int) -> dict[str, Any]:
    found = {}
    for name, kind in _COLUMNS:
        place = _PLACES[name]
        found[name] = table[place : place + count * kind.itemsize].view(kind)
    return found
