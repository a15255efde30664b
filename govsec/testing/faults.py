"""Stores that fail on purpose: at call 1, 2, 3 … N of a story, before or after the effect, once or for ever after.

One :class:`Faults` counts the calls of a whole story, over every store and clone that was wrapped with it::

    for faults in sweep(FaultKind.ERROR):
        production, same_city = FaultStore(MemoryStore(), faults), FaultStore(MemoryStore(), faults)
        ...                              # run the story, catch what it may raise, check what is left

The sweep ends with the first run that is over before its call was reached: that run must have gone through unharmed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from enum import Enum
from typing import Generic, TypeVar

from govsec.errors import GovsecError, StoreDeniedError, StoreFullError, StoreUnavailableError
from govsec.store.api import ObjectInfo, ObjectStore, Piece
from govsec.store.pieces import pieces_of, put_pieces


class Killed(BaseException):
    """The process died here. Not an ``Exception``: nothing but a test may catch it."""


class FaultKind(Enum):
    """What happens at the chosen call."""

    ERROR = "error"
    TIMEOUT = "timeout"
    DENIED = "denied"
    FULL = "full"
    #: The process dies: this call and every later one raise :class:`Killed`.
    KILL = "kill"
    #: A put is acknowledged and nothing stored. Only puts are counted.
    LIE = "lie"


class Moment(Enum):
    """Whether the fault strikes before the call has its effect or after."""

    BEFORE = "before"
    AFTER = "after"


class Faults:
    """Which call fails, and how; counts what happened. ``call`` counts from 1; 0 means that none fails."""

    def __init__(
        self,
        call: int,
        kind: FaultKind = FaultKind.ERROR,
        moment: Moment = Moment.BEFORE,
        *,
        is_permanent: bool = False,
        operations: frozenset[str] | None = None,
    ) -> None:
        self.call = call
        self.kind = kind
        self.moment = moment
        self.is_permanent = is_permanent
        self.operations = frozenset({"put"}) if kind is FaultKind.LIE else operations
        self.calls_count = 0
        self.injected_count = 0
        #: The store, operation and name of every call that was made to fail.
        self.injected: list[str] = []
        #: Chosen calls that could not fail: listings that nobody read to their end.
        self.unheard: list[str] = []
        #: Every call in order (store, operation, name), when this is a list.
        self.trace: list[str] | None = None
        self._lock = threading.Lock()
        self._is_dead = False

    def __repr__(self) -> str:
        ending = " and after" if self.is_permanent else ""
        return f"<{self.kind.value} {self.moment.value} call {self.call}{ending}: {self.injected or 'not reached'}>"

    @property
    def was_reached(self) -> bool:
        """True once the chosen call was made."""
        return 0 < self.call <= self.calls_count

    def assert_injected(self) -> None:
        """Raises ``AssertionError`` unless the fault happened: a fault test without a fault proves nothing."""
        if not self.injected_count:
            raise AssertionError(f"no fault was injected: {self.calls_count} calls, meant to fail at {self.call}")

    def meets(self, operation: str) -> bool:
        """Count one call; True when it is to fail. Raises ``Killed`` once the process is dead."""
        with self._lock:
            if self._is_dead:
                raise Killed(f"dead since {self.injected[0]}")
            if self.operations is not None and operation not in self.operations:
                return False
            self.calls_count += 1
            return self.calls_count == self.call or (self.is_permanent and 0 < self.call < self.calls_count)

    def strike(self, what: str) -> BaseException:
        """Record that the fault happened, and give what the chosen call raises (a lie raises nothing)."""
        with self._lock:
            self.injected_count += 1
            self.injected.append(what)
            self._is_dead = self.kind is FaultKind.KILL
        if self.kind is FaultKind.KILL:
            return Killed(what)
        if self.kind is FaultKind.DENIED:
            return StoreDeniedError(f"{what}: denied (injected)")
        if self.kind is FaultKind.FULL:
            return StoreFullError(f"{what}: full (injected)")
        if self.kind is FaultKind.TIMEOUT:
            return StoreUnavailableError(f"{what}: timed out (injected)")
        return StoreUnavailableError(f"{what}: failed (injected)")


def no_faults() -> Faults:
    """Counts calls and lets every one through."""
    return Faults(0)


def sweep(
    kind: FaultKind,
    moment: Moment = Moment.BEFORE,
    *,
    is_permanent: bool = False,
    operations: frozenset[str] | None = None,
    first: int = 1,
    step: int = 1,
    calls_max: int = 100_000,
) -> Iterator[Faults]:
    """Faults at call ``first``, ``first + step`` … up to and including the first run that does not get so far.

    Raises:
        AssertionError: the story is longer than ``calls_max`` calls, or the very first run met no fault.
    """
    for call in range(first, calls_max, step):
        faults = Faults(call, kind, moment, is_permanent=is_permanent, operations=operations)
        yield faults
        if not faults.was_reached:
            if call == first:
                raise AssertionError(f"the story made {faults.calls_count} calls: nothing was swept")
            return
    raise AssertionError(f"the story is longer than {calls_max} calls")


S = TypeVar("S", bound=ObjectStore)


class FaultStore(Generic[S]):
    """An ``ObjectStore`` that hands every call on to ``store``, save the one that ``faults`` chooses."""

    def __init__(self, store: S, faults: Faults) -> None:
        self.store = store
        self.faults = faults

    @property
    def name(self) -> str:
        return self.store.name

    def get(self, name: str, *, offset: int = 0, length: int | None = None, size_max: int) -> bytes:
        with self._call("get", name):
            return self.store.get(name, offset=offset, length=length, size_max=size_max)

    def pieces(self, name: str, *, size_max: int) -> Iterator[Piece]:
        with self._call("get", name):
            yield from pieces_of(self.store, name, size_max=size_max)

    def head(self, name: str) -> ObjectInfo:
        with self._call("head", name):
            return self.store.head(name)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        # A generator, as in real stores: the call begins, and may fail, when it is consumed.
        with self._call("list", prefix):
            yield from self.store.list(prefix)

    def clone(self) -> FaultStore[S]:
        return FaultStore(self.store.clone(), self.faults)

    def put(
        self, name: str, data: bytes, *, if_absent: bool = False, retain_until: datetime | None = None
    ) -> ObjectInfo:
        hits = self._before("put", name)
        if hits and self.faults.kind is FaultKind.LIE:
            self.faults.strike(self._what("put", name))
            return ObjectInfo(name, len(data), None, (self.name,))
        with self._after(hits, "put", name):
            return self.store.put(name, data, if_absent=if_absent, retain_until=retain_until)

    def put_pieces(self, name: str, pieces: Iterable[Piece]) -> ObjectInfo:
        hits = self._before("put", name)
        if hits and self.faults.kind is FaultKind.LIE:
            self.faults.strike(self._what("put", name))
            return ObjectInfo(name, sum(len(piece) for piece in pieces), None, (self.name,))
        with self._after(hits, "put", name):
            return put_pieces(self.store, name, pieces)

    def delete(self, name: str) -> None:
        with self._call("delete", name):
            self.store.delete(name)

    def _call(self, operation: str, name: str) -> AbstractContextManager[None]:
        return self._after(self._before(operation, name), operation, name)

    def _before(self, operation: str, name: str) -> bool:
        if self.faults.trace is not None:
            self.faults.trace.append(self._what(operation, name))
        hits = self.faults.meets(operation)
        if hits and self.faults.kind is not FaultKind.LIE and self.faults.moment is Moment.BEFORE:
            raise self.faults.strike(self._what(operation, name))
        return hits

    @contextmanager
    def _after(self, hits: bool, operation: str, name: str) -> Iterator[None]:
        # An answer is lost whatever it was: also "there is no such object".
        try:
            yield
        except GovsecError as error:
            if hits:
                raise self.faults.strike(self._what(operation, name)) from error
            raise
        except GeneratorExit:
            if hits:
                self.faults.unheard.append(self._what(operation, name))
            raise
        if hits:
            raise self.faults.strike(self._what(operation, name))

    def _what(self, operation: str, name: str) -> str:
        return f"{self.name}: {operation} {name}"
