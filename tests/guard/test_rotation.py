"""Who takes a log away and makes it look like rotation is told; real logrotate, in all its usual forms, is not."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import subprocess
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
import zstandard

from govsec.findings.engine import Engine
from govsec.guard.api import Observation
from govsec.guard.logview import LogView
from govsec.guard.registry import Site, build_detectors
from govsec.guard.sampling import Sampler, SamplingSettings
from govsec.guard.watch import DEGRADED, HostGuard, Intervals
from govsec.guardentry import GuardConfig
from govsec.host.logins import LoginFiles, LoginOptions
from govsec.records import Severity
from govsec.testing.clock import FakeClock
from tests.guard.logs import LINE, LOG, LogRotate, Logs
from tests.guard.records import DAY, MONDAY_NS, SECOND, Judge, kinds

_DAY_S = DAY // SECOND
#: Longer than a rotation may take.
_LATER = 25


def numbered(first: int, count: int) -> str:
    """Lines that are all different, as those of a log are."""
    return "".join(f"{number:06} {LINE}" for number in range(first, first + count))


# Attacks.


def beside_one_byte(ending: str) -> Callable[[Logs], None]:
    def deed(logs: Logs) -> None:
        (logs.folder / f"auth.log.9{ending}").write_bytes(b"x")
        os.truncate(logs.log, 0)

    return deed


def beside_a_sparse_file(logs: Logs) -> None:
    (logs.folder / "auth.log.9").touch()
    os.truncate(logs.folder / "auth.log.9", 1 << 30)
    os.truncate(logs.log, 0)


def beside_a_pack_of_its_beginning(logs: Logs) -> None:
    """The first lines are honest, and the last four bytes claim the right size (RFC 1952, 2.3.1)."""
    size = logs.log.stat().st_size
    packed = gzip.compress(logs.log.read_bytes()[:16_384])
    (logs.folder / "auth.log.1.gz").write_bytes(packed[:-4] + size.to_bytes(4, "little"))
    os.truncate(logs.log, 0)


def beside_a_copy_without_one_line(logs: Logs) -> None:
    lines = logs.log.read_text().splitlines(keepends=True)
    (logs.folder / "auth.log.1").write_text("".join([*lines[:99], *lines[100:], "x" * len(LINE)]))
    os.truncate(logs.log, 0)


def beside_a_pack_under_many_names(logs: Logs) -> None:
    """One file that begins as the log did for megabytes, and as many names of it as days are kept."""
    logs.grow(numbered(0, 40_000))
    logs.look(_LATER)
    held = logs.log.read_bytes()
    (logs.folder / "auth.log.2.gz").write_bytes(gzip.compress(held[:-100_000] + b"x" * 100_000, 1))
    for number in range(3, 60):
        (logs.folder / f"auth.log.{number}.gz").hardlink_to(logs.folder / "auth.log.2.gz")
    os.truncate(logs.log, 0)


def in_its_middle(logs: Logs) -> None:
    """Neither the first nor the last 4 KiB, and the time of the last change is put back."""
    status = logs.log.stat()
    with logs.log.open("r+b") as file:
        file.seek(status.st_size // 2)
        file.write(b"x" * 40)
    os.utime(logs.log, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    "deed",
    [
        pytest.param(beside_one_byte(".xz"), id="xz"),
        pytest.param(beside_one_byte(".gz"), id="gz"),
        pytest.param(beside_one_byte(".zst"), id="zst"),
        pytest.param(beside_one_byte(".bz2"), id="bz2"),
        pytest.param(beside_one_byte(".lz4"), id="lz4"),
        beside_a_sparse_file,
        beside_a_pack_of_its_beginning,
        beside_a_copy_without_one_line,
        beside_a_pack_under_many_names,
        in_its_middle,
    ],
)
def test_a_log_that_is_taken_away_under_the_cover_of_rotation_is_told(
    tmp_path: Path, deed: Callable[[Logs], None]
) -> None:
    logs = Logs(tmp_path)
    logs.grow(numbered(0, 2000))
    assert logs.look() == []

    deed(logs)

    assert kinds(logs.look(_LATER)) == [LOG]


def test_bytes_in_the_middle_of_a_large_log_are_missed_within_as_many_looks_as_it_has_megabytes(tmp_path: Path) -> None:
    logs = Logs(tmp_path, lines_count=60_000)
    assert logs.log.stat().st_size > 5 << 20
    assert logs.look(8) == []

    in_its_middle(logs)

    (finding,) = logs.look(8)
    assert finding.facts["how"] == "edited"


def test_a_writer_that_only_adds_to_a_large_log_is_silent(tmp_path: Path) -> None:
    logs = Logs(tmp_path, lines_count=60_000)
    for turn in range(10):
        logs.grow(numbered(turn * 1000, 1000))
        assert logs.look() == []


def rotated(logs: Logs, *, packed: bool = False) -> None:
    """Two rotations, seen."""
    for turn in range(2):
        if (first := logs.folder / "auth.log.1").exists():
            first.rename(logs.folder / "auth.log.2")
        if packed and (second := logs.folder / "auth.log.2").exists():
            subprocess.run(["gzip", str(second)], check=True, timeout=60)
        logs.log.rename(first)
        logs.log.write_text(numbered(turn * 100, 100))
        logs.wait(_DAY_S)
        assert logs.look(2) == []
    logs.wait(3600)
    assert logs.look(2) == []


def remove_the_newest(logs: Logs) -> None:
    (logs.folder / "auth.log.1").unlink()


def remove_the_oldest(logs: Logs) -> None:
    (logs.folder / "auth.log.2").unlink()


def remove_all(logs: Logs) -> None:
    for path in logs.folder.glob("auth.log.*"):
        path.unlink()


def take_a_line_out_of_the_newest(logs: Logs) -> None:
    subprocess.run(["sed", "-i", "10d", str(logs.folder / "auth.log.1")], check=True, timeout=60)


def write_over_the_newest(logs: Logs) -> None:
    with (logs.folder / "auth.log.1").open("r+b") as file:
        file.seek(1000)
        file.write(b"x" * 40)


def pack_another_one(logs: Logs) -> None:
    """As gzip would, but of other lines."""
    (logs.folder / "auth.log.1").unlink()
    (logs.folder / "auth.log.1.gz").write_bytes(gzip.compress(numbered(5000, 300).encode()))


@pytest.mark.parametrize(
    "deed",
    [
        remove_the_newest,
        remove_the_oldest,
        remove_all,
        take_a_line_out_of_the_newest,
        write_over_the_newest,
        pack_another_one,
    ],
)
def test_a_rotated_file_that_goes_without_a_rotation_is_told(tmp_path: Path, deed: Callable[[Logs], None]) -> None:
    logs = Logs(tmp_path)
    rotated(logs)

    deed(logs)

    (finding,) = logs.look(_LATER)
    assert (finding.kind, finding.facts["how"]) == (LOG, "rotated")
    assert logs.look(_LATER) == []


def test_a_packed_file_that_is_rewritten_is_told(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    rotated(logs, packed=True)

    (logs.folder / "auth.log.2.gz").write_bytes(gzip.compress(b"nothing happened\n" * 500))

    assert [finding.facts["how"] for finding in logs.look(_LATER)] == ["rotated"]


def test_who_renames_a_log_and_then_removes_it_is_told_within_minutes(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    logs.log.rename(tmp_path / "auth.log.1")
    assert logs.look() == []  # as rotation does it

    (tmp_path / "auth.log.1").unlink()

    (finding,) = logs.look(_LATER)
    assert (finding.kind, finding.facts["how"]) == (LOG, "rotated")


def with_weeks(logs: Logs) -> None:
    """Four weeks, as Debian keeps them."""
    for week in range(4):
        logs.wait(7 * _DAY_S)
        assert logs.look() == []
        for number in range(week, 0, -1):
            (logs.folder / f"auth.log.{number}").rename(logs.folder / f"auth.log.{number + 1}")
        logs.log.rename(logs.folder / "auth.log.1")
        logs.log.write_text(numbered(week * 100, 100))
        assert logs.look(2) == []
    logs.wait(7 * _DAY_S)
    assert logs.look() == []


def test_who_rotates_until_weeks_of_a_log_are_gone_is_told_and_who_rotates_twice_is_not(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    with_weeks(logs)
    logrotate = LogRotate(logs, "rotate 4", "create")
    for turn in range(2):
        logs.grow(numbered(turn * 1000, 10))
        logrotate.run()
    assert logs.look(_LATER) == []

    for turn in range(4):
        logs.grow(numbered(turn * 1000, 10))
        assert logs.look() == []
        logrotate.run()

    found = logs.look(_LATER)
    assert [(finding.facts["how"], finding.severity) for finding in found] == [("pushed", Severity.MEDIUM)]
    # A site that keeps less from now on is told once.
    for turn in range(3):
        logs.grow(numbered(turn * 1000, 10))
        assert logs.look() == []
        logrotate.run()
        assert logs.look(_LATER) == []


@pytest.mark.parametrize(
    ("names", "form"),
    [
        (("auth.log.9.gz", "auth.log.8.gz"), "rename"),
        (("auth.log.9", "auth.log.8"), "dateext"),
        (("auth.log-20240101.gz", "auth.log-20240108.gz"), "dateext"),
        (("auth.log-20240101.gz", "auth.log-20240108.gz"), "rename"),
    ],
)
def test_what_an_earlier_configuration_left_for_ever_makes_no_rotation_odd(
    tmp_path: Path, names: tuple[str, ...], form: str
) -> None:
    for number, name in enumerate(names):
        left = tmp_path / name
        left.write_bytes(gzip.compress(numbered(number, 10).encode()))
        then = MONDAY_NS // SECOND - (700 - 7 * number) * _DAY_S
        os.utime(left, (then, then))
    logs = Logs(tmp_path)
    # It counts by name, and only what has its own ending.
    logrotate = LogRotate(logs, *_FORMS[form], "rotate 4")

    for day in range(12):
        logs.grow(numbered(day * 1000, 10))
        assert logs.look() == []
        logs.wait(_DAY_S)
        logrotate.run()
        assert logs.look(2) == []
        age_names(tmp_path, day)
    assert logs.look(_LATER) == []


def test_a_log_that_is_put_aside_under_any_name_is_followed_there(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    shutil.copyfile(logs.log, tmp_path / "auth.log.bak")
    os.truncate(logs.log, 0)
    assert logs.look(2) == []

    (tmp_path / "auth.log.bak").unlink()

    assert [finding.facts["how"] for finding in logs.look(_LATER)] == ["rotated"]


def test_a_log_that_is_written_at_any_place_is_explained_by_its_own_inode_alone(tmp_path: Path) -> None:
    log = tmp_path / "lastlog"
    log.write_bytes(bytes(29_200))
    view, judge = LogView([str(log)], loose=("lastlog",)), Judge("log_truncated")
    assert judge.each(view.look(MONDAY_NS)) == []
    with log.open("r+b") as file:
        file.seek(5000)
        file.write(b"pts/0")
    assert judge.each(view.look(MONDAY_NS + 30 * SECOND)) == []

    (tmp_path / "lastlog.9").write_bytes(bytes(40_000))
    os.truncate(log, 0)

    assert kinds(judge.each(view.look(MONDAY_NS + 60 * SECOND))) == [LOG]


def test_a_younger_file_that_goes_with_a_rotation_is_told_within_two_looks(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    rotated(logs)

    remove_the_newest(logs)
    logs.log.rename(tmp_path / "auth.log.1")
    logs.log.write_text("")

    assert [finding.facts["how"] for finding in logs.look(2)] == ["rotated"]


def test_hundreds_of_new_logs_push_none_out_that_is_followed(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    for number in range(600):
        (tmp_path / f"a{number}.log").write_text(LINE)
    assert logs.look() == []
    assert logs.view.counters()["dropped"] > 0

    os.truncate(logs.log, 0)

    assert kinds(logs.look()) == [LOG]


@pytest.mark.parametrize("name", ["auth-8080.log", "auth-10.0.0.1.log", "auth_2.log", "auth-web.log"])
def test_a_log_whose_name_ends_in_a_number_is_a_log_of_its_own(tmp_path: Path, name: str) -> None:
    """Ports, addresses, workers: its rotations are no files of the log beside it, and what is cut of it is told."""
    logs = Logs(tmp_path)
    other = tmp_path / name
    other.write_text(f"{name}\n" * 500)
    assert logs.look(2) == []
    for day in range(6):
        for path in (logs.log, other):
            for number in (3, 2, 1):
                old = path.with_name(f"{path.name}.{number}")
                if old.exists():
                    old.replace(path.with_name(f"{path.name}.{number + 1}"))
            path.with_name(f"{path.name}.4").unlink(missing_ok=True)
            path.rename(path.with_name(f"{path.name}.1"))
            path.write_text(f"{path.name} of day {day}\n" * 100)
        assert logs.look(_LATER) == [], f"day {day}"
        logs.wait(_DAY_S - 30 * _LATER)

    os.truncate(other, 0)

    assert [one.subject for one in logs.look(_LATER)] == [str(other)]


# What a follower read between two looks.


class _Followed:
    """A log that is read every second and looked at every half minute."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "auth.log"
        self.log.write_text(LINE * 100)
        self.source = LoginFiles(LoginOptions(auth_logs=(self.log,)), FakeClock())
        self.source.open()
        detectors = [one for one in build_detectors({}, Site()) if one.name == "log_truncated"]
        self.guard = HostGuard(
            Engine[Observation](detectors, degraded_kind=DEGRADED),
            Sampler(SamplingSettings()),
            logs=LogView([f"{folder}/*.log"]),
            intervals=Intervals(look_s=30),
        )
        self.time_ns = MONDAY_NS

    def step(self) -> list[str]:
        self.time_ns += SECOND
        # What the log says of its own times is nothing to this.
        records = [replace(record, time_ns=self.time_ns) for record in self.source.read()]
        return kinds(self.guard.step(records, now_ns=self.time_ns))


