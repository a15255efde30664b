"""Starts and ends of processes as the kernel tells them: the process connector of netlink.

One idea: the kernel says only numbers, so what began a program is looked at in ``/proc`` at once, before it is gone,
and goes into the process tree. The kernel numbers what it sends on each processor; a number that is missing is an event
that is lost. Losses are counted exactly, told as :class:`EventsLost`, and followed by a look at all processes, at most
every ``RESCAN_PAUSE_S``, whose differences are told as starts and ends that nobody saw.

A message, all in the machine's byte order::

    16  header of netlink     length u32, type u16, flags u16, sequence u32, port u32
    20  header of connector   idx u32 = 1, val u32 = 1, sequence u32, ack u32, length u16, flags u16
    16  header of the event   what u32, processor u32, nanoseconds since boot u64
     …  fork: parent thread, parent, child thread, child · exec: thread, process · uid, gid: thread, process, real,
        effective · exit: thread, process, code, signal, … — each u32

Rights: ``CAP_NET_ADMIN`` to open, in the first network, process and user namespace; none to read. From Linux 6.6 it can
be opened without, with the smaller queue of ``net.core.rmem_max``. Without ``CAP_SYS_PTRACE`` programs of other users
stay unnamed (their arguments do not). Source: the kernel's
``include/uapi/linux/cn_proc.h`` and ``drivers/connector/cn_proc.c``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from govsec.clock import Clock, to_ns
from govsec.host.api import SourceUnavailableError
from govsec.host.events import (
    EventsLost,
    IdentityChanged,
    ProcessExited,
    ProcessStarted,
    Record,
    Stage,
    StartKind,
    WatchNote,
)
from govsec.host.processtree import Node, ProcessTree
from govsec.host.tables import Process, ProcessKey

NAME = "proc connector"
#: Messages the kernel may keep for us take about 0.8 KiB each: 20,000, which is 5 s at 1,000 starts/s.
_BUFFER_SIZE = 16 << 20
_SO_RCVBUFFORCE = 33
_NETLINK_CONNECTOR = 11
_GROUP = 1
_LISTEN, _IGNORE = 1, 2
_HEADERS = struct.Struct("=IHHII IIIIHH IIQ")
_FOUR = struct.Struct("=IIII")
_NONE, _FORK, _EXEC, _UID, _GID, _EXIT = 0, 1, 2, 4, 0x40, 0x80000000
#: Of answers to those who begin to listen, where the kernel (before 6.6) does not number them with the rest.
_NO_PROCESSOR = 0xFFFFFFFF
_MESSAGE_MAX = 8192
#: Handled by one read, so that other sources get their turn.
_BATCH_MAX = 4096
#: A copy of a process that starts no program of its own for so long is told as a process.
_FORK_PATIENCE_S = 1.0
RESCAN_PAUSE_S = 5.0
_SECOND_NS = 1_000_000_000
#: More than the kernel's two clocks part by slewing between two reads; a step of the wall clock.
_STEP_NS = _SECOND_NS
#: How close together the two clocks are to be read, and how often that is tried.
_MEASURE_S = 0.001
_MEASURES_MAX = 5
#: A clock that was set is noticed after so long.
_MEASURE_PAUSE_S = 0.5
#: What /proc/uptime is rounded to, and one tick of it.
_UPTIME_ERROR_S = 0.03


class Wire(Protocol):
    """What of a socket is used; tests bring one that loses messages."""

    def send(self, data: bytes, /) -> int: ...

    def recvfrom(self, size: int, /) -> tuple[bytes, tuple[int, int]]: ...

    def fileno(self) -> int: ...

    def close(self) -> None: ...


def open_wire() -> Wire:
    """A socket of the connector, with room for a burst.

    Raises:
        OSError: not permitted, or the kernel has none.
    """
    wire = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _NETLINK_CONNECTOR)
    try:
        wire.setblocking(False)
        with contextlib.suppress(PermissionError):  # the system's own maximum then
            wire.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_SIZE)
        wire.bind((0, _GROUP))
    except OSError:
        wire.close()
        raise
    return wire


class ProcessConnector:
    """A source of starts, ends and changes of identity of all processes of this machine; feeds ``tree``."""

    name = NAME
    stage = Stage.PROCESSES
    #: A start is looked at without delay: many live for a millisecond only.
    pause_s = 0.0

    def __init__(
        self,
        tree: ProcessTree,
        read_all: Callable[[], Iterable[Process]],
        clock: Clock,
        *,
        opener: Callable[[], Wire] = open_wire,
    ) -> None:
        self._tree = tree
        self._read_all = read_all
        self._clock = clock
        self._opener = opener
        self._wire: Wire | None = None
        self._expected: dict[int, int] = {}
        self._lost = 0
        self._is_overrun = False
        self._rescanned_at = 0.0
        #: Copies that may yet start a program, with the time by which they are told anyway.
        self._forks: deque[tuple[float, int, Node]] = deque()
        #: Processes whose first thread ended and others go on, with the number of those.
        self._headless: dict[int, int] = {}
        self._offset_ns = 0
        self._measured_at = 0.0
        self._suspended_ns = 0
        self._tick_ns = _SECOND_NS // os.sysconf("SC_CLK_TCK")
        self._counts = dict.fromkeys(
            ("messages", "starts", "starts_unseen", "exits", "lost", "overruns", "rescans", "clock_steps", "refused"), 0
        )

    def open(self) -> None:
        try:
            wire = self._opener()
        except OSError as error:
            raise SourceUnavailableError(f"{NAME}: {_reason(error)}") from error
        try:
            self._subscribe(wire)
        except BaseException:
            wire.close()
            raise
        self._wire = wire
        self._expected.clear()
        self._offset_ns = self._offset_now()
        self._suspended_ns = self._suspended_since_boot()
        # From here on nothing is missed: what starts during the look is told by the kernel too.
        new, _ = self._tree.fill(self._read_all())
        for node in new:
            node.is_announced = True
        self._tree.is_fed = True
        self._rescanned_at = self._clock.monotonic()

    def descriptor(self) -> int | None:
        return self._wire.fileno() if self._wire is not None else None

    def read(self) -> Sequence[Record]:
        records: list[Record] = []
        self._look_at_clock(records)
        is_drained = self._take(records)
        self._tell_forks(records)
        if (self._lost or self._is_overrun) and is_drained:
            self._make_good(records)
        return records

    def counters(self) -> Mapping[str, int]:
        return {**self._counts, "tree": len(self._tree), "tree_evicted": self._tree.evicted_count}

    def close(self) -> None:
        if self._wire is None:
            return
        with contextlib.suppress(OSError):  # refused once rights were dropped; the kernel then sees the socket go
            self._wire.send(_operation(_IGNORE, 0))
        self._wire.close()
        self._wire = None
        self._tree.is_fed = False

    def _subscribe(self, wire: Wire) -> None:
        """Ask for events and wait for the kernel's yes, which it says before ``send`` returns."""
        number = secrets.randbits(31)
        try:
            wire.send(_operation(_LISTEN, number))
            for _ in range(_BATCH_MAX):
                data, _ = wire.recvfrom(_MESSAGE_MAX)
                header = _HEADERS.unpack_from(data) if len(data) >= _HEADERS.size + 4 else None
                if header is not None and header[11] == _NONE and header[8] == number + 1:
                    refused = int.from_bytes(data[_HEADERS.size : _HEADERS.size + 4], "little")
                    if refused:
                        raise OSError(refused, os.strerror(refused))
                    return
        except BlockingIOError as error:
            raise SourceUnavailableError(
                f"{NAME}: the kernel does not answer: not its first namespace of processes, or built without"
            ) from error
        except OSError as error:
            raise SourceUnavailableError(f"{NAME}: {_reason(error)}") from error
        raise SourceUnavailableError(f"{NAME}: the kernel's answer did not come among {_BATCH_MAX} messages")

    def _take(self, records: list[Record]) -> bool:
        """Handle what has come; true when nothing is left."""
        assert self._wire is not None  # read() is for what is open
        for _ in range(_BATCH_MAX):
            try:
                data, (sender, _) = self._wire.recvfrom(_MESSAGE_MAX)
            except BlockingIOError:
                return True
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise SourceUnavailableError(f"{NAME}: {_reason(error)}") from error
                self._is_overrun = True
                self._counts["overruns"] += 1
                continue
            if sender != 0 or len(data) < _HEADERS.size + _FOUR.size:
                self._counts["refused"] += 1
                continue
            self._handle(data, records)
        return False

    def _handle(self, data: bytes, records: list[Record]) -> None:
        header = _HEADERS.unpack_from(data)
        sequence, what, processor, stamp = header[7], header[11], header[12], header[13]
        self._counts["messages"] += 1
        if processor != _NO_PROCESSOR:
            self._count_gap(processor, sequence)
        first, second, third, fourth = _FOUR.unpack_from(data, _HEADERS.size)
        if what == _FORK:
            if third == fourth:
                node = self._tree.forked(fourth, second, self._ticks(stamp))
                self._forks.append((stamp / _SECOND_NS + _FORK_PATIENCE_S, stamp, node))
        elif what == _EXEC:
            self._executed(second, stamp, records)
        elif what == _EXIT:
            self._exited(first, second, third, stamp, records)
        elif what in (_UID, _GID) and first == second:
            self._identity_changed(first, fourth, stamp, what == _UID, records)

    def _executed(self, pid: int, stamp: int, records: list[Record]) -> None:
        node = self._tree.executed(pid, self._ticks(stamp))
        self._headless.pop(pid, None)
        self._counts["starts_unseen"] += not node.is_seen
        self._tell_start(node, stamp, StartKind.EXEC, records)

    def _exited(self, thread: int, pid: int, code: int, stamp: int, records: list[Record]) -> None:
        """A process ends with the last of its threads, which need not be its first."""
        if thread != pid:
            left = self._headless.get(pid)
            if left is None:
                return
            if left > 1:
                self._headless[pid] = left - 1
                return
        left = _other_threads(pid)
        if left:
            self._headless[pid] = left
            return
        self._headless.pop(pid, None)
        node = self._tree.exited(pid)
        if node is not None and node.is_announced:
            self._counts["exits"] += 1
            time_ns = stamp + self._offset_ns
            signal = code & 0x7F or None
            exit_code = code >> 8 & 0xFF if signal is None else None
            records.append(ProcessExited(time_ns, node.process.key, exit_code, signal, node.process))

    def _identity_changed(self, pid: int, effective: int, stamp: int, is_user: bool, records: list[Record]) -> None:
        node = self._tree.running(pid)
        key = node.process.key if node is not None else ProcessKey(pid, 0)
        records.append(
            IdentityChanged(stamp + self._offset_ns, key, node.process if node else None, is_user, effective)
        )

    def _tell_start(self, node: Node, stamp: int, how: StartKind, records: list[Record]) -> None:
        node.is_announced = True
        self._counts["starts"] += 1
        time_ns = stamp + self._offset_ns
        records.append(ProcessStarted(time_ns, node.process, node.ancestors, how, is_partial=not node.is_seen))

    def _tell_forks(self, records: list[Record]) -> None:
        """Copies that went on as copies."""
        now = self._clock.monotonic()
        while self._forks and self._forks[0][0] <= now:
            _, stamp, node = self._forks.popleft()
            if node.is_announced or self._tree.running(node.process.key.pid) is not node:
                continue
            self._tree.refresh(node)
            if node.is_seen:  # else its end is on the way
                self._tell_start(node, stamp, StartKind.FORK, records)

    def _count_gap(self, processor: int, sequence: int) -> None:
        gap = (sequence - self._expected.get(processor, sequence)) & 0xFFFFFFFF
        if gap < 1 << 31:
            self._lost += gap
            self._counts["lost"] += gap
            self._expected[processor] = (sequence + 1) & 0xFFFFFFFF

    def _make_good(self, records: list[Record]) -> None:
        """Say what is lost, and find out what it was as far as it can still be seen."""
        now = self._clock.monotonic()
        if now - self._rescanned_at < RESCAN_PAUSE_S:
            return
        self._rescanned_at = now
        self._counts["rescans"] += 1
        time_ns = to_ns(self._clock.now())
        reason = "the kernel's queue overran" if self._is_overrun else "numbers of messages are missing"
        records.append(EventsLost(time_ns, Stage.PROCESSES, reason, self._lost))
        self._lost, self._is_overrun = 0, False
        new, gone = self._tree.fill(self._read_all())
        for node in gone:
            if node.is_announced:
                self._counts["exits"] += 1
                records.append(ProcessExited(time_ns, node.process.key, None, None, node.process))
        for node in new:
            self._tell_start(node, time_ns - self._offset_ns, StartKind.FOUND, records)

    def _ticks(self, stamp: int) -> int:
        return (stamp + self._suspended_ns) // self._tick_ns

    def _offset_now(self) -> int:
        """From stamps to wall time; measured again when this process stood still between the clocks."""
        narrowest, offset_ns = float("inf"), 0
        for _ in range(_MEASURES_MAX):
            before = self._clock.monotonic()
            wall_ns = to_ns(self._clock.now())
            after = self._clock.monotonic()
            if after - before < narrowest:
                narrowest, offset_ns = after - before, wall_ns - int((before + after) / 2 * _SECOND_NS)
            if narrowest < _MEASURE_S:
                break
        return offset_ns

    def _suspended_since_boot(self) -> int:
        """By how much starts in ``/proc``, which count time asleep, are ahead of the stamps, which do not."""
        try:
            with open("/proc/uptime", "rb") as file:  # noqa: PTH123  # a path of the kernel, read once
                uptime_s = float(file.read(64).split()[0])
        except (OSError, ValueError, IndexError):
            return 0
        asleep_s = uptime_s - self._clock.monotonic()
        return int(asleep_s * _SECOND_NS) if asleep_s > _UPTIME_ERROR_S else 0

    def _look_at_clock(self, records: list[Record]) -> None:
        now = self._clock.monotonic()
        if now - self._measured_at < _MEASURE_PAUSE_S:
            return
        self._measured_at = now
        offset_ns = self._offset_now()
        step_ns = offset_ns - self._offset_ns
        self._offset_ns = offset_ns
        if abs(step_ns) >= _STEP_NS:
            self._counts["clock_steps"] += 1
            text = f"the clock was set by {step_ns / _SECOND_NS:+.3f} s"
            records.append(WatchNote(to_ns(self._clock.now()), Stage.PROCESSES, NAME, False, text))


def _operation(operation: int, number: int) -> bytes:
    body = struct.pack("=IIIIHHI", 1, 1, 0, number, 4, 0, operation)
    return struct.pack("=IHHII", 16 + len(body), 3, 0, 0, 0) + body  # 3: NLMSG_DONE


def _other_threads(pid: int) -> int:
    """Threads of the process besides its first, which ended but is listed until it is waited for."""
    try:
        return max(0, os.stat(f"/proc/{pid}/task").st_nlink - 3)  # noqa: PTH116  # in the hot path
    except OSError:
        return 0


def _reason(error: OSError) -> str:
    if error.errno in (errno.EPERM, errno.EACCES):
        return "not permitted (CAP_NET_ADMIN)"
    if error.errno in (errno.EPROTONOSUPPORT, errno.ECONNREFUSED, errno.EAFNOSUPPORT):
        return "not in this kernel, or not in its first network namespace"
    return error.strerror or str(error)
