"""One call ahead, a call begun early, deferred signals, and what children may see."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from govsec.errors import StoreFullError
from govsec.runtime.begun import Begun
from govsec.runtime.children import child_environment
from govsec.runtime.signals import deferred_signals
from govsec.runtime.threads import OneAhead


def test_each_call_gives_the_result_of_the_one_before() -> None:
    with OneAhead[int]() as lane:
        assert lane.submit(lambda: 1) is None
        assert lane.submit(lambda: 2) == 1
        assert lane.drain() == 2
        assert lane.drain() is None


def test_an_error_comes_back_at_the_next_call_which_is_not_started() -> None:
    started = []

    def fail() -> int:
        raise StoreFullError("no space")

    with OneAhead[int]() as lane:
        lane.submit(fail)
        with pytest.raises(StoreFullError):
            lane.submit(lambda: started.append(1) or 1)
        assert lane.drain() is None
    assert started == []


def test_never_more_than_one_call_runs() -> None:
    running: list[int] = []
    most = 0
    lock = threading.Lock()

    def call() -> int:
        nonlocal most
        with lock:
            running.append(1)
            most = max(most, len(running))
        with lock:
            running.pop()
        return 0

    with OneAhead[int]() as lane:
        for _ in range(100):
            lane.submit(call)
    assert most == 1


def test_a_signal_is_remembered_and_delivered_at_the_end_of_the_block() -> None:
    reached = []
    with pytest.raises(KeyboardInterrupt), deferred_signals() as deferred:
        os.kill(os.getpid(), signal.SIGINT)
        reached.append(deferred.received)
    assert reached == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_signal_does_not_wait() -> None:
    reached = []
    with pytest.raises(KeyboardInterrupt), deferred_signals():
        os.kill(os.getpid(), signal.SIGINT)
        reached.append("after the first")
        os.kill(os.getpid(), signal.SIGINT)
        reached.append("after the second")
    assert reached == ["after the first"]


def test_without_a_signal_nothing_happens() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with deferred_signals() as deferred:
        pass
    assert deferred.received is None and signal.getsignal(signal.SIGTERM) is before


def test_in_another_thread_nothing_is_deferred() -> None:
    outcome = []

    def run() -> None:
        with deferred_signals() as deferred:
            outcome.append(deferred.received)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert outcome == [None]


@pytest.mark.parametrize(
    "name",
    [
        "RESTIC_PASSWORD",
        "AWS_SECRET_ACCESS_KEY",
        "PGPASSWORD",
        "db_passwd",
        "GITHUB_TOKEN",
        "CREDENTIALS_DIRECTORY",
        "GOVSEC_X",
    ],
)
def test_a_variable_that_may_carry_a_secret_is_not_given_to_children(name: str) -> None:
    assert child_environment({name: "x", "PATH": "/bin"}) == {"PATH": "/bin"}


def test_a_begun_call_runs_before_it_is_asked_for() -> None:
    is_running = threading.Event()

    def call() -> str:
        is_running.set()
        return "done"

    begun = Begun(call)
    assert is_running.wait(60)
    assert (begun.result(), begun.result()) == ("done", "done")


def test_what_a_begun_call_raises_is_raised_where_it_is_asked_for() -> None:
    def fail() -> int:
        raise StoreFullError("no space")

    with pytest.raises(StoreFullError, match="no space"):
        Begun(fail).result()
