"""Snapshots of recorded machines: what is read, what is missing and says so, and what hostile files cannot do."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govsec.host.processes import COMMAND_BYTES_MAX, ProcessReader
from govsec.host.snapshot import take
from govsec.host.tables import HostSnapshot, Process, ProcessKey, TableName, Unavailable, lineage
from govsec.host.tree import Gaps, Tree
from govsec.testing.clock import FakeClock
from tests.host.machines import BOOT_ID, RecordedMachine, record


@pytest.fixture
def machine(tmp_path: Path) -> RecordedMachine:
    return record(tmp_path)


def gaps_of(snapshot: HostSnapshot, table: TableName) -> dict[str, int]:
    return {gap.reason: gap.count for gap in snapshot.gaps if gap.table is table}


def test_a_machine_of_which_nothing_can_be_read_has_no_table_that_looks_empty(tmp_path: Path, clock: FakeClock) -> None:
    snapshot = take(clock, root=tmp_path)

    for table in TableName:
        value = getattr(snapshot, table)
        assert isinstance(value, Unavailable), table
        assert value.reason not in ("", "not asked for"), table
    assert {field.name for field in dataclasses.fields(snapshot)} >= set(TableName)
    assert snapshot.name == "unknown"


def test_tables_that_were_not_asked_for_are_not_read(machine: RecordedMachine, clock: FakeClock) -> None:
    snapshot = take(clock, [TableName.MEMORY], root=machine.root)

    assert not isinstance(snapshot.memory, Unavailable)
    assert snapshot.memory.available_bytes == 6_000_000 * 1024
    assert all(
        getattr(snapshot, table) == Unavailable("not asked for") for table in TableName if table is not TableName.MEMORY
    )


def test_a_recorded_machine_is_named_and_dated(machine: RecordedMachine, clock: FakeClock) -> None:
    snapshot = take(clock, [], root=machine.root)

    assert (snapshot.name, snapshot.boot_id) == ("portal-3", BOOT_ID)
    assert (snapshot.machine.os_id, snapshot.machine.os_version, snapshot.machine.os_codename) == (
        "debian", "12", "bookworm",
    )  # fmt: skip
    assert snapshot.machine.booted_ns == 1_700_000_000_000_000_000
    assert snapshot.machine.container is None
    machine.write("/.dockerenv", "")
    assert take(clock, [], root=machine.root).machine.container == "docker"


def test_processes_are_read_with_those_they_came_from(machine: RecordedMachine, clock: FakeClock) -> None:
    processes = take(clock, [TableName.PROCESSES], root=machine.root).processes
    assert not isinstance(processes, Unavailable)
    by_pid = {process.key.pid: process for process in processes}
    postgres = by_pid[70]

    assert sorted(by_pid) == [1, 2, 40, 70]
    assert postgres.key == ProcessKey(70, 100)
    assert postgres.command == ("/usr/bin/postgres", "-D", "/srv/data")
    assert (postgres.executable, postgres.executable_deleted) == ("/usr/bin/postgres", True)
    assert (by_pid[40].executable, by_pid[40].executable_deleted) == ("/usr/sbin/sshd", False)
    assert postgres.started_ns == 1_700_000_001_000_000_000
    assert (postgres.cpu_s, postgres.rss_bytes) == (2.0, 25 * os.sysconf("SC_PAGE_SIZE"))
    assert (postgres.login_uid, postgres.terminal) == (1000, "pts/3")
    assert (by_pid[40].login_uid, by_pid[40].terminal) == (None, None)
    assert postgres.cgroup == "/system.slice/postgresql.service"
    assert by_pid[2].is_kernel_thread and not postgres.is_kernel_thread
    assert [each.name for each in lineage(by_pid, postgres)] == ["postgres", "systemd"]


def test_a_parent_that_is_younger_than_its_child_is_another_process(machine: RecordedMachine, clock: FakeClock) -> None:
    machine.process(90, "reused", start_ticks=900)
    machine.process(80, "orphan", parent=90, start_ticks=300)
    machine.process(81, "circle", parent=82, start_ticks=300)
    machine.process(82, "circle", parent=81, start_ticks=300)
    processes = take(clock, [TableName.PROCESSES], root=machine.root).processes
    assert not isinstance(processes, Unavailable)
    by_pid = {process.key.pid: process for process in processes}

    assert lineage(by_pid, by_pid[80]) == (by_pid[80],)
    assert [each.key.pid for each in lineage(by_pid, by_pid[81])] == [81, 82]


def test_a_name_of_a_process_cannot_forge_its_other_fields(machine: RecordedMachine, clock: FakeClock) -> None:
    machine.process(91, b"x) R 1 0 0 0 (y) Z\n\xff", parent=40, start_ticks=777, command=b"\x1b[2J\0\xfe\0" * 9000)
    processes = take(clock, [TableName.PROCESSES], root=machine.root).processes
    assert not isinstance(processes, Unavailable)
    hostile = next(process for process in processes if process.key.pid == 91)

    assert hostile.name.encode("utf-8", "surrogateescape") == b"x) R 1 0 0 0 (y) Z\n\xff"
    assert (hostile.parent_pid, hostile.key.start_ticks, hostile.state) == (40, 777, "S")
    assert hostile.command[:2] == ("\x1b[2J", "\udcfe")
    assert sum(len(os.fsencode(word)) + 1 for word in hostile.command) <= COMMAND_BYTES_MAX + 1


@given(line=st.binary(max_size=300))
def test_a_line_that_no_kernel_writes_is_a_process_that_is_gone(
    tmp_path_factory: pytest.TempPathFactory, line: bytes
) -> None:
    machine = RecordedMachine(tmp_path_factory.mktemp("machine"))
    machine.write("/proc/stat", "btime 1\n")
    machine.process(5, "victim")
    machine.write("/proc/5/stat", line)
    with ProcessReader(Tree.at(machine.root)) as reader:
        found = reader.read_all(Gaps())

    assert all(isinstance(process, Process) for process in found)
    assert len(found) <= 1


def test_sockets_come_from_the_tables_of_the_machines_first_process(machine: RecordedMachine, clock: FakeClock) -> None:
    snapshot = take(clock, [TableName.SOCKETS, TableName.LISTENERS], root=machine.root)
    assert not isinstance(snapshot.sockets, Unavailable)
    assert not isinstance(snapshot.listeners, Unavailable)

    assert [(row.protocol, row.local_address, row.local_port, row.state) for row in snapshot.sockets] == [
        ("tcp", "127.0.0.1", 5432, "listen"),
        ("tcp", "10.0.0.10", 22, "established"),
        ("tcp", "::", 22, "listen"),
        ("udp", "0.0.0.0", 68, "close"),
    ]
    assert [(row.port, row.name, row.process, row.is_exposed) for row in snapshot.listeners] == [
        (22, "sshd", ProcessKey(40, 50), True),
        (68, None, None, True),
        (5432, "postgres", ProcessKey(70, 100), False),
    ]
    assert gaps_of(snapshot, TableName.LISTENERS) == {"holder not found": 1}


def test_the_oldest_process_holds_a_listener_and_init_only_when_nobody_else_does(
    machine: RecordedMachine, clock: FakeClock
) -> None:
    machine.link("/proc/1/fd/7", "socket:[5003]")
    machine.link("/proc/1/fd/8", "socket:[5004]")
    machine.process(41, "sshd", parent=40, start_ticks=60, descriptors=("socket:[5003]",))
    listeners = take(clock, [TableName.LISTENERS], root=machine.root).listeners
    assert not isinstance(listeners, Unavailable)

    assert {row.port: row.process.pid for row in listeners if row.process} == {22: 40, 68: 1, 5432: 70}


@pytest.mark.parametrize("line", ["  0: zz", "  0: 0100007F:1538 0:0 0A a b c x 0 y", "   0: 1 2 3", "\xff\xff"])
def test_a_table_of_sockets_that_no_kernel_writes_is_unavailable(
    machine: RecordedMachine, clock: FakeClock, line: str
) -> None:
    machine.write("/proc/1/net/tcp", f"head\n{line}\n")

    assert isinstance(take(clock, [TableName.SOCKETS], root=machine.root).sockets, Unavailable)


def test_network_file_systems_are_counted_and_never_asked(machine: RecordedMachine, clock: FakeClock) -> None:
    snapshot = take(clock, [TableName.DISKS], root=machine.root)
    assert not isinstance(snapshot.disks, Unavailable)

    # /srv/bound is a part of what is mounted at /srv/data.
    assert [(disk.mount, disk.kind) for disk in snapshot.disks] == [
        ("/", "ext4"),
        ("/media/stick", "vfat"),
        ("/srv/data", "xfs"),
    ]
    assert gaps_of(snapshot, TableName.DISKS) == {"network or user-space file system, not asked": 2}
    with pytest.raises(OSError, match="not looked at"):
        Tree.at(machine.root).read("/mnt/office share/passwd", 100)
    assert not Tree.at(machine.root).mounts.may_hang("/mnt/office share2")


def test_load_memory_pressure_and_traffic_are_the_machines_own(machine: RecordedMachine, clock: FakeClock) -> None:
    asked = [TableName.LOAD, TableName.MEMORY, TableName.PRESSURE, TableName.TRAFFIC]
    snapshot = take(clock, asked, root=machine.root)
    assert not isinstance(snapshot.load, Unavailable)
    assert not isinstance(snapshot.memory, Unavailable)
    assert not isinstance(snapshot.pressure, Unavailable)
    assert not isinstance(snapshot.traffic, Unavailable)
    ticks = os.sysconf("SC_CLK_TCK")

    assert (snapshot.load.average_1m, snapshot.load.running_count, snapshot.load.process_count) == (0.5, 2, 345)
    # Time of guests stands in the time of users already; waiting for storage is no work.
    assert (snapshot.load.cpu_busy_s, snapshot.load.cpu_total_s) == pytest.approx((171 / ticks, 621 / ticks))
    assert snapshot.memory.swap_free_bytes == 1_500_000 * 1024
    assert [(row.resource, row.some_60s, row.full_60s) for row in snapshot.pressure] == [
        ("cpu", 2.5, None),
        ("memory", 2.5, 0.2),
        ("io", 2.5, 0.2),
    ]
    assert [(row.interface, row.received_bytes, row.sent_bytes, row.errors) for row in snapshot.traffic] == [
        ("eth0", 5_000_000, 700_000, 4),
        ("lo", 1000, 1000, 0),
    ]


@pytest.mark.parametrize(
    ("path", "table"),
    [
        ("/proc/meminfo", TableName.MEMORY),
        ("/proc/loadavg", TableName.LOAD),
        ("/proc/pressure/io", TableName.PRESSURE),
        ("/proc/1/net/dev", TableName.TRAFFIC),
        ("/proc/modules", TableName.MODULES),
    ],
)
def test_a_file_of_the_kernel_that_makes_no_sense_is_a_table_that_says_so(
    machine: RecordedMachine, clock: FakeClock, path: str, table: TableName
) -> None:
    machine.write(path, b"\xff\0 a:b c\n1 2\nMemTotal: x\nlines that no kernel writes\n")

    assert isinstance(getattr(take(clock, [table], root=machine.root), table), Unavailable)


def test_modules_say_whether_they_are_signed_where_the_kernel_checks(
    machine: RecordedMachine, clock: FakeClock
) -> None:
    modules = take(clock, [TableName.MODULES], root=machine.root).modules
    (machine.root / "sys/module/module/parameters/sig_enforce").unlink()
    unchecked = take(clock, [TableName.MODULES], root=machine.root).modules
    assert not isinstance(modules, Unavailable)
    assert not isinstance(unchecked, Unavailable)

    assert [(row.name, row.is_signed, row.taint, row.used_by) for row in modules] == [
        ("nfnetlink", True, "", ("nf_tables",)),
        ("rootkit", False, "OE", ()),
    ]
    assert [row.is_signed for row in unchecked] == [None, False]


def test_accounts_are_kept_without_their_hashes(machine: RecordedMachine, clock: FakeClock) -> None:
    machine.write(
        "/etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\n# a remark\n+::::::\nbroken:x:1\nli:x:1000:27::/home/li:/bin/sh\n"
        "toor::0:0::/root:/bin/sh\nli:x:0:0::/:/bin/sh\nold:$1$abc$def:7:7::/:/usr/sbin/nologin\n"
        "bin:x:2:2::/bin:/usr/sbin/nologin\n",
    )
    machine.write("/etc/shadow", "root:!$y$j9T$secret:1::::::\nli::1::::::\nbin:*:1::::::\n")
    snapshot = take(clock, [TableName.ACCOUNTS], root=machine.root)
    assert not isinstance(snapshot.accounts, Unavailable)

    assert [(row.name, row.uid, row.has_password, row.is_locked) for row in snapshot.accounts] == [
        ("root", 0, True, True),
        ("li", 1000, False, False),
        ("toor", 0, False, False),
        ("li", 0, False, False),
        ("old", 7, True, False),
        ("bin", 2, False, True),
    ]
    assert snapshot.accounts[1].groups == ("sudo",)
    assert snapshot.accounts[0].groups == ("root", "sudo")
    assert [row.can_log_in for row in snapshot.accounts] == [True, True, True, True, False, False]
    assert gaps_of(snapshot, TableName.ACCOUNTS) == {"line of /etc/passwd that is no account": 2}
    assert "secret" not in repr(snapshot) and "abc" not in repr(snapshot)


def test_what_stands_in_shadow_is_unknown_when_it_may_not_be_read(machine: RecordedMachine, clock: FakeClock) -> None:
    (machine.root / "etc/shadow").unlink()
    (machine.root / "etc/shadow").mkdir()  # as closed to root as a file without permission is to others
    snapshot = take(clock, [TableName.ACCOUNTS], root=machine.root)
    assert not isinstance(snapshot.accounts, Unavailable)

    assert {row.is_locked for row in snapshot.accounts} == {None}
    assert any(reason.startswith("whether passwords are set") for reason in gaps_of(snapshot, TableName.ACCOUNTS))


@pytest.mark.parametrize("kind", ["pipe", "link", "folder", "huge"])
def test_a_file_that_was_replaced_by_something_else_neither_holds_nor_misleads_a_reader(
    machine: RecordedMachine, clock: FakeClock, kind: str
) -> None:
    passwd = machine.root / "etc/passwd"
    passwd.unlink()
    if kind == "pipe":
        os.mkfifo(passwd)
    elif kind == "link":
        passwd.symlink_to("shadow")
    elif kind == "folder":
        passwd.mkdir()
    else:
        passwd.touch()
        os.truncate(passwd, 10 << 30)
    snapshot = take(clock, [TableName.ACCOUNTS, TableName.MEMORY], root=machine.root)

    assert isinstance(snapshot.accounts, Unavailable)
    assert not isinstance(snapshot.memory, Unavailable)


def test_who_is_logged_in_comes_from_what_logind_writes_down(machine: RecordedMachine, clock: FakeClock) -> None:
    folder = "/run/systemd/sessions"
    machine.write(
        f"{folder}/1",
        "UID=0\nUSER=root\nCLASS=user\nTTY=pts/0\nREMOTE_HOST=10.0.0.9\nREALTIME=1700000000000000\nLEADER=77\n",
    )
    machine.write(f"{folder}/2", "USER=gdm\nCLASS=greeter\nREALTIME=1600000000000000\n")
    machine.write(f"{folder}/3", "USER=li\nREALTIME=often\n")
    logins = take(clock, [TableName.LOGINS], root=machine.root).logins
    assert not isinstance(logins, Unavailable)

    assert [(row.user, row.terminal, row.source, row.pid) for row in logins] == [("root", "pts/0", "10.0.0.9", 77)]
    assert logins[0].started_ns == 1_700_000_000_000_000_000


def test_a_machine_whose_root_lies_on_a_server_is_read_all_the_same(machine: RecordedMachine, clock: FakeClock) -> None:
    mounts = "21 1 0:30 / / rw - nfs4 server:/root rw\n22 21 0:31 / /proc rw - proc proc rw\n"
    machine.write("/proc/1/mountinfo", mounts + "23 21 0:33 / /mnt/user rw - fuse.x x rw\n")
    asked = [TableName.ACCOUNTS, TableName.DISKS, TableName.PRIVILEGED]
    snapshot = take(clock, asked, root=machine.root)

    assert not isinstance(snapshot.accounts, Unavailable)
    assert snapshot.disks == ()
    assert gaps_of(snapshot, TableName.DISKS) == {"network or user-space file system, not asked": 2}
    # Set-id counts on both, and nobody walked them.
    assert gaps_of(snapshot, TableName.PRIVILEGED) == {"network or user-space file system, not walked": 2}


def test_a_way_over_links_ends_before_a_mount_that_may_hang(machine: RecordedMachine) -> None:
    tree = Tree.at(machine.root)
    machine.write("/srv/data/deep/file", "x")
    machine.link("/opt/short", "../srv/./data/none/../deep")
    machine.link("/opt/office", "/mnt/office share/folder")
    machine.link("/opt/one", "two")
    machine.link("/opt/two", "one")
    (machine.root / "srv/data/none").mkdir()

    assert tree.resolve("/opt/short/file") == "/srv/data/deep/file"
    assert tree.resolve("/../../opt/short") == "/srv/data/deep"
    with pytest.raises(OSError, match="not looked at"):
        tree.resolve("/opt/office/key.pem")
    with pytest.raises(OSError, match="too many links"):
        tree.resolve("/opt/one/file")
    with pytest.raises(FileNotFoundError):
        tree.resolve("/opt/none")


@pytest.mark.parametrize(
    "line", ["evil:x:+0:0::/root:/bin/sh", "evil:x: 0:0::/root:/bin/sh", "evil:x:0:+0::/root", "evil:x:0:0"]
)
def test_a_root_account_does_not_hide_behind_how_its_line_is_written(
    machine: RecordedMachine, clock: FakeClock, line: str
) -> None:
    # The C library reads all of these as accounts with the number 0.
    machine.write("/etc/passwd", f"root:x:0:0:root:/root:/bin/bash\n{line}\n")
    snapshot = take(clock, [TableName.ACCOUNTS], root=machine.root)
    assert not isinstance(snapshot.accounts, Unavailable)
    assert ("evil", 0) in {(account.name, account.uid) for account in snapshot.accounts}
