from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import pytest

from govsec.crypto.document import sign_document
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import (
    ConfigurationError,
    FormatError,
    GovsecError,
    IntegrityError,
    StoreDeniedError,
    StoreError,
    StoreUnavailableError,
)
from govsec.ledger.entry import ENTRY_SIZE_MAX, NO_PREVIOUS, PREFIX, Head, encode, entry_name
from govsec.ledger.export import ExportFile, export
from govsec.ledger.ledger import Ledger
from govsec.ledger.replicate import replicate
from govsec.ledger.verify import Fault, LedgerReport, verify, walk
from govsec.records import Evidence
from govsec.store.api import ObjectInfo
from govsec.store.memory import MemoryStore
from govsec.testing.clock import FakeClock
from govsec.testing.faults import FaultKind, Faults, FaultStore, Killed, Moment, no_faults, sweep

SIGNER = Signer(Purpose.EVIDENCE, bytes(range(32)))
TRUSTED = TrustedKeys([SIGNER.public("drill desk")])


def evidence(number: int) -> Evidence:
    time = datetime(2026, 3, 1, 8, number, tzinfo=UTC)
    return Evidence(kind="drill.result", time=time, subject="oa", facts={"number": number, "verdict": "pass"})


class Desk:
    """Three centers and a ledger whose home is the first."""

    def __init__(self, entries_count: int = 0) -> None:
        self.clock = FakeClock()
        self.stores = [MemoryStore(name) for name in ("remote", "same_city", "production")]
        self.ledger = Ledger(self.stores[0], SIGNER, self.clock, trusted=TRUSTED, mirrors=self.stores[1:])
        for number in range(1, entries_count + 1):
            self.clock.advance(60)
            self.ledger.append(evidence(number))

    def name(self, number: int) -> str:
        return entry_name(SIGNER.key_id, number)

    def data(self, number: int, store: int = 0) -> bytes:
        return self.stores[store].get(self.name(number), size_max=ENTRY_SIZE_MAX)

    def verify(self) -> LedgerReport:
        return verify(self.stores, TRUSTED)


def faults_of(report: LedgerReport) -> set[tuple[Fault, str, str]]:
    return {(problem.fault, problem.center, problem.name) for problem in report.problems}


def test_entries_are_chained_and_held_by_every_center() -> None:
    desk = Desk(3)
    entry = desk.ledger.append(evidence(4))
    assert (entry.number, entry.held_by) == (4, ("remote", "same_city", "production"))
    report = LedgerReport()
    entries = list(walk(desk.stores, TRUSTED, report))
    assert [item.evidence for item in entries] == [evidence(number) for number in (1, 2, 3, 4)]
    assert entries[0].previous == NO_PREVIOUS
    assert [item.previous for item in entries[1:]] == [item.digest for item in entries[:-1]]
    assert report.is_clean
    assert (report.entries_count, report.copies_count) == (4, 12)
    assert report.heads == (Head(SIGNER.key_id, 4, entry.digest),)


def test_evidence_repeated_after_an_unclear_answer_is_written_once() -> None:
    desk = Desk()
    first = desk.ledger.append(evidence(1))
    assert desk.ledger.append(evidence(1)).digest == first.digest
    assert desk.verify().entries_count == 1


def test_of_two_writers_at_the_same_head_one_wins_and_the_other_takes_the_next_number() -> None:
    desk = Desk(1)

    class Racing(FaultStore[MemoryStore]):
        """Lets another process append between our reading of the head and our put."""

        rivals: ClassVar = [evidence(2)]

        def put(
            self, name: str, data: bytes, *, if_absent: bool = False, retain_until: datetime | None = None
        ) -> ObjectInfo:
            if self.rivals:
                Ledger(self.store, SIGNER, desk.clock, trusted=TRUSTED).append(self.rivals.pop())
            return super().put(name, data, if_absent=if_absent, retain_until=retain_until)

    racing = Racing(desk.stores[0], no_faults())
    entry = Ledger(racing, SIGNER, desk.clock, trusted=TRUSTED, mirrors=desk.stores[1:]).append(evidence(3))
    assert entry.number == 3
    report = LedgerReport()
    assert [item.evidence for item in walk(desk.stores, TRUSTED, report)] == [evidence(1), evidence(2), evidence(3)]
    assert report.is_clean


