"""One module's life: its process begins, is measured, paused, told to end, killed, waited for, begun again.

This is the edge to the kernel; what should happen is decided by the supervisor and :mod:`govsec.agent.budget`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections import Counter
from enum import StrEnum

from govsec.agent.api import ModuleSpec
from govsec.agent.budget import Backoff, CpuBudget, RateBudget
from govsec.agent.child import run_child
from govsec.agent.frames import DownFrame, Metric, StopFrame, pack
from govsec.agent.usage import Usage, usage_of
from govsec.clock import Clock
from govsec.errors import TryAgainError


class State(StrEnum):
    """What a module does now."""

    RUNNING = "running"
    #: Paused, because it used more of the processor than it may.
    THROTTLED = "throttled"
    #: Told to end, and not gone yet.
    STOPPING = "stopping"
    #: Not there; to be started again later.
    WAITING = "waiting"


class Life:
    """A module and, most of the time, its process. ``pid`` is 0 while there is none."""

    def __init__(self, spec: ModuleSpec, clock: Clock) -> None:
        self.spec = spec
        self.state = State.WAITING
        self.pid = 0
        self.end: socket.socket | None = None
        self.backoff = Backoff()
        self.rate = RateBudget(spec.budget.findings_per_minute_max)
        self.cpu = CpuBudget(spec.budget.cpu_percent_max)
        self.usage = Usage(0.0, 0, ())
        self.pss_bytes = 0
        self.counts: Counter[str] = Counter()
        self.restarts: Counter[str] = Counter()
        self.throttled_s = 0.0
        self.cpu_before_s = 0.0
        self.metrics: dict[tuple[str, tuple[tuple[str, str], ...]], Metric] = {}
        #: Monotonic times: begun, last heard of, may go on, is killed, is started.
        self.started_at = self.heard_at = self.resume_at = self.kill_at = 0.0
        self.start_at = clock.monotonic()
        #: Why it is being ended, or said that it ends.
        self.reason = ""
        self.said = ""
        #: It wants to know when all that came before this mark of its is on the disk; 0: it asked for nothing.
        self.mark = 0
        #: It closed its side of the socket, or sent what no module sends.
        self.is_closed = False
        #: Not to be started again, or to be started as another.
        self.is_leaving = False
        self.next_spec: ModuleSpec | None = None
        #: It was told that the module ends again and again.
        self.is_in_loop = False
        #: What its memory was when it was too much.
        self.over_bytes = 0
        self._clock = clock

    def start(self) -> None:
        """Fork. Raises ``TryAgainError`` when the machine has no process to give."""
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        except OSError as error:
            raise TryAgainError(f"module {self.spec.name} cannot be started: {error.strerror}") from error
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            ours.close()
            theirs.close()
            raise TryAgainError(f"module {self.spec.name} cannot be started: {error.strerror}") from error
        if pid == 0:
            run_child(self.spec, theirs, parent, self._clock)
        theirs.close()
        ours.setblocking(False)
        now = self._clock.monotonic()
        self.pid, self.end, self.state = pid, ours, State.RUNNING
        self.started_at = self.heard_at = now
        self.reason = self.said = ""
        self.mark = 0
        self.is_closed = False
        self.cpu = CpuBudget(self.spec.budget.cpu_percent_max)
        self.usage = Usage(0.0, 0, ())

    def send(self, frame: DownFrame) -> bool:
        """False when it does not listen."""
        if self.end is None:
            return False
        try:
            self.end.send(pack(frame))
        except OSError:  # full, or gone; whoever waits for an answer has a limit
            return False
        return True

    def pause(self, seconds: float) -> None:
        """Stop it and what it started for so long."""
        self._signal(signal.SIGSTOP)
        self.state = State.THROTTLED
        self.resume_at = self._clock.monotonic() + seconds
        self.throttled_s += seconds
        self.counts["throttlings"] += 1

    def resume(self) -> None:
        """Let it go on; its silence meanwhile is not held against it."""
        self._signal(signal.SIGCONT)
        self.state = State.RUNNING
        self.heard_at = self._clock.monotonic()

    def stop(self, reason: str, limit_s: float) -> None:
        """Tell it to end; it is killed when it has not within ``limit_s``."""
        if not self.pid or self.state is State.STOPPING:
            return
        self.state, self.reason = State.STOPPING, reason
        self.kill_at = self._clock.monotonic() + limit_s
        self.send(StopFrame())
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        self._signal(signal.SIGCONT)

    def kill(self, reason: str) -> None:
        """End it now, and all that it started."""
        self.reason = self.reason or reason
        self._signal(signal.SIGKILL)

    def silent_s(self) -> float:
        """Seconds since it was heard of."""
        return self._clock.monotonic() - self.heard_at

    def measure(self) -> None:
        """Look at what it uses."""
        self.usage = usage_of(self.pid)

    def has_ended(self) -> int | None:
        """Its exit code (negative: the signal) when it is gone; nothing is left of it and its children then."""
        if not self.pid:
            return None
        if self.is_running():
            return None
        # While its number is not given back it names its group: what the module started and left behind.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        try:
            _, status = os.waitpid(self.pid, 0)
        except ChildProcessError:
            status = 0
        self.cpu_before_s += self.usage.cpu_s
        if self.end is not None:
            self.end.close()
        self.pid, self.end, self.state = 0, None, State.WAITING
        self.usage, self.pss_bytes = Usage(0.0, 0, ()), 0
        self.metrics.clear()
        return os.waitstatus_to_exitcode(status)

    def _signal(self, number: signal.Signals) -> None:
        """To its whole group; in the first moments of its life it has none of its own."""
        if not self.pid:
            return
        with contextlib.suppress(PermissionError):
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, number)

    def is_running(self) -> bool:
        """It has not ended."""
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:
            return False
