"""What ``notify`` of the configuration says: the channels by which people are told, and what goes to which.

Whatever is secret (a robot's address with its key, passwords, keys to sign with) is a file that its owner alone can
read.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from govsec.rotaentry import ChainConfig, PersonConfig, ShiftConfig

_Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
_Host = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[^\s/@:]+$|^[0-9a-fA-F:.]+$")]
#: A value in a template of an SMS gateway.
_Value = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
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


class WecomAppConfig(_Reaching):
    """An application of WeCom: messages to members, with files."""

    kind: Literal["wecom_app"]
    corp_id: str = Field(min_length=1, max_length=100)
    agent_id: int = Field(ge=0)
    secret_file: Path = Field(description="the application's secret")
    users: tuple[Annotated[str, Field(pattern=r"^[^|\s]{1,64}$")], ...] = Field(default=(), max_length=1000)
    parties: tuple[Annotated[str, Field(pattern=r"^[0-9]{1,10}$")], ...] = Field(default=(), max_length=100)
    tags: tuple[Annotated[str, Field(pattern=r"^[0-9]{1,10}$")], ...] = Field(default=(), max_length=100)
    url: str = Field(
        default="https://qyapi.weixin.qq.com", max_length=2000, description="WeCom's, or a site's own installation"
    )

    @model_validator(mode="after")
    def _is_for_somebody(self) -> WecomAppConfig:
        if not (self.users or self.parties or self.tags):
            raise ValueError("users, parties or tags: a message is for somebody")
        return self


class SmsAnswerConfig(_Entry):
    """How the answer's body says yes. What it says is compared as text: ``true``, ``0``, ``OK``."""

    at: str | None = Field(
        default=None, max_length=200, pattern=r"^(/[^/]*)+$", description="where in an answer of JSON (RFC 6901): /Code"
    )
    between: tuple[Annotated[str, Field(max_length=100)], Annotated[str, Field(max_length=100)]] | None = Field(
        default=None, description="in any other answer, the text between these two: ['<code>', '</code>'], ['', ',']"
    )
    yes: tuple[Annotated[str, Field(max_length=100)], ...] = Field(min_length=1, max_length=20)
    busy: tuple[Annotated[str, Field(max_length=100)], ...] = Field(
        default=(), max_length=50, description="what it says when another try may help"
    )
    number_at: str | None = Field(default=None, max_length=200, pattern=r"^(/[^/]*)+$")

    @model_validator(mode="after")
    def _looks_somewhere(self) -> SmsAnswerConfig:
        if (self.at is None) == (self.between is None):
            raise ValueError("at (JSON) or between (text): one of them says where the answer is")
        return self


class SmsValueConfig(_Entry):
    """A value that is computed: a digest of a template, keyed or not."""

    name: _Value
    how: Literal["md5", "sha1", "sha256", "sha512", "sm3"]
    of: str = Field(max_length=4000)
    key: str | None = Field(default=None, max_length=2000, description="a template: an HMAC with it")
    form: Literal["hex", "base64", "raw"] = "hex"


class SmsConfig(_Reaching):
    """A gateway for short messages over HTTP; docs/notices.md has the template language and common gateways."""

    kind: Literal["sms"]
    url: str = Field(max_length=2000)
    plain: bool = Field(default=False, description="allow http, for a gateway in the site's own net")
    recipients: tuple[Annotated[str, Field(pattern=r"^\+?[0-9]{3,20}$")], ...] = Field(min_length=1, max_length=50)
    method: Literal["POST", "GET"] = "POST"
    charset: Literal["utf-8", "gb18030"] = "utf-8"
    settings: Mapping[_Value, Annotated[str, Field(max_length=500)]] = Field(
        default_factory=dict, max_length=50, description="values for templates: account, signature, template code"
    )
    secrets: Mapping[_Value, Path] = Field(
        default_factory=dict, max_length=10, description="values for templates that are kept in files"
    )
    values: tuple[SmsValueConfig, ...] = Field(default=(), max_length=20)
    query: Mapping[str, str] = Field(default_factory=dict, max_length=50, description="goes into the address")
    form: Mapping[str, str] | None = Field(default=None, description="a body of form fields")
    json_: Mapping[str, JsonValue] | None = Field(default=None, alias="json", description="a body of JSON")
    xml: str | None = Field(default=None, max_length=8000, description="a body of XML; values are escaped")
    signed: Mapping[str, str] = Field(
        default_factory=dict, max_length=10, description="fields added after `{fields}` was made: the signature"
    )
    wrap: Literal["none", "base64"] = "none"
    headers: Mapping[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,60}$")], str] = Field(
        default_factory=dict, max_length=20
    )
    answer: SmsAnswerConfig
    text_max: int = Field(default=300, ge=20, le=2000, description="characters that the gateway takes at once")
    parts_max: int = Field(default=3, ge=1, le=10)
    lines_max: int = Field(default=2, ge=0, le=20, description="lines of a notice after its title")
    per_minute: int = Field(default=30, ge=1, le=6000)
    per_day: int = Field(default=500, ge=1, le=1_000_000, description="a day's messages, because each costs money")

    @model_validator(mode="after")
    def _has_one_body(self) -> SmsConfig:
        bodies = sum(each is not None for each in (self.form, self.json_, self.xml))
        if bodies != (self.method == "POST"):
            raise ValueError("POST has one of form, json and xml; GET has none")
        names = [*self.settings, *self.secrets, *(value.name for value in self.values)]
        for name in {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{name}: said twice")
        return self


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
    RobotConfig
    | WecomAppConfig
    | SmsConfig
    | WebhookConfig
    | MailConfig
    | SyslogConfig
    | FileChannelConfig
    | CommandConfig,
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
