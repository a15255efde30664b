"""Object lock after shipping: what arrived at a center of this site is locked before the round ends.

What the newest commits name is locked at once. Once a day everything that the center keeps is looked at, because a lock
that was set when a pack was new runs out while the pack is still needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from govsec.assemble.systems import Site
from govsec.centers.retain import LockReport, extend_locks
from govsec.clock import format_time, parse_time
from govsec.config import SystemConfig
from govsec.errors import ConfigurationError, GovsecError
from govsec.privatefile import make_private_directory, write_private
from govsec.progress import ProgressSink, silent

_WHOLE_EVERY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Locking:
    """What became of the locks in one round: a report, or the error that kept it from one."""

    report: LockReport | None
    error: GovsecError | None = None

    @property
    def problem(self) -> str | None:
        """Why something is not locked that should be, in one line; None when all is."""
        if self.error is not None:
            return f"not locked: {self.error}"
        if self.report is not None and (self.report.failed or self.report.missing):
            name, reason = self.report.failed[0] if self.report.failed else (self.report.missing[0], "missing")
            return f"{len(self.report.failed) + len(self.report.missing)} objects not locked, {name}: {reason}"
        return None


def lock_shipped(
    site: Site, system: SystemConfig, center: str, commits_count: int, *, progress: ProgressSink = silent
) -> Locking | None:
    """Lock what the newest ``commits_count`` commits name, once a day everything; None where this site locks nothing.

    Errors are in what it gives back: a round that shipped has shipped, and whoever asked must hear both.
    """
    name, found = site.center(center)
    if found.object_lock is None or found.owner_credentials_file is None:
        return None
    record = site.config.state_dir / system.name / f"locked-{name}"
    began = site.clock.now()
    last = _last_whole(record)
    is_whole = last is None or not timedelta(0) <= began - last < _WHOLE_EVERY
    if not is_whole and not commits_count:
        return None
    try:
        store = site.owner_store(system, name)
        if store is None:
            raise ConfigurationError(f"center {name}: a directory has no object lock")
        report = extend_locks(
            store,
            site.trusted(),
            found.object_lock,
            clock=site.clock,
            newest_count=None if is_whole else commits_count,
            progress=progress,
        )
        if is_whole and not report.failed and not report.missing:
            _remember(record, began)
    except GovsecError as error:
        return Locking(None, error)
    return Locking(report)


def _last_whole(record: Path) -> datetime | None:
    """When everything was locked last; None when that is not known, and then it is done again."""
    try:
        return parse_time(record.read_text(encoding="ascii").strip())
    except (OSError, ValueError, GovsecError):
        return None


def _remember(record: Path, moment: datetime) -> None:
    try:
        make_private_directory(record.parent)
        write_private(record, format_time(moment).encode() + b"\n")
    except OSError as error:
        raise ConfigurationError(f"{record}: {error.strerror}") from error
