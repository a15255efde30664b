"""Junk in the folders of a repository, moved aside so that stock restic works again, and back if that was wrong.

One random object in ``index/`` makes restic's check and restore fail, one in ``snapshots/`` its ``restore latest``, one
in ``keys/`` every command. A hostile production can put such objects into every store that it may write. Junk is what
no genuine commit names; for ``keys/``, which commits do not name, what a trusted center does not have.

::

    govsec/quarantine/<id>/manifest     JSON {version, time, names}; id is its SHA-256
    govsec/quarantine/<id>/<name>       the bytes

Each object is copied, read back, and only then removed from its place. A run that was cut off is finished by the next.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from govsec.centers import names
from govsec.centers.inventory import IN_FLIGHT_S, named_elsewhere, take_inventory
from govsec.centers.log import START, FlawKind, read_log, union
from govsec.centers.ship import repository_of
from govsec.clock import Clock
from govsec.crypto.signing import TrustedKeys
from govsec.errors import (
    FormatError,
    IntegrityError,
    LimitError,
    ObjectNotFoundError,
    RefusedError,
    StoreError,
    UsageError,
)
from govsec.records import Moment
from govsec.store.api import ObjectStore, ReadStore

#: Objects moved in one run; the rest is said to remain.
MOVED_MAX = 10_000
_OBJECT_SIZE_MAX = 1 << 30
_MANIFEST_SIZE_MAX = 4 << 20
_ID = re.compile(r"[0-9a-f]{64}")


class Manifest(BaseModel):
    """What one quarantine holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = Field(default=1, ge=1, le=1)
    time: Moment
    names: tuple[str, ...] = Field(max_length=MOVED_MAX)


@dataclass(frozen=True, slots=True)
class QuarantineReport:
    """What was moved. ``quarantine_id`` is empty when nothing was, or nothing may change."""

    center: str
    quarantine_id: str
    moved: tuple[str, ...]
    #: Junk beyond the limit of one run: run again.
    remaining_count: int
    failed: tuple[tuple[str, str], ...]


def find_junk(
    store: ReadStore,
    trusted: TrustedKeys,
    *,
    clock: Clock,
    others: Sequence[ReadStore] = (),
    in_flight_s: float = IN_FLIGHT_S,
    known_keys: Collection[str] | None = None,
) -> tuple[str, ...]:
    """Names of junk at a center. With ``known_keys`` (names under ``keys/``), other keys are junk too.

    Raises:
        RefusedError: the log has gaps. What it lacks would look like junk; heal first.
    """
    repository = repository_of(store)
    log = read_log(store, trusted, repository=repository, after=START)
    logs = [log, *(read_log(other, trusted, repository=repository, after=START) for other in others)]
    gaps = [flaw.name for flaw in log.flaws if flaw.kind is FlawKind.GAP]
    if gaps:
        raise RefusedError(f"{store.name}: the commit log has gaps at {gaps[0]}; heal it before moving anything")
    elsewhere = named_elsewhere([store, *others], log, union(logs))
    inventory = take_inventory(
        store, trusted, repository, log, now=clock.now(), elsewhere=elsewhere, in_flight_s=in_flight_s
    )
    junk = list(inventory.unnamed)
    if known_keys is not None:
        junk += [info.name for info in store.list(names.KEYS) if info.name not in known_keys]
    return tuple(junk)


def quarantine(store: ObjectStore, junk: Sequence[str], *, clock: Clock) -> QuarantineReport:
    """Move ``junk`` (from :func:`find_junk`) aside. What cannot be moved is reported and stays in its place."""
    chosen = sorted(junk)[:MOVED_MAX]
    if not chosen:
        return QuarantineReport(store.name, "", (), 0, ())
    manifest = Manifest(time=clock.now(), names=tuple(chosen))
    data = json.dumps(manifest.model_dump(mode="json")).encode()
    quarantine_id = hashlib.sha256(data).hexdigest()
    store.put(f"{names.QUARANTINE}{quarantine_id}/manifest", data)
    moved, failed = _move_all(store, quarantine_id, chosen, is_back=False)
    return QuarantineReport(store.name, quarantine_id, moved, len(junk) - len(chosen), failed)


def put_back(store: ObjectStore, quarantine_id: str) -> QuarantineReport:
    """Undo one quarantine. The manifest goes when everything is back.

    Raises:
        UsageError: there is no such quarantine.
    """
    if not _ID.fullmatch(quarantine_id):
        raise UsageError(f"not the id of a quarantine: {quarantine_id[:80]!r}")
    place = f"{names.QUARANTINE}{quarantine_id}/manifest"
    try:
        manifest = Manifest.model_validate_json(store.get(place, size_max=_MANIFEST_SIZE_MAX))
    except ObjectNotFoundError as error:
        raise UsageError(f"{store.name}: there is no quarantine {quarantine_id}") from error
    except ValidationError as error:
        raise FormatError(f"{store.name}: {place} is not a manifest") from error
    moved, failed = _move_all(store, quarantine_id, manifest.names, is_back=True)
    if not failed:
        store.delete(place)
    return QuarantineReport(store.name, quarantine_id, moved, 0, failed)


def list_quarantines(store: ReadStore) -> tuple[str, ...]:
    """The ids of the quarantines at a center."""
    found = {info.name.removeprefix(names.QUARANTINE).partition("/")[0] for info in store.list(names.QUARANTINE)}
    return tuple(sorted(quarantine_id for quarantine_id in found if _ID.fullmatch(quarantine_id)))


def _move_all(
    store: ObjectStore, quarantine_id: str, chosen: Sequence[str], *, is_back: bool
) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    # What refers goes first and comes last, so that no moment shows an index without its packs.
    ordered = sorted(chosen, key=lambda name: (names.write_rank(name), name), reverse=not is_back)
    moved: list[str] = []
    failed: list[tuple[str, str]] = []
    for name in ordered:
        aside = f"{names.QUARANTINE}{quarantine_id}/{name}"
        try:
            if _move(store, *((aside, name) if is_back else (name, aside))):
                moved.append(name)
        except (StoreError, IntegrityError, RefusedError, LimitError) as error:
            failed.append((name, str(error)))
    return tuple(moved), tuple(failed)


def _move(store: ObjectStore, source: str, target: str) -> bool:
    try:
        data = store.get(source, size_max=_OBJECT_SIZE_MAX)
    except ObjectNotFoundError:
        return False  # moved by a run that was cut off
    store.put(target, data)
    if store.get(target, size_max=len(data)) != data:
        raise IntegrityError(f"{store.name}: {target} reads back differently")
    store.delete(source)
    return True
