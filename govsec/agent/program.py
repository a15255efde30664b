"""An agent as a program: started, told things by signals and over a socket, watched by systemd, reloaded, ended.

One idea: a plan is made from the configuration by whoever wires agents, and tried out in a process of its own before it
is followed. At a reload a plan that fails changes nothing, and a finding says so; when the program starts with a
configuration that fails, it follows the last one that was good, and says that.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from pydantic import JsonValue

from govsec.agent import control, metrics
from govsec.agent.plans import SPOOL_NAME, Plan, Plans, occupied
from govsec.agent.sayings import CONFIG_APPLIED, CONFIG_REJECTED, SELFTEST_FAILED
from govsec.agent.servers import Servers
from govsec.agent.spool import Spool
from govsec.agent.status import status_of
from govsec.agent.supervisor import Supervisor
from govsec.agent.trial import try_out
from govsec.clock import Clock
from govsec.errors import FormatError, GovsecError, TryAgainError
from govsec.findings.judgement import Measure
from govsec.records import Severity
from govsec.runtime.ticks import Stop, notify

log = logging.getLogger(__name__)

#: Trying out a configuration imports every module's code, on a slow machine from a cold disk.
TRIAL_LIMIT_S = 120.0
_SELFTEST_LIMIT_S = 60.0
_STATUS_EVERY_S = 30.0
#: Without systemd's word for it.
_WATCHDOG_DEFAULT_S = 60.0
_TURN_S = 1.0


def run_agent(plans: Plans, clock: Clock, *, talk: Callable[[str], None] = log.info) -> int:
    """Run until SIGTERM or SIGINT; gives the exit code.

    Raises:
        ConfigurationError: no plan works, not even the last good one; or a place cannot be used.
        LockedError: an agent of this name runs already.
    """
    plan, rejected = _first_plan(plans, clock)
    size_max_bytes = plan.config.spool.size_max_mb << 20
    with occupied(plan), Spool(plan.directory / SPOOL_NAME, clock, size_max_bytes=size_max_bytes) as spool:
        # What is there now stays shared with the modules, as long as the collector does not write into it.
        gc.collect()
        gc.freeze()
        agent = _Agent(plans, plan, spool, clock, talk)
        with agent.signals():
            try:
                agent.run(rejected)
            finally:
                agent.close()
    return 0


def _first_plan(plans: Plans, clock: Clock) -> tuple[Plan, str]:
    """A plan that works, and why it is not the one that is asked for; empty when it is."""
    try:
        plan = plans.load()
        try_out(plan.try_out, clock, TRIAL_LIMIT_S)
    except GovsecError as error:
        good = plans.last_good()
        if good is None:
            raise
        try_out(good.try_out, clock, TRIAL_LIMIT_S)
        return good, str(error)
    plans.keep()
    return plan, ""


class _Agent:
    """The loop around a supervisor: signals, timers, servers."""

    def __init__(self, plans: Plans, plan: Plan, spool: Spool, clock: Clock, talk: Callable[[str], None]) -> None:
        self._plans = plans
        self._plan = plan
        self._clock = clock
        self._talk = talk
        self._stop = Stop()
        self._is_reload_wanted = False
        self._supervisor = Supervisor(plan.name, plan.modules, spool, clock)
        self._servers = Servers(self._supervisor.selector, clock, self._answer, self._metrics_answer)
        self._due: dict[str, float] = {}
        self._is_testing = False
        self._is_ready = False
        self._stamp = _stamp(plans.path)
        self._wake, self._woken = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT end it, SIGHUP reloads; each wakes the loop."""

        def end(number: int, frame: FrameType | None) -> None:
            self._stop.set()

        def reload(number: int, frame: FrameType | None) -> None:
            self._is_reload_wanted = True

        before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, reload)
        waker = signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(waker)
            for number, handler in before.items():
                signal.signal(number, handler)

    def run(self, rejected: str) -> None:
        """Until a signal says so. ``rejected``: why the plan is not the one that was asked for."""
        selector = self._supervisor.selector
        selector.register(self._wake, 1, self._drain)
        self._servers.follow(self._plan)
        if rejected:
            self._tell_rejected(rejected, "the last good configuration is followed")
        watchdog_s = _watchdog_s()
        self._talk(f"agent {self._plan.name}: {len(self._plan.modules)} modules")
        while not self._stop.is_set:
            self._supervisor.step(min(_TURN_S, watchdog_s))
            self._turn(watchdog_s)

    def close(self) -> None:
        """End the modules, answer nobody any more."""
        notify("STOPPING=1")
        self._servers.close()
        with contextlib.suppress(KeyError):
            self._supervisor.selector.unregister(self._wake)
        self._supervisor.shut_down()
        os.close(self._wake)
        os.close(self._woken)

    def _turn(self, watchdog_s: float) -> None:
        config = self._plan.config
        if not self._is_ready and all(life.pid for life in self._supervisor.lives.values()):
            self._is_ready = True
            notify("READY=1")
        if self._is_due("watchdog", watchdog_s):
            notify("WATCHDOG=1")
        if self._is_due("status", _STATUS_EVERY_S):
            notify(f"STATUS={status_of(self._supervisor, self._clock)['words']}")
        if config.metrics.file is not None and self._is_due("metrics", config.metrics.every_s):
            self._write_metrics(config.metrics.file)
        if config.reload_watch_s and self._is_due("watch", config.reload_watch_s):
            stamp = _stamp(self._plans.path)
            self._is_reload_wanted |= stamp != self._stamp
        if config.selftest_every_s and self._is_due("selftest", config.selftest_every_s, is_first_later=True):
            self._begin_selftest(_SELFTEST_LIMIT_S)
        if self._is_reload_wanted:
            self._is_reload_wanted = False
            self.reload()
        if self._is_testing and not self._supervisor.selftest.is_running:
            self._is_testing = False
            self._tell_selftest()
        self._servers.expire()

    def _is_due(self, name: str, every_s: float, *, is_first_later: bool = False) -> bool:
        now = self._clock.monotonic()
        if name not in self._due and is_first_later:
            self._due[name] = now + every_s
        if now < self._due.get(name, 0):
            return False
        self._due[name] = now + every_s
        return True

    def reload(self) -> tuple[tuple[str, ...], str]:
        """Follow the configuration as it is now, if it is good; names of modules that changed, and what is wrong."""
        notify("RELOADING=1")
        self._stamp = _stamp(self._plans.path)
        try:
            plan = self._plans.load()
            with self._supervisor.intake.fork():
                try_out(plan.try_out, self._clock, TRIAL_LIMIT_S)
            changed = self._follow(plan)
        except GovsecError as error:
            self._tell_rejected(str(error), "the one before is followed on")
            return (), str(error)
        finally:
            notify("READY=1")
        return changed, ""

    def _follow(self, plan: Plan) -> tuple[str, ...]:
        before, self._plan = self._plan, plan
        try:
            self._servers.follow(plan)
        except GovsecError:
            self._plan = before
            raise
        changed = self._supervisor.replace(plan.modules)
        self._plans.keep()
        supervisor = self._supervisor
        supervisor.counts["configurations_applied"] += 1
        words = f"The configuration was read again; modules that changed: {', '.join(changed) or 'none'}."
        said = supervisor.sayings.say(
            CONFIG_APPLIED, Severity.INFO, "configuration", words, facts={"changed": list(changed)}, quiet_s=0
        )
        supervisor.intake.say(said)
        return changed

    def _tell_rejected(self, why: str, what: str) -> None:
        supervisor = self._supervisor
        supervisor.counts["configurations_rejected"] += 1
        words = f"The configuration was not taken ({why[:1_000]}); {what}."
        said = supervisor.sayings.say(CONFIG_REJECTED, Severity.MEDIUM, "configuration", words, quiet_s=0)
        supervisor.intake.say(said)

    def _begin_selftest(self, limit_s: float) -> None:
        self._is_testing = True
        self._supervisor.begin_selftest(limit_s)

    def _tell_selftest(self) -> None:
        supervisor = self._supervisor
        report = supervisor.selftest.report()
        supervisor.counts["selftests_passed" if report["passed"] else "selftests_failed"] += 1
        if report["passed"]:
            return
        failed = {
            name: f"{passage.failed_stage}: {passage.error or 'no answer within the limit'}"
            for name, passage in supervisor.selftest.passages.items()
            if passage.failed_stage
        }
        words = "; ".join(f"{name} at {why}" for name, why in failed.items()) or "there are no modules"
        said = supervisor.sayings.say(
            SELFTEST_FAILED,
            Severity.HIGH,
            "selftest",
            f"The self-test failed: {words[:1_500]}.",
            measured={"failed": Measure(len(failed), 0, "modules")},
            facts={"failed": dict(failed)},
            quiet_s=0,
        )
        supervisor.intake.say(said)

    def _answer(self, request: bytes) -> bytes:
        try:
            answer = self._answered(control.read_ask(request))
        except FormatError as error:
            answer = {"error": str(error)}
        return json.dumps(answer).encode() + control.ENDING

    def _answered(self, ask: control.Ask) -> dict[str, JsonValue]:
        if isinstance(ask, control.StatusAsk):
            self._supervisor.measure_memory()
            return status_of(self._supervisor, self._clock)
        if isinstance(ask, control.SelftestAsk):
            if not self._is_testing:
                self._begin_selftest(ask.limit_s)
            return {"running": True}
        if isinstance(ask, control.SelftestReportAsk):
            test = self._supervisor.selftest
            return {"running": self._is_testing and test.is_running, **test.report()}
        changed, error = self.reload()
        return {"applied": not error, "changed": list(changed), "error": error}

    def _metrics_answer(self, request: bytes) -> bytes:
        return metrics.http_answer(request, self._exposition())

    def _exposition(self) -> bytes:
        self._supervisor.measure_memory()
        return metrics.exposition(metrics.samples_of(self._supervisor, self._clock.monotonic()))

    def _write_metrics(self, path: Path) -> None:
        try:
            metrics.write_text_file(path, self._exposition())
        except TryAgainError as error:
            log.warning("metrics not written", extra={"error": str(error)})

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 512)


def _watchdog_s() -> float:
    """A third of what systemd allows. Source: sd_watchdog_enabled(3)."""
    text = os.environ.get("WATCHDOG_USEC", "")
    return int(text) / 3e6 if text.isdigit() and int(text) else _WATCHDOG_DEFAULT_S


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when somebody writes or replaces the file; None when it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
