"""Evidence that waits for the ledger: kept at once, signed once, the same batch until it is in the chain."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import TryAgainError
from govsec.ledger import queue
from govsec.ledger.ledger import Ledger
from govsec.ledger.queue import BATCH_KIND, EvidenceQueue, unpacked
from govsec.ledger.verify import LedgerReport, walk
from govsec.records import Evidence
from govsec.store.memory import MemoryStore
from govsec.testing.clock import FakeClock

NOW = datetime(2026, 11, 22, 1, 41, tzinfo=UTC)


def evidence(number: int, text: str = "") -> Evidence:
    time = NOW + timedelta(seconds=number)
    return Evidence(kind="response.done", time=time, subject="20261122-0001", facts={"number": number, "text": text})


@pytest.fixture
def held(tmp_path: Path) -> Iterator[EvidenceQueue]:
    held = EvidenceQueue(tmp_path / "evidence.db")
    yield held
    held.close()


def test_one_piece_is_an_entry_of_its_own_and_several_are_one_entry(held: EvidenceQueue) -> None:
    assert held.batch() is None
    held.record(evidence(1))
    assert held.batch() == evidence(1)
    held.signed()
    held.record_all([evidence(2), evidence(3)])
    batch = held.batch()
    assert batch is not None and (batch.kind, batch.time) == (BATCH_KIND, evidence(3).time)
    assert unpacked(batch) == (evidence(2), evidence(3))
    assert unpacked(evidence(1)) == (evidence(1),)
    held.signed()
    assert (held.batch(), held.waiting_count()) == (None, 0)


def test_a_batch_stays_as_it_is_until_it_is_signed_also_when_more_comes(held: EvidenceQueue, tmp_path: Path) -> None:
    held.record_all([evidence(1), evidence(2)])
    first = held.batch()
    held.record(evidence(3))
    again = EvidenceQueue(tmp_path / "evidence.db")
    assert again.batch() == first
    again.signed()
    assert again.batch() == evidence(3)
    again.close()


def test_a_crash_between_the_ledger_and_the_queue_leaves_one_entry(held: EvidenceQueue) -> None:
    signer, store = Signer(Purpose.EVIDENCE, bytes(32)), MemoryStore("home")
    trusted = TrustedKeys([signer.public()])
    ledger = Ledger(store, signer, FakeClock(NOW), trusted=trusted)
    held.record_all([evidence(1), evidence(2)])
    for _ in range(3):
        batch = held.batch()
        assert batch is not None
        ledger.append(batch)
    held.signed()
    entries = list(walk([store], trusted, LedgerReport()))
    assert [unpacked(entry.evidence) for entry in entries] == [(evidence(1), evidence(2))]


def test_how_far_an_origin_was_read_is_kept_with_its_evidence_or_not_at_all(
    held: EvidenceQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert held.mark("case:1") == 0
    held.record_all([evidence(1)], {"case:1": 17})
    assert held.mark("case:1") == 17
    monkeypatch.setattr(queue, "WAITING_MAX", 2)  # the real limit is a million
    with pytest.raises(TryAgainError, match="no more are taken"):
        held.record_all([evidence(2), evidence(3)], {"case:1": 19})
    assert (held.mark("case:1"), held.waiting_count()) == (17, 1)


def test_a_batch_is_bounded_in_bytes_and_one_large_piece_goes_alone(held: EvidenceQueue) -> None:
    large = "x" * (queue.BATCH_SIZE_MAX // 2)
    held.record_all([evidence(number, large) for number in range(3)])
    counts = []
    while (batch := held.batch()) is not None:
        counts.append(len(unpacked(batch)))
        held.signed()
    assert counts == [1, 1, 1]
