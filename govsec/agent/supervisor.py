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
    KeptFrame,
    LostFrame,
    MetricsFrame,
    UpFrame,
    unpack_up,
)
from govsec.agent.intake import Intake
from govsec.agent.life import Life, State
from govsec.agent.modulesayings import ModuleSayings
from govsec.agent.sayings import Sayings
from govsec.agent.selftest import SelfTest
from govsec.agent.spool import Spool
from govsec.agent.spoolrecord import Priority
from govsec.agent.usage import pss_of
from govsec.clock import Clock
from govsec.errors import FormatError, TryAgainError
from govsec.records import Finding

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
_CLOSED_S = 10.0
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
        self._said = ModuleSayings(name, self.sayings, self.intake)
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
        if not len(self.intake):
            self._tell_kept()

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

    def _tell_kept(self) -> None:
        """Nothing waits: what modules asked about is on the disk, for they asked behind it."""
        for life in self.lives.values():
            if life.mark and life.send(KeptFrame(number=life.mark)):
                life.mark = 0

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
            self._said.lost(life, "queue", "not_a_frame", 1)
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
            self._said.lost(life, frame.stage, frame.reason, frame.count)
        elif isinstance(frame, MetricsFrame):
            for metric in frame.metrics:
                place = (metric.name, tuple(sorted(metric.labels.items())))
                is_ours = metric.name.startswith("agent_")  # a module measures its world, not its supervisor
                if not is_ours and (place in life.metrics or len(life.metrics) < _METRICS_MAX):
                    life.metrics[place] = metric
        elif isinstance(frame, CanaryFrame):
            self.selftest.seen(name, frame.nonce)
        elif isinstance(frame, KeptFrame):
            life.mark = frame.number
        elif isinstance(frame, FailedFrame):
            life.said = frame.reason

    def _take_finding(self, life: Life, finding: Finding) -> None:
        name = life.spec.name
        if finding.kind.startswith("agent."):
            # A module speaks of what it sees, never in the agent's own name: only of the canary it was asked for.
            if finding.kind != CANARY or not self.selftest.queued(name, str(finding.facts.get("nonce"))):
                life.counts["packets_refused"] += 1
                self._said.lost(life, "queue", "not_its_kind", 1)
                return
        elif not life.rate.take(self._clock.monotonic()):
            self._said.lost(life, "queue", "rate", 1)
            self.intake.lose(Priority.FINDING, "rate", 1)
            return
        life.counts["findings"] += 1
        self.intake.take(name, finding)

    def _look(self, now: float) -> None:
        stood_still_s = now - self._looked_at - _LOOK_EVERY_S
        self._looked_at = now
        for life in list(self.lives.values()):
            if stood_still_s > _STOOD_STILL_S:
                life.heard_at += stood_still_s
            self._look_at(life, now)
        if now - self._lost_told_at >= _LOST_TOLD_EVERY_S:
            self._lost_told_at = now
            self._said.tell_lost()

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
            self._said.throttled(life)
        elif life.is_in_loop and now - life.started_at >= life.backoff.calm_s:
            self._said.recovered(life)

    def _after_end(self, life: Life, code: int, lived_s: float, now: float) -> None:
        reason = life.reason or ("killed" if code < 0 else "failed" if code else "ended")
        if life.is_leaving or life.next_spec is not None:
            self._turn_over(life)
            return
        life.restarts[reason] += 1
        pause_s = life.backoff.next_s(lived_s)
        life.start_at = now + pause_s
        self._said.ended(life, reason, code, lived_s, pause_s)

    def _turn_over(self, life: Life) -> None:
        """A module that ended because of a reload: it goes, or another of its name begins."""
        if life.next_spec is not None:
            self.lives[life.spec.name] = Life(life.next_spec, self._clock)
        else:
            del self.lives[life.spec.name]
