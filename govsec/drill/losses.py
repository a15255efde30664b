"""Losing a center on purpose: wrappers that a drill reads through. No center's real data is ever touched.

The same seed hits the same objects, so a drill can be repeated. An object is hit when the first eight bytes of
SHA-256(seed, name), as a fraction of 2^64, lie below the share.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from enum import StrEnum

from govsec.errors import ObjectNotFoundError, StoreUnavailableError
from govsec.store.api import ObjectInfo, ReadStore


class Damage(StrEnum):
    """What happens to an object that is hit."""

    FLIPPED = "flipped"
    REMOVED = "removed"


class LostStore:
    """A center that is gone."""

    def __init__(self, name: str) -> None:
        self.name = name

    def get(self, name: str, *, offset: int = 0, length: int | None = None, size_max: int) -> bytes:
        raise self._lost()

    def head(self, name: str) -> ObjectInfo:
        raise self._lost()

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        raise self._lost()

    def clone(self) -> LostStore:
        return LostStore(self.name)

    def _lost(self) -> StoreUnavailableError:
        return StoreUnavailableError(f"{self.name}: lost in this drill")


class DamagedStore:
    """A center in which a share of the objects under ``prefix`` is missing or has a flipped bit."""

    def __init__(self, store: ReadStore, damage: Damage, *, fraction: float, seed: int, prefix: str) -> None:
        self._store = store
        self._damage = damage
        self._fraction = fraction
        self._seed = seed
        self._prefix = prefix

    @property
    def name(self) -> str:
        return self._store.name

    def is_hit(self, name: str) -> bool:
        """True when the object of this name is damaged."""
        if not name.startswith(self._prefix):
            return False
        digest = hashlib.sha256(f"{self._seed}\0{name}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < self._fraction * 2**64

    def hits_count(self) -> int:
        """How many objects that are really there are damaged: a scenario that hits nothing was not exercised."""
        return sum(self.is_hit(info.name) for info in self._store.list(self._prefix))

    def get(self, name: str, *, offset: int = 0, length: int | None = None, size_max: int) -> bytes:
        if not self.is_hit(name):
            return self._store.get(name, offset=offset, length=length, size_max=size_max)
        if self._damage is Damage.REMOVED:
            raise ObjectNotFoundError(f"{self.name}: {name} removed in this drill")
        data = bytearray(self._store.get(name, offset=offset, length=length, size_max=size_max))
        if data:
            # In the middle of what is read, so that a ranged read of any part meets damage too.
            data[len(data) // 2] ^= 0x10
        return bytes(data)

    def head(self, name: str) -> ObjectInfo:
        self._require(name)
        return self._store.head(name)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        for info in self._store.list(prefix):
            if self._damage is not Damage.REMOVED or not self.is_hit(info.name):
                yield info

    def clone(self) -> DamagedStore:
        return DamagedStore(
            self._store.clone(), self._damage, fraction=self._fraction, seed=self._seed, prefix=self._prefix
        )

    def _require(self, name: str) -> None:
        if self._damage is Damage.REMOVED and self.is_hit(name):
            raise ObjectNotFoundError(f"{self.name}: {name} removed in this drill")
