"""Committing: from objects that were stored to a signed commit, and a receipt that says who holds what.

A commit goes through these steps, and a process may die between any two:

1. read the log of every near center that answers; finish what an earlier run left (a claim, a center that lacks
   commits the other has);
2. see to it that each center holds every object of the change; who does not is not named;
3. store the lists of names;
4. claim the number: ``govsec/claims/<number>`` with ``if_absent`` holds the whole signed commit, so whoever finds it
   can finish it. Two writers get two numbers;
5. store the commit, at same-city first;
6. remove the claim; write a checkpoint when one is due.

What was stored in one center only is in doubt and gets completed by the next run, never rolled back: its objects are
immutable, and somebody may have seen them.

A run that died leaves indexes that no commit names, and the next run, which reads them, does not store their blobs
again. So before a snapshot is put, a :class:`KeyHolder` is asked what such indexes hold; they are completed in every
center that gets the snapshot, and named by its commit. Without one, nothing that no commit names is touched.

When both near centers were written apart (each side saw only one), the log has two ends; the next commit names both as
parents and so joins them. Reading the logs and giving a center what it lacks is ``nearlog``'s; snapshots that came
without a commit are ``adoption``'s.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol, Self

from govsec.centers import names
from govsec.centers.checkpoints import COMMITS_BETWEEN, write_checkpoint
from govsec.centers.claims import Outcome, claim, unclaim
from govsec.centers.claims import finish_claim as finish_stored_claim
from govsec.centers.commits import Commit, Entry, SnapshotRef, sign_commit, split_names
from govsec.centers.copying import Meter, Named, absent, copy_objects
from govsec.centers.log import Log, named_objects
from govsec.centers.nearlog import NearLog, Survey
from govsec.centers.records import damage_of
from govsec.centers.ship import confirm
from govsec.centers.state import CenterState, States
from govsec.clock import Clock
from govsec.config import Mode
from govsec.crypto.signing import Signer, TrustedKeys
from govsec.errors import (
    GovsecError,
    IntegrityError,
    ObjectNotFoundError,
    RefusedError,
    StoreError,
    StoreUnavailableError,
    TryAgainError,
)
from govsec.progress import silent
from govsec.store.api import ObjectInfo, ObjectStore

log = logging.getLogger(__name__)

#: Writers that take our number again and again; more than this is no coincidence.
_ATTEMPTS_MAX = 16
#: Inside the class ``list`` is the method.
_Stores = list[ObjectStore]


@dataclass(frozen=True, slots=True)
class Change:
    """What one commit is about: objects that were put, and perhaps names that production no longer needs."""

    objects: Sequence[ObjectInfo] = ()
    snapshot: SnapshotRef | None = None
    released: Sequence[Named] = ()
    witness: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """The proof of a commit: ``held_by`` names the centers that hold it and everything before it."""

    number: int
    digest: str
    snapshot_id: str | None
    time: datetime
    held_by: tuple[str, ...]
    mode: Mode
    reached: str
    states: Mapping[str, CenterState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Closure:
    """Everything that a snapshot needs: its packs, the indexes that list them, all packs of those, and itself."""

    snapshot: SnapshotRef
    objects: Sequence[Named]


class KeyHolder(Protocol):
    """What somebody with the repository's key can say of objects that no commit names."""

    def closure(self, snapshot_id: str) -> Closure:
        """What a snapshot needs. Raises ``IntegrityError`` or ``ObjectNotFoundError`` when it is not whole."""
        ...

    def packs_of(self, index_id: str) -> Sequence[Named]:
        """The packs that an index names. Raises ``IntegrityError`` or ``ObjectNotFoundError`` when it is no index."""
        ...


