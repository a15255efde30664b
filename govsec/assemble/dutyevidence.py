"""What the duty daemon proves, and in whose ledger: what became of each notice on each channel."""

from __future__ import annotations

from pydantic import JsonValue

from govsec.canonical import digest
from govsec.clock import format_time
from govsec.config import Config, SystemConfig
from govsec.errors import ConfigurationError
from govsec.ledger.queue import EvidenceQueue
from govsec.notice.outbox import Item, Outbox
from govsec.records import Evidence

_LIMIT = 500


def record_notices(outbox: Outbox, evidence: EvidenceQueue) -> None:
    """Keep what became of notices for the ledger; after a crash in between, of some a second time.

    Raises:
        As ``govsec.database.Database``.
    """
    while items := outbox.unrecorded(_LIMIT):
        evidence.record_all([_notice_evidence(item) for item in items])
        outbox.mark_recorded([item.id for item in items])


def ledger_system(config: Config) -> SystemConfig | None:
    """The system whose ledger has the evidence; None where there is none.

    Raises:
        ConfigurationError: one is named that is not there.
    """
    wanted = config.incident.duty.ledger_system
    systems = {system.name: system for system in config.systems}
    if wanted is not None and wanted not in systems:
        raise ConfigurationError(f"incident.duty.ledger_system: there is no system {wanted}")
    if config.signing.evidence_key_file is None or config.signing.roots_file is None or not config.centers:
        return None
    if wanted is not None:
        return systems[wanted]
    return next(iter(systems.values())) if len(systems) == 1 else None


def _notice_evidence(item: Item) -> Evidence:
    receipt, notice = item.receipt, item.notice
    facts: dict[str, JsonValue] = {
        "key": notice.key, "channel": item.channel, "kind": notice.kind, "severity": notice.severity.name.lower(),
        "state": item.state.value, "tries": item.tries, "put_at": format_time(item.created_at),
        "digest": digest(notice.canonical()),
    }  # fmt: skip
    if item.part is not None:
        # By number: whose address or telephone it is stays out of what is kept for ever.
        facts |= {"part": item.part.number, "parts_count": item.part.count}
    if receipt is not None:
        facts |= {"receipt": receipt.state.value, "number": receipt.number, "received_at": format_time(receipt.time)}
    if item.error:
        facts["error"] = item.error
    moment = receipt.time if receipt is not None else item.next_at
    kind = "notice.delivered" if receipt is not None else "notice.dead"
    return Evidence(kind=kind, time=moment, subject=notice.subject, facts=facts)