def test_lines_that_came_and_went_between_two_looks_are_told_at_once(tmp_path: Path) -> None:
    followed = _Followed(tmp_path)
    assert followed.step() == []
    known_size = followed.log.stat().st_size
    with followed.log.open("a") as file:
        file.write(numbered(0, 5))
    assert followed.step() == []

    os.truncate(followed.log, known_size)

    assert followed.step() == [LOG]


def test_a_log_that_was_copied_and_cut_between_two_looks_is_silent(tmp_path: Path) -> None:
    followed = _Followed(tmp_path)
    assert followed.step() == []
    with followed.log.open("a") as file:
        file.write(numbered(0, 5))
    assert followed.step() == []

    shutil.copyfile(followed.log, tmp_path / "auth.log.1")
    os.truncate(followed.log, 0)

    assert followed.step() == []
    os.truncate(tmp_path / "auth.log.1", 100)
    found: list[str] = []
    for _ in range(700):
        found += followed.step()
    assert found == [LOG]


# Rotation as it is.

_FORMS: dict[str, tuple[str, ...]] = {
    "rename": ("rotate 3", "create"),
    "one": ("rotate 1", "create"),
    "without_create": ("rotate 3", "nocreate"),
    "copytruncate": ("rotate 3", "copytruncate"),
    "copytruncate_gzip": ("rotate 3", "copytruncate", "compress"),
    "gzip": ("rotate 3", "create", "compress"),
    "gzip_delayed": ("rotate 3", "create", "compress", "delaycompress"),
    "xz": ("rotate 3", "create", "compress", "compresscmd /usr/bin/xz", "compressext .xz"),
    "xz_delayed": ("rotate 3", "create", "compress", "delaycompress", "compresscmd /usr/bin/xz", "compressext .xz"),
    "zstd": (
        "rotate 3",
        "create",
        "compress",
        "compresscmd /usr/bin/zstd",
        "compressext .zst",
        "compressoptions -q --rm",
    ),
    "bzip2": ("rotate 3", "create", "compress", "compresscmd /bin/bzip2", "compressext .bz2"),
    "dateext": ("rotate 3", "create", "dateext"),
    "dateext_gzip_delayed": ("rotate 3", "create", "dateext", "compress", "delaycompress"),
    "dateext_iso": ("rotate 3", "create", "dateext", "dateformat .%Y-%m-%d"),
    "extension": ("rotate 3", "create", "extension .log"),
    "extension_dateext": ("rotate 3", "create", "extension .log", "dateext"),
}


