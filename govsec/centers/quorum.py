"""One store over the near centers: production and same-city, written together, never silently only one.

| mode | a put needs | when same-city does not answer |
|---|---|---|
| ``maximum-protection`` | both | an error, no backup |
| ``maximum-availability`` | either | ``degraded``: production alone; ``held_by`` and the receipt say so |
| ``maximum-performance`` | production | nothing: same-city follows by shipping |

Packs and indexes go to both at once; a snapshot goes to same-city first and then to production, so that what
production shows is never ahead of what the city has. What refers to other objects (an index, a snapshot) is never put
into a center that may lack some of them: one that is not in step, or that failed since this run began. It gets them
later, in order.

Reads ask production first, then same-city. Deleting happens at production; at same-city only locks can be deleted,
because production's credential can do no more there.

An instance, like every store, belongs to one thread; ``clone`` gives another.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Self, TypeVar

from govsec.centers import names
from govsec.centers.state import States, SyncState
from govsec.config import Mode
from govsec.errors import (
    ConfigurationError,
    IntegrityError,
    ObjectExistsError,
    ObjectNotFoundError,
    RefusedError,
    StoreError,
    StoreUnavailableError,
)
from govsec.runtime.lanes import Lane
from govsec.store.api import ObjectInfo, ObjectStore

log = logging.getLogger(__name__)
R = TypeVar("R")
#: Inside the class ``list`` is the method.
_Errors = list[Exception]
_Acks = list[ObjectInfo]


class Quorum:
    """An ``ObjectStore`` over production and same-city.

    With ``timeout_s`` every call runs in a thread of its center and is waited for that long; without, calls are made
    one after the other in the calling thread (then only the stores' own time-outs bound them).
    """

    def __init__(
        self,
        production: ObjectStore,
        same_city: ObjectStore | None,
        mode: Mode,
        *,
        states: States,
        timeout_s: float | None = None,
    ) -> None:
        if same_city is None and mode is not Mode.MAXIMUM_PERFORMANCE:
            raise ConfigurationError(f"mode {mode.value}: there is no center with the role same_city")
        if same_city is not None and same_city.name == production.name:
            raise ConfigurationError(f"two centers are called {production.name}")
        self.production = production
        self.same_city = same_city
        self.mode = mode
        self.states = states
        self._timeout_s = timeout_s
        self._lanes: dict[str, Lane] = {}
        #: How often each center had failed when this run began.
        self._failures_before = {store.name: states.get(store.name).failures_total for store in self.centers}

    @property
    def name(self) -> str:
        return "+".join(store.name for store in self.centers)

    @property
    def centers(self) -> tuple[ObjectStore, ...]:
        """The near centers, production first."""
        return (self.production,) if self.same_city is None else (self.production, self.same_city)

    def clone(self) -> Self:
        return self._like(
            type(self)(
                self.production.clone(),
                self.same_city.clone() if self.same_city else None,
                self.mode,
                states=self.states,
                timeout_s=self._timeout_s,
            )
        )

    def close(self) -> None:
        """Let the threads of the lanes end."""
        for lane in self._lanes.values():
            lane.close()

    def get(self, name: str, *, offset: int = 0, length: int | None = None, size_max: int) -> bytes:
        return self._read(name, lambda store: store.get(name, offset=offset, length=length, size_max=size_max))

    def head(self, name: str) -> ObjectInfo:
        return self._read(name, lambda store: store.head(name))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        complete = [store for store in self._readers() if self.states.get(store.name).state is SyncState.SYNCED]
        if not complete:
            # Neither is known to hold everything: only both together do, and an error in either is an error.
            yield from _merged([store.list(prefix) for store in self.centers])
            return
        last = ""
        for position, store in enumerate(complete):
            try:
                for info in store.list(prefix):
                    if info.name > last:
                        last = info.name
                        yield info
                return
            except StoreError as error:
                if position + 1 == len(complete):
                    raise
                log.warning("listing goes on elsewhere", extra={"center": store.name, "error": str(error)})

    def put(
        self, name: str, data: bytes, *, if_absent: bool = False, retain_until: datetime | None = None
    ) -> ObjectInfo:
        """Store an object in the centers that the mode asks for; ``held_by`` names those that did.

        Raises what a center raised when the mode's demand is not met; then it may be in any of them.
        """
        if retain_until is not None:
            raise RefusedError("retention is set by each center with its own credential, never by production")
        writers = self._writers()
        if name.startswith((names.INDEXES, names.SNAPSHOTS)):
            writers = self._publishers(writers, name)
        if if_absent:
            info = self._put_first(writers, name, data)
        elif name.startswith(names.SNAPSHOTS):
            info = self._put_in_turn(writers[::-1], name, data)
        else:
            info = self._put_together(writers, name, data)
        return info

    def delete(self, name: str) -> None:
        self._call(self.production, lambda: self.production.delete(name))
        if self.same_city is not None and name.startswith(names.LOCKS) and self.same_city in self._writers():
            store = self.same_city
            try:
                self._call(store, lambda: store.delete(name))
            except StoreError as error:
                # A lock that stays behind goes stale by itself; it is no reason to call the center degraded.
                log.warning("lock not removed", extra={"center": store.name, "error": str(error)})

    def failed(self, store: ObjectStore, error: Exception) -> None:
        """Record that ``store`` did not take a write."""
        log.warning("center failed", extra={"center": store.name, "error": str(error)})
        self.states.failed(store.name, str(error))

    def _writers(self) -> tuple[ObjectStore, ...]:
        """Who is written to now, production first; a center that lately failed is left out where the mode permits."""
        if self.same_city is None or self.mode is Mode.MAXIMUM_PERFORMANCE:
            return (self.production,)
        if self.mode is Mode.MAXIMUM_PROTECTION:
            return (self.production, self.same_city)
        return tuple(store for store in self.centers if self.states.is_usable(store.name)) or self.centers

    def _publishers(self, writers: Sequence[ObjectStore], name: str) -> tuple[ObjectStore, ...]:
        """Those of ``writers`` that hold whatever an index or a snapshot of this run can refer to."""
        self.states.refresh()
        found = tuple(store for store in writers if self._is_in_step(store))
        if not found or (len(found) < len(writers) and self.mode is not Mode.MAXIMUM_AVAILABILITY):
            out = ", ".join(store.name for store in writers if store not in found)
            raise StoreUnavailableError(f"{name}: not put, because {out} may lack what it refers to; resync first")
        return found

    def _is_in_step(self, store: ObjectStore) -> bool:
        state = self.states.get(store.name)
        return state.state is SyncState.SYNCED and state.failures_total == self._failures_before[store.name]

    def _like(self, clone: Self) -> Self:
        # A clone works for the same run: what failed before it was made failed in this run too.
        clone._failures_before = dict(self._failures_before)
        return clone

    def _put_together(self, writers: Sequence[ObjectStore], name: str, data: bytes) -> ObjectInfo:
        if self._timeout_s is None:
            return self._put_in_turn(writers, name, data)
        acks: _Acks = []
        errors: _Errors = []
        started = []
        for store in writers:
            try:
                started.append((store, self._lane(store).start(_put_call(store, name, data))))
            except StoreError as error:
                self._refused(store, error, errors)
        for store, future in started:
            try:
                acks.append(self._lane(store).result(future, self._timeout_s))
            except (StoreError, IntegrityError) as error:
                self._refused(store, error, errors)
        return self._settle(name, acks, errors)

    def _put_in_turn(self, writers: Sequence[ObjectStore], name: str, data: bytes) -> ObjectInfo:
        acks: _Acks = []
        errors: _Errors = []
        for store in writers:
            try:
                acks.append(self._call(store, _put_call(store, name, data)))
            except (StoreError, IntegrityError) as error:
                self._refused(store, error, errors)
                if self.mode is Mode.MAXIMUM_PROTECTION:
                    break
        return self._settle(name, acks, errors)

    def _put_first(self, writers: Sequence[ObjectStore], name: str, data: bytes) -> ObjectInfo:
        # One center decides who was first; the other follows. Two sides that see different centers may both win:
        # the commit log merges what they wrote.
        arbiter, followers = writers[0], writers[1:]
        try:
            first = self._call(arbiter, lambda: arbiter.put(name, data, if_absent=True))
        except ObjectExistsError:
            raise
        except StoreError as error:
            self.failed(arbiter, error)
            raise
        acks: _Acks = [first]
        errors: _Errors = []
        for store in followers:
            try:
                acks.append(self._call(store, _put_call(store, name, data)))
            except (StoreError, IntegrityError) as error:
                self._refused(store, error, errors)
        return self._settle(name, acks, errors)

    def _refused(self, store: ObjectStore, error: Exception, errors: _Errors) -> None:
        self.failed(store, error)
        errors.append(error)

    def _settle(self, name: str, acks: Sequence[ObjectInfo], errors: Sequence[Exception]) -> ObjectInfo:
        if errors and (not acks or self.mode is not Mode.MAXIMUM_AVAILABILITY):
            raise errors[0]
        held_by = tuple(center for ack in acks for center in ack.held_by)
        return ObjectInfo(name, acks[0].size_bytes, acks[0].modified, held_by)

    def _read(self, name: str, read: Callable[[ObjectStore], R]) -> R:
        errors: _Errors = []
        for store in self._readers():
            try:
                return self._call(store, lambda store=store: read(store))  # type: ignore[misc]
            except StoreUnavailableError as error:
                self.failed(store, error)
                errors.append(error)
            except (StoreError, IntegrityError) as error:
                errors.append(error)
        # "Not there" is the answer only when every center says so.
        others = [error for error in errors if not isinstance(error, ObjectNotFoundError)]
        raise (others or errors)[0]

    def _readers(self) -> tuple[ObjectStore, ...]:
        return tuple(sorted(self.centers, key=lambda store: not self.states.is_usable(store.name)))

    def _call(self, store: ObjectStore, call: Callable[[], R]) -> R:
        if self._timeout_s is None:
            return call()
        lane = self._lane(store)
        return lane.result(lane.start(call), self._timeout_s)

    def _lane(self, store: ObjectStore) -> Lane:
        return self._lanes.setdefault(store.name, Lane(store.name))


def _put_call(store: ObjectStore, name: str, data: bytes) -> Callable[[], ObjectInfo]:
    return lambda: store.put(name, data)


def _merged(lists: Sequence[Iterator[ObjectInfo]]) -> Iterator[ObjectInfo]:
    last = ""
    for info in heapq.merge(*lists, key=lambda info: info.name):
        if info.name > last:
            last = info.name
            yield info
