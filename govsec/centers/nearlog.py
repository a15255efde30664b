"""The log that the near centers have in common: who holds which commits, who is in step, and what each lacks.

One idea: every answer comes from a :class:`Survey`. It reads the log of each near center that answers, gives those
that lack commits what they lack by shipping from the other, and says which centers then hold everything. What stores
and signs commits on top of it is ``near``.

A writer that stays for days (``is_following``) does not read the log anew for each commit: it goes on from the commit
that it knows, by asking each center for that one and for the next number. The whole log is read again at each
checkpoint, and whenever no center holds what is known.

In ``maximum-performance`` same-city is not followed here: it pulls, as the remote center does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from govsec.centers import names
from govsec.centers.commits import Entry
from govsec.centers.log import Log, Position, compare, named_objects, read_log, read_next, union
from govsec.centers.quorum import Quorum
from govsec.centers.ship import has_commit, repository_of, ship
from govsec.centers.state import States, SyncState
from govsec.clock import Clock
from govsec.config import Mode
from govsec.crypto.signing import TrustedKeys
from govsec.errors import GovsecError, IntegrityError, RefusedError, StoreError, TryAgainError
from govsec.store.api import ObjectInfo, ObjectStore

#: Inside the class ``list`` is the method.
_Stores = list[ObjectStore]


@dataclass(slots=True)
class Survey:
    """The near centers' logs at one moment."""

    repository: str
    joint: Log
    #: Centers whose own log holds every commit.
    current: list[ObjectStore]
    #: False: ``joint`` begins at the commit that was written last, not at a checkpoint or the first one.
    is_whole: bool = True


class NearLog(Quorum):
    """The near centers as one store that knows their log."""

    def __init__(
        self,
        production: ObjectStore,
        same_city: ObjectStore | None,
        mode: Mode,
        *,
        states: States,
        trusted: TrustedKeys,
        clock: Clock,
        timeout_s: float | None = None,
        threads: int = 0,
    ) -> None:
        super().__init__(production, same_city, mode, states=states, timeout_s=timeout_s)
        self._trusted = trusted
        self._clock = clock
        self._threads = threads
        self._has_looked = False
        #: Set by a writer that stays; see the module's docstring.
        self.is_following = False
        #: The newest commit that is known, when its only parent is the one before it.
        self._last: Entry | None = None

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """As :meth:`Quorum.list`, without the indexes and snapshots that production released and does not list.

        Same-city keeps those for a while. A backup that found blobs by them would rest on packs that every center is
        about to let go of.
        """
        if not prefix.startswith((names.INDEXES, names.SNAPSHOTS)):
            yield from super().list(prefix)
            return
        at_production: set[str] | None = None
        released: frozenset[str] = frozenset()
        for info in super().list(prefix):
            if at_production is None and self.production.name not in info.held_by:
                at_production = self._listed_at_production(prefix)
                released = self._released()
            if at_production is None or info.name not in released or info.name in at_production:
                yield info

    def survey(self, *, is_forced: bool = False, is_whole: bool = False) -> Survey:
        """The joint log, after every center that can be was given what it lacks."""
        repository = repository_of(self)
        last = self._last if self.is_following and not is_forced and not is_whole else None
        logs = self._logs(repository, is_forced=is_forced, last=last)
        if not logs and last is not None:
            last, logs = None, self._logs(repository)
        lacking = {center for center, missing in compare(logs).items() if missing}
        lacking |= {store.name for store in self.centers if store.name not in logs}
        for store in self.centers:
            if store.name in lacking and self._is_followed(store) and (is_forced or self.states.is_usable(store.name)):
                self._catch_up(store)
        if lacking:
            logs = self._logs(repository, is_forced=is_forced, last=last) or self._logs(repository)
        missing = compare(logs)
        current = [store for store in self.centers if store.name in logs and not missing[store.name]]
        return Survey(repository, union(logs.values()), current, last is None)

    def sources(self) -> _Stores:
        """The centers to ask: those that answered so far, or all when none did."""
        return [store for store in self.centers if self.states.is_usable(store.name)] or list(self.centers)

    def _logs(self, repository: str, *, is_forced: bool = False, last: Entry | None = None) -> dict[str, Log]:
        """The logs of the centers that answer and hold the place where reading begins, all from the same place.

        With ``last`` they begin there; none when no center that answers holds it.
        """
        logs: dict[str, Log] = {}
        base: Position | None = None
        errors: list[GovsecError] = []
        asked = self.sources() if self.mode is Mode.MAXIMUM_AVAILABILITY and not is_forced else self.centers
        for store in asked:
            try:
                if last is not None:
                    if has_commit(store, Position(last.number, last.digest)):
                        logs[store.name] = read_next(store, self._trusted, last, repository=repository)
                    continue
                if base is not None and not has_commit(store, base):
                    continue  # far behind: it lacks commits, and will be given them
                found = read_log(store, self._trusted, repository=repository, after=base, threads=self._threads)
            except StoreError as error:
                self.failed(store, error)
                errors.append(error)
                if self.mode is Mode.MAXIMUM_PROTECTION:
                    raise
                continue
            logs[store.name] = found
            base = base or found.base
        if not logs and errors:
            raise errors[0]
        return logs

    def _catch_up(self, store: ObjectStore) -> None:
        for other in self.centers:
            if other is store:
                continue
            try:
                self.states.resyncing(store.name)
                ship(other, store, self._trusted, clock=self._clock, threads=self._threads)
            except (StoreError, IntegrityError, RefusedError, TryAgainError) as error:
                self.failed(store, error)

    def _look(self) -> None:
        """Find out, once a run, which centers are in step; give those what they lack that have not failed since."""
        self._has_looked = True
        is_known = [self.states.get(store.name) for store in self.centers if self._is_followed(store)]
        if all(state.state is SyncState.SYNCED and state.since for state in is_known):
            return
        for store in self.survey().current:
            if self.states.get(store.name).failures_total == self._failures_before[store.name]:
                self.states.synced(store.name)

    def mark_in_step(self, store: ObjectStore) -> None:
        """``store`` was seen to hold everything; a failure before this moment no longer matters."""
        self.states.synced(store.name)
        self._failures_before[store.name] = self.states.get(store.name).failures_total

    def _is_followed(self, store: ObjectStore) -> bool:
        # In maximum-performance same-city follows by shipping alone.
        return store is self.production or self.mode is not Mode.MAXIMUM_PERFORMANCE

    def _listed_at_production(self, prefix: str) -> set[str]:
        if not self.states.is_usable(self.production.name):
            return set()
        try:
            return {info.name for info in self.production.list(prefix)}
        except StoreError as error:
            self.failed(self.production, error)
            return set()

    def _released(self) -> frozenset[str]:
        joint = union(self._logs(repository_of(self)).values())
        return named_objects(joint, self).released
