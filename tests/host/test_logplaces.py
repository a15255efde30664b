"""Logs over a restart: what came meanwhile is read, nothing is read twice, another file is not taken for ours."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from govsec.host.events import LoginRecord, WatchNote
from govsec.host.logins import LoginFiles, LoginOptions
from govsec.host.logplaces import LogPlaces
from govsec.testing.clock import FakeClock

_LINE = "2026-11-22T10:00:{:02}+08:00 vm sshd[{}]: Failed password for root from 203.0.113.9 port 4711 ssh2\n"


class _Runs:
    """One run after the other over the same log."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "auth.log"
        self.log.write_text(_LINE.format(0, 100))
        self.places = folder / "state" / "places.json"
        self.clock = FakeClock()
        self.notes: list[str] = []

    def add(self, *pids: int) -> None:
        with self.log.open("a") as file:
            file.writelines(_LINE.format(pid % 60, pid) for pid in pids)

    def run(self, meanwhile: Callable[[], None] = lambda: None, *, is_killed: bool = False) -> list[int | None]:
        """The processes that lines named; ``meanwhile`` happens after the source was opened."""
        places = LogPlaces(self.places, self.clock)
        source = LoginFiles(LoginOptions(auth_logs=(self.log,), places=places), self.clock)
        source.open()
        records = [*source.read()]
        meanwhile()
        records += source.read()
        if not is_killed and (noted := places.due(is_last=True)) is not None:
            places.save(noted)
        source.close()
        self.notes = [record.text for record in records if isinstance(record, WatchNote)]
        return [record.pid for record in records if isinstance(record, LoginRecord)]


@pytest.fixture
def runs(tmp_path: Path) -> _Runs:
    return _Runs(tmp_path)


def test_the_first_run_begins_at_the_end_and_the_next_one_where_it_ended(runs: _Runs) -> None:
    assert runs.run(lambda: runs.add(101)) == [101]
    runs.add(102, 103)
    assert runs.run(lambda: runs.add(104)) == [102, 103, 104]
    assert runs.run() == []


def test_who_dies_before_it_was_told_reads_it_again(runs: _Runs) -> None:
    runs.run(lambda: runs.add(101))
    runs.add(102)
    assert runs.run(is_killed=True) == [102]
    assert runs.run() == [102]


def test_half_a_line_is_read_whole_by_the_next_run(runs: _Runs) -> None:
    line = _LINE.format(1, 101)

    def write(text: str) -> None:
        with runs.log.open("a") as file:
            file.write(text)

    assert runs.run(lambda: write(line[:40])) == []
    write(line[40:])
    assert runs.run() == [101]


def test_a_log_that_was_rotated_meanwhile_is_read_to_its_end_and_the_new_one_whole(runs: _Runs) -> None:
    runs.run(lambda: runs.add(101))
    runs.add(102)
    runs.log.rename(runs.log.with_name("auth.log.1"))
    runs.add(103)
    assert runs.run(lambda: runs.add(104)) == [102, 103, 104]
    assert runs.notes == []


def test_a_log_that_was_rotated_twice_is_read_whole_and_the_gap_is_told(runs: _Runs) -> None:
    runs.run(lambda: runs.add(101))
    runs.log.rename(runs.log.with_name("auth.log.2"))
    runs.log.with_name("auth.log.1").write_text(_LINE.format(2, 102))
    runs.add(103)
    assert runs.run() == [103]
    assert any("another one than was read before" in note for note in runs.notes)


def test_a_log_that_was_cut_and_grew_again_is_not_taken_for_the_one_that_was_read(runs: _Runs) -> None:
    runs.add(*range(1, 40))
    runs.run()
    os.truncate(runs.log, 0)
    runs.add(*range(201, 260))
    assert runs.run() == list(range(201, 260))
    assert any("another one" in note for note in runs.notes)


@pytest.mark.parametrize("data", [b"", b"{", b'{"version": 2}', b'{"files": {"x": {"device": -1}}}', b"\xff" * 100])
def test_places_that_are_damaged_are_begun_anew(runs: _Runs, data: bytes) -> None:
    runs.places.parent.mkdir()
    runs.places.write_bytes(data)
    assert runs.run(lambda: runs.add(101)) == [101]
    runs.add(102)
    assert runs.run() == [102]


def test_places_are_saved_at_intervals_and_are_private(runs: _Runs) -> None:
    places = LogPlaces(runs.places, runs.clock)

    def save() -> None:
        if (noted := places.due()) is not None:
            places.save(noted)

    places.note_cursor("s=1")
    save()
    assert runs.places.stat().st_mode & 0o777 == 0o600
    places.note_cursor("s=2")
    save()
    assert LogPlaces(runs.places, runs.clock).cursor == "s=1"
    runs.clock.advance(6)
    save()
    assert LogPlaces(runs.places, runs.clock).cursor == "s=2"
