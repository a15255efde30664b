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
class RotatedLog:
    """A rotated file that is not there any more, or does not hold any more what it held."""

    path: str
    size_bytes: int
    #: When it was rotated, as far as that was seen; else when it was written last.
    since_ns: int
    #: Rotated files of the same log, older than this one, that are still there.
    older_count: int


@dataclass(frozen=True, slots=True)
class LogFile:
    """A log at one moment, and what became of the files that were rotated from it."""

    time_ns: int
    path: str
    #: ``None``: it is not there.
    inode: int | None
    size_bytes: int
    #: What stood in it at the last look, or was read by a follower since, still stands where it stood.
    is_kept: bool = True
    #: So far a follower had read it, where that is not there any more; else 0.
    followed_bytes: int = 0
    #: The file beside it in which all of that stands, when it is not in this one any more.
    held_by: str | None = None
    #: How often it was rotated since the last look.
    rotations_count: int = 0
    went: tuple[RotatedLog, ...] = ()
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
