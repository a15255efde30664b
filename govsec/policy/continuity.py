"""Backup and emergency items, judged by govsec's own record: jobs, drills, lag, centers, register.

Pure: :class:`ContinuityFacts` in, :class:`CheckResult` out, for an object that is the system itself. Each check states
what it expects; an expectation that is *needed* fails the check when it does not hold, any other makes it partial. What
could not be looked at (None) is an error and never a pass: a ledger that cannot be read proves no drill, and a center
that does not answer holds no backup that anybody could show.

Words, figures and their sources are in ``policies/continuity/checks.yaml``. Items: GB/T 22239-2019, 8.1.4.9, 8.1.4.7/8,
8.1.10.10/11/13, 8.2.4.5/6 and what they are called at other levels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from govsec.policy.continuityfacts import ContinuityFacts
from govsec.policy.continuityjudges import JUDGES, Fact, Seen, View
from govsec.policy.continuitytable import ContinuityCheck, ContinuityTable, continuity_table, table_sha256
from govsec.policy.results import CaseHit, CheckResult, Expectation, Status, Words
from govsec.policy.run import CheckRow, EvidenceRow, PackRow
from govsec.policy.said import said


@dataclass(frozen=True, slots=True)
class ContinuityResult:
    """A result with what it rests on: digests of ledger entries and commits."""

    result: CheckResult
    evidence: tuple[str, ...]


def judge_continuity(facts: ContinuityFacts, *, is_cloud: bool) -> tuple[ContinuityResult, ...]:
    """What the record says to every check; those of the cloud extension only when it applies."""
    results = []
    for check in continuity_table().checks:
        if is_cloud or not all(key.startswith("CLD-") for key in check.maps):
            view = View(facts, check)
            results.append(_result(view, JUDGES[check.id](view)))
    return tuple(results)


def continuity_checks() -> dict[str, CheckRow]:
    """The checks as rows of an assessment."""
    return check_rows(continuity_table())


def check_rows(table: ContinuityTable) -> dict[str, CheckRow]:
    """The checks of a table of govsec's own record as rows of an assessment."""
    return {
        check.id: CheckRow(
            id=check.id,
            pack=table.pack.id,
            title=check.title,
            guards=check.guards,
            maps=check.maps,
            advice=check.advice,
            commands=check.commands,
        )
        for check in table.checks
    }


def continuity_pack() -> PackRow:
    """The table as a pack of an assessment."""
    return pack_row(continuity_table(), table_sha256())


def pack_row(table: ContinuityTable, sha256: str) -> PackRow:
    """A table of govsec's own record as a pack of an assessment."""
    return PackRow(
        id=table.pack.id,
        version=table.pack.version,
        sha256=sha256,
        checks_count=len(table.checks),
        trust="shipped",
    )


def continuity_evidence(facts: ContinuityFacts) -> tuple[EvidenceRow, ...]:
    """The drills and the job history that results may point at."""
    rows = [
        EvidenceRow(
            digest=drill.digest,
            kind="drill",
            title=Words(zh=f"演练 {drill.id}（预案 {drill.plan}）", en=f"Drill {drill.id} (plan {drill.plan})"),
            time=drill.started,
        )
        for drill in facts.drills or ()
    ]
    if facts.log_digest and facts.snapshots:
        title = Words(zh=f"系统 {facts.system} 的提交日志", en=f"Commit log of system {facts.system}")
        rows.append(EvidenceRow(digest=facts.log_digest, kind="job", title=title, time=facts.snapshots[-1]))
    return tuple(rows)


def _result(view: View, seen: list[Seen]) -> ContinuityResult:
    result = check_result(view.check, seen, pack=continuity_table().pack.id, system=view.facts.system)
    if result.status is Status.ERROR:
        result = replace(result, reason=why_not_known(view.facts.missing))
    return ContinuityResult(result, _evidence(view))


def check_result(check: ContinuityCheck, seen: Sequence[Seen], *, pack: str, system: str) -> CheckResult:
    """What was seen as the result of a check of the system; why something could not be looked at is left to say."""
    status, words = _status(seen), check.expectations
    facts: dict[str, Fact] = {}
    for one in seen:
        facts.update(one.facts or {})
    expectations = tuple(
        Expectation(one.name, one.holds, _words(words[one.name], facts) if one.holds is False else None) for one in seen
    )
    failed = {one.name for one in seen if one.holds is False}
    return CheckResult(
        check=check.id,
        pack=pack,
        object=system,
        status=status,
        reason=check.reason if status in (Status.PASS, Status.PARTIAL) else None,
        expectations=expectations,
        high_risk=tuple(CaseHit(case) for case, names in check.cases.items() if failed & set(names)),
    )


def _status(seen: Sequence[Seen]) -> Status:
    if any(one.holds is False and one.is_needed for one in seen):
        return Status.FAIL
    if not seen or any(one.holds is None for one in seen):
        return Status.ERROR
    return Status.PASS if all(one.holds for one in seen) else Status.PARTIAL


def _words(template: Words, facts: Mapping[str, Fact]) -> Words:
    return Words(zh=template.zh.format_map(facts), en=template.en.format_map(facts))


def why_not_known(missing: Mapping[str, str]) -> Words:
    """Why a check of govsec's own record is an error: what could not be looked at, by name."""
    why = [said(f"{name}: {reason}") for name, reason in sorted(missing.items())]
    if not why:
        return Words(zh="配置或台账没有写明判断所需的内容", en="Configuration or register do not say what is needed")
    zh, en = "；".join(one.zh for one in why)[:1500], "; ".join(one.en for one in why)[:1500]
    return Words(zh=f"无法查看：{zh}", en=f"Could not be looked at: {en}")


def _evidence(view: View) -> tuple[str, ...]:
    found = []
    if "drill_age_days_max" in view.check.parameters:
        found += [drill.digest for drill in view.drills()[:1]]
    if {"copies", "copy", "frequency_kept"} & set(view.check.expectations) and view.facts.log_digest:
        found.append(view.facts.log_digest)
    return tuple(found)
