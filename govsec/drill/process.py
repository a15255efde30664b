"""Running a command of a plan to its end: no shell, no secrets, a limit on time and on what is kept of its output."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from govsec.clock import Clock

#: Kept of standard output and error together, from the end; the rest is counted.
OUTPUT_KEPT_MAX = 64 << 10
_READ_SIZE = 64 << 10
_POLL_S = 0.25


@dataclass(frozen=True, slots=True)
class CommandOutcome:
    """How a command ended. ``exit_code`` is None when it was stopped at its limit or could not be started."""

    exit_code: int | None
    output: bytes
    dropped_bytes: int
    note: str = ""


def run_command(
    argv: Sequence[str], *, environment: Mapping[str, str], cwd: str | None, timeout_s: float, clock: Clock
) -> CommandOutcome:
    """Run ``argv`` in a session of its own and wait for it; at the limit the whole group is killed."""
    deadline = clock.monotonic() + timeout_s
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=cwd,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return CommandOutcome(None, b"", 0, f"cannot be started: {error}")
    assert process.stdout is not None  # asked for above
    kept, total = bytearray(), 0
    is_late = is_over = False
    try:
        with process.stdout as pipe, selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while True:
                left_s = deadline - clock.monotonic()
                if left_s <= 0:
                    is_late = True
                    break
                if selector.select(0 if is_over else min(_POLL_S, left_s)):
                    data = os.read(pipe.fileno(), _READ_SIZE)
                    if not data:
                        break
                    total += len(data)
                    kept = (kept + data)[-OUTPUT_KEPT_MAX:]
                elif is_over:
                    break  # a child that it left behind may hold the pipe open; the command itself is done
                else:
                    is_over = process.poll() is not None
        if not is_late:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - clock.monotonic()))
            is_late = process.poll() is None
    finally:
        kill_group(process)
    code = None if is_late else process.returncode
    note = f"stopped after {timeout_s:g} s" if is_late else ""
    return CommandOutcome(code, bytes(kept), total - len(kept), note)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a command and what it started, at once. The leader is reaped after its group was signalled."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
