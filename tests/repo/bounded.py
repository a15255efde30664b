"""Runs something in a child with a limit of memory and time: what a hostile input may cost."""

from __future__ import annotations

import os
import pickle
import resource
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Pipe
from typing import NoReturn, TypeVar

T = TypeVar("T")


def bounded(work: Callable[[], T], *, memory_bytes: int, seconds: int) -> T:
    """What ``work`` gives, run in a child that may take ``memory_bytes`` more than this process has, and ``seconds``.

    An exception in the child is raised here; breaking a limit is an ``AssertionError``.
    """
    ours, theirs = Pipe()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _child(work, memory_bytes, seconds, theirs.send_bytes)
    theirs.close()
    try:
        body = ours.recv_bytes()
    except EOFError:
        body = b""
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGALRM:
        raise AssertionError(f"took longer than {seconds} s")
    assert code == 0 and body, f"the child ended with {code}"
    is_good, value = pickle.loads(body)
    if is_good:
        result: T = value
        return result
    if isinstance(value, str):
        raise AssertionError(value)
    raise value


def _child(work: Callable[[], T], memory_bytes: int, seconds: int, send: Callable[[bytes], None]) -> NoReturn:
    try:
        limit = _address_space() + memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds)
        try:
            body = (True, work())
        except MemoryError:
            trace = traceback.format_exc()
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            body = (False, f"took more than {memory_bytes} bytes:\n{trace}")
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent raises it
            body = (False, error)
        send(pickle.dumps(body))
    finally:
        os._exit(0)


def _address_space() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
