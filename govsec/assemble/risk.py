"""The risk assessment of a system at a site: from its register, its newest run, its record and people's acceptances.

Kept under ``STATE_DIR/risk/<system>/<time>.json``, and signed into the ledger where the site signs evidence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from govsec import canonical
from govsec.assemble.attestations import read_records
from govsec.assemble.ledger import ledger_stores, open_ledger
from govsec.assemble.runs import runs_directory
from govsec.assemble.systems import Site
from govsec.clock import format_time
from govsec.collect.facts import Facts, load_facts
from govsec.config import SystemConfig, explain
from govsec.drill.result import EVIDENCE_KIND as DRILL_KIND
from govsec.errors import ConfigurationError, FormatError, GovsecError, UsageError
from govsec.ledger.entry import Entry
from govsec.ledger.verify import LedgerReport, walk
from govsec.policy.attest import Acceptance
from govsec.policy.risk import JudgedItem, PastIncident, RiskInput, Vulnerability, assess_risk
from govsec.policy.riskmethod import load_method
from govsec.policy.riskreport import RiskDifference, RiskReport, risk_difference
from govsec.policy.run import EVIDENCE_KIND as RUN_KIND
from govsec.policy.run import Assessment
from govsec.policy.runfolder import FACTS, find_run, read_assessment, read_file, stored_runs
from govsec.privatefile import make_private_directory, write_private
from govsec.records import Evidence
from govsec.register.register import register_of

RISK_KIND = "risk.report"
#: Entries of the ledger that are records of work, not of things that went wrong.
_WORK_KINDS = frozenset({DRILL_KIND, RUN_KIND, RISK_KIND, "ledger.repaired"})
_REPORT_SIZE_MAX = 16 << 20
_NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z\.json")
_VULNERABILITIES_MAX = 10_000


@dataclass(frozen=True, slots=True)
class RiskRun:
    """A report with its difference to the one before, and where it is."""

    report: RiskReport
    path: Path
    difference: RiskDifference | None = None
    entry: Entry | None = None
    #: Why it is not in the ledger.
    ledger_error: str = ""
    #: What could not be asked; it was assumed weak, not well.
    missing: tuple[str, ...] = ()


def run_risk(site: Site, system: SystemConfig, *, method: Path | None = None, is_recorded: bool = True) -> RiskRun:
    """Assess the risks of a system, keep the report, and put it on record.

    Raises:
        UsageError: the system has no stored assessment; verdicts are what weaknesses are read from.
        ConfigurationError, IntegrityError: the method is wrong, a stored run was altered, or nothing can be written.
    """
    base = runs_directory(site.config.state_dir)
    if not stored_runs(base, system.name):
        raise UsageError(f"system {system.name} has no stored assessment; run: govsec assess run")
    run = find_run(base, "latest", system.name)
    made = read_assessment(run)
    facts = [load_facts(read_file(run, row.name)) for row in run.manifest.files if row.name.startswith(FACTS)]
    incidents, why = _incidents(site, system)
    people = read_records(site, system.name)
    known = RiskInput(
        system=register_of(site.config).system(system.name),
        now=site.clock.now(),
        items=_items(made),
        vulnerabilities=tuple(_vulnerabilities(facts))[:_VULNERABILITIES_MAX],
        incidents=incidents,
        acceptances=tuple(record for record in people.records if isinstance(record.statement, Acceptance)),
    )
    report = assess_risk(known, load_method(method))
    folder = site.config.state_dir / "risk" / system.name
    before = _newest(folder)
    path = _keep(folder, report)
    difference = None if before is None else risk_difference(before, report)
    result = RiskRun(report, path, difference, missing=(*why, *people.refused))
    if not is_recorded:
        return result
    try:
        evidence = Evidence(kind=RISK_KIND, time=report.time, subject=system.name, facts=report.canonical())
        entry = open_ledger(site, system).append(evidence)
    except GovsecError as error:
        return RiskRun(report, path, difference, ledger_error=str(error), missing=result.missing)
    return RiskRun(report, path, difference, entry, missing=result.missing)


def _items(made: Assessment) -> tuple[JudgedItem, ...]:
    return tuple(JudgedItem(item.id, item.key, item.verdict, item.high_risk) for item in made.items)


def _vulnerabilities(facts: list[Facts]) -> Iterator[Vulnerability]:
    """Security updates that a host has not taken: known flaws, of which a package list tells no more than that."""
    for one in facts:
        for outcome in one.outcomes.values():
            if outcome.kind != "updates" or not isinstance(outcome.value, Mapping):
                continue
            names = outcome.value.get("security_names")
            for name in names if isinstance(names, list) else ():
                yield Vulnerability(str(name)[:200], "high", one.host)


def _incidents(site: Site, system: SystemConfig) -> tuple[tuple[PastIncident, ...], tuple[str, ...]]:
    found: list[PastIncident] = []
    try:
        for entry in walk(ledger_stores(site, system), site.trusted(), LedgerReport()):
            if entry.evidence.subject == system.name and entry.evidence.kind not in _WORK_KINDS:
                found.append(PastIncident(entry.evidence.kind, entry.evidence.time))
    except GovsecError as error:
        return tuple(found), (f"incidents: {error}",)
    return tuple(found), ()


def _newest(folder: Path) -> RiskReport | None:
    names = sorted(path.name for path in folder.iterdir() if _NAME.fullmatch(path.name)) if folder.is_dir() else []
    if not names:
        return None
    path = folder / names[-1]
    try:
        with path.open("rb") as file:
            return RiskReport.model_validate(canonical.loads(file.read(_REPORT_SIZE_MAX)))
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        raise FormatError(f"{path}: {explain(error)}") from error
    except ValueError as error:
        raise FormatError(f"{path}: {error}") from error


def _keep(folder: Path, report: RiskReport) -> Path:
    path = folder / f"{_stamp(report.time)}.json"
    try:
        make_private_directory(folder)
        write_private(path, canonical.dumps(report.canonical()))
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    return path


def _stamp(moment: datetime) -> str:
    return re.sub(r"[-:]|\.[0-9]+", "", format_time(moment))
