"""Tampering for real: processes that hide, logs that are cut, keys and accounts that appear; and what only looks so.

Processes hide in a mount namespace of their own test; everything else happens in a scratch directory or a scratch root.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from govsec.guard.api import HiddenProcess, ModuleLook, ProcessLook
from govsec.guard.keyview import KeyView
from govsec.guard.moduleview import ModuleView
from govsec.host.snapshot import take
from govsec.host.tables import TableName, Unavailable
from govsec.records import Finding, Severity
from govsec.testing.clock import FakeClock
from tests.guard.logs import LINE, LOG, Logs
from tests.guard.records import MONDAY_NS, SECOND, Judge, account, actor, change, kinds, snapshot
from tests.support.require import missing, require_root


def cut(logs: Logs) -> None:
    os.truncate(logs.log, 0)


def cut_the_end(logs: Logs) -> None:
    os.truncate(logs.log, len(LINE) * 190)


def take_lines_out(logs: Logs) -> None:
    """As ``sed -i`` does: another file in its place."""
    subprocess.run(["sed", "-i", "1,20d", str(logs.log)], check=True, timeout=60)


def remove(logs: Logs) -> None:
    logs.log.unlink()


def write_over(logs: Logs) -> None:
    """The same inode, the same length, another address."""
    with logs.log.open("r+b") as file:
        file.seek(len(LINE) * 198)
        file.write(LINE.replace("203.0.113.9", "10.0.0.1111").encode())


def put_a_small_pack_beside(logs: Logs) -> None:
    """A rotation that is none: what was packed is not what was there."""
    (logs.folder / "auth.log.1.gz").write_bytes(gzip.compress(b"nothing happened\n"))
    os.truncate(logs.log, 0)


@pytest.mark.parametrize(
    ("deed", "how"),
    [
        (cut, "truncated"),
        (cut_the_end, "truncated"),
        (take_lines_out, "replaced"),
        (remove, "removed"),
        (write_over, "edited"),
        (put_a_small_pack_beside, "truncated"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_log_that_loses_something_is_told(tmp_path: Path, deed: Any, how: str) -> None:
    logs = Logs(tmp_path)

    deed(logs)
    (finding,) = logs.look()

    assert (finding.kind, finding.severity, finding.facts["how"]) == (LOG, Severity.HIGH, how)
    assert finding.subject == str(logs.log)
    assert finding.facts["before"]["size_bytes"] == 200 * len(LINE)  # type: ignore[index,call-overload]  # JSON
    assert "Accepted publickey" in str(finding.facts["lines"])


def grow(logs: Logs) -> None:
    with logs.log.open("a") as file:
        file.write(LINE * 10)


def rename_and_begin_anew(logs: Logs) -> None:
    os.rename(logs.log, logs.folder / "auth.log.1")
    logs.log.write_text("")


def rename_and_pack(logs: Logs) -> None:
    os.rename(logs.log, logs.folder / "auth.log.1")
    subprocess.run(["gzip", str(logs.folder / "auth.log.1")], check=True, timeout=60)
    logs.log.write_text(LINE)


def copy_and_cut(logs: Logs) -> None:
    shutil.copyfile(logs.log, logs.folder / "auth.log.1")
    os.truncate(logs.log, 0)


def rename_by_date(logs: Logs) -> None:
    os.rename(logs.log, logs.folder / "auth.log-20261122")
    logs.log.write_text("")


def rename_by_date_beside_half_a_year(logs: Logs) -> None:
    """As the law asks: 180 days are kept, and the newest name sorts last."""
    for day in range(180):
        old = logs.folder / f"auth.log-2026{1 + day // 28:02}{1 + day % 28:02}"
        old.write_text(LINE)
        os.utime(old, (1_700_000_000 + day, 1_700_000_000 + day))
    os.rename(logs.log, logs.folder / "auth.log-20261122")
    logs.log.write_text("")


@pytest.mark.parametrize(
    "deed",
    [
        grow,
        rename_and_begin_anew,
        rename_and_pack,
        copy_and_cut,
        rename_by_date,
        rename_by_date_beside_half_a_year,
    ],
    ids=lambda deed: deed.__name__,
)
def test_rotation_is_silent_and_a_log_that_is_cut_after_it_is_not(tmp_path: Path, deed: Any) -> None:
    logs = Logs(tmp_path)

    deed(logs)
    assert logs.look() == []
    grow(logs)
    assert logs.look() == []

    cut(logs)
    assert kinds(logs.look()) == [LOG]


def test_who_wrote_the_log_last_stands_in_the_finding(tmp_path: Path) -> None:
    logs = Logs(tmp_path)

    cut(logs)
    logs.judge.take(change(1, str(logs.log), "modified", by=actor(77, "shred")))
    (finding,) = logs.look()

    assert finding.facts["processes"][0]["name"] == "shred"  # type: ignore[index,call-overload]  # JSON


# Processes


@contextmanager
def sleeper() -> Iterator[int]:
    """A process that only waits."""
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as child:
        try:
            yield child.pid
        finally:
            child.communicate(timeout=60)


#: Looks at processes in a mount namespace in which something lies over the folder of one of them. Prints what hides.
_LOOK = """
import json, sys
from govsec.guard.processview import ProcessView
def everything():
    view, hidden, end = ProcessView(), {}, 0
    while True:
        look = view.look(0)
        hidden.update({str(one.pid): one.how for one in look.hidden})
        if look.end <= end or look.begin <= int(sys.argv[1]) < look.end:
            return hidden
        end = look.end
