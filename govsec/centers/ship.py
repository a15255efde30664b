"""Shipping: the receiving side pulls what signed commits name and it does not hold, until it is as far as its source.

It needs a credential that may only read at the source, a credential of its own for the target, and the pinned roots;
no key of the repository. What no genuine commit names is never copied, whatever its digest.

One round::

    both logs ─▶ commits that the target lacks, oldest first, in batches; for each batch
                 lists, packs, witnesses ─▶ indexes ─▶ (all of them seen again at the target) ─▶ snapshots ─▶ commits

While a round brings commits that release something, the contents of all of them come before the first snapshot: what a
snapshot needs may have moved to a pack of a later commit.

The commit comes last, so the target's own log says how far it is, and a round that ends anywhere is taken up by the
next one. The target is at every moment a valid repository, perhaps an older one. Objects that a later commit of the
same round releases are left out together with the snapshots that needed them: production may have removed them.

Not read here: ``config`` and ``keys/`` (see ``init``), locks, the evidence ledger.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from govsec.centers import names
from govsec.centers.checkpoints import COMMITS_BETWEEN, newest_checkpoint
from govsec.centers.commits import (
    COMMIT_SIZE_MAX,
    LIST_SIZE_MAX,
    Entry,
    NameSet,
    iterate_names,
    open_commit,
)
from govsec.centers.copying import LANES_MAX, Meter, Named, absent, copy_object, copy_objects
from govsec.centers.following import Arrival, Following
from govsec.centers.log import START, Flaw, FlawKind, Log, Position, commit_names, read_log, read_next
from govsec.centers.pause import refuse_if_paused
from govsec.clock import Clock
from govsec.crypto.signing import TrustedKeys
from govsec.errors import IntegrityError, ObjectNotFoundError, RefusedError
from govsec.progress import ProgressSink, silent
from govsec.runtime.pace import Pace
from govsec.store.api import ObjectStore, ReadStore

log = logging.getLogger(__name__)

_CONFIG_SIZE_MAX = 64 << 10
#: A batch ends at the first commit past either: what is lost when a round is cut off, and what is held in memory.
_BATCH_BYTES = 4 << 30
_BATCH_OBJECTS = 20_000
_BATCH_COMMITS = 64


@dataclass(frozen=True, slots=True)
class ShipReport:
    """What one round did. ``head`` is where the target's log ends now."""

    source: str
    target: str
    commits_count: int
    objects_count: int
    bytes_count: int
    #: Objects that were left out, because the target or a later commit released them.
    left_out_count: int
    head: Position
    #: True when the target holds commits that its source lacks: the source was rolled back, or is behind.
    source_is_behind: bool
    flaws: tuple[Flaw, ...]
    seconds: float
    #: When each snapshot of this round was complete at the target, in the order of their commits.
    arrivals: tuple[Arrival, ...] = ()


@dataclass(slots=True)
class _Round:
    source: ReadStore
    target: ObjectStore
    trusted: TrustedKeys
    repository: str
    clock: Clock
    threads: int
    meter: Meter
    pace: Pace | None
    left_out: frozenset[str] = frozenset()
    left_out_count: int = field(default=0)
    commits_count: int = field(default=0)
    arrivals: list[Arrival] = field(default_factory=list)


def ship(
    source: ReadStore,
    target: ObjectStore,
    trusted: TrustedKeys,
    *,
    clock: Clock,
    threads: int = 4,
    following: Following | None = None,
    progress: ProgressSink = silent,
) -> ShipReport:
    """Bring ``target`` as far as ``source``. With ``following`` the round goes on from what the last one knew.

    ``threads`` objects are copied at once to begin with, and more while that makes the round faster; none at once, in
    this thread and in order, with 0.

    Raises:
        RefusedError: the target was not initialised; ``TryAgainError``: it is paused.
        IntegrityError: source and target are different systems, or the source has damaged bytes for something that a
            commit names, or the target does not hold what it acknowledged. Earlier batches are complete.
        StoreError: as the stores raise. The target is valid, the next round goes on.
    """
    following = following or Following(clock)
    try:
        return _ship(source, target, trusted, clock, threads, following, progress)
    except BaseException:
        following.failed()
        raise


