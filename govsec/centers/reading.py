"""Reading the bytes of a center's objects, within a budget, and comparing each with the digest that its name promises.

The folder that was verified longest ago comes first, and a run goes on where the one before it stopped: what was begun
is finished before anything else is. :class:`FolderRecord` is what is remembered from run to run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from govsec.centers import names
from govsec.centers.copying import Meter
from govsec.centers.inventory import Inventory
from govsec.centers.records import FolderRecord
from govsec.errors import IntegrityError, ObjectNotFoundError, StoreError
from govsec.runtime.lanes import for_each
from govsec.store.api import ReadStore

#: Read at once between two looks at the budget; also how much is read again after a crash.
_PORTION_BYTES = 256 << 20
_PORTION_COUNT = 64


class DamageKind(StrEnum):
    """What is wrong with an object of a center."""

    MISSING = "missing"
    CORRUPT = "corrupt"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Damage:
    """One object that is not what it should be."""

    kind: DamageKind
    name: str
    message: str


@dataclass(slots=True)
class Reading:
    """One verification under way: what it may spend, what it read, and what it found."""

    store: ReadStore
    threads: int
    meter: Meter
    budget_bytes: int | None
    inventory: Inventory
    folders: dict[str, FolderRecord]
    damaged: dict[str, Damage] = field(default_factory=dict)
    checked: set[str] = field(default_factory=set)
    #: Those of ``checked`` that a commit names: key files and older lists prove nothing about a center.
    counted: int = 0

    @property
    def is_spent(self) -> bool:
        """True when the budget is used up, and for something that counts."""
        is_over = self.budget_bytes is not None and self.meter.bytes_count >= self.budget_bytes
        return is_over and bool(self.counted or not self.inventory.expected)

    def note_checked(self, name: str) -> None:
        """Take note that the bytes of ``name`` were asked for."""
        self.checked.add(name)
        self.counted += name in self.inventory.expected


def read_folders(run: Reading, now: datetime) -> None:
    """Read what should be there, folder by folder, until the budget is spent."""
    folders: dict[str, list[str]] = {}
    for name in sorted(run.inventory.present):
        is_ours = name in run.inventory.expected or name.startswith((names.KEYS, names.LISTS))
        if is_ours and names.digest_of(name) is not None:
            folders.setdefault(name[: name.rindex("/") + 1], []).append(name)
    for gone in run.folders.keys() - folders.keys():
        del run.folders[gone]
    for folder in sorted(folders, key=lambda folder: _order(run.folders.get(folder, FolderRecord()), folder)):
        if run.is_spent:
            return
        _read_folder(run, folder, folders[folder], now)


def read_objects(run: Reading, portion: Sequence[str]) -> None:
    """Read these objects, each once a run; what is wrong with them is noted."""

    def prepare() -> Callable[[str], Damage | str]:
        own = run.store.clone()

        def look(name: str) -> Damage | str:
            size_bytes = run.inventory.present[name]
            try:
                data = own.get(name, size_max=size_bytes)
            except ObjectNotFoundError:
                return Damage(DamageKind.MISSING, name, f"{name}: listed, and gone when it was read")
            except (StoreError, IntegrityError) as error:
                # A disk that cannot read one sector, a server that answers 500 for one object: found, and reported.
                return Damage(DamageKind.UNREADABLE, name, str(error))
            run.meter.add(len(data), name)
            if hashlib.sha256(data).hexdigest() != names.digest_of(name):
                return Damage(DamageKind.CORRUPT, name, f"{name}: the bytes are not what the name says")
            return name

        return look

    for seen in for_each([name for name in portion if name not in run.checked], prepare, threads=run.threads):
        if isinstance(seen, Damage):
            run.damaged[seen.name] = seen
            run.note_checked(seen.name)
        else:
            run.note_checked(seen)


def oldest_look(run: Reading) -> datetime | None:
    """When the object was looked at whose last look is longest ago; None when some were never looked at."""
    if not run.folders or any(record.verified is None for record in run.folders.values()):
        return None
    wanted = {name[: name.rindex("/") + 1] for name in run.inventory.expected}
    if wanted - run.folders.keys():
        return None
    return min(record.verified for record in run.folders.values() if record.verified)


def _order(record: FolderRecord, folder: str) -> tuple[bool, str, str]:
    # A pass that was begun is finished first; then what was never verified; then the oldest.
    last = record.verified.isoformat() if record.verified else ""
    return (not record.cursor, last, folder)


def _read_folder(run: Reading, folder: str, members: Sequence[str], now: datetime) -> None:
    record = run.folders.get(folder, FolderRecord())
    if not record.cursor or record.began is None or record.began > now:
        record = FolderRecord(verified=record.verified, began=now)
    rest = [name for name in members if name > record.cursor]
    for portion in _portions(rest, run.inventory.present):
        if run.is_spent:
            run.folders[folder] = record
            return
        read_objects(run, portion)
        record = record.model_copy(update={"cursor": portion[-1]})
    run.folders[folder] = FolderRecord(verified=record.began)


def _portions(members: Sequence[str], sizes: Mapping[str, int]) -> Iterator[list[str]]:
    portion: list[str] = []
    size_bytes = 0
    for name in members:
        portion.append(name)
        size_bytes += sizes[name]
        if len(portion) >= _PORTION_COUNT or size_bytes >= _PORTION_BYTES:
            yield portion
            portion, size_bytes = [], 0
    if portion:
        yield portion
