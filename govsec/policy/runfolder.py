"""Where a run lies on disk, and how it is found out that somebody changed it.

::

    <base>/<run id>/manifest.json      what was run and what came out, with the digest of every file; canonical JSON
    <base>/<run id>/files/<sha256>     the assessment itself and the facts of every object, named by their digests

The manifest is what the ledger signs (evidence of kind ``assess.result``): it proves the files, and the ledger proves
the manifest. It is written last: a run that was killed has none, and is no run. Everything is its owner's alone (0600).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue, ValidationError

from govsec import canonical
from govsec.config import Model, explain
from govsec.errors import ConfigurationError, FormatError, IntegrityError, UsageError
from govsec.localfile import read_bounded
from govsec.policy.results import CaseState, Verdict
from govsec.policy.run import (
    EVIDENCE_KIND,
    RUN_ID,
    Assessment,
    CatalogRow,
    CoverageRow,
    ExtentRow,
    FileRow,
    PackRow,
    parse_assessment,
)
from govsec.privatefile import make_private_directory, write_private
from govsec.records import Evidence, Moment

SCHEMA: Literal["govsec.assessment.manifest.v1"] = "govsec.assessment.manifest.v1"
#: What the assessment is called among the files of its run.
ASSESSMENT = "assessment.json"
#: What the names of facts begin with; the host's name follows.
FACTS = "facts/"
#: Two hundred hosts with two hundred excerpts each.
_FILE_SIZE_MAX = 256 << 20
_MANIFEST_SIZE_MAX = 4 << 20
#: Years of nightly runs.
_RUNS_MAX = 10_000
_MANIFEST, _FILES = "manifest.json", "files"
#: The words for runs that are named by their place.
_BACK = {"latest": 0, "previous": 1}
_DIGEST = re.compile(r"[0-9a-f]{64}")


class ObjectRef(Model):
    """An object of the run."""

    state: Literal["collected", "partial", "unreachable"]
    clock_offset_s: float | None
    facts_sha256: str


class RateRef(Model):
    """A figure, never without its status."""

    strategy: str
    value: float | None
    is_confirmed: bool


class Manifest(Model):
    """What the ledger signs."""

    schema_: Literal["govsec.assessment.manifest.v1"] = Field(default=SCHEMA, alias="schema")
    id: str = Field(pattern=RUN_ID)
    organization: str
    operator: str
    controller: str
    version: str
    system: str
    level: int
    s: int
    a: int
    scopes: tuple[str, ...]
    started: Moment
    ended: Moment
    catalog: CatalogRow
    packs: tuple[PackRow, ...]
    parameters: Mapping[str, Mapping[str, JsonValue]]
    #: None in runs of versions that did not tell.
    extent: ExtentRow | None = None
    objects: Mapping[str, ObjectRef]
    verdicts: Mapping[str, Verdict]
    coverage: CoverageRow
    rates: tuple[RateRef, ...]
    #: High-risk cases that are open.
    open_cases: tuple[str, ...]
    files: tuple[FileRow, ...]

    def canonical(self) -> dict[str, JsonValue]:
        """Plain JSON values, ready for :func:`govsec.canonical.dumps`."""
        value: dict[str, JsonValue] = self.model_dump(mode="json", by_alias=True)
        return value

    def evidence(self) -> Evidence:
        """The manifest as an entry for the ledger."""
        return Evidence(kind=EVIDENCE_KIND, time=self.ended, subject=self.system, facts=self.canonical())

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes."""
        return canonical.digest(self.canonical())


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run on disk."""

    directory: Path
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing that is wrong with a stored run."""

    name: str
    what: Literal["altered", "missing", "strange"]


