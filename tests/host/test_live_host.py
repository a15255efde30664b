"""Snapshots of the machine that runs the tests: real processes, sockets and mounts, and those that mean harm."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from govsec.clock import SystemClock
from govsec.host.listeners import SocketReader
from govsec.host.processes import ProcessReader
from govsec.host.procnet import read_socket_tables
from govsec.host.snapshot import QUICK_TABLES, HostReader, take
from govsec.host.sockdiag import read_sockets
from govsec.host.tables import Process, TableName, Unavailable, lineage
from govsec.host.tree import Gaps, Tree
from tests.support.require import missing, require_root

_WAIT_S = 60


@contextlib.contextmanager
def running(argv: list[str], **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """A child, ended with the block."""
    child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)  # type: ignore[call-overload]
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def wait_for(holds: Callable[[], bool]) -> None:
    """Until it holds; a machine that stands still for a while is no failure."""
    end = time.monotonic() + _WAIT_S
    while not holds():
        assert time.monotonic() < end, "never came true"
        time.sleep(0.01)


@pytest.fixture
def reader() -> Iterator[ProcessReader]:
    with ProcessReader(Tree.at()) as opened:
        yield opened


def read(reader: ProcessReader, pid: int) -> Process:
    process = reader.read(pid)
    assert process is not None
    return process


def sleeper(folder: Path, name: str = "sleeper") -> Path:
    """A program of its own that waits until its input ends."""
    program = folder / name
    shutil.copy("/bin/cat", program)
    return program


def test_this_process_is_in_the_table_as_psutil_knows_it() -> None:
    processes = take(SystemClock(), [TableName.PROCESSES]).processes
    assert not isinstance(processes, Unavailable)
    by_pid = {process.key.pid: process for process in processes}
    mine, known = by_pid[os.getpid()], psutil.Process()

    assert mine.name == known.name()
    assert mine.executable == known.exe()
    assert mine.command == tuple(known.cmdline())
    assert (mine.parent_pid, mine.uid, mine.gid) == (known.ppid(), os.geteuid(), os.getegid())
    assert abs(mine.started_ns / 1e9 - known.create_time()) < 5
    assert mine in lineage(by_pid, mine) and by_pid[mine.parent_pid] in lineage(by_pid, mine)


def test_a_program_with_a_hostile_name_and_arguments_is_read_as_it_is(tmp_path: Path, reader: ProcessReader) -> None:
    program = sleeper(tmp_path, "a) R 0 (b\n\x1b")
    argv = [os.fsencode(program), b"-", b"\xff\xfe", b"", b"-"]
    with running(argv) as child:  # type: ignore[arg-type]
        # The kernel sets the name first and the arguments last.
        wait_for(lambda: read(reader, child.pid).command[:1] == (str(program),))
        process = read(reader, child.pid)

    assert process.name == "a) R 0 (b\n\x1b"
    assert process.executable == str(program)
    assert process.command == (str(program), "-", "\udcff\udcfe", "", "-")
    assert process.parent_pid == os.getpid()


def test_a_program_that_deleted_itself_is_told_from_one_that_is_called_so(
    tmp_path: Path, reader: ProcessReader
) -> None:
    gone, called_so = sleeper(tmp_path, "gone"), sleeper(tmp_path, "kept (deleted)")
    with running([str(gone)]) as one, running([str(called_so)]) as other:
        wait_for(lambda: read(reader, one.pid).executable == str(gone))
        wait_for(lambda: read(reader, other.pid).executable == str(called_so))
        gone.unlink()

        assert (read(reader, one.pid).executable, read(reader, one.pid).executable_deleted) == (str(gone), True)
        assert read(reader, other.pid).executable_deleted is False


def test_a_program_that_was_never_on_a_disk_is_seen(reader: ProcessReader) -> None:
    descriptor = os.memfd_create("kworker/0:1")
    with open("/bin/cat", "rb") as file, os.fdopen(descriptor, "wb", closefd=False) as memory:
        shutil.copyfileobj(file, memory)
    try:
        with running(["[kworker/0:1]"], executable=f"/proc/self/fd/{descriptor}", pass_fds=(descriptor,)) as child:
            wait_for(lambda: read(reader, child.pid).command == ("[kworker/0:1]",))
            process = read(reader, child.pid)
    finally:
        os.close(descriptor)

    assert (process.executable, process.executable_deleted) == ("/memfd:kworker/0:1", True)
    assert process.command == ("[kworker/0:1]",)
    assert not process.is_kernel_thread


def test_a_process_that_ended_is_a_zombie_until_its_parent_asks_and_then_gone(reader: ProcessReader) -> None:
    child = subprocess.Popen(["/bin/true"])
    wait_for(lambda: (reader.read(child.pid) or read(reader, child.pid)).state == "Z")
    zombie = read(reader, child.pid)
    child.wait()

    assert (zombie.executable, zombie.command) == (None, ())
    assert reader.read(child.pid) is None


def test_listeners_of_a_child_are_found_with_its_name_also_the_second_time() -> None:
    code = (
        "import socket, sys\n"
        "held = [socket.create_server(('127.0.0.1', 0)) for _ in range(40)]\n"
        "udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind(('127.0.0.1', 0))\n"
        "print(held[-1].getsockname()[1], udp.getsockname()[1], flush=True)\n"
        "sys.stdin.read()\n"
    )
    with running([sys.executable, "-c", code]) as child:
        assert child.stdout is not None
        tcp, udp = map(int, child.stdout.readline().split())
        reader = HostReader()
        for _ in range(2):  # the second time it is known where to look
            listeners = reader.take(SystemClock(), [TableName.LISTENERS]).listeners
            assert not isinstance(listeners, Unavailable)
            mine = [row for row in listeners if row.process and row.process.pid == child.pid]

            assert {(row.protocol, row.address, row.port) for row in mine} >= {
                ("tcp", "127.0.0.1", tcp),
                ("udp", "127.0.0.1", udp),
            }
            assert len(mine) == 41
            assert {row.executable for row in mine} == {str(Path(sys.executable).resolve())}
            assert not any(row.is_exposed for row in mine)
    after = reader.take(SystemClock(), [TableName.LISTENERS]).listeners
    assert not isinstance(after, Unavailable)
    assert not any(row.process and row.process.pid == child.pid for row in after)


def test_the_kernels_dump_and_its_text_say_the_same_of_our_sockets() -> None:
    with contextlib.ExitStack() as held:
        server = held.enter_context(socket.create_server(("127.0.0.1", 0)))
        client = held.enter_context(socket.create_connection(server.getsockname()))
        accepted = held.enter_context(server.accept()[0])
        sockets = [server, client, accepted]
        for address in ("127.0.0.1", "::1"):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with contextlib.suppress(OSError):  # a machine without IPv6
                udp = held.enter_context(socket.socket(family, socket.SOCK_DGRAM))
                udp.bind((address, 0))
                sockets.append(udp)
        inodes = {os.fstat(each.fileno()).st_ino for each in sockets}
        try:
            dumped, left_out = read_sockets()
            listening, _ = read_sockets(listeners_only=True)
        except OSError as error:
            missing("sock_diag", f"this kernel answers no sock_diag: {error}")
        written = read_socket_tables(Tree.at())
        few, many = read_sockets(sockets_max=2)

        assert left_out == 0
        ours = sorted(row for row in dumped if row.inode in inodes)
        assert len(ours) == len(sockets)
        assert ours == sorted(row for row in written if row.inode in inodes)
        assert {row.state for row in ours if row.protocol == "tcp"} == {"listen", "established"}
        bound = {os.fstat(each.fileno()).st_ino for each in (server, *sockets[3:])}
        assert {row.inode for row in listening if row.inode in inodes} == bound
        assert len(few) == 2 and many > 0


def test_without_netlink_sockets_are_read_from_the_kernels_text(tmp_path: Path) -> None:
    # A filter for system calls, as sandboxes have it, refuses the family of netlink with this very error.
    code = (
        "import os, socket, sys\n"
        "from govsec.clock import SystemClock\n"
        "from govsec.host.snapshot import take\n"
        "from govsec.host.tables import TableName\n"
        "class Refusing(socket.socket):\n"
        "    def __init__(self, family=-1, *more, **named):\n"
        "        if family == socket.AF_NETLINK:\n"
        "            raise OSError(97, 'Address family not supported by protocol')\n"
        "        super().__init__(family, *more, **named)\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "socket.socket = Refusing\n"
        "snapshot = take(SystemClock(), [TableName.LISTENERS, TableName.SOCKETS])\n"
        "port = server.getsockname()[1]\n"
        "assert any(row.port == port and row.process.pid == os.getpid() for row in snapshot.listeners)\n"
        "assert any(row.local_port == port for row in snapshot.sockets)\n"
        "print([gap.reason for gap in snapshot.gaps if 'sock_diag' in gap.reason])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=250)

    assert done.stdout.count("read from /proc/net, because of sock_diag") == 2


_UNPRIVILEGED = """
import os, sys
from govsec.clock import SystemClock
from govsec.host.snapshot import take, QUICK_TABLES
from govsec.host.tables import Unavailable
os.setgroups([]); os.setgid(65534); os.setuid(65534)
snapshot = take(SystemClock(), QUICK_TABLES)
print(sorted({gap.table.value for gap in snapshot.gaps}))
print(sum(row.executable is None for row in snapshot.processes if not row.is_kernel_thread) > 0)
print({row.has_password for row in snapshot.accounts})
"""


def test_without_rights_what_is_closed_is_counted_and_the_rest_is_read() -> None:
    require_root()
    with running(["/bin/cat"]):  # a process of another user
        done = subprocess.run(
            [sys.executable, "-c", _UNPRIVILEGED], capture_output=True, text=True, check=True, timeout=250
        )
    tables, is_closed, passwords = done.stdout.splitlines()

    assert "'processes'" in tables and "'accounts'" in tables
    assert is_closed == "True"
    assert passwords == "{None}"


_HUNG = """
import ctypes, os, sys
from pathlib import Path
from govsec.clock import SystemClock
from govsec.host.settings import SweepSettings
from govsec.host.snapshot import take
from govsec.host.tables import TableName, Unavailable
libc = ctypes.CDLL(None, use_errno=True)
def called(name, *arguments):
    if getattr(libc, name)(*arguments) != 0:
        print("refused", name, os.strerror(ctypes.get_errno())); sys.exit(0)
