"""Counts what moves through a store: calls, bytes, errors and time, by kind of call."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Generic, Self, TypeVar

from govsec.clock import Clock
from govsec.errors import GovsecError
from govsec.store.api import ObjectInfo, ObjectStore

S = TypeVar("S", bound=ObjectStore)


@dataclass(frozen=True, slots=True)
class Usage:
    """What one kind of call came to."""

    calls_count: int = 0
    errors_count: int = 0
    size_bytes: int = 0
    elapsed_s: float = 0.0


class Meter:
    """The counters; several stores, clones and threads may share one."""

    def __init__(self) -> None:
        self._usage: dict[str, Usage] = {}
        self._lock = threading.Lock()

    def add(self, operation: str, *, errors: int = 0, size_bytes: int = 0, elapsed_s: float = 0.0) -> None:
        """Count one call."""
        with self._lock:
            before = self._usage.get(operation, Usage())
            self._usage[operation] = replace(
                before,
                calls_count=before.calls_count + 1,
                errors_count=before.errors_count + errors,
                size_bytes=before.size_bytes + size_bytes,
                elapsed_s=before.elapsed_s + elapsed_s,
            )

    def usage(self) -> Mapping[str, Usage]:
        """The counts by kind of call (``get``, ``head``, ``list``, ``put``, ``delete``) so far."""
        with self._lock:
            return dict(self._usage)


class MeterStore(Generic[S]):
    """``store``, with every call counted by ``meter``."""

    def __init__(self, store: S, meter: Meter, clock: Clock) -> None:
        self.store = store
        self.meter = meter
        self._clock = clock

    @property
    def name(self) -> str:
        return self.store.name

    def get(self, name: str, *, offset: int = 0, length: int | None = None, size_max: int) -> bytes:
        with self._measured("get") as moved:
            data = self.store.get(name, offset=offset, length=length, size_max=size_max)
            moved.size_bytes = len(data)
        return data

    def head(self, name: str) -> ObjectInfo:
        with self._measured("head"):
            return self.store.head(name)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        # The time of a listing includes what its consumer does between two names.
        with self._measured("list"):
            yield from self.store.list(prefix)

    def clone(self) -> Self:
        return type(self)(self.store.clone(), self.meter, self._clock)

    def put(
        self, name: str, data: bytes, *, if_absent: bool = False, retain_until: datetime | None = None
    ) -> ObjectInfo:
        with self._measured("put") as moved:
            info = self.store.put(name, data, if_absent=if_absent, retain_until=retain_until)
            moved.size_bytes = len(data)
        return info

    def delete(self, name: str) -> None:
        with self._measured("delete"):
            self.store.delete(name)

    @contextmanager
    def _measured(self, operation: str) -> Iterator[_Moved]:
        moved, errors, started_s = _Moved(), 0, self._clock.monotonic()
        try:
            yield moved
        except GovsecError:
            errors = 1
            raise
        finally:
            elapsed_s = self._clock.monotonic() - started_s
            self.meter.add(operation, errors=errors, size_bytes=moved.size_bytes, elapsed_s=elapsed_s)


@dataclass(slots=True)
class _Moved:
    size_bytes: int = 0