first, second = everything(), everything()
print(json.dumps({pid: how for pid, how in first.items() if second.get(pid) == how}))
"""


def hidden_in(mount: str, pid: int) -> dict[str, str]:
    """What hides after ``mount`` was done in a namespace of its own."""
    require_root()
    script = f'{mount} && exec "$0" -c "$1" "$2"'
    argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, sys.executable, _LOOK, str(pid)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=200, check=False)
    if done.returncode and ("unshare" in done.stderr or "mount:" in done.stderr):
        missing("unshare", f"no mount namespaces here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_a_process_over_whose_folder_something_is_mounted_is_seen(tmp_path: Path) -> None:
    with sleeper() as pid:
        assert hidden_in(f"mount --bind {tmp_path} /proc/{pid}", pid) == {str(pid): "unreadable"}


def test_a_process_that_hides_behind_another_ones_folder_is_seen() -> None:
    with sleeper() as pid:
        assert hidden_in(f"mount --bind /proc/1 /proc/{pid}", pid) == {str(pid): "covered"}


def test_nobody_hides_on_this_machine() -> None:
    """Threads answer to signals too and are in no listing; that is no hiding."""
    with sleeper() as pid:
        assert hidden_in("true", pid) == {}


def test_a_process_is_told_when_it_hides_at_two_looks_with_who_it_was() -> None:
    judge = Judge("hidden_process")

    def look(second: int, *pids: int) -> ProcessLook:
        hidden = tuple(HiddenProcess(pid, "unlisted", ("cgroup /system.slice",)) for pid in pids)
        return ProcessLook(MONDAY_NS + second * SECOND, hidden, 1, 1000)

    assert judge.each([look(0, 66), look(30), look(60, 66)]) == []  # one that was just ending, each time
    elsewhere = ProcessLook(MONDAY_NS + 70 * SECOND, (), 5000, 6000, frozenset({66}))
    assert judge.each([elsewhere, look(80, 66)]) == []  # asked besides, and there
    (finding,) = judge.take(look(90, 66))
    assert (finding.kind, finding.severity) == ("host.tamper.hidden_process", Severity.CRITICAL)
    assert finding.facts["pid"] == 66


def test_a_look_that_could_not_see_is_counted_and_no_pass() -> None:
    judge = Judge("hidden_process")

    assert judge.take(ProcessLook(MONDAY_NS, Unavailable("not root"))) == ()
    assert judge.engine.counters()["hidden_process"]["looks_unavailable"] == 1


# Modules


def module_root(root: Path, listed: list[str], present: list[str], taint: int = 0) -> ModuleView:
    """A machine's two lists of modules."""
    shutil.rmtree(root, ignore_errors=True)
    (root / "proc/sys/kernel").mkdir(parents=True)
    (root / "proc/modules").write_text("".join(f"{name} 16384 0 - Live 0x0\n" for name in listed))
    (root / "proc/sys/kernel/tainted").write_text(f"{taint}\n")
    for name in ["builtin", *present]:
        (root / "sys/module" / name).mkdir(parents=True)
    for name in present:
        (root / "sys/module" / name / "initstate").write_text("live\n")
    return ModuleView(root)


