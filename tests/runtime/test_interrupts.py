"""Ctrl-C is answered at once, ends work in order, and a second one does not wait for requests that are running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from govsec.runtime.signals import Interrupts, deferred_signals

#: A program whose threads wait for an answer that never comes.
HANGING = """
import os, sys
from govsec.cli import frame, main as program
from govsec.runtime.lanes import for_each

never, _ = os.pipe()

def verb(args, io):
    def work(item):
        os.write(2, b"running\\n")
        os.read(never, 1)
    list(for_each(range(2), lambda: work, threads=2))
    return 0

parser = frame.Parser(prog="govsec")
parser.set_defaults(run=verb)
program.build_parser = lambda: parser
sys.exit(program.main([]))
"""


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []
    before = signal.signal(signal.SIGINT, Interrupts(lines.append))
    yield lines
    signal.setitimer(signal.ITIMER_REAL, 0)  # the second one has set it
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, before)


def test_the_first_interrupt_is_answered_and_the_second_leaves_though_requests_still_run() -> None:
    process = subprocess.Popen([sys.executable, "-c", HANGING], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        assert [process.stderr.readline() for _ in range(2)] == ["running\n"] * 2
        process.send_signal(signal.SIGINT)
        answer = next(line for line in process.stderr if line.strip())
        assert answer.startswith("govsec: stopping when what runs now is put down in order")
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=120) == 130
        assert "govsec: leaving now; repositories stay valid" in process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_a_deferred_interrupt_is_answered_when_it_comes_and_counted_once(said: list[str]) -> None:
    with pytest.raises(KeyboardInterrupt), deferred_signals() as deferred:
        os.kill(os.getpid(), signal.SIGINT)
        assert deferred.received == signal.SIGINT
        assert len(said) == 1
    handler = signal.getsignal(signal.SIGINT)
    assert isinstance(handler, Interrupts)
    assert (handler.count, len(said)) == (1, 1)


def test_a_second_interrupt_within_deferred_work_does_not_wait_for_its_end(said: list[str]) -> None:
    reached = []
    with pytest.raises(KeyboardInterrupt), deferred_signals():
        os.kill(os.getpid(), signal.SIGINT)
        reached.append("after the first")
        os.kill(os.getpid(), signal.SIGINT)
        reached.append("after the second")
    assert (reached, len(said)) == (["after the first"], 2)
