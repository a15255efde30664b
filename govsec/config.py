"""One YAML file, read into frozen models: unknown keys are errors, every default is written in the model.

Secrets are never values here: a field that ends in ``_file`` names a file that only its owner may read, and
:func:`read_secret` is the one place that opens it. ``${CREDENTIALS_DIRECTORY}`` at the start of such a path means the
directory that systemd passes credentials in.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator, model_validator

from govsec.agententry import AgentConfig
from govsec.errors import ConfigurationError
from govsec.groupentry import GroupConfig
from govsec.guardentry import GuardConfig
from govsec.incidententry import IncidentConfig
from govsec.mariadbentry import MariadbSourceConfig
from govsec.notifyentry import NotifyConfig
from govsec.postgresentry import PostgresSourceConfig
from govsec.rateentry import RateWindow
from govsec.registerentry import RegisterEntry
from govsec.responseentry import ResponseConfig
from govsec.secretfile import read_secret as read_secret
from govsec.serviceentry import ServiceConfig
from govsec.watchentry import WatchConfig

_CONFIG_SIZE_MAX = 4 << 20
#: A configuration of a thousand systems has about a hundred thousand values.
_YAML_NODES_MAX = 1_000_000
#: What may be allowed is a part of a site, by IP version.
_ALLOWED_PREFIX_MIN = {4: 16, 6: 48}
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Bytes = Annotated[int, Field(gt=0)]


class Role(StrEnum):
    """The three centers (三中心)."""

    PRODUCTION = "production"
    SAME_CITY = "same_city"
    REMOTE = "remote"


class Mode(StrEnum):
    """What a backup needs before it counts; the words are those of database replication."""

    MAXIMUM_PROTECTION = "maximum-protection"
    MAXIMUM_AVAILABILITY = "maximum-availability"
    MAXIMUM_PERFORMANCE = "maximum-performance"


class Model(BaseModel):
    """Base of every configuration model, here and in rooms that read YAML of their own (plans)."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LocalStoreConfig(Model):
    """A directory on a local or mounted file system."""

    kind: Literal["local"]
    path: Path


class S3StoreConfig(Model):
    """A bucket of an S3-compatible server. Credentials come from a file, never from here."""

    kind: Literal["s3"]
    endpoint: str = Field(pattern=r"^https?://[^/\s]+$", description="scheme, host and port of the server")
    bucket: str = Field(min_length=3, max_length=63)
    prefix: str = ""
    region: str = "us-east-1"
    path_style: bool = True
    ca_bundle: Path | None = Field(
        default=None, description="PEM file of the authorities to trust, instead of the system's"
    )
    connect_timeout_s: float = Field(default=10, gt=0, le=300)
    read_timeout_s: float = Field(default=60, gt=0, le=900)
    attempts_max: int = Field(default=5, ge=1, le=20)
    connections_max: int = Field(default=8, ge=1, le=64)


StoreConfig = Annotated[LocalStoreConfig | S3StoreConfig, Field(discriminator="kind")]


class RetentionLockConfig(Model):
    """Object lock at a center, set with the center's own credential and never by production."""

    days: int = Field(ge=1, le=3650)
    days_max: int = Field(default=400, ge=1, le=3650)
    mode: Literal["compliance", "governance"] = "compliance"

    @model_validator(mode="after")
    def _within(self) -> RetentionLockConfig:
        if self.days > self.days_max:
            raise ValueError(f"days ({self.days}) is more than days_max ({self.days_max})")
        return self


class CenterConfig(Model):
    """One center. Each site's configuration names only the credential files that this site has."""

    role: Role
    store: StoreConfig
    site: str = Field(default="", description="where the center is, as reports print it")
    region: str = Field(
        default="",
        pattern=r"^([A-Z]{2}(-[A-Z0-9]{1,3})?)?$",
        description="ISO 3166 code of where the data lie: CN, or with the province CN-ZJ",
    )
    premises: Literal["", "own", "cloud"] = Field(
        default="", description="own: the machine room of the system's owner; cloud: a platform's"
    )
    credentials_file: Path | None = Field(default=None, description="what this side writes with")
    read_credentials_file: Path | None = Field(default=None, description="read-only, for shipping and drills")
    owner_credentials_file: Path | None = Field(
        default=None, description="the center's own: retention, release, quarantine"
    )
    object_lock: RetentionLockConfig | None = None
    rate_bytes_per_s: Bytes | None = Field(default=None, description="most that may move; default: no limit")
    rate_schedule: tuple[RateWindow, ...] = Field(
        default=(), max_length=100, description="other rates for times of the day; the first that holds counts"
    )


