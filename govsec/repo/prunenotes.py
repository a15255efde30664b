"""Notes of a prune: which packs left the index, and since when they wait for the end of their grace.

::

    govsec/pruned/<sha256>      canonical JSON {"packs": [id, …], "time": RFC 3339}

Not signed: whoever can write here can delete packs as well. A note that is damaged or lies in the future counts as
none, so its packs begin their grace anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from datetime import datetime

from govsec import canonical
from govsec.clock import format_time, parse_time
from govsec.errors import IntegrityError, ObjectNotFoundError
from govsec.repo.layout import GOVSEC_PREFIX, is_id
from govsec.store.api import ObjectInfo, ObjectStore

PREFIX = f"{GOVSEC_PREFIX}pruned/"
_SIZE_MAX = 8 << 20
#: 67 bytes a pack: seven megabytes.
_PACKS_A_NOTE = 100_000


def tidy_notes(store: ObjectStore, waiting: Collection[str], now: datetime) -> dict[str, datetime]:
    """Since when each of the packs in ``waiting`` is noted; notes of any other pack are dropped from the store.

    Notes that name other packs as well are written anew without them before the old ones are deleted.
    """
    noted: dict[str, datetime] = {}
    for item in list(store.list(PREFIX)):
        note = _read(store, item)
        if note is None or note[1] > now:
            store.delete(item.name)
            continue
        packs, moment = note
        kept = [pack for pack in packs if pack in waiting]
        for pack in kept:
            noted[pack] = min(moment, noted.get(pack, moment))
        if len(kept) < len(packs):
            write_notes(store, kept, moment)
            store.delete(item.name)
    return noted


def write_notes(store: ObjectStore, packs: Sequence[str], moment: datetime) -> dict[str, datetime]:
    """Note that these packs wait since ``moment``; the same as a table."""
    for start in range(0, len(packs), _PACKS_A_NOTE):
        body = {"packs": sorted(packs[start : start + _PACKS_A_NOTE]), "time": format_time(moment)}
        data = canonical.dumps(body)
        store.put(PREFIX + hashlib.sha256(data).hexdigest(), data)
    return dict.fromkeys(packs, moment)


def _read(store: ObjectStore, item: ObjectInfo) -> tuple[list[str], datetime] | None:
    try:
        data = store.get(item.name, size_max=_SIZE_MAX)
        if hashlib.sha256(data).hexdigest() != item.name.removeprefix(PREFIX):
            return None
        body = canonical.loads(data)
        if not isinstance(body, dict) or body.keys() != {"packs", "time"}:
            return None
        packs, moment = body["packs"], parse_time(body["time"])
    except (ValueError, OverflowError, AttributeError, IntegrityError, ObjectNotFoundError):
        return None  # damaged, not ours, or gone: it counts as none
    if not isinstance(packs, list) or not all(isinstance(pack, str) and is_id(pack) for pack in packs):
        return None
    return packs, moment
