"""What a guard sees of a host, and what its detectors are: ``Observation``, ``Detector``, the records of its own looks.

One idea: detectors are folds over records. Snapshots and events come from :mod:`govsec.host`; what only a second look
at the machine can tell (the head of a file that was just written, a log's length, one table seen from two sides) is a
record too, made at the edge and judged here. So every detector can be tested with rows that nobody read, and time is
the records' own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, Union

from govsec.findings import api as findings
from govsec.guard.filestate import FileState
from govsec.host.events import FileChange, Record
from govsec.host.tables import HostSnapshot, Process, ProcessKey, Unavailable


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did something: a process and those it came from, nearest first."""

    process: Process
    ancestors: tuple[Process, ...] = ()


@dataclass(frozen=True, slots=True)
class FileSample:
    """The head of a file that was just written. ``entropy``: bits a byte, of at most 64 KiB from its beginning.

    ``form``: what its first bytes say it is (``zip``, ``jpeg`` …), ``text``, or ``None``. ``before``: entropy and form
    at the last sample of this path, when there was one.
    """

    time_ns: int
    path: str
    size_bytes: int
    head_size: int
    entropy: float
    form: str | None
    actor: Actor | None = None
    before: tuple[float, str | None] | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """A package that was brought to another version, and this file with it."""

    package: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class FileDifference:
    """One file that is not as the baseline has it; ``None`` where it is not there."""

    path: str
    before: FileState | None
    after: FileState | None
    update: Explanation | None = None
    actor: Actor | None = None


@dataclass(frozen=True, slots=True)
class FileLook:
    """What a pass over files, or a look at some of them, found to be different from the baseline."""

    time_ns: int
    differences: tuple[FileDifference, ...]
    #: Differences beyond those that are listed.
    more_count: int = 0


@dataclass(frozen=True, slots=True)
class HiddenProcess:
    """A number that answers to signals, while ``/proc`` says nothing true of it."""

    pid: int
    #: ``unlisted`` (not in the listing), ``unreadable`` (its folder says nothing), ``covered`` (by another one's).
    how: str
    #: What else knows it: its control group, its parent, the mount that covers it.
    seen_in: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProcessLook:
    """The table of processes from several sides.

    ``begin``, ``end``: the numbers that were asked (``end`` excluded); ``again``: those that were asked besides.
    """

    time_ns: int
    hidden: tuple[HiddenProcess, ...] | Unavailable
    begin: int = 0
    end: int = 0
    again: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class ModuleLook:
    """Loaded modules from several sides; ``taint`` is the kernel's own mark of what was ever loaded."""

    time_ns: int
    listed: tuple[str, ...]
    #: Names below ``/sys/module`` of modules that were loaded (not built in).
    present: tuple[str, ...]
    taint: int
    #: Letters of taint that listed modules account for.
    listed_taint: str


@dataclass(frozen=True, slots=True)
class LogFile:
    """A log at one moment.

    ``is_head_kept``, ``is_tail_kept``: what was first and last in it at the last look still stands where it stood.
    """

    time_ns: int
    path: str
    #: ``None``: it is not there.
    inode: int | None
    size_bytes: int
    is_head_kept: bool = True
    is_tail_kept: bool = True
    #: Other files beside it that begin with its name: (name, inode, size, size when unpacked or the same).
    siblings: tuple[tuple[str, int, int, int], ...] = ()
    last_lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KeyFile:
    """Keys that open an account: fingerprint and comment of each."""

    time_ns: int
    path: str
    user: str
    uid: int
    keys: tuple[tuple[str, str], ...]
    actor: Actor | None = None


@dataclass(frozen=True, slots=True)
class PreloadFile:
    """Libraries that the loader puts into every program (``ld.so.preload``)."""

    time_ns: int
    path: str
    entries: tuple[str, ...]
    actor: Actor | None = None


@dataclass(frozen=True, slots=True)
class LooseImage:
    """A running program whose file is gone. ``is_replaced``: an upgrade put another one in its place."""

    time_ns: int
    key: ProcessKey
    actor: Actor
    is_replaced: bool


@dataclass(frozen=True, slots=True)
class CanaryTouch:
    """A canary is not as it was placed, after this change."""

    time_ns: int
    path: str
    change: FileChange


@dataclass(frozen=True, slots=True)
class BaselineRefused:
    """The baseline was there and could not be trusted."""

    time_ns: int
    reason: str


GuardRecord = Union[  # noqa: UP007  # a union of unions: as in host/tables.py
    Record,
    HostSnapshot,
    FileSample,
    FileLook,
    ProcessLook,
    ModuleLook,
    LogFile,
    KeyFile,
    PreloadFile,
    LooseImage,
    CanaryTouch,
    BaselineRefused,
]


@dataclass(frozen=True, slots=True)
class Observation:
    """Records in the order in which they came. ``time_ns``: event time at their end, never falling."""

    time_ns: int
    records: tuple[GuardRecord, ...]


Detector: TypeAlias = findings.Detector[Observation]
