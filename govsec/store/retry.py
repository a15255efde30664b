"""The one place that retries: calls whose error says that the same call may work later.

Waits grow exponentially up to a bound and are spread by jitter, so that many writers do not come back at once. The
number of attempts is bounded; the last error leaves unchanged. A large object that was cut off on its way goes on where
it was cut, and an attempt that brought a good part of it does not count among those.

A put that failed may have had its effect. Without a condition that is no harm, the same bytes are put again. With
``if_absent`` the second attempt would find the first one's object: then the bytes decide, and only other bytes are
another writer's.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Generic, Self, TypeVar

from govsec.clock import Clock
from govsec.errors import CutShortError, GovsecError, IntegrityError, LimitError, ObjectExistsError, StoreError
from govsec.store.api import ObjectInfo, ObjectStore, VersionedStore, VersionInfo

log = logging.getLogger(__name__)

_WAIT_FIRST_S = 0.2
_WAIT_MAX_S = 20.0
#: From here on what came before a cut is kept and the rest is asked for. Objects that large are named by their digest
#: and never change, and whoever reads one checks it: two halves of different objects are not taken for one.
_RESUME_SIZE_MIN = 256 << 10
T = TypeVar("T")
S = TypeVar("S", bound=ObjectStore)
V = TypeVar("V", bound=VersionedStore)


class RetryStore(Generic[S]):
    """``store`` with up to ``attempts_max`` attempts a call; ``jitter`` gives numbers from 0 to 1."""

    def __init__(
        self, store: S, clock: Clock, *, attempts_max: int = 5, jitter: Callable[[], float] | None = None
    ) -> None:
        if attempts_max < 1:
            raise ValueError("there must be at least one attempt")
        self.store = store
        self._clock = clock
        self._attempts_max = attempts_max
        self._jitter = jitter or secrets.SystemRandom().random
        #: How many calls were made again, for meters and messages.
        self.retries_count = 0

    @property
    def name(self) -> str:
        return self.store.name

    def get(self, name: str, *, offset: int = 0, length: int | None = None, size_max: int) -> bytes:
        parts: list[bytes] = []
        failures_count = 0
        while True:
            try:
                data = self.store.get(name, offset=offset, length=length, size_max=size_max)
            except GovsecError as error:
                failures_count += 1
                if isinstance(error, CutShortError) and len(error.received) >= _RESUME_SIZE_MIN:
                    # What came stays, so a line that is cut again and again gets every object through in the end.
                    parts.append(error.received)
                    offset, length = offset + len(error.received), error.size_bytes - len(error.received)
                    failures_count = 1
                self._wait_or_raise("get", error, failures_count)
                continue
            return b"".join([*parts, data]) if parts else data

    def head(self, name: str) -> ObjectInfo:
        return self._attempts("head", lambda: self.store.head(name))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        # Names ascend, so a listing that broke off goes on behind the last name that was given out.
        last, failures_count = "", 0
        while True:
            try:
                for info in self.store.list(prefix):
                    if info.name > last:
                        last, failures_count = info.name, 0
                        yield info
                return
            except GovsecError as error:
                failures_count += 1
                self._wait_or_raise("list", error, failures_count)

    def clone(self) -> Self:
        return type(self)(self.store.clone(), self._clock, attempts_max=self._attempts_max, jitter=self._jitter)

    def put(
        self, name: str, data: bytes, *, if_absent: bool = False, retain_until: datetime | None = None
    ) -> ObjectInfo:
        attempts_count = 0

        def attempt() -> ObjectInfo:
            nonlocal attempts_count
            attempts_count += 1
            try:
                return self.store.put(name, data, if_absent=if_absent, retain_until=retain_until)
            except ObjectExistsError:
                if attempts_count == 1 or not self._holds(name, data):
                    raise
                return self.store.head(name)

        return self._attempts("put", attempt)

    def delete(self, name: str) -> None:
        self._attempts("delete", lambda: self.store.delete(name))

    def _holds(self, name: str, data: bytes) -> bool:
        try:
            return self.store.get(name, size_max=len(data)) == data
        except (LimitError, IntegrityError):
            return False
        except StoreError as error:
            if error.is_retryable:
                raise
            return False  # not allowed to look, or gone again: then it cannot be said to be ours

    def _attempts(self, operation: str, call: Callable[[], T]) -> T:
        failures_count = 0
        while True:
            try:
                return call()
            except GovsecError as error:
                failures_count += 1
                self._wait_or_raise(operation, error, failures_count)

    def _wait_or_raise(self, operation: str, error: GovsecError, failures_count: int) -> None:
        """Return after the wait that is due; raises ``error`` when it is not worth another attempt."""
        if not error.is_retryable or failures_count >= self._attempts_max:
            raise error
        self.retries_count += 1
        bound_s = min(_WAIT_MAX_S, _WAIT_FIRST_S * 2 ** (failures_count - 1))
        wait_s = bound_s * (0.5 + self._jitter() / 2)
        fields = {"store": self.name, "operation": operation, "wait_s": round(wait_s, 2), "reason": str(error)}
        log.warning("store call is tried again", extra=fields)
        self._clock.sleep(wait_s)


class RetryVersionedStore(RetryStore[V]):
    """The same for a center's own store: retention, holds and versions are retried too (all are idempotent)."""

    def retain(self, name: str, until: datetime) -> None:
        self._attempts("retain", lambda: self.store.retain(name, until))

    def retention(self, name: str) -> datetime | None:
        return self._attempts("retention", lambda: self.store.retention(name))

    def hold(self, name: str, *, is_held: bool) -> None:
        self._attempts("hold", lambda: self.store.hold(name, is_held=is_held))

    def versions(self, prefix: str) -> Iterator[VersionInfo]:
        # Several versions share a name, so a broken listing cannot go on in the middle: it is read as a whole.
        yield from self._attempts("versions", lambda: [*self.store.versions(prefix)])

    def get_version(self, name: str, version_id: str, *, size_max: int) -> bytes:
        return self._attempts("get_version", lambda: self.store.get_version(name, version_id, size_max=size_max))

    def delete_version(self, name: str, version_id: str) -> None:
        self._attempts("delete_version", lambda: self.store.delete_version(name, version_id))
