"""The register at a site: files and spreadsheets of it, what is due, and the gate before launch."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path

from govsec.assemble.hosts import targets_of
from govsec.assemble.ledger import ledger_stores
from govsec.assemble.registry import continuity_facts
from govsec.assemble.runs import kept_runs, runs_directory, verify_run
from govsec.assemble.systems import Site
from govsec.config import SystemConfig
from govsec.errors import ConfigurationError, GovsecError
from govsec.localfile import read_given
from govsec.policy.runfolder import Manifest, newest_run, stored_runs
from govsec.privatefile import write_private
from govsec.records import Finding
from govsec.register.duedates import findings
from govsec.register.launch import LaunchAssessment, LaunchDecision, LaunchDrill, LaunchRequest, decide
from govsec.register.register import Register, register_of
from govsec.register.yamlfile import to_yaml

log = logging.getLogger(__name__)
_SPREADSHEET_SIZE_MAX = 64 << 20


def read_spreadsheet(path: Path) -> Register:
    """The register in a spreadsheet.

    Raises:
        ConfigurationError: it cannot be read, or a cell is wrong; with sheet and cell.
    """
    from govsec.register.sheetreader import import_xlsx

    return import_xlsx(read_given(path, _SPREADSHEET_SIZE_MAX), str(path))


def write_spreadsheet(register: Register, path: Path) -> None:
    """The register as a spreadsheet.

    Raises:
        ConfigurationError: it cannot be written.
    """
    from govsec.register.sheetwriter import export_xlsx

    _write(path, export_xlsx(register))


def write_register(register: Register, path: Path) -> None:
    """The register as a file of its own (YAML), as :func:`govsec.register.register.load_register` reads it.

    Raises:
        ConfigurationError: it cannot be written.
    """
    _write(path, to_yaml(register))


def register_findings(
    register: Register, now: datetime, system: str | None = None, *, site: Site | None = None
) -> tuple[Finding, ...]:
    """What is due or does not fit. With a ``site`` also which systems were not seen for long, by its stored runs."""
    seen = None if site is None else _seen(site)
    found = findings(register, now, seen=seen)
    return tuple(finding for finding in found if system in (None, finding.subject))


def launch_decision(site: Site, system: SystemConfig) -> LaunchDecision:
    """Whether a system may go into service, by its newest stored assessment, its drills and its register.

    What cannot be asked or verified is missing, and opens no gate.
    """
    register = register_of(site.config)
    request = LaunchRequest(
        system=register.system(system.name),
        register=register,
        now=site.clock.now(),
        assessment=_newest_assessment(site, system),
        drills=_drills(site, system),
    )
    return decide(request)


def _seen(site: Site) -> dict[str, datetime]:
    """When each system last answered an assessment."""
    found: dict[str, datetime] = {}
    # A run that cannot be read shows nothing of its system; others still do.
    for run in stored_runs(runs_directory(site.config.state_dir), damaged={}):
        # The system itself is an object too, and is there when none of its hosts answers.
        objects = run.manifest.objects.items()
        if any(row.state != "unreachable" for name, row in objects if name != run.manifest.system):
            found[run.manifest.system] = run.manifest.ended
    return found


def _newest_assessment(site: Site, system: SystemConfig) -> LaunchAssessment | None:
    latest = newest_run(runs_directory(site.config.state_dir), system.name)
    if latest is None:
        return None
    manifest = latest.manifest
    try:
        kept = kept_runs(site.config.state_dir)
        is_verified = verify_run(latest, ledger_stores(site, system), site.trusted(), kept=kept).is_on_record
    except GovsecError as error:
        log.warning("an assessment cannot be verified", extra={"run": manifest.id, "why": str(error)})
        is_verified = False
    return LaunchAssessment(
        id=manifest.id,
        time=manifest.ended,
        s=manifest.s,
        a=manifest.a,
        level=manifest.level,
        scopes=manifest.scopes,
        rate_percent=manifest.rates[0].value,
        coverage_percent=100 * (manifest.coverage.share or 0.0),
        high_risk=manifest.open_cases,
        silent_hosts=_silent_hosts(site, system, manifest),
        is_unlisted=manifest.extent is None or manifest.extent.kind == "unlisted",
        is_verified=is_verified,
    )


def _silent_hosts(site: Site, system: SystemConfig, manifest: Manifest) -> tuple[str, ...]:
    """Hosts of the register that an assessment left out, or that gave no answer."""
    answered = {name for name, row in manifest.objects.items() if row.state != "unreachable"}
    targets = targets_of(site.config, system.register_.hosts) if system.register_.hosts else ()
    return tuple(target.name for target in targets if target.name not in answered)


def _drills(site: Site, system: SystemConfig) -> tuple[LaunchDrill, ...]:
    facts = continuity_facts(site, system, system.register_.system_level or 1)
    return tuple(
        LaunchDrill(
            plan=drill.plan,
            time=drill.started,
            verdict=drill.verdict,
            is_content_verified=drill.is_content_verified,
            is_plan_current=drill.is_plan_current,
        )
        for drill in facts.drills or ()
    )


def _write(path: Path, data: bytes) -> None:
    try:
        write_private(path, data)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
