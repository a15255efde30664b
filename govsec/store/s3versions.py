"""A bucket seen with the center's own credential: retention, legal holds, and every version that ever was.

Production's credential can hide an object (delete marker) or cover it (a newer version), never remove a version. This
is the store that sees through both, and that sets the object lock which binds even its own credential.

Retention and holds are believed only after the server has been asked for them again: some servers answer 200 to lock
requests and do nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from botocore.exceptions import ClientError

from govsec.errors import LimitError, RefusedError
from govsec.store.api import VersionInfo, check_prefix
from govsec.store.s3 import VERSION_MARKS, S3Store
from govsec.store.s3body import read_part
from govsec.store.s3errors import error_code

#: What servers answer for an object without a lock, and for a bucket without object lock.
_NO_LOCK_CODES: Final = ("NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError", "InvalidRequest")
_SORT_MAX = 1_000_000


class OwnedS3Store(S3Store):
    """A ``VersionedStore``: an :class:`S3Store` with what only the center's own credential may do."""

    def retain(self, name: str, until: datetime) -> None:
        which = self._current(name)
        found = self._retention(name, which)
        if found is not None and found >= until:
            return
        # Servers keep whole seconds: round up, so that what they keep is never less than what was asked for.
        wanted = datetime.fromtimestamp(-(-until.timestamp() // 1), UTC)
        with self._translated("retain", name):
            self._s3.put_object_retention(**which, Retention={"Mode": self._lock_mode, "RetainUntilDate": wanted})
        found = self._retention(name, which)
        if found is None or found < until:
            raise RefusedError(f"{self._name}: {name}: asked to be retained until {until}, the server has {found}")

    def retention(self, name: str) -> datetime | None:
        return self._retention(name, self._current(name))

    def hold(self, name: str, *, is_held: bool) -> None:
        which, status = self._current(name), "ON" if is_held else "OFF"
        with self._translated("hold", name):
            self._s3.put_object_legal_hold(**which, LegalHold={"Status": status})
            answer = self._s3.get_object_legal_hold(**which)
            found = answer["LegalHold"]["Status"]
        if found != status:
            raise RefusedError(f"{self._name}: {name}: legal hold {status} was asked for, the server has {found}")

    def versions(self, prefix: str) -> Iterator[VersionInfo]:
        check_prefix(prefix)
        query = {"Bucket": self._config.bucket, "Prefix": self._prefix + prefix}
        found = []
        for item in self._pages("list_object_versions", query, prefix, ("Versions", "DeleteMarkers"), VERSION_MARKS):
            with self._translated("versions", prefix):
                if self._is_object(str(item["Key"]), prefix):
                    found.append(self._version(item))
            if len(found) > _SORT_MAX:
                raise LimitError(f"{self._name}: more than {_SORT_MAX} versions under {prefix!r}; ask for a part")
        yield from sorted(found, key=lambda version: (version.name, -version.modified.timestamp(), -version.is_latest))

    def get_version(self, name: str, version_id: str, *, size_max: int) -> bytes:
        with self._translated("get", name):
            answer = self._s3.get_object(**self._key(name), VersionId=version_id)
            return read_part(answer, 0, None, size_max, f"{self._name}: {name}")

    def delete_version(self, name: str, version_id: str) -> None:
        with self._translated("delete version of", name):
            self._s3.delete_object(**self._key(name), VersionId=version_id)

    def _version(self, item: Any) -> VersionInfo:
        return VersionInfo(
            name=str(item["Key"])[len(self._prefix) :],
            version_id=str(item["VersionId"]),
            size_bytes=item.get("Size", 0),
            modified=item["LastModified"].astimezone(UTC),
            is_latest=bool(item["IsLatest"]),
            is_delete_marker="Size" not in item,
        )

    def _current(self, name: str) -> dict[str, str]:
        """The current version, by its id: a lock must not land on what somebody puts in between."""
        with self._translated("head", name):
            answer = self._s3.head_object(**self._key(name))
        version_id = answer.get("VersionId")
        if not version_id:
            raise RefusedError(f"{self._name}: the bucket is not versioned, so {name} cannot be kept from deletion")
        return {**self._key(name), "VersionId": version_id}

    def _retention(self, name: str, which: dict[str, str]) -> datetime | None:
        with self._translated("retention", name):
            try:
                answer = self._s3.get_object_retention(**which)
            except ClientError as error:
                if error_code(error) in _NO_LOCK_CODES:
                    return None
                raise
            until = answer["Retention"]["RetainUntilDate"]
            assert isinstance(until, datetime)  # botocore parses the field; what it cannot parse it raises for
            return until.astimezone(UTC)
