"""The fault sweep over the whole story: one call to any store of the three centers fails, is answered late, or is the
last that the process makes; then everything is looked at, and the next run has to go on.

At each stop: every center is a valid repository, remote is only older, every receipt is true; then the next run
completes the step that was cut off, a round of shipping follows, and remote holds the newest backup (restored and
compared where a call that writes was met, checked elsewhere).

Four facts save work. A process that dies after a call leaves what one leaves that dies before the next call. Dying
after a call that only reads leaves what dying before it does. A reading call that fails leaves the same whether it
failed before or after it was made. And of many objects of one folder that are read in a row (a log, commit by commit),
the first and the last stand for those between. ``make soak`` takes none of them for granted: every call, kind and
moment, once and for ever after, told to the end, with stock restic's check at each stop. What was seen to follow well
from a state is not told again when another stop leaves the same state to the byte.

To replay one stop: ``GOVSEC_STORY_STOP=kill:before:417 pytest tests/story/test_fault_sweep.py -k replayed``; to draw
other samples: ``GOVSEC_SEED=7``.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import shutil
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import pytest

from govsec.config import Mode
from govsec.testing.faults import FaultKind, Faults, Moment, no_faults
from tests.support.restic import local_restic
from tests.support.story import CENTERS, PASSWORD, Story, dump

SEED = int(os.environ.get("GOVSEC_SEED", "20261122"))
_WRITES = ("put", "delete")
_READS = ("get", "head")
_PROCESSES = min(2, len(os.sched_getaffinity(0)))
_NEIGHBOURS = 8
_SEEN_BY_RESTIC = ("config", "keys/", "data/", "index/", "snapshots/")
#: Blobs go to one of two packs by lot, so a step may end a call earlier than when it was first told: told again then.
_DICE_MAX = 20


@dataclass(frozen=True)
class Stop:
    """One fault at one call of the story, counted from 1."""

    call: int
    kind: FaultKind
    moment: Moment
    is_permanent: bool = False

    def __str__(self) -> str:
        ending = ":permanent" if self.is_permanent else ""
        return f"{self.kind.value}:{self.moment.value}:{self.call}{ending}"


class Telling:
    """The story once told without faults: where each step began, and which call was of which kind."""

    def __init__(self, directory: Path, mode: Mode = Mode.MAXIMUM_AVAILABILITY) -> None:
        directory.mkdir(exist_ok=True)
        story = Story(directory / "source", directory / "target", mode)
        trace = no_faults()
        self.calls: list[str] = []
        trace.trace = self.calls
        self.beginnings: list[tuple[int, Story]] = []
        while story.done_count < len(Story.STEPS):
            self.beginnings.append((trace.calls_count, story.fork()))
            story.faults = trace
            story.run(story.done_count + 1)
        story.assert_finished()
        self.story = story
        #: States of centers that restic found clean, and states of all three that the next run went on from.
        self.seen: set[str] = set()

    @property
    def calls_count(self) -> int:
        return len(self.calls)

    def begin(self, stop: Stop, directory: Path) -> tuple[Story, Faults]:
        """The story at the beginning of the step in which ``stop`` lies, with files of its own, and the fault."""
        before, beginning = next(item for item in reversed(self.beginnings) if item[0] < stop.call)
        story = beginning.fork()
        shutil.rmtree(directory / "target", ignore_errors=True)
        story.scratch = directory / "target"
        return story, Faults(stop.call - before, stop.kind, stop.moment, is_permanent=stop.is_permanent)

    def step_of(self, stop: Stop) -> int:
        """How many steps are done when the one is, in which ``stop`` lies."""
        return sum(before < stop.call for before, _ in self.beginnings)

    def operation(self, call: int) -> str:
        """What the call does: get, head, list, put or delete."""
        return self.calls[call - 1].split()[1]

    def every_call(self, kind: FaultKind, moment: Moment) -> list[Stop]:
        """A stop for each call that can leave something else than its neighbours; see the module's docstring."""
        first_calls = {before + 1 for before, _ in self.beginnings}
        chosen = []
        for call in range(1, self.calls_count + 1):
            if kind is FaultKind.KILL:
                is_new = call in first_calls or self.operation(call - 1) in _WRITES
            elif moment is Moment.AFTER:
                is_new = self.operation(call) not in _READS
            else:
                is_new = call in first_calls or not self._is_in_a_row(call)
            if is_new:
                chosen.append(Stop(call, kind, moment))
        return chosen

    def _is_in_a_row(self, call: int) -> bool:
        """Whether the call reads the same folder of the same center as the one before it and the one after it."""
        around = self.calls[max(0, call - 2) : call + 1]
        return self.operation(call) in _READS and len({what.rpartition("/")[0] for what in around}) == 1


