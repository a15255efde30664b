"""The module ``services`` of the host agent: the configured services, asked in their turn."""

from __future__ import annotations

from govsec.agent.api import Context
from govsec.config import Config

_STEP_S = 2.0


def try_services(config: Config) -> None:
    """Import what the module needs; whether services answer is not asked."""
    import govsec.assemble.services  # noqa: F401 - to see that it can be


def run_services(config: Config, context: Context) -> None:
    """Ask until told to end."""
    from govsec.assemble.services import SiteServices

    with SiteServices(config, context.clock) as services:
        while not context.alive():
            for finding in services.step(_STEP_S):
                context.emit(finding)