def test_a_mirror_that_was_away_catches_up_with_the_next_append() -> None:
    desk = Desk(1)
    away = Faults(1, FaultKind.ERROR, is_permanent=True)
    ledger = Ledger(
        desk.stores[0], SIGNER, desk.clock, trusted=TRUSTED, mirrors=[FaultStore(desk.stores[1], away), desk.stores[2]]
    )
    assert ledger.append(evidence(2)).held_by == ("remote", "production")
    away.assert_injected()
    assert (Fault.TRUNCATED, "same_city", desk.name(2)) in faults_of(desk.verify())
    assert desk.ledger.append(evidence(3)).held_by == ("remote", "same_city", "production")
    assert desk.verify().is_clean


def test_a_home_that_lost_entries_gets_them_back_and_the_ledger_says_so() -> None:
    desk = Desk(4)
    desk.stores[0].delete(desk.name(3))
    desk.stores[0].delete(desk.name(4))
    desk.ledger.append(evidence(5))
    report = LedgerReport()
    entries = list(walk(desk.stores, TRUSTED, report))
    assert report.is_clean
    assert [entry.evidence.kind for entry in entries[4:]] == ["ledger.repaired", "drill.result"]
    assert entries[4].evidence.facts == {"center": "remote", "source": "same_city", "first": 3, "count": 2}


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("store", [0, 1, 2])
def test_a_removed_or_truncated_entry_is_found_while_one_center_has_it(number: int, store: int) -> None:
    desk = Desk(3)
    for position, other in enumerate(desk.stores):
        if position != store:
            other.delete(desk.name(number))
    expected = Fault.TRUNCATED if number == 3 else Fault.REMOVED
    centers = {other.name for position, other in enumerate(desk.stores) if position != store}
    assert faults_of(desk.verify()) == {(expected, center, desk.name(number)) for center in centers}


def test_an_entry_removed_everywhere_leaves_a_gap_that_is_found() -> None:
    desk = Desk(3)
    for store in desk.stores:
        store.delete(desk.name(2))
    assert (Fault.LOST, "", desk.name(2)) in faults_of(desk.verify())


def test_a_truncation_of_all_centers_is_found_with_a_head_that_was_written_down() -> None:
    desk = Desk(3)
    (head,) = desk.verify().heads
    for store in desk.stores:
        store.delete(desk.name(3))
    assert desk.verify().is_clean  # nothing in the centers can tell
    report = verify(desk.stores, TRUSTED, pinned_heads=[head])
    assert faults_of(report) == {(Fault.CUT_EVERYWHERE, "", desk.name(3))}


def test_a_rewritten_tail_is_found_with_a_head_that_was_written_down() -> None:
    desk = Desk(3)
    (head,) = desk.verify().heads
    second = next(entry for entry in walk(desk.stores, TRUSTED, LedgerReport()) if entry.number == 2)
    forged = encode(SIGNER, 3, second.digest, desk.clock.now(), evidence(9))
    for store in desk.stores:
        store.put(desk.name(3), forged)
    assert faults_of(verify(desk.stores, TRUSTED, pinned_heads=[head])) == {(Fault.FORKED, "", desk.name(3))}


def test_every_altered_byte_is_found() -> None:
    desk = Desk(2)
    data = desk.data(1)
    for position in range(0, len(data), 7):
        changed = bytearray(data)
        changed[position] ^= 1
        desk.stores[1].put(desk.name(1), bytes(changed))
        assert (Fault.ALTERED, "same_city", desk.name(1)) in faults_of(desk.verify()), position