@pytest.mark.parametrize(
    ("listed", "present", "how"),
    [(["ext4"], ["ext4", "diamorphine"], "unlisted"), (["ext4", "reptile"], ["ext4"], "absent")],
)
def test_a_module_that_only_one_list_has_is_told_at_the_second_look(
    tmp_path: Path, listed: list[str], present: list[str], how: str
) -> None:
    judge = Judge("hidden_module")
    view = module_root(tmp_path / "root", listed, present)

    looks = [view.look(MONDAY_NS), view.look(MONDAY_NS + 30 * SECOND)]
    findings = judge.each(look for look in looks if look is not None)

    assert [(finding.kind, finding.facts["how"]) for finding in findings] == [("host.tamper.hidden_module", how)]


def test_a_module_that_is_just_being_loaded_and_modules_that_agree_are_silent(tmp_path: Path) -> None:
    judge = Judge("hidden_module")
    views = [(["ext4"], ["ext4", "nfs"]), (["ext4", "nfs"], ["ext4", "nfs"]), (["ext4"], ["ext4"])]

    for second, (listed, present) in enumerate(views):
        look = module_root(tmp_path / "root", listed, present).look(MONDAY_NS + second * SECOND)
        assert isinstance(look, ModuleLook)
        assert judge.take(look) == ()


def test_a_mark_on_the_kernel_that_no_module_accounts_for_is_told(tmp_path: Path) -> None:
    judge = Judge("hidden_module")
    out_of_tree = 1 << 12
    clean, tainted = (module_root(tmp_path / "root", ["ext4"], ["ext4"], mark) for mark in (0, 0))

    first = clean.look(MONDAY_NS)
    (tmp_path / "root/proc/sys/kernel/tainted").write_text(f"{out_of_tree}\n")
    second = tainted.look(MONDAY_NS + SECOND)

    assert first is not None
    assert second is not None
    assert [finding.facts["how"] for finding in judge.each([first, second])] == ["tainted"]


# What every program loads, who is root, which keys open


def test_an_entry_of_ld_so_preload_that_was_not_there_is_told(tmp_path: Path) -> None:
    judge, view = Judge("preload"), KeyView([], tmp_path)
    (tmp_path / "etc").mkdir()

    def look(second: int) -> list[Finding]:
        file = view.preload(MONDAY_NS + second * SECOND)
        assert file is not None
        return [*judge.take(file)]

    assert look(0) == []
    (tmp_path / "etc/ld.so.preload").write_text("# nothing yet\n")
    assert look(30) == []
    (tmp_path / "etc/ld.so.preload").write_text("/usr/lib/libhide.so\n")
    (finding,) = look(60)
    assert (finding.kind, finding.subject) == ("host.tamper.preload", "/usr/lib/libhide.so")
    assert look(90) == []


def passwd(root: Path, *lines: str) -> None:
    """The accounts of a scratch root."""
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/passwd").write_text("\n".join(["root:x:0:0::/root:/bin/bash", *lines]) + "\n")
    (root / "etc/group").write_text("root:x:0:\nsudo:x:27:wang\n")
    (root / "etc/shadow").write_text("root:*:1:0:99999:7:::\n")


def test_an_account_with_uid_0_that_appears_is_told(tmp_path: Path) -> None:
    judge, clock = Judge("root_account"), FakeClock()
    passwd(tmp_path, "www:x:33:33::/var/www:/usr/sbin/nologin")
    assert judge.take(take(clock, {TableName.ACCOUNTS}, root=tmp_path)) == ()

    passwd(tmp_path, "www:x:33:33::/var/www:/usr/sbin/nologin", "sysd:x:0:0::/:/bin/sh")
    (finding,) = judge.take(take(clock, {TableName.ACCOUNTS}, root=tmp_path))

    assert (finding.kind, finding.subject, finding.severity) == (
        "host.tamper.root_account",
        "sysd",
        Severity.CRITICAL,
    )
    assert finding.facts["after"]["shell"] == "/bin/sh"  # type: ignore[index,call-overload]  # JSON


