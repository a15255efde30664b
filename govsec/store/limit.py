"""A ceiling on the bytes per second that move through a store, so that shipping leaves the line to others.

A token bucket: bytes are paid for before they are sent and after they were received (their number is not known before).
Clones and threads share one bucket; forked processes have a bucket each, as they share no memory.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Generic, Self, TypeVar

from govsec.clock import Clock
from govsec.rateentry import RateWindow, rate_at
from govsec.store.api import ObjectInfo, ObjectStore

S = TypeVar("S", bound=ObjectStore)


class ByteRate:
    """A token bucket of ``bytes_per_s`` (None: no limit) that holds one second's worth; ``schedule`` has other rates
    for times of the day.
    """

    def __init__(self, bytes_per_s: int | None, clock: Clock, *, schedule: Sequence[RateWindow] = ()) -> None:
        if bytes_per_s is not None and bytes_per_s <= 0:
            raise ValueError("a rate must be positive")
        self._usual = bytes_per_s
        self._schedule = tuple(schedule)
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at_s = clock.monotonic()

    def take(self, size_bytes: int) -> None:
        """Return when ``size_bytes`` may pass; what is more than a second's worth delays those that come after."""
        bytes_per_s = rate_at(self._clock.now(), self._usual, self._schedule)
        with self._lock:
            now_s = self._clock.monotonic()
            if bytes_per_s is None:
                self._free_at_s = now_s
                return
            # The bucket is kept as the moment at which it will be full again, less one second.
            begin_s = max(self._free_at_s, now_s - 1.0)
            self._free_at_s = begin_s + size_bytes / bytes_per_s
            wait_s = begin_s - now_s
        if wait_s > 0:
            self._clock.sleep(wait_s)


class LimitStore(Generic[S]):
    """``store``, with the bytes of ``get`` and ``put`` paid for at ``rate``."""

    def __init__(self, store: S, rate: ByteRate) -> None:
        self.store = store
        self._rate = rate

    @property
    def name(self) -> str:
        return self.store.name

    def get(self, name: str, *, offset: int = 0, length: int | None = None, size_max: int) -> bytes:
        data = self.store.get(name, offset=offset, length=length, size_max=size_max)
        self._rate.take(len(data))
        return data

    def head(self, name: str) -> ObjectInfo:
        return self.store.head(name)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return self.store.list(prefix)

    def clone(self) -> Self:
        return type(self)(self.store.clone(), self._rate)

    def put(
        self, name: str, data: bytes, *, if_absent: bool = False, retain_until: datetime | None = None
    ) -> ObjectInfo:
        self._rate.take(len(data))
        return self.store.put(name, data, if_absent=if_absent, retain_until=retain_until)

    def delete(self, name: str) -> None:
        self.store.delete(name)
