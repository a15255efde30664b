"""A large index and what came since, looked up as one: for a writer that stays and adds a little every few seconds.

Building a large index anew for a few rows costs its size each time (a quarter of a second with a million blobs). So
what is new lies in a small index beside it, and only that one is built anew; when it has grown, the two are merged.
What asks for more than single look-ups (rows by number, all rows) gets the merged one, built when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from govsec.repo.index import Ids, Index, Location
from govsec.repo.indexbuild import IndexBuilder
from govsec.repo.indexfile import PackRows
from govsec.repo.pack import BlobType

#: Building one of this size takes 0.03 s.
_YOUNG_MAX = 100_000


class LayeredIndex(Index):
    """``base`` and ``young`` as one index. Attributes of rows are those of the merged one."""

    def __init__(self, base: Index, young: Index) -> None:
        # Not the other's __init__: there are no rows of its own.
        self.base = base
        self.young = young
        self._merged: Index | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.merged(), name)

    def __len__(self) -> int:
        return len(self.base) + len(self.young)

    def __contains__(self, handle: tuple[BlobType, bytes]) -> bool:
        return handle in self.young or handle in self.base

    @property
    def size_bytes(self) -> int:
        return self.base.size_bytes + self.young.size_bytes

    def find(self, blob_type: BlobType, blob_id: bytes) -> list[Location]:
        return [*self.base.find(blob_type, blob_id), *self.young.find(blob_type, blob_id)]

    def contains_many(self, blob_type: BlobType, ids: bytes | Ids) -> NDArray[np.bool_]:
        return self.base.contains_many(blob_type, ids) | self.young.contains_many(blob_type, ids)

    def find_many(self, blob_type: BlobType, ids: bytes | Ids) -> NDArray[np.int64]:
        return self.merged().find_many(blob_type, ids)

    def location(self, row: int) -> Location:
        return self.merged().location(row)

    def locations(self) -> Iterator[Location]:
        return self.merged().locations()

    def rows_by_pack(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return self.merged().rows_by_pack()

    def merged(self) -> Index:
        """One index of both."""
        if self._merged is None:
            builder = IndexBuilder()
            builder.add_index(self.base)
            builder.add_index(self.young)
            self._merged = builder.finish()
        return self._merged


def grown(index: Index, packs: Sequence[PackRows]) -> Index:
    """``index`` with the rows of ``packs``. Raises ``LimitError`` when there would be too many."""
    base, young = (index.base, index.young) if isinstance(index, LayeredIndex) else (index, Index.empty())
    builder = IndexBuilder()
    if len(base) <= _YOUNG_MAX or len(young) >= _YOUNG_MAX:
        builder.add_index(base)
        base = Index.empty()
    builder.add_index(young)
    builder.add_packs(packs)
    fresh = builder.finish()
    return LayeredIndex(base, fresh) if len(base) else fresh
