"""Starts and ends of processes: from this kernel for real, and from one that loses, refuses or is not there."""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

from govsec.clock import SystemClock
from govsec.host.api import SourceUnavailableError
from govsec.host.events import (
    EventsLost,
    IdentityChanged,
    ProcessExited,
    ProcessStarted,
    Record,
    StartKind,
    WatchNote,
)
from govsec.host.procconnector import RESCAN_PAUSE_S, ProcessConnector, open_wire
from govsec.host.processtree import ProcessTree, unknown_process
from govsec.host.tables import Process, ProcessKey
from govsec.testing.clock import FakeClock
from tests.host.watching import machine, python, until
from tests.support.require import missing, require_root


@pytest.fixture
def connector() -> Iterator[ProcessConnector]:
    require_root()
    with machine() as here:
        source = ProcessConnector(here.tree, here.read_all, SystemClock())
        try:
            source.open()
        except SourceUnavailableError as error:
            missing("proc connector", str(error))
        yield source
        source.close()


def started(records: list[Record], marker: str) -> ProcessStarted | None:
    found = [each for each in records if isinstance(each, ProcessStarted) and marker in each.process.command]
    return found[0] if found else None


def exited(records: list[Record], pid: int) -> ProcessExited | None:
    found = [each for each in records if isinstance(each, ProcessExited) and each.key.pid == pid]
    return found[0] if found else None


def test_a_program_is_told_with_its_arguments_and_those_it_came_from_also_when_they_are_gone(
    connector: ProcessConnector,
) -> None:
    # The shell in the middle ends at once; the last one stays until it was seen.
    script = "sh -c 'sleep 1000 & echo $!' marker-of-the-middle"
    shell = subprocess.Popen(["/bin/sh", "-c", script, "marker-of-the-top"], stdout=subprocess.PIPE, text=True)
    assert shell.stdout is not None
    pid = int(shell.stdout.readline())
    shell.wait()
    shell.stdout.close()
    try:
        records = until(connector, lambda came: any(_is_start_of(each, pid) for each in came))
    finally:
        os.kill(pid, 9)
    start = next(each for each in records if _is_start_of(each, pid))

    assert isinstance(start, ProcessStarted)
    assert start.process.command == ("sleep", "1000")
    assert (start.how, start.is_partial) == (StartKind.EXEC, False)
    assert start.process.executable is not None and start.process.executable.startswith("/")
    assert [each.key.pid for each in start.ancestors][-1] == 1 or len(start.ancestors) == 16
    assert any(each.key.pid == os.getpid() for each in start.ancestors)
    end = until(connector, lambda came: exited(came, pid) is not None)
    killed = exited(end, pid)
    assert killed is not None and (killed.exit_code, killed.signal) == (None, 9)
    assert killed.key == start.process.key


def _is_start_of(record: Record, pid: int) -> bool:
    return isinstance(record, ProcessStarted) and record.process.key.pid == pid and "sleep" in record.process.command


def test_an_exit_tells_its_code(connector: ProcessConnector) -> None:
    child = subprocess.Popen(["/bin/sh", "-c", "exit 7"])
    child.wait()

    records = until(connector, lambda came: exited(came, child.pid) is not None)

    end = exited(records, child.pid)
    assert end is not None and (end.exit_code, end.signal) == (7, None)


def test_a_copy_that_starts_no_program_is_told_as_a_copy(connector: ProcessConnector) -> None:
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write_end)
        os.read(read_end, 1)
        os._exit(0)
    os.close(read_end)
    try:
        records = until(
            connector,
            lambda came: any(isinstance(each, ProcessStarted) and each.process.key.pid == child for each in came),
        )
    finally:
        os.close(write_end)
        os.waitpid(child, 0)
    start = next(each for each in records if isinstance(each, ProcessStarted) and each.process.key.pid == child)
    assert start.how is StartKind.FORK
    assert start.parent is not None and start.parent.key.pid == os.getpid()


def test_becoming_another_user_is_told(connector: ProcessConnector) -> None:
    child = os.fork()
    if child == 0:
        os.setgid(65534)
        os.setuid(65534)
        os._exit(0)
    os.waitpid(child, 0)

    def is_changed(record: Record) -> bool:
        return isinstance(record, IdentityChanged) and record.key.pid == child and record.is_user

    records = until(connector, lambda came: any(is_changed(each) for each in came))

    change = next(each for each in records if is_changed(each))
    assert isinstance(change, IdentityChanged) and change.effective == 65534


