"""Patterns of paths: stock restic's excludes decide the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from govsec.backup.listing import list_entries
from govsec.backup.patterns import Patterns
from govsec.errors import ConfigurationError
from govsec.repo.repository import WritableRepository
from govsec.store.local import LocalStore
from tests.backup.conftest import CHEAP, PASSWORD, Desk
from tests.support.restic import local_restic


@pytest.mark.parametrize(
    ("patterns", "path", "is_matched"),
    [
        (["*.log"], "/a/x.log", True),
        (["*.log"], "/a/x.log/deeper", False),
        (["*.log", "!keep.log"], "/a/keep.log", False),
        (["!keep.log", "*.log"], "/a/keep.log", True),
        (["/a/*"], "/a/b", True),
        (["/a/*"], "/x/a/b", False),
        (["a/b"], "/x/a/b", True),
        (["a/b"], "/xa/b", False),
        (["/a/**/c"], "/a/c", True),
        (["/a/**/c"], "/a/b/d/c", True),
        (["/a/**/c"], "/b/a/c", False),
        (["?.txt"], "/文.txt", True),
        (["?.txt"], "/ab.txt", False),
        (["[a-c]x"], "/bx", True),
        (["[^a-c]x"], "/bx", False),
        ([r"\*"], "/*", True),
        ([r"\*"], "/x", False),
        (["a.b"], "/axb", False),
        (["name\n"], "/name", False),
    ],
)
def test_a_pattern_matches_whole_names(patterns: list[str], path: str, is_matched: bool) -> None:
    assert Patterns(patterns).match(os.fsencode(path)) is is_matched


@pytest.mark.parametrize("pattern", ["", "!", "a/../b", "[a", "x" * 5000])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigurationError):
        Patterns([pattern])


def test_a_directory_is_entered_only_when_something_below_may_match() -> None:
    patterns = Patterns(["/srv/data/hr/*.doc"])
    assert patterns.may_match_below(b"/srv") and patterns.may_match_below(b"/srv/data/hr")
    assert not patterns.may_match_below(b"/srv/other") and not patterns.may_match_below(b"/etc")
    assert Patterns(["*.doc"]).may_match_below(b"/anywhere")
    assert Patterns(["/srv/**/x"]).may_match_below(b"/srv/a/b/c")


def test_restic_leaves_out_the_same_paths(desk: Desk, tmp_path: Path) -> None:
    root = tmp_path / "tree"
    names = [
        "a.log",
        "keep.txt",
        "cache",
        "d/a.log",
        "d/cache/x",
        "d/e/f/cache",
        "d/e/b.tmp",
        "deep/er/than/this/x.log",
        "[odd]",
        "c.LOG",
    ]
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    restic = local_restic(tmp_path / "repo", PASSWORD.decode(), tmp_path)
    # Made by govsec: a key that is cheap to open.
    WritableRepository.initialize(LocalStore(tmp_path / "repo", create=True), PASSWORD, desk.clock, kdf=CHEAP)
    for excludes in (
        ["*.log"],
        ["cache"],
        [f"{root}/d/e"],
        ["d/**/cache"],
        [f"{root}/**/*.log"],
        ["e/*.tmp", "?.log"],
        ["[ck]*"],
    ):
        restic.ok("backup", root, *(option for pattern in excludes for option in ("--exclude", pattern)))
        theirs = {line for line in restic.ok("ls", "latest").splitlines() if line.startswith(str(root))}
        desk.back_up(root, exclude=excludes)
        repository = desk.readable()
        ours = {
            os.fsdecode(entry.path)
            for entry in list_entries(repository, repository.resolve())
            if os.fsdecode(entry.path).startswith(str(root))
        }
        assert ours == theirs, excludes