class FilesSourceConfig(Model):
    """Files and directories."""

    kind: Literal["files"]
    paths: tuple[Path, ...] = Field(min_length=1)
    exclude: tuple[str, ...] = ()
    one_file_system: bool = False


class CommandSourceConfig(Model):
    """The standard output of a program; its exit code decides whether there is a snapshot."""

    kind: Literal["command"]
    argv: tuple[str, ...] = Field(min_length=1)
    filename: str = Field(min_length=1)
    timeout_s: float = Field(default=6 * 3600, gt=0)


class RetentionPolicy(Model):
    """Which snapshots ``forget`` keeps; the rules and words are restic's (0.16 and later)."""

    keep_last: int = Field(default=0, ge=-1)
    keep_hourly: int = Field(default=0, ge=-1)
    keep_daily: int = Field(default=0, ge=-1)
    keep_weekly: int = Field(default=0, ge=-1)
    keep_monthly: int = Field(default=0, ge=-1)
    keep_yearly: int = Field(default=0, ge=-1)
    keep_within: str | None = None
    keep_within_hourly: str | None = None
    keep_within_daily: str | None = None
    keep_within_weekly: str | None = None
    keep_within_monthly: str | None = None
    keep_within_yearly: str | None = None
    keep_tags: tuple[tuple[str, ...], ...] = ()


class BackupConfig(Model):
    """One backup job."""

    name: Name
    source: Annotated[
        FilesSourceConfig | CommandSourceConfig | MariadbSourceConfig | PostgresSourceConfig,
        Field(discriminator="kind"),
    ]
    tags: tuple[str, ...] = ()
    nonce: bool = Field(default=True, description="plant a nonce that drills must find again")
    samples_count: int = Field(default=32, ge=0, le=10_000, description="source files read independently for drills")
    pack_size_bytes: int = Field(default=16 << 20, ge=4 << 20, le=128 << 20)
    watch: WatchConfig | None = Field(default=None, description="continuous protection: govsec backup watch")


class Objectives(Model):
    """What the business agreed to."""

    rpo_s: int = Field(default=24 * 3600, gt=0)
    rto_s: int = Field(default=24 * 3600, gt=0)


class SystemConfig(Model):
    """One information system: one repository, one key, at every center under ``<prefix>/<name>``."""

    name: Name
    title: str = ""
    password_file: Path | None = Field(default=None, description="opens the repository; absent where no key belongs")
    mode: Mode = Mode.MAXIMUM_AVAILABILITY
    objectives: Objectives = Objectives()
    backups: tuple[BackupConfig, ...] = ()
    retention: RetentionPolicy = RetentionPolicy(keep_within="30d", keep_within_monthly="1y")
    release_grace_s: int = Field(
        default=30 * 86400, ge=0, description="between release and removal; longer than lag and lock"
    )
    plans: tuple[Path, ...] = Field(default=(), description="recovery plans (YAML)")
    groups: tuple[GroupConfig, ...] = Field(
        default=(), max_length=100, description="jobs that make one recovery point together"
    )
    register_: RegisterEntry = Field(default_factory=RegisterEntry, alias="register")

    @model_validator(mode="after")
    def _groups_fit(self) -> SystemConfig:
        jobs = [job.name for job in self.backups]
        names = [group.name for group in self.groups]
        if len({*jobs, *names}) != len({*jobs}) + len(names):
            raise ValueError("a group has the name of a backup, or of another group")
        for group in self.groups:
            missing = [member for member in group.members if member not in jobs]
            if missing or len(set(group.members)) != len(group.members):
                raise ValueError(f"group {group.name}: {missing[0] if missing else 'a member'} is no single backup")
        return self


class HostConfig(Model):
    """A host that assessments look at, and how they get there. Nothing is installed on it."""

    kind: Literal["local", "ssh", "container"] = "ssh"
    address: str = Field(default="", description="name or address; default: the host's name here")
    port: int = Field(default=22, ge=1, le=65535)
    user: str = Field(default="", description="default: the user that runs govsec")
    key_file: Path | None = Field(default=None, description="private key for SSH")
    known_hosts_file: Path | None = Field(
        default=None, description="host keys that people checked; default: ~/.ssh/known_hosts"
    )
    jump: Name | None = Field(default=None, description="another host of this list that the way leads through")
    sudo: bool = Field(default=False, description="ask sudo (without a password) where a probe needs root")
    runtime: Literal["docker", "podman"] = "docker"
    container: str = ""
    connect_timeout_s: float = Field(default=10, gt=0, le=300)

    @model_validator(mode="after")
    def _has_a_container(self) -> HostConfig:
        if (self.kind == "container") != bool(self.container):
            raise ValueError("a container's name goes with kind: container, and that kind with a name")
        return self


