"""An agent as a program: started, told things by signals and over a socket, watched by systemd, reloaded, ended.

One idea: a plan is made from the configuration by whoever wires agents, and tried out in a process of its own before it
is followed. At a reload a plan that fails changes nothing, and a finding says so; when the program starts with a
configuration that fails, it follows the last one that was good, and says that.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

from pydantic import JsonValue

from govsec.agent import control, metrics
from govsec.agent.api import ModuleSpec
from govsec.agent.localserver import LocalServer, listen_port, listen_unix
from govsec.agent.sayings import CONFIG_APPLIED, CONFIG_REJECTED, SELFTEST_FAILED
from govsec.agent.spool import Spool
from govsec.agent.status import status_of
from govsec.agent.supervisor import Supervisor
from govsec.agent.trial import try_out
from govsec.agententry import AgentConfig
from govsec.clock import Clock
from govsec.errors import ConfigurationError, FormatError, GovsecError, LockedError, TryAgainError
from govsec.findings.judgement import Measure
from govsec.privatefile import make_private_directory
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


@dataclass(frozen=True, slots=True)
class Plan:
    """What an agent is to do. ``try_out`` imports and builds what the modules will need, and raises what is wrong."""

    name: str
    config: AgentConfig
    #: Private to the agent: spool, lock, the last good configuration.
    directory: Path
    modules: Sequence[ModuleSpec]
    try_out: Callable[[], None]


class Plans(Protocol):
    """Where plans come from, and which was the last good one."""

    #: The configuration's file.
    path: Path

    def load(self) -> Plan:
        """The plan by the configuration as it is now. Raises ``GovsecError``."""
        ...

    def keep(self) -> None:
        """The plan that was loaded last is good: remember it beyond this process, as well as one can."""
        ...

    def last_good(self) -> Plan | None:
        """The plan that was kept last; None when there is none, or it does not work any more."""
        ...


def run_agent(plans: Plans, clock: Clock, *, talk: Callable[[str], None] = log.info) -> int:
    """Run until SIGTERM or SIGINT; gives the exit code.

    Raises:
        ConfigurationError: no plan works, not even the last good one; or a place cannot be used.
        LockedError: an agent of this name runs already.
    """
    plan, rejected = _first_plan(plans, clock)
    with _places(plan), Spool(_spool_path(plan), clock, size_max_bytes=_spool_size(plan)) as spool:
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
        self._servers: list[LocalServer] = []
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
        self._open_servers()
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
        for server in self._servers:
            server.close()
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
        for server in self._servers:
            server.expire()

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
        servers = (before.config.metrics, before.config.run_dir) != (plan.config.metrics, plan.config.run_dir)
        if servers:
            self._reopen_servers(before)
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

    def _reopen_servers(self, before: Plan) -> None:
        for server in self._servers:
            server.close()
        self._servers = []
        try:
            self._open_servers()
        except GovsecError:
            self._plan = before
            self._open_servers()
            raise

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

    def _open_servers(self) -> None:
        config = self._plan.config
        selector = self._supervisor.selector
        asked = listen_unix(control_path(config.run_dir, self._plan.name), 0o600)
        self._servers.append(
            LocalServer(selector, asked, self._answer, self._clock, ending=control.ENDING, admits=control.is_admitted)
        )
        listeners = []
        if config.metrics.port is not None:
            listeners.append(listen_port(config.metrics.address, config.metrics.port))
        if config.metrics.socket is not None:
            listeners.append(listen_unix(config.metrics.socket, 0o666))
        for listener in listeners:
            server = LocalServer(selector, listener, self._metrics_answer, self._clock, ending=b"\r\n\r\n")
            self._servers.append(server)

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


def control_path(run_dir: Path, name: str) -> Path:
    """Where the agent ``name`` is asked."""
    return run_dir / f"govsec-{name}" / "control.sock"


@contextlib.contextmanager
def _places(plan: Plan) -> Iterator[None]:
    """The agent's directories, and the lock that there is one agent of this name."""
    try:
        make_private_directory(plan.directory)
        make_private_directory(control_path(plan.config.run_dir, plan.name).parent)
        descriptor = os.open(plan.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(f"agent {plan.name}: {error.filename}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockedError(f"an agent {plan.name} runs already on {plan.directory}") from error
        yield
    finally:
        os.close(descriptor)


def _spool_path(plan: Plan) -> Path:
    return plan.directory / "spool.db"


def _spool_size(plan: Plan) -> int:
    return plan.config.spool.size_max_mb << 20


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