def test_an_account_that_comes_into_a_group_of_root_is_told_and_an_ordinary_one_is_not() -> None:
    judge = Judge("root_account")
    people = [account("root", 0), account("wang", 1000, groups=("sudo",)), account("li", 1001)]
    assert judge.take(snapshot(accounts=tuple(people))) == ()

    people += [account("zhao", 1002, groups=("users",))]
    assert judge.take(snapshot(accounts=tuple(people))) == ()

    people[2] = account("li", 1001, groups=("docker",))
    (finding,) = judge.take(snapshot(accounts=tuple(people)))
    assert (finding.subject, finding.facts["group"]) == ("li", "docker")
    assert judge.take(snapshot(accounts=Unavailable("gone"))) == ()


def test_a_second_root_that_was_there_before_anybody_looked_is_told() -> None:
    accounts = (account("root", 0), account("toor", 0), account("wang", 1000, groups=("sudo",)))

    assert [finding.subject for finding in Judge("root_account").take(snapshot(accounts=accounts))] == ["toor"]


def key(number: int, comment: str = "") -> str:
    """A line of authorized_keys."""
    raw = b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00 " + bytes([number]) * 32
    return f"ssh-ed25519 {b64encode(raw).decode()} {comment}\n"


def test_a_key_that_is_added_is_told_with_its_fingerprint_and_honest_edits_are_not(tmp_path: Path) -> None:
    judge, view = Judge("authorized_keys"), KeyView([".ssh/authorized_keys"], tmp_path)
    home = tmp_path / "root/.ssh"
    home.mkdir(parents=True)
    file = home / "authorized_keys"
    accounts = [account("root", 0, home="/root")]

    def look(second: int) -> list[Finding]:
        return judge.each(view.look(MONDAY_NS + second * SECOND, accounts))

    file.write_text(key(1, "wang@desk") + key(2, "li@desk"))
    assert look(0) == []
    file.write_text("# our people\n" + key(2, "li@new-desk") + key(1, "wang@desk"))
    assert look(30) == []

    file.write_text(key(1) + key(2) + key(3, "x"))
    (finding,) = look(60)
    assert (finding.kind, finding.severity, finding.subject) == (
        "host.tamper.authorized_keys",
        Severity.CRITICAL,
        "root",
    )
    assert "SHA256:" in finding.summary

    file.write_text('command="/bin/sh" ' + key(1) + key(2) + key(3, "x"))
    assert kinds(look(90)) == ["host.tamper.authorized_keys"]


