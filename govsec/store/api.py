"""The interfaces of a store. A store knows objects and their names, nothing of packs or snapshots.

An object's name is a relative, slash-separated path of ASCII segments (``data/ab/abcd…``, ``config``,
``govsec/commits/…``); :func:`check_name` holds the rule, and every store applies it where it uses the name.
Objects are immutable: a put to a name that exists with equal bytes is an ack; the stores do not promise what an
overwrite with other bytes does, and nothing in govsec asks for one.

What every store promises:

* ``put`` returns only when the object is durable; when it raises, the object is either wholly there or not at all.
* ``get`` never returns more than ``size_max`` bytes nor fewer than the object holds: a short body is an error.
* ``list`` yields every name that starts with ``prefix``, in ascending order; errors may come while it is consumed.
* Only the errors of :mod:`govsec.errors` leave a store.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, Self, TypeAlias, runtime_checkable

from govsec.errors import IntegrityError, LimitError, RefusedError

_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=-]{0,199}")
_NAME_MAX = 900


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store says of one object."""

    name: str
    size_bytes: int
    modified: datetime | None = None
    #: The centers that hold the object durably; a plain store names itself, a quorum names every ack.
    held_by: tuple[str, ...] = ()


class ReadStore(Protocol):
    """All that a drill, a check or an audit holds."""

    @property
    def name(self) -> str:
        """What receipts and messages call this store: the center's name."""
        ...

    def get(self, name: str, *, offset: int = 0, length: int | None = None, size_max: int) -> bytes:
        """The bytes of an object, or ``length`` of them from ``offset``.

        Raises:
            ObjectNotFoundError: there is none.
            IntegrityError: the range does not lie wholly inside the object; fewer bytes are never returned.
            LimitError: the answer would be longer than ``size_max``; nothing beyond it was kept in memory.
            StoreUnavailableError, StoreDeniedError: as named.
        """
        ...

    def head(self, name: str) -> ObjectInfo:
        """Size and time of an object. Raises ``ObjectNotFoundError`` when there is none."""
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose name starts with ``prefix``, ascending by name."""
        ...

    def clone(self) -> Self:
        """The same store with connections of its own: for another thread, or for a process after ``fork``."""
        ...


class ObjectStore(ReadStore, Protocol):
    """A store that can be written."""

    def put(
        self, name: str, data: bytes, *, if_absent: bool = False, retain_until: datetime | None = None
    ) -> ObjectInfo:
        """Store an object durably.

        With ``if_absent`` an object already there is left alone and ``ObjectExistsError`` raised, also when the
        bytes are equal; of several writers at most one succeeds. With ``retain_until`` the object cannot be deleted
        before that moment; a store that cannot promise it raises ``RefusedError``.
        """
        ...

    def delete(self, name: str) -> None:
        """Remove an object. Removing what is not there is done, not an error."""
        ...


#: Part of an object's bytes. A view is good until the next piece is asked for: its buffer is used again.
Piece: TypeAlias = bytes | memoryview


@runtime_checkable
class PieceSource(Protocol):
    """A store that gives an object without ever holding it whole in memory."""

    def pieces(self, name: str, *, size_max: int) -> Iterator[Piece]:
        """The bytes of an object in order. Raises as ``get`` does, also while it is consumed."""
        ...


@runtime_checkable
class PieceTarget(Protocol):
    """A store that takes an object piece by piece and shows nothing of it before the last one is durable."""

    def put_pieces(self, name: str, pieces: Iterable[Piece]) -> ObjectInfo:
        """Store the pieces as one object, as ``put`` does. When ``pieces`` raises, nothing is stored."""
        ...


class RetainingStore(ObjectStore, Protocol):
    """A store that can keep objects from deletion (S3 object lock), asked with the center's own credential."""

    def retain(self, name: str, until: datetime) -> None:
        """Keep the object's current version at least until ``until``; never shortens."""
        ...

    def retention(self, name: str) -> datetime | None:
        """Until when the current version is kept, None when it is not."""
        ...

    def hold(self, name: str, *, is_held: bool) -> None:
        """Set or lift a legal hold on the current version."""
        ...


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """One version of an object in a versioned bucket; a delete marker is a version without bytes."""

    name: str
    version_id: str
    size_bytes: int
    modified: datetime
    is_latest: bool
    is_delete_marker: bool


class VersionedStore(RetainingStore, Protocol):
    """A store that keeps every version, seen with the center's own credential: what overwriting and deleting hid."""

    def versions(self, prefix: str) -> Iterator[VersionInfo]:
        """Every version of every object whose name starts with ``prefix``: ascending by name, newest first."""
        ...

    def get_version(self, name: str, version_id: str, *, size_max: int) -> bytes:
        """The whole bytes of one version. Raises as ``get`` does."""
        ...

    def delete_version(self, name: str, version_id: str) -> None:
        """Remove one version (or delete marker) for good. ``StoreDeniedError`` when it is retained or held."""
        ...


def check_prefix(prefix: str) -> str:
    """``prefix``, when names can start with it: empty, or whole segments and perhaps the beginning of one.

    Raises:
        RefusedError: no name can start with it.
    """
    if prefix:
        # "data/" and "data/ab" both begin "data/abx"; a letter completes the last segment, empty or not.
        check_name(prefix + "x")
    return prefix


def check_range(name: str, size_bytes: int, offset: int, length: int | None, size_max: int) -> tuple[int, int]:
    """Start and length of the part of an object of ``size_bytes`` that a ``get`` asks for.

    Raises:
        IntegrityError: the object does not hold that range.
        LimitError: the range is longer than ``size_max``.
    """
    wanted = size_bytes - offset if length is None else length
    if offset < 0 or wanted < 0 or offset + wanted > size_bytes:
        raise IntegrityError(f"{name}: holds {size_bytes} bytes, asked for {length} from {offset}")
    if wanted > size_max:
        raise LimitError(f"{name}: {wanted} bytes are more than the {size_max} allowed here")
    return offset, wanted


def check_name(name: str) -> str:
    """``name``, when it is a name that every store can hold.

    Raises:
        RefusedError: for anything else: empty, absolute, ``..``, hidden, odd characters, too long.
    """
    if not 0 < len(name) <= _NAME_MAX or not all(_SEGMENT.fullmatch(part) for part in name.split("/")):
        raise RefusedError(f"not a name for an object: {name[:120]!r}")
    return name
