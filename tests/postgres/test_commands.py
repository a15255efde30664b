"""``govsec pg`` as people and the server call it: status, verify, restore, wal-push and wal-fetch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from govsec.cli.main import main
from govsec.postgres.wal import Segment, format_lsn, parse_lsn
from tests.postgres.conftest import Rig


def run(rig: Rig, *argv: str) -> int:
    return main(["pg", *argv, "--config", str(rig.directory / "govsec.yaml")])


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    value = json.loads(capsys.readouterr().out)
    assert isinstance(value, dict)
    return value


@pytest.fixture
def filled(rig: Rig) -> Rig:
    """A base backup and a little log, shipped."""
    rig.server.sql("CREATE TABLE IF NOT EXISTS told (id integer)")
    assert run(rig, "backup") == 0
    for _ in range(2):
        rig.server.sql("INSERT INTO told VALUES (1)", "SELECT pg_switch_wal()")
        rig.stream_to_now()
    rig.ship()
    return rig


def test_status_shows_the_window_of_each_center(filled: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(filled, "status", "--json") == 1
    status = said(capsys)["status"]
    assert isinstance(status, dict)
    assert [center["center"] for center in status["centers"]] == ["main", "near", "far"]
    for center in status["centers"]:
        (window,) = center["windows"]
        assert window["start"] < window["end"] and window["missing_to"] is None
    # Nobody streams just now, and that is the only thing that is wrong.
    assert [finding for finding in status["findings"] if "nobody streams" not in finding] == []


def test_a_gap_is_shown_as_a_gap_and_found_by_verify(filled: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(filled, "verify", "--center", "far") == 0
    filled.cut_segment()
    filled.ship()
    capsys.readouterr()
    assert run(filled, "status") == 1
    assert "GAP" in capsys.readouterr().out
    assert run(filled, "verify", "--center", "far") == 6
    assert "is missing" in capsys.readouterr().out


def test_restore_says_what_can_be_recovered_when_the_target_cannot(
    filled: Rig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(filled, "restore", "--to", str(tmp_path / "out"), "--time", "2001-01-01T00:00:00Z")
    assert code == 5
    assert "cannot be recovered; what can: base" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_restore_takes_an_empty_directory_alone(filled: Rig, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").touch()
    assert run(filled, "restore", "--to", str(tmp_path / "out")) == 5
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious"]


def test_restore_refuses_two_targets_and_a_path_that_a_shell_reads_into(filled: Rig, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    assert run(filled, "restore", "--to", out, "--lsn", "0/1", "--point", "x") == 6
    assert run(filled, "restore", "--to", out + "; true") == 3


@pytest.fixture
def segment(rig: Rig, tmp_path: Path) -> Path:
    """A finished segment of the server, as ``archive_command`` gets it."""
    server = rig.server
    server.sql("CREATE TABLE IF NOT EXISTS told (id integer)", "SELECT pg_switch_wal()", "INSERT INTO told VALUES (1)")
    position = parse_lsn(server.value("SELECT pg_current_wal_lsn()"))
    name = Segment.at(position, 1, 16 << 20).name
    server.sql("SELECT pg_switch_wal()")
    (tmp_path / "wal").mkdir()
    return Path(shutil.copy(server.data / "pg_wal" / name, tmp_path / "wal" / name))


def test_a_pushed_segment_is_held_and_fetched_again(rig: Rig, segment: Path, tmp_path: Path) -> None:
    assert run(rig, "wal-push", str(segment)) == 0
    assert run(rig, "wal-push", str(segment)) == 0
    rig.ship()
    rig.lose_near()
    assert run(rig, "wal-fetch", segment.name, str(tmp_path / "back"), "--center", "far") == 0
    assert (tmp_path / "back").read_bytes() == segment.read_bytes()


def test_another_content_under_the_same_name_is_refused_with_and_without_the_note(rig: Rig, segment: Path) -> None:
    assert run(rig, "wal-push", str(segment)) == 0
    content = bytearray(segment.read_bytes())
    content[-1] ^= 1
    segment.write_bytes(content)
    assert run(rig, "wal-push", str(segment)) == 5
    (rig.directory / "state" / "hr" / "postgres" / "main" / "pushed.json").unlink()
    assert run(rig, "wal-push", str(segment)) == 5


def test_files_that_wait_are_taken_along_by_one_call(rig: Rig, segment: Path) -> None:
    folder = segment.parent / "archive_status"
    folder.mkdir()
    names = [segment.name]
    for _ in range(2):
        rig.server.sql("INSERT INTO told VALUES (2)", "SELECT pg_switch_wal()")
    for path in sorted((rig.server.data / "pg_wal").glob("0*")):
        if path.name > segment.name and len(names) < 3:
            names.append(path.name)
            shutil.copy(path, segment.parent / path.name)
    for name in names:
        (folder / f"{name}.ready").touch()
    assert run(rig, "wal-push", str(segment)) == 0
    noted = json.loads((rig.directory / "state" / "hr" / "postgres" / "main" / "pushed.json").read_bytes())
    assert sorted(noted) == sorted(names)


def test_a_segment_of_another_server_or_place_is_refused(rig: Rig, segment: Path) -> None:
    assert run(rig, "wal-push", str(segment)) == 0
    content = bytearray(segment.read_bytes())
    content[24] ^= 1  # the system identifier
    other = segment.with_name(f"{int(segment.name, 16) + 5:024X}")
    other.write_bytes(content)
    assert run(rig, "wal-push", str(other)) == 6
    other.write_bytes(segment.read_bytes())  # another place
    assert run(rig, "wal-push", str(other)) == 6
    other.write_bytes(segment.read_bytes()[:-1])
    assert run(rig, "wal-push", str(other)) in (1, 6)


def test_fetch_tells_what_is_not_there_from_what_cannot_be_looked_up(rig: Rig, segment: Path, tmp_path: Path) -> None:
    assert run(rig, "wal-push", str(segment)) == 0
    later = f"{int(segment.name, 16) + 9:024X}"
    target = str(tmp_path / "back")
    assert run(rig, "wal-fetch", later, target) == 1
    assert run(rig, "wal-fetch", "00000007.history", target) == 1
    for name in ("main", "near", "far"):
        (rig.directory / name).rename(rig.directory / f"{name}.away")
    assert run(rig, "wal-fetch", segment.name, target) >= 200
    assert not Path(target).exists()


def test_names_that_are_none_of_a_log_are_refused(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "passwd").touch()
    assert run(rig, "wal-push", str(tmp_path / "passwd")) == 2
    assert run(rig, "wal-fetch", "../../etc/passwd", str(tmp_path / "x")) == 202


def test_positions_are_written_as_postgresql_writes_them() -> None:
    assert parse_lsn("16/B374D848") == 0x16_B374D848
    assert format_lsn(0x16_B374D848) == "16/B374D848"
