"""Killed at every place of a story and started again: each deed is done once, ended once, and told in order.

The story runs in a forked child over real files. A place is before or after any call to the file of runs, to whoever
does deeds, or to the recorder; the child kills itself with SIGKILL at place n, for every n that there is.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

from govsec.clock import format_time, parse_time
from govsec.privatefile import write_private
from govsec.records import Evidence
from govsec.response.api import Outcome
from govsec.response.engine import Engine
from govsec.response.helper.api import read_settings
from govsec.response.helper.desk import HelperDesk
from govsec.response.helper.server import answer_bytes
from govsec.response.order import Order, approve
from govsec.response.runs import Runs, State
from govsec.testing.clock import FakeClock
from tests.response.far import People, make_order, write_settings
from tests.response.rooms import START, finding, make_engine
from tests.response.test_helper import Lamp


class Countdown:
    def __init__(self, places: int | None) -> None:
        self.places = places
        self.passed = 0

    def pass_one(self) -> None:
        self.passed += 1
        if self.passed == self.places:
            os.kill(os.getpid(), signal.SIGKILL)


class Deadly:
    """Something whose every call may be the last, before or after its effect."""

    def __init__(self, inner: Any, countdown: Countdown) -> None:
        self._inner = inner
        self._countdown = countdown

    def __getattr__(self, name: str) -> Callable[..., Any]:
        called = getattr(self._inner, name)

        def call(*args: Any, **named: Any) -> Any:
            self._countdown.pass_one()
            answer = called(*args, **named)
            self._countdown.pass_one()
            return answer

        return call


class FileWorld:
    """What deeds change, in a file: how often each was really done and ended."""

    def __init__(self, path: Path, clock: FakeClock) -> None:
        self._path = path
        self._clock = clock

    def read(self) -> dict[str, Any]:
        return dict(json.loads(self._path.read_bytes())) if self._path.exists() else {}

    def rehearse(self, order: Order) -> Mapping[str, JsonValue]:
        return {"sessions": 1}

    def carry_out(self, order: Order, approvals: Sequence[bytes]) -> Outcome:
        assert approvals, "done without approval"
        world = self.read()
        if order.nonce not in world:
            ends = self._clock.now() + timedelta(seconds=int(order.arguments["ttl_s"]))
            world[order.nonce] = {"state": "done", "ends": format_time(ends), "begun": 0, "ended": 0}
            world[order.nonce]["begun"] += 1
            self._write(world)
        return self.check(order)

    def check(self, order: Order) -> Outcome:
        found = self.read()[order.nonce]
        ends = parse_time(found["ends"])
        return Outcome(found["state"], found["state"] == "done", {}, ends)

    def take_back(self, order: Order) -> Outcome:
        world = self.read()
        if world[order.nonce]["state"] == "done":
            world[order.nonce] |= {"state": "undone", "ended": world[order.nonce]["ended"] + 1}
            self._write(world)
        return self.check(order)

    def _write(self, world: dict[str, Any]) -> None:
        write_private(self._path, json.dumps(world).encode())


class FileRecorder:
    """A line a piece of evidence, whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def record(self, evidence: Evidence) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(evidence.canonical()) + "\n")

    def note(self, case: str, verb: str, step: str, facts: Mapping[str, JsonValue], time: datetime) -> None:
        pass


def tell_story(folder: Path, people: People, countdown: Countdown) -> None:
    """As a daemon would: plan, be approved, do, and let time pass; two deeds, one of them taken back by a person."""
    clock = FakeClock(START)
    runs = Runs(folder / "response.db")
    world = FileWorld(folder / "world.json", clock)
    recorder = FileRecorder(folder / "ledger")
    engine = make_engine(
        folder, people, Deadly(world, countdown), clock, Deadly(recorder, countdown), runs=Deadly(runs, countdown)
    )
    engine.absorb(finding(originators=["192.0.2.66", "192.0.2.67"]), "case")
    engine.step()
    (run,) = runs.runs(10)
    for deed in runs.deeds(run.id):
        if deed.state is State.PROPOSED:
            engine.approve(approve(people.signers["zhang"], deed.order, clock.now()))
    engine.step()
    first = runs.deeds(run.id)[0]
    if first.state in (State.DOING, State.DONE, State.VERIFIED):
        engine.take_back(first, "li")
    engine.step()
    clock.advance(3601)
    for _ in range(3):
        engine.step()
        clock.advance(400)
    runs.close()


