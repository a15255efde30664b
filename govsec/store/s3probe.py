"""The attempts of :mod:`govsec.store.probe` on an S3 bucket, made with raw requests.

They go past what ``S3Store`` itself would send, because a thief does. Attempts on the bucket's own settings are chosen
so that nothing changes when the server allows them: versioning is set to what it is, the policy sent is not even JSON.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from botocore.exceptions import ClientError

from govsec.clock import Clock
from govsec.errors import StoreError
from govsec.store.capabilities import Answer, StoreCapabilities, probe_name
from govsec.store.s3 import S3Store
from govsec.store.s3errors import error_code

#: Long enough to be refused by, short enough that the next probe or a person can clean up.
_RETENTION = timedelta(minutes=10)
_DENIED: Final = frozenset({"AccessDenied", "403", "MethodNotAllowed"})
_NO_LOCK: Final = frozenset({"InvalidRequest", "ObjectLockConfigurationNotFoundError"})
_BAD_POLICY: Final = frozenset({"MalformedPolicy", "InvalidArgument", "InvalidPolicyDocument"})
_NO_VERSION: Final = "null"


def probe_s3(store: S3Store, clock: Clock) -> StoreCapabilities:
    """Everything that is tried, in the order in which it is safe to try it."""
    return _Probe(store, clock).run()


class _Probe:
    def __init__(self, store: S3Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._versions: list[Mapping[str, str]] = []
        self._server = ""

    def run(self) -> StoreCapabilities:
        try:
            return self._run()
        finally:
            self._clean_up()

    def _run(self) -> StoreCapabilities:
        where = self._where()
        with self._store._translated("probe", self._bucket):
            first = self._put(where, b"first")
        self._server = str(first["ResponseMetadata"]["HTTPHeaders"].get("server", ""))
        version = self._id(where, first)
        reads_after_writes = self._store.get(self._name(where), size_max=100) == b"first"
        has_conditional_put = self._tries(lambda: self._put(where, b"other", IfNoneMatch="*")) == "PreconditionFailed"
        set_retention = shorten = bypass = delete_version = Answer.NOTHING
        if version:
            set_retention = self._retain(version, _RETENTION)
            if set_retention is Answer.ALLOWED:
                shorten = self._retain(version, _RETENTION / 2, BypassGovernanceRetention=True)
        # The bucket keeps versions when what is overwritten can still be had: by id, and not by what a setting says.
        overwrite = self._overwrite(where, version)
        delete = self._delete(where, version)
        if version:
            bypass = self._delete_version(version, BypassGovernanceRetention=True)
            fresh = self._where()
            with self._store._translated("probe", self._bucket):
                plain = self._id(fresh, self._put(fresh, b"third"))
            delete_version = self._delete_version(plain) if plain else Answer.UNKNOWN
        return StoreCapabilities(
            store=self._store.name,
            time=self._clock.now(),
            server=self._server[:100],
            is_versioned=version is not None,
            has_object_lock=self._has_object_lock(),
            has_conditional_put=has_conditional_put or version is not None,
            checks_content_md5=self._checks_content_md5(),
            reads_after_writes=reads_after_writes,
            overwrite=overwrite,
            delete=delete,
            delete_version=delete_version,
            bypass_governance=bypass,
            set_retention=set_retention,
            shorten_retention=shorten,
            change_versioning=self._change_versioning(is_versioned=version is not None),
            change_policy=self._change_policy(),
        )

    def _overwrite(self, where: Mapping[str, str], version: Mapping[str, str] | None) -> Answer:
        answer = self._answer(lambda: self._put(where, b"second"))
        return self._what_is_left(version, b"first") if answer is Answer.ALLOWED else answer

    def _delete(self, where: Mapping[str, str], version: Mapping[str, str] | None) -> Answer:
        answer = self._answer(lambda: self._client.delete_object(**where))
        return self._what_is_left(version, b"first") if answer is Answer.ALLOWED else answer

    def _what_is_left(self, version: Mapping[str, str] | None, data: bytes) -> Answer:
        if version is None:
            return Answer.ERASES
        found: list[bytes] = []
        answer = self._answer(lambda: found.append(self._client.get_object(**version)["Body"].read(100)))
        if answer is Answer.ALLOWED:
            return Answer.COVERS if found == [data] else Answer.ERASES
        return Answer.UNKNOWN if answer is Answer.DENIED else Answer.ERASES

    def _delete_version(self, version: Mapping[str, str], **how: Any) -> Answer:
        answer = self._answer(lambda: self._client.delete_object(**version, **how))
        if answer is not Answer.ALLOWED:
            return answer
        code = self._tries(lambda: self._client.head_object(**version))
        return Answer.COVERS if code is None else Answer.ERASES

    def _retain(self, version: Mapping[str, str], period: timedelta, **how: Any) -> Answer:
        retention = {"Mode": "GOVERNANCE", "RetainUntilDate": self._clock.now() + period}
        code = self._tries(lambda: self._client.put_object_retention(**version, **how, Retention=retention))
        return Answer.NOTHING if code in _NO_LOCK else _answer_of(code)

    def _change_versioning(self, *, is_versioned: bool) -> Answer:
        if not is_versioned:
            return Answer.NOTHING
        wanted = {"Status": "Enabled"}
        return self._answer(
            lambda: self._client.put_bucket_versioning(Bucket=self._bucket, VersioningConfiguration=wanted)
        )

    def _change_policy(self) -> Answer:
        # No policy at all: refused for its form only where the credential might have set a good one. ("{}" would not
        # do: Ceph takes it, and with it every guard of the bucket would be gone.)
        code = self._tries(lambda: self._client.put_bucket_policy(Bucket=self._bucket, Policy="not a policy"))
        return Answer.ALLOWED if code in _BAD_POLICY else _answer_of(code)

    def _has_object_lock(self) -> bool | None:
        found: list[bool] = []

        def ask() -> None:
            answer = self._client.get_object_lock_configuration(Bucket=self._bucket)
            found.append(answer["ObjectLockConfiguration"].get("ObjectLockEnabled") == "Enabled")

        code = self._tries(ask)
        if code is None:
            return found[0]
        return None if code in _DENIED else False

    def _checks_content_md5(self) -> bool:
        wrong = base64.b64encode(hashlib.md5(b"other bytes", usedforsecurity=False).digest()).decode()
        where = self._where()
        code = self._tries(lambda: self._put(where, b"these bytes", ContentMD5=wrong))
        return code in ("BadDigest", "InvalidDigest")

    @property
    def _client(self) -> Any:
        return self._store._s3

    @property
    def _bucket(self) -> str:
        return self._store._config.bucket

    def _where(self) -> Mapping[str, str]:
        return self._store._key(probe_name())

    def _name(self, where: Mapping[str, str]) -> str:
        return where["Key"][len(self._store._prefix) :]

    def _put(self, where: Mapping[str, str], data: bytes, **headers: Any) -> Any:
        answer = self._client.put_object(**where, Body=data, **headers)
        self._versions.append(self._id(where, answer) or where)
        return answer

    def _id(self, where: Mapping[str, str], answer: Mapping[str, Any]) -> Mapping[str, str] | None:
        version_id = answer.get("VersionId")
        return {**where, "VersionId": version_id} if version_id and version_id != _NO_VERSION else None

    def _answer(self, attempt: Callable[[], Any]) -> Answer:
        return _answer_of(self._tries(attempt))

    def _tries(self, attempt: Callable[[], Any]) -> str | None:
        """The code of the server's refusal, None when it agreed. Anything that is no answer is an error."""
        with self._store._translated("probe", self._bucket):
            try:
                attempt()
            except ClientError as error:
                code = error_code(error)
                if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500 and code != "NotImplemented":
                    raise
                return code or "unknown"
            return None

    def _clean_up(self) -> None:
        for version in self._versions:
            try:
                self._tries(lambda version=version: self._client.delete_object(**version))  # type: ignore[misc]
            except StoreError:
                return  # the server went away; what is left is a few bytes under govsec/probe/


def _answer_of(code: str | None) -> Answer:
    if code is None:
        return Answer.ALLOWED
    if code in _DENIED:
        return Answer.DENIED
    return Answer.NOTHING if code == "NotImplemented" else Answer.UNKNOWN