def age_names(folder: Path, day: int) -> None:
    """A day goes by: what was rotated today has the name of another day."""
    for form in ("%Y%m%d", "%Y-%m-%d"):
        today, then = time.strftime(form), (date(2026, 1, 1) + timedelta(days=day)).strftime(form)
        for path in folder.glob(f"auth*{today}*"):
            path.rename(path.with_name(path.name.replace(today, then)))


@pytest.mark.parametrize("form", _FORMS)
def test_logrotate_is_silent_for_a_week_and_a_cut_after_it_is_not(tmp_path: Path, form: str) -> None:
    logs = Logs(tmp_path)
    logrotate = LogRotate(logs, *_FORMS[form])

    for day in range(7):
        logs.grow(numbered(day * 1000, 1000))
        assert logs.look() == []
        logs.wait(_DAY_S)
        logrotate.run()
        assert logs.look(2) == [], f"day {day}: {sorted(path.name for path in tmp_path.iterdir())}"
        age_names(tmp_path, day)
    assert logs.look(_LATER) == []
    assert 1 <= len(list(tmp_path.glob("auth*"))) <= 5  # the oldest went

    logs.grow()
    assert logs.look() == []
    os.truncate(logs.log, 0)
    assert kinds(logs.look()) == [LOG]


@pytest.mark.parametrize("form", ["rename", "copytruncate", "gzip", "gzip_delayed"])
def test_two_rotations_in_a_row_are_silent(tmp_path: Path, form: str) -> None:
    logs = Logs(tmp_path)
    logrotate = LogRotate(logs, *_FORMS[form])
    for turn in range(6):
        logs.grow(numbered(turn * 1000, 1000))
        assert logs.look() == []
        logrotate.run()
        logs.grow(numbered(turn * 1000 + 500, 3))
        logrotate.run()
        assert logs.look(2) == []
    assert logs.look(_LATER) == []


