"""The module's side: its process is made safe, its function runs, its findings are queued and sent.

One idea: the module never waits for its supervisor and never outlives it. Sending does not block (a bounded
:class:`~govsec.agent.outbox.Outbox` takes what does not go), and the kernel kills the process when its parent dies.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from pydantic import JsonValue, ValidationError

from govsec.agent.api import Context, ModuleSpec
from govsec.agent.frames import (
    PACKET_SIZE_MAX,
    AliveFrame,
    CanaryFrame,
    FailedFrame,
    FindingFrame,
    KeptFrame,
    LostFrame,
    Metric,
    MetricsFrame,
    StopFrame,
    UpFrame,
    pack,
    printable,
    storable,
    unpack_down,
)
from govsec.agent.outbox import Outbox
from govsec.clock import Clock
from govsec.errors import FormatError, GovsecError
from govsec.records import Finding, Severity
from govsec.runtime.children import child_environment, die_with

log = logging.getLogger(__name__)

CANARY = "agent.selftest.canary"
_ALIVE_EVERY_S = 1.0
_METRICS_EVERY_S = 5.0
#: Names of metrics that one module may have; more are counted as lost.
_METRICS_MAX = 200
#: Kinds of losses that are told apart.
_LOSSES_MAX = 64
#: Address space for data beyond the budget: what a module may grow by between two looks at its memory.
_DATA_ROOM_BYTES = 512 << 20
#: Of -1000 to 1000: when memory is short, the kernel takes a module before the supervisor.
_OOM_SCORE = "500"
_CODE_UNFORESEEN = 70
_TEXT_MAX = 500


class ChildContext:
    """A :class:`~govsec.agent.api.Context` over one end of a socket pair."""

    def __init__(self, name: str, end: socket.socket, settings: Mapping[str, JsonValue], clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self._name = name
        self._end = end
        self._end.setblocking(False)
        self._outbox = Outbox()
        self._metrics: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self._is_stopped = False
        #: The supervisor is gone.
        self._is_alone = False
        #: Marks that were made, asked about, and answered.
        self._marked = self._asked = self._kept = 0
        self._parent = os.getppid()
        self._told_at = -_ALIVE_EVERY_S
        self._measured_at = 0.0

    def emit(self, finding: Finding) -> None:
        fit = storable(finding)
        if "facts_cut" in fit.facts:
            self.lost("finding", "facts_cut", 1)
        self._outbox.put(fit.severity, pack(FindingFrame(finding=fit)))
        self._send_queued()

    def mark(self) -> int:
        self._marked += 1
        self._send_queued()
        return self._marked

    def kept(self, wait_s: float = 0.0) -> int:
        until = self.clock.monotonic() + wait_s
        self._listen()
        while self._kept < self._marked and not self._is_alone and (left := until - self.clock.monotonic()) > 0:
            self._send_queued()
            poll = select.poll()
            poll.register(self._end, select.POLLIN | (select.POLLOUT if self._asked < self._marked else 0))
            poll.poll(min(left, 1.0) * 1000)
            self._listen()
        return self._kept

    def lost(self, stage: str, reason: str, count: int) -> None:
        losses = self._outbox.losses
        place = (stage, reason) if (stage, reason) in losses or len(losses) < _LOSSES_MAX else ("module", "other")
        losses[place] += count

    def metric(self, name: str, value: float, **labels: str) -> None:
        place = (name, tuple(sorted((label, printable(text)[:200]) for label, text in labels.items())))
        if place not in self._metrics and len(self._metrics) >= _METRICS_MAX:
            self.lost("metrics", "too_many", 1)
            return
        self._metrics[place] = float(value)

    def alive(self) -> bool:
        self._listen()
        self._send_queued()
        now = self.clock.monotonic()
        if now - self._told_at >= _ALIVE_EVERY_S and self._send(AliveFrame()):
            self._told_at = now
            die_with(self._parent)  # a module that gave up its user has lost that tie
        if now - self._measured_at >= _METRICS_EVERY_S:
            self._measured_at = now
            self._send_counts()
        return self._is_stopped

    def wait(self, seconds: float) -> bool:
        until = self.clock.monotonic() + seconds
        while not self.alive():
            left = until - self.clock.monotonic()
            if left <= 0:
                return False
            # Not longer than a quarter of the shortest hang_s that can be configured.
            wanted = select.POLLIN | (select.POLLOUT if len(self._outbox) else 0)
            poll = select.poll()
            poll.register(self._end, wanted)
            poll.poll(max(1.0, min(left, 1.0 if len(self._outbox) else 5.0) * 1000))
        return True

    def stop(self, *_: object) -> None:
        """Let the module end; also a signal's handler."""
        self._is_stopped = True

    def failed(self, reason: str) -> None:
        """Say why the module ends."""
        self._send(FailedFrame(reason=printable(reason)[:_TEXT_MAX]))

    def finish(self, limit_s: float) -> None:
        """Send what is queued, for at most ``limit_s``."""
        until = self.clock.monotonic() + limit_s
        self._send_queued()
        while len(self._outbox) and self.clock.monotonic() < until:
            poll = select.poll()
            poll.register(self._end, select.POLLOUT)
            poll.poll(100)
            self._send_queued()
        self._send_counts()

    def _listen(self) -> None:
        while True:
            try:
                packet = self._end.recv(PACKET_SIZE_MAX)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if not packet:  # the supervisor is gone
                self._is_stopped = self._is_alone = True
                return
            try:
                frame = unpack_down(packet)
            except FormatError as error:
                log.warning("order not understood", extra={"agent_module": self._name, "error": str(error)})
                continue
            if isinstance(frame, StopFrame):
                self._is_stopped = True
            elif isinstance(frame, KeptFrame):
                self._kept = max(self._kept, min(frame.number, self._asked))
            else:
                self._answer(frame)

    def _answer(self, canary: CanaryFrame) -> None:
        self._send(canary)
        self.emit(
            Finding(
                kind=CANARY,
                severity=Severity.INFO,
                time=self.clock.now(),
                subject=f"agent module {self._name}",
                summary=f"Canary of the self-test from module {self._name}: nothing is wrong.",
                facts={"detector": "selftest", "nonce": canary.nonce, "pattern": f"{CANARY}|{self._name}"},
            )
        )

    def _send_queued(self) -> None:
        while (packet := self._outbox.first()) is not None and self._send_packet(packet):
            self._outbox.sent()
        # Behind all that it is about: the queue is empty, and the socket keeps the order.
        if self._asked < self._marked and not len(self._outbox) and self._send(KeptFrame(number=self._marked)):
            self._asked = self._marked

    def _send_counts(self) -> None:
        """Losses and metrics; they wait in their tables when the socket is full."""
        for (stage, reason), count in list(self._outbox.losses.items()):
            try:
                frame = LostFrame(stage=stage, reason=reason, count=count)
            except ValidationError:
                frame = LostFrame(stage="module", reason="misnamed", count=max(1, count))
            if not self._send(frame):
                return
            del self._outbox.losses[stage, reason]
        for (name, labels), value in self._metrics.items():
            try:
                metric = Metric(name=name, value=value, labels=dict(labels))
            except ValidationError:
                self.lost("metrics", "misnamed", 1)
                continue
            if not self._send(MetricsFrame(metrics=(metric,))):
                return
        self._metrics.clear()

    def _send(self, frame: UpFrame) -> bool:
        return self._send_packet(pack(frame))

    def _send_packet(self, packet: bytes) -> bool:
        try:
            self._end.send(packet)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                self.lost("queue", "too_large", 1)
                return True
            self._is_stopped = self._is_alone = True  # the supervisor is gone
            return False
        return True