class AssessmentConfig(Model):
    """What assessments use beside what came with govsec."""

    packs: tuple[Path, ...] = Field(default=(), description="folders of further packs, each signed by a pinned key")
    parameters: Mapping[str, Mapping[str, JsonValue]] = Field(
        default_factory=dict, description="check: parameter: value, in place of the packs' own; every report lists them"
    )
    coverage_min: float = Field(
        default=0.05, ge=0, le=1, description="below this share of decided items a run ends with 7"
    )
    host_time_s: int = Field(
        default=300, ge=5, le=3600, description="longest time for one host in all; walks add their own limit"
    )


class AllowConfig(Model):
    """Findings that are not to be told: of these kinds, when all hosts lie in these networks, until a day."""

    name: Name
    kinds: tuple[str, ...] = Field(min_length=1, max_length=20, description="kinds of findings, as net.scan.vertical")
    originators: tuple[str, ...] = Field(default=(), description="networks; all originators of a finding lie in them")
    responders: tuple[str, ...] = Field(default=(), description="networks; all responders of a finding lie in them")
    owner: str = Field(min_length=1, max_length=200, description="who answers for it")
    reason: str = Field(min_length=3, max_length=500)
    expires: date = Field(description="the first day on which it does not hold any more (UTC)")

    @model_validator(mode="after")
    def _is_narrow(self) -> AllowConfig:
        if not self.originators and not self.responders:
            raise ValueError("names neither originators nor responders: a whole kind cannot be allowed")
        for text in (*self.originators, *self.responders):
            network = ipaddress.ip_network(text)
            if network.prefixlen < _ALLOWED_PREFIX_MIN[network.version]:
                raise ValueError(f"{text} is wider than /{_ALLOWED_PREFIX_MIN[network.version]}")
        return self


class MonitorConfig(Model):
    """The network sensor: what is ours, what is known to be bad, and how sensitive its detectors are."""

    home_networks: tuple[str, ...] = Field(
        default=("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10"),
        description="networks that are ours; also the public ones, where the site has some",
    )
    indicators: tuple[Path, ...] = Field(
        default=(), description="lists of bad addresses, networks, domains, fingerprints and hashes: plain or CSV files"
    )
    flows_max: int = Field(
        default=262_144, ge=16_384, le=4_194_304, description="flows kept at a time; about 200 bytes each"
    )
    allow: tuple[AllowConfig, ...] = Field(default=(), max_length=1000, description="what is not to be told, and why")
    detectors: Mapping[Name, Mapping[str, JsonValue]] = Field(
        default_factory=dict, description="detector: setting: value, in place of the detector's own"
    )
    user: str = Field(default="nobody", description="whom the sensor becomes once its sockets are open; not root")
    live: Mapping[Name, JsonValue] = Field(
        default_factory=dict, description="how an interface is listened to: snap_length, wide_slots, deep_slots …"
    )
    evidence: Mapping[Name, JsonValue] = Field(
        default_factory=dict, description="packets kept for findings: ring_bytes, before_s, after_s, folder_bytes …"
    )

    @field_validator("home_networks")
    @classmethod
    def _are_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ipaddress.ip_network(network)  # its ValueError names the network and what is wrong with it
        return networks


class SigningConfig(Model):
    """Which keys this site signs with, and which roots it trusts. Made by ``govsec center init``."""

    commit_key_file: Path | None = None
    evidence_key_file: Path | None = None
    release_key_file: Path | None = Field(default=None, description="at a center that releases: signs what it lets go")
    baseline_key_file: Path | None = Field(
        default=None, description="signs what a host was accepted to be; belongs to whoever accepts, not to the host"
    )
    roots_file: Path | None = Field(default=None, description="public keys pinned by people")