def _ship(
    source: ReadStore,
    target: ObjectStore,
    trusted: TrustedKeys,
    clock: Clock,
    threads: int,
    following: Following,
    progress: ProgressSink,
) -> ShipReport:
    began = clock.monotonic()
    refuse_if_paused(target, clock)
    repository = system_of(source, target)
    last = following.known(source.name)
    found = None if last is None else _next_pending(source, target, trusted, repository, last)
    is_whole = found is None
    pending, source_log, is_behind = found or _pending(source, target, trusted, repository, threads)
    total_bytes = sum(entry.commit.added.size_bytes for entry in pending)
    total_items = sum(entry.commit.added.count for entry in pending)
    meter = Meter(progress, "ship", total_bytes, total_items)
    pace = Pace(clock, start=min(threads, LANES_MAX), most=LANES_MAX) if threads > 0 else None
    round_ = _Round(source, target, trusted, repository, clock, threads, meter, pace)
    if pending:
        _copy_lists(round_, (ref for entry in pending for ref in (entry.commit.added, entry.commit.released)))
        gone = (name for entry in pending for name, _ in iterate_names(target, entry.commit.released))
        round_.left_out = frozenset(gone) | following.released_here(target, trusted, repository)
    settled, newer = _at_last_release(pending)
    # A snapshot may need a blob whose pack is left out because a later commit released it; by then the blob lies in
    # another pack, which that commit or one before it added. So up to the last release all packs come first.
    for batches in (list(_batches(settled)), *([batch] for batch in _batches(newer))):
        for batch in batches:
            _ship_contents(round_, batch)
        for batch in batches:
            _publish(round_, batch)
    following.commits_count += len(pending)
    if is_whole or following.commits_count >= COMMITS_BETWEEN:
        _ship_checkpoint(round_)
        following.commits_count = 0
    head = source_log.head
    if pending and is_whole:
        head = read_log(target, trusted, repository=repository).head
    following.done(source.name, _last_of(source_log, target, trusted, head), is_whole=is_whole)
    # A service looks every few seconds; its log is of what there was.
    level = logging.INFO if round_.commits_count else logging.DEBUG
    said = {"target": target.name, "commits": round_.commits_count, "bytes": meter.bytes_count}
    log.log(level, "shipped", extra=said)
    return ShipReport(
        source=source.name,
        target=target.name,
        commits_count=round_.commits_count,
        objects_count=meter.objects_count,
        bytes_count=meter.bytes_count,
        left_out_count=round_.left_out_count,
        head=head,
        source_is_behind=is_behind,
        flaws=source_log.flaws,
        seconds=clock.monotonic() - began,
        arrivals=tuple(round_.arrivals),
    )


def repository_of(store: ReadStore) -> str:
    """The digest of ``config``: which system the store belongs to.

    Raises:
        RefusedError: there is no repository yet.
    """
    try:
        return hashlib.sha256(store.get(names.CONFIG, size_max=_CONFIG_SIZE_MAX)).hexdigest()
    except ObjectNotFoundError as error:
        raise RefusedError(
            f"{store.name}: holds no repository; a new center begins with govsec center init, one that was lost comes "
            "back with govsec center rebuild"
        ) from error


def system_of(source: ReadStore, target: ReadStore) -> str:
    """The digest of ``config`` that both stores have. Raises ``IntegrityError`` when they differ."""
    here, there = repository_of(target), repository_of(source)
    if here != there:
        raise IntegrityError(
            f"{source.name} and {target.name} hold different systems: config {there[:16]}… and {here[:16]}…"
        )
    return here


