"""Every store and every wrapper keeps the one contract."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from govsec.clock import SystemClock
from govsec.config import S3StoreConfig
from govsec.store.api import ObjectStore
from govsec.store.credentials import Credentials
from govsec.store.limit import ByteRate, LimitStore
from govsec.store.local import LocalStore
from govsec.store.memory import MemoryStore
from govsec.store.meter import Meter, MeterStore
from govsec.store.retry import RetryStore, RetryVersionedStore
from govsec.store.s3 import S3Store
from govsec.store.s3versions import OwnedS3Store
from govsec.testing.clock import FakeClock
from govsec.testing.faults import FaultStore, no_faults
from govsec.testing.storesuite import CONTRACT, SHARED_CONTRACT, Case, retention_is_kept_or_refused
from govsec.testing.versioned import VersionedMemoryStore
from govsec.testing.versionsuite import VERSIONED_CONTRACT, VersionCase
from tests.support.servers import Identity, S3Server

Make = Callable[[Path], ObjectStore]
_FAST = 1 << 40

IN_MEMORY: dict[str, Make] = {
    "memory": lambda _: MemoryStore("center"),
    "retry": lambda _: RetryStore(MemoryStore("center"), FakeClock()),
    "limit": lambda _: LimitStore(MemoryStore("center"), ByteRate(_FAST, FakeClock())),
    "meter": lambda _: MeterStore(MemoryStore("center"), Meter(), FakeClock()),
    "versioned": lambda _: VersionedMemoryStore("center"),
    "fault": lambda _: FaultStore(MemoryStore("center"), no_faults()),
}
SHARED: dict[str, Make] = {
    "local": lambda path: LocalStore(path / "store", name="center", create=True),
    "all-wrappers": lambda path: LimitStore(
        RetryStore(MeterStore(LocalStore(path / "store", create=True), Meter(), FakeClock()), FakeClock()),
        ByteRate(_FAST, FakeClock()),
    ),
}


def case_name(case: Case) -> str:
    return case.__name__


def s3_config(server: S3Server, scheme: str, *, bucket: str | None = None, prefix: str = "") -> S3StoreConfig:
    return S3StoreConfig(
        kind="s3",
        endpoint=server.endpoint(scheme),
        bucket=bucket or server.bucket,
        prefix=prefix or f"suite/{uuid.uuid4().hex}",
        ca_bundle=server.ca,
        connect_timeout_s=60,
        read_timeout_s=60,
    )


def credentials(identity: Identity) -> Credentials:
    return Credentials(identity.access_key, identity.secret_key)


@pytest.mark.parametrize("case", CONTRACT, ids=case_name)
@pytest.mark.parametrize("kind", [*IN_MEMORY, *SHARED])
def test_store_keeps_the_contract(kind: str, case: Case, tmp_path: Path) -> None:
    if kind == "versioned" and case is retention_is_kept_or_refused:
        return  # it can keep objects: the contract of versions is stricter
    case({**IN_MEMORY, **SHARED}[kind](tmp_path))


@pytest.mark.parametrize("case", SHARED_CONTRACT, ids=case_name)
@pytest.mark.parametrize("kind", SHARED)
def test_store_of_several_processes_keeps_the_contract(kind: str, case: Case, tmp_path: Path) -> None:
    case(SHARED[kind](tmp_path))


@pytest.mark.parametrize("case", [*CONTRACT, *SHARED_CONTRACT], ids=case_name)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_real_server_keeps_the_contract(s3_server: S3Server, scheme: str, case: Case) -> None:
    case(S3Store(s3_config(s3_server, scheme), credentials(s3_server.owner), name="center"))


@pytest.mark.parametrize("case", [case for case in CONTRACT if "retention" not in case.__name__], ids=case_name)
def test_locked_bucket_keeps_the_contract(s3_server: S3Server, locked_buckets: dict[str, str], case: Case) -> None:
    config = s3_config(s3_server, "https", bucket=locked_buckets[s3_server.kind])
    case(RetryVersionedStore(OwnedS3Store(config, credentials(s3_server.owner)), FakeClock()))


@pytest.mark.parametrize("case", VERSIONED_CONTRACT, ids=lambda case: case.__name__)
def test_locked_bucket_keeps_the_contract_of_versions(
    s3_server: S3Server, locked_buckets: dict[str, str], case: VersionCase
) -> None:
    config = s3_config(s3_server, "http", bucket=locked_buckets[s3_server.kind])
    store = OwnedS3Store(config, credentials(s3_server.owner))
    case(RetryVersionedStore(store, FakeClock()), SystemClock())


@pytest.mark.parametrize("case", VERSIONED_CONTRACT, ids=lambda case: case.__name__)
def test_double_of_a_locked_bucket_keeps_the_contract_of_versions(case: VersionCase) -> None:
    clock = FakeClock()
    case(RetryVersionedStore(VersionedMemoryStore(clock=clock), clock), clock)


@pytest.fixture(scope="module")
def locked_buckets() -> dict[str, str]:
    return {}


@pytest.fixture(autouse=True)
def _locked_bucket(request: pytest.FixtureRequest) -> None:
    if "locked_buckets" in request.fixturenames:
        server, buckets = request.getfixturevalue("s3_server"), request.getfixturevalue("locked_buckets")
        if server.kind not in buckets:
            buckets[server.kind] = server.new_bucket(is_locked=True)