def test_a_process_whose_first_thread_ended_runs_until_its_last_does(connector: ProcessConnector) -> None:
    script = (
        "import ctypes, os, threading\n"
        "def last():\n"
        "    os.read(0, 1)\n"
        "    os._exit(5)\n"
        "threading.Thread(target=last).start()\n"
        "os.write(1, b'x')\n"
        "ctypes.CDLL(None).pthread_exit(None)\n"
    )
    child = subprocess.Popen(["python3", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None and child.stdout is not None
    child.stdout.read(1)
    # State Z of the first thread, while the other waits.
    _wait_for_state(child.pid, "Z")
    before = list(connector.read())
    assert exited(before, child.pid) is None
    child.stdin.write(b"x")
    child.stdin.close()
    child.wait()
    child.stdout.close()
    records = until(connector, lambda came: exited(came, child.pid) is not None)
    assert exited(records, child.pid) is not None


def _wait_for_state(pid: int, state: str) -> None:
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}/task/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != state:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_queue_that_overran_for_real_is_told_with_the_exact_number_and_made_good() -> None:
    require_root()

    def tiny() -> socket.socket:
        wire = open_wire()
        assert isinstance(wire, socket.socket)
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        return wire

    clock = FakeClock()
    with machine() as here:
        source = ProcessConnector(here.tree, here.read_all, clock, opener=tiny)
        source.open()
        for _ in range(60):
            subprocess.run(["/bin/true"], check=True)
        sleeper = subprocess.Popen(["/bin/sleep", "1000", "unseen"])
        try:
            clock.advance(RESCAN_PAUSE_S + 1)
            records = until(source, lambda came: any(isinstance(each, EventsLost) for each in came))
        finally:
            sleeper.kill()
            sleeper.wait()
            source.close()
    lost = [each for each in records if isinstance(each, EventsLost)]
    found = [each for each in records if isinstance(each, ProcessStarted) and each.process.key.pid == sleeper.pid]
    assert source.counters()["overruns"] >= 1
    assert [each.how for each in found] == [StartKind.FOUND]
    assert lost[0].reason == "the kernel's queue overran"


def test_nobody_is_refused_in_words_or_sees_the_same_where_the_kernel_allows_it() -> None:
    require_root()
    done = python(
        "import os, subprocess, sys, time\n"
        "from govsec.clock import SystemClock\n"
        "from govsec.host.api import SourceUnavailableError\n"
        "from govsec.host.events import ProcessExited\n"
        "from govsec.host.procconnector import ProcessConnector\n"
        "from tests.host.watching import Machine\n"
        "here = Machine()\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "source = ProcessConnector(here.tree, here.read_all, SystemClock())\n"
        "try:\n"
        "    source.open()\n"
        "except SourceUnavailableError as error:\n"
        "    print(error); sys.exit()\n"
        "child, ends = subprocess.Popen(['/bin/true']), []\n"
        "child.wait()\n"
        "deadline = time.monotonic() + 60\n"
        "while child.pid not in ends and time.monotonic() < deadline:\n"
        "    ends += [each.key.pid for each in source.read() if isinstance(each, ProcessExited)]\n"
        "print('seen' if child.pid in ends else 'not seen')\n"
    )
    # From Linux 6.6 everybody may listen.
    assert done.stdout.strip() in ("seen", "proc connector: not permitted (CAP_NET_ADMIN)"), done.stderr


def test_it_goes_on_after_rights_were_given_up() -> None:
    require_root()
    done = python(
        "import os, subprocess, time\n"
        "from pathlib import Path\n"
        "from govsec.clock import SystemClock\n"
        "from govsec.host.events import ProcessStarted\n"
        "from govsec.host.procconnector import ProcessConnector\n"
        "from govsec.net.privileges import drop_privileges\n"
        "from tests.host.watching import Machine\n"
        "here = Machine()\n"
        "source = ProcessConnector(here.tree, here.read_all, SystemClock())\n"
        "source.open()\n"
        "child = subprocess.Popen(['/bin/sh', '-c', 'read word; exec cat'], stdin=subprocess.PIPE)\n"
        "drop_privileges(readable=[Path('/proc')])\n"
        "child.stdin.write(b'go\\n'); child.stdin.flush()\n"
        "deadline, found = time.monotonic() + 60, None\n"
        "while found is None and time.monotonic() < deadline:\n"
        "    for record in source.read():\n"
        "        if isinstance(record, ProcessStarted) and record.process.command == ('cat',):\n"
        "            found = record\n"
        "    time.sleep(0.01)\n"
        "source.close()\n"
        "child.stdin.close(); child.wait()\n"
        "print(os.getuid() != 0, found.process.name, found.is_partial, found.process.key.pid == child.pid)\n"
    )
    assert done.stdout.split() == ["True", "cat", "False", "True"], done.stderr


# A kernel that does what is hard to have the real one do.


class FakeWire:
    """Gives what a test put in; ``None`` is an overrun of the queue."""

    def __init__(self, *, answers: bool = True) -> None:
        self.queue: deque[bytes | None] = deque()
        self.sender = 0
        self.is_closed = False
        self._answers = answers

    def send(self, data: bytes, /) -> int:
        number = int.from_bytes(data[28:32], "little")
        if self._answers:
            self.queue.append(_message(0, 0xFFFFFFFF, 0, ack=number + 1))
        return len(data)

    def recvfrom(self, size: int, /) -> tuple[bytes, tuple[int, int]]:
        if not self.queue:
            raise BlockingIOError(errno.EAGAIN, "nothing")
        data = self.queue.popleft()
        if data is None:
            raise OSError(errno.ENOBUFS, "no room")
        return data, (self.sender, 1)

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        self.is_closed = True


def _message(what: int, processor: int, sequence: int, *numbers: int, ack: int = 0, stamp: int = 10**9) -> bytes:
    data = struct.pack("=IIIIHHIIQ", 1, 1, sequence, ack, 40, 0, what, processor, stamp)
    data += struct.pack("=6I", *numbers, *([0] * (6 - len(numbers))))
    return struct.pack("=IHHII", 16 + len(data), 3, 0, 0, 0) + data


def fork(processor: int, sequence: int, parent: int, child: int) -> bytes:
    return _message(1, processor, sequence, parent, parent, child, child)


def begun(processor: int, sequence: int, pid: int) -> bytes:
    return _message(2, processor, sequence, pid, pid)


def fake(wire: FakeWire, clock: FakeClock, *present: Process) -> ProcessConnector:
    by_pid = {process.key.pid: process for process in present}
    return ProcessConnector(ProcessTree(by_pid.get), lambda: present, clock, opener=lambda: wire)


def process(pid: int, parent: int = 1, start_ticks: int = 5) -> Process:
    return unknown_process(ProcessKey(pid, start_ticks), parent)


def test_missing_numbers_of_each_processor_are_counted_and_followed_by_a_look() -> None:
    wire, clock = FakeWire(), FakeClock()
    source = fake(wire, clock, process(1, 0), process(77))
    source.open()
    clock.advance(RESCAN_PAUSE_S)
    wire.queue += [fork(0, 10, 1, 400), fork(1, 500, 1, 401), fork(0, 13, 1, 402), fork(1, 501, 1, 403)]

    records = source.read()

    assert [each.count for each in records if isinstance(each, EventsLost)] == [2]
    assert source.counters()["lost"] == 2
    # The four are not running: the look found them gone. They never were told, so their end is not.
    assert not [each for each in records if isinstance(each, ProcessExited)]


def test_messages_that_come_in_the_wrong_order_are_not_losses() -> None:
    wire, clock = FakeWire(), FakeClock()
    source = fake(wire, clock, process(1, 0))
    source.open()
    clock.advance(RESCAN_PAUSE_S)
    wire.queue += [fork(0, 0xFFFFFFFF, 1, 400), fork(0, 0, 1, 401), fork(0, 1, 1, 402)]

    assert not [each for each in source.read() if isinstance(each, EventsLost)]
    assert source.counters()["lost"] == 0


def test_a_storm_of_losses_is_told_at_most_every_few_seconds() -> None:
    wire, clock = FakeWire(), FakeClock()
    source = fake(wire, clock, process(1, 0))
    source.open()
    clock.advance(RESCAN_PAUSE_S)
    told = []
    for second in range(12):
        wire.queue += [None, begun(0, second * 10, 1)]
        told += [each.count for each in source.read() if isinstance(each, EventsLost)]
        clock.advance(1)

    assert told == [0, 45, 45]
    assert source.counters()["rescans"] == 3


def test_what_another_process_sends_is_refused() -> None:
    wire, clock = FakeWire(), FakeClock()
    source = fake(wire, clock, process(1, 0))
    source.open()
    wire.sender = 4711
    wire.queue += [begun(0, 1, 1), b"short"]

    assert source.read() == []
    assert source.counters()["refused"] == 2


def test_a_clock_that_was_set_is_told_once() -> None:
    wire, clock = FakeWire(), FakeClock()
    source = fake(wire, clock, process(1, 0))
    source.open()
    clock.jump(-3600)
    notes = []
    for _ in range(3):
        clock.advance(1)
        notes += [each for each in source.read() if isinstance(each, WatchNote)]

    assert [note.text for note in notes] == ["the clock was set by -3600.000 s"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EPROTONOSUPPORT, "not in this kernel"),
        (errno.EPERM, "not permitted"),
        (errno.EMFILE, "Too many open files"),
    ],
)
def test_a_kernel_without_it_is_a_clear_error(number: int, words: str) -> None:
    def opener() -> FakeWire:
        raise OSError(number, os.strerror(number))

    source = ProcessConnector(ProcessTree(lambda pid: None), lambda: (), FakeClock(), opener=opener)
    with pytest.raises(SourceUnavailableError, match=words):
        source.open()


def test_a_kernel_that_does_not_answer_is_a_clear_error() -> None:
    wire = FakeWire(answers=False)

    with pytest.raises(SourceUnavailableError, match="does not answer"):
        fake(wire, FakeClock()).open()
    assert wire.is_closed
