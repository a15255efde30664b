"""Where fanotify cannot be had: inotify for real, and looking again and again."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from govsec.clock import SystemClock
from govsec.host import inotify
from govsec.host.api import SourceUnavailableError
from govsec.host.events import EventsLost, FileChange, WatchNote
from govsec.host.filewatch import WatchOptions
from govsec.host.inotify import Inotify
from govsec.host.polling import Polling
from govsec.testing.clock import FakeClock
from tests.host.watching import changes_until, run, said, until


class FewWatches(inotify.Kernel):
    """A system that lets a user have three watches."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def watch(self, descriptor: int, path: bytes) -> int:
        self.count += 1
        if self.count > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().watch(descriptor, path)


@contextlib.contextmanager
def watching(*roots: Path, kernel: inotify.Kernel | None = None, **options: int) -> Iterator[Inotify]:
    source = Inotify(WatchOptions(roots, **options), SystemClock(), kernel=kernel)
    source.open()
    try:
        yield source
    finally:
        source.close()


def test_a_story_of_files_is_told_in_order(tmp_path: Path) -> None:
    (tmp_path / "have").mkdir()
    with watching(tmp_path) as source:
        run("echo one >have/file; mv have/file have/moved; chmod 600 have/moved; rm have/moved; mkdir END", tmp_path)
        words = said(changes_until(source, "/END"), tmp_path)

    assert words == [
        "created have/file",
        "modified have/file",
        "renamed have/moved from have/file",
        "attributes have/moved",
        "deleted have/moved",
        "created END",
    ]


def test_what_is_in_a_new_folder_before_it_is_watched_is_told_once(tmp_path: Path) -> None:
    with watching(tmp_path) as source:
        run("mkdir -p new/deep; echo x >new/deep/file; mkdir END", tmp_path)
        first = said(changes_until(source, "/END"), tmp_path)
        run("echo y >new/deep/later; mkdir END2", tmp_path)
        second = said(changes_until(source, "/END2"), tmp_path)

    assert sorted(first) == ["created END", "created new", "created new/deep", "created new/deep/file"]
    assert second == ["created new/deep/later", "modified new/deep/later", "created END2"]


def test_what_appears_between_watching_and_looking_is_told_once(tmp_path: Path) -> None:
    class Racing(inotify.Kernel):
        def watch(self, descriptor: int, path: bytes) -> int:
            number = super().watch(descriptor, path)
            if path.endswith(b"/new"):
                os.mkfifo(path + b"/raced")
            return number

    with watching(tmp_path, kernel=Racing()) as source:
        run("mkdir new", tmp_path)
        words = said(changes_until(source, "/raced"), tmp_path)
        run("mkdir END", tmp_path)
        words += said(changes_until(source, "/END"), tmp_path)

    assert words == ["created new", "created new/raced", "created END"]


def test_a_renamed_folder_changes_the_paths_below_and_one_that_left_is_not_watched(tmp_path: Path) -> None:
    (tmp_path / "in" / "a" / "b").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    with watching(tmp_path / "in") as source:
        run("mv in/a in/z", tmp_path)
        first = said(changes_until(source, "/z"), tmp_path)
        run("mkdir in/z/b/one", tmp_path)
        second = said(changes_until(source, "/one"), tmp_path)
        run("mv in/z out/z", tmp_path)
        third = said(changes_until(source, "/z"), tmp_path)
        run("mkdir out/z/b/two; mkdir in/END", tmp_path)
        fourth = said(changes_until(source, "/END"), tmp_path)

    assert (first, second) == (["renamed in/z from in/a"], ["created in/z/b/one"])
    assert (third, fourth) == (["deleted in/z"], ["created in/END"])


