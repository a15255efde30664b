"""All events as one stream: in order, from the best source there is, and every loss and change of source told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from govsec.clock import SystemClock, to_ns
from govsec.host.api import SourceUnavailableError
from govsec.host.events import (
    EventsLost,
    FileChange,
    FileOperation,
    LoginRecord,
    ProcessExited,
    ProcessStarted,
    Record,
    Stage,
    StartKind,
    WatchNote,
)
from govsec.host.filewatch import WatchOptions, change
from govsec.host.loginjournal import LoginJournal
from govsec.host.logins import LoginOptions, WebLog
from govsec.host.logplaces import LogPlaces
from govsec.host.processtree import ProcessTree, unknown_process
from govsec.host.procpolling import ProcessPolling
from govsec.host.stream import EventStream, StreamOptions, open_stream
from govsec.host.tables import Process, ProcessKey
from govsec.testing.clock import FakeClock
from tests.host.watching import WAIT_S, open_folder, python
from tests.support.require import require_root

EPOCH_NS = to_ns(datetime(2026, 1, 1, tzinfo=UTC))
SECOND = 1_000_000_000


class Listed:
    """A source that gives what a test puts into it."""

    def __init__(self, name: str, stage: Stage = Stage.FILES, pause_s: float = 0.01) -> None:
        self.name, self.stage, self.pause_s = name, stage, pause_s
        self.records: list[Record] = []
        self.refuses = ""
        self.fails = False
        self.is_open = False

    def open(self) -> None:
        if self.refuses:
            raise SourceUnavailableError(f"{self.name}: {self.refuses}")
        self.is_open = True

    def descriptor(self) -> int | None:
        return None

    def read(self) -> Sequence[Record]:
        if self.fails:
            raise SourceUnavailableError("gone")
        taken, self.records = self.records, []
        return taken

    def counters(self) -> Mapping[str, int]:
        return {"seen": 1}

    def close(self) -> None:
        self.is_open = False


def at(second: float, name: str = "") -> FileChange:
    """A change so long after the beginning of time."""
    return change(EPOCH_NS + int(second * SECOND), name.encode(), FileOperation.CREATED, is_directory=False)


def names(records: Sequence[Record]) -> list[str]:
    return [each.path for each in records if isinstance(each, FileChange)]


def test_records_of_several_sources_come_in_order_of_time_also_over_reads() -> None:
    clock, one, two = FakeClock(), Listed("one"), Listed("two")
    stream = EventStream([[one], [two]], clock)
    stream.open()
    clock.advance(1)
    one.records = [at(0.99, "c"), at(0.999, "d")]
    two.records = [at(0.2, "a")]
    first = names(stream.read(0))
    clock.advance(0.02)
    two.records = [at(0.98, "b")]
    later = [name for _ in range(3) for name in names(stream.read(0.2))]

    assert first + later == ["a", "b", "c", "d"]
    assert stream.counters()["stream.late"] == 0


def test_a_read_without_events_ends_when_it_should() -> None:
    clock = FakeClock()
    stream = EventStream([[Listed("one", pause_s=0.5)]], clock)
    stream.open()

    assert stream.read(5.0) == ()
    assert clock.monotonic() == pytest.approx(5.0, abs=0.01)
    # It slept until a source was due: nothing turned in circles.
    assert len(clock.sleeps) < 15


def test_a_source_that_waits_for_the_kernel_is_left_alone_while_nothing_happens() -> None:
    read_end, write_end = os.pipe()

    class Waiting(Listed):
        count = 0

        def descriptor(self) -> int | None:
            return read_end

        def read(self) -> Sequence[Record]:
            self.count += 1
            return super().read()

    source = Waiting("waiting", pause_s=0.01)
    stream = EventStream([[source]], SystemClock())
    stream.open()
    try:
        assert stream.read(1.5) == ()
        # Once by time, and not every 10 ms.
        assert source.count <= 3
        os.write(write_end, b"x")
        source.records = [at(0)]
        assert len(stream.read(WAIT_S)) == 1
    finally:
        os.close(read_end)
        os.close(write_end)


def test_what_comes_late_is_counted() -> None:
    clock, one = FakeClock(), Listed("one")
    stream = EventStream([[one]], clock)
    stream.open()
    clock.advance(100)
    one.records = [at(99)]
    stream.read(0)
    one.records = [at(3)]
    clock.advance(1)

    assert len(stream.read(0)) == 1
    assert stream.counters()["stream.late"] == 1


def test_a_clock_that_was_set_back_holds_nothing_up() -> None:
    clock, one = FakeClock(), Listed("one")
    stream = EventStream([[one]], clock)
    stream.open()
    clock.advance(7200)
    one.records = [at(7200, "before")]
    assert stream.read(0) == ()
    clock.jump(-3600)
    clock.advance(1)

    assert names(stream.read(0)) == ["before"]


def test_the_next_source_takes_over_and_both_are_told() -> None:
    clock, best, other = FakeClock(), Listed("best"), Listed("other")
    best.refuses = "not permitted"
    stream = EventStream([[best, other]], clock)
    stream.open()
    clock.advance(1)
    notes = [each for each in stream.read(0) if isinstance(each, WatchNote)]

    assert [(note.source, note.is_degraded, note.text) for note in notes] == [
        ("other", True, "other is used; best: not permitted")
    ]
    assert stream.sources() == {Stage.FILES: ("other",)}
    assert stream.counters()["stream.fallbacks"] == 1


def test_a_source_that_fails_is_a_loss_and_the_next_takes_over_and_later_the_best_again() -> None:
    clock, best, other = FakeClock(), Listed("best"), Listed("other")
    stream = EventStream([[best, other], [Listed("logs", Stage.LOGINS)]], clock)
    stream.open()
    best.fails = True
    clock.advance(1)
    stream.read(0)
    clock.advance(1)
    lost = [each for each in stream.read(0) if isinstance(each, EventsLost)]
    assert [(each.stage, each.reason) for each in lost] == [(Stage.FILES, "best failed: gone")]
    assert not best.is_open and other.is_open

    other.fails, best.fails = True, False
    clock.advance(1)
    stream.read(0)
    assert stream.sources()[Stage.FILES] == ()
    clock.advance(61)
    stream.read(0)
    assert stream.sources()[Stage.FILES] == ("best",)


def test_nothing_at_all_is_an_error_with_the_reasons() -> None:
    one, two = Listed("one"), Listed("two", Stage.LOGINS)
    one.refuses, two.refuses = "no right", "no file"

    with pytest.raises(SourceUnavailableError, match=r"one: no right.*two: no file"):
        EventStream([[one], [two]], FakeClock()).open()


def test_a_source_that_floods_does_not_fill_the_memory() -> None:
    clock, one = FakeClock(), Listed("one")
    stream = EventStream([[one]], clock)
    stream.open()
    clock.advance(1)
    one.records = [at(0.5)] * 120_000

    counts = []
    while sum(counts) < 120_000 and len(counts) < 10:
        counts.append(len(stream.read(0)))
        clock.advance(0.1)

    assert counts == [50_000, 50_000, 20_000]


def test_closing_twice_is_fine() -> None:
    closed = []
    stream = EventStream([[Listed("one")]], FakeClock(), on_close=lambda: closed.append(1))
    with stream:
        stream.open()
    stream.close()
    assert closed == [1]


# Processes without the kernel's help.


def test_processes_are_compared_where_the_kernel_tells_nothing() -> None:
    present = [unknown_process(ProcessKey(1, 1), 0), unknown_process(ProcessKey(5, 10), 1)]

    def read_all() -> list[Process]:
        return present

    clock = FakeClock()
    source = ProcessPolling(ProcessTree(lambda pid: None), read_all, clock)
    source.open()
    present[1] = unknown_process(ProcessKey(5, 99), 1)
    records = source.read()

    assert [type(each) for each in records] == [ProcessExited, ProcessStarted]
    start = records[1]
    assert isinstance(start, ProcessStarted)
    assert (start.how, start.process.key, start.ancestors[0].key.pid) == (StartKind.FOUND, (5, 99), 1)


# The journal, by a program that speaks as journalctl does.

JOURNAL = """
import json, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
with (folder / "argv").open("a") as file:
    file.write(" ".join(sys.argv[2:]) + "\\n")
