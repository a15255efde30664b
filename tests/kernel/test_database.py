"""SQLite files of ours: private, durable, of a known format, errors as ours."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from govsec.database import Database, Layout
from govsec.errors import ConfigurationError, IntegrityError, TryAgainError

FIRST = Layout("shelf", ("CREATE TABLE book (title TEXT)",))
SECOND = Layout("shelf", (*FIRST.steps, "ALTER TABLE book ADD COLUMN pages INTEGER; UPDATE book SET pages = 1"))


def test_what_a_transaction_wrote_is_there_again_and_what_it_left_is_not(tmp_path: Path) -> None:
    path = tmp_path / "new" / "shelf.db"
    with Database(path, FIRST) as shelf:
        with shelf.transaction() as work:
            work.execute("INSERT INTO book VALUES ('kept')")
        with pytest.raises(KeyError), shelf.transaction() as work:
            work.execute("INSERT INTO book VALUES ('dropped')")
            raise KeyError
    with Database(path, FIRST) as shelf, shelf.reading() as work:
        assert work.execute("SELECT title FROM book").fetchall() == [("kept",)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_earlier_format_is_brought_up_to_date_and_a_later_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "shelf.db"
    with Database(path, FIRST) as shelf, shelf.transaction() as work:
        work.execute("INSERT INTO book VALUES ('old')")
    with Database(path, SECOND) as shelf, shelf.reading() as work:
        assert work.execute("SELECT * FROM book").fetchall() == [("old", 1)]

    with pytest.raises(IntegrityError, match="format 2, this program knows up to 1"):
        Database(path, FIRST)


def test_questions_of_one_block_see_one_moment_and_the_next_block_a_later_one(tmp_path: Path) -> None:
    path = tmp_path / "shelf.db"
    count = "SELECT count(*) FROM book"
    with Database(path, FIRST) as reader, Database(path, FIRST) as writer:
        with reader.reading() as questions:
            before = questions.execute(count).fetchone()
            with writer.transaction() as work:
                work.execute("INSERT INTO book VALUES ('meanwhile')")
            assert questions.execute(count).fetchone() == before == (0,)
        with reader.reading() as questions:
            assert questions.execute(count).fetchone() == (1,)
        with reader.transaction() as work:
            work.execute("INSERT INTO book VALUES ('own')")
            with reader.reading() as questions:
                assert questions.execute(count).fetchone() == (2,)
        with reader.reading() as questions:
            assert questions.execute(count).fetchone() == (2,)


class _Contested(Layout):
    """Another process opens the file just after this one has looked for its format."""

    path: Path | None = None

    @property
    def format(self) -> int:
        path, _Contested.path = self.path, None
        if path is not None:
            Database(path, SECOND).close()
        return len(self.steps)


@pytest.mark.parametrize("held", [0, 1])
def test_two_processes_that_open_a_file_for_the_first_time_make_its_tables_once(tmp_path: Path, held: int) -> None:
    path = tmp_path / "shelf.db"
    if held:
        Database(path, FIRST).close()
    _Contested.path = path

    with Database(path, _Contested("shelf", SECOND.steps)) as shelf, shelf.reading() as work:
        assert work.execute("PRAGMA user_version").fetchone() == (2,)
    assert _Contested.path is None


_OPENS = """
import sys
from pathlib import Path
from govsec.database import Database, Layout
print("ready", flush=True)
for place in sys.stdin:
    with Database(Path(place.strip()), Layout("shelf", ("CREATE TABLE book (title TEXT)",)), busy_s=60):
        print("open", flush=True)
"""


def test_four_processes_that_open_new_files_at_once_all_get_them(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _OPENS]
    others = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    places = [str(tmp_path / str(number) / "shelf.db") for number in range(10)]
    try:
        assert [other.stdout.readline() for other in others if other.stdout] == ["ready\n"] * 4
        for place in places:
            for other in others:
                assert other.stdin is not None
                other.stdin.write(f"{place}\n")
                other.stdin.flush()
        answers = [other.communicate(timeout=300)[0] for other in others]
    finally:
        for other in others:
            other.kill()
            other.wait()
    assert answers == ["open\n" * 10] * 4


def test_a_step_may_hold_semicolons_in_words_and_triggers(tmp_path: Path) -> None:
    step = "CREATE TABLE a (b DEFAULT ';'); -- one; two\nCREATE TRIGGER t INSERT ON a BEGIN SELECT 1; SELECT 2; END"
    with Database(tmp_path / "shelf.db", Layout("shelf", (step,))) as shelf, shelf.reading() as work:
        assert work.execute("SELECT count(*) FROM sqlite_master").fetchone() == (2,)


def test_a_step_that_fails_leaves_the_format_before_it(tmp_path: Path) -> None:
    path = tmp_path / "shelf.db"
    Database(path, FIRST).close()
    broken = Layout("shelf", (*FIRST.steps, "CREATE TABLE more (a); INSERT INTO nowhere VALUES (1)"))

    with pytest.raises(IntegrityError, match="nowhere"):
        Database(path, broken)
    with Database(path, FIRST) as shelf, shelf.reading() as work:
        assert work.execute("SELECT count(*) FROM sqlite_master WHERE name = 'more'").fetchone() == (0,)


def test_a_file_that_is_no_database_is_an_integrity_error(tmp_path: Path) -> None:
    path = tmp_path / "shelf.db"
    path.write_bytes(b"not a database, and longer than a page would need to be" * 100)
    path.chmod(0o600)

    with pytest.raises(IntegrityError, match=r"shelf .*shelf\.db"):
        Database(path, FIRST)


@pytest.mark.parametrize("what", ["readable", "link", "folder", "fifo"])
def test_a_place_that_others_could_use_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "shelf.db"
    if what == "readable":
        path.touch(mode=0o644)
    elif what == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif what == "folder":
        path.mkdir()
    else:
        os.mkfifo(path, 0o600)

    with pytest.raises(ConfigurationError, match="shelf"):
        Database(path, FIRST)
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_that_another_holds_is_worth_another_try(tmp_path: Path) -> None:
    path = tmp_path / "shelf.db"
    with Database(path, FIRST, busy_s=0.01) as shelf:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(TryAgainError, match="locked"), shelf.transaction():
            pass
        other.execute("ROLLBACK")
        other.close()
        with shelf.transaction() as work:
            work.execute("INSERT INTO book VALUES ('later')")


_OTHER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print(connection.execute("SELECT count(*) FROM book").fetchone()[0])
connection.close()
"""


def test_what_is_committed_stays_when_another_process_looks_in_while_one_has_the_file_open_twice(
    tmp_path: Path,
) -> None:
    # POSIX: closing any descriptor of a file takes this process's locks on it away (sqlite.org/howtocorrupt.html,
    # 2.2). Then another process takes itself for the last one and removes the log that is still written to.
    path = tmp_path / "shelf.db"

    def count_elsewhere() -> int:
        return int(subprocess.run([sys.executable, "-c", _OTHER, str(path)], check=True, capture_output=True).stdout)

    with Database(path, FIRST) as first, Database(path, FIRST) as second:
        for number, shelf in enumerate((first, second, first)):
            assert count_elsewhere() == number
            with shelf.transaction() as work:
                work.execute("INSERT INTO book VALUES ('kept')")
        assert count_elsewhere() == 3
    assert list(tmp_path.iterdir()) == [path]
