"""Evidence of this machine that waits for the ledger."""

from __future__ import annotations

from contextlib import AbstractContextManager, closing

from govsec.config import Config
from govsec.ledger.queue import EvidenceQueue


def open_evidence(config: Config) -> AbstractContextManager[EvidenceQueue]:
    """The file below ``state_dir``, made when it is not there. Raises as ``govsec.database.Database``."""
    return closing(EvidenceQueue(config.state_dir / "incidents" / "evidence.db"))
