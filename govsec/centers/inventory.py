"""What a center should hold, what it shows, and the difference: the ground that verify, heal and quarantine stand on.

Keyless: what should be there is what genuine commits added, less what this center released itself. Names that
production released and this center does not show are no damage (they were let go before they were shipped), names that
no commit knows are junk, or a backup that is still running; age tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from govsec.centers import names
from govsec.centers.log import Log, named_objects, names_from
from govsec.centers.releases import released_here
from govsec.crypto.signing import TrustedKeys
from govsec.store.api import ReadStore

#: Younger than this, a name without a commit belongs to a backup that is still running.
IN_FLIGHT_S = 86400
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
    #: Production released it, and this center does not have it.
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
) -> Inventory:
    """The inventory of a center against its own log, read from the start.

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
        expected=expected,
        present={name: info.size_bytes for name, info in infos.items()},
        missing=tuple(name for name in lost if name not in named.released),
        absent_released=tuple(name for name in lost if name in named.released),
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


def _lists_of(log: Log) -> list[str]:
    found = [
        ref.name for entry in log.entries for part in (entry.commit.added, entry.commit.released) for ref in part.lists
    ]
    if log.checkpoint is not None:
        found += [ref.name for part in (log.checkpoint.added, log.checkpoint.released) for ref in part.lists]
    return found
