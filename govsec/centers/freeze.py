"""A freeze: nothing is let go at a center for a while, because what is there may soon be all that is left.

Forgetting, pruning and releasing refuse while it holds; backups, shipping and verification go on, and no lock is made
longer or shorter by it. It is an object a freeze, ``govsec/frozen/<end>-<id>``, so that two of them do not end each
other. Only the name counts: what the object says (who, why) is for people, and whoever writes over it ends nothing. A
name that ends later than :data:`FREEZE_MAX` from now is no freeze, so none holds longer than a month.

It ends earlier only by being removed, with a credential that may remove things there: at production its own, at the
other centers their owners'. Production, which may only add at same-city, can begin a freeze there and not end it.

Whoever may write at a center can freeze it; that costs room, a month each time. A center that other centers can be
read from heeds their freezes as well: production cannot write to the remote center, and its freeze holds there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from govsec.centers import names
from govsec.clock import Clock, format_time
from govsec.errors import (
    IntegrityError,
    ObjectExistsError,
    ObjectNotFoundError,
    RefusedError,
    StoreError,
    UsageError,
)
from govsec.records import Moment
from govsec.store.api import ObjectStore, ReadStore

FREEZE_MAX = timedelta(days=30)
_CLOCKS_APART = timedelta(days=1)
_SIZE_MAX = 4096
_UNKNOWN = "unknown"
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
    # There already: the same freeze, begun before a crash.
    with suppress(ObjectExistsError):
        store.put(name, json.dumps(made.model_dump(mode="json"), ensure_ascii=False).encode(), if_absent=True)
    return made


def thaw(store: ObjectStore, clock: Clock, id: str) -> bool:
    """Remove the freeze of this id; False when there is none that holds.

    Raises:
        StoreDeniedError: this credential may not remove anything there; it ends by itself, or its owner ends it.
    """
    found = [name for name, _ in _holding(store, clock.now()) if name.endswith(f"-{id}")]
    for name in found:
        store.delete(name)
    return bool(found)


def read_freeze(store: ReadStore, clock: Clock) -> Freeze | None:
    """The freeze that holds longest, or None."""
    name, end = max(_holding(store, clock.now()), key=lambda each: each[1], default=("", clock.now()))
    if not name:
        return None
    said = _said(store, name)
    known = {"by": _UNKNOWN, "reason": _UNKNOWN} if said is None else {"by": said.by, "reason": said.reason}
    since = clock.now() if said is None else said.since
    return Freeze(id=name.rpartition("-")[2], since=since, until=end, **known)


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


def _holding(store: ReadStore, now: datetime) -> list[tuple[str, datetime]]:
    """Names of freezes that hold, with their ends. A name of another form was put there by nobody who meant one."""
    found = []
    for info in store.list(names.FROZEN):
        match = _NAME.fullmatch(info.name)
        if match is None:
            continue
        try:
            end = datetime.strptime(match[1], _STAMP).replace(tzinfo=UTC)
        except ValueError:  # well-formed, and no day of any calendar
            continue
        if now < end <= now + FREEZE_MAX + _CLOCKS_APART:
            found.append((info.name, end))
    return found


def _said(store: ReadStore, name: str) -> Freeze | None:
    """What a freeze says of itself, None when that cannot be read: it holds all the same."""
    try:
        return Freeze.model_validate_json(store.get(name, size_max=_SIZE_MAX))
    except (ObjectNotFoundError, IntegrityError, ValidationError):
        return None