def write_run(base: Path, assessment: Assessment, facts: Mapping[str, bytes]) -> StoredRun:
    """Store a run under ``base``; ``facts`` are the bytes of the facts by object. On disk when this returns.

    Raises:
        ConfigurationError: it cannot be written; then there is no manifest.
    """
    directory = base / assessment.id
    files = {f"{FACTS}{name}": data for name, data in facts.items()}
    files[ASSESSMENT] = assessment.to_json()
    rows = tuple(
        FileRow(name=name, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
        for name, data in sorted(files.items())
    )
    manifest = _manifest(assessment, rows)
    try:
        make_private_directory(directory / _FILES)
        for row in rows:
            write_private(directory / _FILES / row.sha256, files[row.name])
        write_private(directory / _MANIFEST, canonical.dumps(manifest.canonical()))
    except OSError as error:
        raise ConfigurationError(f"{error.filename or directory}: {error.strerror}") from error
    return StoredRun(directory, manifest)


def stored_runs(
    base: Path, system: str | None = None, *, damaged: dict[str, IntegrityError] | None = None
) -> list[StoredRun]:
    """The runs under ``base`` (of one system), oldest first; what has no manifest is no run.

    A folder whose manifest is none goes into ``damaged`` by its name (nobody knows of which system it was), so that one
    broken run does not hide all the others.

    Raises:
        IntegrityError: a manifest is none, and ``damaged`` was not given.
    """
    try:
        names = sorted(path.name for path in base.iterdir() if re.fullmatch(RUN_ID, path.name))[-_RUNS_MAX:]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigurationError(f"{base}: {error.strerror}") from error
    runs = []
    for name in names:
        if not (base / name / _MANIFEST).is_file():
            continue
        try:
            runs.append(open_run(base / name))
        except IntegrityError as error:
            if damaged is None:
                raise
            damaged[name] = error
    mine = [run for run in runs if system in (None, run.manifest.system)]
    return sorted(mine, key=lambda run: (run.manifest.ended, run.manifest.id))


def newest_run(base: Path, system: str | None = None, *, back: int = 0) -> StoredRun | None:
    """The latest run, or the one ``back`` before it; None where there is none.

    Raises:
        IntegrityError: a folder that is newer has a manifest that is none. It may be the one that was asked for.
    """
    damaged: dict[str, IntegrityError] = {}
    runs = stored_runs(base, system, damaged=damaged)
    found = runs[-1 - back] if len(runs) > back else None
    # Ids begin with the time of the run.
    newer = [error for name, error in sorted(damaged.items()) if found is None or name > found.manifest.id]
    if newer:
        raise newer[-1]
    return found


def find_run(base: Path, wanted: str, system: str | None = None) -> StoredRun:
    """The run of that id, of its first characters, in that folder, the ``latest``, or the ``previous`` before it.

    Raises:
        UsageError: there is none, or several fit.
        IntegrityError: the folder that is meant has a manifest that is none.
    """
    folder = Path(wanted)
    if folder.is_dir() and (folder / _MANIFEST).is_file():
        return open_run(folder)
    if wanted in _BACK:
        found = newest_run(base, system, back=_BACK[wanted])
        fitting = [found] if found else []
    else:
        damaged: dict[str, IntegrityError] = {}
        runs = stored_runs(base, system, damaged=damaged)
        fitting = [run for run in runs if run.manifest.id.startswith(wanted)]
        meant = [error for name, error in damaged.items() if name.startswith(wanted)]
        if meant:
            raise meant[0]
    if len(fitting) != 1:
        raise UsageError(f"{len(fitting)} stored assessments fit {wanted!r}")
    return fitting[0]


def open_run(directory: Path) -> StoredRun:
    """The run in a folder. Only the manifest is read; nothing is verified yet.

    Raises:
        FormatError: its manifest is none of this schema, or not canonical.
    """
    data = _read(directory / _MANIFEST, _MANIFEST_SIZE_MAX)
    try:
        return StoredRun(directory, Manifest.model_validate(canonical.loads(data)))
    except ValidationError as error:
        raise FormatError(f"{directory / _MANIFEST}: {explain(error)}") from error
    except ValueError as error:
        raise FormatError(f"{directory / _MANIFEST}: {error}") from error


def read_file(run: StoredRun, name: str) -> bytes:
    """A file of a run, when it is what the manifest says.

    Raises:
        IntegrityError: it is missing or was altered.
    """
    row = next((row for row in run.manifest.files if row.name == name), None)
    if row is None or not _DIGEST.fullmatch(row.sha256):
        raise IntegrityError(f"run {run.manifest.id}: its manifest names no {name}")
    data = _read(run.directory / _FILES / row.sha256, _FILE_SIZE_MAX)
    if len(data) != row.size_bytes or hashlib.sha256(data).hexdigest() != row.sha256:
        raise IntegrityError(f"run {run.manifest.id}: {name} was altered after the run")
    return data


def read_assessment(run: StoredRun) -> Assessment:
    """The assessment of a run, when it is what the manifest says.

    Raises:
        IntegrityError: it is missing, was altered, or is another run's.
    """
    assessment = parse_assessment(read_file(run, ASSESSMENT))
    if assessment.id != run.manifest.id:
        raise IntegrityError(f"run {run.manifest.id}: holds the assessment {assessment.id}")
    return assessment


def flaws_of(run: StoredRun) -> list[Flaw]:
    """What is wrong with the files of a run, by its manifest: altered, missing, or there without being named."""
    flaws = []
    for row in run.manifest.files:
        try:
            read_file(run, row.name)
        except IntegrityError as error:
            is_missing = isinstance(error.__cause__, FileNotFoundError)
            flaws.append(Flaw(row.name, "missing" if is_missing else "altered"))
    known = {row.sha256 for row in run.manifest.files}
    folder = run.directory / _FILES
    strange = sorted(path.name for path in folder.iterdir() if path.name not in known) if folder.is_dir() else []
    # What lies beside the manifest is no part of the run either, and files that lie elsewhere are not kept with it.
    strange += sorted(path.name for path in run.directory.iterdir() if path.name not in (_MANIFEST, _FILES))
    strange += [_FILES] if folder.is_symlink() else []
    return flaws + [Flaw(name, "strange") for name in strange]


def _manifest(assessment: Assessment, files: tuple[FileRow, ...]) -> Manifest:
    return Manifest(
        id=assessment.id,
        organization=assessment.organization,
        operator=assessment.operator,
        controller=assessment.controller,
        version=assessment.version,
        system=assessment.system.name,
        level=assessment.level,
        s=assessment.s,
        a=assessment.a,
        scopes=assessment.scopes,
        started=assessment.started,
        ended=assessment.ended,
        catalog=assessment.catalog,
        packs=assessment.packs,
        parameters=assessment.parameters,
        extent=assessment.extent,
        objects={
            name: ObjectRef(state=row.state, clock_offset_s=row.clock_offset_s, facts_sha256=row.facts_sha256)
            for name, row in assessment.objects.items()
        },
        verdicts={item.id: item.verdict for item in assessment.items},
        coverage=assessment.coverage,
        rates=tuple(
            RateRef(strategy=rate.strategy, value=rate.value, is_confirmed=rate.is_confirmed)
            for rate in assessment.rates
        ),
        open_cases=tuple(row.case for row in assessment.cases if row.state is CaseState.OPEN),
        files=files,
    )


def _read(path: Path, size_max: int) -> bytes:
    try:
        # No link: whoever may write the folder must not make this program read elsewhere.
        return read_bounded(path, size_max)
    except OSError as error:
        raise IntegrityError(f"{path}: {error.strerror}") from error