@pytest.mark.parametrize("form", ["rename", "copytruncate", "gzip", "gzip_delayed", "dateext"])
def test_empty_logs_that_are_rotated_are_silent(tmp_path: Path, form: str) -> None:
    logs = Logs(tmp_path, lines_count=0)
    logrotate = LogRotate(logs, *_FORMS[form], "ifempty")
    for day in range(6):
        logs.wait(_DAY_S)
        logrotate.run()
        logs.grow("")
        assert logs.look(2) == []
        age_names(tmp_path, day)
    assert logs.look(_LATER) == []


def test_half_a_year_of_days_is_kept_and_the_oldest_goes_silently(tmp_path: Path) -> None:
    for day in range(180):
        name = f"auth.log-2026{1 + day // 28:02}{1 + day % 28:02}.gz"
        (tmp_path / name).write_bytes(gzip.compress(numbered(day, 20).encode()))
    logs = Logs(tmp_path)
    logrotate = LogRotate(logs, "rotate 180", "create", "dateext", "compress")

    logs.wait(_DAY_S)
    logrotate.run()

    assert logs.look(_LATER) == []
    assert not (tmp_path / "auth.log-20260101.gz").exists()


def test_files_beyond_their_age_go_together_silently(tmp_path: Path) -> None:
    """A machine that was off for weeks: maxage takes several at its first rotation."""
    logs = Logs(tmp_path)
    logrotate = LogRotate(logs, "rotate 30", "create", "maxage 8")
    for turn in range(4):
        logs.grow(numbered(turn * 100, 100))
        assert logs.look() == []
        logrotate.run()
        assert logs.look(2) == []
    for path in tmp_path.glob("auth.log.*"):
        then = path.stat().st_mtime - 30 * _DAY_S
        os.utime(path, (then, then))
    logs.wait(30 * _DAY_S)
    assert logs.look() == []

    logs.grow()
    assert logs.look() == []
    logrotate.run()

    assert logs.look(_LATER) == []
    assert len(list(tmp_path.glob("auth.log.*"))) == 1


