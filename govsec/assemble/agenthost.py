"""The host agent: modules that measure the machine, judge what is and happens on it, and ask its services."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TypeVar

from pydantic import ValidationError

from govsec.agent.api import Budget
from govsec.agententry import AgentModuleConfig
from govsec.assemble.agent import Wired
from govsec.assemble.agentmetrics import MetricsSettings, run_metrics, try_metrics
from govsec.config import Config, Model, explain
from govsec.errors import ConfigurationError

METRICS = "metrics"
ENTRIES = (METRICS,)
_Settings = TypeVar("_Settings", bound=Model)


def host_modules(config: Config) -> Sequence[Wired]:
    """What runs on a host.

    Raises:
        ConfigurationError: a setting of a module is wrong.
    """
    metrics = read_settings(MetricsSettings, config, METRICS)
    return [
        Wired(
            METRICS,
            partial(run_metrics, metrics),
            Budget(cpu_percent_max=5, memory_max_bytes=80 << 20, hang_s=120, nice=10),
            try_metrics,
        ),
    ]


def read_settings(model: type[_Settings], config: Config, entry: str) -> _Settings:
    """``agent.modules.<entry>.settings``. Raises ``ConfigurationError``."""
    given = config.agent.modules.get(entry, AgentModuleConfig()).settings
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise ConfigurationError(f"agent.modules.{entry}.settings.{explain(error)}") from error
