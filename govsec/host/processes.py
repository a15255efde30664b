"""The running processes, read straight from ``/proc`` (proc(5)): several times faster than asking psutil for each.

One idea: one process costs six short reads and no object but its row. A process that ends between two reads is left
out; what we may not read of one is ``None``. A process can say anything in its name and arguments, and can make both
as long as it likes: they are cut. ``uid`` is whose rights it has now (effective), which owns its folder.
"""

from __future__ import annotations

import errno
import os
from types import TracebackType
from typing import Self

from govsec.host.tables import Process, ProcessKey, TableName
from govsec.host.tree import Gaps, Tree

PROCESSES_MAX = 100_000
COMMAND_BYTES_MAX = 4096
_STAT_BYTES_MAX = 4096
_CGROUP_BYTES_MAX = 4096
#: Remembered ones, of as many bytes each.
_CGROUPS_MAX = 2000
#: PF_KTHREAD of the kernel's include/linux/sched.h; field 9 of stat.
_KERNEL_THREAD = 0x00200000
#: (uid_t) -1: nobody logged in.
_NO_LOGIN = b"4294967295"
_DELETED = " (deleted)"
#: A machine with a thousand cores and its interrupts writes about a megabyte.
_KERNEL_STAT_BYTES_MAX = 8 << 20


