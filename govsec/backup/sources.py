"""What is backed up: files and directories, the output of a program, or a stream.

A :class:`FileSource` only says which paths and what to leave out; the reading is in ``walk`` and ``files``. The other
two are streams of bytes that become one file at the top of the snapshot. Their rule: the bytes count only when the
source says at its end that they are whole. A dump program that fails half-way has written a file that looks like a
dump, so its exit code decides whether there is a snapshot at all.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from govsec.backup.patterns import Patterns
from govsec.clock import Clock
from govsec.errors import ConfigurationError, SourceError
from govsec.runtime.children import child_environment

_READ_SIZE = 1 << 20
#: How much of what a failed program wrote to standard error is kept for the message.
_STDERR_TAIL = 2000
_KILL_AFTER_S = 5.0

#: Gives at most that many bytes; empty at the end.
Read = Callable[[int], bytes]


class ByteSource(Protocol):
    """One file's worth of bytes that is read once, from its beginning."""

    @property
    def filename(self) -> str:
        """The name of the file in the snapshot."""
        ...

    def open(self, clock: Clock) -> AbstractContextManager[Read]:
        """The bytes. Leaving the context without an error promises that they were whole; else ``SourceError``."""
        ...


@dataclass(frozen=True)
class FileSource:
    """Files and directories, with everything below them.

    Paths are made absolute, and the directories above them become levels of the tree, as restic does with absolute
    paths; so one file has one place in every snapshot, whatever directory the backup was started in.
    """

    paths: tuple[Path, ...]
    exclude: tuple[str, ...] = ()
    one_file_system: bool = False
    patterns: Patterns = field(init=False, compare=False)

    def __init__(
        self, paths: Sequence[Path | str], *, exclude: Sequence[str] = (), one_file_system: bool = False
    ) -> None:
        if not paths:
            raise ConfigurationError("a file source needs at least one path")
        # Not resolve(): a path that leads through a link is kept as the operator wrote it.
        absolute = sorted({Path(os.path.abspath(path)) for path in paths})  # noqa: PTH100
        object.__setattr__(self, "paths", tuple(absolute))
        object.__setattr__(self, "exclude", tuple(exclude))
        object.__setattr__(self, "one_file_system", one_file_system)
        object.__setattr__(self, "patterns", Patterns(exclude))

    def roots(self) -> tuple[bytes, ...]:
        """The paths as bytes, without those that lie inside another one."""
        roots: list[bytes] = []
        for path in sorted(os.fsencode(path) for path in self.paths):
            if not any(path == root or path.startswith(root.rstrip(b"/") + b"/") for root in roots):
                roots.append(path)
        return tuple(roots)


@dataclass(frozen=True)
class StreamSource:
    """A stream that is already open, such as standard input."""

    stream: BinaryIO
    filename: str

    def __post_init__(self) -> None:
        check_filename(self.filename)

    @contextmanager
    def open(self, clock: Clock) -> Iterator[Read]:
        # One call to the system at a time: a loop inside the interpreter, waiting for the whole size, would not notice
        # a signal that comes between two of its reads until more data comes.
        read_once: Read = getattr(self.stream, "read1", self.stream.read)

        def read(size: int) -> bytes:
            try:
                return read_once(size) or b""
            except OSError as error:
                raise SourceError(f"{self.filename}: the stream cannot be read: {error.strerror}") from error

        yield read


@dataclass(frozen=True)
class CommandSource:
    """The standard output of a program, which runs in a process group of its own, without secrets in its environment.

    Exit code 0 makes the bytes whole; anything else, also running longer than ``timeout_s``, is a ``SourceError``.
    """

    argv: tuple[str, ...]
    filename: str
    timeout_s: float = 6 * 3600

    def __post_init__(self) -> None:
        check_filename(self.filename)
        if not self.argv:
            raise ConfigurationError("a command source needs a program to run")

    @contextmanager
    def open(self, clock: Clock) -> Iterator[Read]:
        program = self.argv[0]
        try:
            process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=child_environment(),
                start_new_session=True,
            )
        except OSError as error:
            raise SourceError(f"command {program!r} cannot be started: {error.strerror}") from error
        with process:
            pipes = _Pipes(process, program, clock, clock.monotonic() + self.timeout_s)
            try:
                yield pipes.read
                pipes.drain()
                code = process.wait(max(0.0, pipes.left_s()))
            except subprocess.TimeoutExpired as error:
                raise SourceError(f"command {program!r} ran longer than {self.timeout_s:g} s") from error
            finally:
                pipes.close()
                _end(process)
            if code != 0:
                how = f"ended with exit code {code}" if code > 0 else f"was killed by {signal.Signals(-code).name}"
                raise SourceError(f"command {program!r} {how}; no snapshot is made. It said: {pipes.said()}")


Source = FileSource | ByteSource


def check_filename(name: str) -> str:
    """``name``, when it can be the name of one file.

    Raises:
        ConfigurationError: empty, ``.`` or ``..``, or with a slash or a null byte.
    """
    if name in ("", ".", "..") or "/" in name or "\0" in name or len(os.fsencode(name)) > 255:
        raise ConfigurationError(f"not a file name: {name[:300]!r}")
    return name


class _Pipes:
    """Both outputs of a program, read together: one that is left full would stop the program."""

    def __init__(self, process: subprocess.Popen[bytes], program: str, clock: Clock, deadline: float) -> None:
        assert process.stdout is not None and process.stderr is not None  # both were asked for
        self._program = program
        self._clock = clock
        self._deadline = deadline
        self._stdout = process.stdout.fileno()
        self._tail = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(process.stdout, selectors.EVENT_READ)
        self._selector.register(process.stderr, selectors.EVENT_READ)

    def left_s(self) -> float:
        return self._deadline - self._clock.monotonic()

    def read(self, size: int) -> bytes:
        while self._selector.get_map():
            if self.left_s() <= 0:
                raise SourceError(f"command {self._program!r} ran longer than it may")
            for key, _ in self._selector.select(min(1.0, self.left_s())):
                data = os.read(key.fd, min(size, _READ_SIZE))
                if not data:
                    self._selector.unregister(key.fileobj)
                elif key.fd == self._stdout:
                    return data
                else:
                    self._tail = (self._tail + data)[-_STDERR_TAIL:]
        return b""

    def drain(self) -> None:
        if self.read(_READ_SIZE):
            raise SourceError(f"command {self._program!r}: its output was not read to the end")

    def close(self) -> None:
        self._selector.close()

    def said(self) -> str:
        return ascii(self._tail.decode("utf-8", "backslashreplace").strip()[-500:])


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the program and everything that it started, gently first."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_KILL_AFTER_S)
    # The leader has gone, its children may not have; the group's number stays taken as long as one of them lives.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
