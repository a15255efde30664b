"""``center pause``: shipping to, releasing from and locking at a center wait, so that a person can work there.

Stock ``restic prune`` at a center is safe only while nothing is shipped to it: it removes packs that no index names
yet. A pause is the object ``govsec/paused``; it always ends, because a pause that is forgotten is an outage.
"""

from __future__ import annotations

import json
from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from govsec.centers import names
from govsec.clock import Clock, format_time
from govsec.errors import ObjectNotFoundError, RefusedError, TryAgainError, UsageError
from govsec.records import Moment
from govsec.store.api import ObjectStore, ReadStore

PAUSE_MAX_S = 14 * 86400
_SIZE_MAX = 4096


class Pause(BaseModel):
    """Who paused a center, why, and until when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: str = Field(min_length=1, max_length=200)
    reason: str = Field(min_length=1, max_length=500)
    since: Moment
    until: Moment


def pause(store: ObjectStore, clock: Clock, *, by: str, reason: str, duration_s: float) -> Pause:
    """Pause a center. Raises ``UsageError`` for a duration outside (0, 14 days]."""
    if not 0 < duration_s <= PAUSE_MAX_S:
        raise UsageError(f"a pause lasts up to {PAUSE_MAX_S // 86400} days, not {duration_s:g} s")
    now = clock.now()
    made = Pause(by=by, reason=reason, since=now, until=now + timedelta(seconds=duration_s))
    store.put(names.PAUSED, json.dumps(made.model_dump(mode="json"), ensure_ascii=False).encode())
    return made


def resume(store: ObjectStore) -> None:
    """End the pause, whatever it looks like."""
    store.delete(names.PAUSED)


def read_pause(store: ReadStore, clock: Clock) -> Pause | None:
    """The pause that holds now, or None.

    Raises:
        RefusedError: the object cannot be read; what somebody meant to stop stays stopped until ``resume``.
    """
    try:
        found = Pause.model_validate_json(store.get(names.PAUSED, size_max=_SIZE_MAX))
    except ObjectNotFoundError:
        return None
    except ValidationError as error:
        raise RefusedError(f"{store.name}: {names.PAUSED} cannot be read; end it with: center resume") from error
    # The limit counts from now, so that a wrong clock or a forged date cannot pause for ever.
    is_over = found.until <= clock.now() or found.since > clock.now() + timedelta(days=1)
    return None if is_over or found.until - found.since > timedelta(seconds=PAUSE_MAX_S) else found


def refuse_if_paused(store: ReadStore, clock: Clock) -> None:
    """Return when the center is not paused. Raises ``TryAgainError`` with who paused it, why and until when."""
    found = read_pause(store, clock)
    if found is not None:
        raise TryAgainError(f"{store.name}: paused by {found.by} until {format_time(found.until)}: {found.reason}")
