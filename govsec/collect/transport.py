"""Ways to a host without a network: this machine, and a container on it.

A transport runs one script and gives back what it printed, bounded in bytes and in time. SSH is in
``transport_ssh.py``; a host without any way is reached by a person who carries files (``collect.import_output``).
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from govsec.clock import Clock
from govsec.collect.script import Script
from govsec.errors import ConfigurationError, HostUnreachableError, LimitError

_READ_SIZE = 256 << 10
_POLL_S = 0.25
#: A pipe that says it is writable takes this much without blocking (POSIX: PIPE_BUF).
_PIPE_SIZE = 4096
#: The script is data to this line: it is read whole, then run by a shell of its own, so that nothing of a script that
#: arrives in part is ever run. With sudo it is run twice, each part with its own power.
RUN_PLAIN = 'S=$(cat) && printf "%s\\n" "$S" | sh -s all'
RUN_SUDO = (
    'S=$(cat); if [ "$(id -u)" = 0 ]; then printf "%s\\n" "$S" | sh -s all; else '
    'printf "%s\\n" "$S" | sh -s plain; '
    'if sudo -n sh -c : 2>/dev/null; then printf "%s\\n" "$S" | sudo -n sh -s privileged; '
    'else printf "%s\\n" "$S" | sh -s privileged; fi; fi'
)


@dataclass(frozen=True, slots=True)
class LocalTransport:
    """This machine. ``interpreter`` is the argument vector of its shell, for a test to choose another."""

    clock: Clock
    sudo: bool = False
    interpreter: Sequence[str] = ("/bin/sh",)
    timeout_s: float | None = None
    name: str = "local"

    def run(self, script: Script) -> bytes:
        command = RUN_SUDO if self.sudo else RUN_PLAIN
        argv = [*self.interpreter, "-c", command]
        return run_bounded(argv, script, self.clock, place=f"{script.host} (local)", timeout_s=self.timeout_s)


@dataclass(frozen=True, slots=True)
class ContainerTransport:
    """A running container, through ``docker exec`` or ``podman exec`` of this machine."""

    container: str
    clock: Clock
    runtime: Literal["docker", "podman"] = "docker"
    user: str = "0"
    timeout_s: float | None = None
    name: str = "container"

    def run(self, script: Script) -> bytes:
        if (
            not self.container.replace("_", "a").replace("-", "a").replace(".", "a").isalnum()
            or self.container[0] == "-"
        ):
            raise ConfigurationError(f"not the name of a container: {self.container!r}")
        argv = [self.runtime, "exec", "-i", "-u", self.user, self.container, "sh", "-c", RUN_PLAIN]
        place = f"{script.host} (container {self.container})"
        return run_bounded(argv, script, self.clock, place=place, timeout_s=self.timeout_s)


@dataclass(frozen=True, slots=True)
class FileTransport:
    """The output that somebody carried here, for code that wants a transport; see also ``collect.import_output``."""

    path: Path
    name: str = "file"

    def run(self, script: Script) -> bytes:
        try:
            with self.path.open("rb") as file:
                data = file.read(script.output_size_max + 1)
        except OSError as error:
            raise HostUnreachableError(f"{script.host}: {self.path}: {error.strerror or error}") from error
        if len(data) > script.output_size_max:
            raise LimitError(f"{script.host}: {self.path} holds more than {script.output_size_max} bytes")
        return data


def run_bounded(
    argv: Sequence[str], script: Script, clock: Clock, *, place: str, timeout_s: float | None = None
) -> bytes:
    """Run ``argv`` with the script on its standard input; its output, or an error when it is too long or too late.

    The script's own limit of time holds, or ``timeout_s`` when that is less.

    Raises:
        HostUnreachableError: it cannot be started, took too long, or ended with nothing said.
        LimitError: it printed more than the script's sources can.
    """
    deadline = clock.monotonic() + min(script.timeout_s, timeout_s or script.timeout_s)
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
    except (OSError, ValueError) as error:
        raise HostUnreachableError(f"{place}: cannot be started: {error}") from error
    try:
        return _exchange(process, script, clock, deadline, place)
    finally:
        _end(process)


def _exchange(process: subprocess.Popen[bytes], script: Script, clock: Clock, deadline: float, place: str) -> bytes:
    assert process.stdin is not None and process.stdout is not None  # asked for by the caller
    waiting = memoryview(script.text.encode())
    kept = bytearray()
    with process.stdin as inlet, process.stdout as outlet, selectors.DefaultSelector() as selector:
        selector.register(inlet, selectors.EVENT_WRITE)
        selector.register(outlet, selectors.EVENT_READ)
        while True:
            left_s = deadline - clock.monotonic()
            if left_s <= 0:
                raise HostUnreachableError(f"{place}: not done in time")
            for key, _ in selector.select(min(_POLL_S, left_s)):
                if key.fileobj is inlet:
                    with suppress(BrokenPipeError):
                        waiting = waiting[os.write(inlet.fileno(), waiting[:_PIPE_SIZE]) :]
                        if waiting:
                            continue
                    selector.unregister(inlet)
                    with suppress(BrokenPipeError):
                        inlet.close()
                    continue
                data = os.read(outlet.fileno(), _READ_SIZE)
                if not data:
                    return bytes(kept)
                kept += data
                if len(kept) > script.output_size_max:
                    raise LimitError(f"{place}: sent more than {script.output_size_max} bytes; it was cut off")


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