turn = len((folder / "argv").read_text().splitlines())
print((folder / f"say{turn}").read_text(), end="", flush=True)
if (folder / f"say{turn}.ends").exists():
    sys.exit(1)
time.sleep(1000)
"""


def entry(message: object, *, uid: str = "0", cursor: str = "s=1", program: str = "sshd") -> str:
    fields = {
        "__CURSOR": cursor,
        "__REALTIME_TIMESTAMP": "1795342817900000",
        "SYSLOG_IDENTIFIER": program,
        "_PID": "77",
        "_UID": uid,
        "MESSAGE": message,
    }
    return json.dumps(fields) + "\n"


FAILED = "Failed password for root from 203.0.113.5 port 4711 ssh2"


def journal_until(source: LoginJournal, count: int) -> list[Record]:
    records: list[Record] = []
    deadline = time.monotonic() + WAIT_S
    while len(records) < count:
        assert time.monotonic() < deadline, records
        records += source.read()
        time.sleep(0.01)
    return records


def test_the_journal_is_read_and_what_was_not_written_by_root_is_not_believed(tmp_path: Path) -> None:
    said = entry(FAILED) + entry(FAILED, uid="1000") + "no json\n" + entry(None) + "[]\n" + "x" * 300_000 + "\n"
    said += entry([*FAILED.replace("root", "ro\\x00t").encode()], cursor="s=2") + entry("x" * 20_000, cursor="s=3")
    (tmp_path / "say1").write_text(said + entry(FAILED, cursor="s=last", program="cron"))
    source = LoginJournal(FakeClock(), program=(sys.executable, "-c", JOURNAL, str(tmp_path)))
    source.open()
    try:
        records = journal_until(source, 2)
        while source.counters()["entries"] < 6:
            assert not source.read()
    finally:
        source.close()

    assert [(each.time_ns, each.pid, each.log) for each in records if isinstance(each, LoginRecord)] == [
        (1795342817900000000, 77, "journal")
    ] * 2
    assert source.counters() == {"entries": 6, "records": 2, "forged": 1, "unreadable": 4, "restarts": 0}


def test_a_journal_that_ends_goes_on_from_its_last_entry(tmp_path: Path) -> None:
    (tmp_path / "say1").write_text(entry(FAILED, cursor="s=1;i=9"))
    (tmp_path / "say1.ends").touch()
    (tmp_path / "say2").write_text(entry(FAILED))
    clock = FakeClock()
    source = LoginJournal(clock, program=(sys.executable, "-c", JOURNAL, str(tmp_path)))
    source.open()
    try:
        first = journal_until(source, 2)
        assert source.read() == []
        clock.advance(11)
        second = journal_until(source, 1)
    finally:
        source.close()

    assert [type(each) for each in first] == [LoginRecord, WatchNote]
    assert len(second) == 1
    first_argv, second_argv = (tmp_path / "argv").read_text().splitlines()
    assert {"--follow", "--no-tail", "--since=@1767225600", "sshd"} <= set(first_argv.split())
    assert {"--follow", "--no-tail", "--after-cursor=s=1;i=9"} <= set(second_argv.split())


def test_a_journal_is_read_on_by_the_next_run_from_where_it_was_told(tmp_path: Path) -> None:
    (tmp_path / "say1").write_text(entry(FAILED, cursor="s=1;i=9"))
    (tmp_path / "say2").write_text(entry(FAILED, cursor="s=1;i=10"))
    clock = FakeClock()
    for run in (1, 2):
        places = LogPlaces(tmp_path / "state" / "places.json", clock)
        source = LoginJournal(clock, program=(sys.executable, "-c", JOURNAL, str(tmp_path)), places=places)
        source.open()
        try:
            assert len(journal_until(source, 1)) == 1, run
        finally:
            source.close()
        noted = places.due(is_last=True)
        assert noted is not None
        places.save(noted)
    assert "--after-cursor=s=1;i=9" in (tmp_path / "argv").read_text().splitlines()[1]


#: A journal of its own in a namespace of mounts, with real programs that write into it.
REAL_JOURNAL = """
import subprocess, sys, time
from pathlib import Path
from govsec.clock import SystemClock
from govsec.host.events import LoginRecord
from govsec.host.loginjournal import LoginJournal

