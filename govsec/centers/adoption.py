"""What came to be without a commit, or went away without one: stock restic's work, and that of runs that died.

A snapshot that no commit names is *adopted*: whoever holds the repository's key says what it needs, and it gets a
commit like any other. What stock restic's ``forget`` and ``prune`` removed at production is *released*, when a person
says that it was no loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from govsec.centers import names
from govsec.centers.log import named_objects
from govsec.centers.near import Change, Closure, Near, Receipt
from govsec.centers.records import forget_damage
from govsec.errors import ConfigurationError, IntegrityError, ObjectNotFoundError
from govsec.store.api import ObjectInfo


@dataclass(frozen=True, slots=True)
class Adopted:
    """Snapshots without a commit that now have one, and those that could not be given one."""

    receipts: tuple[Receipt, ...]
    refused: Mapping[str, str]


def adopt(near: Near) -> Adopted:
    """Give a commit to each snapshot that has none: of stock restic, or of a run that died before its commit.

    A snapshot that is not whole is refused and stays as it is. Raises ``ConfigurationError`` without a key holder.
    """
    if near.key_holder is None:
        raise ConfigurationError("snapshots without a commit are adopted by whoever holds the repository's key")
    closure = near.key_holder.closure
    near.states.refresh()
    survey = near.survey()
    near.finish_claim(survey)
    known = set(named_objects(near.survey().joint, near).added)
    found = {info.name for store in near.sources() for info in store.list(names.SNAPSHOTS)}
    closures: list[Closure] = []
    refused: dict[str, str] = {}
    for name in sorted(found - known):
        snapshot_id = name.removeprefix(names.SNAPSHOTS)
        try:
            closures.append(closure(snapshot_id))
        except (IntegrityError, ObjectNotFoundError) as error:
            refused[snapshot_id] = str(error)
    receipts = []
    for found_closure in sorted(closures, key=lambda item: (item.snapshot.time, item.snapshot.id)):
        objects = [ObjectInfo(name, size) for name, size in found_closure.objects if name not in known]
        receipts.append(near.commit(Change(objects, found_closure.snapshot)))
        known.update(info.name for info in objects)
    return Adopted(tuple(receipts), refused)


def release_absent(near: Near) -> Receipt | None:
    """Commit as released what production no longer has, and as added what stands in its place; None for nothing.

    That is what stock restic's ``forget`` and ``prune`` leave. It cannot be told from a loss, so a person asks for
    it, after production alone was checked whole; the other centers let go under their own retention.

    Raises:
        ConfigurationError: there is no key holder.
    """
    if near.key_holder is None:
        raise ConfigurationError("what stock restic removed is released by whoever holds the repository's key")
    near.finish_claim(near.survey(is_forced=True))
    named = named_objects(near.survey(is_forced=True).joint, near)
    kinds = (names.PACKS, names.INDEXES, names.SNAPSHOTS)
    present = {info.name: info.size_bytes for kind in kinds for info in near.production.list(kind)}
    absent_here = [(name, size) for name, size in named.live.items() if name.startswith(kinds) and name not in present]
    if not absent_here:
        # An earlier call may have died between its commit and this.
        forget_damage(near.production, named.released)
        return None
    added: dict[str, int] = {}
    for name in sorted(present):
        if name.startswith(names.INDEXES) and name not in named.added:
            added.update(near.key_holder.packs_of(name.removeprefix(names.INDEXES)))
            added[name] = present[name]
    objects = [
        ObjectInfo(name, size, held_by=(near.production.name,))
        for name, size in added.items()
        if name not in named.added
    ]
    receipt = near.commit(Change(objects, released=absent_here))
    # Not before the commit: until then what is missing is damage, and production's word is not to be taken.
    forget_damage(near.production, {name for name, _ in absent_here})
    return receipt
