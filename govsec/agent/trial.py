"""Trying something out in a process of its own: what it imports and breaks stays there."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from typing import NoReturn

from govsec.clock import Clock
from govsec.errors import ConfigurationError, GovsecError
from govsec.runtime.children import die_with

_TEXT_MAX = 4_000


def try_out(call: Callable[[], None], clock: Clock, limit_s: float) -> None:
    """Run ``call`` in a forked process. Not for a process that holds an open database or threads.

    Raises:
        ConfigurationError: with the words of whatever it raised, or that it died, or took longer than ``limit_s``.
    """
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _run(call, theirs, parent)
    os.close(theirs)
    try:
        words = _words(ours, clock, clock.monotonic() + limit_s)
    finally:
        os.close(ours)
        os.kill(pid, signal.SIGKILL)  # it has said all it has to say, or never will
        os.waitpid(pid, 0)
    if words is None:
        raise ConfigurationError(f"trying out the configuration took longer than {limit_s:g} s")
    if words != b"good":
        raise ConfigurationError(words.decode("utf-8", "replace") or "trying out the configuration died")


def _words(pipe: int, clock: Clock, until: float) -> bytes | None:
    """What is said until the pipe is closed; None when that takes too long."""
    words = b""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    while True:
        left_s = until - clock.monotonic()
        if left_s <= 0 or not poll.poll(left_s * 1000):
            return None
        part = os.read(pipe, _TEXT_MAX)
        if not part:
            return words
        words += part


def _run(call: Callable[[], None], pipe: int, parent: int) -> NoReturn:
    try:
        die_with(parent)
        call()
        words = "good"
    except GovsecError as error:
        words = str(error)
    except BaseException as error:  # noqa: BLE001 - the outermost loop of a process: its words are the parent's error
        words = f"{type(error).__name__}: {error}"
    try:
        os.write(pipe, words.encode("utf-8", "backslashreplace")[:_TEXT_MAX])
    finally:
        os._exit(0)