for kind, place in (("tmpfs", "/run"), ("tmpfs", "/var/log"), ("cgroup2", "/sys/fs/cgroup")):
    if subprocess.run(["mount", "-t", kind, "none", place]).returncode != 0:
        sys.exit("no mount of " + place)
for folder in ("/run/log/journal", "/run/systemd/journal", "/run/systemd/journald.conf.d"):
    Path(folder).mkdir(parents=True)
Path("/run/systemd/journald.conf.d/own.conf").write_text("[Journal]\\nAudit=\\nReadKMsg=no\\nStorage=volatile\\n")
journald = subprocess.Popen(["/lib/systemd/systemd-journald"])
deadline = time.monotonic() + 60
socket = Path("/run/systemd/journal/dev-log")
while not (socket.exists() and list(Path("/run/log/journal").rglob("*.journal"))):
    if journald.poll() is not None or time.monotonic() > deadline:
        sys.exit("no journald")
    time.sleep(0.05)

def say(message, *by):
    subprocess.run([*by, "logger", "-u", str(socket), "-t", "sshd", message], check=True)

source = LoginJournal(SystemClock())
source.open()
say("Failed password for first from 203.0.113.5 port 1 ssh2")
say("Accepted password for forged from 203.0.113.5 port 1 ssh2", "setpriv", "--reuid=65534", "--clear-groups")
for number in range(30):
    say(f"Failed password for user{number} from 203.0.113.5 port 1 ssh2")
found = []
while time.monotonic() < deadline and "user29" not in found:
    found += [each.user for each in source.read() if isinstance(each, LoginRecord)]
    time.sleep(0.01)
