"""The files that the header of an rpm package lists: where they lie, and what the package says of each.

One idea: a header has parallel lists, one value a file (rpm's manual, "RPM Tags": per-file information); names are
asked of all packages and come alone, and the rest is read for the few packages that are asked what a file should be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias, TypeVar

from govsec.errors import FormatError
from govsec.host.rpmheader import Header, Tag

#: ``rpmfileState``: others are files that the package lists and did not bring.
_STATE_NORMAL = 0
#: ``rpmfileAttrs``: RPMFILE_CONFIG.
_FLAG_CONFIGURATION = 1
#: What digests were before headers named their algorithm.
ALGORITHM_MD5 = 1


@dataclass(frozen=True, slots=True)
class RpmFile:
    """What a package says of a file."""

    #: With its kind, as in stat(2).
    mode: int
    is_configuration: bool
    size_bytes: int
    #: In hex, by ``algorithm`` (RFC 4880, 9.4); empty where there is none: folders, links, files that are made
    #: later (``%ghost``).
    digest: str
    algorithm: int
    link_target: str
    user: str
    group: str


class RpmFileList:
    """The files of one package. ``size``: that of the header, in bytes.

    Raises:
        FormatError: (from here, and from every method) its lists do not fit together, or are damaged.
    """

    def __init__(self, header: Header) -> None:
        self._header = header
        self.size = header.size
        #: Each ends with a slash.
        self.directories = header.texts(Tag.DIRECTORY_NAMES)

    def names(self) -> Iterator[tuple[int, int, str]]:
        """Position, position of its directory, and name in it, of each file that the package brought."""
        directories, states = self._directory_indexes, self._header.numbers(Tag.FILE_STATES)
        names = self._of_count(self._header.texts(Tag.BASE_NAMES))
        if states:
            self._of_count(states)
        if directories and max(directories) >= len(self.directories):
            raise FormatError("header of rpm: a file without a directory")
        for position, (directory, name) in enumerate(zip(directories, names, strict=True)):
            if not states or states[position] == _STATE_NORMAL:
                yield position, directory, name

    def find(self, path: str) -> RpmFile | None:
        """What it says of a path; ``None`` for one that the package did not bring."""
        position = self._positions.get(path)
        if position is None:
            return None
        modes, flags, sizes, digests, links, users, groups = self._columns
        return RpmFile(
            modes[position],
            bool(flags[position] & _FLAG_CONFIGURATION),
            sizes[position],
            digests[position],
            self._algorithm,
            links[position],
            users[position],
            groups[position],
        )

    @cached_property
    def _directory_indexes(self) -> tuple[int, ...]:
        return self._header.numbers(Tag.DIRECTORY_INDEXES)

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {self.directories[directory] + name: position for position, directory, name in self.names()}

    @cached_property
    def _columns(self) -> _Columns:
        header = self._header
        sizes = Tag.LONG_FILE_SIZES if Tag.LONG_FILE_SIZES in header else Tag.FILE_SIZES
        return (
            self._of_count(header.numbers(Tag.FILE_MODES)),
            self._of_count(header.numbers(Tag.FILE_FLAGS)),
            self._of_count(header.numbers(sizes)),
            self._of_count(header.texts(Tag.FILE_DIGESTS)),
            self._of_count(header.texts(Tag.FILE_LINKS)),
            self._of_count(header.texts(Tag.FILE_USERS)),
            self._of_count(header.texts(Tag.FILE_GROUPS)),
        )

    @cached_property
    def _algorithm(self) -> int:
        return next(iter(self._header.numbers(Tag.FILE_DIGEST_ALGORITHM)), ALGORITHM_MD5)

    def _of_count(self, values: _Values) -> _Values:
        count = len(self._directory_indexes)
        if len(values) != count:
            raise FormatError(f"header of rpm: a list of {len(values)} values for {count} files")
        return values


_Numbers: TypeAlias = tuple[int, ...]
_Texts: TypeAlias = list[str]
_Columns: TypeAlias = tuple[_Numbers, _Numbers, _Numbers, _Texts, _Texts, _Texts, _Texts]
_Values = TypeVar("_Values", _Numbers, _Texts)