class Near(NearLog):
    """The near centers as one store, with the commit log on top."""

    def __init__(
        self,
        production: ObjectStore,
        same_city: ObjectStore | None,
        mode: Mode,
        *,
        states: States,
        signer: Signer,
        trusted: TrustedKeys,
        clock: Clock,
        timeout_s: float | None = None,
        threads: int = 0,
        key_holder: KeyHolder | None = None,
    ) -> None:
        super().__init__(
            production,
            same_city,
            mode,
            states=states,
            trusted=trusted,
            clock=clock,
            timeout_s=timeout_s,
            threads=threads,
        )
        self._signer = signer
        #: Set it once the repository is open.
        self.key_holder = key_holder
        #: A writer that lives for days says which epoch it began in; it writes nothing in another one.
        self.epoch: int | None = None
        self._own_indexes: set[str] = set()
        self._checkpointed = 0
        self._carried: list[ObjectInfo] = []

    def clone(self) -> Self:
        return self._like(
            type(self)(
                self.production.clone(),
                self.same_city.clone() if self.same_city else None,
                self.mode,
                states=self.states,
                signer=self._signer,
                trusted=self._trusted,
                clock=self._clock,
                timeout_s=self._timeout_s,
                threads=self._threads,
                key_holder=self.key_holder,
            )
        )

    def put(
        self, name: str, data: bytes, *, if_absent: bool = False, retain_until: datetime | None = None
    ) -> ObjectInfo:
        if name.startswith((names.INDEXES, names.SNAPSHOTS)) and not self._has_looked:
            # Before anything is published over what a center may lack.
            self._look()
        if name.startswith(names.INDEXES):
            self._own_indexes.add(name)
        elif name.startswith(names.SNAPSHOTS) and self.key_holder is not None:
            self._carry_orphans(self.key_holder)
        return super().put(name, data, if_absent=if_absent, retain_until=retain_until)

    def commit(self, change: Change) -> Receipt:
        """Append a commit and give the receipt. A snapshot that has a commit already gets that one's receipt.

        Raises:
            StoreUnavailableError: the mode's demand was not met; the next run completes or repeats what there is.
            IntegrityError: nor can it be before somebody heals: what a center should hold is missing or damaged.
            RefusedError: the centers are in another epoch than the one that this writer began in.
        TryAgainError: other writers took every number that was tried.
        """
        self.states.refresh()
        if change.snapshot is not None and self._carried:
            change = replace(change, objects=(*self._carried, *change.objects))
        for _ in range(_ATTEMPTS_MAX):
            survey = self.survey()
            if self.epoch not in (None, survey.joint.epoch):
                raise RefusedError(
                    f"the centers are in epoch {survey.joint.epoch}, and this writer began in {self.epoch}: production "
                    "was moved; nothing was committed"
                )
            done = self._commit_of(survey.joint, change.snapshot)
            if done is not None:
                return self._receipt(done, [store.name for store in survey.current])
            holders = self._holders(change, survey)
            entry, data = self._sign(change, survey, holders)
            if self._claim(entry, data, holders[0], survey):
                receipt = self._publish(entry, data, holders)
                self._last = None if entry.commit.merges else entry
                self._checkpoint(survey, entry, holders)
                self._carried = []
                # A commit names them now; one that failed to be named is left to whoever looks for orphans.
                self._own_indexes.clear()
                return receipt
        raise TryAgainError(f"{_ATTEMPTS_MAX} commit numbers in a row were taken by other writers")

    def resync(self) -> dict[str, CenterState]:
        """Give each near center what it lacks, finish what an earlier run began; the states afterwards.

        Not in the middle of a run that has put objects: those are in no log yet.
        """
        self.states.refresh()
        survey = self.survey(is_forced=True)
        self.finish_claim(survey)
        for store in survey.current:
            self.mark_in_step(store)
        return {store.name: self.states.get(store.name) for store in self.centers}

    def _carry_orphans(self, key_holder: KeyHolder) -> None:
        """Complete what a run that died left, in every center that is in step; the next commit names it."""
        joint = self.survey(is_whole=True).joint
        named = {name for name in named_objects(joint, self).added if name.startswith(names.INDEXES)}
        found = {info.name for store in self.sources() for info in store.list(names.INDEXES)}
        self._carried = []
        for name in sorted(found - named - self._own_indexes):
            try:
                packs = key_holder.packs_of(name.removeprefix(names.INDEXES))
                objects = [ObjectInfo(*named) for named in (*packs, (name, self.head(name).size_bytes))]
            except (IntegrityError, ObjectNotFoundError) as error:
                log.warning("index without a commit passed over", extra={"index": name, "error": str(error)})
                continue
            for store in self.centers:
                if self._is_followed(store) and self._is_in_step(store):
                    try:
                        self._complete(store, Change(objects))
                    except (StoreError, IntegrityError) as error:
                        self.failed(store, error)
            self._carried += objects

    def _holders(self, change: Change, survey: Survey) -> _Stores:
        """The centers that hold the change and everything before it, production first; copies what can be copied."""
        wanted = [store for store in self.centers if self._is_followed(store)]
        holders = []
        errors: list[GovsecError] = []
        for store in wanted:
            if store not in survey.current:
                continue
            try:
                damaged_count = damage_of(store, apart_from={name for name, _ in change.released})
                if damaged_count:
                    raise IntegrityError(
                        f"{store.name}: {damaged_count} damaged or missing objects wait: `govsec center heal` brings "
                        "them back; what stock restic removed on purpose is let go by `govsec repo adopt --released`"
                    )
                self._complete(store, change)
            except (StoreError, IntegrityError) as error:
                self.failed(store, error)
                errors.append(error)
            else:
                holders.append(store)
        is_enough = len(holders) == len(wanted) or (holders and self.mode is Mode.MAXIMUM_AVAILABILITY)
        if not is_enough:
            out = ", ".join(store.name for store in wanted if store not in holders)
            reason = f": {errors[0]}" if errors else ""
            words = f"mode {self.mode.value}: not held by {out}{reason}; nothing was committed"
            if errors and all(isinstance(error, (IntegrityError, ObjectNotFoundError)) for error in errors):
                raise IntegrityError(words)  # what is missing or damaged does not come back by waiting
            raise StoreUnavailableError(words)
        return holders

    def _complete(self, store: ObjectStore, change: Change) -> None:
        doubtful = [(info.name, info.size_bytes) for info in change.objects if store.name not in info.held_by]
        missing = absent(store, doubtful, threads=self._threads)
        others = [other for other in self.centers if other is not store]
        for rank in sorted({names.write_rank(name) for name, _ in missing}):
            part = [named for named in missing if names.write_rank(named[0]) == rank]
            meter = Meter(silent, "complete", None, len(part))
            copy_objects(others, store, part, threads=self._threads, meter=meter)
            confirm(store, part, threads=self._threads)

    def _sign(self, change: Change, survey: Survey, holders: Sequence[ObjectStore]) -> tuple[Entry, bytes]:
        heads = sorted(survey.joint.heads, key=lambda entry: (entry.commit.epoch, entry.number, entry.digest))
        position = survey.joint.head
        added, lists = split_names((info.name, info.size_bytes) for info in change.objects)
        released, more = split_names(change.released)
        for store in holders:
            for name, data in {**lists, **more}.items():
                store.put(name, data)
        followed = [store for store in self.centers if self._is_followed(store)]
        commit = Commit(
            repository=survey.repository,
            number=max([position.number, *(entry.number for entry in heads)]) + 1,
            previous=position.digest,
            merges=tuple(entry.digest for entry in heads if entry.digest != position.digest),
            epoch=survey.joint.epoch,
            time=self._clock.now(),
            snapshot=change.snapshot,
            witness=change.witness,
            added=added,
            released=released,
            mode=self.mode,
            reached="synced" if len(holders) == len(followed) else "degraded",
            held_by=tuple(store.name for store in holders),
        )
        return sign_commit(self._signer, commit)

    def _claim(self, entry: Entry, data: bytes, arbiter: ObjectStore, survey: Survey) -> bool:
        """True when the number is ours; False when it was taken, and what took it is finished."""
        outcome = claim(arbiter, entry, data)
        if outcome is Outcome.HELD_BY_ANOTHER:
            self.finish_claim(survey)
        return outcome is Outcome.OURS

    def finish_claim(self, survey: Survey) -> None:
        """Complete the commit whose number an earlier run claimed and left."""
        finish_stored_claim(survey.current, self._trusted, survey.repository, survey.joint.head)

    def _publish(self, entry: Entry, data: bytes, holders: Sequence[ObjectStore]) -> Receipt:
        acks: list[str] = []
        errors: list[GovsecError] = []
        for store in reversed(holders):
            try:
                store.put(entry.name, data)
                acks.append(store.name)
            except (StoreError, IntegrityError) as error:
                self.failed(store, error)
                errors.append(error)
                if self.mode is Mode.MAXIMUM_PROTECTION:
                    break
        if errors and (not acks or self.mode is not Mode.MAXIMUM_AVAILABILITY):
            raise StoreUnavailableError(f"commit {entry.number} is in doubt; the next run completes it: {errors[0]}")
        for store in holders:
            if store.name in acks:
                self.mark_in_step(store)
        unclaim(holders[0], entry.number)
        return self._receipt(entry, acks)

    def _receipt(self, entry: Entry, centers: Iterable[str]) -> Receipt:
        holding = set(centers)
        followed = [store.name for store in self.centers if self._is_followed(store)]
        held_by = tuple(name for name in followed if name in holding)
        return Receipt(
            number=entry.number,
            digest=entry.digest,
            snapshot_id=entry.commit.snapshot.id if entry.commit.snapshot else None,
            time=entry.commit.time,
            held_by=held_by,
            mode=self.mode,
            reached="synced" if len(held_by) == len(followed) else "degraded",
            states={store.name: self.states.get(store.name) for store in self.centers},
        )

    def _checkpoint(self, survey: Survey, entry: Entry, holders: Sequence[ObjectStore]) -> None:
        if survey.is_whole:
            self._checkpointed = survey.joint.checkpoint.number if survey.joint.checkpoint else 0
        if entry.number - self._checkpointed < COMMITS_BETWEEN:
            return
        try:
            entries = (*survey.joint.entries, entry)
            if not survey.is_whole:
                survey = self.survey(is_whole=True)
                entries = survey.joint.entries
            previous = survey.joint.checkpoint
            self._checkpointed = previous.number if previous else 0
            if not entries or entries[-1].number - self._checkpointed < COMMITS_BETWEEN:
                return  # another writer made one
            write_checkpoint(self, holders, previous, entries, signer=self._signer, time=self._clock.now())
        except (StoreError, IntegrityError) as error:
            # The commit stands; the next one writes the checkpoint.
            log.warning("no checkpoint", extra={"error": str(error)})
        else:
            self._checkpointed = entries[-1].number

    def _commit_of(self, joint: Log, snapshot: SnapshotRef | None) -> Entry | None:
        if snapshot is None:
            return None
        found = (entry for entry in joint.entries if entry.commit.snapshot and entry.commit.snapshot.id == snapshot.id)
        return next(found, None)
