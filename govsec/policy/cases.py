"""High-risk cases that apply to a system and were found, and which of them a person should look at first.

How severe a failure is, is no property of a check: a case of the 2025 guide applies from a level up, some only where
the service must not stop or in key industries, and most are lowered by a mitigation. A check only says that it saw the
condition, and which checks would be the mitigation; here the system decides whether the case counts.

What comes out are candidates. The letter on major hidden dangers (公网安〔2025〕1846号, Q20–22) leaves the judgement to
people, by relevance, severity and frequency; the figures of ``policies/high-risk-2025/dangers.yaml`` only sort a list.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import cache

from pydantic import Field, TypeAdapter

from govsec.config import Model
from govsec.datafile import FigureStatus, Text
from govsec.policy.catalog import Item
from govsec.policy.highrisk import HighRiskCase, HighRiskCatalog
from govsec.policy.results import (
    Basis,
    CaseFinding,
    CaseHit,
    CaseState,
    CheckResult,
    DangerCandidate,
    ItemVerdict,
    Principle,
    Status,
    Verdict,
    Words,
)
from govsec.shipped import read_table, shipped


class _Figure(Model):
    value: int = Field(ge=1)
    source: Text
    status: FigureStatus


class DangerFigures(Model):
    """From when on a case is a candidate, and how far each figure can be trusted."""

    version: int = Field(ge=1, le=1)
    norm: str
    #: From so many objects on, a case is called frequent.
    frequent_objects_min: _Figure


@cache
def danger_figures() -> DangerFigures:
    """The figures that came with govsec.

    Raises:
        ConfigurationError: the file is damaged.
    """
    return read_table(shipped("high-risk-2025").joinpath("dangers.yaml"), TypeAdapter(DangerFigures))


def case_findings(
    results: Sequence[CheckResult],
    items: Sequence[Item],
    *,
    level: int,
    high_availability: bool,
    key_industry: bool,
    scopes: Collection[str],
    verdicts: Sequence[ItemVerdict] = (),
) -> tuple[CaseFinding, ...]:
    """The cases that apply to such a system and whose condition was seen, in the guide's order.

    With ``verdicts`` also those whose requirement a person attested as not met.
    """
    guide = HighRiskCatalog.load()
    passed = {(result.check, result.object) for result in results if result.status is Status.PASS}
    hits: dict[str, list[tuple[CheckResult, CaseHit]]] = {}
    for result in results:
        for hit in result.high_risk:
            hits.setdefault(hit.case, []).append((result, hit))
    attested = {
        verdict.key
        for verdict in verdicts
        if verdict.basis is Basis.ATTESTATION and verdict.verdict is Verdict.NOT_CONFORM
    }
    is_confirmed = guide.wording_status is FigureStatus.CONFIRMED
    found = []
    for case in guide.applying(
        level=level, high_availability=high_availability, key_industry=key_industry, scopes=scopes
    ):
        ids = tuple(item.id for item in items if item.key in case.keys)
        if case.id in hits:
            found.append(_finding(case, ids, hits[case.id], passed, is_confirmed))
        elif attested.intersection(case.keys):
            reason = Words(zh="有人证明该要求不符合", en="somebody attested that the requirement is not met")
            found.append(CaseFinding(case.id, case.title, CaseState.OPEN, is_confirmed, ids, (), (), reasons=(reason,)))
    return tuple(found)


def danger_candidates(findings: Sequence[CaseFinding]) -> tuple[DangerCandidate, ...]:
    """For each open case one candidate, by the first principle that points at it; the most frequent come first."""
    frequent = danger_figures().frequent_objects_min
    opened = [finding for finding in findings if finding.state is CaseState.OPEN]
    found = []
    for finding in sorted(opened, key=lambda one: -len(one.objects)):
        others = [one.case for one in opened if one is not finding and set(one.objects) & set(finding.objects)]
        count = len(finding.objects)
        if count >= frequent.value:
            principle = Principle.HIGH_FREQUENCY
            reason = Words(
                zh=f"在 {count} 个对象上出现（{frequent.value} 个起；{frequent.source.zh}）",
                en=f"found on {count} objects (from {frequent.value} on; {frequent.source.en})",
            )
        elif others:
            principle = Principle.RELEVANCE
            named = ", ".join(others)
            reason = Words(zh=f"同一对象上还有判例 {named}", en=f"meets case {named} on the same object")
        else:
            principle = Principle.SEVERITY
            reason = Words(zh="没有发现缓解措施", en="no mitigation was found")
        found.append(DangerCandidate(principle, finding.case, finding.title, reason, finding.objects))
    return tuple(found)


def _finding(
    case: HighRiskCase,
    ids: tuple[str, ...],
    hits: Iterable[tuple[CheckResult, CaseHit]],
    passed: Collection[tuple[str, str]],
    is_confirmed: bool,
) -> CaseFinding:
    """A case is mitigated only when every hit is, each on its own object, and only where the guide allows it."""
    opened: set[str] = set()
    lowered: set[str] = set()
    checks: set[str] = set()
    mitigations: set[str] = set()
    for result, hit in hits:
        checks.add(result.check)
        helping = [check for check in hit.mitigated_by if (check, result.object) in passed]
        if helping and case.mitigation is not None:
            lowered.add(result.object)
            mitigations.update(helping)
        else:
            opened.add(result.object)
    reasons = []
    if opened:
        reasons.append(Words(zh=f"{len(opened)} 个对象符合条件", en=f"the condition holds on {len(opened)} objects"))
    if mitigations:
        names = ", ".join(sorted(mitigations))
        reasons.append(Words(zh=f"缓解措施：{names}", en=f"mitigated by {names}"))
    return CaseFinding(
        case=case.id,
        title=case.title,
        state=CaseState.OPEN if opened else CaseState.MITIGATED,
        is_confirmed=is_confirmed,
        items=ids,
        objects=tuple(sorted(opened or lowered)),
        checks=tuple(sorted(checks)),
        mitigated_by=tuple(sorted(mitigations)),
        reasons=tuple(reasons),
    )
