"""Programs and streams as sources: the bytes count only when they were whole."""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from pathlib import Path

import pytest

from govsec.backup.archive import archive
from govsec.backup.listing import dump_file, find_entry
from govsec.backup.sources import CommandSource, FileSource, StreamSource
from govsec.clock import SystemClock
from govsec.errors import ConfigurationError, SourceError
from tests.backup.conftest import Desk


def content(desk: Desk, name: str) -> bytes:
    repository = desk.readable()
    entry = find_entry(repository, repository.resolve(), os.fsencode(name))
    return b"".join(dump_file(repository, entry.node))


def run(desk: Desk, *argv: str, timeout_s: float = 60) -> None:
    archive(desk.writable(), CommandSource(argv, "dump.sql", timeout_s), clock=SystemClock(), workers=0)


def test_the_output_of_a_program_becomes_a_file(desk: Desk) -> None:
    run(desk, "sh", "-c", "printf one; echo ' two' >&2; printf ' three'")
    assert content(desk, "dump.sql") == b"one three"


def test_much_on_standard_error_does_not_stop_the_program(desk: Desk) -> None:
    run(desk, sys.executable, "-c", "import sys; sys.stderr.write('e' * 3_000_000); sys.stdout.write('o' * 3_000_000)")
    assert len(content(desk, "dump.sql")) == 3_000_000


def test_a_program_that_fails_makes_no_snapshot(desk: Desk) -> None:
    with pytest.raises(SourceError, match=r"exit code 3.*disk on fire"):
        run(desk, "sh", "-c", "printf half; echo 'disk on fire' >&2; exit 3")
    assert desk.readable().snapshots() == []


def test_a_program_that_is_killed_makes_no_snapshot(desk: Desk) -> None:
    with pytest.raises(SourceError, match="SIGTERM"):
        run(desk, "sh", "-c", "printf half; kill -TERM $$")
    assert desk.readable().snapshots() == []


def test_a_program_that_takes_too_long_is_ended_with_its_children(desk: Desk, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="longer"):
        run(desk, "sh", "-c", f"sleep 60 & echo $! > {tmp_path}/pid; wait", timeout_s=0.5)
    assert desk.readable().snapshots() == []
    child = int((tmp_path / "pid").read_text())
    with contextlib.suppress(ProcessLookupError):  # gone already
        handle = os.pidfd_open(child)
        assert select.select([handle], [], [], 20)[0], "the child is still there"
        os.close(handle)


def test_a_program_that_is_not_there_is_named(desk: Desk) -> None:
    with pytest.raises(SourceError, match="no-such-program"):
        run(desk, "no-such-program")


def test_a_program_does_not_see_secrets_of_the_environment(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    # The environment is process-wide; there is no other way to set it than to set it.
    for name in ("RESTIC_PASSWORD", "AWS_SECRET_ACCESS_KEY", "MY_API_KEY", "GOVSEC_ANYTHING", "CREDENTIALS_DIRECTORY"):
        monkeypatch.setenv(name, "hunter2")
    monkeypatch.setenv("HARMLESS", "yes")
    run(desk, "env")
    seen = content(desk, "dump.sql")
    assert b"hunter2" not in seen and b"HARMLESS=yes" in seen


def test_a_stream_becomes_a_file_and_equal_data_is_stored_once(desk: Desk) -> None:
    data = os.urandom(3 << 20)
    for _ in range(2):
        result = archive(desk.writable(), StreamSource(io.BytesIO(data), "dump"), clock=desk.clock, workers=0)
    assert result.summary.data_blobs == 0
    assert content(desk, "dump") == data


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b", "x" * 300])
def test_what_is_no_file_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        StreamSource(io.BytesIO(b""), name)


def test_paths_inside_other_paths_are_taken_once(tmp_path: Path) -> None:
    source = FileSource([tmp_path / "a" / "b", tmp_path / "a", tmp_path / "ab"])
    assert source.roots() == (os.fsencode(tmp_path / "a"), os.fsencode(tmp_path / "ab"))
