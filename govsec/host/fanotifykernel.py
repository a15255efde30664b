"""The kernel's fanotify: its calls through ctypes, and its messages as values.

A message, in the machine's byte order; records follow one another up to its length::

    24  metadata   length u32, version u8 = 3, 0 u8, metadata length u16, what u64, file s32 = -1, process s32
     …  a record   kind u8, 0 u8, length u16, and then
        kinds 1, 2, 3, 10, 12   file system 8 bytes, handle size u32, handle kind s32, handle, name with a zero byte
        kind 4                  descriptor of the process s32: -1 it is gone, -2 none to be had

A folder or file is known by its ``Handle``: file system and handle as they stand in the message. Source: fanotify(7),
fanotify_init(2), fanotify_mark(2), name_to_handle_at(2), and the kernel's ``include/uapi/linux/fanotify.h``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

#: File system, size, kind and bytes of the kernel's file handle.
Handle = bytes

CLOSE_WRITE, ATTRIBUTES = 0x8, 0x4
MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x40, 0x80, 0x100, 0x200
OVERFLOW = 0x4000
ON_CHILD, RENAME, ON_FOLDER = 0x08000000, 0x10000000, 0x40000000

_CLOEXEC, _NONBLOCK = 0x1, 0x2
REPORT_PIDFD = 0x80
_REPORT_FOLDER, _REPORT_NAME = 0x400, 0x800
#: Also the handle of the file itself, in messages about names too (5.17).
REPORT_TARGET = 0x200 | 0x1000
_MARK_ADD, _MARK_ONLYDIR, _MARK_FILESYSTEM = 0x1, 0x8, 0x100
_METADATA = struct.Struct("=IBBHQii")
_RECORD = struct.Struct("=BBH")
_VERSION = 3
_FILE, _FOLDER_NAME, _FOLDER, _PIDFD, _OLD_NAME, _NEW_NAME = 1, 2, 3, 4, 10, 12
_HANDLE_MAX = 128
_AT_FDCWD = -100
_AT_HANDLE_FID = 0x200
NO_PIDFD = -1


class Message(NamedTuple):
    """One event. ``folder`` and ``name`` say where it was, the two with ``old`` before a rename.

    ``target``: the folder that it happened to, when it was one.
    """

    what: int
    pid: int
    pidfd: int
    folder: Handle | None
    name: bytes
    old_folder: Handle | None
    old_name: bytes
    target: Handle | None


class Kernel:
    """The calls. Tests bring one that lacks some."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def init(self, extra_flags: int) -> int:
        """A descriptor for messages with names; ``extra_flags`` are of ``REPORT_…``.

        Raises:
            OSError: not permitted, or not in this kernel.
        """
        flags = _CLOEXEC | _NONBLOCK | _REPORT_FOLDER | _REPORT_NAME | extra_flags
        return self._call("fanotify_init", ctypes.c_uint(flags), ctypes.c_uint(os.O_RDONLY | os.O_CLOEXEC))

    def mark(self, descriptor: int, path: bytes, mask: int, *, is_whole: bool) -> None:
        """Watch the folder at ``path`` and what lies in it, or the file system that it is part of.

        Raises:
            OSError: not permitted, not a folder, or of a file system that has no handles.
        """
        flags = _MARK_ADD | (_MARK_FILESYSTEM if is_whole else _MARK_ONLYDIR)
        mask |= 0 if is_whole else ON_CHILD
        self._call("fanotify_mark", descriptor, ctypes.c_uint(flags), ctypes.c_uint64(mask), _AT_FDCWD, path)

    def handle(self, path: bytes, file_system: bytes) -> Handle:
        """Of the folder at ``path``, which messages will name it by.

        Raises:
            OSError: it is gone, or of a file system that has no handles.
        """
        buffer = ctypes.create_string_buffer(8 + _HANDLE_MAX)
        mount = ctypes.c_int()
        for flags in (_AT_HANDLE_FID, 0):  # the first since 6.5; they are the same where both work
            struct.pack_into("=I", buffer, 0, _HANDLE_MAX)
            try:
                self._call("name_to_handle_at", _AT_FDCWD, path, buffer, ctypes.byref(mount), flags)
                break
            except OSError as error:
                if error.errno != errno.EINVAL or not flags:
                    raise
        size = int.from_bytes(buffer.raw[:4], sys.byteorder)
        return file_system + buffer.raw[: 8 + size]

    def _call(self, name: str, *arguments: object) -> int:
        function = getattr(self._libc, name, None)
        if function is None:
            raise OSError(errno.ENOSYS, f"no {name} in the C library")
        result = int(function(*arguments))
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result


def file_system_of(path: bytes) -> bytes:
    """The number of the file system of ``path``, as it stands in messages.

    Raises:
        OSError: there is no such path.
    """
    return struct.pack("=Q", os.statvfs(path).f_fsid & 0xFFFF_FFFF_FFFF_FFFF)


def messages(data: bytes) -> Iterator[Message]:
    """What one read gave.

    Raises:
        ValueError: of a version that is not known.
    """
    position = 0
    while position + _METADATA.size <= len(data):
        length, version, _, start, what, _, pid = _METADATA.unpack_from(data, position)
        if version != _VERSION or length < _METADATA.size or position + length > len(data):
            raise ValueError(f"fanotify message of version {version} and {length} bytes")
        pidfd, folder, name, old_folder, old_name, target = NO_PIDFD, None, b"", None, b"", None
        record, end = position + start, position + length
        while record + _RECORD.size <= end:
            kind, _, size = _RECORD.unpack_from(data, record)
            if size < _RECORD.size:
                break
            if kind == _PIDFD:
                pidfd = int.from_bytes(data[record + 4 : record + 8], sys.byteorder, signed=True)
            elif kind in (_FOLDER_NAME, _NEW_NAME, _FOLDER):
                folder, name = _named(data, record, size)
            elif kind == _OLD_NAME:
                old_folder, old_name = _named(data, record, size)
            elif kind == _FILE and what & ON_FOLDER:
                target, _ = _named(data, record, size)
            record += size
        yield Message(what, pid, pidfd, folder, name, old_folder, old_name, target)
        position = end


def _named(data: bytes, record: int, size: int) -> tuple[Handle, bytes]:
    handle_end = record + 20 + int.from_bytes(data[record + 12 : record + 16], sys.byteorder)
    name_end = data.find(b"\0", handle_end, record + size)
    return data[record + 4 : handle_end], data[handle_end:name_end] if name_end >= 0 else b""
