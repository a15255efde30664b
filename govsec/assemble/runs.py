"""Stored assessments of a site: put on record in the ledger, found again, verified offline."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from govsec.assemble.ledger import ledger_stores, open_ledger, readable_centers
from govsec.assemble.systems import Site
from govsec.collect.facts import Facts, load_facts
from govsec.config import SystemConfig
from govsec.crypto.signing import TrustedKeys
from govsec.errors import GovsecError, IntegrityError
from govsec.ledger.entry import Entry
from govsec.ledger.verify import LedgerReport, walk
from govsec.policy.run import EVIDENCE_KIND, Assessment
from govsec.policy.runfolder import (
    FACTS,
    Flaw,
    StoredRun,
    find_run,
    flaws_of,
    newest_run,
    read_assessment,
    read_file,
    stored_runs,
)
from govsec.store.api import ReadStore

log = logging.getLogger(__name__)
#: How far back a host's newest facts are looked for; a host that was silent for so long is met as a new one.
_RUNS_BACK_MAX = 50


@dataclass(frozen=True, slots=True)
class RunCheck:
    """What verifying a stored run came to."""

    flaws: tuple[Flaw, ...]
    #: The ledger's entry that vouches for the manifest; None where no ledger does.
    entry: Entry | None
    #: The ledger has this run with another manifest: the folder is not what was put on record.
    is_contradicted: bool
    ledger_problems_count: int
    #: Later runs of the same system that the ledger has and the disk has not: what looks like the latest is not.
    vanished: tuple[str, ...] = ()

    @property
    def is_intact(self) -> bool:
        """True when nothing that was looked at was changed after the run, and no later one was taken away."""
        return not self.flaws and not self.is_contradicted and not self.ledger_problems_count and not self.vanished

    @property
    def is_on_record(self) -> bool:
        """True when a signed entry vouches for all of it."""
        return self.entry is not None and self.is_intact


def runs_directory(state_dir: Path) -> Path:
    """Where a site keeps its assessments."""
    return state_dir / "assessments"


def record_run(site: Site, system: SystemConfig, run: StoredRun) -> tuple[Entry | None, str]:
    """Append the manifest to the system's ledger: the entry, or why it is not there. The run is on disk either way."""
    try:
        return open_ledger(site, system).append(run.manifest.evidence()), ""
    except GovsecError as error:
        return None, str(error)


def verify_run(
    run: StoredRun, stores: Sequence[ReadStore], trusted: TrustedKeys, *, kept: Collection[str] | None = None
) -> RunCheck:
    """Every file against the manifest, and the manifest against the signed ledger (no ``stores``: files alone).

    ``kept`` are the ids of all runs on this disk, of which none may be missing that is later than ``run``; None where
    the run lies somewhere else by itself.

    Raises:
        StoreUnavailableError: no center could be listed.
    """
    flaws = tuple(flaws_of(run))
    report = LedgerReport()
    entry: Entry | None = None
    is_contradicted = False
    vanished: dict[str, None] = {}
    for found in walk(stores, trusted, report) if stores else ():
        facts = found.evidence.facts
        if found.evidence.kind != EVIDENCE_KIND:
            continue
        if (other := str(facts.get("id"))) != run.manifest.id:
            # Another controller keeps its runs on its own disk.
            same = (found.evidence.subject, facts.get("controller")) == (run.manifest.system, run.manifest.controller)
            if same and found.evidence.time > run.manifest.ended and kept is not None and other not in kept:
                vanished[other] = None
            continue
        if dict(facts) == run.manifest.canonical():
            entry = entry or found
        else:
            is_contradicted = True
    return RunCheck(flaws, entry, is_contradicted and entry is None, report.problems_count, tuple(vanished))


