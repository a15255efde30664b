"""The supervisor: keeps an agent's modules running within their budgets, and brings what they find to the disk.

One idea: one loop in one thread. It waits for packets of modules and for its next duty, and each second it looks at
every module: too much of the processor, it is paused until the account is even; too much memory or too long silent, it
is ended and started again, later each time. Everything it does to a module it says, as a finding and in its metrics.

It knows no sensor: modules are functions, handed to it as :class:`~govsec.agent.api.ModuleSpec`. When it dies by any
death its modules die with it. When it stood still itself (a suspended machine), that is not held against them.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import signal
import socket
from collections import Counter
from collections.abc import Callable, Sequence

from govsec.agent.api import ModuleSpec
from govsec.agent.child import CANARY
from govsec.agent.frames import (
    PACKET_SIZE_MAX,
    CanaryFrame,
    FailedFrame,
    FindingFrame,
    LostFrame,
    MetricsFrame,
    UpFrame,
    unpack_up,
)
from govsec.agent.intake import Intake
from govsec.agent.life import Life, State
from govsec.agent.sayings import LOST, QUIET_S, RECOVERED, RESTARTED, STOPPED, THROTTLED, Sayings
from govsec.agent.selftest import SelfTest
from govsec.agent.spool import Spool
from govsec.agent.spoolrecord import Priority
from govsec.agent.usage import pss_of
from govsec.clock import Clock
from govsec.errors import FormatError, TryAgainError
from govsec.findings.judgement import Measure
from govsec.records import Finding, Severity

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0
#: Packets taken of one module before the others have their turn.
_PACKETS_A_TURN = 64
#: A loop that took so long between two looks was not running: the machine stood still.
_STOOD_STILL_S = 5.0
_LOST_TOLD_EVERY_S = 60.0
#: A module with too much memory gets so long to put down what it has.
_MEMORY_STOP_S = 5.0
_METRICS_MAX = 200
#: A process that closed its socket is usually about to be gone.
_CLOSED_S = 2.0
_STOP_POLL_S = 0.2


class Supervisor:
    """Modules, their queues and the spool. Not for threads; its process may have no others when it starts modules."""

    def __init__(self, name: str, modules: Sequence[ModuleSpec], spool: Spool, clock: Clock) -> None:
        """``name``: of the agent (``host``, ``network``). Nothing runs before :meth:`step`."""
        self.name = name
        self.sayings = Sayings(name, clock)
        self.intake = Intake(name, spool, self.sayings, clock)
        self.lives = {spec.name: Life(spec, clock) for spec in modules}
        self.counts: Counter[str] = Counter()
        self.selftest = SelfTest(clock)
        self.selector = selectors.DefaultSelector()
        self.started_at = clock.monotonic()
        self._clock = clock
        self._looked_at = clock.monotonic()
        self._lost: Counter[tuple[str, str, str]] = Counter()
        self._lost_told_at = 0.0

    def step(self, timeout_s: float = 1.0) -> None:
        """Wait for something to do, at most ``timeout_s``, and do it."""
        for key, _ in self.selector.select(max(0.0, min(timeout_s, self._due_in()))):
            ready: Callable[[], None] = key.data
            ready()
        now = self._clock.monotonic()
        self._resume_and_start(now)
        if now - self._looked_at >= _LOOK_EVERY_S:
            self._look(now)
        flushed = self.intake.flush(is_read_back=self.selftest.is_running)
        self.selftest.arrived(flushed, self.intake.trouble)

    def replace(self, modules: Sequence[ModuleSpec]) -> tuple[str, ...]:
        """Run these modules from now on; those that did not change go on. Gives the names of those that did."""
        wanted = {spec.name: spec for spec in modules}
        changed = [name for name, life in self.lives.items() if name not in wanted or wanted[name] != life.spec]
        new = [name for name in wanted if name not in self.lives]
        for name in changed:
            life = self.lives[name]
            if name in wanted:
                life.next_spec = wanted[name]
            else:
                life.is_leaving = True
            life.backoff.in_row = 0
            life.stop("reload", life.spec.budget.stop_s)
            if not life.pid:
                self._turn_over(life)
        for name in new:
            self.lives[name] = Life(wanted[name], self._clock)
        return tuple(sorted([*changed, *new]))

    def begin_selftest(self, limit_s: float) -> None:
        """Send a canary through every module; see :attr:`selftest`."""
        self.selftest.begin(limit_s)
        for name, life in self.lives.items():
            nonce = self.selftest.add(name)
            if life.state is not State.RUNNING:
                self.selftest.fail(name, f"the module is {life.state.value}")
            elif not life.send(CanaryFrame(nonce=nonce)):
                self.selftest.fail(name, "the module does not take messages")

    def shut_down(self) -> None:
        """End every module within its limit, take what it still says, and write it down."""
        for life in self.lives.values():
            life.is_leaving = True
            life.stop("shutdown", life.spec.budget.stop_s)
        while any(life.pid for life in self.lives.values()):
            self.step(_STOP_POLL_S)
            self._look(self._clock.monotonic())
        self.intake.flush()
        self.selector.close()

    def measure_memory(self) -> None:
        """Ask the kernel what each module's memory is, for metrics; it walks all pages for that."""
        for life in self.lives.values():
            if life.pid:
                life.pss_bytes = pss_of(life.usage.processes or (life.pid,))

    def _due_in(self) -> float:
        now = self._clock.monotonic()
        due = [self._looked_at + _LOOK_EVERY_S]
        due += [life.resume_at for life in self.lives.values() if life.state is State.THROTTLED]
        due += [life.start_at for life in self.lives.values() if life.state is State.WAITING]
        return min(due) - now

    def _resume_and_start(self, now: float) -> None:
        for life in self.lives.values():
            if life.state is State.THROTTLED and now >= life.resume_at:
                life.resume()
        waiting = [life for life in self.lives.values() if life.state is State.WAITING and not life.is_leaving]
        due = [life for life in waiting if now >= life.start_at]
        if not due:
            return
        with self.intake.fork():
            for life in due:
                self._start(life, now)

    def _start(self, life: Life, now: float) -> None:
        try:
            life.start()
        except TryAgainError as error:
            log.error("module not started", extra={"agent_module": life.spec.name, "error": str(error)})
            life.start_at = now + life.backoff.next_s(0)
            return
        assert life.end is not None  # it was started
        self.selector.register(life.end, selectors.EVENT_READ, lambda: self._read(life))

    def _read(self, life: Life) -> None:
        """One turn of packets. While the disk takes nothing and too much waits, none: the module's queue fills."""
        if self.intake.is_full:
            life.heard_at = self._clock.monotonic()
            self._clock.sleep(0.05)  # the socket stays ready; without this the loop would spin
            return
        for _ in range(_PACKETS_A_TURN):
            if not self._read_one(life):
                return

    def _read_one(self, life: Life) -> bool:
        if life.end is None or life.is_closed:
            return False
        try:
            packet, _, flags, _ = life.end.recvmsg(PACKET_SIZE_MAX)
        except BlockingIOError:
            return False
        except OSError:
            packet, flags = b"", 0
        if not packet:
            # It ends, or closed its side, or sent an empty packet, which no module of ours does.
            self._unlisten(life)
            life.is_closed = True
            return False
        life.heard_at = self._clock.monotonic()
        try:
            if flags & socket.MSG_TRUNC:
                raise FormatError(f"a packet is larger than {PACKET_SIZE_MAX} bytes")
            self._take(life, unpack_up(packet))
        except FormatError as error:
            life.counts["packets_refused"] += 1
            self._count_lost(life, "queue", "not_a_frame", 1)
            log.warning("packet refused", extra={"agent_module": life.spec.name, "error": str(error)})
        return True

    def _unlisten(self, life: Life) -> None:
        if life.end is not None:
            with contextlib.suppress(KeyError):
                self.selector.unregister(life.end)

    def _take(self, life: Life, frame: UpFrame) -> None:
        name = life.spec.name
        if isinstance(frame, FindingFrame):
            self._take_finding(life, frame.finding)
        elif isinstance(frame, LostFrame):
            self._count_lost(life, frame.stage, frame.reason, frame.count)
        elif isinstance(frame, MetricsFrame):
            for metric in frame.metrics:
                place = (metric.name, tuple(sorted(metric.labels.items())))
                is_ours = metric.name.startswith("agent_")  # a module measures its world, not its supervisor
                if not is_ours and (place in life.metrics or len(life.metrics) < _METRICS_MAX):
                    life.metrics[place] = metric
        elif isinstance(frame, CanaryFrame):
            self.selftest.seen(name, frame.nonce)
        elif isinstance(frame, FailedFrame):
            life.said = frame.reason

    def _take_finding(self, life: Life, finding: Finding) -> None:
        name = life.spec.name
        if finding.kind.startswith("agent."):
            # A module speaks of what it sees, never in the agent's own name: only of the canary it was asked for.
            if finding.kind != CANARY or not self.selftest.queued(name, str(finding.facts.get("nonce"))):
                life.counts["packets_refused"] += 1
                self._count_lost(life, "queue", "not_its_kind", 1)
                return
        elif not life.rate.take(self._clock.monotonic()):
            self._count_lost(life, "queue", "rate", 1)
            self.intake.lose(Priority.FINDING, "rate", 1)
            return
        life.counts["findings"] += 1
        self.intake.take(name, finding)

    def _count_lost(self, life: Life, stage: str, reason: str, count: int) -> None:
        life.counts["lost"] += count
        self._lost[life.spec.name, stage, reason] += count

    def _look(self, now: float) -> None:
        stood_still_s = now - self._looked_at - _LOOK_EVERY_S
        self._looked_at = now
        for life in list(self.lives.values()):
            if stood_still_s > _STOOD_STILL_S:
                life.heard_at += stood_still_s
            self._look_at(life, now)
        if self._lost and now - self._lost_told_at >= _LOST_TOLD_EVERY_S:
            self._lost_told_at = now
            self._tell_losses()

    def _look_at(self, life: Life, now: float) -> None:
        if not life.pid:
            return
        if life.is_running():
            self._judge(life, now)
            return
        while self._read_one(life):  # what it said last
            pass
        self._unlisten(life)
        lived_s = now - life.started_at
        code = life.has_ended()
        assert code is not None  # it does not run
        self._after_end(life, code, lived_s, now)

    def _judge(self, life: Life, now: float) -> None:
        """Budgets, the hardest measure last: what is paused or being ended is not judged by its silence."""
        budget = life.spec.budget
        life.measure()
        if life.state is State.STOPPING:
            if now >= life.kill_at:
                life.kill(life.reason)
            return
        if life.usage.rss_bytes > budget.memory_max_bytes:
            life.pss_bytes = pss_of(life.usage.processes)
            if life.pss_bytes > budget.memory_max_bytes:
                life.counts["over_memory"] += 1
                life.over_bytes = life.pss_bytes
                life.stop("memory", min(_MEMORY_STOP_S, budget.stop_s))
                return
        if life.state is State.THROTTLED:
            return
        if now - life.heard_at > (_CLOSED_S if life.is_closed else budget.hang_s):
            life.kill("closed" if life.is_closed else "hang")
            return
        pause_s = life.cpu.pause_s(now, life.usage.cpu_s)
        if pause_s > 0:
            life.pause(pause_s)
            self._tell_throttled(life)
        elif life.is_in_loop and now - life.started_at >= life.backoff.calm_s:
            life.is_in_loop = False
            self._say(RECOVERED, Severity.INFO, life, "runs again and has done so for a while", quiet_s=0)

    def _after_end(self, life: Life, code: int, lived_s: float, now: float) -> None:
        name, reason = life.spec.name, life.reason or ("killed" if code < 0 else "failed" if code else "ended")
        if life.is_leaving or life.next_spec is not None:
            self._turn_over(life)
            return
        life.restarts[reason] += 1
        pause_s = life.backoff.next_s(lived_s)
        life.start_at = now + pause_s
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        words = f"ended after {lived_s:.0f} s ({reason}, {how}{': ' + life.said if life.said else ''})"
        log.warning(
            "module ended", extra={"agent_module": name, "reason": reason, "how": how, "again_in_s": round(pause_s)}
        )
        measured = {"restarts": Measure(sum(life.restarts.values())), "lived": Measure(lived_s, unit="s")}
        if reason == "memory":
            measured["memory"] = Measure(life.over_bytes, life.spec.budget.memory_max_bytes, "bytes")
        elif reason == "hang":
            measured["silence"] = Measure(now - life.heard_at, life.spec.budget.hang_s, "s")
        if life.backoff.is_loop:
            if not life.is_in_loop:
                life.is_in_loop = True
                measured["in_row"] = Measure(life.backoff.in_row, life.backoff.loop_after, "restarts")
                words += f"; it does so again and again, and is tried again in {pause_s:.0f} s at the latest hourly"
                self._say(STOPPED, Severity.HIGH, life, words, reason="crash_loop", measured=measured, quiet_s=0)
            return
        words += f"; it is started again in {pause_s:.1f} s"
        self._say(RESTARTED, Severity.MEDIUM, life, words, reason=reason, measured=measured, quiet_s=0)

    def _turn_over(self, life: Life) -> None:
        """A module that ended because of a reload: it goes, or another of its name begins."""
        if life.next_spec is not None:
            self.lives[life.spec.name] = Life(life.next_spec, self._clock)
        else:
            del self.lives[life.spec.name]

    def _tell_throttled(self, life: Life) -> None:
        self._say(
            THROTTLED,
            Severity.LOW,
            life,
            f"used more of the processor than its {life.spec.budget.cpu_percent_max:g} %, and is paused at times",
            measured={
                "paused": Measure(life.throttled_s, unit="s"),
                "processor": Measure(life.usage.cpu_s, unit="s"),
                "share": Measure(life.cpu.share_percent, life.spec.budget.cpu_percent_max, "%"),
            },
        )

    def _tell_losses(self) -> None:
        """One finding a module with what was lost since the last time."""
        for name in sorted({name for name, _, _ in self._lost}):
            lost = {f"{stage}:{reason}": count for (of, stage, reason), count in self._lost.items() if of == name}
            life = self.lives.get(name)
            finding = self.sayings.say(
                LOST,
                Severity.MEDIUM,
                name,
                f"Module {name} lost {sum(lost.values())} records: "
                + ", ".join(f"{place} {count}" for place, count in sorted(lost.items())[:10]),
                measured={"lost": Measure(sum(lost.values()), 0, "records")},
                facts={"lost": dict(sorted(lost.items())), "since_start": life.counts["lost"] if life else None},
                quiet_s=0,
            )
            self.intake.say(finding)
        self._lost.clear()

    def _say(
        self,
        kind: str,
        severity: Severity,
        life: Life,
        words: str,
        *,
        reason: str = "",
        measured: dict[str, Measure] | None = None,
        quiet_s: float = QUIET_S,
    ) -> None:
        summary = f"Module {life.spec.name} of agent {self.name} {words}."
        about = life.spec.name
        self.intake.say(
            self.sayings.say(kind, severity, about, summary, reason=reason, measured=measured, quiet_s=quiet_s)
        )
