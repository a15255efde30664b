"""Verifying the ledger over several centers, against keys pinned by people.

Every copy of every entry is read. As long as one center has an authentic copy, this names each center where the entry
is gone (``removed`` in the middle, ``truncated`` at the end), changed (``altered``), under another's name
(``misplaced``), or another authentic entry of the same number (``forked``); ``broken`` is a link that does not fit and
``lost`` an entry that no center has authentic. What was cut from *all* centers is found with an anchor that is left in
any of them (:mod:`govsec.ledger.anchor`), or with a head that somebody wrote down: every drill report prints one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from govsec.crypto.signing import TrustedKeys
from govsec.errors import IntegrityError, LimitError, StoreDeniedError, StoreError, StoreUnavailableError
from govsec.ledger.anchor import PREFIX as PREFIX_OF_ANCHORS
from govsec.ledger.anchor import newest_anchors
from govsec.ledger.entry import ENTRY_SIZE_MAX, NO_PREVIOUS, PREFIX, Entry, Head, decode, entry_name, parse_name
from govsec.ledger.replicate import ENTRIES_MAX
from govsec.store.api import ReadStore

#: A report that names this many problems has made its point; the count goes on.
PROBLEMS_MAX = 1000


class Fault(StrEnum):
    """What can be wrong with an entry."""

    REMOVED = "removed"
    TRUNCATED = "truncated"
    ALTERED = "altered"
    MISPLACED = "misplaced"
    FORKED = "forked"
    BROKEN = "broken"
    LOST = "lost"
    STRANGE = "strange"
    CUT_EVERYWHERE = "cut_everywhere"
    #: Something that passes for an anchor and is none.
    ANCHOR = "anchor"


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault at one center; ``center`` is empty when it is the chain's own."""

    fault: Fault
    center: str
    name: str
    detail: str


@dataclass(slots=True)
class LedgerReport:
    """What a walk over the ledger has seen; complete once the walk is over."""

    entries_count: int = 0
    copies_count: int = 0
    heads: tuple[Head, ...] = ()
    centers: tuple[str, ...] = ()
    #: Centers that did not answer, or would not: why, by name.
    unreachable: dict[str, str] = field(default_factory=dict)
    #: Center and chain, where the center holds no entry of a chain that another one holds.
    not_held: tuple[tuple[str, str], ...] = ()
    #: Center and head, of each anchor that was held against the chain.
    anchors: tuple[tuple[str, Head], ...] = ()
    problems: list[Problem] = field(default_factory=list)
    problems_count: int = 0

    @property
    def is_clean(self) -> bool:
        """True when something was read, everything was reachable and nothing is wrong."""
        return self.entries_count > 0 and not self.problems_count and not self.unreachable

    def add(self, fault: Fault, center: str, name: str, detail: str) -> None:
        """Count a problem, and keep it while there is room."""
        self.problems_count += 1
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(Problem(fault, center, name, detail))


def verify(stores: Sequence[ReadStore], trusted: TrustedKeys, *, pinned_heads: Sequence[Head] = ()) -> LedgerReport:
    """Read every copy of every entry and report what is wrong.

    Raises:
        StoreUnavailableError: no center could be listed.
    """
    report = LedgerReport()
    anchored = read_anchors(stores, trusted, report)
    for _ in walk(stores, trusted, report, pinned_heads=[*pinned_heads, *anchored]):
        pass
    return report


def read_anchors(stores: Sequence[ReadStore], trusted: TrustedKeys, report: LedgerReport) -> list[Head]:
    """The heads that any center has an anchor of; what passes for one is reported."""
    found: list[tuple[str, Head]] = []
    for store in stores:
        try:
            for head in newest_anchors(store, trusted):
                if isinstance(head, Head):
                    found.append((store.name, head))
                else:
                    report.add(Fault.ANCHOR, store.name, PREFIX_OF_ANCHORS, str(head))
        except (StoreUnavailableError, StoreDeniedError) as error:
            report.unreachable.setdefault(store.name, str(error))
    report.anchors = tuple(found)
    return [head for _, head in found]


def walk(
    stores: Sequence[ReadStore],
    trusted: TrustedKeys,
    report: LedgerReport,
    *,
    pinned_heads: Sequence[Head] = (),
) -> Iterator[Entry]:
    """Every authentic entry, chain by chain in order, while ``report`` is filled.

    Raises:
        StoreUnavailableError: no center could be listed.
    """
    held = _list_all(stores, report)
    pins: dict[tuple[str, int], Head] = {}
    for head in pinned_heads:
        known = pins.setdefault((head.chain, head.number), head)
        if known != head:
            detail = f"two heads of this number are vouched for: {known.digest} and {head.digest}"
            report.add(Fault.FORKED, "", entry_name(head.chain, head.number), detail)
    heads = []
    for chain in sorted({chain for by_chain in held.values() for chain in by_chain}):
        chain_walk = _ChainWalk(chain, stores, held, trusted, report, pins)
        yield from chain_walk.entries()
        if chain_walk.head is not None:
            heads.append(chain_walk.head)
    report.heads = tuple(heads)
    for (chain, number), pin in sorted(pins.items()):
        if not any(head.chain == chain and head.number >= number for head in heads):
            detail = f"a head that was anchored or written down says that entry {number} was there, digest {pin.digest}"
            report.add(Fault.CUT_EVERYWHERE, "", entry_name(chain, number), detail)


