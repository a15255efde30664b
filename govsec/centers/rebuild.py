"""Rebuilding a center that was lost from what is left: a person's command, with a store that is empty or half filled.

One idea: a center is rebuilt by nothing but joining and shipping. First it gets ``config`` and keys, then rounds of
shipping from each center that is left, the one with the longest log first; so it is a valid repository at every
moment, and a rebuild that ends anywhere is taken up by the next one. What one center has damaged or lacks another may
bring, which is why there is a second pass.

What is not brought back: objects that production released and only the lost center still kept, locks, and what its
verification remembered; a verification of the rebuilt center finds out anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from govsec.centers import names
from govsec.centers.init import holder, join
from govsec.centers.log import START, Position, read_log
from govsec.centers.ship import ShipReport, repository_of, ship
from govsec.clock import Clock
from govsec.crypto.signing import TrustedKeys
from govsec.errors import GovsecError, IntegrityError, RefusedError, StoreError, StoreUnavailableError
from govsec.progress import ProgressSink, silent
from govsec.store.api import ObjectStore, ReadStore


@dataclass(frozen=True, slots=True)
class Remains:
    """What is left of a system at the centers that can be read."""

    #: Who has its config and keys.
    holder: ReadStore
    repository: str
    #: Centers whose log could be read, the longest first, and where each ends.
    ranked: tuple[tuple[ReadStore, Position], ...]
    #: Centers that could not be asked, with the reason.
    silent: tuple[tuple[str, str], ...]

    @property
    def head(self) -> Position:
        """Where the longest log ends."""
        return self.ranked[0][1]


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """What one rebuild did. ``head`` is where the rebuilt center's log ends."""

    center: str
    repository: str
    #: The rounds that brought something, in their order.
    rounds: tuple[ShipReport, ...]
    #: Centers that did not give all that they have, with the reason; what they alone have is not there.
    missed: tuple[tuple[str, str], ...]
    head: Position


def survey_remains(sources: Sequence[ReadStore], trusted: TrustedKeys) -> Remains:
    """What is left at ``sources``; changes nothing.

    Raises:
        RefusedError: no center holds a repository, two hold different ones, or none of the commits there is signed by
            a key that is pinned at this site.
        StoreError: no center answers.
    """
    found = holder(sources)
    if found is None:
        raise RefusedError("no center that this site can read holds the repository; there is nothing to rebuild from")
    repository = repository_of(found)
    logs, unread, flaws_count = [], [], 0
    for source in sources:
        try:
            log = read_log(source, trusted, repository=repository, after=START)
        except StoreError as error:
            unread.append((source.name, str(error)))
            continue
        logs.append((source, log))
        flaws_count += len(log.flaws)
    if not logs:
        raise StoreUnavailableError(f"{unread[0][0]}: {unread[0][1]}")
    if flaws_count and not any(log.entries for _, log in logs):
        raise RefusedError(
            f"none of the {flaws_count} commits that are left is genuine by the keys pinned at this site: bring the "
            "roots of another site here first (govsec center roots merge)"
        )
    logs.sort(key=lambda item: (item[1].epoch, item[1].head.number), reverse=True)
    return Remains(found, repository, tuple((source, log.head) for source, log in logs), tuple(unread))


def rebuild(
    target: ObjectStore,
    remains: Remains,
    trusted: TrustedKeys,
    *,
    clock: Clock,
    threads: int = 4,
    progress: ProgressSink = silent,
) -> RebuildReport:
    """Give ``target`` config, keys and everything that genuine commits name at what ``remains``.

    Raises:
        RefusedError: the target holds another repository; nothing was changed there.
        TryAgainError: the target is paused.
        IntegrityError, StoreError: it did not get as far as the longest log; what it got is valid, and the next rebuild
            goes on.
    """
    joined = join(remains.holder, [target])
    if joined.not_reached:
        raise StoreUnavailableError(f"{target.name}: {joined.not_reached[0][1]}")
    rounds: list[ShipReport] = []
    failures: dict[str, GovsecError] = {}
    for _ in range(2):
        for source, _ in remains.ranked:
            try:
                report = ship(source, target, trusted, clock=clock, threads=threads, progress=progress)
            except (StoreError, IntegrityError) as error:
                failures[source.name] = error
                continue
            failures.pop(source.name, None)
            if report.commits_count:
                rounds.append(report)
        if not failures:
            break
    head = read_log(target, trusted, repository=remains.repository, after=START).head
    if failures and not _has(target, remains.head):
        raise next(iter(failures.values()))
    missed = (*remains.silent, *((name, str(error)) for name, error in failures.items()))
    return RebuildReport(target.name, remains.repository, tuple(rounds), missed, head)


def _has(target: ReadStore, head: Position) -> bool:
    wanted = names.numbered(names.COMMITS, head.number, head.digest)
    return head == START or any(info.name == wanted for info in target.list(wanted))
