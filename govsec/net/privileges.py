"""Giving up what opening a capture needed, for good: user, capabilities, new privileges, the file system.

One idea: what reads hostile bytes holds an open socket and nothing else. Once the capture is open the process becomes
an unprivileged user without any capability, may not gain one by executing, and (where the kernel has Landlock) may open
files only below the folders it was told. The capture's descriptors go on working: the kernel checks when they are made.

Everything is checked after it was done; a process that can still open a packet socket does not start. Threads that ran
before keep what they had: call it before any is started. Source: capset(2), prctl(2), and of the kernel's documentation
userspace-api/landlock.rst.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import pwd
import socket
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from govsec.errors import ConfigurationError, RefusedError

_PR_SET_NO_NEW_PRIVS, _PR_CAPBSET_DROP, _PR_CAP_AMBIENT, _PR_SET_DUMPABLE = 38, 24, 47, 4
_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522
_CAPABILITIES_MAX = 64
#: Numbers of system calls that glibc 2.36 has no functions for; the same on all architectures.
_LANDLOCK_CREATE, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT = 444, 445, 446
_LANDLOCK_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1
#: Rights of files by the version of Landlock that brought them: 13 in the first, then refer, truncate, device control.
_RIGHTS_BY_VERSION = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF, 5: 0xFFFF}
_READ_RIGHTS = 0x000C  # read files, read directories
#: Also write, truncate, make and remove files and directories, rename between directories; no devices, no execution.
_WRITE_RIGHTS = _READ_RIGHTS | 0x61B2
_FILE_RIGHTS = 0xC007  # of all, those that a rule on a single file may hold


@dataclass(frozen=True, slots=True)
class Dropped:
    """What was given up. ``landlock`` is the kernel's version of it, 0 where it has none."""

    user: str
    landlock: int


def drop_privileges(
    user: str = "nobody", *, readable: Iterable[Path] = (), writable: Iterable[Path] = (), is_landlock: bool = True
) -> Dropped:
    """Become ``user``; below ``readable`` files may be read, below ``writable`` also written, nothing else opened.

    As another user than root already: the user stays, the rest is given up all the same. The folders must be open to
    the user by their modes too, and exist. Python's own folders stay readable, for late imports; where they are closed
    to the user (below ``/root``, say), import before.

    Raises:
        ConfigurationError: there is no such user, or a folder is not there.
        RefusedError: something could not be given up; the process must end.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        entry = pwd.getpwnam(user) if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    except KeyError as error:
        raise ConfigurationError(f"there is no user {user} to run as") from error
    if entry.pw_uid == 0:
        raise ConfigurationError(f"{user} is root: name an unprivileged user")
    try:
        # Opened while everything can be: what is restricted later are places, and a folder may lie in a closed one.
        places = _open_places(readable, writable) if is_landlock and landlock_version() else []
        _clear_bounding_set(libc)
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
            os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
        _call(libc, "prctl", _PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL, 0, 0, 0)
        header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
        _call(libc, "capset", header, bytes(24))
        _call(libc, "prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        # A dump, or another process of the user, must not read frames out of memory.
        _call(libc, "prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)
        version = _restrict_files(libc, places) if places else 0
    except OSError as error:
        raise RefusedError(f"privileges cannot be given up: {error}") from error
    _verify(entry.pw_uid, entry.pw_gid)
    return Dropped(user=entry.pw_name, landlock=version)


def landlock_version() -> int:
    """Of this kernel; 0: it has none, or it is switched off."""
    libc = ctypes.CDLL(None, use_errno=True)
    return max(0, int(libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), _LANDLOCK_VERSION_FLAG)))


def _call(libc: ctypes.CDLL, name: str, *arguments: int | bytes) -> int:
    converted = [ctypes.c_ulong(each) if isinstance(each, int) else each for each in arguments]
    result = int(getattr(libc, name)(*converted))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def _clear_bounding_set(libc: ctypes.CDLL) -> None:
    """Needs a capability itself; without it the set stays, and no_new_privs makes it worthless."""
    for capability in range(_CAPABILITIES_MAX):
        try:
            _call(libc, "prctl", _PR_CAPBSET_DROP, capability, 0, 0, 0)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EPERM):
                raise
            return


def _open_places(readable: Iterable[Path], writable: Iterable[Path]) -> list[tuple[int, int]]:
    """A descriptor and the rights below it, for each folder."""
    places = []
    wanted = [(path, _READ_RIGHTS, True) for path in readable] + [(path, _WRITE_RIGHTS, True) for path in writable]
    wanted += [(Path(each), _READ_RIGHTS, False) for each in (*sys.path, sys.base_prefix, "/usr/lib", "/lib") if each]
    for path, rights, is_needed in wanted:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError as error:
            if is_needed:
                raise ConfigurationError(f"{path}: {error.strerror}; the sensor was to use it") from error
            continue
        places.append((place, rights if path.is_dir() else rights & _FILE_RIGHTS))
    return places


def _restrict_files(libc: ctypes.CDLL, places: list[tuple[int, int]]) -> int:
    version = landlock_version()
    rights = _RIGHTS_BY_VERSION[min(version, max(_RIGHTS_BY_VERSION))]
    attributes = struct.pack("Q", rights)
    ruleset = _call(libc, "syscall", _LANDLOCK_CREATE, attributes, len(attributes), 0)
    for place, granted in places:
        rule = struct.pack("=Qi", granted & rights, place)
        _call(libc, "syscall", _LANDLOCK_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
        os.close(place)
    _call(libc, "syscall", _LANDLOCK_RESTRICT, ruleset, 0)
    os.close(ruleset)
    return version


def _verify(uid: int, gid: int) -> None:
    """Look instead of believing."""
    if os.getresuid() != (uid, uid, uid) or os.getresgid() != (gid, gid, gid):
        raise RefusedError("the process is still another user")
    with contextlib.suppress(PermissionError):
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
        raise RefusedError("a new packet socket can still be opened")
    with contextlib.suppress(PermissionError):
        os.setuid(0)
        raise RefusedError("root can be had back")
