"""What a versioned bucket still holds of an object that somebody deleted or overwrote, and how it is brought back.

A credential that may only put can add versions and delete markers, never remove any: the true bytes lie below. The
center's own credential finds them (by digest, so it needs no key) and takes away what covers them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from enum import Enum
from itertools import groupby

from govsec.errors import IntegrityError, LimitError, StoreDeniedError
from govsec.store.api import VersionedStore, VersionInfo

log = logging.getLogger(__name__)


class Revealed(Enum):
    """What :func:`reveal` came to."""

    #: The current version was the true one already.
    UNTOUCHED = "untouched"
    #: The true version is the current one again; what covered it is removed.
    UNCOVERED = "uncovered"
    #: What covers it is itself retained, so the true bytes were stored again on top.
    STORED_AGAIN = "stored again"
    #: No version holds the true bytes.
    LOST = "lost"


def covered(store: VersionedStore, prefix: str) -> Iterator[tuple[VersionInfo, ...]]:
    """The versions, newest first, of every object that was written more than once or deleted: each is worth a look."""
    for _, versions in groupby(store.versions(prefix), key=lambda version: version.name):
        found = tuple(versions)
        if len(found) > 1 or found[0].is_delete_marker:
            yield found


def reveal(store: VersionedStore, name: str, is_true: Callable[[bytes], bool], *, size_max: int) -> Revealed:
    """Make the newest version that holds the true bytes the current one.

    Nothing is removed before a true version was read. When it raises, the true version is still there and another call
    goes on.
    """
    versions = [version for version in store.versions(name) if version.name == name]
    covering: list[VersionInfo] = []
    for version in versions:
        data = None if version.is_delete_marker else _read(store, version, size_max)
        if data is not None and is_true(data):
            break
        covering.append(version)
    else:
        return Revealed.LOST
    if not covering:
        return Revealed.UNTOUCHED
    try:
        for version in covering:
            store.delete_version(name, version.version_id)
    except StoreDeniedError as error:
        log.warning("covering version is retained", extra={"store": store.name, "object": name, "reason": str(error)})
        store.put(name, data)
        return Revealed.STORED_AGAIN
    return Revealed.UNCOVERED


def _read(store: VersionedStore, version: VersionInfo, size_max: int) -> bytes | None:
    try:
        return store.get_version(version.name, version.version_id, size_max=size_max)
    except (LimitError, IntegrityError):
        return None  # longer than the true object can be, or damaged: not the version that is looked for
