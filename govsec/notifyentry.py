"""What ``notify`` of the configuration says: the channels by which people are told, and what goes to which.

Whatever is secret (a robot's address with its key, passwords, keys to sign with) is a file that its owner alone can
read.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from govsec.rotaentry import ChainConfig, PersonConfig, ShiftConfig

_Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
_Host = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[^\s/@:]+$|^[0-9a-fA-F:.]+$")]
_Port = Annotated[int, Field(ge=1, le=65535)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Reaching(_Entry):
    addresses: tuple[str, ...] = Field(
        default=(), max_length=20, description="networks that may be reached although they are not normal: 127.0.0.0/8"
    )
    ca_file: Path | None = Field(default=None, description="authorities to trust in place of the system's")

    @field_validator("addresses")
    @classmethod
    def _are_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ipaddress.ip_network(network)
        return networks


class RobotConfig(_Reaching):
    """A chat robot of one group."""

    kind: Literal["dingtalk", "wecom", "feishu"]
    url_file: Path = Field(description="the robot's address, which holds its key")
    secret_file: Path | None = Field(default=None, description="what its messages are signed with; not for wecom")


class WebhookConfig(_Reaching):
    """A signed CloudEvent to an address."""

    kind: Literal["webhook"]
    url: str = Field(max_length=2000)
    secret_file: Path
    digest: Literal["sha256", "sm3"] = "sha256"
    plain: bool = Field(default=False, description="allow http, for a gateway on this machine's own net")


class MailConfig(_Reaching):
    """Mail."""

    kind: Literal["smtp"]
    host: _Host
    port: _Port = 587
    tls: Literal["starttls", "implicit"] = "starttls"
    sender: str = Field(max_length=320)
    recipients: tuple[Annotated[str, Field(max_length=320)], ...] = Field(min_length=1, max_length=100)
    user: str = Field(default="", max_length=320)
    password_file: Path | None = None


class SyslogConfig(_Reaching):
    """A log collector that takes RFC 5424 over TLS."""

    kind: Literal["syslog"]
    host: _Host
    port: _Port = 6514


class FileChannelConfig(_Entry):
    """Lines of JSON in a file."""

    kind: Literal["file"]
    path: Path


class CommandConfig(_Entry):
    """A program that gets the notice as JSON on standard input."""

    kind: Literal["command"]
    argv: tuple[Annotated[str, Field(min_length=1, max_length=4096)], ...] = Field(min_length=1, max_length=100)
    timeout_s: float = Field(default=50.0, gt=0, le=120)


ChannelConfig = Annotated[
    RobotConfig | WebhookConfig | MailConfig | SyslogConfig | FileChannelConfig | CommandConfig,
    Field(discriminator="kind"),
]


class RouteConfig(_Entry):
    """Which notices go to which channels."""

    channels: tuple[_Name, ...] = Field(min_length=1, max_length=20)
    severity_min: Literal["info", "low", "medium", "high", "critical"] = "info"
    systems: tuple[str, ...] = Field(default=(), max_length=1000, description="of these systems only; empty: of all")


class NotifyConfig(_Entry):
    """Channels and routes."""

    channels: Mapping[_Name, ChannelConfig] = Field(default_factory=dict)
    routes: tuple[RouteConfig, ...] = Field(default=(), max_length=100, description="every route that fits is used")
    kept_days: int = Field(
        default=90, ge=1, le=36_500, description="how long what was delivered stays in the outbox, with its receipt"
    )
    people: Mapping[_Name, PersonConfig] = Field(
        default_factory=dict, max_length=1000, description="who can be called, and how"
    )
    rotas: Mapping[_Name, Annotated[tuple[ShiftConfig, ...], Field(max_length=100)]] = Field(
        default_factory=dict, max_length=100, description="who is on duty when; all shifts that hold count together"
    )
    escalation: tuple[ChainConfig, ...] = Field(
        default=(),
        max_length=100,
        description="who is called until a person takes a case on; the chain that asks for "
        "the highest level, then severity, of those that fit counts",
    )
    workdays: Path | None = Field(
        default=None, description="holidays and swapped working days (default: China's, as they came with govsec)"
    )
    zone: Annotated[str, Field(pattern=r"^[+-](0[0-9]|1[0-4]):[0-5][0-9]$")] = Field(
        default="+08:00", description="the clock of rotas and hours"
    )

    @model_validator(mode="after")
    def _routes_lead_somewhere(self) -> NotifyConfig:
        for route in self.routes:
            for name in route.channels:
                if name not in self.channels:
                    raise ValueError(f"routes: no channel {name}")
        return self

    @model_validator(mode="after")
    def _people_are_known(self) -> NotifyConfig:
        for name, person in self.people.items():
            for channel in person.channels:
                if channel not in self.channels:
                    raise ValueError(f"people: {name}: no channel {channel}")
        for rota, shifts in self.rotas.items():
            _known([name for shift in shifts for name in shift.people], self.people, f"rotas: {rota}: no person")
        for chain in self.escalation:
            _known([name for step in chain.steps for name in step.people], self.people, "escalation: no person")
            _known([step.rota for step in chain.steps if step.rota], self.rotas, "escalation: no rota")
        if self.escalation and not self.channels:
            raise ValueError("escalation: there is no channel by which anybody could be called")
        return self


def _known(names: Iterable[str], known: Container[str], what: str) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{what} {name}")
