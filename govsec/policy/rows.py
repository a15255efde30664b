"""From items, checks, facts and verdicts to the rows of an assessment: the same things, told once, in plain values."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence

from govsec.collect.facts import Facts, ProbeOutcome
from govsec.collect.kinds import sources_of
from govsec.collect.probes import AnyProbe
from govsec.policy.catalog import Item
from govsec.policy.pack import Check, Pack
from govsec.policy.results import CaseFinding, CheckResult, DangerCandidate, ItemVerdict, Words
from govsec.policy.run import (
    AttestationRow,
    CaseRow,
    CheckRow,
    DangerRow,
    ExpectationRow,
    ItemRow,
    ObjectRow,
    OutcomeRow,
    PackRow,
    ProbeRow,
    ResultRow,
    WaiverRow,
)
from govsec.policy.said import said

_EXCERPT_MAX = 2000
_COMMAND_MAX = 500


def pack_row(pack: Pack) -> PackRow:
    """A pack that was used."""
    return PackRow(
        id=pack.id, version=pack.head.version, sha256=pack.sha256, checks_count=len(pack.checks), trust=pack.trust
    )


def check_row(pack: Pack, check: Check) -> CheckRow:
    """A check with its advice."""
    advice = check.remediation
    return CheckRow(
        id=check.id,
        pack=pack.id,
        title=check.title,
        guards=check.guards,
        maps=check.roles(),
        advice=Words(zh=advice.zh, en=advice.en),
        commands=advice.commands,
        risk=advice.risk,
        rollback=advice.rollback,
        needs_reboot=advice.reboot,
        references=check.references,
    )


def object_row(facts: Facts, *, kind: str, address: str, data: bytes, signed_by: str = "") -> ObjectRow:
    """A host as it answered; ``data`` are the bytes that its facts are stored as, ``signed_by`` who handed them in."""
    outcomes = {identity: _outcome(outcome) for identity, outcome in facts.outcomes.items()}
    answered = [row for row in outcomes.values() if row.status in ("ok", "absent")]
    silent = len(outcomes) - len(answered)
    return ObjectRow(
        name=facts.host,
        kind=kind,  # type: ignore[arg-type]  # one of the kinds of a host
        address=address,
        state="unreachable" if not answered else "partial" if silent else "collected",
        platform=facts.platform.model_dump(mode="json"),
        collected=facts.collected,
        clock_offset_s=facts.clock_offset_s,
        facts_sha256=hashlib.sha256(data).hexdigest(),
        signed_by=signed_by,
        outcomes=outcomes,
    )


def unreachable_row(name: str, *, kind: str, address: str, reason: str) -> ObjectRow:
    """A host that gave no facts."""
    return ObjectRow(name=name, kind=kind, address=address, state="unreachable", reason=reason, told=said(reason))  # type: ignore[arg-type]


def probe_rows(facts: Sequence[Facts], probes: Sequence[AnyProbe]) -> dict[str, ProbeRow]:
    """Every probe that any host was asked, by id, with its command or else the beginning of its part of the script."""
    texts = {probe.identity: probe for probe in probes}
    rows: dict[str, ProbeRow] = {}
    for one in facts:
        for identity, outcome in one.outcomes.items():
            if identity not in rows:
                probe = texts.get(identity)
                command = outcome.command or ("" if probe is None else _asked(probe))
                rows[identity] = ProbeRow(id=identity, kind=outcome.kind, command=command)
    return rows


def _asked(probe: AnyProbe) -> str:
    return "; ".join(source.shell for source in sources_of(probe))[:_COMMAND_MAX]


def result_row(result: CheckResult, waiver: WaiverRow | None) -> ResultRow:
    """A result as it is written out."""
    return ResultRow(
        check=result.check,
        object=result.object,
        status=result.status,
        reason=result.reason,
        expectations=tuple(
            ExpectationRow(name=one.name, holds=one.holds, message=one.message) for one in result.expectations
        ),
        probes=result.probes,
        high_risk=tuple(hit.case for hit in result.high_risk),
        waiver=waiver,
    )


def item_row(
    item: Item,
    verdict: ItemVerdict,
    *,
    evidence: tuple[str, ...],
    waiver: WaiverRow | None,
    attestation: AttestationRow | None,
    cases: Collection[str],
) -> ItemRow:
    """A requirement with its verdict; ``cases`` are the high-risk cases that such a system can have."""
    hint = None
    if item.evidence_hint_zh and item.evidence_hint_en:
        hint = Words(zh=item.evidence_hint_zh, en=item.evidence_hint_en)
    return ItemRow(
        id=item.id,
        key=item.key,
        scope=item.scope.value,
        category=Words(zh=item.category_zh, en=item.category_en),
        control_id=item.control_id,
        control=Words(zh=item.control_zh, en=item.control_en),
        attribute=item.attribute.value,
        summary=Words(zh=item.summary_zh, en=item.summary_en),
        kind=item.kind.value,
        automatable=item.automatable.value,
        assessment_unit=item.assessment_unit or "",
        evidence_hint=hint,
        is_confirmed=item.confirmed,
        is_optional=item.optional,
        verdict=verdict.verdict,
        basis=verdict.basis,
        reasons=verdict.reasons,
        results=verdict.results,
        evidence=evidence,
        high_risk=tuple(case for case in verdict.high_risk if case in cases),
        original=verdict.original,
        waiver=waiver,
        attestation=attestation,
    )


def case_row(finding: CaseFinding) -> CaseRow:
    """A high-risk case that was pointed at."""
    return CaseRow(
        case=finding.case,
        title=finding.title,
        state=finding.state,
        is_confirmed=finding.is_confirmed,
        items=finding.items,
        objects=finding.objects,
        checks=finding.checks,
        mitigated_by=finding.mitigated_by,
        reasons=finding.reasons,
    )


def danger_row(candidate: DangerCandidate) -> DangerRow:
    """A candidate for a major hidden danger."""
    return DangerRow(
        principle=candidate.principle,
        case=candidate.case,
        title=candidate.title,
        reason=candidate.reason,
        objects=candidate.objects,
    )


def evidence_by_key(maps: Mapping[str, Sequence[str]], evidence: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
    """Digests by requirement key: ``maps`` gives the keys of each check, ``evidence`` what it rests on."""
    found: dict[str, list[str]] = {}
    for check, digests in evidence.items():
        for key in maps[check]:
            known = found.setdefault(key, [])
            known += [digest for digest in digests if digest not in known]
    return found


def _outcome(outcome: ProbeOutcome) -> OutcomeRow:
    return OutcomeRow(
        status=outcome.status,
        reason=outcome.reason,
        told=said(outcome.reason) if outcome.reason else None,
        duration_ms=outcome.duration_ms,
        excerpt=outcome.raw_excerpt,
        is_truncated=len(outcome.raw_excerpt) >= _EXCERPT_MAX,
        raw_sha256=outcome.raw_sha256 or "",
    )
