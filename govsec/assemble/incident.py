"""Cases of this site: the desk over its file, with the rules that came with govsec."""

from __future__ import annotations

from contextlib import AbstractContextManager, closing

from govsec.clock import Clock
from govsec.config import Config
from govsec.errors import ConfigurationError
from govsec.incident.casefile import CaseFile
from govsec.incident.deadlines import Restart
from govsec.incident.deadlinetable import shipped_deadlines
from govsec.incident.desk import Desk
from govsec.incident.rulepack import shipped_packs


def open_cases(config: Config) -> AbstractContextManager[CaseFile]:
    """The file of cases, made when it is not there. Raises as ``govsec.database.Database``."""
    path = config.incident.cases or config.state_dir / "incidents" / "cases.db"
    return closing(CaseFile(path))


def build_desk(config: Config, store: CaseFile, clock: Clock) -> Desk:
    """The desk over ``store``.

    Raises:
        ConfigurationError: a role that no rule knows.
    """
    table = shipped_deadlines()
    for role in config.incident.roles:
        if role not in table.roles:
            raise ConfigurationError(f"incident.roles: {role}: there are {', '.join(sorted(table.roles))}")
    return Desk(store, shipped_packs(), table, clock, restart=Restart(config.incident.restart))