def test_files_that_were_kept_for_as_long_as_the_law_asks_may_be_removed(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    rotated(logs)
    logs.wait(181 * _DAY_S)
    assert logs.look() == []

    remove_all(logs)

    assert logs.look(_LATER) == []


def test_rotation_into_another_folder_is_silent_where_it_is_configured(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    logs = Logs(tmp_path, old_folders=(str(old),))
    logrotate = LogRotate(logs, "rotate 2", "create", f"olddir {old}", "compress", "delaycompress")
    for day in range(5):
        logs.grow(numbered(day * 100, 100))
        assert logs.look() == []
        logs.wait(_DAY_S)
        logrotate.run()
        assert logs.look(2) == []
    assert logs.look(_LATER) == []

    next(iter(old.glob("auth.log.1"))).unlink()
    assert kinds(logs.look(_LATER)) == [LOG]


def test_a_pack_that_is_seen_half_written_is_silent(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    logs.grow("".join(os.urandom(40).hex() + "\n" for _ in range(5000)))
    assert logs.look() == []
    first, pack = tmp_path / "auth.log.1", tmp_path / "auth.log.1.gz"
    logs.log.rename(first)
    logs.log.write_text("")
    packed = gzip.compress(first.read_bytes())

    for end in (0, 100, 70_000, 150_000, len(packed)):
        with pack.open("r+b" if pack.exists() else "wb") as file:
            file.write(packed[:end])
        assert logs.look() == []
    first.unlink()

    assert logs.look(_LATER) == []


@pytest.mark.parametrize(
    ("ending", "pack"),
    [(".gz", gzip.compress), (".xz", lzma.compress), (".bz2", bz2.compress), (".zst", zstandard.compress)],
)
def test_a_log_that_was_packed_before_the_next_look_is_held_to_its_last_line(
    tmp_path: Path, ending: str, pack: Callable[[bytes], bytes]
) -> None:
    for is_whole in (True, False):
        folder = tmp_path / str(is_whole)
        folder.mkdir()
        logs = Logs(folder)
        logs.grow(numbered(0, 3000))
        assert logs.look() == []
        data = logs.log.read_bytes()
        (folder / f"auth.log.1{ending}").write_bytes(pack(data if is_whole else data[:-1] + b"x"))
        logs.log.unlink()
        logs.log.write_text("")

        assert kinds(logs.look(2)) == ([] if is_whole else [LOG])


@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress), (".bz2", bz2.compress)])
def test_a_pack_of_several_members_is_read_to_its_end(
    tmp_path: Path, ending: str, pack: Callable[[bytes], bytes]
) -> None:
    """As packers in parallel write it."""
    logs = Logs(tmp_path, lines_count=2000)
    data = logs.log.read_bytes()
    members = [pack(data[at : at + 50_000]) for at in range(0, len(data), 50_000)]
    (tmp_path / f"auth.log.1{ending}").write_bytes(b"".join(members))
    logs.log.write_text("")

    assert logs.look(_LATER) == []


