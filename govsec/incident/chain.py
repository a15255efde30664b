"""Entries of a case as a chain of digests: one that is changed, removed, swapped or put in breaks it.

The digest of entry n is SHA-256 over the canonical form of the case's id, n, the digest before it and the entry. Who
can write the store can write a whole new chain; the ledger anchors the heads, and with them that is seen as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pydantic import ValidationError

from govsec.canonical import dumps
from govsec.errors import IntegrityError
from govsec.incident.entries import ENTRY, Entry


def written_form(entry: Entry) -> bytes:
    """An entry as the bytes that are kept."""
    return dumps(entry.model_dump(mode="json"))


def read_back(case_id: str, number: int, data: bytes) -> Entry:
    """The entry in these bytes.

    Raises:
        IntegrityError: they are none.
    """
    try:
        return ENTRY.validate_json(data)
    except ValidationError as error:
        raise IntegrityError(f"case {case_id}: entry {number} cannot be read") from error


def link(case_id: str, number: int, previous: str, data: bytes) -> str:
    """The digest of entry ``number``; ``previous`` is empty for the first."""
    head = dumps({"case": case_id, "number": number, "previous": previous})
    return hashlib.sha256(head + b"\n" + data).hexdigest()


def verified(case_id: str, rows: Sequence[tuple[object, object, object]], count: int, head: str) -> tuple[Entry, ...]:
    """The entries of rows of number, digest and bytes, of which there are to be ``count`` and the last to be ``head``.

    Raises:
        IntegrityError: names the first entry that does not follow from the one before, is missing or too many.
    """
    found: list[Entry] = []
    previous = ""
    for expected, (number, digest, data) in enumerate(rows, 1):
        # What a file holds may be of any type by now.
        if not isinstance(data, bytes) or number != expected or link(case_id, expected, previous, data) != digest:
            raise IntegrityError(f"case {case_id}: entry {expected} is missing or was changed")
        previous = str(digest)
        found.append(read_back(case_id, expected, data))
    if len(found) != count or previous != head:
        raise IntegrityError(f"case {case_id}: entry {min(len(found), count) + 1} is missing or was put in")
    return tuple(found)
