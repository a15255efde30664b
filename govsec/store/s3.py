"""Objects in a bucket of an S3-compatible server (Ceph RGW, SeaweedFS, AWS and others).

Every object is one PUT, never a multipart upload: packs are at most 128 MiB, a put that is cut off leaves nothing, and
Ceph 16 ignores lock headers and conditions on multipart uploads. Each put carries ``Content-MD5``, which is signed and
which SeaweedFS and Ceph refuse when it does not fit the body; ``store/probe.py`` finds out whether a server does.

A put with ``if_absent`` is ``If-None-Match: *``. Servers that ignore that header would let two writers win: with
``has_conditional_put=False`` (from the probe) such a put is refused by name. In a versioned bucket the order of
versions decides as well (see ``_confirm_first``), so a conditional put needs the right to list versions.

A delete names no version. In a versioned bucket it adds a delete marker and the bytes stay; what can see and remove
versions is :class:`govsec.store.s3versions.OwnedS3Store`, with the center's own credential.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, Self

from botocore.exceptions import ClientError

from govsec.clock import Clock, SystemClock
from govsec.config import S3StoreConfig
from govsec.errors import (
    GovsecError,
    IntegrityError,
    LimitError,
    ObjectExistsError,
    ObjectNotFoundError,
    RefusedError,
    StoreDeniedError,
    StoreError,
    StoreUnavailableError,
)
from govsec.store.api import ObjectInfo, check_name, check_prefix, check_range
from govsec.store.credentials import Credentials
from govsec.store.s3body import read_part
from govsec.store.s3client import make_client
from govsec.store.s3errors import FOREIGN_ERRORS, translate

log = logging.getLogger(__name__)

#: A single PUT of the S3 protocol may be 5 GiB; nothing of ours comes near, and more in memory is a mistake.
_PUT_SIZE_MAX = 256 << 20
#: Far above any honest repository (10 million packs of 16 MiB are 160 TiB); stops a listing that never ends.
_LIST_MAX = 20_000_000
_PAGE_SIZE = 1000
#: Some 60 MB of names.
_SORT_MAX = 200_000
_EMPTY_PAGES_MAX = 100
VERSION_MARKS: Final = {"KeyMarker": "NextKeyMarker", "VersionIdMarker": "NextVersionIdMarker"}


class S3Store:
    """An ``ObjectStore`` in ``config.bucket`` under ``config.prefix``.

    ``lock_mode`` is the object lock mode of retention that this store sets: ``compliance`` or ``governance``.
    """

    def __init__(
        self,
        config: S3StoreConfig,
        credentials: Credentials,
        *,
        name: str = "s3",
        clock: Clock | None = None,
        lock_mode: str = "compliance",
        has_conditional_put: bool = True,
        checks_content_md5: bool = True,
    ) -> None:
        self._config = config
        self._credentials = credentials
        self._name = name
        self._clock: Clock = clock or SystemClock()
        self._lock_mode = lock_mode.upper()
        self._has_conditional_put = has_conditional_put
        self._checks_content_md5 = checks_content_md5
        prefix = config.prefix.strip("/")
        self._prefix = check_name(prefix) + "/" if prefix else ""
        self._client: Any = None
        self._client_pid = 0

    @property
    def name(self) -> str:
        return self._name

    def clone(self) -> Self:
        return type(self)(
            self._config,
            self._credentials,
            name=self._name,
            clock=self._clock,
            lock_mode=self._lock_mode,
            has_conditional_put=self._has_conditional_put,
            checks_content_md5=self._checks_content_md5,
        )

    def get(self, name: str, *, offset: int = 0, length: int | None = None, size_max: int) -> bytes:
        key = self._key(name)
        if offset < 0 or (length is not None and length < 0):
            raise IntegrityError(f"{self._name}: {name}: asked for {length} bytes from {offset}")
        if length is not None and length > size_max:
            raise LimitError(f"{self._name}: {name}: {length} bytes are more than the {size_max} allowed here")
        if length == 0 or (offset and length is None):
            # An empty range cannot be asked for, and one that starts at the end is an error to S3: look first.
            size = self.head(name).size_bytes
            offset, length = check_range(f"{self._name}: {name}", size, offset, length, size_max)
            if length == 0:
                return b""
        headers: dict[str, Any] = {} if length is None else {"Range": f"bytes={offset}-{offset + length - 1}"}
        with self._translated("get", name):
            answer = self._s3.get_object(**key, **headers)
            return read_part(answer, offset, length, size_max, f"{self._name}: {name}")

    def head(self, name: str) -> ObjectInfo:
        with self._translated("head", name):
            answer = self._s3.head_object(**self._key(name))
            return self._info(name, answer["ContentLength"], answer.get("LastModified"))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        check_prefix(prefix)
        # SeaweedFS lists folder by folder ("a/b" before "a-b"), others in the order of names; sorting serves both. A
        # listing too long to sort in memory is asked for folder by folder.
        found = [*islice(self._entries(prefix, delimiter=""), _SORT_MAX + 1)]
        yield from self._ascending(found, prefix) if len(found) <= _SORT_MAX else self._walk(prefix)

    def put(
        self, name: str, data: bytes, *, if_absent: bool = False, retain_until: datetime | None = None
    ) -> ObjectInfo:
        key = self._key(name)
        if len(data) > _PUT_SIZE_MAX:
            raise LimitError(f"{self._name}: {name}: {len(data)} bytes are too many for one object")
        headers: dict[str, Any] = {}
        before: frozenset[str] | None = None
        if if_absent:
            before = self._expect_absent(name)
            headers["IfNoneMatch"] = "*"
        if retain_until is not None:
            headers["ObjectLockMode"] = self._lock_mode
            headers["ObjectLockRetainUntilDate"] = retain_until.astimezone(UTC)
        digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        try:
            with self._translated("put", name):
                answer = self._s3.put_object(**key, **headers, Body=data, ContentMD5=digest)
                version_id = answer.get("VersionId")
        except StoreError as error:
            if retain_until is not None and type(error) is StoreError:
                raise RefusedError(f"{self._name}: {name} cannot be kept from deletion here: {error}") from error
            raise
        if not self._checks_content_md5 and self.get(name, size_max=len(data)) != data:
            raise IntegrityError(f"{self._name}: {name}: the server stored other bytes than were sent")
        if if_absent and version_id:
            self._confirm_first(name, version_id, before)
        if retain_until is not None:
            self._confirm_retention(name, version_id, retain_until)
        return self._info(name, len(data), None)

    def delete(self, name: str) -> None:
        try:
            with self._translated("delete", name):
                self._s3.delete_object(**self._key(name))
        except ObjectNotFoundError:
            return  # S3 answers 204 for what is not there; some servers say 404

    @property
    def _s3(self) -> Any:
        # A connection carried over fork would mix up the answers of two processes.
        if self._client is None or self._client_pid != os.getpid():
            self._client = make_client(self._config, self._credentials, self._clock)
            self._client_pid = os.getpid()
        return self._client

    def _key(self, name: str) -> dict[str, str]:
        return {"Bucket": self._config.bucket, "Key": self._prefix + check_name(name)}

    def _info(self, name: str, size_bytes: int, modified: datetime | None) -> ObjectInfo:
        if modified is not None and modified.tzinfo is None:
            # A zone that botocore does not know; taken for this machine's own, it would be another moment everywhere.
            raise ValueError(f"a time without a zone: {modified}")
        return ObjectInfo(name, size_bytes, modified.astimezone(UTC) if modified else None, (self._name,))

    def _expect_absent(self, name: str) -> frozenset[str] | None:
        """The versions that are there already, all of them deleted ones; raises when the object exists.

        None where versions cannot be listed, which does no harm in a bucket that keeps none.
        """
        if not self._has_conditional_put:
            raise RefusedError(f"{self._name}: the server ignores If-None-Match, so two writers could both win")
        try:
            found = self._versions_of(name)
        except StoreError as error:
            if error.is_retryable:
                raise
            log.info("versions cannot be listed", extra={"store": self._name, "reason": str(error)})
            return None
        if any(is_latest for _, is_latest in found):
            raise ObjectExistsError(f"{self._name}: {name} exists")
        return frozenset(version_id for version_id, _ in found)

    def _confirm_first(self, name: str, version_id: str, before: frozenset[str] | None) -> None:
        """Raise unless our version is the first: Ceph 16 ignores If-None-Match in versioned buckets.

        Versions are listed in the order in which they were linked, so all writers agree on which of the new ones is
        the oldest. Whoever came later takes its own version away; where it may not, it covers it with the winner's
        bytes. Until then a reader can see the loser's bytes.
        """
        if before is None:
            raise StoreDeniedError(f"{self._name}: {name}: who was first shows only to who may list versions")
        new = [found for found, _ in self._versions_of(name) if found not in before]
        if version_id not in new:
            raise StoreUnavailableError(f"{self._name}: {name}: the version just stored is not listed")
        winner = new[-1]
        if winner == version_id:
            return
        key = self._key(name)
        with self._translated("put", name):
            try:
                self._s3.delete_object(**key, VersionId=version_id)
            except ClientError:
                answer = self._s3.get_object(**key, VersionId=winner)
                data = read_part(answer, 0, None, _PUT_SIZE_MAX, f"{self._name}: {name}")
                self._s3.put_object(**key, Body=data)
        raise ObjectExistsError(f"{self._name}: {name} exists: another writer was first")

    def _versions_of(self, name: str) -> Sequence[tuple[str, bool]]:
        """Id of every version and whether it is the latest, newest first; no delete markers."""
        key = self._key(name)["Key"]
        query = {"Bucket": self._config.bucket, "Prefix": key}
        with self._translated("list versions of", name):
            found = self._pages("list_object_versions", query, name, ("Versions",), VERSION_MARKS)
            return [(str(item["VersionId"]), bool(item["IsLatest"])) for item in found if item["Key"] == key]

    def _confirm_retention(self, name: str, version_id: str | None, until: datetime) -> None:
        """Some servers take lock headers and do nothing: believe what they say afterwards, not the 200."""
        which = {"VersionId": version_id} if version_id else {}
        with self._translated("head", name):
            answer = self._s3.head_object(**self._key(name), **which)
            found = answer.get("ObjectLockRetainUntilDate")
            # Servers keep whole seconds.
            is_kept = found is not None and found.timestamp() >= int(until.timestamp())
        if not is_kept:
            raise RefusedError(f"{self._name}: {name}: retention until {until} was asked for, the server has {found}")

    def _pages(
        self, call: str, query: Mapping[str, Any], what: str, items: tuple[str, ...], marks: Mapping[str, str]
    ) -> Iterator[Mapping[str, Any]]:
        """The items of a paged listing; ``marks`` says which field of an answer the next request carries as what.

        Ends with an error when the server does not let it end.
        """
        count, empty_pages, position = 0, 0, dict[str, str]()
        while True:
            with self._translated("list", what):
                answer = getattr(self._s3, call)(**query, **position, MaxKeys=_PAGE_SIZE)
                found = [item for kind in items for item in answer.get(kind, ())]
                following = {
                    name: answer[field] for name, field in marks.items() if answer["IsTruncated"] and answer.get(field)
                }
                is_truncated = bool(answer["IsTruncated"])
            yield from found
            if not is_truncated:
                return
            count += len(found)
            empty_pages = 0 if found else empty_pages + 1
            if not following or following == position or count > _LIST_MAX or empty_pages > _EMPTY_PAGES_MAX:
                raise LimitError(f"{self._name}: the list of {what!r} does not end after {count} names")
            position = following

    def _walk(self, folder: str) -> Iterator[ObjectInfo]:
        for entry in self._ascending([*self._entries(folder, delimiter="/")], folder):
            if entry.name.endswith("/"):
                yield from self._walk(entry.name)
            else:
                yield entry

    def _ascending(self, found: Sequence[ObjectInfo], what: str) -> Iterator[ObjectInfo]:
        previous = ""
        for info in sorted(found, key=lambda info: info.name):
            if info.name == previous:
                raise IntegrityError(f"{self._name}: the server lists {info.name} twice in {what!r}")
            previous = info.name
            yield info

    def _entries(self, prefix: str, *, delimiter: str) -> Iterator[ObjectInfo]:
        """Objects and, with a delimiter, folders (names that end with it), in the order of the server."""
        query = {"Bucket": self._config.bucket, "Prefix": self._prefix + prefix, "Delimiter": delimiter}
        marks = {"ContinuationToken": "NextContinuationToken"}
        for item in self._pages("list_objects_v2", query, prefix, ("Contents", "CommonPrefixes"), marks):
            with self._translated("list", prefix):
                key = str(item["Key"] if "Key" in item else item["Prefix"])
                is_object = self._is_object(key.removesuffix(delimiter) if delimiter else key, prefix)
                info = self._info(key[len(self._prefix) :], item.get("Size", 0), item.get("LastModified"))
            if is_object:
                yield info

    def _is_object(self, key: str, prefix: str) -> bool:
        if not key.startswith(self._prefix + prefix):
            raise IntegrityError(f"{self._name}: the server lists {key[:120]!r}, which was not asked for")
        try:
            check_name(key[len(self._prefix) :])
        except RefusedError:
            log.warning("not an object, left out of the list", extra={"store": self._name, "object": key[:200]})
            return False
        return True

    @contextmanager
    def _translated(self, operation: str, name: str) -> Iterator[None]:
        what = f"{self._name}: {operation} {name}"
        try:
            yield
        except GovsecError:
            raise
        except FOREIGN_ERRORS as error:
            raise translate(error, what) from error