@pytest.mark.parametrize("idle", ["members", "a name", "blocks"])
def test_a_pack_that_says_nothing_for_long_is_left(tmp_path: Path, idle: str) -> None:
    """Every part is as RFC 1952 and RFC 1951 (3.2.4) have it; what the log held comes behind, and is not waited for."""
    logs = Logs(tmp_path)
    packed = gzip.compress(logs.log.read_bytes())
    head = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"
    before = {
        "members": gzip.compress(b"") * 20_000,
        "a name": b"\x1f\x8b\x08\x08" + head[4:] + b"x" * (8 << 20) + b"\0" + packed[10:],
        "blocks": head + b"\x00\x00\x00\xff\xff" * (2 << 20) + packed[10:],
    }[idle]
    (tmp_path / "auth.log.1.gz").write_bytes(before + packed)
    logs.log.write_text("")

    assert kinds(logs.look()) == [LOG]


def test_a_pack_that_asks_for_much_memory_is_refused(tmp_path: Path) -> None:
    """The header of an .xz names a dictionary of 1.5 GiB; nothing of it is allocated."""
    logs = Logs(tmp_path)
    packed = bytearray(lzma.compress(logs.log.read_bytes(), check=lzma.CHECK_NONE))
    # The .xz file format, 3.1: behind the stream's header of 12 bytes, size, flags, filter, size of its properties,
    # dictionary; the last four bytes of the block's header are their CRC32.
    header = packed[12 : 12 + (packed[12] + 1) * 4]
    assert header[2] == 0x21
    header[4] = 37
    header[-4:] = zlib.crc32(header[:-4]).to_bytes(4, "little")
    packed[12 : 12 + len(header)] = header
    (tmp_path / "auth.log.1.xz").write_bytes(packed)
    with pytest.raises(lzma.LZMAError, match=r"[Mm]emory"):
        lzma.LZMADecompressor(memlimit=1 << 30).decompress(packed)
    logs.log.unlink()

    assert kinds(logs.look()) == [LOG]


def test_the_journal_that_removes_its_oldest_files_is_nothing_of_this(tmp_path: Path) -> None:
    """journald keeps its own order (``SystemMaxUse=``, ``--vacuum-size``) and writes in place."""
    journal = tmp_path / "var/log/journal/0123"
    journal.mkdir(parents=True)
    for name in ("system.journal", "system@1.journal", "system@2.journal"):
        (journal / name).write_bytes(b"LPKSHHRH" + bytes(5000))
    view = LogView([f"{tmp_path}{pattern}" for pattern in GuardConfig().logs])
    assert view.look(MONDAY_NS) == []

    (journal / "system@1.journal").unlink()
    (journal / "system.journal").write_bytes(bytes(100))

    assert view.look(MONDAY_NS + SECOND) == []
