"""Logs at one moment: how large, which file, and whether what stood there still stands there.

One idea: of each log the digests of its first and last 4 KiB are kept between looks; at the next look the same ranges
are read again. Two small reads tell whether a log was written over in place, however large it is.
"""

from __future__ import annotations

import glob
import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from govsec.guard.api import LogFile

_EDGE_SIZE = 4096
_SIBLINGS_MAX = 64
_LOGS_MAX = 512
_LINES_KEPT = 3
_LINE_MAX = 300
#: A gzip file ends with the size of what it holds, modulo 2^32 (RFC 1952, 2.3.1).
_GZIP_TRAILER = 4


@dataclass(frozen=True, slots=True)
class _Edges:
    inode: int
    size: int
    head_size: int
    head: bytes
    tail: bytes


class LogView:
    """Looks at the logs that ``patterns`` name. ``loose``: names of files that are written at any place (lastlog)."""

    def __init__(self, patterns: Sequence[str], *, loose: Sequence[str] = ("lastlog", "faillog", "tallylog")) -> None:
        self._patterns = tuple(patterns)
        self._loose = frozenset(loose)
        self._edges: dict[str, _Edges] = {}
        self.logs_dropped = 0

    def look(self, time_ns: int) -> list[LogFile]:
        """All of them, also those that were there at the last look and are gone."""
        found = {path for pattern in self._patterns for path in glob.glob(pattern)}  # noqa: PTH207  # absolute patterns
        logs = sorted(path for path in found if not _is_rotated_name(path))
        self.logs_dropped = max(0, len(logs) - _LOGS_MAX)
        gone = [path for path in self._edges if path not in found]
        return [self._one(path, time_ns) for path in [*logs[:_LOGS_MAX], *gone]]

    def _one(self, path: str, time_ns: int) -> LogFile:
        known = self._edges.pop(path, None)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return LogFile(time_ns, path, None, 0, siblings=_siblings(path))
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return LogFile(time_ns, path, None, 0, siblings=_siblings(path))
            is_head_kept = is_tail_kept = True
            if known is not None and known.inode == status.st_ino and known.size <= status.st_size:
                is_head_kept, is_tail_kept = self._compare(descriptor, path, known)
            self._edges[path], lines = _edges(descriptor, status)
        except OSError:
            return LogFile(time_ns, path, None, 0, siblings=_siblings(path))
        finally:
            os.close(descriptor)
        return LogFile(
            time_ns=time_ns,
            path=path,
            inode=status.st_ino,
            size_bytes=status.st_size,
            is_head_kept=is_head_kept,
            is_tail_kept=is_tail_kept,
            siblings=_siblings(path),
            last_lines=lines,
        )

    def _compare(self, descriptor: int, path: str, known: _Edges) -> tuple[bool, bool]:
        if Path(path).name in self._loose:
            return True, True
        head = os.pread(descriptor, known.head_size, 0)
        tail = os.pread(descriptor, min(_EDGE_SIZE, known.size), max(0, known.size - _EDGE_SIZE))
        return hashlib.sha256(head).digest() == known.head, hashlib.sha256(tail).digest() == known.tail


def _edges(descriptor: int, status: os.stat_result) -> tuple[_Edges, tuple[str, ...]]:
    size = status.st_size
    head = os.pread(descriptor, min(_EDGE_SIZE, size), 0)
    tail = os.pread(descriptor, min(_EDGE_SIZE, size), max(0, size - _EDGE_SIZE))
    lines = [line for line in tail.decode("utf-8", "surrogateescape").split("\n") if line][-_LINES_KEPT:]
    is_text = b"\x00" not in tail
    edges = _Edges(status.st_ino, size, len(head), hashlib.sha256(head).digest(), hashlib.sha256(tail).digest())
    return edges, tuple(line[:_LINE_MAX] for line in lines) if is_text else ()


def _siblings(path: str) -> tuple[tuple[str, int, int, int], ...]:
    """Files beside it that begin with its name, or with its name's beginning and a date (``dateext``)."""
    folder, _, name = path.rpartition("/")
    stem = name.removesuffix(".log")
    found: list[tuple[int, tuple[str, int, int, int]]] = []
    try:
        with os.scandir(folder or "/") as entries:
            for entry in entries:
                if entry.name == name or not entry.name.startswith(stem):
                    continue
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    row = (entry.name, status.st_ino, status.st_size, _unpacked(entry.path, status.st_size))
                    found.append((status.st_mtime_ns, row))
    except OSError:
        return ()
    # Half a year of days is kept, as the law asks: what was rotated just now is among the newest, whatever its name.
    newest = sorted(found, reverse=True)[:_SIBLINGS_MAX]
    return tuple(sorted(row for _, row in newest))


def _unpacked(path: str, size: int) -> int:
    """What the file holds when unpacked: by its own word for gzip; unknown packers count as large enough."""
    if path.endswith((".xz", ".zst", ".bz2")):
        return 1 << 62 if size else 0
    if not path.endswith(".gz") or size < _GZIP_TRAILER:
        return size
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return int.from_bytes(os.pread(descriptor, _GZIP_TRAILER, size - _GZIP_TRAILER), "little")
        finally:
            os.close(descriptor)
    except OSError:
        return 0


def _is_rotated_name(path: str) -> bool:
    """``auth.log.1``, ``auth.log.2.gz``, ``auth.log-20261122``: what rotation leaves is no log to be followed."""
    name = path.rsplit("/", 1)[-1]
    for packed in (".gz", ".xz", ".zst", ".bz2"):
        name = name.removesuffix(packed)
    last = name.replace("-", ".").rsplit(".", 1)[-1]
    return name != last and last.isdecimal()
