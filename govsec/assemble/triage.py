"""Triage of this site: its file, what is held back by the configuration, and silences that people order."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, closing

from govsec.config import Config
from govsec.incident.levels import EventLevel
from govsec.incident.silences import Maintenance, Match
from govsec.incident.triage import Triage
from govsec.incident.triagefile import TriageFile


def open_triage_file(config: Config) -> AbstractContextManager[TriageFile]:
    """The file below ``state_dir``, made when it is not there. Raises as ``govsec.database.Database``."""
    return closing(TriageFile(config.state_dir / "incidents" / "triage.db"))


def build_triage(
    config: Config, file: TriageFile, *, level_of: Callable[[str], EventLevel] = lambda _: EventLevel.GENERAL
) -> Triage:
    """Triage over ``file`` with the maintenance and the dependencies of the configuration."""
    duty = config.incident.duty
    maintenance = [
        Maintenance(Match(work.kind, work.subject, work.system), work.reason, work.starts, work.ends)
        for work in duty.maintenance
    ]
    return Triage(file, maintenance=maintenance, parents=duty.depends, level_of=level_of)
