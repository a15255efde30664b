"""What ``services`` of the configuration says: which services are asked, how, and what they must answer.

One idea: a service is asked as its users ask it, step by step, and all that the answer is held against is written here.
Secrets are files; ``${name}`` in a step stands for a secret, or for a value that an earlier step kept. A host may not
be written by a placeholder: where requests go is decided here and nowhere else.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    TypeAdapter,
    field_validator,
    model_validator,
)
from pydantic_core import SchemaError

from govsec.registerentry import SystemKind

PLACEHOLDER = re.compile(r"\$\{([a-z0-9][a-z0-9_-]{0,62})\}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,80}")  # a token of RFC 9110, 5.6.2
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
#: What the exchange itself writes, or what would let one request become two.
_OWN_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection", "cookie", "te", "upgrade"})
_URL_MAX = 2000


def _as_url(text: str) -> str:
    if _CONTROL.search(text) or " " in text or len(text) > _URL_MAX:
        raise ValueError(f"is no URL of at most {_URL_MAX} characters without blanks")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"is no URL: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is no URL that begins with http:// or https:// and names a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("holds a user; secrets are files, named in headers or forms")
    if "$" in parts.netloc or port == 0:
        raise ValueError("writes its host or port by a placeholder, or names port 0")
    return text


def _as_pattern(text: str) -> str:
    try:
        matcher(text)
    except SchemaError as error:
        raise ValueError("is no pattern of the linear kind (no look-around, no back-references)") from error
    return text


def _plain(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("has a control character or a line break")
    return text


def matcher(pattern: str) -> TypeAdapter[str]:
    """What is valid when the pattern occurs in a text.

    The engine is Rust's ``regex`` (it comes with pydantic): its time grows with the text alone, whatever the pattern,
    so no answer can hold a probe for ever. It has no look-around and no back-references.

    Raises:
        SchemaError: no such pattern, or one that grows beyond the engine's limit.
    """
    return TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)])


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Url = Annotated[str, AfterValidator(_as_url)]
Pattern = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_as_pattern)]
Plain = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_plain)]
Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,253}$")]
Family = Literal["ipv4", "ipv6"]
BOTH: tuple[Family, ...] = ("ipv4", "ipv6")


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class SecretConfig(_Entry):
    """A secret of a test account. It is sent where a step names it, and appears in no report."""

    file: Path = Field(description="mode 0600; or ${CREDENTIALS_DIRECTORY}/NAME")
    totp: bool = Field(default=False, description="the file holds a base32 key; six digits of this moment are sent")


class Keep(_Entry):
    """Where a value for later steps is found in an answer: exactly one of the three ways."""

    header: str | None = Field(default=None, max_length=80)
    json_path: str | None = Field(default=None, alias="json", max_length=200, description="as data.items[0].token")
    after: str | None = Field(default=None, min_length=1, max_length=200, description="the text before the value")
    before: str = Field(default='"', min_length=1, max_length=200, description="the text behind it, with after")

    @model_validator(mode="after")
    def _one_way(self) -> Keep:
        if sum(way is not None for way in (self.header, self.json_path, self.after)) != 1:
            raise ValueError("needs exactly one of header, json and after")
        return self


class Expectation(_Entry):
    """What an answer must be."""

    status: tuple[Annotated[int, Field(ge=200, le=599)], ...] = Field(default=(200,), min_length=1, max_length=20)
    headers: Mapping[str, Plain] = Field(default_factory=dict, max_length=20, description="name: text in its value")
    body_contains: tuple[Plain, ...] = Field(default=(), max_length=20)
    body_lacks: tuple[Plain, ...] = Field(default=(), max_length=20)
    body_matches: tuple[Pattern, ...] = Field(
        default=(), max_length=20, description="patterns in the syntax of Rust's regex: no look-around"
    )
    json_equals: Mapping[str, JsonValue] = Field(
        default_factory=dict, alias="json", max_length=50, description="path: value, as data.state: ok"
    )


class StepConfig(_Entry):
    """One request, and what must come back."""

    name: Name
    url: Url
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = "GET"
    headers: Mapping[str, Plain] = Field(default_factory=dict, max_length=30)
    form: Mapping[str, str] | None = Field(default=None, max_length=50, description="sent URL-encoded")
    json_body: JsonValue = Field(default=None, alias="json", description="sent as JSON")
    body: str | None = Field(default=None, max_length=64 << 10, description="sent as it is; name its Content-Type")
    expect: Expectation = Expectation()
    keep: Mapping[Name, Keep] = Field(default_factory=dict, max_length=10)
    redirects_max: int = Field(default=5, ge=0, le=10, description="0: an answer that redirects is the answer")
    latency_max_s: float | None = Field(
        default=None, gt=0, le=600, description="slower is a finding, whatever is usual"
    )
    size_bytes_max: int = Field(default=1 << 20, ge=1, le=16 << 20, description="of an answer; more is a failure")

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, headers: Mapping[str, str]) -> Mapping[str, str]:
        for name in headers:
            if not _HEADER_NAME.fullmatch(name) or name.lower() in _OWN_HEADERS:
                raise ValueError(f"header {name[:80]!r} cannot be set")
        return headers

    @model_validator(mode="after")
    def _has_one_body(self) -> StepConfig:
        if sum(body is not None for body in (self.form, self.json_body, self.body)) > 1:
            raise ValueError("has more than one of form, json and body")
        return self

    def placeholders(self) -> Iterator[str]:
        """Every name that the step wants put in."""
        texts = [self.url, self.body or "", *self.headers.values(), *_texts(self.form), *_texts(self.json_body)]
        for text in texts:
            yield from PLACEHOLDER.findall(text)


class SignalConfig(_Entry):
    """A figure that a service tells of itself, held against what is usual at this hour of the week."""

    name: Name
    kind: Literal["traffic", "errors", "saturation", "latency"]
    url: Url
    json_path: str | None = Field(default=None, alias="json", max_length=200)
    metric: str | None = Field(
        default=None, max_length=300, description='of a Prometheus page: name or name{label="x"}'
    )
    is_counter: bool = Field(default=False, description="only grows; what is judged is its growth a second")
    value_max: float | None = Field(default=None, description="more is a finding, whatever is usual")
    value_min: float | None = Field(default=None, description="less is a finding, whatever is usual")
    headers: Mapping[str, Plain] = Field(default_factory=dict, max_length=30)

    @model_validator(mode="after")
    def _one_way(self) -> SignalConfig:
        if (self.json_path is None) == (self.metric is None):
            raise ValueError("needs exactly one of json and metric")
        return self


class CertificateConfig(_Entry):
    """A TLS or TLCP server whose certificates are read, beside those that steps meet."""

    host: Host
    port: int = Field(default=443, ge=1, le=65535)
    server_name: Host | None = Field(default=None, description="the name to ask for and to find; default: host")
    tlcp: bool = Field(default=False, description="must speak TLCP (GB/T 38636), with two certificates")


class PageConfig(_Entry):
    """A page that must not change unseen, held against what was accepted (`govsec monitor probe --accept`)."""

    name: Name
    url: Url
    takes: int = Field(default=3, ge=1, le=10, description="how often it is taken to learn which parts are dynamic")
    take_pause_s: float = Field(default=1, ge=0, le=60)
    hosts: tuple[Host, ...] = Field(default=(), max_length=200, description="links to these and below are expected")
    change_max: float = Field(
        default=0.3, ge=0, le=1, description="share of lasting texts, or of structure, that may change; 0: nothing may"
    )
    search_engines: bool = Field(
        default=True, description="also taken as a search engine's spider, and as from its results"
    )
    size_bytes_max: int = Field(default=4 << 20, ge=1, le=16 << 20)


class ConfirmConfig(_Entry):
    """How sure one must be: so many failures among so many attempts."""

    failures: int = Field(default=2, ge=1, le=20)
    of: int = Field(default=3, ge=1, le=20)
    pause_s: float = Field(default=2, ge=0, le=300, description="between an attempt that failed and the next")

    @model_validator(mode="after")
    def _can_be(self) -> ConfirmConfig:
        if self.failures > self.of:
            raise ValueError("wants more failures than attempts")
        return self


class UsualConfig(_Entry):
    """When a figure is out of the usual: so far from the median of the same hour in earlier weeks."""

    deviations: float = Field(default=6, ge=1, le=100, description="robust standard deviations (1.4826 MAD)")
    ratio_min: float = Field(default=1.5, ge=1, le=100, description="and at least so many times the usual")
    latency_floor_s: float = Field(default=0.25, ge=0, description="and slower by at least this")
    weeks_min: int = Field(default=3, ge=1, le=8, description="weeks to learn from before this hour is judged")
    days_min: int = Field(default=5, ge=1, le=56, description="days that stand in while there are too few weeks")
    samples_min: int = Field(default=3, ge=1, le=100, description="of this hour, before a rate is judged")


class ServiceConfig(_Entry):
    """A service that people depend on: portal, electronic certificates, unified identity, payment and others."""

    name: Name
    title: str = Field(default="", max_length=200)
    kind: SystemKind = SystemKind.OTHER
    families: tuple[Family, ...] = Field(default=BOTH, min_length=1, description="each is tried and told apart")
    families_required: tuple[Family, ...] = Field(default=(), description="no address of these is a failure")
    hosts: tuple[Host, ...] = Field(default=(), max_length=50, description="hosts that redirects may lead to as well")
    addresses: tuple[str, ...] = Field(
        default=(), max_length=50, description="link-local or metadata networks that are meant; private ones need none"
    )
    ca_file: Path | None = Field(default=None, description="PEM of the authorities to trust, instead of the system's")
    secrets: Mapping[Name, SecretConfig] = Field(default_factory=dict, max_length=20)
    steps: tuple[StepConfig, ...] = Field(default=(), max_length=50)
    signals: tuple[SignalConfig, ...] = Field(default=(), max_length=20)
    certificates: tuple[CertificateConfig, ...] = Field(default=(), max_length=50)
    pages: tuple[PageConfig, ...] = Field(default=(), max_length=50)
    timeout_s: float = Field(default=30, gt=0, le=600, description="for one request in all, redirects included")
    interval_s: float = Field(default=300, ge=5, le=86400)
    expiring_days: int = Field(default=30, ge=0, le=365, description="a certificate that ends sooner is told")
    confirm: ConfirmConfig = ConfirmConfig()
    usual: UsualConfig = UsualConfig()

    @field_validator("addresses")
    @classmethod
    def _are_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ipaddress.ip_network(network)  # its ValueError names the network and what is wrong with it
        return networks

    @model_validator(mode="after")
    def _consistent(self) -> ServiceConfig:
        if not (self.steps or self.signals or self.certificates or self.pages):
            raise ValueError("has neither steps, signals, certificates nor pages: nothing would be looked at")
        for what, names in (
            ("steps", [step.name for step in self.steps]),
            ("signals", [signal.name for signal in self.signals]),
            ("pages", [page.name for page in self.pages]),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"two {what} have the same name")
        if not set(self.families_required) <= set(self.families):
            raise ValueError("families_required names one that families does not")
        known = set(self.secrets)
        for step in self.steps:
            if unknown := set(step.placeholders()) - known:
                raise ValueError(f"step {step.name}: ${{{min(unknown)}}} is no secret, and no earlier step keeps it")
            known |= set(step.keep)
        for page in self.pages:
            if PLACEHOLDER.search(page.url):
                raise ValueError(f"page {page.name}: a page that everybody sees needs no placeholder")
        for signal in self.signals:
            texts = (signal.url, *signal.headers.values())
            if unknown := {name for text in texts for name in PLACEHOLDER.findall(text)} - set(self.secrets):
                raise ValueError(f"signal {signal.name}: ${{{min(unknown)}}} is no secret")
        return self

    def hosts_allowed(self) -> frozenset[str]:
        """Every host that a request may go to, in lower case."""
        return frozenset(host.lower() for host in (*self.hosts, *(urlsplit(url).hostname or "" for url in self.urls())))

    def urls(self) -> tuple[str, ...]:
        """Every URL that is asked by itself."""
        steps = (step.url for step in self.steps)
        return (*steps, *(signal.url for signal in self.signals), *(page.url for page in self.pages))


def _texts(value: object) -> Iterator[str]:
    """Every text in a value of JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
