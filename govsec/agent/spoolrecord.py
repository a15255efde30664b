"""What lies in a spool: ``Entry`` before it has a place, ``Record`` after; the chain that shows a gap.

One idea: each record's digest covers the record before it, so whoever receives them can tell a missing one from a quiet
agent. Records that the quota pushed out leave a hole in the sequence, and a record ``lost`` that accounts for it.

The digest is SHA-256 of the canonical JSON of ``{"body", "epoch", "previous", "priority", "sequence"}``; ``previous``
is the digest before it in hex, 64 zeros for the first of an epoch. An epoch is one file's life: when a damaged spool is
set aside, sequences begin again at 1 under a new epoch.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from pydantic import JsonValue

from govsec import canonical
from govsec.errors import IntegrityError

#: ``previous`` of an epoch's first record.
NOTHING_BEFORE = "0" * 64


class Priority(IntEnum):
    """What goes first when room is short: a higher one is never pushed out by a lower one."""

    RAW = 10
    HEARTBEAT = 20
    FINDING = 30
    #: What tells of losses; small, few, and the last to go.
    LOST = 40


@dataclass(frozen=True, slots=True)
class Entry:
    """Something to be kept. ``body`` must have a canonical form."""

    priority: Priority
    body: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Record:
    """An entry that is on the disk, with its place in the chain."""

    epoch: str
    sequence: int
    priority: Priority
    body: Mapping[str, JsonValue]
    previous: str
    digest: str


def digest_of(epoch: str, sequence: int, priority: Priority, body: Mapping[str, JsonValue], previous: str) -> str:
    """The digest that the record must have."""
    return canonical.digest(
        {"body": body, "epoch": epoch, "previous": previous, "priority": int(priority), "sequence": sequence}
    )


def verify_record(record: Record) -> None:
    """Raises ``IntegrityError`` when its bytes are not those that were appended."""
    wanted = digest_of(record.epoch, record.sequence, record.priority, record.body, record.previous)
    if wanted != record.digest:
        raise IntegrityError(f"record {record.sequence} of epoch {record.epoch} is not what its digest says")


def verify_chain(records: Sequence[Record]) -> int:
    """Look at every record and at every link between neighbours; gives how many sequences are missing between them.

    Raises:
        IntegrityError: a record was changed, or stands in the wrong place.
    """
    missing_count = 0
    for record in records:
        verify_record(record)
    for before, record in itertools.pairwise(records):
        if record.epoch != before.epoch or record.sequence <= before.sequence:
            raise IntegrityError(f"record {record.sequence} does not come after record {before.sequence}")
        missing_count += record.sequence - before.sequence - 1
        if record.sequence == before.sequence + 1 and record.previous != before.digest:
            raise IntegrityError(f"record {record.sequence} does not follow from record {before.sequence}")
    return missing_count


#: What :func:`record_of` takes, in this order.
COLUMNS = "sequence, epoch, priority, previous, digest, body"


def record_of(row: Sequence[object]) -> Record:
    """The record in a row of :data:`COLUMNS`, verified. Raises ``IntegrityError`` when it is none."""
    sequence, epoch, priority, previous, digest, body = row
    try:
        value = canonical.loads(bytes(body) if isinstance(body, bytes) else str(body).encode())
        found = Priority(whole(priority))
    except ValueError as error:
        raise IntegrityError(f"record {sequence} of the spool cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise IntegrityError(f"record {sequence} of the spool is no object")
    record = Record(str(epoch), whole(sequence), found, value, str(previous), str(digest))
    verify_record(record)
    return record


def whole(value: object) -> int:
    """The value, provided that it is a whole number. Raises ``IntegrityError``."""
    if not isinstance(value, int):
        raise IntegrityError(f"the spool holds {value!r} where a whole number belongs")
    return value
