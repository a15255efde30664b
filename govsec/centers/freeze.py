"""A freeze: nothing is let go at a center for a while, because what is there may soon be all that is left.

Forgetting, pruning and releasing refuse while it holds; backups, shipping and verification go on, and no lock is made
longer or shorter by it. It is an object a freeze, ``govsec/frozen/<end>-<id>``, so that two of them do not end each
other, and it always ends: after :data:`FREEZE_MAX` at the latest, or when a person thaws it. The end stands in the
name, so that those that are over are passed by without being read.

Whoever may write at a center can freeze it; that costs room, for a month at most. A center that other centers can be
read from heeds their freezes as well: production cannot write to the remote center, and its freeze holds there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from govsec.centers import names
from govsec.clock import Clock, format_time
from govsec.errors import ObjectExistsError, ObjectNotFoundError, RefusedError, StoreError, UsageError
from govsec.records import Moment
from govsec.store.api import ObjectStore, ReadStore

FREEZE_MAX = timedelta(days=30)
_CLOCKS_APART = timedelta(days=1)
_SIZE_MAX = 4096
_NAME = re.compile(re.escape(names.FROZEN) + r"(\d{8}T\d{6}Z)-([0-9a-f]{8,32})")
_STAMP = "%Y%m%dT%H%M%SZ"


class Freeze(BaseModel):
    """Who keeps everything at a center, why, and until when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[0-9a-f]{8,32}$")
    by: str = Field(min_length=1, max_length=200)
    reason: str = Field(min_length=1, max_length=500)
    since: Moment
    until: Moment


def freeze(store: ObjectStore, clock: Clock, *, id: str, by: str, reason: str, until: datetime) -> Freeze:
    """Freeze a center. The same id again is the same freeze, whose end stays.

    Raises:
        UsageError: it would last longer than :data:`FREEZE_MAX`, or is over already.
    """
    now = clock.now()
    until = until.astimezone(UTC).replace(microsecond=0)
    if not now < until <= now + FREEZE_MAX:
        raise UsageError(f"a freeze ends within {FREEZE_MAX.days} days, not at {format_time(until)}")
    made = Freeze(id=id, by=by, reason=reason, since=now, until=until)
    name = f"{names.FROZEN}{until:{_STAMP}}-{id}"
    try:
        store.put(name, json.dumps(made.model_dump(mode="json"), ensure_ascii=False).encode(), if_absent=True)
    except ObjectExistsError:
        return _read(store, name)
    return made


def thaw(store: ObjectStore, clock: Clock, id: str) -> bool:
    """End the freeze of this id; False when there is none that holds.

    It is written over and not deleted: a credential that may only put can end what it began.
    """
    for name in _names(store, clock.now()):
        found = _NAME.fullmatch(name)
        if found is None or found[2] != id:
            continue
        ended = _read(store, name).model_copy(update={"until": clock.now()})
        store.put(name, json.dumps(ended.model_dump(mode="json"), ensure_ascii=False).encode())
        return True
    return False


def read_freeze(store: ReadStore, clock: Clock) -> Freeze | None:
    """The freeze that holds longest, or None.

    Raises:
        RefusedError: one cannot be read; what somebody meant to keep is kept until somebody has looked.
    """
    now = clock.now()
    found = [_read(store, name) for name in _names(store, now)]
    holding = [each for each in found if _holds(each, now)]
    return max(holding, key=lambda each: each.until, default=None)


def refuse_if_frozen(stores: Iterable[ReadStore], clock: Clock) -> None:
    """Return when none of the stores is frozen; a store that does not answer is passed by.

    Raises:
        RefusedError: who froze which, why and until when.
    """
    for store in stores:
        try:
            found = read_freeze(store, clock)
        except StoreError:
            continue
        if found is not None:
            end = format_time(found.until)
            raise RefusedError(f"{store.name}: frozen by {found.by} until {end}: {found.reason}; nothing is let go")


def _names(store: ReadStore, now: datetime) -> list[str]:
    found = []
    for info in store.list(names.FROZEN):
        match = _NAME.fullmatch(info.name)
        # A name of another form was put there by nobody who meant a freeze.
        if match is not None and datetime.strptime(match[1], _STAMP).replace(tzinfo=UTC) > now:
            found.append(info.name)
    return found


def _holds(found: Freeze, now: datetime) -> bool:
    # As with a pause: neither a wrong clock nor a forged date freezes for ever.
    is_honest = found.since <= now + _CLOCKS_APART and found.until - found.since <= FREEZE_MAX
    return is_honest and found.until > now


def _read(store: ReadStore, name: str) -> Freeze:
    try:
        return Freeze.model_validate_json(store.get(name, size_max=_SIZE_MAX))
    except ObjectNotFoundError as error:
        raise RefusedError(f"{store.name}: {name} went away while it was looked at") from error
    except ValidationError as error:
        raise RefusedError(f"{store.name}: {name} cannot be read; look at who wrote it, and remove it") from error
