"""Anchors: one that is left in any center shows that the chain was longer."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest

from govsec.crypto.document import sign_document
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import FormatError, IntegrityError
from govsec.ledger.anchor import (
    ANCHOR_SIZE_MAX,
    PREFIX,
    anchor_name,
    decode_anchor,
    newest_anchors,
    put_anchor,
    replicate_anchors,
)
from govsec.ledger.entry import Head, entry_name
from govsec.ledger.export import export
from govsec.ledger.ledger import Ledger
from govsec.ledger.verify import Fault, verify
from govsec.records import Evidence
from govsec.store.memory import MemoryStore
from govsec.store.readonly import ReadOnlyStore
from govsec.testing.clock import FakeClock

NOW = datetime(2026, 11, 22, 1, 41, tzinfo=UTC)
SIGNER = Signer(Purpose.EVIDENCE, bytes(range(32)))
OTHER = Signer(Purpose.EVIDENCE, bytes(range(1, 33)))
TRUSTED = TrustedKeys([SIGNER.public("site"), OTHER.public("other site")])


def evidence(number: int) -> Evidence:
    return Evidence(kind="incident.entries", time=NOW, subject="20261122-0001", facts={"number": number})


class Centers:
    """Three centers with five entries, and the head of the fifth anchored in all of them."""

    def __init__(self) -> None:
        self.stores = [MemoryStore(name) for name in ("production", "same_city", "remote")]
        ledger = Ledger(self.stores[0], SIGNER, FakeClock(NOW), trusted=TRUSTED, mirrors=self.stores[1:])
        entries = [ledger.append(evidence(number)) for number in range(1, 6)]
        self.heads = [Head(entry.chain, entry.number, entry.digest) for entry in entries]
        for store in self.stores:
            put_anchor(store, SIGNER, self.heads[-1], NOW)

    def cut(self, keep: int) -> None:
        """Somebody removes the tail from every center."""
        for store in self.stores:
            for number in range(keep + 1, 6):
                store.delete(entry_name(SIGNER.key_id, number))


@pytest.fixture
def centers() -> Centers:
    return Centers()


def test_a_chain_that_is_as_long_as_its_anchors_say_is_clean(centers: Centers) -> None:
    report = verify(centers.stores, TRUSTED)
    assert report.is_clean
    assert report.anchors == tuple((store.name, centers.heads[-1]) for store in centers.stores)


@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_tail_cut_from_all_centers_is_found_with_an_anchor_that_is_left_in_any(centers: Centers, left: int) -> None:
    centers.cut(3)
    for number, store in enumerate(centers.stores):
        if number != left:
            store.delete(anchor_name(centers.heads[-1]))
    assert [problem.fault for problem in verify(centers.stores, TRUSTED).problems] == [Fault.CUT_EVERYWHERE]


def test_a_tail_cut_from_all_centers_is_not_exported_as_the_whole(centers: Centers) -> None:
    export(centers.stores, TRUSTED, io.BytesIO(), NOW)
    centers.cut(3)
    file = io.BytesIO()
    with pytest.raises(IntegrityError):
        export(centers.stores, TRUSTED, file, NOW)
    assert file.getvalue() == b""


def test_a_chain_that_was_removed_whole_is_found(centers: Centers) -> None:
    centers.cut(0)
    assert Fault.CUT_EVERYWHERE in {problem.fault for problem in verify(centers.stores, TRUSTED).problems}


def test_a_tail_that_the_key_holder_wrote_anew_is_found(centers: Centers) -> None:
    centers.cut(4)
    Ledger(centers.stores[0], SIGNER, FakeClock(NOW), trusted=TRUSTED, mirrors=centers.stores[1:]).append(evidence(99))
    problems = verify(centers.stores, TRUSTED).problems
    assert [(problem.fault, problem.name) for problem in problems] == [(Fault.FORKED, entry_name(SIGNER.key_id, 5))]


def test_a_chain_that_grew_since_is_clean(centers: Centers) -> None:
    Ledger(centers.stores[0], SIGNER, FakeClock(NOW), trusted=TRUSTED, mirrors=centers.stores[1:]).append(evidence(6))
    assert verify(centers.stores, TRUSTED).is_clean


def test_anchors_that_contradict_each_other_are_a_fork(centers: Centers) -> None:
    name = anchor_name(centers.heads[-1])
    centers.stores[2].delete(name)
    put_anchor(centers.stores[2], SIGNER, Head(SIGNER.key_id, 5, "0" * 64), NOW)
    assert {problem.fault for problem in verify(centers.stores, TRUSTED).problems} == {Fault.FORKED}


def test_every_flipped_bit_of_an_anchor_is_found_and_hides_no_older_one(centers: Centers) -> None:
    store, name = centers.stores[0], anchor_name(centers.heads[-1])
    put_anchor(store, SIGNER, centers.heads[2], NOW)
    data = store.get(name, size_max=ANCHOR_SIZE_MAX)
    store.delete(name)
    for position in range(0, len(data), 7):
        store.put(name, data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        found = list(newest_anchors(store, TRUSTED))
        assert [type(one) for one in found] in ([IntegrityError, Head], [FormatError, Head])
        assert found[-1] == centers.heads[2]
        assert {problem.fault for problem in verify(centers.stores, TRUSTED).problems} == {Fault.ANCHOR}
        store.delete(name)


def test_what_lies_there_under_another_name_or_is_none_is_told(centers: Centers) -> None:
    store = centers.stores[0]
    store.put(f"{PREFIX}nonsense", b"x")
    store.put(f"{PREFIX}{SIGNER.key_id}/000000000009", store.get(anchor_name(centers.heads[-1]), size_max=4096))
    store.put(f"{PREFIX}{SIGNER.key_id}/000000000008", sign_document(SIGNER, {"schema": "other"}))
    report = verify(centers.stores, TRUSTED)
    assert [problem.fault for problem in report.problems] == [Fault.ANCHOR] * 3
    assert report.anchors[0] == ("production", centers.heads[-1])


def test_a_key_vouches_for_its_own_chain_only(centers: Centers) -> None:
    head = Head(SIGNER.key_id, 7, "0" * 64)
    put_anchor(centers.stores[0], OTHER, head, NOW)
    with pytest.raises(IntegrityError, match="another key"):
        decode_anchor(TRUSTED, centers.stores[0].get(anchor_name(head), size_max=ANCHOR_SIZE_MAX))
    assert verify(centers.stores, TRUSTED).anchors[0] == ("production", centers.heads[-1])


def test_anchoring_again_changes_nothing_and_another_entry_of_that_number_is_refused(centers: Centers) -> None:
    store, name = centers.stores[0], anchor_name(centers.heads[-1])
    before = store.get(name, size_max=ANCHOR_SIZE_MAX)
    put_anchor(store, SIGNER, centers.heads[-1], NOW.replace(year=2027))
    assert store.get(name, size_max=ANCHOR_SIZE_MAX) == before
    with pytest.raises(IntegrityError, match="anchors digest"):
        put_anchor(store, SIGNER, Head(SIGNER.key_id, 5, "0" * 64), NOW)


def test_the_newest_anchor_is_brought_to_a_center_that_lacks_it_and_nothing_false_with_it(centers: Centers) -> None:
    source, target = centers.stores[0], MemoryStore("new")
    source.put(f"{PREFIX}{SIGNER.key_id}/000000000009", b"false")
    put_anchor(source, SIGNER, centers.heads[1], NOW)
    assert replicate_anchors(ReadOnlyStore(source), target, TRUSTED) == (anchor_name(centers.heads[-1]),)
    assert replicate_anchors(ReadOnlyStore(source), target, TRUSTED) == ()
    assert list(newest_anchors(target, TRUSTED)) == [centers.heads[-1]]
