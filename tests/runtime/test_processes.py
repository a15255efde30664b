"""The pool of forked workers: order, errors, deaths, stopping."""

import os
import signal
import time
from collections.abc import Sequence

import pytest

from govsec.errors import IntegrityError, WorkerError
from govsec.runtime.processes import Desk, Done, Event, Finished, Message, Pool


class Squares:
    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.sum = 0

    def do(self, task: int) -> int:
        if task == -1:
            raise IntegrityError("pack 5 is not what its name says")
        if task == -2:
            os.kill(os.getpid(), signal.SIGKILL)
        if task == -3:
            raise KeyError("nobody foresaw this")
        self.desk.post(f"at {task}")
        self.sum += task * task
        return task * task

    def finish(self) -> int:
        return self.sum


def run(tasks: Sequence[int], workers: int) -> list[Event]:
    with Pool(tasks, Squares, workers) as pool:
        return list(pool.events())


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
def test_every_task_is_done_once_and_every_worker_finishes(workers: int) -> None:
    events = run(range(20), workers)
    assert sorted((event.position, event.result) for event in events if isinstance(event, Done)) == [
        (number, number * number) for number in range(20)
    ]
    assert sum(1 for event in events if isinstance(event, Message)) == 20
    finished = [event.result for event in events if isinstance(event, Finished)]
    assert len(finished) == max(1, workers)
    assert sum(finished) == sum(number * number for number in range(20))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_empty_list_finishes(workers: int) -> None:
    assert [type(event) for event in run([], workers)] == [Finished]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_ours_is_raised_as_itself(workers: int) -> None:
    with pytest.raises(IntegrityError, match="pack 5"):
        run([1, 2, -1, 3], workers)


def test_a_killed_worker_is_named_with_its_signal() -> None:
    with pytest.raises(WorkerError, match="SIGKILL while it had task 2 of 2"):
        run([1, -2], 1)


def test_an_unforeseen_error_in_a_worker_is_a_worker_error() -> None:
    with pytest.raises(WorkerError, match="KeyError"):
        run([-3, 1], 1)


def test_leaving_the_pool_early_leaves_no_process_behind() -> None:
    with Pool(range(100), Squares, 2) as pool:
        pids = [child.pid for child in pool._children.values()]
        next(pool.events())
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


class UntilStopped:
    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def do(self, task: int) -> str:
        self.desk.post("started")
        while not self.desk.is_stopped():
            time.sleep(0.001)
        return "put down"

    def finish(self) -> str:
        return "finished in order"


def test_after_stop_workers_put_their_work_down_and_take_no_more() -> None:
    with Pool(range(50), UntilStopped, 2) as pool:
        events: list[Event] = []
        for event in pool.events():
            events.append(event)
            pool.stop()
    assert [event.result for event in events if isinstance(event, Finished)] == ["finished in order"] * 2
    assert 1 <= sum(isinstance(event, Done) for event in events) <= 2


def test_workers_end_when_the_parent_is_killed() -> None:
    reader, writer = os.pipe()
    parent = os.fork()
    if parent == 0:
        os.close(reader)
        with Pool([0, 1], UntilStopped, 2) as pool:
            for event in pool.events():
                if isinstance(event, Message):
                    os.kill(os.getpid(), signal.SIGKILL)
        os._exit(1)
    os.close(writer)
    os.waitpid(parent, 0)
    # The workers hold the writing end; end of file comes only when the last of them has gone.
    assert os.read(reader, 1) == b""
    os.close(reader)


class Halves:
    """Counts a number down, and gives away half of it as long as another worker has nothing to do."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.count = 0

    def do(self, task: int) -> int:
        own = task
        while own > 1 and self.desk.is_anyone_idle():
            self.desk.post(own // 2)
            own -= own // 2
        self.count += own
        return own

    def finish(self) -> int:
        return self.count


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_growing_pool_does_what_its_workers_give_away(workers: int) -> None:
    done: list[int] = []
    finished: list[object] = []
    with Pool([1000], Halves, workers, is_growing=True) as pool:
        for event in pool.events():
            if isinstance(event, Message):
                assert isinstance(event.body, int)
                pool.add(event.body)
            elif isinstance(event, Done):
                assert isinstance(event.result, int)
                done.append(event.result)
            elif isinstance(event, Finished):
                finished.append(event.result)
    assert sum(done) == sum(finished) == 1000 and len(finished) == max(1, workers)
    assert workers > 1 or done == [1000]  # nobody else to give anything to


class OneFirst:
    """Posts a task when it has the first, and says who did which."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def do(self, task: str) -> tuple[str, int]:
        if task == "first":
            while not self.desk.is_anyone_idle():
                time.sleep(0.001)
            self.desk.post("second")
        return task, os.getpid()

    def finish(self) -> None:
        return None


def test_a_task_that_was_added_goes_to_the_worker_that_waits() -> None:
    done: dict[str, int] = {}
    with Pool(["first"], OneFirst, 2, is_growing=True) as pool:
        for event in pool.events():
            if isinstance(event, Message):
                pool.add(str(event.body))
            elif isinstance(event, Done):
                assert isinstance(event.result, tuple)
                done[event.result[0]] = event.result[1]
    assert sorted(done) == ["first", "second"] and len(set(done.values())) == 2


def test_a_growing_pool_that_is_stopped_lets_waiting_workers_go_and_takes_no_more() -> None:
    with Pool([0], UntilStopped, 3, is_growing=True) as pool:
        events: list[Event] = []
        for event in pool.events():
            events.append(event)
            if isinstance(event, Message):
                pool.stop()
                pool.add(1)
    assert sum(isinstance(event, Done) for event in events) == 1
    assert sum(isinstance(event, Finished) for event in events) == 3


def test_a_pool_with_a_fixed_list_takes_no_more_tasks() -> None:
    with Pool([1], Squares, 1) as pool, pytest.raises(ValueError, match="growing"):
        pool.add(2)
