"""Files beside a log: which have the name of a rotated one, which is older, and which hold what the log held.

One idea: a name only says how old a rotated file is among the others; what it is worth its contents say, as they lie
there or unpacked. So a file of the right name and another content takes the place of none.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from bisect import bisect_left
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from govsec.errors import FormatError
from govsec.guard.logcontents import BLOCK_SIZE, Budget, Content
from govsec.guard.logpacks import OTHER_PACKS, PACKS, is_packed, unpacked

#: Names that begin as a log's own does; of more, the rest is not there, and what was followed there is told as gone.
_NAMES_MAX = 10_000
#: Files beside a log that are asked whether they hold what it held.
_ASKED_MAX = 512
#: Of them such as are unpacked; what of one is not, its size must answer for; and what is unpacked of wrong ones.
_PACKS_ASKED_MAX = 32
_UNPACKED_SIZE, _IN_VAIN_MAX = 64 << 20, 256 << 20
#: Read again of one file in one look.
CHECKED_SIZE = 1 << 20
#: Logs get smaller by 10 to 100 when they are packed.
_PACKED_RATIO_MAX = 1000
_DISK_BLOCK_SIZE, _INLINE_SIZE = 512, 4096
#: ``.1``, ``.2026-11-22``, ``-20261122``, ``-20261122-1700000000``, ``_2026112207``.
_SUFFIX = re.compile(r"[._-]\d[\d._:T-]*")
#: Before the ending a number follows a dot (``extension`` of logrotate), and only a date follows others: what follows
#: them otherwise is a port, an address or a worker, and the file a log of its own.
_BEFORE_ENDING = r"\.\d{1,3}|[._-](?:19|20)\d\d[-_.]?(?:0[1-9]|1[0-2])[-_.]?(?:0[1-9]|[12]\d|3[01])(?:[-_.T:]?\d+)*"
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)
_SEPARATORS = (".", "-", "_")
_DATE_DIGITS, _RANK_DIGITS = 6, 24
_SUFFIX_BEFORE_ENDING = re.compile(_BEFORE_ENDING)
#: A log that has the name of a rotated one.
_ROTATED_LOG = re.compile(rf"(.*?)({_BEFORE_ENDING})\.log")
Key = tuple[int, int]
#: Larger ones are younger: those with dates, by date; then those with other endings; then those with numbers.
Rank = tuple[int, int]
NUMBERED, OTHER_KIND, DATED = range(3)
OTHER: Rank = (OTHER_KIND, 0)


@dataclass(frozen=True, slots=True)
class Beside:
    """A regular file beside a log. ``rank``: ``None`` when its name is not that of a rotated file."""

    path: str
    status: os.stat_result
    rank: Rank | None

    @property
    def key(self) -> Key:
        return self.status.st_dev, self.status.st_ino


@contextmanager
def opened(path: str) -> Iterator[tuple[int, os.stat_result] | None]:
    """The regular file at ``path``, not through a link; ``None`` when there is none.

    Raises:
        OSError: it cannot be opened now.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        yield None
        return
    try:
        status = os.fstat(descriptor)
        yield (descriptor, status) if stat.S_ISREG(status.st_mode) else None
    finally:
        os.close(descriptor)


def rank_of(name: str, log_name: str) -> Rank | None:
    """Where a rotated file of the log stands in the order of age, by its name; ``None`` when it is none of its."""
    stem = log_name.removesuffix(".log")
    if name[len(stem) : len(stem) + 1] not in _SEPARATORS:  # of another log; most are
        return None
    plain = _unpacked_name(name)
    if plain.startswith(log_name):
        suffix, form = plain[len(log_name) :], _SUFFIX
    elif stem != log_name and plain.startswith(stem) and plain.endswith(".log"):
        suffix, form = plain[len(stem) : -len(".log")], _SUFFIX_BEFORE_ENDING
    else:
        return None
    if form.fullmatch(suffix) is None:
        return None
    digits = re.sub(r"\D", "", suffix)
    if len(digits) < _DATE_DIGITS:
        return NUMBERED, -int(digits)
    return DATED, int(digits[:_RANK_DIGITS].ljust(_RANK_DIGITS, "0"))


def _unpacked_name(name: str) -> str:
    return name.rpartition(".")[0] if name.endswith(PACKS) else name


