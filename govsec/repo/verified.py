"""The verification record: when each pack was last read whole and found good. It spreads a check over days.

A check with a budget takes the packs that were verified longest ago. The record lies beside the repository, where a
hostile store or a stolen credential may rewrite it, so it is *not trusted*: it decides the order of the work, never
that work is left out. A check of all data does not look at it; a check with a budget draws one pack in eight by lot
(:func:`choose`), so that a record that calls a bad pack fresh every day hides it for a while only; a time in the future
counts as never.

::

    govsec/verified/<center>/<number, 12 digits>
        "govsecv1" | entries × (first 8 bytes of the pack id | seconds since 1970, u32 LE) | SHA-256 of all before

Entries ascend by id. Eight bytes of an id suffice: whoever makes two packs collide gains that one is read later.
A record is written under the next number before older ones are removed, so a crash leaves one that can be read; one
that cannot be read is passed over.
"""

from __future__ import annotations

import hashlib
import heapq
import secrets
from collections.abc import Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from govsec.errors import (
    FormatError,
    IntegrityError,
    ObjectExistsError,
    ObjectNotFoundError,
    StoreDeniedError,
)
from govsec.repo.layout import GOVSEC_PREFIX
from govsec.store.api import ObjectInfo, ObjectStore, ReadStore, check_name

_MAGIC = b"govsecv1"
_ENTRY = np.dtype([("id", ">u8"), ("time", "<u4")])
#: A million packs of 16 MiB are 16 TiB; the record has 12 MB then. Beyond it, the longest unread are forgotten,
#: which makes them the first to be read.
ENTRIES_MAX = 1 << 20
RECORD_SIZE_MAX = len(_MAGIC) + ENTRIES_MAX * _ENTRY.itemsize + 32
#: How many of the newest records are tried, when some cannot be read.
_TRIES_MAX = 4
#: Of so many packs one is drawn by lot.
_LOT_ODDS = 8
_SECONDS_MAX = 0xFFFFFFFF

Seconds = NDArray[np.int64]


class VerificationRecord:
    """Packs and when they were last verified, in whole seconds since 1970. Frozen: changes give a new record."""

    def __init__(self, ids: NDArray[np.uint64], times: NDArray[np.uint32]) -> None:
        order = np.lexsort((times, ids))
        ids, times = ids[order], times[order]
        # Of several times for one pack the latest counts.
        is_last = np.ones(len(ids), bool)
        is_last[:-1] = ids[1:] != ids[:-1]
        self._ids, self._times = ids[is_last], times[is_last]

    @classmethod
    def empty(cls) -> VerificationRecord:
        """A record of nothing."""
        return cls(np.empty(0, np.uint64), np.empty(0, np.uint32))

    def __len__(self) -> int:
        return len(self._ids)

    def times(self, packs: Sequence[bytes], *, now: datetime) -> Seconds:
        """For each pack when it was last verified; 0 for never, and for a time after ``now``."""
        wanted = _prefixes(packs)
        found = np.zeros(len(wanted), np.int64)
        if len(self._ids) and len(wanted):
            at = np.minimum(np.searchsorted(self._ids, wanted), len(self._ids) - 1)
            is_known = self._ids[at] == wanted
            found[is_known] = self._times[at[is_known]]
        found[found > int(now.timestamp())] = 0
        return found

    def updated(
        self, *, good: Sequence[bytes], bad: Sequence[bytes], moment: datetime, existing: Sequence[bytes]
    ) -> VerificationRecord:
        """This record with ``good`` verified at ``moment``, ``bad`` as never, and only packs that are ``existing``."""
        keep = np.isin(self._ids, _prefixes(existing)) & ~np.isin(self._ids, _prefixes(bad))
        second = max(0, min(int(moment.timestamp()), _SECONDS_MAX))
        ids = np.concatenate((self._ids[keep], _prefixes(good)))
        times = np.concatenate((self._times[keep], np.full(len(good), second, np.uint32)))
        return VerificationRecord(ids, times)

    def encode(self) -> bytes:
        """The bytes of the record; the longest unread packs are left out above :data:`ENTRIES_MAX`."""
        ids, times = self._ids, self._times
        if len(ids) > ENTRIES_MAX:
            kept = np.sort(np.argsort(times, kind="stable")[-ENTRIES_MAX:])
            ids, times = ids[kept], times[kept]
        entries = np.empty(len(ids), _ENTRY)
        entries["id"], entries["time"] = ids, times
        body = _MAGIC + entries.tobytes()
        return body + hashlib.sha256(body).digest()

    @classmethod
    def decode(cls, data: bytes) -> VerificationRecord:
        """The record in ``data``. Raises ``FormatError``."""
        body, digest = data[:-32], data[-32:]
        size = len(body) - len(_MAGIC)
        if not body.startswith(_MAGIC) or size % _ENTRY.itemsize or hashlib.sha256(body).digest() != digest:
            raise FormatError("verification record: damaged, or of another version")
        entries = np.frombuffer(body, _ENTRY, offset=len(_MAGIC))
        return cls(entries["id"].astype(np.uint64), entries["time"].astype(np.uint32))


