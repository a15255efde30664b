"""Drills of the configuration's plans: run, put on record, reported."""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from govsec.assemble.ledger import open_ledger, readable_centers
from govsec.assemble.order import committed_order
from govsec.assemble.systems import Site
from govsec.config import SystemConfig
from govsec.drill.centers import DrillCenter
from govsec.drill.plan import Plan
from govsec.drill.result import DrillResult, drill_name
from govsec.drill.run import Desk, run_drill
from govsec.errors import ConfigurationError, GovsecError
from govsec.ledger.entry import Entry
from govsec.ledger.ledger import Ledger
from govsec.privatefile import make_private_directory, write_private
from govsec.progress import ProgressSink, silent
from govsec.repo.repository import Repository
from govsec.report.catalog import Lang
from govsec.report.drill import render_drill
from govsec.report.page import LedgerRef
from govsec.store.api import ReadStore

LANGS: tuple[Lang, ...] = ("zh", "en")


@dataclass
class DrillRun:
    """A drill with its place in the ledger and the files that were written."""

    result: DrillResult
    entry: Entry | None = None
    #: Why it is not in the ledger, when it should be.
    ledger_error: str = ""
    files: list[Path] = field(default_factory=list)


def run_plan(
    site: Site,
    plan: Plan,
    *,
    operator: str = "",
    scratch: Path | None = None,
    output: Path | None = None,
    is_kept: bool = False,
    is_recorded: bool = True,
    progress: ProgressSink = silent,
) -> DrillRun:
    """Run a drill, sign its record into the ledger, and write record and reports to ``output``.

    The record is written also when the drill is interrupted, before the interrupt goes on. A ledger that cannot be
    appended to does not lose the drill: ``ledger_error`` says why, and the reports say that they are not for filing.

    Raises:
        ConfigurationError, RefusedError: the drill was not run.
    """
    system = site.system(plan.system)
    ledger = open_ledger(site, system) if is_recorded else None
    password = site.password(system)
    state = site.config.state_dir
    reports = output or state / "drills"
    base = scratch or state / "scratch"
    for directory in (reports, base):
        _make_private(directory)
    runs: list[DrillRun] = []

    def open_repository(store: ReadStore, fallbacks: Sequence[ReadStore]) -> Repository:
        return Repository.open(store, password, fallbacks=fallbacks)

    def record(result: DrillResult) -> None:
        runs.append(DrillRun(result))
        _record(runs[0], ledger, reports)

    run_drill(
        plan,
        _centers(site, system),
        open_repository,
        base,
        desk=Desk(
            operator=operator or pwd.getpwuid(os.getuid()).pw_name,
            organization=site.config.organization,
            system_title=system.title,
            objectives=system.objectives,
        ),
        clock=site.clock,
        committed_order=lambda store: committed_order(site, store),
        is_kept=is_kept,
        record=record,
        progress=progress,
    )
    return runs[0]


def write_report(result: DrillResult, entry: Entry | None, lang: Lang, path: Path) -> None:
    """Write the HTML report.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    where = None if entry is None else LedgerRef(entry.chain, entry.number, entry.digest, entry.held_by)
    _write(path, render_drill(result.canonical(), lang, ledger=where).encode())


def _record(run: DrillRun, ledger: Ledger | None, directory: Path) -> None:
    name = drill_name(run.result)
    # The record first: whatever happens to ledger and reports, what was measured is on disk.
    record = directory / f"{name}.json"
    _write(record, run.result.to_json() + b"\n")
    run.files.append(record)
    if ledger is not None:
        try:
            run.entry = ledger.append(run.result.evidence())
        except GovsecError as error:
            run.ledger_error = str(error)
    for lang in LANGS:
        path = directory / f"{name}.{lang}.html"
        write_report(run.result, run.entry, lang, path)
        run.files.append(path)


def _centers(site: Site, system: SystemConfig) -> list[DrillCenter]:
    return [
        DrillCenter(name, center.role, site.read_store(system, name), center.site)
        for name, center in readable_centers(site)
    ]


def _make_private(directory: Path) -> None:
    try:
        make_private_directory(directory)
    except OSError as error:
        raise ConfigurationError(f"{directory}: {error.strerror}") from error


def _write(path: Path, data: bytes) -> None:
    try:
        write_private(path, data)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
