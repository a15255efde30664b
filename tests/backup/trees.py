"""Trees with everything that a file system can hold, and what is compared of two of them."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import stat
import subprocess
from pathlib import Path

Entry = dict[str, object]


def make_rich_tree(root: Path, *, seed: int = 1) -> None:
    """Names, types, modes, owners, times, links, holes, attributes and ACLs of every kind. Needs root."""
    source = random.Random(seed)
    top = os.fsencode(root)

    def at(*names: bytes) -> bytes:
        return os.path.join(top, *names)

    def write(path: bytes, data: bytes) -> None:
        with open(path, "wb") as file:
            file.write(data)

    os.makedirs(at("数据".encode(), b"sub"))
    os.mkdir(at(b"empty"))
    os.mkdir(at(b"deep"))
    write(at("数据".encode(), "报告 2026.txt".encode()), ("你好，世界。" * 500).encode())
    write(at("数据".encode(), b"caf\xe9-latin1"), b"not UTF-8")
    write(at(b"bad\xff\xfename"), b"x" * 70_000)
    write(at(b'quo"te <&> \\ back\n\tline \x7f \xe2\x80\xa8'), b"odd name")
    write(at(b"-dash"), b"option?")
    write(at(b"empty.txt"), b"")
    big = source.randbytes(3_000_000) + b"abc" * 1_000_000 + source.randbytes(2_000_000)
    write(at(b"big.bin"), big)
    write(at(b"shifted.bin"), b"in front" + big)
    write(at(b"setuid"), b"#!/bin/sh\n")
    os.chmod(at(b"setuid"), 0o4755)
    os.chmod(at("数据".encode(), b"sub"), 0o2770)
    write(at(b"no-mode"), b"z")
    os.chmod(at(b"no-mode"), 0)
    write(at(b"linked"), b"one file, three names" * 100)
    os.link(at(b"linked"), at(b"linked-2"))
    os.link(at(b"linked"), at(b"deep", b"linked-3"))
    write(at(b"big-linked"), source.randbytes(1_500_000))
    os.link(at(b"big-linked"), at(b"deep", b"big-linked-2"))
    os.symlink(b"linked", at(b"link"))
    os.symlink(b"/etc/passwd", at(b"absolute-link"))
    os.symlink(b"nowhere/at/all", at(b"dangling-link"))
    os.chown(at(b"link"), 1234, 4321, follow_symlinks=False)
    os.utime(at(b"link"), ns=(1, 7_000_000_001), follow_symlinks=False)
    os.mkfifo(at(b"fifo"), 0o640)
    os.mknod(at(b"null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(at(b"block"), stat.S_IFBLK | 0o600, os.makedev(7, 200))
    with open(at(b"sparse"), "wb") as file:
        file.seek(6 << 20)
        file.write(b"data" * 1000)
        file.truncate(14 << 20)
    with open(at(b"all-hole"), "wb") as file:
        file.truncate(9 << 20)
    os.setxattr(at(b"linked"), "user.note", b"value\0\xff")
    os.setxattr(at(b"linked"), "user.empty", b"")
    os.setxattr(at(b"deep"), "trusted.x", b"1")
    subprocess.run(["setfacl", "-m", "u:1234:r,g:99:rw", at(b"big.bin")], check=True)
    subprocess.run(["setfacl", "-d", "-m", "u:77:rwx", at(b"deep")], check=True)
    os.chown(at(b"empty.txt"), 4242, 4343)
    directory = at(b"deep")
    for level in range(12):
        directory = os.path.join(directory, b"level-%d" % level)
        os.mkdir(directory)
        for number in range(3):
            write(os.path.join(directory, b"file-%d" % number), source.randbytes(50 * number))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"/proc/self/fd/{(held := os.open(top, os.O_PATH))}/socket")
        os.close(held)
    os.utime(at(b"big.bin"), ns=(1, 123_456_789_123_456_789))
    os.utime(at(b"empty.txt"), ns=(5, -86_400 * 10**9 * 3000))
    os.chmod(at(b"empty"), 0o1777)
    os.utime(at(b"empty"), ns=(10**9, 2 * 10**9 + 500))
    os.utime(at(b"deep"), ns=(10**9, 3 * 10**9 + 1))


def describe(root: Path) -> dict[bytes, Entry]:
    """Everything below ``root`` that a restore must give back; sockets are not restored by anybody."""
    top = os.fsencode(root)
    entries: dict[bytes, Entry] = {}
    names_by_inode: dict[int, list[bytes]] = {}
    for directory, directories, files in os.walk(top):
        for name in [b".", *directories, *files]:
            path = os.path.normpath(os.path.join(directory, name))
            status = os.lstat(path)
            if stat.S_ISSOCK(status.st_mode):
                continue
            relative = os.path.relpath(path, top)
            entry: Entry = {
                "mode": oct(status.st_mode),
                "owner": (status.st_uid, status.st_gid),
                "mtime_ns": status.st_mtime_ns,
                "attributes": {
                    attribute: os.getxattr(path, attribute, follow_symlinks=False)
                    for attribute in os.listxattr(path, follow_symlinks=False)
                },
            }
            if stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    entry["content"] = hashlib.sha256(file.read()).hexdigest()
                entry["size"] = status.st_size
                entry["has_holes"] = status.st_blocks * 512 < status.st_size
            elif stat.S_ISLNK(status.st_mode):
                entry["target"] = os.readlink(path)
            elif stat.S_ISBLK(status.st_mode) or stat.S_ISCHR(status.st_mode):
                entry["device"] = status.st_rdev
            if not stat.S_ISDIR(status.st_mode) and status.st_nlink > 1:
                names_by_inode.setdefault(status.st_ino, []).append(relative)
            entries[relative] = entry
    for names in names_by_inode.values():
        for name in names:
            entries[name]["names"] = sorted(names)
    return entries


def without(entries: dict[bytes, Entry], *facts: str) -> dict[bytes, Entry]:
    """The entries without facts that a program is known not to keep."""
    return {
        path: {fact: value for fact, value in entry.items() if fact not in facts} for path, entry in entries.items()
    }
