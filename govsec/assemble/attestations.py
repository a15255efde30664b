"""What people vouch for at this site: records on disk, signed by two pinned persons, with the files that were shown.

::

    STATE_DIR/attestations/<system>/<record id>.json        the signed statement, and its approval once it has one
    STATE_DIR/attestations/<system>/evidence/<sha256>       the files that it names

A record that is not authentic, or whose evidence is gone or changed, is refused by name and counts for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from govsec.assemble.systems import Site
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import ConfigurationError, GovsecError, IntegrityError, UsageError
from govsec.localfile import read_given
from govsec.policy.attest import (
    RECORD_SIZE_MAX,
    Attestation,
    EvidenceFile,
    Record,
    Statement,
    Waiver,
    approve,
    attest,
    expiring,
    open_record,
)
from govsec.policy.evidencefiles import evidence_flaws, keep_evidence
from govsec.policy.run import AttestationRow, ExpiringRow, WaiverRow
from govsec.privatefile import make_private_directory, write_private

_EVIDENCE = "evidence"
_RECORDS_MAX = 10_000
_RECORD_NAME = re.compile(r"[0-9a-f]{32}\.json")


@dataclass(frozen=True, slots=True)
class Records:
    """The records of one system that are authentic, and why others were not believed."""

    records: tuple[Record, ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def attestations(self) -> tuple[Record, ...]:
        """Those that speak for a requirement."""
        return tuple(record for record in self.records if isinstance(record.statement, Attestation))

    @property
    def waivers(self) -> tuple[Record, ...]:
        """Those that let a result pass for a while."""
        return tuple(record for record in self.records if isinstance(record.statement, Waiver))


def read_records(site: Site, system: str) -> Records:
    """Every record of a system. One that cannot be believed never stops the others."""
    folder = _folder(site, system)
    names = (
        sorted(path.name for path in folder.iterdir() if _RECORD_NAME.fullmatch(path.name)) if folder.is_dir() else []
    )
    if not names:
        return Records()
    try:
        trusted = site.trusted()
    except ConfigurationError as error:
        return Records(refused=(f"{len(names)} records: {error}",))
    found, refused = [], []
    for name in names[:_RECORDS_MAX]:
        try:
            found.append(_read_record(folder, name, trusted, system))
        except GovsecError as error:
            refused.append(f"{name}: {error}")
    if len(names) > _RECORDS_MAX:
        refused.append(f"{len(names) - _RECORDS_MAX} records beyond the first {_RECORDS_MAX}")
    return Records(tuple(found), tuple(refused))


def keep_files(site: Site, system: str, paths: Sequence[Path]) -> tuple[EvidenceFile, ...]:
    """Copy what is shown to the system's records; the files as statements name them.

    Raises:
        ConfigurationError, LimitError: one cannot be read, kept, or is too large.
    """
    return tuple(keep_evidence(path, _folder(site, system) / _EVIDENCE) for path in paths)


def keep_statement(site: Site, statement: Statement, key_file: Path) -> Record:
    """Sign a statement as its author and keep it, waiting for another person's approval.

    Raises:
        ConfigurationError: the key is none for attestations, or something cannot be written.
        IntegrityError: nobody pinned the author's key under that name; nothing was written.
    """
    data = attest(Signer.load(key_file, Purpose.ATTESTATION), statement)
    record = open_record(site.trusted(), data)
    _keep(_folder(site, statement.system), f"{record.id}.json", data)
    return record


def approve_record(site: Site, system: str, record_id: str, key_file: Path, *, by: str) -> Record:
    """Approve a kept record as its second person.

    Raises:
        UsageError: no one record begins so.
        RefusedError: the approver is its author, or it is approved already.
    """
    folder = _folder(site, system)
    paths = sorted(folder.glob("*.json")) if folder.is_dir() else []
    fitting = [path for path in paths if path.name.startswith(record_id)]
    if len(fitting) != 1:
        raise UsageError(f"{len(fitting)} records of {system} begin with {record_id!r}")
    trusted = site.trusted()
    signer = Signer.load(key_file, Purpose.APPROVAL)
    data = approve(signer, trusted, read_given(fitting[0], RECORD_SIZE_MAX), by=by, time=site.clock.now())
    record = open_record(trusted, data)
    _keep(folder, fitting[0].name, data)
    return record


def subject_of(record: Record) -> str:
    """What a statement is about: a requirement, a check, or a risk."""
    statement = record.statement
    if isinstance(statement, Attestation):
        return statement.item
    return statement.check if isinstance(statement, Waiver) else statement.risk


def attestation_row(record: Record, now: datetime) -> AttestationRow:
    """A person's word as an assessment shows it."""
    statement = record.statement
    assert isinstance(statement, Attestation)  # the caller chose attestations
    return AttestationRow(
        id=record.id,
        statement=statement.statement,
        by=statement.by,
        made=statement.made,
        until=statement.valid_until,
        reviewer=record.approver or "",
        evidence=tuple(file.sha256 for file in statement.evidence),
        is_expired=now >= statement.valid_until,
    )


def waiver_row(record: Record) -> WaiverRow:
    """A waiver as an assessment shows it."""
    statement = record.statement
    assert isinstance(statement, Waiver)  # the caller chose waivers
    return WaiverRow(
        id=record.id,
        reason=statement.reason,
        approver=record.approver or "",
        until=statement.valid_until,
        compensation=statement.compensation,
    )


def expiring_rows(people: Records, now: datetime, within: timedelta) -> tuple[ExpiringRow, ...]:
    """What has ended or ends soon."""
    return tuple(
        ExpiringRow(
            kind=record.statement.kind,
            record=record.id,
            subject=subject_of(record),
            until=record.statement.valid_until,
            is_expired=now >= record.statement.valid_until,
        )
        for record in expiring(people.records, now, within.days)
    )


def _read_record(folder: Path, name: str, trusted: TrustedKeys, system: str) -> Record:
    record = open_record(trusted, read_given(folder / name, RECORD_SIZE_MAX))
    if name != f"{record.id}.json" or record.statement.system != system:
        raise IntegrityError(f"is record {record.id} of system {record.statement.system}")
    for flaw in evidence_flaws(record.statement.evidence, folder / _EVIDENCE):
        raise IntegrityError(f"evidence {flaw.file.name}: {flaw.kind.value}")
    return record


def _folder(site: Site, system: str) -> Path:
    return site.config.state_dir / "attestations" / system


def _keep(folder: Path, name: str, data: bytes) -> None:
    try:
        make_private_directory(folder)
        write_private(folder / name, data)
    except OSError as error:
        raise ConfigurationError(f"{error.filename or folder}: {error.strerror}") from error
