"""A tree with everything that is odd about files, and a way to say whether two trees are the same."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Any

ODD_NAMES = [
    b"plain",
    "中文 文件名".encode(),
    b"not utf-8 \xff\xfe",
    b'quote " and \\ backslash',
    b"new\nline\tand tab",
    b"<html>&amp;",
    "no\u00a0break\u2028line \u200d joiner \U0001f600".encode(),
    b"-rf",
    b" leading and trailing ",
    b"bell\x07 and delete\x7f",
    "é".encode(),
]
_TIME_NS = 1_753_000_000_123_456_789


def make_tree(root: Path, *, seed: str = "1") -> Path:
    """Files, links, holes, attributes; ``seed`` changes some contents and leaves others."""
    root.mkdir(parents=True, exist_ok=True)
    top = os.fsencode(root)
    for number, name in enumerate(ODD_NAMES):
        _write(os.path.join(top, name), noise(f"name {number}", 100 + number))
    odd_directory = os.path.join(top, b"dir \xff \xe4\xb8\xad")
    os.makedirs(odd_directory, exist_ok=True)
    _write(os.path.join(odd_directory, b"inside"), noise(seed, 3000))
    (root / "empty directory").mkdir(exist_ok=True)
    _write(os.path.join(top, b"empty"), b"")
    _write(os.path.join(top, b"large"), noise("large" + seed, 2_500_000))
    _write(os.path.join(top, b"text"), b"the same line again and again\n" * 20_000)
    with (root / "holes").open("wb") as file:
        file.write(b"head")
        file.seek(3 << 20)
        file.write(b"tail")
    if not os.path.lexists(root / "link"):
        # In UTF-8: a target that is not is known to restic since 0.16 only.
        os.symlink("不在 <there>", root / "link")
        os.link(root / "large", root / "second name of large")
        os.mkfifo(root / "fifo")
    (root / "text").chmod(0o4751)
    os.setxattr(root / "plain", "user.comment", "备注".encode())
    if os.geteuid() == 0:
        os.chown(root / "plain", 12345, 54321)
        os.chown(root / "link", 1, 2, follow_symlinks=False)
    (root / "empty directory").chmod(0o1777)
    for directory, _, names in os.walk(top, topdown=False):
        for name in names:
            path = os.path.join(directory, name)
            times = (_TIME_NS, _TIME_NS + len(name))
            if os.path.basename(path) not in (b"inside", b"large", b"second name of large"):
                os.utime(path, ns=times, follow_symlinks=False)
        os.utime(directory, ns=(_TIME_NS, _TIME_NS))
    return root


def fingerprint(root: Path) -> dict[bytes, tuple[Any, ...]]:
    """Everything about a tree that a restore has to bring back, by path."""
    top = os.fsencode(root)
    found: dict[bytes, tuple[Any, ...]] = {}
    links: dict[tuple[int, int], bytes] = {}
    for directory, directories, names in os.walk(top):
        directories.sort()
        for name in sorted([*directories, *names]):
            path = os.path.join(directory, name)
            status = os.lstat(path)
            content: Any = None
            if stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    content = hashlib.sha256(file.read()).hexdigest()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            first = links.setdefault((status.st_dev, status.st_ino), os.path.relpath(path, top))
            attributes = {
                key: os.getxattr(path, key, follow_symlinks=False) for key in os.listxattr(path, follow_symlinks=False)
            }
            size = status.st_size if stat.S_ISREG(status.st_mode) else None
            found[os.path.relpath(path, top)] = (
                status.st_mode,
                status.st_uid,
                status.st_gid,
                status.st_mtime_ns,
                size,
                content,
                attributes,
                first,
            )
    return found


def noise(label: str, size: int) -> bytes:
    """Bytes that do not compress, the same for the same label."""
    return hashlib.shake_128(label.encode()).digest(size)


def _write(path: bytes, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