def tell(telling: Telling, stop: Stop, directory: Path) -> Story:
    """Tell the step with the fault in it, and what follows; raises ``AssertionError`` for what does not hold."""
    for _ in range(_DICE_MAX):
        story, faults = telling.begin(stop, directory)
        story.run_with(faults, telling.step_of(stop))
        if faults.was_reached:
            break
    assert faults.injected_count or faults.unheard, f"no fault was injected: {faults}"
    story.assert_valid()
    story.assert_receipts_true()
    return story


def go_on_shortly(telling: Telling, stop: Stop, directory: Path) -> None:
    """The stop; then the step that was cut off, a round of shipping, and the loss of two centers."""
    story = tell(telling, stop, directory)
    # Remote is checked at every stop; its files are written out and compared where a call that writes was met.
    restores = telling.operation(stop.call) in _WRITES or stop.call % 5 == 0
    whole = f"{telling.step_of(stop)} {restores} {story.state()}"
    if whole in telling.seen:
        return
    story.run_short_end(telling.step_of(stop), restores=restores)
    story.assert_valid(["remote"])
    story.assert_receipts_true()
    telling.seen.add(whole)


def go_on_to_the_end(telling: Telling, stop: Stop, directory: Path) -> None:
    """The stop, with stock restic's check of each center; then all that is left of the story."""
    story = tell(telling, stop, directory)
    states = {center: story.state_of(center, *_SEEN_BY_RESTIC) for center in CENTERS}
    check_with_restic(
        story, directory / "restic", str(stop), [center for center in CENTERS if states[center] not in telling.seen]
    )
    telling.seen.update(states.values())
    whole = story.state()
    if whole not in telling.seen:
        story.run_next()
        story.assert_finished()
        telling.seen.add(whole)


@pytest.fixture(scope="module")
def telling(tmp_path_factory: pytest.TempPathFactory) -> Telling:
    return Telling(tmp_path_factory.mktemp("story"))


Choose = Callable[[Telling], Sequence[Stop]]
Look = Callable[[Telling, Stop, Path], None]


def sweep(choose: Choose, look: Look, mode: Mode = Mode.MAXIMUM_AVAILABILITY) -> None:
    """``look`` at the stops that ``choose`` finds, in two processes; the failure shows the first of all that failed."""
    context = multiprocessing.get_context("fork")
    outcomes = context.SimpleQueue()
    # A dozen small files are written at every stop: in memory, where there is such a place.
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as directory:
        parts = [(choose, look, mode, Path(directory) / str(part), part, outcomes) for part in range(_PROCESSES)]
        processes = [context.Process(target=_tell_part, args=part) for part in parts]
        for process in processes:
            process.start()
        found = [outcomes.get() for _ in processes]
        for process in processes:
            process.join()
    told = sum(count for count, _ in found)
    failed = [text for _, texts in found for text in texts]
    print(f"{told} stops told")
    assert told and not failed, f"seed {SEED}: {len(failed)} of {told} stops:\n" + "\n".join(failed[:5])