def test_re_ordered_entries_are_found() -> None:
    desk = Desk(3)
    first, second = desk.data(1), desk.data(2)
    desk.stores[2].put(desk.name(1), second)
    desk.stores[2].put(desk.name(2), first)
    assert faults_of(desk.verify()) == {
        (Fault.MISPLACED, "production", desk.name(1)),
        (Fault.MISPLACED, "production", desk.name(2)),
    }


def test_a_fork_by_the_key_holder_is_found_at_each_center() -> None:
    desk = Desk(2)
    fork = Ledger(MemoryStore("elsewhere"), SIGNER, desk.clock, trusted=TRUSTED)
    fork.append(evidence(7))
    desk.stores[1].put(desk.name(1), encode(SIGNER, 1, NO_PREVIOUS, desk.clock.now(), evidence(7)))
    found = faults_of(desk.verify())
    assert {(Fault.FORKED, store.name, desk.name(1)) for store in desk.stores} <= found


def test_an_entry_that_skips_its_predecessor_is_a_broken_link() -> None:
    desk = Desk(1)
    data = encode(SIGNER, 2, "ab" * 32, desk.clock.now(), evidence(2))
    for store in desk.stores:
        store.put(desk.name(2), data)
    assert faults_of(desk.verify()) == {(Fault.BROKEN, "", desk.name(2))}


def test_a_pinned_key_cannot_write_into_another_keys_chain() -> None:
    desk = Desk(1)
    other = Signer(Purpose.EVIDENCE, bytes(32))
    (head,) = desk.verify().heads
    body = {
        "schema": "govsec.ledger.v1",
        "chain": SIGNER.key_id,
        "number": 2,
        "previous": head.digest,
        "written": "2026-03-01T00:00:00Z",
        "evidence": evidence(2).canonical(),
    }
    for store in desk.stores:
        store.put(desk.name(2), sign_document(other, body))

    report = verify(desk.stores, TRUSTED.with_key(other.public()))

    assert {(problem.fault, problem.name) for problem in report.problems} == {
        (Fault.ALTERED, desk.name(2)),
        (Fault.LOST, desk.name(2)),
    }


def test_a_key_that_lies_beside_the_data_is_not_trusted() -> None:
    desk = Desk(1)
    stranger = Signer(Purpose.EVIDENCE, bytes(32))
    other = TrustedKeys([stranger.public()])
    Ledger(desk.stores[0], stranger, desk.clock, trusted=other).append(evidence(2))
    name = entry_name(stranger.key_id, 1)
    assert faults_of(desk.verify()) == {(Fault.ALTERED, "remote", name), (Fault.LOST, "", name)}


def test_a_commit_key_cannot_sign_evidence() -> None:
    desk = Desk()
    commit_key = Signer(Purpose.COMMIT, bytes(range(32)))
    trusted = TrustedKeys([commit_key.public(), SIGNER.public()])
    with pytest.raises(IntegrityError):
        Ledger(desk.stores[0], commit_key, desk.clock, trusted=trusted).append(evidence(1))
    assert list(desk.stores[0].list(PREFIX)) == []


def test_a_writer_whose_key_nobody_pinned_is_stopped_before_it_writes() -> None:
    store = MemoryStore("remote")
    with pytest.raises(IntegrityError):
        Ledger(store, SIGNER, FakeClock(), trusted=TrustedKeys()).append(evidence(1))
    assert list(store.list("")) == []


def test_nothing_verified_is_never_clean() -> None:
    assert not verify([MemoryStore("remote")], TRUSTED).is_clean


def test_an_unreachable_center_is_named_and_the_ledger_is_not_called_clean() -> None:
    desk = Desk(2)
    gone = FaultStore(desk.stores[2], Faults(1, is_permanent=True))
    report = verify([*desk.stores[:2], gone], TRUSTED)
    assert (list(report.unreachable), report.problems_count, report.is_clean) == (["production"], 0, False)
    with pytest.raises(StoreUnavailableError):
        verify([gone], TRUSTED)


