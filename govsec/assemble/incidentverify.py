"""The file of cases held against the ledger: who can write the one cannot write the other.

A case's entries are chained in their file, but whoever owns the file can write another chain. The ledger has the head
of each case from when its entries were signed; every one of them must still be on the way to the case's head of today.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from govsec.assemble.dutyevidence import ledger_system
from govsec.assemble.ledger import ledger_stores
from govsec.assemble.systems import Site
from govsec.errors import ConfigurationError, GovsecError, IntegrityError
from govsec.incident.api import CaseStore
from govsec.incident.chain import link, written_form
from govsec.incident.evidence import KIND
from govsec.ledger.queue import unpacked
from govsec.ledger.verify import LedgerReport, walk
from govsec.records import Evidence

#: Of one case; a case with more was signed piece by piece for years.
_PIECES_MAX = 100_000


@dataclass(frozen=True, slots=True)
class CasesReport:
    """What was compared. ``faults``: by case, what is not as it was signed."""

    cases_count: int
    entries_count: int
    faults: Mapping[str, str] = field(default_factory=dict)


def signed_heads(site: Site) -> dict[str, dict[int, str]]:
    """The heads of cases that the ledger has: by case and number of entries.

    Raises:
        ConfigurationError: there is no ledger. IntegrityError: the ledger itself is not whole.
        StoreUnavailableError: no center could be asked.
    """
    system = ledger_system(site.config)
    if system is None:
        raise ConfigurationError(
            "incident: evidence of cases is not signed here; there is nothing to hold them against"
        )
    report = LedgerReport()
    pieces = [
        piece
        for entry in walk(ledger_stores(site, system), site.trusted(), report)
        for piece in unpacked(entry.evidence)
        if piece.kind == KIND
    ]
    if report.problems_count:
        raise IntegrityError(f"the ledger has {report.problems_count} problems; run `govsec ledger verify`")
    return _by_case(pieces)


def verify_cases(store: CaseStore, heads: Mapping[str, Mapping[int, str]]) -> CasesReport:
    """Hold every case of the ledger against the store."""
    faults: dict[str, str] = {}
    entries_count = 0
    for case_id, signed in sorted(heads.items()):
        try:
            found = _heads_of(store, case_id)
        except GovsecError as error:
            faults[case_id] = str(error)
            continue
        entries_count += min(len(found), max(signed))
        for number, head in sorted(signed.items()):
            if number > len(found):
                faults[case_id] = f"case {case_id}: has {len(found)} entries, {number} were signed"
            elif found[number - 1] != head:
                faults[case_id] = f"case {case_id}: one of its first {number} entries is not the one that was signed"
            else:
                continue
            break
    return CasesReport(len(heads), entries_count, faults)


def _by_case(pieces: Iterable[Evidence]) -> dict[str, dict[int, str]]:
    heads: dict[str, dict[int, str]] = {}
    for piece in pieces:
        last, head = piece.facts.get("last"), piece.facts.get("head")
        if not isinstance(last, int) or last < 1 or not isinstance(head, str):
            raise IntegrityError(f"evidence of case {piece.subject} is of no version that is known here")
        held = heads.setdefault(piece.subject, {})
        if held.setdefault(last, head) != head:
            raise IntegrityError(f"case {piece.subject}: two heads of {last} entries were signed")
        if len(held) > _PIECES_MAX:
            raise IntegrityError(f"case {piece.subject}: more than {_PIECES_MAX} pieces of evidence")
    return heads


def _heads_of(store: CaseStore, case_id: str) -> Sequence[str]:
    head, found = "", list[str]()
    for number, entry in enumerate(store.entries(case_id), 1):
        head = link(case_id, number, head, written_form(entry))
        found.append(head)
    return found
