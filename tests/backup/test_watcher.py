"""The watcher's own rules, on a clock that moves when told and events that come when told."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import pytest

from govsec.backup import walk
from govsec.backup.api import Change, Changes
from govsec.backup.archive import ArchiveResult, archive
from govsec.backup.blobs import BlobSaver
from govsec.backup.live import LiveWriter
from govsec.backup.sources import FileSource
from govsec.backup.walk import TreeWalker
from govsec.backup.watch import Watcher
from govsec.backup.watchstate import WatchSettings
from govsec.clock import from_ns
from govsec.errors import SourceError, StoreUnavailableError
from govsec.repo.claims import ClaimTable
from govsec.repo.pack import BlobType
from govsec.repo.repository import WritableRepository
from govsec.repo.snapshot import Snapshot
from govsec.store.memory import MemoryStore
from govsec.testing.clock import FakeClock
from tests.backup.conftest import CHEAP, PASSWORD


class Told:
    """A ``ChangeSource`` that tells what a test says."""

    name = "told"

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.waiting: list[Changes] = []
        self.wrong = ""
        self.opened_count = 0

    def open(self) -> None:
        if self.wrong:
            raise SourceError(self.wrong)
        self.opened_count += 1

    def wait(self, seconds: float) -> bool:
        if not self.waiting:
            self.clock.advance(seconds)
        return bool(self.waiting)

    def read(self) -> Changes:
        return self.waiting.pop(0) if self.waiting else Changes()

    def trouble(self) -> str:
        return self.wrong

    def unwatched(self) -> str:
        return ""

    def counters(self) -> Mapping[str, int]:
        return {}

    def close(self) -> None:
        self.waiting.clear()


class Target:
    """A ``WatchTarget`` over a repository in memory, whose commits fail as often as a test says."""

    def __init__(self, repository: WritableRepository, clock: FakeClock) -> None:
        self.writer = LiveWriter(repository, clock=clock)
        self.failures = 0
        self.waiting: list[ArchiveResult] = []
        self.committed: list[Snapshot] = []

    def commit(self, result: ArchiveResult, *, witness: str | None = None) -> object:
        self.waiting.append(result)
        return self.commit_waiting()[-1]

    def commit_waiting(self) -> Sequence[object]:
        receipts = []
        while self.waiting:
            if self.failures:
                self.failures -= 1
                raise StoreUnavailableError("no answer")
            self.committed.append(self.waiting.pop(0).snapshot)
            receipts.append(self.committed[-1].id)
        return receipts

    def tend(self) -> Sequence[object]:
        return self.commit_waiting()


class Story:
    """A watcher over a small source."""

    def __init__(self, source: Path, clock: FakeClock) -> None:
        self.source, self.clock = source, clock
        repository = WritableRepository.initialize(MemoryStore("memory", clock=clock), PASSWORD, clock, kdf=CHEAP)
        repository.load_index()
        self.repository = repository
        self.events, self.target = Told(clock), Target(repository, clock)
        self.lags: list[float | None] = []
        self.problems: list[str] = []
        self.during_scan: Callable[[], None] = lambda: None
        files = FileSource([source])

        def scan(pump: Callable[[], None]) -> tuple[Snapshot, object]:
            def progress(moment: object) -> None:
                self.during_scan()
                pump()

            result = archive(repository, files, clock=clock, workers=0, progress=progress)
            self.during_scan()
            pump()
            for info in result.objects:
                if info.name.startswith("index/"):
                    repository.load_index()
            return result.snapshot, self.target.commit(result)

        self.watcher = Watcher(
            files,
            self.events,
            self.target,
            scan=scan,
            settings=WatchSettings(window_s=2, heartbeat_s=600, rescan_s=3600),
            clock=clock,
            is_stopped=lambda: False,
            note=lambda receipt, lag_s: self.lags.append(lag_s),
            changed=lambda state: self.problems.append(state.problem) if state.problem else None,
        )

    def change(self, name: str, content: str) -> None:
        (self.source / name).write_text(content)
        self.events.waiting.append(Changes([Change(os.fsencode(self.source / name))]))

    def turns(self, seconds: float) -> None:
        until = self.clock.monotonic() + seconds
        while self.clock.monotonic() < until:
            self.watcher.turn()
            self.clock.advance(0.01)

    def shown(self) -> dict[str, bytes]:
        """What the newest committed snapshot has of the source's own files."""
        return self.shown_below("")

    def shown_below(self, folder: str) -> dict[str, bytes]:
        """The same of a folder of the source."""
        tree = bytes.fromhex(self.target.committed[-1].tree)
        for name in (self.source / folder).relative_to("/").parts:
            (tree,) = (
                bytes.fromhex(node.subtree or "") for node in self.repository.load_tree(tree).nodes if node.name == name
            )
        return {
            node.name: b"".join(
                self.repository.load_blob(BlobType.DATA, bytes.fromhex(blob)) for blob in node.content or ()
            )
            for node in self.repository.load_tree(tree).nodes
        }


@pytest.fixture
def story(tmp_path: Path, clock: FakeClock) -> Story:
    source = tmp_path / "source"
    source.mkdir()
    (source / "old").write_text("old")
    return Story(source, clock)


def test_a_window_ends_when_its_first_change_is_old_enough_and_holds_all_that_came(story: Story) -> None:
    story.turns(1)
    story.change("a", "1")
    story.turns(1)
    story.change("b", "2")
    assert len(story.target.committed) == 1
    story.turns(2)
    assert len(story.target.committed) == 2
    assert story.shown() == {"old": b"old", "a": b"1", "b": b"2"}