_Held = Mapping[str, Mapping[str, set[int]]]


class _ChainWalk:
    """One chain over all centers, from its first number to the highest that any center names."""

    def __init__(
        self,
        chain: str,
        stores: Sequence[ReadStore],
        held: _Held,
        trusted: TrustedKeys,
        report: LedgerReport,
        pins: Mapping[tuple[str, int], Head],
    ) -> None:
        self.chain = chain
        self.head: Head | None = None
        self._stores = [store for store in stores if store.name in held]
        self._numbers = {store.name: held[store.name].get(chain, set()) for store in self._stores}
        self._trusted = trusted
        self._report = report
        self._pins = pins
        self._expected: str | None = NO_PREVIOUS

    def entries(self) -> Iterator[Entry]:
        # Walk over the names that exist plus the gaps between them, never over a range that a hostile name opens.
        position = 0
        for number in sorted(set().union(*self._numbers.values())):
            if number > position + 1:
                self._note_lost(position + 1, number - 1)
            position = number
            entry = self._settle(number, self._copies(number))
            if entry is None:
                self._expected = None
                continue
            if self._expected is not None and entry.previous != self._expected:
                detail = f"names {entry.previous} as the entry before, which is {self._expected}"
                self._report.add(Fault.BROKEN, "", entry_name(self.chain, number), detail)
            self._expected = entry.digest
            self.head = Head(self.chain, number, entry.digest)
            self._report.entries_count += 1
            yield entry

    def _copies(self, number: int) -> dict[str, Entry]:
        """The authentic copies by center; everything else is reported."""
        name = entry_name(self.chain, number)
        copies: dict[str, Entry] = {}
        missing = []
        for store in self._stores:
            if number not in self._numbers[store.name]:
                missing.append(store.name)
                continue
            try:
                data = store.get(name, size_max=ENTRY_SIZE_MAX)
                entry = decode(self._trusted, data)
            except IntegrityError as error:
                self._report.add(Fault.ALTERED, store.name, name, str(error))
            except (StoreUnavailableError, StoreDeniedError) as error:
                self._report.unreachable.setdefault(store.name, str(error))
            except StoreError as error:
                self._report.add(Fault.REMOVED, store.name, name, str(error))
            else:
                self._report.copies_count += 1
                if (entry.chain, entry.number) == (self.chain, number):
                    copies[store.name] = entry
                else:
                    detail = f"holds entry {entry.number} of chain {entry.chain}"
                    self._report.add(Fault.MISPLACED, store.name, name, detail)
        # A name without one authentic copy proves nothing: a hostile center could make others look truncated with it.
        for center in missing if copies else ():
            if not self._numbers[center]:
                self._note_not_held(center)
                continue
            is_last = number > max(self._numbers[center], default=0)
            fault = Fault.TRUNCATED if is_last else Fault.REMOVED
            self._report.add(fault, center, name, f"is at {', '.join(copies)}")
        return copies

    def _settle(self, number: int, copies: Mapping[str, Entry]) -> Entry | None:
        """The entry that counts: the one that continues the chain, when copies differ."""
        name = entry_name(self.chain, number)
        if not copies:
            self._report.add(Fault.LOST, "", name, "no center has an authentic copy")
            return None
        digests = sorted({entry.digest for entry in copies.values()})
        if len(digests) > 1:
            for center, entry in copies.items():
                self._report.add(Fault.FORKED, center, name, f"has digest {entry.digest}, one of {len(digests)}")
        pin = self._pins.get((self.chain, number))
        if pin is not None and pin.digest not in digests:
            self._report.add(Fault.FORKED, "", name, f"the written-down head has digest {pin.digest}")
        ranked = sorted(copies.values(), key=lambda entry: (entry.previous != self._expected, entry.digest))
        return ranked[0]

    def _note_not_held(self, center: str) -> None:
        if (center, self.chain) not in self._report.not_held:
            self._report.not_held = (*self._report.not_held, (center, self.chain))

    def _note_lost(self, first: int, last: int) -> None:
        name = entry_name(self.chain, first)
        self._report.add(Fault.LOST, "", name, f"entries {first} to {last} are at no center")
        self._expected = None


def _list_all(stores: Sequence[ReadStore], report: LedgerReport) -> dict[str, dict[str, set[int]]]:
    held: dict[str, dict[str, set[int]]] = {}
    for store in stores:
        found: dict[str, set[int]] = {}
        try:
            for count, info in enumerate(store.list(PREFIX)):
                if count >= ENTRIES_MAX:
                    raise LimitError(f"{store.name}: more than {ENTRIES_MAX} objects under {PREFIX}")
                parsed = parse_name(info.name)
                if parsed is None:
                    report.add(Fault.STRANGE, store.name, info.name, "is no ledger entry's name")
                else:
                    found.setdefault(parsed[0], set()).add(parsed[1])
        except (StoreUnavailableError, StoreDeniedError) as error:
            report.unreachable.setdefault(store.name, str(error))
            continue
        held[store.name] = found
    if not held:
        why = "; ".join(f"{name}: {reason}" for name, reason in report.unreachable.items())
        raise StoreUnavailableError(f"no center could be asked for its ledger: {why}")
    report.centers = tuple(held)
    return held
