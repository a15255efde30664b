"""A function of ours in a forked child that gave up its privileges first: for parsing what a hostile center sent.

The child enters the sandbox's namespaces, sets its limits, becomes the unprivileged user, runs the function and writes
its result, a small JSON object, into a pipe. Nothing is executed anew, so the unprivileged user need not be able to
read this installation. The parent waits with a limit and kills the child when it is late.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
from collections.abc import Callable
from typing import Any, NoReturn

from govsec.clock import Clock
from govsec.errors import GovsecError

_RESULT_SIZE_MAX = 256 << 10
_POLL_S = 0.25
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAPBSET_DROP = 24
_CAPABILITY_LAST = 63


def call_in_child(
    function: Callable[[], dict[str, Any]], enter: Callable[[], None], *, timeout_s: float, clock: Clock
) -> dict[str, Any]:
    """What ``function`` gives after ``enter`` was called, or ``{"error": why}``.

    An error of ours in the child, any other exception, a death and a late end all become ``error``.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _child(function, enter, writer)
    os.close(writer)
    try:
        data = _read(reader, clock.monotonic() + timeout_s, clock)
    finally:
        os.close(reader)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    if data is None:
        return {"error": f"stopped after {timeout_s:g} s"}
    try:
        value = json.loads(data)
    except ValueError:
        return {"error": "the child ended without a result"}
    return value if isinstance(value, dict) else {"error": "the child's result is no object"}


def enter_namespaces(pid: int) -> None:
    """Join the network, IPC, host name and mount namespaces of ``pid``, the mounts last."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptors = [
        os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in ("net", "ipc", "uts", "mnt")
    ]
    for descriptor in descriptors:
        if libc.setns(descriptor, 0):
            raise OSError(ctypes.get_errno(), "setns")
        os.close(descriptor)


def drop_privileges(uid: int, gid: int) -> None:
    """Become ``uid`` for good: no groups, no capabilities, no way to gain any."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(_CAPABILITY_LAST + 1):
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # numbers that this kernel lacks are refused, and are no loss
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def _child(function: Callable[[], dict[str, Any]], enter: Callable[[], None], writer: int) -> NoReturn:
    code = 1
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        # Descriptors of the parent (stores, terminals) are no business of what runs here.
        os.dup2(writer, 3)
        os.closerange(4, 65536)
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        try:
            enter()
            result = function()
        except (GovsecError, OSError, ValueError, MemoryError) as error:
            result = {"error": str(error) or type(error).__name__}
        os.write(3, json.dumps(result).encode()[:_RESULT_SIZE_MAX])
        code = 0
    finally:
        # Never back into the parent's frames: its locks, buffers and exit handlers are not this process's.
        os._exit(code)


def _read(reader: int, deadline: float, clock: Clock) -> bytes | None:
    data = b""
    while len(data) <= _RESULT_SIZE_MAX:
        left_s = deadline - clock.monotonic()
        if left_s <= 0:
            return None
        if select.select([reader], [], [], min(_POLL_S, left_s))[0]:
            piece = os.read(reader, 64 << 10)
            if not piece:
                return data
            data += piece
    return data