source.close()
journald.terminate()
journald.wait()
print(found == ["first", *(f"user{number}" for number in range(30))], source.counters()["forged"])
"""


def test_a_real_journal_is_read_from_its_first_entry() -> None:
    require_root()
    for program in ("/lib/systemd/systemd-journald", "/usr/bin/journalctl", "/usr/bin/logger", "/usr/bin/setpriv"):
        if not Path(program).exists():
            pytest.skip(f"no {program}")
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, "-c", REAL_JOURNAL], capture_output=True, text=True, timeout=200
    )
    if done.stderr.strip().endswith(("no journald", "no mount of /run", "no mount of /sys/fs/cgroup")):
        pytest.skip(f"a journal of its own cannot run here: {done.stderr.strip()}")

    assert done.stdout.split() == ["True", "1"], done.stderr


def test_a_system_without_a_journal_is_a_clear_error() -> None:
    with pytest.raises(SourceUnavailableError, match="cannot be started: No such file"):
        LoginJournal(FakeClock(), program=("/nonexistent/journalctl",)).open()


# This machine.


def test_a_program_that_changes_a_file_is_told_before_the_change_with_everything_in_place(tmp_path: Path) -> None:
    require_root()
    (tmp_path / "auth.log").touch()
    (tmp_path / "watched").mkdir()
    options = StreamOptions(
        files=WatchOptions((tmp_path / "watched",)),
        logins=LoginOptions((tmp_path / "auth.log",), (WebLog(tmp_path / "web.log"),), zone=UTC),
    )
    found: list[Record] = []
    with open_stream(options, SystemClock()) as stream:
        sources = stream.sources()
        assert sources[Stage.LOGINS] == ("log files",), sources
        script = "echo x >watched/file; read word"
        child = subprocess.Popen(["/bin/sh", "-c", script, "marker"], stdin=subprocess.PIPE, cwd=tmp_path)
        assert child.stdin is not None
        (tmp_path / "auth.log").write_text("2026-11-22T09:08:07Z host su: (to root) alice on pts/1\n")
        deadline = time.monotonic() + WAIT_S
        while not {"start", "file", "login"} <= {_kind(each, child.pid) for each in found}:
            assert time.monotonic() < deadline, found
            found += stream.read(1.0)
        child.stdin.close()
        child.wait()
        while "end" not in {_kind(each, child.pid) for each in found}:
            assert time.monotonic() < deadline, found
            found += stream.read(1.0)
        counters = stream.counters()

    kinds = [kind for each in found if (kind := _kind(each, child.pid)) in ("start", "file", "end")]
    assert sorted(kinds) == ["end", "file", "file", "start"]
    # What came later than the stream waits for (the machine stood still) is out of order, and counted as that.
    assert kinds == ["start", "file", "file", "end"] or counters["stream.late"] > 0
    written = next(each for each in found if _kind(each, child.pid) == "file")
    assert isinstance(written, FileChange) and written.process is not None
    assert written.process.key.pid == child.pid and written.ancestors[0].key.pid == os.getpid()
    assert counters["log files.records"] == 1


def _kind(record: Record, pid: int) -> str:
    if isinstance(record, ProcessStarted) and record.process.key.pid == pid and "marker" in record.process.command:
        return "start"
    if isinstance(record, ProcessExited) and record.key.pid == pid:
        return "end"
    if isinstance(record, FileChange):
        return "file"
    return "login" if isinstance(record, LoginRecord) else ""


def test_a_machine_that_lets_us_do_nothing_is_still_watched_with_less() -> None:
    require_root()
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from govsec.clock import SystemClock\n"
        "from govsec.host.stream import StreamOptions, open_stream\n"
        "from govsec.host.filewatch import WatchOptions\n"
        "from govsec.host.events import FileChange\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "folder = Path(sys.argv[1])\n"
        "stream = open_stream(StreamOptions(files=WatchOptions((folder,)), logins=None), SystemClock())\n"
        "print(*stream.sources().values())\n"
        "(folder / 'file').touch()\n"
        "found = []\n"
        "while not any(isinstance(each, FileChange) for each in found): found += stream.read(1.0)\n"
        "print([each.path for each in found if isinstance(each, FileChange)][0])\n"
        "print([each.text for each in found if each.__class__.__name__ == 'WatchNote' and each.stage == 'files'][0])\n"
    )
    with open_folder() as folder:
        folder.chmod(0o777)
        done = python(script, str(folder))
    lines = done.stdout.splitlines()
    assert "('inotify',)" in lines[0], done.stderr
    assert lines[1] == str(folder / "file")
    assert lines[2].startswith("inotify is used; fanotify: not permitted (CAP_SYS_ADMIN)")
