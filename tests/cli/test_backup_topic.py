"""``govsec backup`` on one directory, without configuration: what it prints, its JSON and its exit codes."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from govsec.cli.main import main

Run = Callable[..., int]


@pytest.fixture
def where(tmp_path: Path) -> list[str]:
    password_file = tmp_path / "password"
    password_file.write_text("a horse that nobody rides\n")
    password_file.chmod(0o600)
    return ["--repo", str(tmp_path / "repo"), "--password-file", str(password_file)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "文件"
    (root / "sub").mkdir(parents=True)
    (root / "one.txt").write_bytes(b"one")
    (root / "sub" / "two.txt").write_bytes(b"two")
    return root


def run(*argv: str | Path) -> int:
    return main(["backup", *map(str, argv), "--quiet"])


def printed(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> tuple[int, Any]:
    capsys.readouterr()
    code = run(*argv, "--json")
    return code, json.loads(capsys.readouterr().out)


def test_a_backup_is_made_listed_searched_compared_and_restored(
    where: list[str], source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, made = printed(capsys, "run", source, "--create", *where, "--workers", "0")
    (backup,) = made["backups"]
    assert (code, backup["files"], backup["bytes"], backup["problems_count"]) == (0, 2, 6, 0)
    assert set(backup["seconds"]) >= {"prepare", "read", "index", "snapshot"}
    (source / "one.txt").write_bytes(b"other")
    assert run("run", source, *where, "--workers", "0", "--tag", "second") == 0
    code, listed = printed(capsys, "list", *where)
    assert (code, len(listed["snapshots"])) == (0, 2)
    assert listed["snapshots"][0]["id"] == backup["snapshot"]
    code, listed = printed(capsys, "list", *where, "--tag", "second")
    assert [item["tags"] for item in listed["snapshots"]] == [["second"]]
    code, entries = printed(capsys, "ls", "latest", source, "--recursive", *where)
    assert [Path(item["path"]).name for item in entries["entries"]] == ["one.txt", "sub", "two.txt"]
    code, found = printed(capsys, "find", "two.*", *where)
    assert (code, len(found["found"])) == (0, 2)
    assert run("find", "nothing-like-it", *where) == 1
    code, changes = printed(capsys, "diff", backup["snapshot"], "latest", *where)
    assert {"change": "M", "path": str(source / "one.txt")} in changes["changes"]
    code, restored = printed(capsys, "restore", "latest", "--target", tmp_path / "out", "--verify", *where)
    assert (code, restored["restore"]["files"], restored["restore"]["verified"]) == (0, 2, 2)
    assert (tmp_path / "out" / source.relative_to("/") / "one.txt").read_bytes() == b"other"


def test_a_backup_with_problems_ends_with_one_and_names_them(
    where: list[str], source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, made = printed(capsys, "run", source, source / "missing", "--create", *where)
    (backup,) = made["backups"]
    assert code == 1
    assert backup["problems"] == [{"path": str(source / "missing"), "what": "is not there"}]


def test_words_on_standard_output_name_the_snapshot(
    where: list[str], source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("run", source, "--create", *where) == 0
    assert "2 files" in capsys.readouterr().out
    assert run("list", *where) == 0
    assert str(source) in capsys.readouterr().out


def test_a_file_and_a_directory_are_dumped(
    where: list[str], source: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert run("run", source, "--create", *where) == 0
    capfdbinary.readouterr()
    assert run("dump", "latest", source / "one.txt", *where) == 0
    assert capfdbinary.readouterr().out == b"one"
    assert run("dump", "latest", source, *where) == 0
    with tarfile.open(fileobj=BytesIO(capfdbinary.readouterr().out)) as archive:
        assert sorted(Path(name).name for name in archive.getnames()) == ["one.txt", "sub", "two.txt"]


def test_forget_shows_first_and_removes_then(
    where: list[str], source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        assert run("run", source, "--create", *where, "--workers", "0") == 0
    code, decided = printed(capsys, "forget", "--keep-last", "1", "--dry-run", *where)
    assert (code, decided["removed"], len(decided["decisions"])) == (0, 2, 3)
    assert len(printed(capsys, "list", *where)[1]["snapshots"]) == 3
    assert run("forget", "--keep-last", "1", *where) == 0
    assert len(printed(capsys, "list", *where)[1]["snapshots"]) == 1


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (["run"], 2, "at least one path"),
        (["ls", "latest"], 2, "no snapshot fits"),
        (["forget"], 5, "policy is empty"),
        (["restore", "latest", "--target", "/", "--delete"], 2, "--include"),
        (["run", "/no/such/path"], 1, "/no/such/path"),
        (["dump", "latest", "/x", "--json"], 2, "no JSON"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_its_exit_code(
    where: list[str], source: Path, capsys: pytest.CaptureFixture[str], argv: list[str], code: int, says: str
) -> None:
    assert run("run", source, "--create", *where) == 0
    if argv[0] == "ls":
        assert run("forget", "--keep-last", "1", *where) == 0
        argv = ["ls", "ffffffff"]
        says = "snapshots fit"
    capsys.readouterr()
    assert run(*argv, *where) == code
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_a_wrong_password_and_a_missing_repository_change_nothing(
    where: list[str], source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("run", source, *where) == 4  # without --create nothing is made
    assert not (tmp_path / "repo").exists()
    assert run("run", source, "--create", *where) == 0
    (tmp_path / "password").write_text("another\n")
    capsys.readouterr()
    assert run("list", *where) == 3
    assert "another" not in capsys.readouterr().err


def test_standard_input_becomes_a_snapshot(
    where: list[str], source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("run", source, "--create", *where) == 0
    # What a program reads from is process-wide; there is no other way to set it than to set it.
    monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": BytesIO(b"dumped")})())
    code, made = printed(capsys, "stdin", "--name", "hr.sql", *where)
    assert (code, made["backups"][0]["bytes"]) == (0, 6)
    code, entries = printed(capsys, "ls", "latest", *where)
    assert [item["path"] for item in entries["entries"]] == ["/hr.sql"]


def test_a_restore_that_finds_nothing_of_what_was_asked_for_is_no_success(
    where: list[str], source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("run", source, "--create", *where, "--workers", "0") == 0
    target = tmp_path / "restored"
    capsys.readouterr()
    assert run("restore", "latest", "--target", target, "--include", "/nope", *where, "--workers", "0") == 7
    assert "no entry matches --include /nope" in capsys.readouterr().err
    assert not any(target.rglob("*.txt"))
    assert run("restore", "latest", "--target", target, "--include", "one.txt", *where, "--workers", "0") == 0
    # Left as it was is found as well, and so is a directory without a file in it.
    again = ("--overwrite", "never", "--include", "one.txt")
    assert run("restore", "latest", "--target", target, *again, *where, "--workers", "0") == 0
    (source / "empty").mkdir()
    assert run("run", source, *where, "--workers", "0") == 0
    assert run("restore", "latest", "--target", target, "--include", "empty", *where, "--workers", "0") == 0
    assert next(target.rglob("empty")).is_dir()
