"""The duty daemon as a program: one of it on a state directory, its lanes, systemd's watchdog, how it is in numbers.

At a reload everything that works by the configuration is closed and opened anew, as at a start, because all that
matters is on the disk at any moment. A configuration that cannot be followed changes nothing; what needs a restart
stays as it was, and is named.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Self

from pydantic import JsonValue

from govsec.assemble.duty import Duty, has_responses
from govsec.assemble.dutydrills import drilling
from govsec.assemble.dutyevidence import ledger_system, record_notices
from govsec.assemble.dutylanes import Signed, Work, responding, sending, signing
from govsec.assemble.dutystatus import write_status
from govsec.assemble.escalation import escalate, open_escalation, workdays_of
from govsec.assemble.notify import build_channels
from govsec.assemble.response import load_playbooks
from govsec.clock import Clock, format_time, to_ns
from govsec.config import Config
from govsec.errors import GovsecError, TryAgainError
from govsec.incident.intake import Taken
from govsec.lockfile import held_lock
from govsec.response.verbs import check_live
from govsec.runtime.ticks import Stop, notify

log = logging.getLogger(__name__)

_TURN_S = 1.0
_STATUS_EVERY_S = 5.0
_ESCALATE_EVERY_S = 5.0
_RECORD_EVERY_S = 2.0
#: Without systemd's word for it.
_WATCHDOG_DEFAULT_S = 60.0
#: A lane that sends has half a minute for a far side.
_END_S = 40.0
_TOLD_KEPT_NS = 400 * 86_400 * 10**9
_NO_LEDGER = "evidence is not signed: the configuration names no roots, no center, or not whose ledger it is"


#: What a reload leaves as it was: where state lies, and whose ledger has the evidence, in which centers.
_FOR_A_RESTART = ("state_dir", "signing", "centers", "systems")


def run_duty(
    config: Config,
    clock: Clock,
    *,
    talk: Callable[[str], None],
    stop: Stop | None = None,
    reread: Callable[[], Config] | None = None,
) -> int:
    """Run until SIGTERM or SIGINT; gives the exit code. ``reread`` gives the configuration as it is at a SIGHUP.

    Raises:
        LockedError: a duty daemon runs on this state directory already.
        ConfigurationError, IntegrityError, TryAgainError: it cannot begin.
    """
    if stop is None:
        stop = Stop()
        stop.on_signals()
    with DutyRun(config, clock) as run, _hangups(reread is not None) as hangups:
        watchdog_s = _watchdog_s()
        notify("READY=1")
        talk(f"duty: {len(run.duty.sources)} sources")
        due = clock.monotonic()
        is_busy = False
        while not stop.is_set:
            if clock.monotonic() >= due:
                due = clock.monotonic() + watchdog_s
                notify(f"WATCHDOG=1\nSTATUS={run.words()}")
            if reread is not None and hangups.came:
                hangups.came = False
                notify("RELOADING=1")
                talk(run.reload(reread))
                notify("READY=1")
            is_busy = run.turn(0.0 if is_busy else _TURN_S)
        notify("STOPPING=1")
    return 0


class DutyRun:
    """A daemon with its lanes; a context manager. :meth:`turn` is one round of everything."""

    def __init__(self, config: Config, clock: Clock) -> None:
        """Raises as :func:`run_duty`."""
        self._clock = clock
        self._folder = config.state_dir / "incidents"
        self._loaded_at = clock.now()
        #: Why the configuration that was read last is not followed, and what of it waits for a restart.
        self._rejected, self._for_a_restart = "", tuple[str, ...]()
        self._due: dict[str, float] = {}
        self._signed_count = 0
        self._last_signed = Signed(0, None, ())
        self._calls = {"waiting": 0, "unreached": 0}
        self._response_problems: tuple[str, ...] = ()
        with ExitStack() as stack:
            busy = f"a duty daemon runs already on {self._folder}"
            stack.enter_context(held_lock(self._folder / "duty.lock", busy=busy))
            self._open(config)
            self._stack = stack.pop_all()

    def _open(self, config: Config) -> None:
        """Everything that works by the configuration. Raises as :func:`run_duty`; then nothing is open."""
        ledger, clock = ledger_system(config), self._clock
        with ExitStack() as stack:
            duty = stack.enter_context(Duty(config, clock, has_ledger=ledger is not None))
            escalation = stack.enter_context(open_escalation(config))
            self._config, self.duty, self._escalation = config, duty, escalation
            # What lanes said that may not be there any more.
            self._response_problems = ()
            if ledger is None:
                self._last_signed = Signed(0, None, ())
            self._send = sending(config, clock)
            self._sign = None if ledger is None else signing(config, clock, ledger)
            self._drill = drilling(config, clock)
            self._respond = responding(config, clock) if has_responses(config) else None
            for lane in self._lanes():
                stack.callback(lane.close, _END_S)
            self._parts = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(GovsecError):
            self._tell_status()
        self._parts.close()
        self._stack.close()

    def reload(self, reread: Callable[[], Config]) -> str:
        """Follow the configuration as it is now, if it is good; gives in words what came of it.

        Raises:
            As :func:`run_duty`: neither the new one nor the one before can be followed any more.
        """
        try:
            fresh = reread()
            kept = {name: getattr(self._config, name) for name in _FOR_A_RESTART}
            self._for_a_restart = tuple(name for name, value in kept.items() if getattr(fresh, name) != value)
            fresh = fresh.model_copy(update=kept)
            self._try_out(fresh)
        except GovsecError as error:
            return self._reject(error)
        before, duty = self._config, self.duty
        self._parts.close()
        try:
            self._open(fresh)
        except GovsecError as error:
            self._open(before)
            self.duty.carry_on(duty)
            return self._reject(error)
        self.duty.carry_on(duty)
        self._rejected, self._loaded_at = "", self._clock.now()
        log.warning("configuration read again", extra={"for_a_restart": list(self._for_a_restart)})
        left = "".join(f"; {name}: restart" for name in self._for_a_restart)
        return f"duty: the configuration was read again, {len(self.duty.sources)} sources{left}"

    def _reject(self, error: GovsecError) -> str:
        self._rejected = str(error)
        log.error("configuration not taken", extra={"error": str(error)})
        return f"duty: the configuration was not taken, the one before is followed on: {error}"

    def _try_out(self, fresh: Config) -> None:
        """What can be built beside what runs. Raises as :func:`run_duty`."""
        build_channels(fresh, self._clock)
        workdays_of(fresh.notify)
        ledger_system(fresh)
        if has_responses(fresh):
            check_live(fresh.response.live)
            load_playbooks(fresh)
        end = self._clock.monotonic() + _END_S
        for lane in self._lanes():
            # Two of a lane at once would each believe that it alone signs, and sends, what is next.
            lane.wait(max(0.0, end - self._clock.monotonic()))
            if lane.is_running:
                raise TryAgainError(f"lane {lane.name} has work that does not end; reload again")

    def turn(self, wait_s: float) -> bool:
        """Findings first, then what else is due; True when there was something to do. Raises nothing of ours."""
        is_busy = self.duty.step(wait_s)
        kept_count = self.duty.counts["notices_kept"]
        is_news = kept_count != self._due.get("kept_count", 0)
        self._due["kept_count"] = kept_count
        more = self._send.step(is_wanted=is_news or bool(self._due.pop("send_more", 0)))
        if more:
            self._due["send_more"] = 1
        for name, every_s, work in (
            ("escalation", _ESCALATE_EVERY_S, self._escalate),
            ("evidence", _RECORD_EVERY_S, self._record_notices),
            ("status", _STATUS_EVERY_S, self._tell_status),
        ):
            if self._is_due(name, every_s):
                with self.duty.part(name):
                    work()
        if self._sign is not None and (signed := self._sign.step()) is not None:
            self._signed_count += signed.entries_count
            self._last_signed = signed
        if self._respond is not None and (responded := self._respond.step()) is not None:
            self._response_problems = responded.problems
            with self.duty.part("responses"):
                self.duty.tell_once(responded.notices)
        if self._drill is not None and (taken := self._drill.step()) is not None:
            with self.duty.part("drills"):
                self._take_drills(taken)
        return is_busy

    def settle(self, *, turns_max: int = 100) -> None:
        """Turns until nothing is left to do now, then all lanes to their end: for one run by hand."""
        for _ in range(turns_max):
            is_busy = self.turn(0.0)
            for lane in self._lanes():
                lane.wait(_END_S)
            if not is_busy and not self._due.get("send_more") and not self._has_results():
                break
        with self.duty.part("evidence"):
            self._record_notices()
        if self._sign is not None:
            self._sign.step(is_wanted=True)
            self._sign.wait(_END_S)
            self.turn(0.0)

    def status(self) -> dict[str, JsonValue]:
        """How it is; ``problems`` is empty when all is well."""
        sources: dict[str, JsonValue] = {}
        for source in self.duty.sources:
            try:
                state = source.state()
            except GovsecError as error:
                sources[source.name] = {"trouble": str(error)}
                continue
            waiting = None if state is None else state.head_sequence - state.acknowledged
            sources[source.name] = {"is_there": state is not None, "records_behind": waiting}
        outbox: dict[str, JsonValue] = {**self.duty.outbox.counters()}
        head = self._last_signed.head
        return {
            "time": format_time(self._clock.now()),
            "configuration": {
                "loaded_at": format_time(self._loaded_at),
                "rejected": self._rejected or None,
                "for_a_restart": [*self._for_a_restart],
            },
            "sources": sources,
            "counters": {**self.duty.counters()},
            "outbox": outbox,
            "cases_followed": self.duty.cases.followed_count,
            "findings_beyond": {**self.duty.beyond()},
            "escalation": {**self._calls},
            "ledger": {
                "is_signed": self._sign is not None,
                "evidence_waiting": self.duty.evidence.waiting_count(),
                "entries_signed": self._signed_count,
                "head_not_anchored": None if head is None else f"{head.chain}:{head.number}:{head.digest}",
            },
            "problems": list(self._problems()),
        }

    def words(self) -> str:
        """How it is, in one line for systemd."""
        problems = list(self._problems())
        counts = self.duty.counts
        return f"{counts['findings']} findings, {counts['cases_opened']} cases" + (
            f"; {problems[0]}"[:200] if problems else ""
        )

    def _problems(self) -> Iterator[str]:
        if self._rejected:
            yield f"configuration not taken, the one before is followed on: {self._rejected}"
        yield from (f"{name}: changed in the configuration, restart" for name in self._for_a_restart)
        yield from (f"{part}: {why}" for part, why in self.duty.troubles.items())
        yield from (lane.trouble for lane in self._lanes() if lane.trouble)
        yield from (f"case {case}: {why}" for case, why in self.duty.cases.unreadable.items())
        yield from (f"response: {why}" for why in self._response_problems)
        yield from (f"ledger not anchored: {why}" for why in self._last_signed.missing)
        if not self._config.notify.routes:
            yield "notify.routes: nobody is told of anything"
        elif count := self.duty.counts["notices_for_nobody"]:
            yield f"{count} notices fitted no route: nobody was told of them"
        if count := self._calls["unreached"]:
            yield f"{count} cases that nobody could be called for"
        if self._sign is None and self._config.signing.evidence_key_file is not None:
            yield _NO_LEDGER

    def _lanes(self) -> tuple[Work[Any], ...]:
        lanes: tuple[Work[Any] | None, ...] = (self._send, self._sign, self._drill, self._respond)
        return tuple(lane for lane in lanes if lane is not None)

    def _has_results(self) -> bool:
        return any(lane.has_result for lane in self._lanes())

    def _escalate(self) -> None:
        called = escalate(self._config, self.duty.store, self._escalation, self.duty.outbox, self._clock.now())
        self._calls = {"waiting": called.waiting_count, "unreached": called.unreached_count}
        self.duty.counts["calls"] += called.calls_count
        self.duty.counts["notices_kept"] += called.calls_count

    def _record_notices(self) -> None:
        if self._sign is not None:
            record_notices(self.duty.outbox, self.duty.evidence)

    def _take_drills(self, taken: tuple[Taken, ...]) -> None:
        news = [one for one in taken if not self.duty.is_told(one.origin)]
        if news:
            self.duty.inject(news)
        for one in taken:
            # Also what is old: what holds is remembered, however long it does.
            self.duty.mark_told(one.origin, to_ns(self._clock.now()), _TOLD_KEPT_NS)

    def _tell_status(self) -> None:
        write_status(self._config, self.status())

    def _is_due(self, name: str, every_s: float) -> bool:
        now = self._clock.monotonic()
        if now < self._due.get(name, 0.0):
            return False
        self._due[name] = now + every_s
        return True


class _Hangups:
    """Whether one came. Without a lock: the handler runs between two steps of whoever would hold it."""

    came = False

    def note(self, *_: object) -> None:
        """The handler."""
        self.came = True


@contextlib.contextmanager
def _hangups(is_wanted: bool) -> Iterator[_Hangups]:
    """Told by SIGHUP while the block runs, where that is wanted."""
    hangups = _Hangups()
    if not is_wanted:
        yield hangups
        return
    before = signal.signal(signal.SIGHUP, hangups.note)
    try:
        yield hangups
    finally:
        signal.signal(signal.SIGHUP, before)


def _watchdog_s() -> float:
    """A third of what systemd allows. Source: sd_watchdog_enabled(3)."""
    text = os.environ.get("WATCHDOG_USEC", "")
    return int(text) / 3e6 if text.isdigit() and int(text) else _WATCHDOG_DEFAULT_S