def run_child(folder: Path, people: People, places: int | None) -> int:
    """Tell the story in a child; gives how it ended: 0, or minus the signal."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            tell_story(folder, people, Countdown(places))
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def fast(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a place: a kill, other than a power cut, loses nothing that was only written."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory, prefix="govsec-kills-") as folder:
        yield Path(folder)


def test_a_kill_at_every_seventh_place_loses_no_deed_and_does_none_twice(fast: Path) -> None:
    sweep(fast, stride=7)


@pytest.mark.soak
def test_a_kill_at_any_place_loses_no_deed_and_does_none_twice(fast: Path) -> None:
    sweep(fast, stride=1)


def sweep(folder: Path, *, stride: int) -> None:
    people = People(folder)
    whole = folder / "whole"
    whole.mkdir()
    counting = Countdown(None)
    tell_story(whole, people, counting)
    assert counting.passed > 150, "the story has hardly any places"

    for place in range(1, counting.passed + 1, stride):
        once = folder / f"killed-{place}"
        once.mkdir()
        assert run_child(once, people, place) == -signal.SIGKILL, f"place {place} was not reached"
        assert run_child(once, people, None) == 0, f"after a kill at place {place} it did not come up"
        check_end(once, place)
        shutil.rmtree(once)


def check_end(folder: Path, place: int) -> None:
    where = f"killed at place {place}"
    world = FileWorld(folder / "world.json", FakeClock(START)).read()
    runs = Runs(folder / "response.db")
    (run,) = runs.runs(10)
    deeds = runs.deeds(run.id)
    assert [deed.state for deed in deeds] in (
        [State.UNDONE, State.EXPIRED],
        # Killed so late that the second life finds the first deed over already.
        [State.EXPIRED, State.EXPIRED],
    ), where
    assert len(world) == 2 and all((each["begun"], each["ended"]) == (1, 1) for each in world.values()), where
    lines = [json.loads(line) for line in (folder / "ledger").read_text(encoding="utf-8").splitlines()]
    numbers = [line["facts"]["step_number"] for line in lines]
    steps = [step for deed in deeds for step in runs.steps(deed.nonce)]
    assert sorted(set(numbers)) == sorted(step.id for step in steps), where
    # Told again is told right after: nothing that is later stands before it.
    assert numbers == sorted(numbers), where
    runs.close()


class FileLamp(Lamp):
    """A verb whose lamp burns in a file: it outlives whoever lit it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def act(self, arguments: Mapping[str, str | int], before: dict[str, Any], ttl_s: int, nonce: str) -> None:
        self._path.touch()

    def before(self, arguments: Mapping[str, str | int]) -> dict[str, Any]:
        return {"was_lit": self._path.exists()}

    def holds(self, arguments: Mapping[str, str | int], before: dict[str, Any]) -> bool:
        return self._path.exists()

    def undo(self, arguments: Mapping[str, str | int], before: dict[str, Any]) -> str:
        if not before["was_lit"]:
            self._path.unlink(missing_ok=True)
        return ""


def ask_helper(folder: Path, approvals: list[str], nonce: str, countdown: Countdown) -> list[dict[str, Any]]:
    """Light the lamp, put it out again; what the helper answered."""
    clock = FakeClock(START)
    lamp: Any = Deadly(FileLamp(folder / "lamp"), countdown)
    lamp.is_volatile = False
    settings = read_settings(folder.parent / "helper.toml")
    settings = dataclasses.replace(settings, state_dir=folder)
    desk = HelperDesk(settings, {"light.lamp": lamp}, clock)
    requests = [{"step": "do", "approvals": approvals}, {"step": "undo", "nonce": nonce}]
    answers = [answer_bytes(desk, json.dumps(request).encode(), 1) for request in requests]
    desk.close()
    return answers


def test_a_helper_killed_at_any_place_of_a_deed_finishes_it_and_leaves_no_trace_after_undo(fast: Path) -> None:
    people = People(fast)
    write_settings(fast)
    order = make_order("light.lamp", {"lamp": "red", "ttl_s": 600}, made=START)
    approvals = people.approvals(order)
    (fast / "whole").mkdir()
    counting = Countdown(None)
    ask_helper(fast / "whole", approvals, order.nonce, counting)
    assert counting.passed > 8

    for place in range(1, counting.passed + 1):
        folder = fast / f"killed-{place}"
        folder.mkdir()
        pid = os.fork()
        if pid == 0:
            try:
                ask_helper(folder, approvals, order.nonce, Countdown(place))
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL

        done, undone = ask_helper(folder, approvals, order.nonce, Countdown(None))

        assert done["state"] in ("done", "undone") and undone["state"] == "undone", f"killed at place {place}"
        assert not (folder / "lamp").exists(), f"killed at place {place}"


class FolderWorld:
    """A file a deed: whoever makes it first has done it, for all others it is done."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def rehearse(self, order: Order) -> Mapping[str, JsonValue]:
        return {"sessions": 1}

    def carry_out(self, order: Order, approvals: Sequence[bytes]) -> Outcome:
        (self._folder / order.nonce).touch()
        return self.check(order)

    def check(self, order: Order) -> Outcome:
        is_there = (self._folder / order.nonce).exists()
        return Outcome("done", is_there, {}, START + timedelta(days=1))

    def take_back(self, order: Order) -> Outcome:
        return self.check(order)


def test_two_engines_at_once_do_and_tell_each_step_once(fast: Path) -> None:
    people, kept, world = People(fast), fast / "ledger", fast / "world"
    world.mkdir()

    def make() -> Engine:
        return make_engine(fast, people, FolderWorld(world), FakeClock(START), FileRecorder(kept))

    engine = make()
    (run,) = engine.absorb(finding(originators=[f"192.0.2.{number}" for number in range(1, 5)]), "case")
    engine.step()
    for deed in engine.runs.deeds(run):
        engine.runs.approve(deed, "zhang", approve(people.signers["zhang"], deed.order, START), START)
    # No open file of SQLite is carried into a child.
    engine.runs.close()
    children = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                other = make()
                for _ in range(8):
                    other.step()
                code = 0
            finally:
                os._exit(code)
        children.append(pid)

    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0, 0, 0]
    clock = FakeClock(START)
    engine = make_engine(fast, people, FolderWorld(world), clock, FileRecorder(kept))
    for _ in range(3):
        # What one of them put off, because another held the file, is due by then.
        clock.advance(10)
        engine.step()
    deeds = engine.runs.deeds(run)
    assert [deed.state for deed in deeds] == [State.VERIFIED] * 4
    for deed in deeds:
        steps = [step.step for step in engine.runs.steps(deed.nonce)]
        assert steps == ["planned", "tried", "approved", "agreed", "begun", "done", "verified"]