def run_child(spec: ModuleSpec, end: socket.socket, parent: int, clock: Clock) -> NoReturn:
    """What a forked process does: make itself safe, run the module, leave. Never returns into the parent's stack."""
    code = _CODE_UNFORESEEN
    try:
        _make_safe(spec, end, parent)
        context = ChildContext(spec.name, end, spec.settings, clock)
        signal.signal(signal.SIGTERM, context.stop)
        code = _run(spec, context)
    except BaseException as error:  # noqa: BLE001 - outermost loop of a process: reports and ends
        log.error("module cannot begin", extra={"agent_module": spec.name, "error": repr(error)})
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)


def _run(spec: ModuleSpec, context: ChildContext) -> int:
    checked: Context = context
    try:
        context.alive()
        spec.run(checked)
    except GovsecError as error:
        context.failed(str(error))
        context.finish(spec.budget.stop_s / 2)
        return error.exit_code
    except BaseException as error:  # the outermost loop of a process: reports and ends
        log.exception("module failed", extra={"agent_module": spec.name})
        context.failed(f"{type(error).__name__}: {error}")
        context.finish(spec.budget.stop_s / 2)
        return _CODE_UNFORESEEN
    context.finish(spec.budget.stop_s / 2)
    return 0


def _make_safe(spec: ModuleSpec, end: socket.socket, parent: int) -> None:
    """A session of its own, death with the parent, nothing inherited but its socket, limits."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.set_wakeup_fd(-1)
    os.setsid()
    die_with(parent)
    quiet = os.open(os.devnull, os.O_RDONLY)
    os.dup2(quiet, 0)
    # The parent's objects live on in this process's memory, but nothing closes them: it leaves by _exit.
    os.closerange(3, end.fileno())
    os.closerange(end.fileno() + 1, 1 << 20)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _limit_data(spec.budget.memory_max_bytes * 2 + _DATA_ROOM_BYTES)
    os.nice(spec.budget.nice)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")
    clean = child_environment()
    for name in set(os.environ) - set(clean):
        del os.environ[name]


def _limit_data(size_bytes: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = size_bytes if hard == resource.RLIM_INFINITY else min(size_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
