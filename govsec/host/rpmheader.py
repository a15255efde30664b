"""The header of an rpm package, as databases of rpm keep it: values by tag, read from bytes that nobody vouches for.

::

    be32 entries count, be32 data size
    entries: be32 tag, be32 type, be32 offset in data, be32 values count
    data

Source: rpm's manual, "The Header Structure" (docs/manual/format_header.md; the magic of package files is not stored in
databases) and "RPM Tags" (docs/manual/tags.md). Entries that were added at installation ("dribbles": states of files,
new places of relocated ones) follow the others, and hold in the place of an earlier one with the same tag.

One idea: the index alone is read at first; a value is read when it is asked for, and within the data, whatever the
entry says of itself.
"""

from __future__ import annotations

import struct
from enum import IntEnum

from govsec.errors import FormatError

_INTRO = struct.Struct(">II")
_ENTRY = struct.Struct(">IIiI")
#: rpm's own limit (hdrchkTags).
_ENTRIES_MAX = 65_535
#: The largest packages have some tens of thousands of files.
_VALUES_MAX = 1_000_000


class Tag(IntEnum):
    """The tags that are read here."""

    NAME = 1000
    VERSION = 1001
    RELEASE = 1002
    EPOCH = 1003
    ARCHITECTURE = 1022
    FILE_SIZES = 1028
    FILE_STATES = 1029
    FILE_MODES = 1030
    FILE_DIGESTS = 1035
    FILE_LINKS = 1036
    FILE_FLAGS = 1037
    FILE_USERS = 1039
    FILE_GROUPS = 1040
    SOURCE_PACKAGE = 1044
    DIRECTORY_INDEXES = 1116
    BASE_NAMES = 1117
    DIRECTORY_NAMES = 1118
    LONG_FILE_SIZES = 5008
    FILE_DIGEST_ALGORITHM = 5011


_STRING, _STRINGS = 6, 8
#: Number types: the letter of :mod:`struct`.
_NUMBERS = {1: "B", 2: "B", 3: "H", 4: "I", 5: "Q"}


class Header:
    """One package's header.

    Raises:
        FormatError: (from here, and from every method) it is not what the format says.
    """

    def __init__(self, data: bytes) -> None:
        if len(data) < _INTRO.size:
            raise FormatError("header of rpm: cut short")
        count, size = _INTRO.unpack_from(data)
        self._data = data
        self._start = _INTRO.size + _ENTRY.size * count
        self._end = self._start + size
        if count > _ENTRIES_MAX or self._end > len(data):
            raise FormatError(f"header of rpm: {count} entries and {size} bytes of data, of {len(data)} bytes in all")
        entries = _ENTRY.iter_unpack(data[_INTRO.size : self._start])
        self._entries = {tag: (kind, offset, values) for tag, kind, offset, values in entries}

    def __contains__(self, tag: Tag) -> bool:
        return tag in self._entries

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self._data)

    def text(self, tag: Tag) -> str:
        """The string of a tag; empty where there is none."""
        if tag not in self._entries:
            return ""
        kind, start, _ = self._place(tag)
        end = self._data.find(b"\0", start, self._end)
        if kind != _STRING or end < 0:
            raise FormatError(f"header of rpm: tag {tag} is no string")
        return _decoded(self._data[start:end])

    def texts(self, tag: Tag) -> list[str]:
        """The strings of a tag; none where there is none."""
        if tag not in self._entries:
            return []
        kind, start, count = self._place(tag)
        parts = self._data[start : self._end].split(b"\0", count)
        if kind != _STRINGS or len(parts) <= count:
            raise FormatError(f"header of rpm: tag {tag} is no list of {count} strings")
        # All at once is three times as fast, and the same: no character goes over a zero byte.
        size = sum(map(len, parts[:count])) + count - 1
        return _decoded(self._data[start : start + size]).split("\0") if count else []

    def numbers(self, tag: Tag) -> tuple[int, ...]:
        """The numbers of a tag, without sign; none where there is none."""
        if tag not in self._entries:
            return ()
        kind, start, count = self._place(tag)
        form = f">{count}{_NUMBERS.get(kind, 's')}"
        if kind not in _NUMBERS or start + struct.calcsize(form) > self._end:
            raise FormatError(f"header of rpm: tag {tag} is no list of {count} numbers")
        return struct.unpack_from(form, self._data, start)

    def _place(self, tag: Tag) -> tuple[int, int, int]:
        """Type, where the values begin, and how many there are."""
        kind, offset, count = self._entries[tag]
        if not 0 <= offset < self._end - self._start or count > _VALUES_MAX:
            raise FormatError(f"header of rpm: tag {tag} with {count} values at {offset}")
        return kind, self._start + offset, count


def full_version(header: Header) -> str:
    """``epoch:version-release``, without an epoch of 0.

    Raises:
        FormatError: as :class:`Header`.
    """
    epoch = next(iter(header.numbers(Tag.EPOCH)), 0)
    release = header.text(Tag.RELEASE)
    return (f"{epoch}:" if epoch else "") + header.text(Tag.VERSION) + (f"-{release}" if release else "")


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
