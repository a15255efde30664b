"""Lines that anybody may write into the system's log: what they cost, and what is read where marks come twice."""

from __future__ import annotations

import subprocess
import sys

import pytest

from govsec.host.loginlines import LoginParser

HOSTILE = {
    "folders of sudo": ("sudo", "a : TTY=x ; CHROOT=", " ; PWD=", ""),
    "users of sudo": ("sudo", "a : TTY=x ; CHROOT= ; PWD=", " ; USER=b!", " c"),
    "folders and users of sudo": ("sudo", "a : TTY=x ; CHROOT=", " ; PWD= ; USER=b", " c"),
    "reasons of sudo": ("sudo", "a : ", "b ; ", "TTY=x ; PWD=/ ; USER=root"),
    "names of sshd": ("sshd", "Failed password for ", "x from a port 1 ", "\x00"),
    "names that may not": ("sshd", "User ", "x from a ", "\x00"),
    "connections that ended": ("sshd", "Connection closed by invalid user ", "a 1.2.3.4 port 1 ", "\x00"),
    "sessions": ("sshd", "pam_unix(a:session): session opened for user a by ", "b ", "("),
    "names of login": ("login", "FAILED LOGIN 1 FROM a FOR ", "x', ", ", "),
    "sessions of logind": ("systemd-logind", "New session 1 of user a with ", "x.", "\x00"),
}
#: Reads one message of two million characters; what tries each mark with each other one needs hours for that.
READ = (
    "import sys\n"
    "from govsec.host.loginlines import LoginParser\n"
    "program, start, again, end = (text.replace('\\\\0', chr(0)) for text in sys.argv[1:])\n"
    "LoginParser().parse(program, 1, start + again * (2_000_000 // len(again)) + end)\n"
)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_line_is_read_in_one_go_however_often_a_mark_stands_in_it(name: str) -> None:
    words = [word.replace("\x00", "\\0") for word in HOSTILE[name]]

    # Against a hang only: what is read in one go takes milliseconds.
    done = subprocess.run(
        [sys.executable, "-c", READ, *words], timeout=120, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("li : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/id", ("root", "/bin/id")),
        ("li : TTY=pts/0 ; CHROOT=/srv/jail ; PWD=/ ; USER=root ; COMMAND=/bin/id", ("root", "/bin/id")),
        ("li : TTY=pts/0 ; CHROOT= ; PWD= ; USER=root", ("root", None)),
        ("li : HOST=web ; TTY=pts/0 ; PWD=/ ; USER=root ; GROUP=adm ; COMMAND=/bin/id", ("root", "/bin/id")),
        ("li : TTY=pts/0 ; PWD=/a ; USER=b c ; USER=root ; COMMAND=/bin/id", ("root", "/bin/id")),
        ("li : TTY=pts/0 ; PWD=/a ; USER=eve ; USER=root ; COMMAND=/bin/id", ("eve", "/bin/id")),
        ("li : TTY=pts/0 ; CHROOT=/a ; USER=eve ; PWD=/ ; USER=root ; COMMAND=/bin/id", ("root", "/bin/id")),
        (f"li : TTY=pts/0 ; PWD=/ ; USER={'u' * 257} ; USER=root", ("root", None)),
        ("li : TTY=pts/0 ; CHROOT=/a ; USER=root ; COMMAND=/bin/id", None),
        ("li : TTY=pts/0 ; CHROOT=PWD=/a ; USER=root", None),
        ("li : TTY=pts/0 ; PWD=/ ; COMMAND=/bin/id", None),
        ("li : TTY=pts/0 ; PWD=; USER=root", None),
    ],
)
def test_what_sudo_says_is_read_from_mark_to_mark(message: str, expected: tuple[str, str | None] | None) -> None:
    login = LoginParser().parse("sudo", 9, message)

    assert (None if login is None else (login.user, login.command)) == expected
