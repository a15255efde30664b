"""Healing: good bytes for damaged objects, from another center or from an older version of the same object.

Nothing is believed but digests: what replaces an object has the digest that its name promises (``config``: the digest
that the commits carry), it is read back after it was written, and a retention that the object had is set again. The bad
bytes are overwritten only when good ones are in hand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from govsec.centers import names
from govsec.errors import IntegrityError, ObjectNotFoundError, RefusedError, StoreError
from govsec.progress import Progress, ProgressSink, silent
from govsec.store.api import ObjectStore, ReadStore, RetainingStore, VersionedStore
from govsec.store.versions import Revealed, covered, reveal

#: Largest object that is healed in memory; restic's packs are at most 128 MiB.
_OBJECT_SIZE_MAX = 1 << 30
_FAILURES_MAX = 1000
_NEVER_DELETED = (names.COMMITS, names.CHECKPOINTS, names.LISTS, names.RELEASED)


@dataclass(frozen=True, slots=True)
class HealReport:
    """What became of each damaged object."""

    center: str
    healed: tuple[str, ...]
    already_good: tuple[str, ...]
    #: No center has good bytes.
    not_found: tuple[str, ...]
    #: The first thousand, with reasons.
    failed: tuple[tuple[str, str], ...]

    @property
    def is_whole(self) -> bool:
        """True when nothing stayed damaged."""
        return not self.not_found and not self.failed


def heal(
    target: ObjectStore,
    sources: Sequence[ReadStore],
    damaged: Iterable[str],
    *,
    repository: str,
    versions: VersionedStore | None = None,
    retaining: RetainingStore | None = None,
    progress: ProgressSink = silent,
) -> HealReport:
    """Replace what is damaged. ``versions`` and ``retaining`` are the target with its own credential, where it has one.

    Objects come back in write order: packs before indexes before snapshots before commits.
    """
    ordered = sorted(set(damaged), key=lambda name: (names.write_rank(name), name))
    healed: list[str] = []
    good: list[str] = []
    lost: list[str] = []
    failed: list[tuple[str, str]] = []
    for position, name in enumerate(ordered):
        progress(Progress("heal", done_items=position, total_items=len(ordered), current=name))
        expected = repository if name == names.CONFIG else names.digest_of(name)
        if expected is None:
            failed.append((name, "its name promises no digest"))
            continue
        try:
            if _read_good(target, name, expected) is not None:
                good.append(name)
                continue
            if _is_revealed(versions, name, expected) and _read_good(target, name, expected) is not None:
                healed.append(name)
                continue
            data = _find(sources, name, expected)
            if data is None:
                lost.append(name)
                continue
            _replace(target, retaining, name, data, expected)
            healed.append(name)
        except (StoreError, IntegrityError, RefusedError) as error:
            failed.append((name, str(error)))
    return HealReport(target.name, tuple(healed), tuple(good), tuple(lost), tuple(failed[:_FAILURES_MAX]))


def _find(sources: Sequence[ReadStore], name: str, expected: str) -> bytes | None:
    for source in sources:
        found = _read_good(source, name, expected)
        if found is not None:
            return found
    return None


def _is_revealed(versions: VersionedStore | None, name: str, expected: str) -> bool:
    if versions is None:
        return False
    outcome = reveal(versions, name, _has_digest(expected), size_max=_OBJECT_SIZE_MAX)
    return outcome is not Revealed.LOST


def _read_good(store: ReadStore, name: str, expected: str) -> bytes | None:
    try:
        data = store.get(name, size_max=_OBJECT_SIZE_MAX)
    except (StoreError, IntegrityError):
        return None  # this center cannot help with this object; the next one may
    return data if hashlib.sha256(data).hexdigest() == expected else None


def _replace(target: ObjectStore, retaining: RetainingStore | None, name: str, data: bytes, expected: str) -> None:
    until = None
    if retaining is not None:
        try:
            until = retaining.retention(name)
        except ObjectNotFoundError:
            until = None
    target.put(name, data)
    if _read_good(target, name, expected) is None:
        raise IntegrityError(f"{target.name}: {name} is still not what its name says after it was written")
    if retaining is not None and until is not None:
        retaining.retain(name, until)


def uncover(versions: VersionedStore) -> tuple[str, ...]:
    """Take away what covers true bytes in a versioned store: the whole of it, before anything else is believed.

    Somebody with production's credential can put junk over every object, ``config`` and the commit log included; the
    true versions lie below, and their names say which they are. What a delete marker hides is brought back here only
    where nothing is ever deleted on purpose: commits, checkpoints, lists and releases.
    """
    found: list[str] = []
    for covering in covered(versions, ""):
        name = covering[0].name
        expected = names.digest_of(name)
        is_deleted = covering[0].is_delete_marker
        if expected is None or (is_deleted and not name.startswith(_NEVER_DELETED)):
            continue
        outcome = reveal(versions, name, _has_digest(expected), size_max=_OBJECT_SIZE_MAX)
        if outcome in (Revealed.UNCOVERED, Revealed.STORED_AGAIN):
            found.append(name)
    return tuple(found)


def _has_digest(expected: str) -> Callable[[bytes], bool]:
    return lambda data: hashlib.sha256(data).hexdigest() == expected
