"""How the demo ends: what was lost is found again, and an assessor's look at this machine counts the drill as evidence.

Nothing here is special to the demo: it calls what ``govsec assess run`` and ``govsec assess report`` call.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from govsec.assemble.assess import AssessRun, run_assessment
from govsec.assemble.assessreport import LANGS, write_report
from govsec.assemble.assessscope import Request
from govsec.assemble.demo import SYSTEM, Tell
from govsec.assemble.systems import Site
from govsec.clock import Clock
from govsec.config import load_config
from govsec.errors import SourceError
from govsec.progress import ProgressSink, silent

#: What the drill is evidence for; checks of databases that run on this machine speak to the same requirement.
DRILLED = "continuity.local-restore"
_LOST = ("main", "near", "system")


@dataclass(frozen=True, slots=True)
class DemoAssessment:
    """The assessment with its reports, and what it made of the drill."""

    run: AssessRun
    reports: tuple[Path, ...]
    drilled_status: str


def find_directories(directory: Path) -> None:
    """Put back what :func:`govsec.assemble.demo.lose_directories` took away.

    Raises:
        SourceError: one of them cannot be renamed.
    """
    for name in _LOST:
        try:
            (directory / f"{name}.lost").rename(directory / name)
        except OSError as error:
            raise SourceError(f"{directory / name}: {error.strerror}") from error


def assess_demo(config_path: Path, clock: Clock, *, tell: Tell, progress: ProgressSink = silent) -> DemoAssessment:
    """Assess this machine at level 3 as the host of the sample system, and write the reports.

    Raises:
        GovsecError: as an assessment raises it.
    """
    site = Site(load_config(config_path), clock)
    run = run_assessment(site, Request(system=SYSTEM, operator="govsec demo"), progress=progress)
    made = run.assessment
    drilled = next(result for result in made.results if result.check == DRILLED)
    reports = []
    for lang in LANGS:
        path = config_path.parent / "reports" / f"assessment.{lang}.html"
        write_report(made, "html", lang, path, entry=run.entry)
        reports.append(path)
    facts = {
        "level": made.level,
        "decided": made.coverage.decided,
        "applicable": made.coverage.applicable,
        "checks": made.coverage.by_checks,
        "evidence": made.coverage.by_evidence,
        "conform": made.counts().get("conform", 0),
        "status": drilled.status.value,
    }
    tell("assessed", facts)
    return DemoAssessment(run, tuple(reports), drilled.status.value)
