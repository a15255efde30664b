"""Objects in the memory of one process: the store of tests, of examples and of fault sweeps.

Not shared between processes: a forked child would fill a copy that nobody sees, so writing there is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from govsec.clock import Clock, SystemClock
from govsec.errors import ObjectExistsError, ObjectNotFoundError, RefusedError
from govsec.store.api import ObjectInfo, Piece, check_name, check_prefix, check_range
from govsec.store.pieces import joined

#: Small, so that what tests store comes in several pieces.
_PIECE_SIZE = 100


@dataclass(frozen=True, slots=True)
class _Object:
    data: bytes
    modified: datetime


class MemoryStore:
    """An ``ObjectStore`` in a dictionary. Clones share the objects; threads may share the store."""

    def __init__(self, name: str = "memory", *, clock: Clock | None = None) -> None:
        self._name = name
        self._clock: Clock = clock or SystemClock()
        self._objects: dict[str, _Object] = {}
        self._pid = os.getpid()

    @property
    def name(self) -> str:
        return self._name

    def get(self, name: str, *, offset: int = 0, length: int | None = None, size_max: int) -> bytes:
        data = self._find(name).data
        start, wanted = check_range(name, len(data), offset, length, size_max)
        return data[start : start + wanted]

    def pieces(self, name: str, *, size_max: int) -> Iterator[Piece]:
        data = memoryview(self.get(name, size_max=size_max))
        step = max(_PIECE_SIZE, len(data) // 8)
        yield from (data[start : start + step] for start in range(0, len(data), step))

    def head(self, name: str) -> ObjectInfo:
        return self._info(name, self._find(name))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        check_prefix(prefix)
        for name in sorted(self._objects):
            if name.startswith(prefix):
                found = self._objects.get(name)
                if found is not None:
                    yield self._info(name, found)

    def clone(self) -> MemoryStore:
        return self

    def put(
        self, name: str, data: bytes, *, if_absent: bool = False, retain_until: datetime | None = None
    ) -> ObjectInfo:
        check_name(name)
        self._refuse_other_process()
        if retain_until is not None:
            raise RefusedError(f"{self._name}: memory cannot keep {name} from deletion")
        created = _Object(bytes(data), self._clock.now())
        if not if_absent:
            self._objects[name] = created
        elif self._objects.setdefault(name, created) is not created:
            raise ObjectExistsError(f"{self._name}: {name} exists")
        return self._info(name, created)

    def put_pieces(self, name: str, pieces: Iterable[Piece]) -> ObjectInfo:
        return self.put(name, joined(pieces))

    def delete(self, name: str) -> None:
        check_name(name)
        self._refuse_other_process()
        self._objects.pop(name, None)

    def _find(self, name: str) -> _Object:
        found = self._objects.get(check_name(name))
        if found is None:
            raise ObjectNotFoundError(f"{self._name}: there is no object {name}")
        return found

    def _info(self, name: str, found: _Object) -> ObjectInfo:
        return ObjectInfo(name, len(found.data), found.modified, (self._name,))

    def _refuse_other_process(self) -> None:
        if os.getpid() != self._pid:
            raise RefusedError(f"{self._name}: a store in memory cannot be written from another process")