class Folders:
    """Folders as one look finds them, each read once."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}

    def beside(self, path: str, folders: Iterable[str], *, is_any: bool = False) -> list[Beside]:
        """Rotated files of the log at ``path``; with ``is_any`` all whose names begin as its own does."""
        own, _, log_name = path.rpartition("/")
        stem = log_name.removesuffix(".log")
        found = []
        for folder in dict.fromkeys((own or "/", *folders)):
            names = self._in(folder)
            first = bisect_left(names, stem)
            for name in names[first : first + _NAMES_MAX]:
                if not name.startswith(stem):
                    break
                place = f"{folder.rstrip('/')}/{name}"
                rank = rank_of(name, log_name)
                if place != path and (is_any or rank is not None) and (one := beside(place, rank)) is not None:
                    found.append(one)
        return found

    def _in(self, folder: str) -> list[str]:
        if folder not in self._names:
            try:
                self._names[folder] = sorted(os.listdir(folder))  # noqa: PTH208  # names, and many
            except OSError:
                self._names[folder] = []
        return self._names[folder]


def beside(path: str, rank: Rank | None) -> Beside | None:
    """The regular file at ``path``."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return Beside(path, status, rank) if stat.S_ISREG(status.st_mode) else None


def is_rotated(path: str, logs: Container[str]) -> bool:
    """``auth.log.1``, ``auth.log-20261122``, and ``auth.1.log`` beside an ``auth.log``: no log of its own."""
    folder, _, name = path.rpartition("/")
    name = _unpacked_name(name)
    last = name.replace("-", ".").rsplit(".", 1)[-1]
    if name != last and last.isdecimal():
        return True
    found = _ROTATED_LOG.fullmatch(name)
    return found is not None and f"{folder}/{found[1]}.log" in logs


def is_held(content: Content, one: Beside, budget: Budget) -> bool:
    """The file holds all that ``content`` says, as it lies there or unpacked. ``budget``: for what is unpacked."""
    try:
        with opened(one.path) as file:
            if file is None:
                return False
            if content.check(*file, Budget(CHECKED_SIZE)):
                return True
            with os.fdopen(file[0], "rb", closefd=False) as packed:
                return _is_packed_in(content, packed, one, budget)
    except (OSError, FormatError):
        return False


def _is_packed_in(content: Content, packed: BinaryIO, one: Beside, budget: Budget) -> bool:
    compared_size = 0
    if is_packed(one.path):
        found = content.found_in(unpacked(packed, one.path, BLOCK_SIZE), budget)
        if found is None or found >= content.end:
            return found is not None
        compared_size = found
    elif not one.path.endswith(OTHER_PACKS):
        return False
    # The rest is not unpacked: it is held when there are bytes that it may be packed in.
    disk_size = max(one.status.st_blocks * _DISK_BLOCK_SIZE, min(one.status.st_size, _INLINE_SIZE))
    return min(one.status.st_size, disk_size) * _PACKED_RATIO_MAX >= content.end - compared_size


def holder_of(content: Content, key: Key | None, found: Sequence[Beside], budget: Budget) -> Beside | None:
    """The file that holds what a log held; ``key``: of the log, which may have been renamed."""
    own_first = sorted(
        found, key=lambda one: (one.key == key, one.rank is not None, one.status.st_mtime_ns), reverse=True
    )
    return first_that_holds(content, own_first, budget)


def first_that_holds(content: Content, ordered: Iterable[Beside], budget: Budget) -> Beside | None:
    """The first of the files that holds what ``content`` says.

    A file is asked once, however many names it has. So many packs are unpacked, and so much of them in vain; whoever
    lays out more of them hides the holder, and what is not found is told.
    """
    asked: set[Key] = set()
    packs_left, in_vain = _PACKS_ASKED_MAX, 0
    for one in ordered:
        if one.key in asked or ((is_pack := is_packed(one.path)) and not packs_left):
            continue
        if len(asked) >= _ASKED_MAX or in_vain > _IN_VAIN_MAX:
            break
        asked.add(one.key)
        packs_left -= is_pack
        own = Budget(_UNPACKED_SIZE, budget)
        if is_held(content, one, own):
            return one
        in_vain += own.taken
    return None
