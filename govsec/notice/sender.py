"""A worker: takes what is due from the outbox, sends it, and writes down what came of it.

One failing channel never keeps the others waiting: each notice is on its own, and whoever is slow or in trouble has one
turn a step.
"""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from govsec.clock import Clock
from govsec.errors import GovsecError
from govsec.notice.api import Channel, DeliveryError, ForSeveral, InParts, Receipt
from govsec.notice.outbox import ItemState, Leased, Outbox

log = logging.getLogger(__name__)

#: A channel that took so long for one notice waits until the others had their turns.
SLOW_S = 5.0
_FORGETTING_EVERY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Sent:
    """What one step did."""

    delivered: int
    failed: int
    dead: int


class Sender:
    """Over one outbox and its channels by name; forgets what was delivered longer ago than ``kept``, once a day."""

    def __init__(
        self, outbox: Outbox, channels: Mapping[str, Channel], clock: Clock, *, kept: timedelta = timedelta(days=90)
    ) -> None:
        self._outbox = outbox
        self._channels = channels
        self._limits = {name: channel.limits for name, channel in channels.items()}
        self._clock = clock
        self._kept = kept
        self._looked_at: datetime | None = None

    def step(self, *, limit: int = 10) -> Sent:
        """Send what is due now, ``limit`` notices a channel at most. Raises only what the outbox raises.

        Whatever a channel raises is a try that failed. What may pass, or takes longer than :data:`SLOW_S`, ends the
        channel's turn in this step; a notice that is refused for itself does not.
        """
        self._forget()
        states: Counter[ItemState] = Counter()
        willing = dict(self._limits)
        for _ in range(limit):
            # One of each channel in turn, and leased only when it is its turn: a slow one lets no other lease run out.
            for name, bounds in list(willing.items()):
                leased = self._outbox.lease({name: bounds}, self._clock.now(), limit=1)
                begun = self._clock.monotonic()
                came = [state for one in leased for state in self._send(one)]
                states.update(came)
                # A recipient who cannot be reached now is no trouble of the channel that reached another.
                is_in_trouble = ItemState.WAITING in came and ItemState.DONE not in came
                if not came or is_in_trouble or self._clock.monotonic() - begun > SLOW_S:
                    del willing[name]
        return Sent(states[ItemState.DONE], states[ItemState.WAITING], states[ItemState.DEAD])

    def _forget(self) -> None:
        now = self._clock.now()
        # In both directions: a clock that was set back must not put it off.
        if self._looked_at is not None and abs(now - self._looked_at) < _FORGETTING_EVERY:
            return
        self._looked_at = now
        if count := self._outbox.forget(now - self._kept):
            log.info("notices forgotten", extra={"count": count, "kept_days": self._kept.days})

    def _send(self, leased: Leased) -> list[ItemState]:
        channel = self._channels[leased.channel]
        together: tuple[Leased, ...] = (leased,)
        try:
            if isinstance(channel, InParts):
                prepared = self._prepared(channel, leased)
                if prepared is None:
                    return [ItemState.WAITING]
                together = prepared
            outcomes = _handed_over(channel, together)
        except DeliveryError as error:
            outcomes = [error] * len(together)
        except GovsecError as error:
            outcomes = [DeliveryError(str(error), is_retryable=True)] * len(together)
        except Exception as error:  # noqa: BLE001 - the edge of a channel: its faults must not keep the others waiting
            # Only its kind and place: the words of a foreign error may hold a robot's address with its key.
            kind = type(error).__name__
            log.error("channel broke", extra={"channel": leased.channel, "fault": kind, "place": _place(error)})
            broke = DeliveryError(f"channel {leased.channel}: broke: {kind}", is_retryable=True)
            outcomes = [broke] * len(together)
        now = self._clock.now()
        return [self._note(one, outcome, now) for one, outcome in zip(together, outcomes, strict=True)]

    def _prepared(self, channel: InParts, leased: Leased) -> tuple[Leased, ...] | None:
        """The messages that leave now, taken apart in the outbox before the first of them does; None when somebody else
        has the notice by now."""
        if leased.part is None:
            parts = channel.parts_of(leased.notice)
            if len(parts) == 1:
                return (replace(leased, part=parts[0]),)
            split = self._outbox.split(leased, parts, self._clock.now())
            if split is None:
                return None
            leased = split
        return self._outbox.join(leased, self._clock.now()) if isinstance(channel, ForSeveral) else (leased,)

    def _note(self, leased: Leased, outcome: Receipt | DeliveryError, now: datetime) -> ItemState:
        if isinstance(outcome, DeliveryError):
            return self._fail(leased, outcome, now)
        self._outbox.record(leased, outcome)
        log.info("notice sent", extra={"channel": leased.channel, "key": leased.notice.key, "tries": leased.tries})
        return ItemState.DONE

    def _fail(self, leased: Leased, error: DeliveryError, now: datetime) -> ItemState:
        why = str(error)
        state = self._outbox.fail(leased, why, now, is_retryable=error.is_retryable, after_s=error.after_s)
        log.warning(
            "notice not sent",
            extra={"channel": leased.channel, "key": leased.notice.key, "state": state.value, "why": why},
        )
        return state


def _handed_over(channel: Channel, together: Sequence[Leased]) -> Sequence[Receipt | DeliveryError]:
    """What came of each. Raises as ``Channel.send``."""
    notice, parts = together[0].notice, [one.part for one in together if one.part is not None]
    if isinstance(channel, ForSeveral):
        return channel.send_parts(notice, parts)
    if isinstance(channel, InParts):
        return [channel.send_part(notice, part) for part in parts]
    return [channel.send(notice)]


def _place(error: BaseException) -> str:
    *_, last = traceback.extract_tb(error.__traceback__)
    return f"{Path(last.filename).name}:{last.lineno}"