class Config(Model):
    """The whole file."""

    version: Literal[1] = 1
    organization: str = ""
    lang: Literal["zh", "en"] = "zh"
    state_dir: Path = Path("/var/lib/govsec")
    centers: Mapping[Name, CenterConfig] = Field(default_factory=dict)
    signing: SigningConfig = SigningConfig()
    hosts: Mapping[Name, HostConfig] = Field(default_factory=dict)
    assessment: AssessmentConfig = AssessmentConfig()
    monitor: MonitorConfig = MonitorConfig()
    agent: AgentConfig = AgentConfig()
    guard: GuardConfig = GuardConfig()
    services: tuple[ServiceConfig, ...] = Field(
        default=(), max_length=1000, description="services that are asked from outside: portals, pages, certificates"
    )
    incident: IncidentConfig = IncidentConfig()
    notify: NotifyConfig = NotifyConfig()
    response: ResponseConfig = ResponseConfig()
    systems: tuple[SystemConfig, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        roles = [center.role for center in self.centers.values()]
        for role in Role:
            if roles.count(role) > 1:
                raise ValueError(f"two centers have the role {role.value}")
        names = [system.name for system in self.systems]
        if len(set(names)) != len(names):
            raise ValueError("two systems have the same name")
        services = [service.name for service in self.services]
        if len(set(services)) != len(services):
            raise ValueError("two services have the same name")
        for name, host in self.hosts.items():
            if host.jump is not None and (host.jump not in self.hosts or host.jump == name):
                raise ValueError(f"host {name}: jump names no other host")
        return self


def load_config(path: Path) -> Config:
    """The configuration in ``path``; relative paths in it are taken from the directory it lies in.

    Raises:
        ConfigurationError: with the file, the key and what is wrong with it.
    """
    return parse_config(read_bytes(path), path)


def parse_config(data: bytes, path: Path) -> Config:
    """The configuration in ``data``, as if it had been read from ``path``: for who must know which bytes it was.

    Raises:
        ConfigurationError: with the file, the key and what is wrong with it.
    """
    value = _parse_yaml(data, path)
    try:
        config = Config.model_validate(value)
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {explain(error)}") from error
    return _rooted(config, path.resolve().parent)


def read_yaml(path: Path) -> object:
    """The one document in a YAML file, with safe types only.

    Raises:
        ConfigurationError: unreadable, too large, not YAML, or a key written twice.
    """
    return _parse_yaml(read_bytes(path), path)


def read_bytes(path: Path) -> bytes:
    """What a configuration file holds. Raises ``ConfigurationError``: unreadable, or too large."""
    try:
        with path.open("rb") as file:
            data = file.read(_CONFIG_SIZE_MAX + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    if len(data) > _CONFIG_SIZE_MAX:
        raise ConfigurationError(f"{path}: larger than {_CONFIG_SIZE_MAX} bytes")
    return data


def _parse_yaml(data: bytes, path: Path) -> object:
    try:
        return yaml.load(data, Loader=_StrictLoader)  # noqa: S506 - a subclass of SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigurationError(f"{path}: not YAML: {' '.join(str(error).split())}") from error


def explain(error: ValidationError) -> str:
    """What pydantic found wrong, in one line, without the values (they may be secrets)."""
    parts = []
    for item in error.errors(include_url=False, include_input=False):
        where = ".".join(str(step) for step in item["loc"])
        message = item["msg"].removeprefix("Value error, ")  # pydantic's word for what our own validators say
        parts.append(f"{where}: {message}" if where else message)
    return "; ".join(parts[:10])


def _rooted(model: Config, base: Path) -> Config:
    rooted = _root_paths(model, base)
    assert isinstance(rooted, Config)  # _root_paths gives back the type it was given
    return rooted


def _root_paths(value: object, base: Path) -> object:
    """The value with its relative paths rooted; the same object where it has none, at every depth.

    So that a model still knows which of its values somebody has set, and which are defaults.
    """
    if isinstance(value, Path):
        return value if value.is_absolute() else base / value
    if isinstance(value, BaseModel):  # entries of the register and of services are no Model of this module
        rooted = {name: _root_paths(getattr(value, name), base) for name in type(value).model_fields}
        changed = {name: new for name, new in rooted.items() if new is not getattr(value, name)}
        return value.model_copy(update=changed) if changed else value
    if isinstance(value, tuple):
        items = tuple(_root_paths(item, base) for item in value)
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    if isinstance(value, Mapping):
        entries = {key: _root_paths(item, base) for key, item in value.items()}
        return value if all(new is value[key] for key, new in entries.items()) else entries
    return value


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key written twice (YAML's own rule, which PyYAML does not hold) and bounds aliases.

    An alias costs as much as what it stands for, so nine lines of aliases to aliases cannot grow to a billion values.
    """

    def __init__(self, stream: bytes) -> None:
        super().__init__(stream)
        self._nodes_count = 0
        self._weights: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        is_alias = self.check_event(yaml.AliasEvent)
        before = self._nodes_count
        node = super().compose_node(parent, index)
        if is_alias and id(node) not in self._weights:
            raise yaml.composer.ComposerError(None, None, "an alias stands inside its own anchor")
        self._nodes_count += self._weights[id(node)] if is_alias else 1
        if self._nodes_count > _YAML_NODES_MAX:
            raise yaml.composer.ComposerError(None, None, f"more than {_YAML_NODES_MAX} values, aliases counted")
        if not is_alias:
            self._weights[id(node)] = self._nodes_count - before
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if isinstance(key_node, yaml.ScalarNode) and key_node.tag != "tag:yaml.org,2002:merge":
                if key_node.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key_node.value!r} is written twice", key_node.start_mark
                    )
                seen.add(key_node.value)
        return super().construct_mapping(node, deep=deep)
