"""Lines of logs: followed through all that happens to files, dated, and read for who came and who was refused."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govsec.clock import from_ns
from govsec.host.api import SourceUnavailableError
from govsec.host.events import LoginOutcome, LoginRecord, LoginTool, WatchNote
from govsec.host.logfollow import LINE_MAX, LogFollower
from govsec.host.logins import AuthReader, LoginFiles, LoginOptions, WebLog, WebReader
from govsec.host.logtime import HeadReader
from govsec.testing.clock import FakeClock
from tests.host.watching import open_folder, python
from tests.support.require import require_root

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
CHINA = timezone(timedelta(hours=8))


# Files.


def following(path: Path, clock: FakeClock | None = None) -> LogFollower:
    follower = LogFollower(path, clock or FakeClock())
    follower.open()
    return follower


def append(path: Path, text: str | bytes) -> None:
    with path.open("ab") as file:
        file.write(text.encode() if isinstance(text, str) else text)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "auth.log"
    path.write_text("old one\nold two\n")
    return path


def test_only_what_comes_is_read_and_halves_of_lines_wait_for_the_other_half(log: Path) -> None:
    follower = following(log)
    assert list(follower.lines()) == []
    append(log, "one\ntwo\nthr")
    assert list(follower.lines()) == [b"one", b"two"]
    append(log, "ee\n")
    assert list(follower.lines()) == [b"three"]


def test_a_renamed_file_is_read_to_its_end_also_when_its_writer_goes_on(log: Path) -> None:
    clock = FakeClock()
    follower = following(log, clock)
    append(log, "one\n")
    log.rename(log.with_suffix(".1"))
    log.write_text("first of the new\n")
    assert list(follower.lines()) == [b"one", b"first of the new"]
    append(log.with_suffix(".1"), "late in the old\nwithout an end")
    append(log, "second of the new\n")
    assert list(follower.lines()) == [b"late in the old", b"second of the new"]
    clock.advance(61)
    assert list(follower.lines()) == [b"without an end"]
    append(log.with_suffix(".1"), "too late\n")
    assert list(follower.lines()) == []
    assert follower.counters.rotations == 1
    follower.close()


def test_a_file_that_was_copied_and_cut_is_read_from_its_beginning(log: Path) -> None:
    follower = following(log)
    append(log, "one\n")
    assert list(follower.lines()) == [b"one"]
    os.truncate(log, 0)
    append(log, "after\n")
    assert list(follower.lines()) == [b"after"]
    assert follower.counters.truncations == 1
    assert follower.cuts.popleft() == (20, b"old one\nold two\none\n")


def test_a_file_that_was_cut_and_grew_again_between_two_looks_is_noticed(log: Path) -> None:
    follower = following(log)
    append(log, "one\n")
    assert list(follower.lines()) == [b"one"]
    log.write_text("another content that is much longer than the first was\nand more\n")
    assert list(follower.lines()) == [b"another content that is much longer than the first was", b"and more"]
    assert follower.counters.truncations == 1


def test_a_file_that_goes_and_comes_back_is_read_from_its_beginning(log: Path) -> None:
    follower = following(log)
    log.unlink()
    assert list(follower.lines()) == []
    log.write_text("back\n")
    assert list(follower.lines()) == [b"back"]


def test_a_file_that_is_not_there_yet_is_read_whole_when_it_comes(tmp_path: Path) -> None:
    follower = LogFollower(tmp_path / "later.log", FakeClock())
    assert not follower.open()
    assert list(follower.lines()) == []
    (tmp_path / "later.log").write_text("one\n")
    assert list(follower.lines()) == [b"one"]


def test_many_rotations_at_once_keep_few_files_open(log: Path) -> None:
    follower = following(log)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(20):
        append(log, f"in {number}\n")
        log.rename(log.with_suffix(f".{number}"))
        log.write_text("")
        assert list(follower.lines()) == [f"in {number}".encode()]
    assert len(os.listdir("/proc/self/fd")) <= before + 4
    follower.close()


def test_a_line_of_a_megabyte_is_cut_and_the_next_one_is_whole(log: Path) -> None:
    follower = following(log)
    append(log, b"x" * (1 << 20))
    first = list(follower.lines())
    append(log, b"x" * 1000 + b"\nnext\n")
    assert [len(line) for line in first] == [LINE_MAX]
    assert list(follower.lines()) == [b"next"]
    assert (follower.counters.lines, follower.counters.cut) == (2, 1)


def test_a_link_a_pipe_and_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("secret\n")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("link", "pipe", "folder"):
        with pytest.raises(OSError):
            LogFollower(tmp_path / name, FakeClock()).open()


def test_a_log_that_is_replaced_by_a_link_is_told_once_and_not_followed(log: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret\n")
    follower = following(log)
    log.unlink()
    log.symlink_to(tmp_path / "secret")
    assert list(follower.lines()) == list(follower.lines()) == []
    assert (follower.counters.refused, len(follower.notes)) == (1, 1)


# Times.


def moment(line: str, reader: HeadReader | None = None, now: datetime = NOW) -> datetime | None:
    head = (reader or HeadReader(UTC)).read(line, now)
    return from_ns(head.time_ns) if head is not None else None


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("Nov 22 09:08:07", datetime(2026, 11, 22, 9, 8, 7, tzinfo=UTC)),
        ("Nov  2 09:08:07", datetime(2026, 11, 2, 9, 8, 7, tzinfo=UTC)),
        ("Nov 22 09:08:07.250", datetime(2026, 11, 22, 9, 8, 7, 250000, tzinfo=UTC)),
        ("Dec 24 00:00:00", datetime(2025, 12, 24, tzinfo=UTC)),
        ("Feb 29 12:00:00", datetime(2024, 2, 29, 12, tzinfo=UTC)),
        ("<38>Nov 22 09:08:07", datetime(2026, 11, 22, 9, 8, 7, tzinfo=UTC)),
        ("2026-11-22T09:08:07.123456+08:00", datetime(2026, 11, 22, 1, 8, 7, 123456, tzinfo=UTC)),
        ("2026-11-22T09:08:07Z", datetime(2026, 11, 22, 9, 8, 7, tzinfo=UTC)),
        ("2026-11-22 09:08:07,5 +0000", datetime(2026, 11, 22, 9, 8, 7, 500000, tzinfo=UTC)),
    ],
)
def test_times_of_both_families_are_read(start: str, expected: datetime) -> None:
    assert moment(f"{start} host sshd[1]: text") == expected


def test_a_traditional_time_is_of_the_zone_that_is_given() -> None:
    assert moment("Nov 22 09:08:07 host su: x", HeadReader(CHINA)) == datetime(2026, 11, 22, 1, 8, 7, tzinfo=UTC)


def test_the_year_follows_from_the_line_before_over_new_year_and_whatever_the_clock_says() -> None:
    reader = HeadReader(UTC)
    wrong_clock = datetime(2031, 6, 1, tzinfo=UTC)
    read = [
        moment("2026-12-31T23:59:58Z host su: x", reader, wrong_clock),
        moment("Dec 31 23:59:59 host su: x", reader, wrong_clock),
        moment("Jan  1 00:00:01 host su: x", reader, wrong_clock),
        moment("Dec 31 23:59:59 host su: x", reader, wrong_clock),
    ]
    assert [each.year if each is not None else 0 for each in read] == [2026, 2026, 2027, 2026]


@pytest.mark.parametrize(
    "line",
    ["", "no time at all", "Foo 22 09:08:07 h p: x", "Nov 32 09:08:07 h p: x", "Nov 22 29:08:07 h p: x",
     "2026-13-01T00:00:00Z h p: x", "Nov 22 09:08:07 host", "0001-01-01T00:00:00+09:00 h p: x"],
)  # fmt: skip
def test_lines_without_a_time_are_no_lines(line: str) -> None:
    assert moment(line) is None


# Messages.


def read_all(*lines: str) -> list[LoginRecord]:
    reader = AuthReader("/var/log/auth.log", UTC)
    return [record for line in lines if (record := reader.read(line, NOW)) is not None]


def sshd(message: str, pid: int = 100) -> str:
    return f"Nov 22 09:08:07 host sshd[{pid}]: {message}"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            sshd("Accepted publickey for alice from 2001:db8::7 port 50022 ssh2: ED25519 SHA256:abc"),
            ("sshd", "success", "alice", "2001:db8::7", "publickey"),
        ),
        (
            sshd("Failed password for root from 203.0.113.5 port 4711 ssh2"),
            ("sshd", "failure", "root", "203.0.113.5", "password"),
        ),
        (
            "2026-11-22T09:08:07+00:00 host sshd-session[7]: Failed password for invalid user oracle"
            " from fe80::1%eth0 port 22 ssh2",
            ("sshd", "failure", "oracle", "fe80::1%eth0", "password"),
        ),
        (
            sshd("User bob from 203.0.113.5 not allowed because not listed in AllowUsers"),
            ("sshd", "failure", "bob", "203.0.113.5", "not allowed"),
        ),
        (
            sshd("Connection closed by authenticating user root 203.0.113.5 port 999 [preauth]"),
            ("sshd", "failure", "root", "203.0.113.5", "none"),
        ),
        (
            sshd("Disconnected from invalid user a b 203.0.113.5 port 999 [preauth]"),
            ("sshd", "failure", "a b", "203.0.113.5", "invalid user"),
        ),
        (
            sshd("pam_unix(sshd:session): session opened for user alice(uid=1000) by (uid=0)"),
            ("sshd", "opened", "alice", None, None),
        ),
        (sshd("pam_unix(sshd:session): session closed for user alice"), ("sshd", "closed", "alice", None, None)),
        (
            "Nov 22 09:08:07 host sudo:    alice : TTY=pts/0 ; PWD=/home/a ; USER=root ; COMMAND=/bin/cat /etc/shadow",
            ("sudo", "success", "root", None, None),
        ),
        (
            "Nov 22 09:08:07 host sudo[9]: alice : 3 incorrect password attempts ; TTY=pts/0 ; PWD=/ ; USER=root ;"
            " COMMAND=/bin/sh",
            ("sudo", "failure", "root", None, "password"),
        ),
        (
            "Nov 22 09:08:07 host sudo: eve : user NOT in sudoers ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/sh",
            ("sudo", "failure", "root", None, "user NOT in sudoers"),
        ),
        ("Nov 22 09:08:07 host su[3]: (to root) alice on pts/1", ("su", "success", "root", None, None)),
        ("Nov 22 09:08:07 host su: FAILED SU (to root) alice on pts/1", ("su", "failure", "root", None, None)),
        ("Nov 22 09:08:07 host su[3]: FAILED su for root by alice", ("su", "failure", "root", None, None)),
        (
            "Nov 22 09:08:07 host login[2]: FAILED LOGIN (1) on '/dev/tty1' FOR 'UNKNOWN', Authentication failure",
            ("login", "failure", "UNKNOWN", None, "password"),
        ),
        ("Nov 22 09:08:07 host login[2]: ROOT LOGIN ON tty1", ("login", "success", "root", None, "password")),
        (
            "Nov 22 09:08:07 host login[2]: LOGIN ON pts/3 BY alice FROM 192.0.2.1",
            ("login", "success", "alice", "192.0.2.1", "password"),
        ),
        (
            "Nov 22 09:08:07 host systemd-logind[5]: New session 12 of user alice.",
            ("logind", "opened", "alice", None, None),
        ),
    ],
)
def test_what_programs_say_is_read(line: str, expected: tuple[str, str, str, str | None, str | None]) -> None:
    records = read_all(line)

    assert [(each.tool, each.outcome, each.user, each.source, each.method) for each in records] == [expected]
    assert (records[0].line, records[0].log) == (line, "/var/log/auth.log")


def test_more_is_kept_of_what_sudo_says() -> None:
    record = read_all(
        "Nov 22 09:08:07 host sudo[9]: alice : 3 incorrect password attempts ; TTY=pts/0 ; PWD=/ ; USER=root ;"
        " COMMAND=/bin/sh -c id"
    )[0]
    assert (record.by_user, record.terminal, record.command, record.count) == ("alice", "pts/0", "/bin/sh -c id", 3)


def test_one_attempt_is_one_record() -> None:
    records = read_all(
        sshd("Invalid user oracle from 203.0.113.5 port 4711"),
        sshd("pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.5"),
        sshd("Failed password for invalid user oracle from 203.0.113.5 port 4711 ssh2"),
        sshd("message repeated 2 times: [ Failed password for invalid user oracle from 203.0.113.5 port 4711 ssh2]"),
        sshd(
            "error: maximum authentication attempts exceeded for invalid user oracle from 203.0.113.5 port 4711 ssh2"
            " [preauth]"
        ),
        sshd("Disconnecting invalid user oracle 203.0.113.5 port 4711: Too many authentication failures [preauth]"),
        sshd("Connection closed by authenticating user root 203.0.113.6 port 4712 [preauth]", pid=101),
    )
    assert [(each.user, each.count) for each in records] == [("oracle", 1), ("oracle", 2), ("root", 1)]


def test_a_line_that_says_only_that_the_last_is_repeated_stands_for_that_one() -> None:
    records = read_all(
        sshd("Failed password for root from 203.0.113.5 port 4711 ssh2"),
        "Nov 22 09:08:09 host last message repeated 4 times",
        "Nov 22 09:08:10 host cron[1]: something else",
        "Nov 22 09:08:11 host last message repeated 9 times",
    )
    assert [(each.user, each.count) for each in records] == [("root", 1), ("root", 4)]


@pytest.mark.parametrize(
    "name",
    [
        "root from 198.51.100.9 port 22 ssh2",
        "x port 22 ssh2: from 198.51.100.9 port 1 ssh2: y",
        "a: Accepted password for root from 198.51.100.9 port 22 ssh2",
        "] sshd[1]: Accepted password for root",
        "' OR 1=1",
        "\x1b[2J",
        "用户",
        "",
    ],
)
def test_a_name_that_a_stranger_typed_is_a_name_and_nothing_else(name: str) -> None:
    records = read_all(sshd(f"Failed password for invalid user {name} from 203.0.113.5 port 4711 ssh2"))

    assert [(each.outcome, each.user, each.source) for each in records] == [("failure", name, "203.0.113.5")]


def test_other_programs_and_other_messages_are_left_out() -> None:
    assert not read_all(
        "Nov 22 09:08:07 host mysshd[1]: Accepted password for root from 1.2.3.4 port 5 ssh2",
        "Nov 22 09:08:07 host cron[1]: pam_unix(cron:session): session opened for user root(uid=0) by (uid=0)",
        sshd("Server listening on 0.0.0.0 port 22."),
        sshd("Accepted password for two words from 1.2.3.4 port 5 ssh2"),
        "Nov 22 09:08:07 host systemd-logind[5]: Removed session 999.",
    )


def test_a_session_of_logind_is_closed_by_the_one_who_opened_it() -> None:
    records = read_all(
        "Nov 22 09:08:07 host systemd-logind[5]: New session c3 of user alice.",
        "Nov 22 09:09:07 host systemd-logind[5]: Removed session c3.",
    )
    assert [(each.outcome, each.user) for each in records] == [("opened", "alice"), ("closed", "alice")]


@given(st.sampled_from(["sshd", "sudo", "su", "login", "systemd-logind"]), st.text(max_size=300))
def test_any_message_is_read_or_left_out(program: str, message: str) -> None:
    read_all(f"Nov 22 09:08:07 host {program}[1]: {message}")


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_left_out(data: bytes) -> None:
    read_all(data.decode("utf-8", "surrogateescape"))


# Logs of web servers.

COMBINED = '203.0.113.5 - - [22/Nov/2026:09:08:07 +0800] "POST /login HTTP/1.1" {status} 512 "-" "Mozilla/5.0"'


def test_a_log_in_on_the_web_is_what_the_configuration_says() -> None:
    reader = WebReader(WebLog(Path("/var/log/nginx/access.log"), login_paths=("/login",)))
    refused = reader.read(COMBINED.format(status=401), NOW)
    let_in = reader.read(COMBINED.format(status=302), NOW)

    assert refused is not None and let_in is not None
    assert (refused.tool, refused.outcome, refused.source) == (LoginTool.WEB, LoginOutcome.FAILURE, "203.0.113.5")
    assert (refused.method, refused.command, refused.user) == ("401", "/login", "")
    assert from_ns(refused.time_ns) == datetime(2026, 11, 22, 1, 8, 7, tzinfo=UTC)
    assert let_in.outcome is LoginOutcome.SUCCESS
    for other in ("POST /other", "GET /login", "POST /login/x"):
        assert reader.read(COMBINED.replace("POST /login", other).format(status=401), NOW) is None
    assert reader.read(COMBINED.format(status=500), NOW) is None
    assert reader.read(COMBINED.replace("/login", "/login?next=/").format(status=401), NOW) is not None


def test_another_format_of_a_web_log_is_a_pattern() -> None:
    pattern = r"(?P<source>\S+) user=(?P<user>\S+) status=(?P<status>\d+)"
    reader = WebReader(WebLog(Path("/x"), pattern=pattern))
    record = reader.read("2001:db8::9 user=bob status=403", NOW)

    assert record is not None
    assert (record.user, record.source, from_ns(record.time_ns)) == ("bob", "2001:db8::9", NOW)


@pytest.mark.parametrize("pattern", ["(", r"(?P<source>\S+)", "x"])
def test_a_wrong_pattern_is_a_clear_error(pattern: str) -> None:
    with pytest.raises(SourceUnavailableError, match="pattern of the web log"):
        WebReader(WebLog(Path("/x"), pattern=pattern))


# The source.


def test_all_logs_are_read_and_what_cannot_be_is_told(log: Path, tmp_path: Path) -> None:
    web = tmp_path / "access.log"
    web.touch()
    (tmp_path / "link").symlink_to(log)
    source = LoginFiles(LoginOptions((log, tmp_path / "link"), (WebLog(web),), zone=UTC), FakeClock(NOW))
    source.open()
    append(log, sshd("Failed password for root from 203.0.113.5 port 4711 ssh2") + "\n" + "x" * 100_000 + "\n")
    append(log, b"Nov 22 09:08:07 host sshd[1]: Failed password for invalid user \xff\xfe from ::1 port 1 ssh2\n")
    append(web, COMBINED.format(status=401) + "\n")

    records = source.read()

    notes = [each for each in records if isinstance(each, WatchNote)]
    assert [note.text.rsplit("/", 1)[1] for note in notes] == ["link: Too many levels of symbolic links, not read"]
    logins = [each for each in records if isinstance(each, LoginRecord)]
    assert [(each.tool, each.user) for each in logins] == [("sshd", "root"), ("sshd", "\udcff\udcfe"), ("web", "")]
    assert source.counters() == {
        "lines": 4, "cut": 1, "rotations": 0, "truncations": 0, "refused": 0, "records": 3
    }  # fmt: skip
    source.close()


def test_no_log_at_all_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailableError, match="none of them exists"):
        LoginFiles(LoginOptions((tmp_path / "none",)), FakeClock()).open()


def test_a_log_goes_on_after_rights_were_given_up_and_a_new_one_that_is_closed_is_told() -> None:
    require_root()
    with open_folder() as folder:
        done = _log_that_is_replaced(folder / "auth.log")

    assert done.stdout.splitlines() == ["['root']", "['the new file may not be read (Permission denied)']"], done.stderr


def _log_that_is_replaced(log: Path) -> subprocess.CompletedProcess[str]:
    log.touch(mode=0o600)
    return python(
        "import os, sys\n"
        "from pathlib import Path\n"
        "from govsec.clock import SystemClock\n"
        "from govsec.host.logins import LoginFiles, LoginOptions\n"
        "log = Path(sys.argv[1])\n"
        "source = LoginFiles(LoginOptions((log,)), SystemClock())\n"
        "source.open()\n"
        "line = '2026-11-22T09:08:07Z host su: (to root) alice on pts/1\\n'\n"
        "with log.open('a') as file: file.write(line)\n"
        "other = os.fork()\n"
        "if other == 0:\n"
        "    os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)\n"
        "    print([each.user for each in source.read()], flush=True)\n"
        "    os.kill(os.getpid(), 19)\n"
        "    print([each.text for each in source.read()], flush=True)\n"
        "    os._exit(0)\n"
        "os.waitpid(other, os.WUNTRACED)\n"
        "log.rename(log.with_suffix('.1')); log.touch(mode=0o600)\n"
        "os.kill(other, 18); os.waitpid(other, 0)\n",
        str(log),
    )
