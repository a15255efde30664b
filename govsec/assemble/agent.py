"""Agents from the configuration: which modules ``host`` and ``network`` run, with which budgets, and their plans.

One idea: the supervisor imports nothing that a module needs. A module is named here with the function that runs in its
own process and imports there; what it will need is tried out in another process before a configuration is followed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from govsec.agent.api import Budget, ModuleSpec
from govsec.agent.plans import SPOOL_NAME, Plan
from govsec.agent.spool import Spool
from govsec.agent.spoolrecord import Record
from govsec.agententry import AgentModuleConfig
from govsec.assemble.agentwired import Wired
from govsec.clock import Clock
from govsec.config import Config, parse_config, read_bytes
from govsec.errors import ConfigurationError, GovsecError, HostUnreachableError, UsageError
from govsec.localfile import read_bounded
from govsec.privatefile import make_private_directory, write_private

log = logging.getLogger(__name__)

_KEPT_SIZE_MAX = 4 << 20


def plans_of(name: str, path: Path) -> AgentPlans:
    """Plans of the agent ``name`` by the configuration in ``path``.

    Raises:
        UsageError: there is no agent of this name.
    """
    if name not in AGENTS:
        raise UsageError(f"there is no agent {name}: {' or '.join(AGENTS)}")
    return AgentPlans(name, path)


class AgentPlans:
    """A :class:`govsec.agent.plans.Plans`: the last good configuration is kept as a file in the state directory."""

    def __init__(self, name: str, path: Path) -> None:
        self.path = path
        self._name = name
        self._data = b""
        # One file a configuration, so that trying out another one never brings back this one.
        digest = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]
        # Not by the configuration, which cannot be read when this is needed.
        state = Path(os.environ.get("STATE_DIRECTORY", "").split(":")[0] or Config().state_dir)
        self._kept = state / "agent" / name / f"last-good-{digest}.yaml"

    def load(self) -> Plan:
        data = read_bytes(self.path)
        plan = plan_of(self._name, parse_config(data, self.path))
        self._data = data
        return plan

    def keep(self) -> None:
        try:
            make_private_directory(self._kept.parent)
            write_private(self._kept, self._data)
        except OSError as error:
            log.warning("last good configuration not kept", extra={"error": f"{self._kept}: {error.strerror}"})

    def last_good(self) -> Plan | None:
        try:
            return plan_of(self._name, parse_config(read_bounded(self._kept, _KEPT_SIZE_MAX), self.path))
        except (OSError, GovsecError) as error:
            log.info("no last good configuration", extra={"error": str(error)})
            return None


def plan_of(name: str, config: Config) -> Plan:
    """What the agent ``name`` does by ``config``.

    Raises:
        ConfigurationError: a module that is named does not exist, or a setting is wrong; or nothing would run.
    """
    wired = AGENTS[name](config)
    _check_names(config)
    modules = []
    tried = []
    for module in wired:
        entry = config.agent.modules.get(module.entry or module.name, AgentModuleConfig())
        if entry.enabled:
            modules.append(_spec(module, entry, config))
            tried.append(module.try_out)
    if not modules:
        raise ConfigurationError(f"agent {name}: nothing is left to run")

    def try_out() -> None:
        for each in tried:
            each()

    return Plan(name, config.agent, agent_directory(name, config), tuple(modules), try_out)


def spooled(
    name: str, config: Config, clock: Clock, *, after: int | None = None, limit: int = 50
) -> tuple[Record, ...]:
    """At most ``limit`` records in the spool of the agent ``name``: those behind ``after``, or else the newest.

    Raises:
        HostUnreachableError: there is no spool; the agent never ran here.
        IntegrityError, TryAgainError: it is damaged, or held by somebody.
    """
    path = agent_directory(name, config) / SPOOL_NAME
    if not path.exists():
        raise HostUnreachableError(f"{path}: no agent {name} has ever run here")
    with Spool(path, clock, is_reader=True) as spool:
        start = max(0, spool.state().head_sequence - limit) if after is None else after
        return spool.after(start, limit)


def check_agents(config: Config) -> None:
    """Try out what the agents of this configuration would need; the network's only where interfaces are named.

    Raises:
        GovsecError: what is wrong.
    """
    for name in AGENTS:
        if name != "network" or config.agent.interfaces:
            plan_of(name, config).try_out()


def agent_directory(name: str, config: Config) -> Path:
    """Where the agent ``name`` keeps what is its own."""
    return config.state_dir / "agent" / name


def _check_names(config: Config) -> None:
    from govsec.assemble import agenthost, agentnetwork

    known = {*agenthost.ENTRIES, *agentnetwork.ENTRIES}
    unknown = sorted(set(config.agent.modules) - known)
    if unknown:
        raise ConfigurationError(
            f"agent.modules: there is no module {unknown[0]}; there are {', '.join(sorted(known))}"
        )


def _spec(module: Wired, entry: AgentModuleConfig, config: Config) -> ModuleSpec:
    usual = module.budget
    budget = Budget(
        cpu_percent_max=entry.cpu_percent_max or usual.cpu_percent_max,
        memory_max_bytes=(entry.memory_max_mb or 0) << 20 or usual.memory_max_bytes,
        hang_s=entry.hang_s or usual.hang_s,
        stop_s=entry.stop_s or usual.stop_s,
        nice=usual.nice if entry.nice is None else entry.nice,
        findings_per_minute_max=entry.findings_per_minute_max or usual.findings_per_minute_max,
    )
    settings: Mapping[str, JsonValue] = dict(entry.settings)
    return ModuleSpec(module.name, module.run, settings, budget, _version(module, config))


def _version(module: Wired, config: Config) -> str:
    """Changes when a part of the configuration does that the module is made from."""
    dumped = config.model_dump(mode="json", include=set(module.parts))
    return hashlib.sha256(json.dumps(dumped, sort_keys=True).encode()).hexdigest()


def _host(config: Config) -> Sequence[Wired]:
    from govsec.assemble.agenthost import host_modules

    return host_modules(config)


def _network(config: Config) -> Sequence[Wired]:
    from govsec.assemble.agentnetwork import network_modules

    return network_modules(config)


AGENTS: Mapping[str, Callable[[Config], Sequence[Wired]]] = {"host": _host, "network": _network}
