"""The contract of ``VersionedStore``: what versions, retention and legal holds promise a center.

As in ``storesuite``, each function takes a fresh, empty store. Retention is set around ``clock``'s now, which for real
servers must be the real time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from govsec.clock import Clock
from govsec.errors import ObjectNotFoundError, StoreDeniedError
from govsec.store.api import VersionedStore, VersionInfo
from govsec.store.versions import Revealed, covered, reveal
from govsec.testing.storesuite import names, raises

VersionCase = Callable[[VersionedStore, Clock], None]

_NAME: Final = "data/ab/" + "ab" * 32
_SIZE_MAX: Final = 1000


def every_version_is_kept_and_listed(store: VersionedStore, _: Clock) -> None:
    """Newest first, by name ascending; deleting adds a marker."""
    for data in (b"one", b"two!"):
        store.put(_NAME, data)
    store.put(_NAME + "0", b"neighbour")
    store.delete(_NAME)
    versions = _versions(store, _NAME)
    assert [(version.is_latest, version.is_delete_marker) for version in versions] == [
        (True, True),
        (False, False),
        (False, False),
    ]
    assert [store.get_version(_NAME, version.version_id, size_max=_SIZE_MAX) for version in versions[1:]] == [
        b"two!",
        b"one",
    ]
    assert [version.size_bytes for version in versions[1:]] == [4, 3]
    assert [version.name for version in store.versions("data/")] == [_NAME] * 3 + [_NAME + "0"]
    assert names(store, "") == [_NAME + "0"]


def removed_marker_uncovers_the_object(store: VersionedStore, _: Clock) -> None:
    """And a removed version is gone for good, once and again."""
    store.put(_NAME, b"true")
    store.delete(_NAME)
    marker, version = _versions(store, _NAME)
    store.delete_version(_NAME, marker.version_id)
    assert store.get(_NAME, size_max=_SIZE_MAX) == b"true"
    for _again in range(2):
        store.delete_version(_NAME, version.version_id)
    raises(ObjectNotFoundError, store.get, _NAME, size_max=_SIZE_MAX)
    raises(ObjectNotFoundError, store.get_version, _NAME, version.version_id, size_max=_SIZE_MAX)
    assert _versions(store, _NAME) == []


def retained_version_cannot_be_removed(store: VersionedStore, clock: Clock) -> None:
    """Not even with the credential that retained it; a newer version of the same name can."""
    until = clock.now() + timedelta(days=1)
    store.put(_NAME, b"true")
    assert store.retention(_NAME) is None
    store.retain(_NAME, until)
    found = store.retention(_NAME)
    assert found is not None and timedelta() <= found - until < timedelta(seconds=1), (found, until)
    (retained,) = _versions(store, _NAME)
    raises(StoreDeniedError, store.delete_version, _NAME, retained.version_id)
    store.put(_NAME, b"junk")
    store.delete_version(_NAME, _versions(store, _NAME)[0].version_id)
    assert store.get(_NAME, size_max=_SIZE_MAX) == b"true"


def retention_is_extended_and_never_shortened(store: VersionedStore, clock: Clock) -> None:
    """An earlier moment changes nothing."""
    later, earlier = clock.now() + timedelta(days=3), clock.now() + timedelta(days=2)
    store.put(_NAME, b"true", retain_until=earlier)
    first = store.retention(_NAME)
    assert first is not None and abs(first - earlier) < timedelta(seconds=1)
    store.retain(_NAME, later)
    extended = store.retention(_NAME)
    store.retain(_NAME, earlier)
    assert extended is not None and extended >= later
    assert store.retention(_NAME) == extended


def held_version_cannot_be_removed_until_it_is_released(store: VersionedStore, _: Clock) -> None:
    """A legal hold has no end of its own."""
    store.put(_NAME, b"true")
    (version,) = _versions(store, _NAME)
    store.hold(_NAME, is_held=True)
    raises(StoreDeniedError, store.delete_version, _NAME, version.version_id)
    store.hold(_NAME, is_held=False)
    store.delete_version(_NAME, version.version_id)
    assert _versions(store, _NAME) == []


def what_is_missing_cannot_be_retained(store: VersionedStore, clock: Clock) -> None:
    """Nor what is hidden by a marker."""
    raises(ObjectNotFoundError, store.retain, _NAME, clock.now() + timedelta(days=1))
    store.put(_NAME, b"true")
    store.delete(_NAME)
    raises(ObjectNotFoundError, store.retain, _NAME, clock.now() + timedelta(days=1))
    raises(ObjectNotFoundError, store.retention, _NAME)
    raises(ObjectNotFoundError, store.hold, _NAME, is_held=True)


def covered_objects_are_found_and_revealed(store: VersionedStore, clock: Clock) -> None:
    """Overwritten, deleted, both, with junk that is itself retained, and beyond help."""
    for name in ("data/fine", "data/overwritten", "data/deleted", "data/both", "data/locked"):
        store.put(name, b"true")
    store.put("data/lost", b"junk")
    for name in ("data/overwritten", "data/both", "data/lost"):
        store.put(name, b"junk, and longer than anything true")
    for name in ("data/deleted", "data/both"):
        store.delete(name)
    store.put("data/locked", b"junk", retain_until=clock.now() + timedelta(days=1))

    found = [versions[0].name for versions in covered(store, "data/")]
    assert found == ["data/both", "data/deleted", "data/locked", "data/lost", "data/overwritten"]

    outcomes = {name: reveal(store, name, lambda data: data == b"true", size_max=4) for name in [*found, "data/fine"]}
    assert outcomes == {
        "data/fine": Revealed.UNTOUCHED,
        "data/overwritten": Revealed.UNCOVERED,
        "data/deleted": Revealed.UNCOVERED,
        "data/both": Revealed.UNCOVERED,
        "data/locked": Revealed.STORED_AGAIN,
        "data/lost": Revealed.LOST,
    }
    for name in ("data/fine", "data/overwritten", "data/deleted", "data/both", "data/locked"):
        assert store.get(name, size_max=_SIZE_MAX) == b"true", name


VERSIONED_CONTRACT: Final[Sequence[VersionCase]] = (
    every_version_is_kept_and_listed,
    removed_marker_uncovers_the_object,
    retained_version_cannot_be_removed,
    retention_is_extended_and_never_shortened,
    held_version_cannot_be_removed_until_it_is_released,
    what_is_missing_cannot_be_retained,
    covered_objects_are_found_and_revealed,
)


def _versions(store: VersionedStore, name: str) -> Sequence[VersionInfo]:
    return [version for version in store.versions(name) if version.name == name]