class ProcessReader:
    """Reads processes below one tree's ``/proc``; keeps that folder open.

    Raises:
        OSError: there is no ``/proc``.
    """

    def __init__(self, tree: Tree) -> None:
        self._folder = os.open(tree.place("/proc"), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._booted_ns = booted_ns(tree)
        except OSError:
            os.close(self._folder)
            raise
        self._is_hiding = any(
            option.startswith("hidepid=") and option not in ("hidepid=0", "hidepid=off")
            for option in (tree.mounts.by_path["/proc"].options if "/proc" in tree.mounts.by_path else ())
        )
        self._cgroups: dict[bytes, str] = {}
        self._tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of ``/proc``."""
        os.close(self._folder)

    def read_all(self, gaps: Gaps) -> tuple[Process, ...]:
        """Every process that can be seen, by number.

        Raises:
            OSError: ``/proc`` cannot be listed.
        """
        with os.scandir(self._folder) as entries:
            numbers = sorted(int(entry.name) for entry in entries if entry.name.isdecimal() and entry.name.isascii())
        if len(numbers) > PROCESSES_MAX:
            gaps.add(TableName.PROCESSES, f"more than {PROCESSES_MAX} processes", len(numbers) - PROCESSES_MAX)
        if self._is_hiding and os.geteuid() != 0:
            gaps.add(TableName.PROCESSES, "/proc hides the processes of other users (hidepid)", 0)
        processes = []
        closed = 0
        for number in numbers[:PROCESSES_MAX]:
            process = self.read(number)
            if process is not None:
                processes.append(process)
                closed += process.executable is None and not process.is_kernel_thread and process.state != "Z"
        if closed:
            gaps.add(TableName.PROCESSES, "executable may not be read", closed)
        return tuple(processes)

    def read(self, pid: int) -> Process | None:
        """The process ``pid`` as it is now; ``None`` when it is gone.

        What a short-lived process takes with it first is read first.
        """
        base = f"{pid}/"
        try:
            executable, is_deleted = self._executable(base)
            command = self._optional(base + "cmdline", COMMAND_BYTES_MAX)
            line = self._bytes(base + "stat", _STAT_BYTES_MAX)
            owner = os.stat(base, dir_fd=self._folder)
            cgroup = self._optional(base + "cgroup", _CGROUP_BYTES_MAX)
            login = self._optional(base + "loginuid", 16)
            return self._row(pid, (executable, is_deleted, command, cgroup, login), line, owner)
        except (FileNotFoundError, ProcessLookupError):
            return None
        except (ValueError, IndexError):
            # A line that ends early: the process went while the kernel wrote it.
            return None

    def _row(
        self, pid: int, parts: tuple[str | None, bool, bytes, bytes, bytes], line: bytes, owner: os.stat_result
    ) -> Process:
        executable, is_deleted, command, cgroup, login = parts
        # The name stands in brackets and can hold brackets, blanks and line ends itself.
        front, back = line.index(b"("), line.rindex(b")")
        fields = line[back + 2 :].split(None, 22)
        start_ticks = int(fields[19])
        return Process(
            ProcessKey(pid, start_ticks),
            int(fields[1]),
            line[front + 1 : back].decode("utf-8", "surrogateescape"),
            executable,
            is_deleted,
            _words(command),
            owner.st_uid,
            owner.st_gid,
            int(login) if login.isdigit() and login != _NO_LOGIN else None,
            _terminal(int(fields[4])),
            self._cgroup(cgroup),
            fields[0].decode("ascii", "replace"),
            self._booted_ns + start_ticks * self._tick_ns,
            (int(fields[11]) + int(fields[12])) * self._tick_ns / 1e9,
            int(fields[21]) * self._page_bytes,
            bool(int(fields[6]) & _KERNEL_THREAD),
        )

    def _cgroup(self, data: bytes) -> str | None:
        """Most processes share one of a few control groups, and old kernels write a dozen lines for each."""
        found = self._cgroups.get(data)
        if found is None:
            if len(self._cgroups) >= _CGROUPS_MAX:
                self._cgroups.clear()
            found = self._cgroups[data] = _cgroup(data) or ""
        return found or None

    def _executable(self, base: str) -> tuple[str | None, bool]:
        try:
            path = os.readlink(base + "exe", dir_fd=self._folder)
        except OSError:
            return None, False
        if not path.endswith(_DELETED):
            return path, False
        try:
            # A file may really be called so. One that lost its name has no links.
            is_deleted = os.stat(base + "exe", dir_fd=self._folder).st_nlink == 0
        except OSError:
            is_deleted = True
        return (path.removesuffix(_DELETED) if is_deleted else path), is_deleted

    def _optional(self, path: str, size: int) -> bytes:
        try:
            return self._bytes(path, size)
        except OSError:
            return b""

    def _bytes(self, path: str, size: int) -> bytes:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._folder)
        try:
            return os.read(descriptor, size)
        finally:
            os.close(descriptor)


def booted_ns(tree: Tree) -> int:
    """When the machine was started, to the second, as its kernel says now.

    Raises:
        OSError: the kernel does not say.
    """
    for line in tree.read("/proc/stat", _KERNEL_STAT_BYTES_MAX).splitlines():
        if line.startswith(b"btime ") and line[6:].strip().isdigit():
            return int(line[6:]) * 1_000_000_000
    raise OSError(errno.ENODATA, "no btime in it", "/proc/stat")


def _words(command: bytes) -> tuple[str, ...]:
    """Arguments end with a zero byte each; a process that wrote its own title has one string with none."""
    text = command.rstrip(b"\0").decode("utf-8", "surrogateescape")
    return tuple(text.split("\0")) if text else ()


def _terminal(number: int) -> str | None:
    """Name of the terminal (Documentation/admin-guide/devices.txt): 136-143 are pts, 4 tty and ttyS."""
    if number == 0:
        return None
    major, minor = (number >> 8) & 0xFFF, (number & 0xFF) | ((number >> 12) & 0xFFF00)
    if 136 <= major <= 143:
        return f"pts/{(major - 136) * 256 + minor}"
    if major == 4:
        return f"tty{minor}" if minor < 64 else f"ttyS{minor - 64}"
    return f"{major}:{minor}"


def _cgroup(data: bytes) -> str | None:
    """Where systemd, or else anybody, has put it; of a kernel with both versions, the one that says something."""
    found = None
    for line in data.split(b"\n"):
        _, controllers, path = (*line.split(b":", 2), b"", b"")[:3]
        if path and (found is None or (found == "/" and path != b"/") or controllers == b"name=systemd"):
            found = path.decode("utf-8", "surrogateescape")
            if controllers == b"" and found != "/":
                break
    return found
