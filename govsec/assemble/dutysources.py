"""Where the duty daemon's findings come from: the spools of agents, read in order and acknowledged when all is kept.

A spool's writer is the agent. What lies in it came from modules that watch hostile things: a record that is no finding
is counted and passed over, so that one of them cannot hold up the others.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from govsec.agent.plans import SPOOL_NAME
from govsec.agent.spool import Spool, SpoolState
from govsec.agent.spoolrecord import Record
from govsec.clock import Clock
from govsec.config import Config
from govsec.incidententry import SourceConfig
from govsec.records import Finding, Severity

log = logging.getLogger(__name__)

#: Records that were pushed out of a spool, or never reached it: nobody may take them for quiet.
LOST_KIND = "agent.records.lost"
#: The self-test of an agent; nothing is wrong, and it is read back by whoever asked for it.
_CANARY_KIND = "agent.selftest.canary"
_AGENTS = ("host", "network")
#: A commit is synced to the disk between the two; where that takes longer, the next turn finds it.
_SETTLING_S = 0.25


@dataclass(frozen=True, slots=True)
class Found:
    """A finding with its place in its spool; ``origin`` is the record's digest."""

    sequence: int
    origin: str
    finding: Finding


@dataclass(frozen=True, slots=True)
class Batch:
    """Records up to ``last`` of one spool; ``unreadable_count`` were no findings."""

    epoch: str
    last: int
    found: tuple[Found, ...]
    unreadable_count: int


def sources_of(config: Config) -> tuple[SourceConfig, ...]:
    """The spools that the configuration names, else those of the agents of this machine."""
    if config.incident.duty.sources:
        return config.incident.duty.sources
    folder = config.state_dir / "agent"
    return tuple(SourceConfig(name=name, spool=folder / name / SPOOL_NAME) for name in _AGENTS)


class Source:
    """One spool, as its reader. Not for two threads."""

    def __init__(self, entry: SourceConfig, clock: Clock) -> None:
        self.name = entry.name
        self.system = entry.system
        self._path = entry.spool
        self._clock = clock
        self._spool: Spool | None = None
        self._inode = 0
        self._epoch = ""
        self._read = 0
        self._stamp: tuple[object, ...] = ()
        self._changed_at = clock.monotonic()

    @property
    def is_there(self) -> bool:
        """True when the agent has made its spool."""
        return self._path.exists()

    def close(self) -> None:
        """Give the file back."""
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def has_changed(self) -> bool:
        """True when something may have been appended since :meth:`read` found nothing; costs two looks at names."""
        return _stamp(self._path) != self._stamp

    def is_unsettled(self) -> bool:
        """True shortly after a change: what is being committed is in the file before it can be read."""
        return self._clock.monotonic() - self._changed_at < _SETTLING_S

    def read(self, limit: int) -> Batch | None:
        """The next records; None when there are none. The same again until :meth:`acknowledge` or :meth:`go_on`.

        Raises:
            As :class:`Spool`: damaged, held by somebody, or no file of this user alone.
        """
        stamp = _stamp(self._path)
        spool = self._opened()
        records = () if spool is None else spool.after(self._read, limit)
        if not records:
            if stamp != self._stamp:
                self._stamp, self._changed_at = stamp, self._clock.monotonic()
            return None
        return _batch(records, self.name)

    def go_on(self, batch: Batch) -> None:
        """All of the batch is kept elsewhere: let it go. Raises as :meth:`read`."""
        self._read = batch.last
        if self._spool is not None:
            self._spool.acknowledge(batch.last)

    def state(self) -> SpoolState | None:
        """How full the spool is; None when there is none. Raises as :meth:`read`."""
        spool = self._opened()
        return None if spool is None else spool.state()

    def _opened(self) -> Spool | None:
        try:
            inode = self._path.stat().st_ino
        except OSError:
            self.close()
            return None
        if self._spool is None or inode != self._inode:
            # A spool that was begun anew counts from one again, under another epoch.
            self.close()
            self._spool = Spool(self._path, self._clock, is_reader=True)
            state = self._spool.state()
            self._inode, self._epoch, self._read = inode, state.epoch, state.acknowledged
        return self._spool


def _batch(records: Sequence[Record], source: str) -> Batch:
    found, unreadable_count = list[Found](), 0
    # Of one file there is one epoch; were there two, the second is read by itself.
    records = [record for record in records if record.epoch == records[0].epoch]
    for record in records:
        try:
            finding = _finding_of(record, source)
        except ValidationError as error:
            unreadable_count += 1
            log.warning("record is no finding", extra={"source": source, "sequence": record.sequence})
            log.debug("record is no finding", exc_info=error)
            continue
        if finding is not None:
            found.append(Found(record.sequence, record.digest, finding))
    return Batch(records[0].epoch, records[-1].sequence, tuple(found), unreadable_count)


def _finding_of(record: Record, source: str) -> Finding | None:
    lost = record.body.get("lost")
    if isinstance(lost, dict):
        counts = ", ".join(f"{name} {count}" for name, count in sorted(lost.items()))[:1_000]
        said = {"kind": LOST_KIND, "severity": Severity.MEDIUM, "time": record.body.get("time"), "subject": source}
        return Finding.model_validate({**said, "summary": f"records of agent {source} were lost: {counts}"})
    finding = Finding.model_validate(record.body.get("finding"))
    return None if finding.kind == _CANARY_KIND else finding


def _stamp(path: Path) -> tuple[object, ...]:
    # A commit of the writer goes to the file beside the spool, or ends in the spool itself.
    found: list[object] = []
    for name in (path, path.with_name(f"{path.name}-wal")):
        try:
            status = name.stat()
            found.append((status.st_ino, status.st_mtime_ns, status.st_size))
        except OSError:
            found.append(None)
    return tuple(found)
