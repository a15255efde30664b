"""From what a drill saw to its verdict: pure functions over the record's parts.

Nothing passes by default. A reason against the drill is added by whoever saw it; here are the ones that follow from
the whole: objectives, expectations, what was not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from pydantic import JsonValue

from govsec.drill.capability import (
    Capability,
    Level,
    Measured,
    Table,
    judge,
    load_table,
    longest_gap_s,
    transfers_per_day,
)
from govsec.drill.plan import Attestation, ContentProbe, MariadbStep, Plan, PostgresStep, ProbeStep
from govsec.drill.result import (
    BlockerResult,
    CapabilityResult,
    ContentResult,
    ElementState,
    HistoryFacts,
    IsolationResult,
    Outcome,
    Reason,
    StepResult,
    Targets,
    Verdict,
)

#: Probes that ask the service or its data, not the files: the restore time ends with the last of them.
SERVICE_KINDS = ("command", "sqlite", "postgres_query", "mariadb_query")


def reason(code: str, verdict: Verdict = Verdict.FAIL, **facts: JsonValue) -> Reason:
    """A reason against the drill."""
    return Reason(code=code, verdict=verdict, facts=facts)


def restore_time(plan: Plan, steps: Sequence[StepResult]) -> tuple[float, str] | None:
    """Seconds from the start to the end of the last probe of the service that passed, and the probe's name.

    A plan without such a probe is timed to the last probe of any kind. None when not every one of them passed: a
    service that was not seen working has no restore time.
    """
    probes = [step for step in plan.steps if isinstance(step, ProbeStep)]
    service = [step.name for step in probes if step.probe.kind in SERVICE_KINDS]
    timed = set(service or [step.name for step in probes])
    results = [step for step in steps if step.name in timed]
    if len(results) != len(timed) or any(step.outcome is not Outcome.PASSED for step in results):
        return None
    last = max(results, key=lambda step: step.offset_s + step.duration_s)
    return round(last.offset_s + last.duration_s, 3), last.name


def against_objectives(targets: Targets, age_s: float | None, time_s: float | None) -> Iterable[Reason]:
    """What the two times say against the objectives."""
    if age_s is not None and age_s > targets.rpo_s:
        yield reason("objective_rpo", measured_s=age_s, target_s=targets.rpo_s)
    if time_s is None:
        yield reason("no_restore_time")
    elif time_s > targets.rto_s:
        yield reason("objective_rto", measured_s=time_s, target_s=targets.rto_s)


def against_coverage(
    plan: Plan, content: ContentResult | None, steps: Sequence[StepResult], isolation: IsolationResult
) -> Iterable[Reason]:
    """What was not looked at. A probe that did not run never counts as passed."""
    outcomes = {step.name: step.outcome for step in steps}
    for step in plan.steps:
        if isinstance(step, ProbeStep) and outcomes.get(step.name, Outcome.SKIPPED) is Outcome.SKIPPED:
            yield reason("probe_not_run", step=step.name)
        if outcomes.get(step.name) is Outcome.NOT_REHEARSED:
            yield reason("not_rehearsed", Verdict.PARTIAL, step=step.name)
    if not any(isinstance(step, ProbeStep) and isinstance(step.probe, ContentProbe) for step in plan.steps):
        yield reason("no_content_probe", Verdict.PARTIAL)
    elif content is not None and not content.samples_checked and not _found_a_row(plan, outcomes):
        yield reason("no_witness", Verdict.PARTIAL)
    if not isolation.is_isolated:
        yield reason("unisolated", Verdict.PARTIAL, detail=isolation.reason)


def _found_a_row(plan: Plan, outcomes: Mapping[str, Outcome]) -> bool:
    """True when a row came back that was written by SQL before: as independent of the backup as a sampled file."""
    return any(
        isinstance(step, (PostgresStep, MariadbStep)) and step.nonce and outcomes.get(step.name) is Outcome.PASSED
        for step in plan.steps
    )


def capabilities(
    measured: Measured, attestations: Sequence[Attestation], editions: Sequence[str]
) -> list[CapabilityResult]:
    """The judgement under each edition, with the words of its table."""
    results = []
    for edition in editions:
        table = load_table(edition)
        results.append(_with_words(judge(table, measured, attestations), table))
    return results


def history_facts(times: Sequence[datetime], at: datetime) -> HistoryFacts:
    """What the snapshots at the center say of how often data arrive there."""
    gap_s = longest_gap_s(times, at)
    return HistoryFacts(
        snapshots_count=len(times),
        span_s=round((at - min(times, default=at)).total_seconds(), 3),
        longest_gap_s=None if gap_s is None else round(gap_s, 3),
        transfers_per_day=transfers_per_day(times, at),
    )


def _with_words(capability: Capability, table: Table) -> CapabilityResult:
    level: Level | None = table.levels[capability.limit - 1] if capability.limit else None
    return CapabilityResult(
        edition=capability.edition,
        norm=capability.norm,
        norm_title=table.title.model_dump(),
        note=table.in_force.note.model_dump(),
        status=capability.status.value,
        limit=capability.limit,
        limit_title=level.title.model_dump() if level else {},
        reached=capability.reached,
        blockers=tuple(
            BlockerResult(
                level=item.level,
                code=item.code,
                required=item.required,
                found=round(item.found, 3) if isinstance(item.found, float) else item.found,
                status=item.status.value,
            )
            for item in capability.blockers
        ),
        elements=tuple(
            ElementState(element=item.element.value, level=item.level, basis=item.basis, detail=item.detail)
            for item in capability.elements
        ),
        element_titles={element.value: text.model_dump() for element, text in table.elements.items()},
    )