def _tell_part(
    choose: Choose, look: Look, mode: Mode, directory: Path, part: int, outcomes: SimpleQueue[tuple[int, list[str]]]
) -> None:
    # Each process tells a story of its own first: the source is a real directory, and steps change it.
    logging.disable(logging.CRITICAL)
    failed: list[str] = []
    count = 0
    try:
        telling = Telling(directory, mode)
        # Stops at neighbouring calls often leave the same: they are for the same process to look at.
        for stop in (stop for stop in choose(telling) if stop.call // _NEIGHBOURS % _PROCESSES == part):
            failed += _tell_one(telling, stop, directory, look)
            count += 1
    except Exception:  # noqa: BLE001 - the parent waits for an answer
        failed.append(traceback.format_exc())
    outcomes.put((count, failed))


def _tell_one(telling: Telling, stop: Stop, directory: Path, look: Look) -> list[str]:
    try:
        look(telling, stop, directory)
    except Exception:  # noqa: BLE001 - whatever it was, it is this stop's result
        return [f"{stop}: {traceback.format_exc(limit=-4)}"]
    return []


def samples(telling: Telling, count: int, seed: int) -> list[Stop]:
    """Stops of every kind at calls drawn by lot."""
    rng = random.Random(seed)
    kinds = [kind for kind in FaultKind if kind is not FaultKind.LIE]
    return [
        Stop(rng.randrange(telling.calls_count) + 1, rng.choice(kinds), rng.choice(list(Moment)), rng.random() < 0.5)
        for _ in range(count)
    ]


def test_every_center_stays_valid_and_the_next_run_goes_on_wherever_the_process_dies() -> None:
    sweep(lambda telling: telling.every_call(FaultKind.KILL, Moment.BEFORE), go_on_shortly)


@pytest.mark.parametrize("moment", list(Moment))
def test_every_center_stays_valid_and_the_next_run_goes_on_whichever_call_fails(tmp_path: Path, moment: Moment) -> None:
    sweep(lambda telling: telling.every_call(FaultKind.ERROR, moment), go_on_shortly)


def test_other_faults_once_and_for_ever_after_leave_as_little_behind() -> None:
    sweep(lambda telling: samples(telling, 120, SEED), go_on_shortly)


@pytest.mark.parametrize("mode", [Mode.MAXIMUM_PROTECTION, Mode.MAXIMUM_PERFORMANCE])
def test_the_other_modes_leave_no_more_behind_at_seeded_stops(mode: Mode) -> None:
    sweep(lambda telling: samples(telling, 50, SEED + 2), go_on_shortly, mode)


def test_one_stop_is_replayed(telling: Telling, tmp_path: Path) -> None:
    kind, moment, call, *ending = os.environ.get("GOVSEC_STORY_STOP", "kill:after:100").split(":")
    stop = Stop(int(call), FaultKind(kind), Moment(moment), ending == ["permanent"])
    story = tell(telling, stop, tmp_path)
    story.run_next()
    story.assert_finished()


def test_stock_restic_finds_every_center_clean_at_thirty_stops(telling: Telling, tmp_path: Path) -> None:
    checked = 0
    for number, stop in enumerate(samples(telling, 30, SEED + 1)):
        story = tell(telling, stop, tmp_path)
        checked += check_with_restic(story, tmp_path / str(number), f"seed {SEED + 1}, {stop}")
    assert checked > 45, "most stops leave more than one center with snapshots"


def check_with_restic(story: Story, directory: Path, what: str, centers: Sequence[str] = CENTERS) -> int:
    """restic's own check on each center that is a repository by now; how many were."""
    count = 0
    for center in centers:
        if not story.objects(center, "config"):
            continue
        directory.mkdir(exist_ok=True)
        repository = dump(story.stores[center], directory / center)
        restic = local_restic(repository, PASSWORD.decode(), directory)
        done = restic.run("check", "--no-lock", "--read-data")
        assert done.is_clean, f"{what}: {center}: {done.stderr}"
        count += any(story.objects(center, "snapshots/"))
    shutil.rmtree(directory, ignore_errors=True)
    return count


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("kind", [kind for kind in FaultKind if kind is not FaultKind.LIE])
def test_every_call_kind_and_moment_with_restic_at_each_stop(kind: FaultKind) -> None:
    def every(telling: Telling) -> list[Stop]:
        return [
            Stop(call, kind, moment, is_permanent)
            for call in range(1, telling.calls_count + 1)
            for moment in Moment
            # Who is dead makes no call that could fail for ever after.
            for is_permanent in ((False,) if kind is FaultKind.KILL else (False, True))
        ]

    sweep(every, go_on_to_the_end)
