"""The probe says what a store really does, and never calls safe what it could not try."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from govsec.clock import SystemClock
from govsec.errors import StoreDeniedError, StoreUnavailableError
from govsec.store.api import ObjectInfo
from govsec.store.capabilities import PROBE_PREFIX, Answer, StoreCapabilities
from govsec.store.limit import ByteRate, LimitStore
from govsec.store.local import LocalStore
from govsec.store.memory import MemoryStore
from govsec.store.probe import probe
from govsec.store.retry import RetryStore
from govsec.testing.clock import FakeClock
from govsec.testing.faults import FaultKind, Faults, FaultStore
from tests.store.city import Scene

DANGEROUS = (
    "overwrite",
    "delete",
    "delete_version",
    "bypass_governance",
    "shorten_retention",
    "change_versioning",
    "change_policy",
)


def test_production_cannot_endanger_the_guarded_bucket(scene: Scene) -> None:
    found = probe(scene.production, SystemClock())
    assert found.is_protected, found.weaknesses()
    assert found.is_versioned and found.has_conditional_put and found.checks_content_md5 and found.reads_after_writes
    assert (found.overwrite, found.delete) == (Answer.COVERS, Answer.DENIED)
    answers = (found.delete_version, found.bypass_governance, found.set_retention, found.change_versioning)
    assert set(answers) == {Answer.DENIED}
    assert found.change_policy is Answer.DENIED


def test_owner_could_and_the_probe_says_so(scene: Scene) -> None:
    found = probe(scene.owner, SystemClock())
    assert not found.is_protected
    assert found.has_object_lock is True
    assert (found.delete_version, found.bypass_governance) == (Answer.ERASES, Answer.ERASES)
    assert (found.shorten_retention, found.change_policy) == (Answer.ALLOWED, Answer.ALLOWED)


def test_probe_harms_nothing_that_was_there(scene: Scene) -> None:
    client = scene.server.client()
    before = client.get_bucket_policy(Bucket=scene.bucket)["Policy"]
    probe(scene.owner, SystemClock())
    assert scene.production.get(scene.name, size_max=1000) == scene.data
    assert client.get_bucket_policy(Bucket=scene.bucket)["Policy"] == before
    assert client.get_bucket_versioning(Bucket=scene.bucket)["Status"] == "Enabled"


def test_wrapped_store_is_probed_below_its_wrappers(scene: Scene) -> None:
    clock = FakeClock(SystemClock().now())
    wrapped = LimitStore(RetryStore(scene.production, clock), ByteRate(1 << 40, clock))
    assert probe(wrapped, clock).is_protected


def test_directory_is_never_protected_from_who_may_write_it(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store", create=True)
    found = probe(store, FakeClock())
    assert not found.is_protected
    assert (found.overwrite, found.delete) == (Answer.ERASES, Answer.ERASES)
    assert found.has_conditional_put and not found.is_versioned
    assert "it can delete objects" in found.weaknesses()
    assert [*store.list(PROBE_PREFIX)] == []


@pytest.fixture
def safe() -> StoreCapabilities:
    return StoreCapabilities(
        store="center",
        time=FakeClock().now(),
        is_versioned=True,
        has_object_lock=True,
        has_conditional_put=True,
        checks_content_md5=True,
        reads_after_writes=True,
        overwrite=Answer.COVERS,
        delete=Answer.DENIED,
        delete_version=Answer.DENIED,
        bypass_governance=Answer.DENIED,
        set_retention=Answer.DENIED,
        shorten_retention=Answer.DENIED,
        change_versioning=Answer.DENIED,
        change_policy=Answer.DENIED,
    )


@pytest.mark.parametrize("answer", [Answer.UNKNOWN, Answer.ERASES, Answer.ALLOWED])
@pytest.mark.parametrize("attempt", DANGEROUS)
def test_one_bad_or_unknown_answer_is_enough(safe: StoreCapabilities, attempt: str, answer: Answer) -> None:
    assert safe.is_protected
    assert not safe.model_copy(update={attempt: answer}).is_protected


def test_store_that_denies_the_probe_gives_no_record() -> None:
    faults = Faults(1, FaultKind.DENIED, is_permanent=True)
    with pytest.raises(StoreDeniedError):
        probe(FaultStore(MemoryStore(), faults), FakeClock())
    faults.assert_injected()


def test_store_that_goes_away_gives_no_record() -> None:
    faults = Faults(2, FaultKind.ERROR, is_permanent=True)
    with pytest.raises(StoreUnavailableError):
        probe(FaultStore(MemoryStore(), faults), FakeClock())
    faults.assert_injected()


def test_conditions_that_are_ignored_are_noticed() -> None:
    assert not probe(Unconditional("center"), FakeClock()).has_conditional_put


class Unconditional(MemoryStore):
    """A server that ignores ``If-None-Match``."""

    def put(
        self, name: str, data: bytes, *, if_absent: bool = False, retain_until: datetime | None = None
    ) -> ObjectInfo:
        return super().put(name, data, retain_until=retain_until)
