"""A store that can only be read, whatever stands behind it: what drills, checks and audits are handed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from govsec.store.api import ObjectInfo, Piece, ReadStore
from govsec.store.pieces import pieces_of


class ReadOnlyStore:
    """``store`` without ``put`` and ``delete``: they are not refused, they are not there."""

    def __init__(self, store: ReadStore) -> None:
        self._store = store

    @property
    def name(self) -> str:
        return self._store.name

    def get(self, name: str, *, offset: int = 0, length: int | None = None, size_max: int) -> bytes:
        return self._store.get(name, offset=offset, length=length, size_max=size_max)

    def pieces(self, name: str, *, size_max: int) -> Iterator[Piece]:
        return pieces_of(self._store, name, size_max=size_max)

    def head(self, name: str) -> ObjectInfo:
        return self._store.head(name)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return self._store.list(prefix)

    def clone(self) -> Self:
        return type(self)(self._store.clone())