def entry_of(site: Site, run: StoredRun) -> tuple[Entry | None, str]:
    """The ledger's entry that vouches for all of a stored run; else None, with the reason where one was to be there."""
    if not readable_centers(site) or run.manifest.system not in {system.name for system in site.config.systems}:
        return None, ""
    try:
        check = verify_run(run, ledger_stores(site, site.system(run.manifest.system)), site.trusted())
    except GovsecError as error:
        return None, str(error)
    if check.is_on_record:
        return check.entry, ""
    return (
        None,
        "" if check.is_intact else f"run {run.manifest.id} is not what was put on record, or the ledger is damaged",
    )


def kept_runs(state_dir: Path) -> frozenset[str]:
    """Ids of the runs on this disk, also of those whose manifest is broken.

    Raises:
        ConfigurationError: the folder cannot be read.
    """
    damaged: dict[str, IntegrityError] = {}
    runs = stored_runs(runs_directory(state_dir), damaged=damaged)
    return frozenset({run.manifest.id for run in runs} | set(damaged))


@dataclass(frozen=True, slots=True)
class Earlier:
    """The run to compare with, where there is one; ``altered`` says what is wrong with it when it cannot be."""

    run: Assessment | None = None
    altered: str = ""


def earlier_run(state_dir: Path, system: str, wanted: str) -> Earlier:
    """The stored run to compare with: of that id, or the ``latest``; none for ``""`` and where there is none yet.

    A latest run that was altered stops no new one: it is told, and the next is compared with this one.

    Raises:
        UsageError: a run was named that is not there.
        IntegrityError: a run that was named was altered after it ran.
    """
    base = runs_directory(state_dir)
    if not wanted:
        return Earlier()
    if wanted != "latest":
        return Earlier(read_assessment(find_run(base, wanted, system)))
    try:
        latest = newest_run(base, system)
        return Earlier(read_assessment(latest)) if latest else Earlier()
    except IntegrityError as error:
        return Earlier(altered=str(error))


def newest_facts(state_dir: Path, system: str, hosts: Collection[str]) -> dict[str, datetime]:
    """When each of ``hosts`` last gave facts to a run of the system that is on this disk.

    A run that was altered is passed over: what it said of the time is not believed.
    """
    found: dict[str, datetime] = {}
    runs = stored_runs(runs_directory(state_dir), system, damaged={})
    for run in reversed(runs[-_RUNS_BACK_MAX:]):
        for host in set(hosts) - found.keys():
            if f"{FACTS}{host}" not in {row.name for row in run.manifest.files}:
                continue
            try:
                found[host] = load_facts(read_file(run, f"{FACTS}{host}")).collected
            except IntegrityError as error:
                log.warning("facts of an earlier run are not used", extra={"run": run.manifest.id, "why": str(error)})
    return found


def gone_records(earlier: Assessment | None, present: Collection[str], now: datetime) -> dict[str, datetime]:
    """People's records that counted in a run before, would still hold, and are not there any more: id and end.

    What the run before missed is missed on: else whoever takes a person's word away is told of once.
    """
    if earlier is None:
        return {}
    rows: dict[str, datetime] = dict(earlier.gone_records)
    for item in earlier.items:
        rows.update({row.id: row.until for row in (item.attestation, item.waiver) if row is not None})
    rows.update({result.waiver.id: result.waiver.until for result in earlier.results if result.waiver is not None})
    return {record: until for record, until in sorted(rows.items()) if until > now and record not in present}


def earlier_facts(state_dir: Path, system: str) -> dict[str, Facts]:
    """The facts of the latest run by host, so that slow walks need not be made again; none that was altered since."""
    found: dict[str, Facts] = {}
    try:
        latest = newest_run(runs_directory(state_dir), system)
    except IntegrityError as error:
        log.warning("earlier runs are not used", extra={"why": str(error)})
        return found
    if latest is None:
        return found
    for row in latest.manifest.files:
        if row.name.startswith(FACTS):
            try:
                facts = load_facts(read_file(latest, row.name))
            except IntegrityError as error:
                log.warning(
                    "facts of an earlier run are not used", extra={"run": latest.manifest.id, "why": str(error)}
                )
                continue
            found[facts.host] = facts
    return found
