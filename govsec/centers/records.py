"""What a center's verification saw, remembered at the center: where to go on, and how much is damaged.

``govsec/verified/center-<sha256>`` is JSON, not signed: it decides what is looked at first and lets a later commit know
of damage. What an assessor relies on goes to the evidence ledger. ::

    {"version": 1, "time": …, "damaged": [names], "damaged_count": n, "keys": [names of key files that belong here],
     "folders": {"data/ab/": {"verified": time or null, "began": time, "cursor": last name of the pass that runs}}}

A folder is what is verified in one pass (``data/ab/``, ``index/`` …): some 260 entries describe any repository. Names
within a folder are taken in ascending order, so an object was verified when the running pass began, if its name is not
behind the cursor, and else in the pass before.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from govsec.centers import names
from govsec.errors import IntegrityError, ObjectNotFoundError
from govsec.records import Moment
from govsec.store.api import ObjectStore, ReadStore

log = logging.getLogger(__name__)

_PREFIX = names.VERIFIED + "center-"
_SIZE_MAX = 4 << 20
_RECORDS_MAX = 64
DAMAGED_NAMES_MAX = 1000
#: More key files than this are no honest repository.
KEYS_MAX = 100


class FolderRecord(BaseModel):
    """How far the verification of one folder is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    verified: Moment | None = None
    began: Moment | None = None
    cursor: str = ""


class VerificationRecord(BaseModel):
    """What the newest verification of a center left."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = Field(default=1, ge=1, le=1)
    time: Moment
    damaged: tuple[str, ...] = Field(default=(), max_length=DAMAGED_NAMES_MAX)
    damaged_count: int = Field(default=0, ge=0)
    keys: tuple[str, ...] = Field(default=(), max_length=KEYS_MAX)
    folders: dict[str, FolderRecord] = {}


def read_record(store: ReadStore, now: datetime) -> VerificationRecord | None:
    """The newest record that is not from the future, or None. Junk in its place is ignored: all is then unverified."""
    newest: VerificationRecord | None = None
    for position, info in enumerate(store.list(_PREFIX)):
        if position >= _RECORDS_MAX:
            break
        try:
            record = VerificationRecord.model_validate_json(store.get(info.name, size_max=_SIZE_MAX))
        except (ValidationError, IntegrityError, ObjectNotFoundError) as error:
            log.warning("not a record", extra={"center": store.name, "object": info.name, "error": str(error)[:200]})
            continue
        if record.time <= now and (newest is None or record.time > newest.time):
            newest = record
    return newest


def write_record(store: ObjectStore, record: VerificationRecord) -> None:
    """Keep ``record`` in place of those before it."""
    data = json.dumps(record.model_dump(mode="json"), sort_keys=True).encode()
    name = _PREFIX + hashlib.sha256(data).hexdigest()
    store.put(name, data)
    for info in list(store.list(_PREFIX)):
        if info.name != name:
            store.delete(info.name)


def damage_of(store: ReadStore, *, apart_from: Collection[str] = ()) -> int:
    """How many damaged objects the newest verification of the center left unhealed; 0 when there was none.

    Names in ``apart_from`` do not count: they are being released.
    """
    record = read_record(store, datetime.max.replace(tzinfo=UTC))
    if record is None:
        return 0
    return record.damaged_count - sum(name in apart_from for name in record.damaged)


def forget_damage(store: ObjectStore, gone: Collection[str]) -> None:
    """Take the names in ``gone`` out of the damage that the newest verification left: they are not wanted any more."""
    record = read_record(store, datetime.max.replace(tzinfo=UTC))
    if record is None or not record.damaged_count:
        return
    left = tuple(name for name in record.damaged if name not in gone)
    count = record.damaged_count - (len(record.damaged) - len(left))
    write_record(store, record.model_copy(update={"damaged": left, "damaged_count": count}))
