"""What the duty daemon makes of drills: findings of those that failed, are too old or were never run, and of passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

from govsec.assemble.dutylanes import Work
from govsec.assemble.plans import history_of, plans_of
from govsec.assemble.systems import Site
from govsec.clock import Clock, format_time
from govsec.config import Config
from govsec.drill.history import History, drill_findings
from govsec.drill.plan import Plan
from govsec.drill.result import Verdict
from govsec.incident.intake import Taken
from govsec.incident.placing import DRILL_PASSED
from govsec.records import Finding, Severity


def drilling(config: Config, clock: Clock) -> Work[tuple[Taken, ...]] | None:
    """Looks at the drills on record now and then; None where there are no plans, or nobody wants it."""
    every_s = config.incident.duty.drills_every_s
    if not every_s or not any(system.plans for system in config.systems):
        return None

    def open_work(_: ExitStack) -> Callable[[], tuple[Taken, ...]]:
        site = Site(config, clock)
        return lambda: tuple(drills_taken(site))

    return Work("drills", clock, every_s, open_work)


def drills_taken(site: Site) -> Iterator[Taken]:
    """What is wrong with how the plans are drilled, and which were passed and are fine.

    Raises:
        ConfigurationError: a plan is wrong. StoreUnavailableError: no center could be asked.
    """
    for system in site.config.systems:
        if not system.plans:
            continue
        plans, history = plans_of(site, system.name), history_of(site, system.name)
        wrong = drill_findings(plans, history, site.clock.now())
        for finding in wrong:
            plan, drill = str(finding.facts.get("plan")), finding.facts.get("drill", "none")
            # One drill that failed, or grew too old, is one story for ever.
            yield Taken(finding, system.name, f"{finding.kind}:{system.name}:{plan}:{drill}")
        named = {str(finding.facts.get("plan")) for finding in wrong if finding.kind != "drill.plan_changed"}
        for plan_of in plans:
            passed = None if plan_of.name in named else _passed(plan_of, history)
            if passed is not None:
                yield Taken(passed, system.name, f"{DRILL_PASSED}:{system.name}:{passed.facts['drill']}")


def _passed(plan: Plan, history: History) -> Finding | None:
    past = history.newest(plan.system, plan.name)
    if past is None or past.result.verdict is not Verdict.PASS:
        return None
    result = past.result
    return Finding(
        kind=DRILL_PASSED,
        severity=Severity.INFO,
        time=result.started,
        subject=plan.system,
        summary=f"Plan {plan.name} of {plan.system} was passed in drill {result.id} of {format_time(result.started)}.",
        facts={"plan": plan.name, "drill": result.id, "digest": past.entry.digest},
    )