class _Denied(MemoryStore):
    """A center whose credential was taken away."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        raise StoreDeniedError("access denied")


def test_a_center_that_refuses_is_named_with_its_reason_and_does_not_hide_what_the_others_hold() -> None:
    desk = Desk(2)
    report = verify([desk.stores[0], _Denied("same_city")], TRUSTED)
    assert (report.unreachable, report.entries_count, report.is_clean) == ({"same_city": "access denied"}, 2, False)


def test_a_center_that_holds_nothing_of_a_chain_is_a_hint_and_one_that_holds_a_part_is_a_fault() -> None:
    desk = Desk(2)
    empty = MemoryStore("far")
    report = verify([*desk.stores, empty], TRUSTED)
    assert (report.is_clean, report.not_held) == (True, (("far", SIGNER.key_id),))
    empty.put(desk.name(1), desk.data(1))
    report = verify([*desk.stores, empty], TRUSTED)
    assert (faults_of(report), report.not_held) == ({(Fault.TRUNCATED, "far", desk.name(2))}, ())


def test_names_that_are_no_entries_are_reported_and_do_no_harm() -> None:
    desk = Desk(1)
    desk.stores[1].put(f"{PREFIX}junk", b"junk")
    desk.stores[1].put(f"{PREFIX}{SIGNER.key_id}/999999999999", b"junk")
    found = faults_of(desk.verify())
    assert (Fault.STRANGE, "same_city", f"{PREFIX}junk") in found
    assert (Fault.ALTERED, "same_city", desk.name(999999999999)) in found


def test_an_append_onto_a_contradicting_mirror_is_refused_and_adds_nothing() -> None:
    desk = Desk(1)
    desk.stores[1].put(desk.name(1), encode(SIGNER, 1, NO_PREVIOUS, desk.clock.now(), evidence(7)))
    with pytest.raises(IntegrityError, match="differs between remote and same_city"):
        desk.ledger.append(evidence(2))
    assert [info.name for info in desk.stores[0].list(PREFIX)] == [desk.name(1)]


def test_evidence_that_is_too_large_is_refused_before_anything_is_written() -> None:
    desk = Desk()
    big = Evidence(
        kind="drill.result", time=datetime(2026, 1, 1, tzinfo=UTC), subject="oa", facts={"x": "y" * (4 << 20)}
    )
    with pytest.raises(FormatError, match="an entry holds"):
        desk.ledger.append(big)
    assert list(desk.stores[0].list("")) == []


def _stories() -> Iterator[tuple[FaultKind, Moment]]:
    for kind in (FaultKind.ERROR, FaultKind.TIMEOUT, FaultKind.DENIED, FaultKind.FULL, FaultKind.KILL):
        for moment in Moment:
            yield kind, moment


@pytest.mark.parametrize(("kind", "moment"), list(_stories()))
def test_whatever_call_fails_every_acknowledged_entry_stays_and_the_chain_is_whole(
    kind: FaultKind, moment: Moment
) -> None:
    for faults in sweep(kind, moment):
        stores = [MemoryStore(name) for name in ("remote", "same_city")]
        clock = FakeClock()
        acknowledged: list[int] = []
        faulty = [FaultStore(store, faults) for store in stores]
        ledger = Ledger(faulty[0], SIGNER, clock, trusted=TRUSTED, mirrors=faulty[1:])
        for number in (1, 2, 3):
            clock.advance(1)
            try:
                ledger.append(evidence(number))
            except (GovsecError, Killed):
                continue
            acknowledged.append(number)
        if faults.was_reached:
            faults.assert_injected()
        # A new process continues; then both centers agree and nothing that was acknowledged is missing.
        Ledger(stores[0], SIGNER, clock, trusted=TRUSTED, mirrors=stores[1:]).append(evidence(4))
        report = LedgerReport()
        numbers = [entry.evidence.facts["number"] for entry in walk(stores, TRUSTED, report)]
        assert report.is_clean, (faults, report.problems)
        assert numbers == sorted(set(numbers)), faults  # type: ignore[type-var]
        assert {*acknowledged, 4} <= set(numbers), faults


def test_a_receiving_center_replicates_with_a_read_only_source_and_needs_no_private_key() -> None:
    desk = Desk(3)
    target = MemoryStore("far")
    report = replicate(desk.stores[0], target, TRUSTED)
    assert report.copied == tuple(desk.name(number) for number in (1, 2, 3))
    assert replicate(desk.stores[0], target, TRUSTED).copied == ()
    assert verify([desk.stores[0], target], TRUSTED).is_clean


def test_replication_brings_no_altered_entry_over() -> None:
    desk = Desk(3)
    desk.stores[0].put(desk.name(2), desk.data(2)[:-2] + b"x}")
    target = MemoryStore("far")
    report = replicate(desk.stores[0], target, TRUSTED)
    assert report.copied == (desk.name(1), desk.name(3))
    assert len(report.refused) == 1
    assert desk.name(2) in report.refused[0]


def test_an_exported_file_verifies_offline_with_pinned_keys_alone(tmp_path: Path) -> None:
    desk = Desk(3)
    path = tmp_path / "ledger.jsonl"
    with path.open("wb") as file:
        export(desk.stores, TRUSTED, file, desk.clock.now())
    exported = ExportFile(path)
    report = verify([exported], TRUSTED, pinned_heads=exported.heads)
    assert report.is_clean
    assert report.heads == exported.heads == desk.verify().heads
    assert not verify([exported], TrustedKeys()).is_clean


Mutation = Callable[[list[bytes]], list[bytes]]
MUTATIONS: dict[str, Mutation] = {
    "line removed": lambda lines: lines[:2] + lines[3:],
    "last line removed": lambda lines: lines[:-1],
    "lines swapped": lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
    "digit changed": lambda lines: [lines[0], lines[1].replace(b'"pass"', b'"fail"'), *lines[2:]],
    "line repeated": lambda lines: [*lines, lines[1]],
    "header removed": lambda lines: lines[1:],
    "cut in mid-line": lambda lines: [*lines[:-1], lines[-1][:-5]],
    "not JSON": lambda lines: [*lines[:-1], b"nonsense\n"],
    "empty": lambda lines: [],
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_tampered_export_is_never_called_clean(mutation: str, tmp_path: Path) -> None:
    desk = Desk(3)
    buffer = io.BytesIO()
    export(desk.stores, TRUSTED, buffer, desk.clock.now())
    lines = buffer.getvalue().splitlines(keepends=True)
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(b"".join(MUTATIONS[mutation](lines)))
    if mutation == "lines swapped":  # order in the file means nothing: the chain orders the entries
        assert verify([ExportFile(path)], TRUSTED).is_clean
        return
    try:
        exported = ExportFile(path)
        report = verify([exported], TRUSTED, pinned_heads=exported.heads)
    except FormatError:
        return
    assert not report.is_clean


def test_a_chain_that_the_first_center_never_held_is_exported_from_one_that_does() -> None:
    desk = Desk(2)
    file = io.BytesIO()
    assert export([MemoryStore("far"), desk.stores[0]], TRUSTED, file, desk.clock.now()).entries_count == 2
    assert file.getvalue().count(b"\n") == 3


def test_a_damaged_ledger_is_not_exported() -> None:
    desk = Desk(3)
    desk.stores[1].delete(desk.name(2))
    buffer = io.BytesIO()
    with pytest.raises(IntegrityError, match="not exported"):
        export(desk.stores, TRUSTED, buffer, desk.clock.now())
    assert buffer.getvalue() == b""


def test_an_export_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"missing\.jsonl"):
        ExportFile(tmp_path / "missing.jsonl")


def test_store_errors_of_the_home_center_reach_the_caller() -> None:
    desk = Desk(1)
    down = FaultStore(desk.stores[0], Faults(1, is_permanent=True))
    with pytest.raises(StoreError):
        Ledger(down, SIGNER, desk.clock, trusted=TRUSTED).append(evidence(2))