def backlog(
    source: ReadStore, target: ReadStore, trusted: TrustedKeys, repository: str, *, threads: int = 0
) -> tuple[Entry, ...]:
    """The commits that ``source`` has and ``target`` lacks, oldest first."""
    return _pending(source, target, trusted, repository, threads)[0]


def _pending(
    source: ReadStore, target: ReadStore, trusted: TrustedKeys, repository: str, threads: int
) -> tuple[tuple[Entry, ...], Log, bool]:
    target_log = read_log(target, trusted, repository=repository, threads=threads)
    head = target_log.head
    if len(target_log.heads) <= 1 and has_commit(source, head) and not _hides_a_branch(source, target, head):
        source_log = read_log(source, trusted, repository=repository, after=head, threads=threads)
        if not any(flaw.kind is FlawKind.GAP for flaw in source_log.flaws):
            return source_log.entries, source_log, False
    # The source is behind, or one of them has a branch: compare everything.
    source_log = read_log(source, trusted, repository=repository, after=START, threads=threads)
    target_log = read_log(target, trusted, repository=repository, after=START, threads=threads)
    pending = tuple(entry for entry in source_log.entries if entry.digest not in target_log.digests)
    is_behind = any(entry.digest not in source_log.digests for entry in target_log.entries)
    return pending, source_log, is_behind


def _next_pending(
    source: ReadStore, target: ReadStore, trusted: TrustedKeys, repository: str, last: Entry
) -> tuple[tuple[Entry, ...], Log, bool] | None:
    """What follows ``last`` at the source; None when not both ends hold it, or the source's log is not in order."""
    position = Position(last.number, last.digest)
    if not (has_commit(source, position) and has_commit(target, position)):
        return None
    source_log = read_next(source, trusted, last, repository=repository)
    # A center that backups themselves write to has most of it already.
    target_log = read_next(target, trusted, last, repository=repository)
    if source_log.flaws or target_log.flaws or not target_log.digests <= source_log.digests:
        return None
    return tuple(entry for entry in source_log.entries if entry.digest not in target_log.digests), source_log, False


def _last_of(source_log: Log, target: ReadStore, trusted: TrustedKeys, head: Position) -> Entry | None:
    """The entry at ``head``, where the source's log has that one end."""
    if len(source_log.heads) > 1 or head == START:
        return None
    found = next((entry for entry in source_log.entries if entry.digest == head.digest), None)
    if found is None:
        name = names.numbered(names.COMMITS, head.number, head.digest)
        found = open_commit(trusted, name, target.get(name, size_max=COMMIT_SIZE_MAX))
    return found


