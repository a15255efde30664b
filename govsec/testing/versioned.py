"""A versioned bucket with object lock, in memory: what S3 servers promise, without a server.

``VersionedMemoryStore`` is the bucket seen by the center that owns it; ``as_production()`` is the same bucket seen with
the credential that production holds there: read, put, delete under ``locks/`` only. Tests of a hostile production use
that view. Real servers are held to the same by ``versionsuite`` and by the tests of the stolen credential.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from govsec.clock import Clock, SystemClock
from govsec.errors import ObjectExistsError, ObjectNotFoundError, StoreDeniedError
from govsec.store.api import ObjectInfo, VersionInfo, check_name, check_prefix, check_range


@dataclass(slots=True)
class _Version:
    version_id: str
    data: bytes | None  # None: a delete marker
    modified: datetime
    retain_until: datetime | None = None
    is_held: bool = False


#: Newest first. (Inside the class ``list`` is the method.)
_Versions = list[_Version]


class VersionedMemoryStore:
    """A ``VersionedStore`` in memory. Clones share the bucket; threads may share the store."""

    def __init__(self, name: str = "memory", *, clock: Clock | None = None) -> None:
        self._name = name
        self._clock: Clock = clock or SystemClock()
        self._bucket: dict[str, _Versions] = {}
        self._ids = itertools.count(1)
        self._lock = threading.RLock()

    @property
    def name(self) -> str:
        return self._name

    def as_production(self) -> ProductionView:
        """The bucket as production's credential sees it."""
        return ProductionView(self)

    def get(self, name: str, *, offset: int = 0, length: int | None = None, size_max: int) -> bytes:
        data = self._current(name).data
        assert data is not None  # a marker is never current for _current
        start, wanted = check_range(name, len(data), offset, length, size_max)
        return data[start : start + wanted]

    def head(self, name: str) -> ObjectInfo:
        return self._info(name, self._current(name))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        check_prefix(prefix)
        for name in sorted(self._bucket):
            versions = self._bucket.get(name)
            if name.startswith(prefix) and versions and versions[0].data is not None:
                yield self._info(name, versions[0])

    def clone(self) -> VersionedMemoryStore:
        return self

    def put(
        self, name: str, data: bytes, *, if_absent: bool = False, retain_until: datetime | None = None
    ) -> ObjectInfo:
        check_name(name)
        with self._lock:
            versions = self._bucket.setdefault(name, [])
            if if_absent and versions and versions[0].data is not None:
                raise ObjectExistsError(f"{self._name}: {name} exists")
            created = self._new(bytes(data))
            created.retain_until = retain_until
            versions.insert(0, created)
            return self._info(name, created)

    def delete(self, name: str) -> None:
        check_name(name)
        with self._lock:
            versions = self._bucket.get(name)
            if versions and versions[0].data is not None:
                versions.insert(0, self._new(None))

    def retain(self, name: str, until: datetime) -> None:
        with self._lock:
            version = self._current(name)
            if version.retain_until is None or version.retain_until < until:
                version.retain_until = until

    def retention(self, name: str) -> datetime | None:
        return self._current(name).retain_until

    def hold(self, name: str, *, is_held: bool) -> None:
        self._current(name).is_held = is_held

    def versions(self, prefix: str) -> Iterator[VersionInfo]:
        check_prefix(prefix)
        for name in sorted(self._bucket):
            if name.startswith(prefix):
                for position, version in enumerate([*self._bucket.get(name, ())]):
                    yield VersionInfo(
                        name=name,
                        version_id=version.version_id,
                        size_bytes=len(version.data or b""),
                        modified=version.modified,
                        is_latest=position == 0,
                        is_delete_marker=version.data is None,
                    )

    def get_version(self, name: str, version_id: str, *, size_max: int) -> bytes:
        data = self._version(name, version_id).data
        if data is None:
            raise ObjectNotFoundError(f"{self._name}: version {version_id} of {name} is a delete marker")
        check_range(name, len(data), 0, None, size_max)
        return data

    def delete_version(self, name: str, version_id: str) -> None:
        with self._lock:
            try:
                version = self._version(name, version_id)
            except ObjectNotFoundError:
                return
            if version.is_held or (version.retain_until is not None and version.retain_until > self._clock.now()):
                raise StoreDeniedError(f"{self._name}: version {version_id} of {name} is retained")
            self._bucket[name].remove(version)

    def _new(self, data: bytes | None) -> _Version:
        return _Version(f"v{next(self._ids):09d}", data, self._clock.now())

    def _current(self, name: str) -> _Version:
        versions = self._bucket.get(check_name(name))
        if not versions or versions[0].data is None:
            raise ObjectNotFoundError(f"{self._name}: there is no object {name}")
        return versions[0]

    def _version(self, name: str, version_id: str) -> _Version:
        for version in self._bucket.get(check_name(name), ()):
            if version.version_id == version_id:
                return version
        raise ObjectNotFoundError(f"{self._name}: there is no version {version_id} of {name}")

    def _info(self, name: str, version: _Version) -> ObjectInfo:
        return ObjectInfo(name, len(version.data or b""), version.modified, (self._name,))


class ProductionView:
    """An ``ObjectStore`` with what production may do at another center; see ``docs/guides/object-lock.md``."""

    def __init__(self, bucket: VersionedMemoryStore) -> None:
        self._bucket = bucket

    @property
    def name(self) -> str:
        return self._bucket.name

    def get(self, name: str, *, offset: int = 0, length: int | None = None, size_max: int) -> bytes:
        return self._bucket.get(name, offset=offset, length=length, size_max=size_max)

    def head(self, name: str) -> ObjectInfo:
        return self._bucket.head(name)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return self._bucket.list(prefix)

    def clone(self) -> ProductionView:
        return self

    def put(
        self, name: str, data: bytes, *, if_absent: bool = False, retain_until: datetime | None = None
    ) -> ObjectInfo:
        if retain_until is not None:
            raise StoreDeniedError(f"{self.name}: production may not set the retention of {name}")
        return self._bucket.put(name, data, if_absent=if_absent)

    def delete(self, name: str) -> None:
        if not check_name(name).startswith("locks/"):
            raise StoreDeniedError(f"{self.name}: production may not delete {name}")
        self._bucket.delete(name)
