"""The host agent: modules that measure the machine, judge what is and happens on it, and ask its services."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TypeVar

from pydantic import ValidationError

from govsec.agent.api import Budget
from govsec.agententry import AgentModuleConfig
from govsec.assemble.agentguard import GuardModuleSettings, run_guard, try_guard
from govsec.assemble.agentmetrics import MetricsSettings, run_metrics, try_metrics
from govsec.assemble.agentservices import run_services, try_services
from govsec.assemble.agentwired import Wired
from govsec.config import Config, Model, explain
from govsec.errors import ConfigurationError

METRICS, GUARD, SERVICES = "metrics", "guard", "services"
ENTRIES = (METRICS, GUARD, SERVICES)
_Settings = TypeVar("_Settings", bound=Model)
_MB = 1 << 20


def host_modules(config: Config) -> Sequence[Wired]:
    """What runs on a host; services only where the configuration names some.

    Raises:
        ConfigurationError: a setting of a module is wrong.
    """
    metrics = read_settings(MetricsSettings, config, METRICS)
    guard = read_settings(GuardModuleSettings, config, GUARD)
    modules = [
        Wired(
            METRICS,
            partial(run_metrics, metrics),
            Budget(cpu_percent_max=5, memory_max_bytes=80 * _MB, hang_s=120, nice=10),
            try_metrics,
        ),
        Wired(
            GUARD,
            partial(run_guard, config, guard),
            # A busy file server or a compile job is judged at full speed for a while; a quiet machine costs nothing.
            Budget(cpu_percent_max=50, memory_max_bytes=200 * _MB, hang_s=300, stop_s=20, nice=5),
            partial(try_guard, config, guard),
            parts=("guard", "state_dir", "signing", "monitor"),
        ),
    ]
    if config.services:
        budget = Budget(cpu_percent_max=20, memory_max_bytes=120 * _MB, hang_s=120, nice=10)
        parts = ("services", "state_dir", "monitor")
        modules.append(
            Wired(SERVICES, partial(run_services, config), budget, partial(try_services, config), parts=parts)
        )
    return modules


def read_settings(model: type[_Settings], config: Config, entry: str) -> _Settings:
    """``agent.modules.<entry>.settings``. Raises ``ConfigurationError``."""
    given = config.agent.modules.get(entry, AgentModuleConfig()).settings
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise ConfigurationError(f"agent.modules.{entry}.settings.{explain(error)}") from error