def _hides_a_branch(source: ReadStore, target: ReadStore, head: Position) -> bool:
    """True when the source has commits beside the target's, not after them: two sides wrote apart not long ago."""
    # Ends before a round thousand: then few prefixes cover what follows.
    since = max(0, (head.number // 1000 - 1) * 1000 - 1)
    beside = {name for number, name in commit_names(source, since) if number <= head.number}
    return bool(beside - {name for _, name in commit_names(target, since)})


def has_commit(store: ReadStore, position: Position) -> bool:
    """True when ``store`` has the object of the commit at ``position``."""
    if position == START:
        return True
    try:
        store.head(names.numbered(names.COMMITS, position.number, position.digest))
    except ObjectNotFoundError:
        return False
    return True


def _batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    for entry in entries:
        batch.append(entry)
        added = [entry.commit.added for entry in batch]
        if (
            len(batch) >= _BATCH_COMMITS
            or sum(part.size_bytes for part in added) >= _BATCH_BYTES
            or sum(part.count for part in added) >= _BATCH_OBJECTS
        ):
            yield batch
            batch = []
    if batch:
        yield batch


def _copy_lists(round_: _Round, sets: Iterable[NameSet]) -> None:
    for ref in (ref for name_set in sets for ref in name_set.lists):
        if absent_name(round_.target, ref.name):
            data = round_.source.get(ref.name, size_max=LIST_SIZE_MAX)
            if hashlib.sha256(data).hexdigest() != ref.digest:
                raise IntegrityError(f"{round_.source.name}: {ref.name} is not what its name says")
            round_.target.put(ref.name, data)


def absent_name(store: ReadStore, name: str) -> bool:
    """True when ``store`` has no object of that name."""
    try:
        store.head(name)
    except ObjectNotFoundError:
        return True
    return False


def _at_last_release(pending: Sequence[Entry]) -> tuple[Sequence[Entry], Sequence[Entry]]:
    """``pending`` up to the last commit that releases something, and the rest."""
    releasing = [position for position, entry in enumerate(pending, 1) if entry.commit.released.count]
    last = releasing[-1] if releasing else 0
    return pending[:last], pending[last:]


def _ship_contents(round_: _Round, batch: Sequence[Entry]) -> None:
    """Packs, witnesses and indexes of a batch: what nothing refers to yet."""
    refuse_if_paused(round_.target, round_.clock)
    wanted = _wanted(round_, batch)
    round_.left_out_count += sum(entry.commit.added.count for entry in batch) - len(wanted)
    for rank in (0, 1):
        _copy_missing(round_, [named for named in wanted if names.write_rank(named[0]) == rank])


def _publish(round_: _Round, batch: Sequence[Entry]) -> None:
    """Snapshots and commits of a batch, whose contents are there."""
    wanted = _wanted(round_, batch)
    # What a prune at the target took away in the meantime shows here: packs that no index named yet.
    confirm(round_.target, [named for named in wanted if names.write_rank(named[0]) < 2], threads=round_.threads)
    refuse_if_paused(round_.target, round_.clock)
    _copy_missing(round_, [named for named in wanted if names.write_rank(named[0]) == 2])
    for entry in batch:
        data = round_.source.get(entry.name, size_max=COMMIT_SIZE_MAX)
        open_commit(round_.trusted, entry.name, data)  # it may have changed since the log was read
        round_.target.put(entry.name, data)
        confirm(round_.target, [(entry.name, len(data))], threads=0)
        round_.commits_count += 1
        if entry.commit.snapshot is not None:
            round_.arrivals.append(Arrival(entry.commit.snapshot, round_.clock.now()))


def _wanted(round_: _Round, batch: Sequence[Entry]) -> list[Named]:
    """What the commits of a batch add and nobody let go of."""
    return [
        named
        for entry in batch
        for named in iterate_names(round_.target, entry.commit.added)
        if named[0] not in round_.left_out
    ]


def _copy_missing(round_: _Round, wanted: Sequence[Named]) -> None:
    missing = absent(round_.target, wanted, threads=round_.threads)
    copy_objects([round_.source], round_.target, missing, threads=round_.threads, meter=round_.meter, pace=round_.pace)
    # Before anything that refers to them is written: a store that lies must not get an index without its packs.
    confirm(round_.target, missing, threads=round_.threads)


def confirm(target: ReadStore, wanted: Sequence[Named], *, threads: int) -> None:
    """Return when the target shows all of ``wanted``.

    Raises:
        IntegrityError: it acknowledged, and has not got, at least one.
    """
    missing = absent(target, wanted, threads=threads)
    if missing:
        raise IntegrityError(
            f"{target.name}: {len(missing)} objects are not there after they were written, first {missing[0][0]}"
        )


def _ship_checkpoint(round_: _Round) -> None:
    # Only a checkpoint over commits that the target holds: newest_checkpoint looks for its commit at the source, so
    # the target is asked as well.
    stored = newest_checkpoint(round_.source, round_.trusted, round_.repository)
    if stored is None:
        return
    checkpoint = stored.checkpoint
    is_covered = has_commit(round_.target, Position(checkpoint.number, checkpoint.commit))
    if is_covered and absent_name(round_.target, stored.name):
        _copy_lists(round_, (checkpoint.added, checkpoint.released))
        copy_object([round_.source], round_.target, stored.name, stored.size_bytes)
