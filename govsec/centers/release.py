"""Letting go at a center: what production no longer needs and this center's own retention no longer keeps.

Two phases. *Mark*: a signed release names the objects (:mod:`govsec.centers.releases`). *Remove*: after the grace, and
only what may still be let go then. Snapshots go first, then indexes, then packs. A release is never taken back by
shipping; a name that was let go does not return.

What a center without keys may let go follows from the log alone:

* a snapshot: production released it, and this center's retention does not keep it;
* anything else: production released it in commit R, and this center keeps no snapshot that was committed before R. A
  pack or an index that was released in R cannot be needed by a snapshot that was committed after R.

That keeps more than a key holder would, because what an old snapshot needs cannot be seen from outside. But it holds
whatever production signs: a stolen commit key that releases everything removes nothing that a kept snapshot may need.
A key holder passes ``needed``, the closure of the kept snapshots, and lets go of all else that was released.

Time. A clock that jumps ahead must not end a grace: the newest commit, made by another machine, must agree that the
grace is over. When nothing is committed any more, nothing is removed any more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from govsec.centers import names
from govsec.centers.commits import Entry, SnapshotRef, iterate_names, split_names
from govsec.centers.copying import Named
from govsec.centers.freeze import refuse_if_frozen
from govsec.centers.log import START, Log, read_log
from govsec.centers.pause import refuse_if_paused
from govsec.centers.releases import Release, read_releases, released_here, sign_release
from govsec.centers.ship import repository_of
from govsec.clock import Clock
from govsec.crypto.signing import Signer, TrustedKeys
from govsec.errors import RefusedError, StoreDeniedError
from govsec.store.api import ObjectStore, ReadStore

#: Which of a center's snapshots its own retention keeps: their ids. Gets all that this center has, oldest first.
Keep = Callable[[Sequence[SnapshotRef]], Collection[str]]


@dataclass(frozen=True, slots=True)
class ReleaseReport:
    """What one run marked and removed."""

    center: str
    marked_count: int
    marked_bytes: int
    removed: tuple[str, ...]
    #: Marked, and the grace is not over.
    waiting_count: int
    #: A retention or legal hold of the store forbids it, or the credential does.
    held_count: int


def releasable(
    store: ReadStore,
    log: Log,
    keep: Keep,
    *,
    let_go: Collection[str] = (),
    needed: Collection[str] | None = None,
) -> list[Named]:
    """What this center may let go now. ``let_go`` are names that it marked before.

    Raises:
        RefusedError: the log is not whole; then nobody knows what is needed.
    """
    if log.flaws:
        raise RefusedError(f"{store.name}: the commit log is not in order ({log.flaws[0].message}); nothing is let go")
    released = {name: entry for entry in log.entries for name, _ in iterate_names(store, entry.commit.released)}
    present = {info.name for info in store.list(names.SNAPSHOTS)} - set(let_go)
    here = [
        (entry, entry.commit.snapshot)
        for entry in log.entries
        if entry.commit.snapshot is not None and entry.commit.snapshot.name in present
    ]
    kept_ids = set(keep([snapshot for _, snapshot in here]))
    kept = [entry for entry, snapshot in here if snapshot.id in kept_ids or snapshot.name not in released]
    oldest_kept = min((entry.number for entry in kept), default=None)
    found: list[Named] = []
    for entry in log.entries:
        found += _of_commit(store, entry, {item.digest for item in kept}, log, oldest_kept, needed)
    return found


def _of_commit(
    store: ReadStore,
    entry: Entry,
    kept: Collection[str],
    log: Log,
    oldest_kept: int | None,
    needed: Collection[str] | None,
) -> list[Named]:
    kept_names = {item.commit.snapshot.name for item in log.entries if item.digest in kept and item.commit.snapshot}
    is_group_free = oldest_kept is None or oldest_kept >= entry.number
    found = []
    for named in iterate_names(store, entry.commit.released):
        if named[0].startswith(names.SNAPSHOTS):
            may_go = named[0] not in kept_names
        else:
            may_go = is_group_free if needed is None else named[0] not in needed
        if may_go:
            found.append(named)
    return found


def release(
    store: ObjectStore,
    trusted: TrustedKeys,
    signer: Signer,
    keep: Keep,
    *,
    clock: Clock,
    grace_s: float,
    needed: Collection[str] | None = None,
    is_dry_run: bool = False,
) -> ReleaseReport:
    """Mark what may go, remove what was marked long enough ago. ``signer`` is the center's own release key.

    Raises:
        RefusedError: the log is not whole, the center was not initialised, or it is frozen. ``TryAgainError``: paused.
    """
    refuse_if_paused(store, clock)
    if not is_dry_run:
        refuse_if_frozen([store], clock)
    repository = repository_of(store)
    log = read_log(store, trusted, repository=repository, after=START)
    let_go = released_here(store, trusted, repository)
    allowed = releasable(store, log, keep, let_go=let_go, needed=needed)
    fresh = [named for named in allowed if named[0] not in let_go]
    due, waiting = _due(store, trusted, repository, log, clock.now(), grace_s, {name for name, _ in allowed})
    if is_dry_run:
        return _report(store, fresh, (), len(waiting) + len(due), 0)
    if fresh:
        _mark(store, signer, repository, log, fresh, clock.now())
    removed: list[str] = []
    held_count = 0
    for name in sorted(due, key=lambda name: (names.write_rank(name), name), reverse=True):
        try:
            store.delete(name)
            removed.append(name)
        except StoreDeniedError:
            held_count += 1
            if names.write_rank(name) > 0:
                # An index that stays needs its packs: what comes later in this order stays as well.
                break
    return _report(store, fresh, tuple(removed), len(waiting), held_count)


def _due(
    store: ReadStore,
    trusted: TrustedKeys,
    repository: str,
    log: Log,
    now: datetime,
    grace_s: float,
    allowed: Collection[str],
) -> tuple[list[str], list[str]]:
    witness = max((entry.commit.time for entry in log.entries), default=now)
    agreed = min(now, witness)
    due: list[str] = []
    waiting: list[str] = []
    present = {
        info.name
        for prefix in (names.PACKS, names.INDEXES, names.SNAPSHOTS, names.WITNESSES)
        for info in store.list(prefix)
    }
    for record in read_releases(store, trusted, repository):
        is_over = agreed - record.release.time >= timedelta(seconds=grace_s)
        for name, _ in iterate_names(store, record.release.names):
            if name in present:
                (due if is_over and name in allowed else waiting).append(name)
    return due, waiting


def _mark(store: ObjectStore, signer: Signer, repository: str, log: Log, fresh: Sequence[Named], now: datetime) -> None:
    name_set, lists = split_names(fresh)
    record = Release(
        repository=repository, center=store.name, time=now, through=max(log.head.number, 1), names=name_set
    )
    for name, data in lists.items():
        store.put(name, data)
    store.put(*sign_release(signer, record))


def _report(
    store: ReadStore, fresh: Sequence[Named], removed: tuple[str, ...], waiting_count: int, held_count: int
) -> ReleaseReport:
    return ReleaseReport(
        center=store.name,
        marked_count=len(fresh),
        marked_bytes=sum(size for _, size in fresh),
        removed=removed,
        waiting_count=waiting_count,
        held_count=held_count,
    )
