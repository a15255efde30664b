"""Items, results and people's words for the tests of verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from govsec.policy.attest import Attestation, EvidenceFile, Record, Waiver
from govsec.policy.catalog import Catalog, Item
from govsec.policy.results import CaseHit, CheckResult, ItemVerdict, Role, Status, Verdict, Words
from govsec.policy.verdicts import verdicts

NOW = datetime(2026, 6, 1, tzinfo=UTC)
KEY = "GEN-CES-1-c"
ITEM: Item = Catalog.load().by_key(KEY, 3)
FILE = EvidenceFile(name="minutes.pdf", sha256="0" * 64, size_bytes=10)


def result(
    check: str,
    status: Status | str,
    host: str = "a",
    *,
    case: str = "",
    mitigated_by: Sequence[str] = (),
    helps: str = "",
) -> CheckResult:
    hits = (CaseHit(case, tuple(mitigated_by)),) if case else ()
    return CheckResult(check, "p", host, Status(status), high_risk=hits, compensates=(helps,) if helps else ())


def attested(
    verdict: str, *, objects: Sequence[str] = (), days: int = 100, is_approved: bool = True, item: Item = ITEM
) -> Record:
    made = NOW - timedelta(days=50)
    statement = Attestation(
        system="portal",
        objects=tuple(objects),
        by="li",
        made=made,
        valid_until=made + timedelta(days=days),
        evidence=(FILE,),
        item=item.id,
        verdict=Verdict(verdict),  # type: ignore[arg-type]
        statement="Looked at it on site.",
    )
    return Record(f"id-{verdict}", statement, "wang" if is_approved else None, made if is_approved else None)


def waived(check: str, *, objects: Sequence[str] = (), days: int = 100) -> Record:
    made = NOW - timedelta(days=50)
    statement = Waiver(
        system="portal",
        objects=tuple(objects),
        by="li",
        made=made,
        valid_until=made + timedelta(days=days),
        check=check,
        reason="The vendor mends it in July.",
        compensation="Only the bastion host can reach it.",
    )
    return Record("id-waiver", statement, "wang", made)


def verdict(
    results: Sequence[CheckResult],
    decides: Sequence[str] = (),
    supports: Sequence[str] = (),
    informs: Sequence[str] = (),
    *,
    hosts: Sequence[str] = ("a",),
    said: Sequence[Record] = (),
    let_pass: Sequence[Record] = (),
    evidence: Sequence[str] = (),
    item: Item = ITEM,
    gap: Words | None = None,
    others: Mapping[str, Words] | None = None,
) -> ItemVerdict:
    maps = {check: {item.key: Role.DECIDES} for check in decides}
    maps |= {check: {item.key: Role.SUPPORTS} for check in supports}
    maps |= {check: {item.key: Role.INFORMS} for check in informs}
    (found,) = verdicts(
        [item],
        results,
        maps,
        hosts=hosts,
        host_checks=[check for check in maps if check not in evidence],
        attestations=said,
        waivers=let_pass,
        evidence_checks=evidence,
        gap=gap,
        others=others,
        now=NOW,
    )
    return found
