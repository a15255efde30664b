"""Whatever is done to the copies, as long as one center keeps its own, verification does not call the ledger clean."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.ledger.entry import ENTRY_SIZE_MAX, entry_name
from govsec.ledger.ledger import Ledger
from govsec.ledger.replicate import replicate
from govsec.ledger.verify import LedgerReport, verify, walk
from govsec.records import Evidence
from govsec.store.memory import MemoryStore
from govsec.testing.clock import FakeClock

SIGNERS = [Signer(Purpose.EVIDENCE, bytes([number]) * 32) for number in (1, 2)]
TRUSTED = TrustedKeys([signer.public() for signer in SIGNERS])
ENTRIES_COUNT = 4


def _filled() -> list[MemoryStore]:
    stores = [MemoryStore(name) for name in ("remote", "same_city", "production")]
    clock = FakeClock()
    for signer in SIGNERS:
        ledger = Ledger(stores[0], signer, clock, trusted=TRUSTED, mirrors=stores[1:])
        for number in range(ENTRIES_COUNT):
            clock.advance(1)
            time = datetime(2026, 1, 1, number, tzinfo=UTC)
            ledger.append(Evidence(kind="drill.result", time=time, subject="oa", facts={"number": number}))
    return stores


names = st.builds(entry_name, st.sampled_from([signer.key_id for signer in SIGNERS]), st.integers(1, ENTRIES_COUNT))
damages = st.one_of(
    st.tuples(st.just("remove"), names, names),
    st.tuples(st.just("flip"), names, names),
    st.tuples(st.just("cut"), names, names),
    st.tuples(st.just("copy over"), names, names),
    st.tuples(st.just("swap"), names, names),
)


def _apply(store: MemoryStore, damage: tuple[str, str, str], position: int) -> None:
    kind, name, other = damage
    held = {info.name for info in store.list("")}
    if not {name, other} <= held:
        return
    data, its = store.get(name, size_max=ENTRY_SIZE_MAX), store.get(other, size_max=ENTRY_SIZE_MAX)
    if kind == "remove":
        store.delete(name)
    elif kind == "flip":
        place = position % len(data)
        store.put(name, data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    elif kind == "cut":
        store.put(name, data[: position % len(data)])
    elif kind == "copy over":
        store.put(name, its)
    else:
        store.put(name, its)
        store.put(other, data)


def _content(store: MemoryStore) -> dict[str, bytes]:
    return {info.name: store.get(info.name, size_max=ENTRY_SIZE_MAX) for info in store.list("")}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), damages, st.integers(0, 10_000)), min_size=1, max_size=8))
def test_any_damage_at_two_centers_is_found_and_healing_makes_the_ledger_whole(
    story: list[tuple[int, tuple[str, str, str], int]],
) -> None:
    stores = _filled()
    whole = _content(stores[2])
    for center, damage, position in story:
        _apply(stores[center], damage, position)
    is_damaged = any(_content(store) != whole for store in stores)

    report = verify(stores, TRUSTED)

    # A chain that is gone whole from a center is a hint: it may never have been there.
    assert report.is_clean == (not is_damaged) or report.not_held
    seen = LedgerReport()
    assert [(e.chain, e.number) for e in walk(stores, TRUSTED, seen)] == [
        (signer.key_id, number)
        for signer in sorted(SIGNERS, key=lambda signer: signer.key_id)
        for number in range(1, ENTRIES_COUNT + 1)
    ]
    # What was removed comes back from the center that kept it; what was changed is never overwritten, only named.
    for store in stores[:2]:
        replicate(stores[2], store, TRUSTED)
        assert set(_content(store)) == set(whole)