class Home:
    """The key file of root in a scratch root, looked at after each deed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.judge, self.view = Judge("authorized_keys"), KeyView([".ssh/authorized_keys"], root)
        self.file = root / "root/.ssh/authorized_keys"
        self.file.parent.mkdir(parents=True)
        self.file.write_text(key(1, "wang@desk"))
        self.time_ns = MONDAY_NS

    def look(self) -> list[Finding]:
        self.time_ns += 30 * SECOND
        return self.judge.each(self.view.look(self.time_ns, [account("root", 0, home="/root")]))


def entries_of(finding: Finding) -> list[str]:
    """The entries that were told as new."""
    after: Any = finding.facts["after"]
    return list(after["keys"])


def link_within(home: Home) -> None:
    (home.root / "root/other").write_text(key(1) + key(9))
    home.file.unlink()
    home.file.symlink_to("/root/other")


def link_outside(home: Home) -> None:
    (home.root / "other").write_text(key(9))
    home.file.unlink()
    home.file.symlink_to("../../other")


def link_to_nothing(home: Home) -> None:
    home.file.unlink()
    home.file.symlink_to("/root/nothing")


def fill(home: Home) -> None:
    home.file.write_text("#" * (1 << 20) + "\n" + key(9))


@pytest.mark.parametrize(
    ("deed", "said"),
    [
        (link_within, ["a link to /root/other", "SHA256:"]),
        (link_outside, ["a link to ../../other (state "]),
        (link_to_nothing, ["a link to /root/nothing (leads nowhere)"]),
        (fill, ["larger than 1048576 bytes (state "]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.parametrize("is_there_at_first", [False, True])
def test_a_key_file_that_is_not_read_as_sshd_reads_it_is_told(
    tmp_path: Path, deed: Any, said: list[str], is_there_at_first: bool
) -> None:
    home = Home(tmp_path)
    if not is_there_at_first:
        assert home.look() == []

    deed(home)
    (finding,) = home.look()

    # Keys that are there at the first look are known.
    said = said[:1] if is_there_at_first else said
    assert (finding.kind, finding.severity) == ("host.tamper.authorized_keys", Severity.CRITICAL)
    told = entries_of(finding)
    assert [one.startswith(start) for one, start in zip(told, said, strict=True)] == [True] * len(said)
    assert home.look() == []


def test_what_changes_behind_a_link_out_of_the_home_is_told_and_a_link_to_no_keys_is_not(tmp_path: Path) -> None:
    home = Home(tmp_path)
    link_outside(home)
    assert kinds(home.look()) == ["host.tamper.authorized_keys"]

    (tmp_path / "other").write_text(key(9) + key(10))
    assert kinds(home.look()) == ["host.tamper.authorized_keys"]

    home.file.unlink()
    home.file.symlink_to("/dev/null")
    assert home.look() == []


@pytest.mark.parametrize(
    "options",
    [
        'command="exec bash ssh-x y"',
        'command="echo \\"ssh-ed25519 AAAA\\" x"',
        'environment="A=#b",no-pty',
    ],
)
def test_a_key_behind_options_is_read_as_sshd_reads_it(tmp_path: Path, options: str) -> None:
    home = Home(tmp_path)
    plain = home.view.look(0, [account("root", 0, home="/root")])[0].keys[0][0]
    home.look()

    home.file.write_text(f"{key(1)}{options} {key(1, 'x')}")
    (finding,) = home.look()

    (told,) = entries_of(finding)
    assert told.startswith(f"{plain}+")
    assert told.endswith(" x")


@pytest.mark.parametrize(
    "line",
    ["ssh-ed25519 AAAA= x", 'command="no end ' + key(3), "RSA AAAAB3Nz", key(3).replace("ssh-ed25519", "ssh-rsa")],
)
def test_a_line_that_cannot_be_read_as_a_key_is_told_by_its_digest(tmp_path: Path, line: str) -> None:
    home = Home(tmp_path)
    home.look()

    home.file.write_text(f"{key(1)}{line}\n# ssh-rsa is no more\n")
    (finding,) = home.look()

    (told,) = entries_of(finding)
    assert told.startswith("line sha256:")


def test_a_key_behind_more_keys_than_are_kept_is_told(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.file.write_text("".join(f"line {number}\n" for number in range(1001)))
    assert kinds(home.look()) == ["host.tamper.authorized_keys"]

    with home.file.open("a") as file:
        file.write(key(9))
    assert kinds(home.look()) == ["host.tamper.authorized_keys"]


@pytest.mark.parametrize("is_link", [True, False])
def test_an_ld_so_preload_that_is_not_read_as_the_loader_reads_it_is_told(tmp_path: Path, is_link: bool) -> None:
    judge, view = Judge("preload"), KeyView([], tmp_path)
    file = tmp_path / "etc/ld.so.preload"
    file.parent.mkdir()
    if is_link:
        (tmp_path / "etc/other").write_text("/tmp/evil.so\n")
        file.symlink_to("/etc/other")
    else:
        file.write_text("\n" * (1 << 20) + "/tmp/evil.so\n")

    look = view.preload(MONDAY_NS)
    assert look is not None
    (finding,) = judge.take(look)

    assert (finding.kind, finding.severity) == ("host.tamper.preload", Severity.CRITICAL)
    assert finding.subject.startswith("a link to /etc/other" if is_link else "larger than 1048576 bytes")


def test_fingerprints_are_those_of_ssh_keygen(tmp_path: Path) -> None:
    if shutil.which("ssh-keygen") is None:
        missing("ssh-keygen", "it is not installed")
    (tmp_path / "keys").write_text(key(7))
    said = subprocess.run(["ssh-keygen", "-lf", str(tmp_path / "keys")], capture_output=True, text=True, timeout=60)

    (file,) = KeyView([str(tmp_path / "keys")]).look(0, [account("root", 0, home="/root")])

    assert file.keys[0][0] in said.stdout