NEW_NAMESPACE, RECURSIVE, PRIVATE, NO_ACCESS = 0x20000, 0x4000, 0x40000, 0
called("unshare", NEW_NAMESPACE)
called("mount", b"none", b"/", None, RECURSIVE | PRIVATE, None)
folder = Path(sys.argv[1]); inside = folder / "ssl"
inside.mkdir()
try:
    device = os.open("/dev/fuse", os.O_RDWR)
except OSError as error:
    print("refused", error); sys.exit(0)
options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
called("mount", b"nobody", os.fsencode(inside), b"fuse.nobody", 0, options)
# From here on whoever looks at the folder waits for an answer that never comes.
sweeps = SweepSettings(certificate_folders=(str(inside), str(folder)))
asked = [TableName.DISKS, TableName.CERTIFICATES, TableName.ACCOUNTS]
snapshot = take(SystemClock(), asked, sweeps=sweeps)
assert not isinstance(snapshot.accounts, Unavailable)
assert not isinstance(snapshot.disks, Unavailable)
print([gap.reason for gap in snapshot.gaps if gap.table is TableName.DISKS])
print(snapshot.certificates, [gap.reason for gap in snapshot.gaps if gap.table is TableName.CERTIFICATES])
"""


def test_a_file_system_whose_server_never_answers_holds_nobody(tmp_path: Path) -> None:
    require_root()
    done = subprocess.run(
        [sys.executable, "-c", _HUNG, str(tmp_path)], capture_output=True, text=True, check=True, timeout=250
    )
    if done.stdout.startswith("refused"):
        missing("fuse", done.stdout)
    disks, certificates = done.stdout.splitlines()

    assert "network or user-space file system, not asked" in disks
    assert certificates == "() ['file that cannot be read']"


def test_everything_quick_can_be_read_here_or_says_why() -> None:
    snapshot = take(SystemClock(), QUICK_TABLES)

    for table in QUICK_TABLES:
        value = getattr(snapshot, table)
        assert not isinstance(value, Unavailable) or value.reason != "not asked for", table
    for table in (TableName.PROCESSES, TableName.SOCKETS, TableName.ACCOUNTS, TableName.LOAD, TableName.MEMORY):
        assert not isinstance(getattr(snapshot, table), Unavailable), table
    assert not isinstance(snapshot.memory, Unavailable)
    assert snapshot.memory.total_bytes == psutil.virtual_memory().total


def test_a_listener_whose_holder_cannot_be_found_is_listed_all_the_same() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        gaps = Gaps()
        listeners = SocketReader(Tree.at()).listeners(Unavailable("hidden"), gaps)

        assert [row.process for row in listeners if row.port == server.getsockname()[1]] == [None]
        assert any("holder not found" in gap.reason for gap in gaps.rows())


_SANDBOX = """
from govsec.clock import SystemClock
from govsec.host.snapshot import take
from govsec.host.tables import TableName
from govsec.host.tree import Tree
options = Tree.at().mounts.by_path["/"].options
root, = [disk for disk in take(SystemClock(), [TableName.DISKS]).disks if disk.mount == "/"]
print("nosuid" in options, root.is_read_only)
"""


def test_what_a_service_may_not_do_is_not_said_of_the_machine() -> None:
    """The sandbox of a unit makes every mount nosuid and most of them read-only, for that unit alone."""
    require_root()
    remounted = ["unshare", "--mount", "sh", "-c", 'mount -o remount,bind,ro,nosuid / && exec "$@"', "sh"]
    own = subprocess.run([*remounted, "cat", "/proc/self/mountinfo"], capture_output=True, text=True, check=True)
    assert any("nosuid" in line and " / / " in line for line in own.stdout.splitlines()), "the sandbox is one"

    done = subprocess.run(
        [*remounted, sys.executable, "-B", "-c", _SANDBOX], capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["False", "False"]