def test_a_snapshot_whose_commit_was_not_taken_is_committed_before_any_other(story: Story) -> None:
    story.turns(1)
    story.target.failures = 2
    story.change("a", "1")
    story.turns(4)
    assert story.watcher.state.problem == "no answer"
    story.change("b", "2")
    story.turns(20)
    assert story.watcher.state.problem == ""
    assert len(story.target.committed) == 3
    assert story.shown() == {"old": b"old", "a": b"1", "b": b"2"}
    # The first change waited for three attempts, and its lag says so.
    assert story.lags[1] is not None and story.lags[1] >= 2 + 2 + 4


def test_lag_counts_from_when_nothing_had_happened_yet_not_from_when_it_was_read(story: Story) -> None:
    story.turns(5)
    real = story.target.commit

    def slow(result: ArchiveResult, *, witness: str | None = None) -> object:
        # While this commit takes a minute, nobody reads events.
        story.clock.advance(60)
        story.change("late", "2")
        return real(result, witness=witness)

    story.target.commit = slow  # type: ignore[method-assign]
    story.change("a", "1")
    story.turns(3)
    story.target.commit = real  # type: ignore[method-assign]
    story.turns(5)
    assert story.shown()["late"] == b"2"
    assert story.lags[-1] is not None and story.lags[-1] >= 60


def test_what_changes_while_everything_is_compared_is_looked_at_again(story: Story) -> None:
    def once() -> None:
        story.during_scan = lambda: None
        # The comparison has seen it as it was; the same size and, for all that its clock shows, the same moment.
        story.change("old", "new")
        os.utime(story.source / "old", ns=(1, 1))

    story.during_scan = once
    story.turns(5)
    assert story.shown()["old"] == b"new"


def test_lost_events_lead_to_a_comparison_and_its_lag_is_told(story: Story) -> None:
    story.turns(1)
    (story.source / "unseen").write_text("nobody told")
    story.events.waiting.append(Changes((), "the queue overran"))
    story.turns(2)
    assert story.shown()["unseen"] == b"nobody told"
    assert story.watcher.state.counts.losses == 1
    assert story.lags[-1] is not None


def test_a_source_that_is_gone_is_a_problem_until_it_is_back_and_then_compared(story: Story) -> None:
    story.turns(1)
    story.events.wrong = "/source: unmounted"
    story.turns(30)
    assert (story.watcher.state.problem, len(story.target.committed)) == ("/source: unmounted", 1)
    (story.source / "new").write_text("meanwhile")
    story.events.wrong = ""
    story.turns(90)
    assert story.watcher.state.problem == ""
    assert story.shown()["new"] == b"meanwhile"
    assert story.lags[-1] is not None and story.lags[-1] >= 30


def test_without_changes_a_snapshot_comes_every_ten_minutes_and_a_comparison_every_hour(story: Story) -> None:
    story.turns(3700)
    counts = story.watcher.state.counts
    assert (counts.heartbeats, counts.scans, counts.windows) == (5, 2, 0)
    assert counts.packs == 0
    trees = {snapshot.tree for snapshot in story.target.committed}
    assert len(trees) == 1


def test_a_window_leaves_nothing_behind_that_the_collector_has_to_find(story: Story) -> None:
    story.turns(1)
    gc.collect()
    gc.disable()
    try:
        for number in range(3):
            story.change("a", f"{number}")
            story.turns(3)
        left = [thing for thing in gc.get_objects() if isinstance(thing, (BlobSaver, ClaimTable, TreeWalker))]
    finally:
        gc.enable()
    assert len(story.target.committed) == 4
    assert left == []


def test_lag_of_a_snapshot_that_waited_is_told_whoever_commits_it(story: Story) -> None:
    story.turns(1)
    story.target.failures = 4
    story.change("a", "1")
    # Attempts are rare by now, and the session's own care comes every twenty seconds.
    story.turns(120)
    assert story.target.waiting == []
    assert len([lag_s for lag_s in story.lags if lag_s is not None]) == 1
    assert max(lag_s for lag_s in story.lags if lag_s is not None) >= 20


class AtTheFile(FakeClock):
    """A clock that shows, after the beginning, the moment at which one file changed last."""

    path: Path | None = None

    def now(self) -> datetime:
        return super().now() if self.path is None else from_ns(self.path.stat().st_ctime_ns)


def test_a_file_that_changed_within_a_tick_of_being_read_is_read_again(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    clock = AtTheFile()
    story = Story(source, clock)
    story.turns(1)
    # In a new folder, which is walked wholly.
    (source / "new").mkdir()
    (source / "new" / "hot").write_text("one")
    clock.path = source / "new" / "hot"
    story.events.waiting.append(Changes([Change(os.fsencode(source / "new"), is_directory=True)]))
    story.turns(2.5)
    assert story.shown_below("new") == {"hot": b"one"}
    # Written once more at a moment that the file system's clock cannot tell from the first.
    before = (source / "new" / "hot").stat()
    clock.path = None
    unchanged = walk.is_unchanged
    assert before.st_size == 3
    (source / "new" / "hot").write_text("two")
    with pytest.MonkeyPatch.context() as patch:
        # The kernel's ctime cannot be set; what it would look like is that the file is taken for unchanged.
        patch.setattr(walk, "is_unchanged", lambda node, status: node.size == status.st_size or unchanged(node, status))
        story.turns(5)
    assert story.shown_below("new") == {"hot": b"two"}
