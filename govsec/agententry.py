"""What ``agent`` of the configuration says: which modules run, what each may use, where the agent speaks and writes.

Defaults of a module are those of the program that runs it (see docs/agents.md); what is written here replaces them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

_Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AgentModuleConfig(_Entry):
    """One module of an agent: whether it runs, and its budget; beyond it, it is paused or started again."""

    enabled: bool = True
    cpu_percent_max: float | None = Field(default=None, gt=0, le=1_600, description="of one core, over ten seconds")
    memory_max_mb: int | None = Field(default=None, ge=16, le=65_536, description="of the module and what it starts")
    hang_s: float | None = Field(default=None, ge=20, le=86_400, description="longest silence before it is killed")
    stop_s: float | None = Field(default=None, ge=1, le=300, description="from being told to end to being killed")
    nice: int | None = Field(default=None, ge=0, le=19, description="higher ones yield to others")
    findings_per_minute_max: int | None = Field(default=None, ge=1, le=100_000)
    settings: Mapping[_Name, JsonValue] = Field(default_factory=dict, description="of the module itself")


class AgentSpoolConfig(_Entry):
    """Where findings wait until somebody above has taken them: below ``state_dir``."""

    size_max_mb: int = Field(default=256, ge=1, le=65_536, description="beyond it the oldest of least weight go")


class AgentMetricsConfig(_Entry):
    """Prometheus metrics of the agent, for whoever asks for them on this machine."""

    file: Path | None = Field(default=None, description="text file for node_exporter's textfile collector (*.prom)")
    every_s: float = Field(default=15, ge=5, le=3_600)
    address: str = Field(default="127.0.0.1", description="loopback address of the port")
    port: int | None = Field(default=None, ge=1, le=65_535, description="answers GET /metrics; default: none")
    socket: Path | None = Field(default=None, description="unix socket that answers GET /metrics")

    @field_validator("address")
    @classmethod
    def _is_loopback(cls, address: str) -> str:
        if not ipaddress.ip_address(address).is_loopback:
            raise ValueError(f"{address} is no loopback address; metrics tell too much for a network")
        return address


class AgentConfig(_Entry):
    """The agents of this machine: ``govsec agent run host`` and ``govsec agent run network``."""

    interfaces: tuple[str, ...] = Field(
        default=(), max_length=16, description="the network agent listens to these; a module each"
    )
    run_dir: Path = Field(default=Path("/run"), description="below it govsec-<agent>/ has the control socket")
    spool: AgentSpoolConfig = AgentSpoolConfig()
    metrics: AgentMetricsConfig = AgentMetricsConfig()
    reload_watch_s: float = Field(
        default=0, ge=0, le=3_600, description="look for a changed configuration so often; 0: only at SIGHUP"
    )
    selftest_every_s: float = Field(default=86_400, ge=0, le=604_800, description="0: only when asked for")
    modules: Mapping[_Name, AgentModuleConfig] = Field(default_factory=dict, description="by module")

    @model_validator(mode="after")
    def _are_names(self) -> Self:
        for name in self.interfaces:
            # Source: the kernel's dev_valid_name(), IFNAMSIZ.
            if not 0 < len(name) < 16 or name in (".", "..") or any(each.isspace() or each in "/:" for each in name):
                raise ValueError(f"interfaces: {name!r} cannot be the name of an interface")
        if len(set(self.interfaces)) != len(self.interfaces):
            raise ValueError("interfaces: one stands there twice")
        return self
