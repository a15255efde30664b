"""Object lock at a center: set with the center's own credential, extended for what is still needed, never too far.

A lock of thirty days on a pack that was written a year ago and is still used by yesterday's snapshot has long run out.
So each run extends whatever the log names and this center has not let go to ``days`` from now, as soon as less than
half of that is left. ``days_max`` bounds it: a clock that is years ahead must not lock a bucket for years, and a run
whose clock is far from the newest commit is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from govsec.centers import names
from govsec.centers.log import START, Log, named_objects, read_log
from govsec.centers.releases import released_here
from govsec.centers.ship import repository_of
from govsec.clock import Clock, format_time
from govsec.config import RetentionLockConfig
from govsec.crypto.signing import TrustedKeys
from govsec.errors import ObjectNotFoundError, RefusedError, StoreDeniedError
from govsec.progress import Progress, ProgressSink, silent
from govsec.runtime.lanes import for_each
from govsec.store.api import ReadStore, RetainingStore

#: A repository that nobody commits to for longer than this needs a person to say that the clock is right.
_CLOCK_AHEAD_MAX = timedelta(days=90)
_FAILURES_MAX = 1000


@dataclass(frozen=True, slots=True)
class LockReport:
    """What one run of extending saw."""

    center: str
    until: datetime
    extended_count: int
    enough_count: int
    missing: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]


def extend_locks(
    store: RetainingStore,
    trusted: TrustedKeys,
    lock: RetentionLockConfig,
    *,
    clock: Clock,
    is_clock_trusted: bool = False,
    newest_count: int | None = None,
    threads: int = 4,
    progress: ProgressSink = silent,
) -> LockReport:
    """Extend the retention of everything that this center keeps; ``newest_count`` takes only so many commits' objects.

    Raises:
        RefusedError: this machine's clock is far ahead of the newest commit, and nobody vouched for it.
    """
    repository = repository_of(store)
    # A continuous backup ships every few seconds: what is new follows the newest checkpoint, as a rule.
    log = read_log(
        store, trusted, repository=repository, after=START if newest_count is None else None, threads=threads
    )
    if newest_count is not None and len(log.entries) < newest_count:
        log = read_log(store, trusted, repository=repository, after=START, threads=threads)
    now = clock.now()
    if not is_clock_trusted:
        _check_clock(store, log, now)
    if newest_count is not None:
        log = Log(log.base, None, log.entries[max(0, len(log.entries) - newest_count) :], ())
    let_go = released_here(store, trusted, repository)
    until = now + timedelta(days=min(lock.days, lock.days_max))
    enough = now + (until - now) / 2
    wanted = [name for name in kept_names(store, log) if name not in let_go]

    def prepare() -> Callable[[str], tuple[str, str]]:
        own = store.clone()
        return lambda name: (name, _extend(own, name, enough, until))

    outcomes: dict[str, list[str]] = {}
    failed: list[tuple[str, str]] = []
    for position, (name, outcome) in enumerate(for_each(wanted, prepare, threads=threads)):
        progress(Progress("lock", done_items=position + 1, total_items=len(wanted), current=name))
        if outcome in ("extended", "enough", "missing"):
            outcomes.setdefault(outcome, []).append(name)
        elif len(failed) < _FAILURES_MAX:
            failed.append((name, outcome))
    return LockReport(
        center=store.name,
        until=until,
        extended_count=len(outcomes.get("extended", ())),
        enough_count=len(outcomes.get("enough", ())),
        missing=tuple(outcomes.get("missing", ())[:_FAILURES_MAX]),
        failed=tuple(failed),
    )


def hold(store: RetainingStore, wanted: Iterable[str], *, is_held: bool) -> tuple[int, tuple[tuple[str, str], ...]]:
    """Set or lift a legal hold on objects; how many were changed, and what could not be."""
    changed_count = 0
    failed: list[tuple[str, str]] = []
    for name in wanted:
        try:
            store.hold(name, is_held=is_held)
            changed_count += 1
        except (ObjectNotFoundError, StoreDeniedError) as error:
            failed.append((name, str(error)))
    return changed_count, tuple(failed[:_FAILURES_MAX])


def kept_names(store: ReadStore, log: Log) -> list[str]:
    """Everything of a repository that must stay: objects, the log itself, its lists, ``config`` and ``keys/``."""
    found = [names.CONFIG, *(info.name for info in store.list(names.KEYS))]
    found += named_objects(log, store).added
    found += [info.name for prefix in (names.LISTS, names.CHECKPOINTS) for info in store.list(prefix)]
    found += [entry.name for entry in log.entries]
    return found


def _check_clock(store: ReadStore, log: Log, now: datetime) -> None:
    newest = max((entry.commit.time for entry in log.entries), default=None)
    if newest is not None and now - newest > _CLOCK_AHEAD_MAX:
        raise RefusedError(
            f"{store.name}: this clock says {format_time(now)}, the newest commit is of {format_time(newest)}; "
            "if the clock is right, say so with --trust-clock"
        )


def _extend(store: RetainingStore, name: str, enough: datetime, until: datetime) -> str:
    try:
        current = store.retention(name)
        if current is not None and current >= enough:
            return "enough"
        store.retain(name, until)
    except ObjectNotFoundError:
        return "missing"
    except StoreDeniedError as error:
        return str(error)
    return "extended"
