"""Trials as the signed ledger tells them, each with the acknowledgement that is to be believed.

Nothing counts that is not in the ledger, and of an acknowledgement only what a pinned person signed for that trial.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from govsec import canonical
from govsec.assemble.hosts import LOCAL
from govsec.assemble.ledger import ledger_stores
from govsec.assemble.systems import Site
from govsec.config import Config, SystemConfig
from govsec.crypto.document import open_document
from govsec.crypto.signing import Purpose, TrustedKeys
from govsec.errors import GovsecError, IntegrityError
from govsec.ledger.entry import Entry
from govsec.ledger.verify import LedgerReport, walk
from govsec.notice.trial import (
    ACKNOWLEDGED_KIND,
    TRIAL_KIND,
    Acknowledgement,
    Trial,
    code_sha256,
    parse_acknowledgement,
    parse_trial,
)


@dataclass(frozen=True, slots=True)
class PastTrial:
    """A trial on record. ``refused``: why an acknowledgement of it was not believed, empty when none was refused."""

    entry: Entry
    trial: Trial
    acknowledgement: Acknowledgement | None = None
    #: The later of the moment that the person signed and that the ledger wrote down: neither can be dated back alone.
    acknowledged: datetime | None = None
    refused: str = ""


def is_here(config: Config, name: str) -> bool:
    """Whether a registered host is this machine."""
    return config.hosts[name].kind == "local" if name in config.hosts else name == LOCAL


def past_trials(site: Site, system: SystemConfig) -> tuple[PastTrial, ...]:
    """The trials of a system on record, oldest first, each with the first acknowledgement that is to be believed.

    Raises:
        ConfigurationError, StoreUnavailableError: no ledger can be read. IntegrityError: the ledger has problems.
    """
    trusted = site.trusted()
    report = LedgerReport()
    found: dict[str, PastTrial] = {}
    said: list[tuple[Entry, bytes]] = []
    for entry in walk(ledger_stores(site, system), trusted, report):
        evidence = entry.evidence
        if evidence.subject != system.name:
            continue
        if evidence.kind == TRIAL_KIND:
            trial = parse_trial(dict(evidence.facts))
            found.setdefault(trial.id, PastTrial(entry, trial))
        elif evidence.kind == ACKNOWLEDGED_KIND:
            said.append((entry, canonical.dumps(evidence.facts.get("document"))))
    if report.problems_count:
        raise IntegrityError(f"the ledger has {report.problems_count} problems; run: govsec ledger verify")
    for entry, document in said:
        trial_id = str(entry.evidence.facts.get("trial"))
        past = found.get(trial_id)
        if past is None or past.acknowledgement is not None:
            continue
        try:
            believed = believed_of(document, past, trusted)
            found[trial_id] = PastTrial(past.entry, past.trial, believed, max(believed.time, entry.written))
        except GovsecError as error:
            found[trial_id] = PastTrial(past.entry, past.trial, refused=str(error))
    return tuple(sorted(found.values(), key=lambda past: (past.trial.began, past.trial.id)))


def believed_of(document: bytes, past: PastTrial, trusted: TrustedKeys) -> Acknowledgement:
    """What the document says, when a pinned person signed it for this very trial.

    Raises:
        IntegrityError, FormatError: it is for another one, altered, or by nobody who is pinned under the name in it.
    """
    body = open_document(trusted, Purpose.ATTESTATION, document, size_max=1 << 16)
    said = parse_acknowledgement(body)
    envelope = canonical.loads(document)
    assert isinstance(envelope, dict)  # open_document has taken it apart already
    name = trusted.get(Purpose.ATTESTATION, str(envelope["key"])).name
    trial = past.trial
    if said.by != name:
        raise IntegrityError(f"acknowledgement of trial {trial.id}: names {said.by!r}, and the key is {name!r}'s")
    if (said.trial, said.entry) != (trial.id, past.entry.digest):
        raise IntegrityError(f"acknowledgement of trial {trial.id}: is for another trial")
    if code_sha256(trial.id, said.code) != trial.code_sha256:
        raise IntegrityError(f"acknowledgement of trial {trial.id}: has not the code of its notice")
    if said.time < trial.began:
        raise IntegrityError(f"acknowledgement of trial {trial.id}: is older than the trial")
    return said
