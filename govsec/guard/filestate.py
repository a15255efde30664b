"""What a file is, as far as integrity goes: one packed value a file, so that a hundred thousand fit in memory.

::

    inode u64 · size i64 · mtime_ns i64 · ctime_ns i64 · mode u32 · uid u32 · gid u32      the marks: 44 bytes
    SHA-256 of the contents, or of a link's target; zeros where there is none             32 bytes

One idea: marks that are equal mean contents that are equal, as far as anybody but root can tell (ctime cannot be set by
a program); so a pass reads no contents but those of files whose marks changed.
"""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass

MARKS = struct.Struct("<QqqqIII")
DIGEST_SIZE = 32
NO_DIGEST = bytes(DIGEST_SIZE)


def marks_of(status: os.stat_result) -> bytes:
    """The marks of a file."""
    return MARKS.pack(
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_mode,
        status.st_uid,
        status.st_gid,
    )


@dataclass(frozen=True, slots=True)
class FileState:
    """A file's marks and digest, taken apart."""

    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    mode: int
    uid: int
    gid: int
    #: In hex; empty where contents were not read (folders, devices, files that are too large or refused).
    digest: str

    @classmethod
    def unpack(cls, packed: bytes) -> FileState:
        """From :func:`marks_of` with a digest behind it."""
        digest = packed[MARKS.size :]
        inode, size, mtime, ctime, mode, uid, gid = MARKS.unpack(packed[: MARKS.size])
        return cls(inode, size, mtime, ctime, mode, uid, gid, "" if digest == NO_DIGEST else digest.hex())

    def pack(self) -> bytes:
        """The inverse of :meth:`unpack`."""
        marks = MARKS.pack(self.inode, self.size_bytes, self.mtime_ns, self.ctime_ns, self.mode, self.uid, self.gid)
        return marks + (bytes.fromhex(self.digest) if self.digest else NO_DIGEST)

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    def is_same(self, other: FileState) -> bool:
        """Equal in what matters: kind, rights, owner, contents. Times and inode alone are no difference."""
        if (self.mode, self.uid, self.gid) != (other.mode, other.uid, other.gid):
            return False
        if self.is_directory:
            return True
        if self.digest or other.digest:
            return self.digest == other.digest
        return self.size_bytes == other.size_bytes
