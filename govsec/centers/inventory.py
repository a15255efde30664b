"""What a center should hold, what it shows, and the difference: the ground that verify, heal and quarantine stand on.

Keyless: what should be there is what genuine commits added, less what this center released itself. Names that no
commit knows are junk, or a backup that is still running; age tells them apart.

That production released a name excuses its absence at production alone. Another center keeps it until it lets go of it
itself, unless it never got it: a round of shipping leaves out what a later commit of the same round releases. Two
things prove that the name was not left out, and then its absence is a loss:

* a snapshot is here that was added no earlier and released no later than the name: whatever round brought it knew of
  neither release;
* the commit that added the name was stored here before the commit that releases it was made. Two clocks say this, so it
  counts only beyond ``_SKEW``, and not when the arrival of the releasing commit shows that they differ by more.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta

from govsec.centers import names
from govsec.centers.commits import Entry
from govsec.centers.log import Log, named_objects, names_from
from govsec.centers.releases import released_here
from govsec.crypto.signing import TrustedKeys
from govsec.store.api import ReadStore

#: Younger than this, a name without a commit belongs to a backup that is still running.
IN_FLIGHT_S = 86400
#: How far the clocks of production and of a center may differ.
_SKEW = timedelta(minutes=5)
LISTED = (names.PACKS, names.WITNESSES, names.LISTS, names.INDEXES, names.SNAPSHOTS, names.KEYS)


@dataclass(frozen=True, slots=True)
class Inventory:
    """One center, seen from outside."""

    repository: str
    log: Log
    #: Should be there, with sizes (lists of names are counted as size None: a commit gives their digest only).
    expected: Mapping[str, int | None]
    #: Is there, with sizes.
    present: Mapping[str, int]
    #: Should be there and is not.
    missing: tuple[str, ...]
    #: Production released it, and this center does not have it and need not.
    absent_released: tuple[str, ...]
    #: In the folders of the repository, named by no commit, and old enough.
    unnamed: tuple[str, ...]
    #: Named by no commit, and young.
    in_flight: tuple[str, ...]


def take_inventory(
    store: ReadStore,
    trusted: TrustedKeys,
    repository: str,
    log: Log,
    *,
    now: datetime,
    elsewhere: frozenset[str] = frozenset(),
    in_flight_s: float = IN_FLIGHT_S,
    lists_from: Sequence[ReadStore] = (),
    is_production: bool = False,
) -> Inventory:
    """The inventory of a center against its own log, read from the start.

    ``is_production`` excuses all that was released: what production released, production let go.
    ``elsewhere`` are names that only other centers' commits know (:func:`named_elsewhere`); they are no junk here.
    Lists of names that are damaged here are read from ``lists_from``.
    """
    named = named_objects(log, store, *lists_from)
    let_go = released_here(store, trusted, repository)
    # Listed after the log was read: what was committed in between is in flight, never missing.
    infos = {info.name: info for prefix in LISTED for info in store.list(prefix)}
    expected: dict[str, int | None] = {name: size for name, size in named.added.items() if name not in let_go}
    expected.update(dict.fromkeys(_lists_of(log)))
    lost = [name for name in expected if name not in infos]
    gone = {name for name in lost if name in named.released}
    if gone and not is_production:
        snapshots = {name for name in infos if name.startswith(names.SNAPSHOTS)}
        gone -= _were_here(store, log, (store, *lists_from), gone, snapshots)
    born_before = now - timedelta(seconds=in_flight_s)
    strangers = [
        info
        for info in infos.values()
        if info.name not in named.added
        and info.name not in elsewhere
        and not info.name.startswith((names.LISTS, names.KEYS))
    ]
    return Inventory(
        repository=repository,
        log=log,
        expected={name: size for name, size in expected.items() if name not in gone},
        present={name: info.size_bytes for name, info in infos.items()},
        missing=tuple(name for name in lost if name not in gone),
        absent_released=tuple(name for name in lost if name in gone),
        unnamed=tuple(info.name for info in strangers if info.modified is not None and info.modified < born_before),
        in_flight=tuple(info.name for info in strangers if info.modified is None or info.modified >= born_before),
    )


def named_elsewhere(stores: Sequence[ReadStore], own: Log, joint: Log) -> frozenset[str]:
    """Names that commits add which other centers have and ``own`` lacks."""
    found: set[str] = set()
    for entry in joint.entries:
        if entry.digest not in own.digests:
            found.update(name for name, _ in names_from(stores, entry.commit.added))
    return frozenset(found)


def _were_here(
    store: ReadStore, log: Log, stores: Sequence[ReadStore], gone: Set[str], snapshots: Set[str]
) -> frozenset[str]:
    """Those of the released names ``gone`` of which it is proven that this center had them."""
    added: dict[str, Entry] = {}
    released: dict[str, Entry] = {}
    for entry in log.entries:
        for name, _ in names_from(stores, entry.commit.added):
            if name in gone or name in snapshots:
                added[name] = entry
        for name, _ in names_from(stores, entry.commit.released):
            if name in gone or name in snapshots:
                released.setdefault(name, entry)
    # Per snapshot that is here when it was added and released; then for each place the earliest release from there on.
    spans = sorted(
        (added[name].number, released[name].number) for name in snapshots if name in added and name in released
    )
    earliest = [until for _, until in spans]
    for position in range(len(earliest) - 2, -1, -1):
        earliest[position] = min(earliest[position], earliest[position + 1])
    arrived = {info.name: info.modified for info in store.list(names.COMMITS) if info.modified is not None}
    found = set()
    for name in gone & added.keys():
        since, until = added[name], released[name]
        position = bisect_left(spans, (since.number, 0))
        is_framed = position < len(spans) and earliest[position] <= until.number
        if since.number < until.number and (is_framed or _came_before(since, until, arrived)):
            found.add(name)
    return frozenset(found)


def _came_before(since: Entry, until: Entry, arrived: Mapping[str, datetime]) -> bool:
    """True when ``since`` was stored here before ``until`` was made, as far as the clocks can be believed."""
    if since.name not in arrived or until.name not in arrived:
        return False
    made = until.commit.time
    return arrived[since.name] + _SKEW < made <= arrived[until.name] + _SKEW


def _lists_of(log: Log) -> list[str]:
    found = [
        ref.name for entry in log.entries for part in (entry.commit.added, entry.commit.released) for ref in part.lists
    ]
    if log.checkpoint is not None:
        found += [ref.name for part in (log.checkpoint.added, log.checkpoint.released) for ref in part.lists]
    return found
