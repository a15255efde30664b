"""What ``incident`` of the configuration says: who reports here, and how clocks are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

_Role = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


_Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
_System = Annotated[str, Field(max_length=200)]
_Word = Annotated[str, Field(min_length=1, max_length=200)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceConfig(_Entry):
    """Where findings come from: the spool of an agent."""

    name: _Name
    spool: Path = Field(description="the agent's file, spool.db; this user's own")
    system: _System = Field(default="", description="what its findings are about, where nothing says more")


class ServiceDutyConfig(_Entry):
    """What a service that is asked from outside (``services``) means for cases."""

    system: _System = Field(default="", description="the system it belongs to; default: the service's name")
    down: Literal["portal_down_h", "cii_total_min", "cii_main_min"] | None = Field(
        default=None, description="the fact that an outage is (default: portal_down_h for services of kind portal)"
    )
    home_pages: tuple[_Word, ...] = Field(
        default=(), max_length=50, description="pages of the service that are home pages (default: those with path /)"
    )
    facts: Mapping[_Word, _Word] = Field(
        default_factory=dict,
        max_length=50,
        description="what holds of it in any case, as portal_kind: prefecture_government",
    )


class MaintenanceConfig(_Entry):
    """Work that was announced: findings of it are counted, and told to nobody."""

    kind: str = Field(default="", max_length=100, description="a kind, or what it begins with; empty: any")
    subject: _Word = Field(default="*", description="* and ? stand for what may differ")
    system: _Word = "*"
    reason: _Word
    starts: AwareDatetime
    ends: AwareDatetime

    @model_validator(mode="after")
    def _is_meant(self) -> MaintenanceConfig:
        if self.ends <= self.starts:
            raise ValueError("ends before it starts")
        if not self.kind and not self.subject.strip("*?") and not self.system.strip("*?"):
            raise ValueError("names a kind, a subject or a system; everything at once cannot be held back")
        return self


class DutyConfig(_Entry):
    """The duty daemon: from agents' findings to notices, cases and evidence, by itself."""

    sources: tuple[SourceConfig, ...] = Field(
        default=(), max_length=100, description="spools to read (default: those of this machine's agents)"
    )
    services: Mapping[_Name, ServiceDutyConfig] = Field(default_factory=dict, max_length=1000)
    open_from: Literal["low", "medium", "high", "critical"] = Field(
        default="high", description="findings from here on open a case; milder ones join one that is open"
    )
    maintenance: tuple[MaintenanceConfig, ...] = Field(default=(), max_length=1000)
    depends: Mapping[_Word, tuple[_Word, ...]] = Field(
        default_factory=dict,
        max_length=10_000,
        description="subject: what it needs; a host that is down takes its services with it",
    )
    cases_per_hour: int = Field(
        default=30, ge=1, le=10_000, description="beyond it, findings of a system share one case"
    )
    drills_every_s: float = Field(
        default=21_600, ge=0, le=604_800, description="look so often for failed and stale drills; 0: never"
    )
    ledger_system: _System | None = Field(
        default=None, description="the system whose ledger has the evidence (default: the only one)"
    )
    anchor_every_s: float = Field(
        default=900, ge=10, le=86_400, description="put the ledger's head into every center so often, when it moved"
    )
    metrics_file: Path | None = Field(default=None, description="text file for node_exporter (*.prom)")


class IncidentConfig(BaseModel):
    """Incidents: the roles of this organization before the law, and where cases are kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    roles: tuple[_Role, ...] = Field(
        default=("other_operator",),
        min_length=1,
        max_length=10,
        description="as whom events are reported: cii_operator, other_operator, central_department, county_government, "
        "or who passes reports on: protection_department, central_cyberspace_office, provincial_cyberspace_office",
    )
    restart: Literal["first_awareness", "level_reached"] = Field(
        default="first_awareness",
        description="from when a limit runs after an event has become worse; the first is the stricter reading",
    )
    cases: Path | None = Field(default=None, description="the file of cases (default: incidents/cases.db of state_dir)")
    duty: DutyConfig = DutyConfig()