def test_a_folder_that_comes_in_is_watched_with_all_below(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out" / "a" / "b").mkdir(parents=True)
    with watching(tmp_path / "in") as source:
        run("mv out/a in/a", tmp_path)
        first = changes_until(source, "/a")
        run("mkdir in/a/b/one", tmp_path)
        second = said(changes_until(source, "/one"), tmp_path)

    assert [(change.operation, change.old_path) for change in first] == [("renamed", None)]
    assert second == ["created in/a/b/one"]


def test_excluded_folders_and_hostile_names(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    name = os.fsdecode(b"\xff line\nend")
    with watching(tmp_path, excluded=(tmp_path / "spool",)) as source:
        run("echo x >spool/one", tmp_path)
        (tmp_path / name).mkdir()
        changes = changes_until(source, name)

    assert [change.path for change in changes] == [str(tmp_path / name)]


def test_the_limit_of_watches_is_told_and_what_is_watched_goes_on(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / str(number)).mkdir()
    with watching(tmp_path, kernel=FewWatches()) as source:
        notes = [each.text for each in source.read() if isinstance(each, WatchNote)]
        run("mkdir END", tmp_path)
        changes_until(source, "/END")

    assert notes == ["3 folders are the limit of watches: further ones are not seen"]
    assert source.counters()["folders_left_out"] >= 6


def test_an_overflow_is_told_with_what_to_look_at(tmp_path: Path) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    (tmp_path / "flood").mkdir()
    with watching(tmp_path) as source:
        for _ in range(limit // 2 + 10):
            os.mkfifo(tmp_path / "flood" / "pipe")
            os.unlink(tmp_path / "flood" / "pipe")
        records = until(source, lambda came: any(isinstance(each, EventsLost) for each in came))

    assert [each.scope for each in records if isinstance(each, EventsLost)] == [(str(tmp_path),)]


def test_no_instance_left_and_no_folder_are_clear_errors(tmp_path: Path) -> None:
    class NoInstance(inotify.Kernel):
        def init(self) -> int:
            raise OSError(errno.EMFILE, "Too many open files")

    with pytest.raises(SourceUnavailableError, match="Too many open files"):
        Inotify(WatchOptions((tmp_path,)), SystemClock(), kernel=NoInstance()).open()
    with pytest.raises(SourceUnavailableError, match="no folder to watch"):
        Inotify(WatchOptions((tmp_path / "missing",)), SystemClock()).open()


# Polling.


def looked(source: Polling, clock: FakeClock, folder: Path) -> list[str]:
    """All that the next whole round tells."""
    clock.advance(100)
    rounds = source.counters()["rounds"]
    records = list(source.read())
    while source.counters()["rounds"] == rounds:
        records += source.read()
    return sorted(said([each for each in records if isinstance(each, FileChange)], folder))


def test_a_round_tells_what_is_other_than_in_the_round_before(tmp_path: Path) -> None:
    for name in ("stays", "grows", "goes", "moves", "opens"):
        (tmp_path / name).write_text(name)
    clock = FakeClock()
    source = Polling(WatchOptions((tmp_path,)), clock, round_s=30)
    source.open()
    assert looked(source, clock, tmp_path) == []

    (tmp_path / "grows").write_text("more than before")
    (tmp_path / "goes").unlink()
    (tmp_path / "moves").rename(tmp_path / "moved")
    (tmp_path / "opens").chmod(0o777)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "file").touch()

    assert looked(source, clock, tmp_path) == [
        "attributes opens",
        "created new",
        "created new/file",
        "deleted goes",
        "modified grows",
        "renamed moved from moves",
    ]
    assert looked(source, clock, tmp_path) == []


def test_a_round_waits_for_its_time_and_goes_in_steps(tmp_path: Path) -> None:
    for number in range(4500):
        (tmp_path / str(number)).touch()
    clock = FakeClock()
    source = Polling(WatchOptions((tmp_path,)), clock, round_s=30)
    source.open()
    clock.advance(29)
    source.read()
    assert source.counters()["rounds"] == 0
    clock.advance(2)
    steps = 0
    while source.counters()["rounds"] == 0:
        source.read()
        steps += 1
    assert steps == 3


def test_a_folder_that_cannot_be_read_any_more_has_not_lost_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "closed" / "deep").mkdir(parents=True)
    (tmp_path / "closed" / "deep" / "file").touch()
    clock = FakeClock()
    source = Polling(WatchOptions((tmp_path,)), clock)
    source.open()
    scandir = os.scandir

    def refused(path: bytes) -> object:
        if path.endswith(b"/closed"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    # Root may read everything, so the refusal has to be put in.
    monkeypatch.setattr(os, "scandir", refused)
    assert looked(source, clock, tmp_path) == []
    monkeypatch.undo()
    (tmp_path / "closed" / "deep" / "file").unlink()
    assert looked(source, clock, tmp_path) == ["deleted closed/deep/file"]


def test_more_files_than_there_is_room_for_are_told(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / str(number)).touch()
    source = Polling(WatchOptions((tmp_path,)), FakeClock(), files_max=10)
    source.open()

    assert [each.text for each in source.read() if isinstance(each, WatchNote)] == [
        "more than 10 files: further ones are not seen"
    ]
    assert source.counters()["files_left_out"] == 41
