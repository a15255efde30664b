"""Folders that are made, filled, renamed and made again before anybody reads a message are watched all the same."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from govsec.host.events import EventsLost, FileChange
from govsec.host.filewatch import WatchOptions
from govsec.host.inotify import Inotify
from govsec.testing.clock import FakeClock


def publish(root: Path) -> None:
    (root / "x" / "sub").mkdir(parents=True)
    (root / "x" / "f").write_text("1")
    (root / "x").rename(root / "d")


def child_of_renamed(root: Path) -> None:
    (root / "p" / "n").mkdir()
    (root / "p").rename(root / "q")


def made_again(root: Path) -> None:
    (root / "a").mkdir()
    (root / "a").rename(root / "b")
    (root / "a").mkdir()


def made_again_with_children(root: Path) -> None:
    (root / "a" / "s").mkdir(parents=True)
    (root / "a").rename(root / "b")
    (root / "a" / "s").mkdir(parents=True)


def swapped(root: Path) -> None:
    (root / "p").rename(root / "t")
    (root / "o").rename(root / "p")
    (root / "t").rename(root / "o")


def there_and_back(root: Path) -> None:
    (root / "p").rename(root / "t")
    (root / "t").rename(root / "p")


def removed_and_made(root: Path) -> None:
    (root / "p").rmdir()
    (root / "p" / "s").mkdir(parents=True)


def opened(root: Path) -> Inotify:
    for name in ("p", "o"):
        (root / name).mkdir()
    source = Inotify(WatchOptions((root,), has_writes=True), FakeClock())
    source.open()
    return source


def drain(source: Inotify) -> tuple[set[str], bool]:
    """Every path that is told, until nothing more comes; and whether something was lost."""
    told: set[str] = set()
    is_lost = False
    quiet = 0
    while quiet < 2:
        records = source.read()
        quiet = quiet + 1 if not records else 0
        told |= {record.path for record in records if isinstance(record, FileChange)}
        is_lost |= any(isinstance(record, EventsLost) for record in records)
    return told, is_lost


def assert_every_folder_is_watched(root: Path, source: Inotify) -> None:
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    for number, folder in enumerate(folders):
        (folder / f"written-{number}").write_text("now")
    told, _ = drain(source)
    assert [f for n, f in enumerate(folders) if str(f / f"written-{n}") not in told] == []


@pytest.mark.parametrize(
    "shape",
    [publish, child_of_renamed, made_again, made_again_with_children, swapped, there_and_back, removed_and_made],
)
def test_a_folder_is_watched_whatever_it_was_called_when_its_message_is_read(
    tmp_path: Path, shape: Callable[[Path], None]
) -> None:
    source = opened(tmp_path)
    try:
        shape(tmp_path)
        _, is_lost = drain(source)
        assert not is_lost
        assert_every_folder_is_watched(tmp_path, source)
    finally:
        source.close()


@pytest.mark.parametrize("seed", range(40))
def test_after_any_changes_of_folders_each_one_is_watched_or_a_loss_is_told(tmp_path: Path, seed: int) -> None:
    choice = random.Random(seed)
    source = opened(tmp_path)
    try:
        for _ in range(5):
            for _ in range(choice.randrange(1, 8)):
                change_somehow(tmp_path, choice)
            if choice.random() < 0.5:
                source.read()  # in the middle of it, perhaps between the two halves of a rename
        _, is_lost = drain(source)
        if not is_lost:
            assert_every_folder_is_watched(tmp_path, source)
    finally:
        source.close()


def change_somehow(root: Path, choice: random.Random) -> None:
    folders = sorted(path for path in root.rglob("*") if path.is_dir())
    parent = choice.choice([root, *folders])
    target = parent / choice.choice("abcd")
    what = choice.randrange(3)
    if what == 0 or not folders:
        target.mkdir(exist_ok=True)
        return
    folder = choice.choice(folders)
    if what == 1 and not target.exists() and not target.is_relative_to(folder):
        folder.rename(target)
    elif what == 2 and not os.listdir(folder):
        folder.rmdir()
