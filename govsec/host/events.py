"""The events of a host: what happened at one moment, one frozen record a thing.

One idea: whoever judges sees these records and nothing of how they were come by. A record never says more than was
seen: what could not be read is ``None``, what was guessed is marked, what was lost is a record of its own
(:class:`EventsLost`) that says what must be looked at anew. Names, paths and lines come from the machine and may be
hostile: they are bounded, kept as they were found (bytes that are no text as surrogates), and made printable by whoever
prints them. Nothing here touches the machine.

Times are nanoseconds since 1970, UTC. Of processes it is the kernel's own stamp; of files the moment the kernel's queue
was read, at most tens of milliseconds late; of log-ins what the log says.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Union

from govsec.host.tables import Process, ProcessKey


class StartKind(StrEnum):
    """How a process came to our notice."""

    EXEC = "exec"  #: it began to run a program
    FORK = "fork"  #: it is a copy of its parent that ran for a while without starting a program of its own
    FOUND = "found"  #: it was running when we looked again after a loss


class FileOperation(StrEnum):
    """What was done to a file or folder."""

    CREATED = "created"
    MODIFIED = "modified"  #: written, and closed after it
    RENAMED = "renamed"
    DELETED = "deleted"
    ATTRIBUTES = "attributes"  #: mode, owner, times, links or extended attributes


class LoginTool(StrEnum):
    """What let somebody in, or did not."""

    SSHD = "sshd"
    SUDO = "sudo"
    SU = "su"
    LOGIN = "login"
    LOGIND = "logind"
    WEB = "web"


class LoginOutcome(StrEnum):
    """What came of it; a session is opened and closed beside the success."""

    SUCCESS = "success"
    FAILURE = "failure"
    OPENED = "opened"
    CLOSED = "closed"


class Stage(StrEnum):
    """The part of watching that a loss or a note is about."""

    PROCESSES = "processes"
    FILES = "files"
    LOGINS = "logins"
    STREAM = "stream"


@dataclass(frozen=True, slots=True)
class ProcessStarted:
    """A program began to run. ``ancestors``: nearest first, at most 16, also of processes that are gone by now."""

    time_ns: int
    process: Process
    ancestors: tuple[Process, ...]
    how: StartKind
    #: It was gone before it could be looked at: program and arguments are unknown, the rest is its parent's.
    is_partial: bool

    @property
    def parent(self) -> Process | None:
        """Who started it, as far as known."""
        return self.ancestors[0] if self.ancestors else None


@dataclass(frozen=True, slots=True)
class ProcessExited:
    """A process ended. Both ``None``: nobody saw how. ``process`` is what was known of it."""

    time_ns: int
    key: ProcessKey
    exit_code: int | None
    #: The signal that ended it.
    signal: int | None
    process: Process | None


@dataclass(frozen=True, slots=True)
class IdentityChanged:
    """A running process became another user (``is_user``) or group: ``su``, services that give up rights.

    ``effective`` is the number it now acts by. A set-id program is a start, not a change.
    """

    time_ns: int
    key: ProcessKey
    process: Process | None
    is_user: bool
    effective: int


@dataclass(frozen=True, slots=True)
class FileChange:
    """Something was done to a file. ``process`` and ``ancestors`` are of who did it, where the kernel says it."""

    time_ns: int
    path: str
    operation: FileOperation
    is_directory: bool
    #: Where it was before; ``None`` also for a rename from outside of what is watched.
    old_path: str | None
    pid: int | None
    process: Process | None
    ancestors: tuple[Process, ...]
    #: When it was created or modified, and still there a moment later.
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class LoginRecord:
    """One line about somebody who came, went or was refused. ``line`` is the evidence, cut to 1,024 characters."""

    time_ns: int
    tool: LoginTool
    outcome: LoginOutcome
    user: str
    #: The address or host as the log names it, ``None`` when local.
    source: str | None
    terminal: str | None
    #: password, publickey, keyboard-interactive, pam, …; ``None`` where the log does not say.
    method: str | None
    pid: int | None
    #: How many equal lines this one stands for (``message repeated 5 times``).
    count: int
    #: Who asked to become ``user``: of sudo and su.
    by_user: str | None
    #: What sudo was to run, or the path that was asked for on the web.
    command: str | None
    #: The file or journal it stood in.
    log: str
    line: str


@dataclass(frozen=True, slots=True)
class EventsLost:
    """Something happened that nobody saw. ``count``: how many events are missing, at least; 0 where nobody knows.

    ``scope``: paths that must be looked at anew, empty when the source itself looked again.
    """

    time_ns: int
    stage: Stage
    reason: str
    count: int
    scope: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WatchNote:
    """How watching goes: which source was taken and why not a better one, a limit that was met, a clock that jumped."""

    time_ns: int
    stage: Stage
    #: Name of the source: ``proc connector``, ``fanotify``, ``inotify``, ``polling``, a log's path.
    source: str
    #: True when less is seen than could be.
    is_degraded: bool
    text: str


@dataclass(frozen=True, slots=True)
class LogCut:
    """A log that is followed became shorter, or holds other bytes where it had been read.

    ``mark``: what was read last, at most 64 bytes; they stood before ``position``. A rotation that copies the log and
    cuts it does this too, and leaves them in the copy.
    """

    time_ns: int
    path: str
    position: int
    mark: bytes


Record = Union[  # noqa: UP007  # as in tables.py
    ProcessStarted, ProcessExited, IdentityChanged, FileChange, LoginRecord, LogCut, EventsLost, WatchNote
]