def load_record(store: ReadStore, center: str) -> VerificationRecord:
    """The newest record of ``center`` in ``store`` that can be read; an empty one when there is none."""
    for number in _newest(store, center):
        try:
            return VerificationRecord.decode(store.get(_name(center, number), size_max=RECORD_SIZE_MAX))
        except (IntegrityError, ObjectNotFoundError):
            continue  # cut off, altered, or just replaced by another verifier: an older one will do
    return VerificationRecord.empty()


def save_record(store: ObjectStore, center: str, record: VerificationRecord) -> ObjectInfo:
    """Store the record under the next number, then remove those before it where the store lets us."""
    data = record.encode()
    older = _newest(store, center)
    number = older[0] + 1 if older else 1
    while True:
        try:
            info = store.put(_name(center, number), data, if_absent=True)
            break
        except ObjectExistsError:
            number += 1  # another verifier was quicker; which of the two wins changes only the order of work
    for old in older:
        try:
            store.delete(_name(center, old))
        except StoreDeniedError:
            break  # kept by object lock, or not ours to delete: the newest is the one that is read
    return info


def choose(packs: Sequence[bytes], sizes: Seconds, times: Seconds, budget_bytes: int) -> list[int]:
    """Positions of the packs to verify, in order: longest unverified first, and one in eight by lot.

    At least one pack, whatever its size and the budget, so that a small budget gets round in the end.
    """
    by_age: list[int] = np.lexsort((_prefixes(packs), times)).tolist()
    by_lot = _shuffled(len(packs))
    chosen: dict[int, None] = {}
    spent = 0
    ages, lots = iter(by_age), iter(by_lot)
    while len(chosen) < len(packs):
        source = lots if secrets.randbelow(_LOT_ODDS) == 0 else ages
        position = next(position for position in source if position not in chosen)
        spent += int(sizes[position])
        if chosen and spent > budget_bytes:
            break
        chosen[position] = None
    return list(chosen)


def _shuffled(count: int) -> list[int]:
    order = list(range(count))
    secrets.SystemRandom().shuffle(order)
    return order


def _prefixes(packs: Sequence[bytes]) -> NDArray[np.uint64]:
    return np.frombuffer(b"".join(pack[:8] for pack in packs), ">u8").astype(np.uint64)


def _newest(store: ReadStore, center: str) -> list[int]:
    prefix = f"{GOVSEC_PREFIX}verified/{center}/"
    numbers = (_number(info.name) for info in store.list(prefix))
    return heapq.nlargest(_TRIES_MAX, (number for number in numbers if number is not None))


def _number(name: str) -> int | None:
    text = name.rpartition("/")[2]
    return int(text) if len(text) == 12 and text.isascii() and text.isdigit() else None


def _name(center: str, number: int) -> str:
    return check_name(f"{GOVSEC_PREFIX}verified/{center}/{number:012d}")
