"""Recovery plans: what is lost, where the data comes back from, in which steps, and what proves that it did.

A plan is one YAML file, read into frozen models that forbid unknown keys. It is the plan that a real failover follows;
a drill runs it isolated. In arguments and templates ``{target}`` stands for the directory that holds the restored
tree, ``{system}`` and ``{snapshot}`` for their names; nothing else is replaced.

Two rules make a plan falsifiable, and are in the model: it names at least one path that must come back, and at least
one probe.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, ValidationError, field_validator, model_validator

from govsec import canonical
from govsec.config import Model, Name, Objectives, Role, explain, read_yaml
from govsec.errors import ConfigurationError

STEPS_MAX = 64
#: Kinds of steps and probes after which the restored tree may no longer be what was restored.
_CHANGING = ("configure", "start", "postgres", "mariadb", "command", "sqlite")
_DAY_S = 86_400.0
Timeout = Annotated[float, Field(gt=0, le=7 * _DAY_S)]
Argv = Annotated[tuple[Annotated[str, Field(max_length=4096)], ...], Field(min_length=1, max_length=256)]


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or "\0" in path or ".." in parts:
        raise ValueError(f"{path!r} is not a path inside the restored tree")
    return path


#: A path in the restored tree, written as in the snapshot (absolute) or relative to the target.
InsidePath = Annotated[str, Field(min_length=1, max_length=4096)]


class LoseProduction(Model):
    """Production is gone."""

    kind: Literal["lose_production"]


class LoseBothInCity(Model):
    """Production and same-city are gone: the flood, the fire, the grid."""

    kind: Literal["lose_production_and_same_city"]


class _Share(Model):
    center: Role = Field(description="which center is damaged; the drill restores from it")
    fraction: float = Field(ge=1e-6, le=1, description="share of the objects that are hit")
    seed: int = Field(ge=0, description="the same seed hits the same objects")
    prefix: Literal["data/", "index/", "snapshots/", ""] = "data/"


class CorruptShare(_Share):
    """A share of the objects in one center has flipped bits."""

    kind: Literal["corrupt_share"]


class RemoveShare(_Share):
    """A share of the objects in one center is missing."""

    kind: Literal["remove_share"]


class RollbackBefore(Model):
    """Everything since a moment is not to be trusted (ransomware): restore the newest from before."""

    kind: Literal["rollback_before"]
    time: AwareDatetime


Scenario = Annotated[
    LoseProduction | LoseBothInCity | CorruptShare | RemoveShare | RollbackBefore, Field(discriminator="kind")
]


class ContentProbe(Model):
    """Every restored file against the repository's digests, and against samples of the source read at backup time."""

    kind: Literal["content"]


class NonceProbe(Model):
    """The nonce that was planted before the backup is in the restored tree."""

    kind: Literal["nonce"]


class CommandProbe(Model):
    """A program that asks the restored service or tree. It must fail on an empty directory, or it proves nothing."""

    kind: Literal["command"]
    argv: Argv
    exit_code: int = Field(default=0, ge=0, le=255)
    output_contains: str = Field(default="", max_length=4096)
    retry_s: float = Field(default=0, ge=0, le=3600, description="ask again so long while a service is coming up")


class SqliteProbe(Model):
    """A SQLite database opens, is whole, and answers a question."""

    kind: Literal["sqlite"]
    path: InsidePath
    query: str = Field(min_length=1, max_length=4096, description="one SELECT that gives one value")
    expect: int | float | str | None = None
    minimum: int | float | None = None

    _path = field_validator("path")(_inside)

    @model_validator(mode="after")
    def _expects(self) -> SqliteProbe:
        if (self.expect is None) == (self.minimum is None):
            raise ValueError("give either expect or minimum")
        return self


class PostgresQueryProbe(Model):
    """The PostgreSQL server that a step of kind ``postgres`` recovered answers a question."""

    kind: Literal["postgres_query"]
    database: str = Field(min_length=1, max_length=63)
    query: str = Field(min_length=1, max_length=4096, description="one SELECT that gives one value")
    expect: int | float | str | None = None
    minimum: int | float | None = None

    @model_validator(mode="after")
    def _expects(self) -> PostgresQueryProbe:
        if (self.expect is None) == (self.minimum is None):
            raise ValueError("give either expect or minimum")
        return self


class MariadbQueryProbe(Model):
    """The MariaDB server that a step of kind ``mariadb`` recovered answers a question."""

    kind: Literal["mariadb_query"]
    query: str = Field(
        min_length=1, max_length=4096, description="one SELECT that gives one value; tables with their schema"
    )
    expect: int | float | str | None = None
    minimum: int | float | None = None

    @model_validator(mode="after")
    def _expects(self) -> MariadbQueryProbe:
        if (self.expect is None) == (self.minimum is None):
            raise ValueError("give either expect or minimum")
        return self


Probe = Annotated[
    ContentProbe | NonceProbe | CommandProbe | SqliteProbe | PostgresQueryProbe | MariadbQueryProbe,
    Field(discriminator="kind"),
]


class Undo(Model):
    """What takes a step back. Run in reverse order at the end, also when the drill failed or was interrupted."""

    argv: Argv
    timeout_s: Timeout = 60


class _Step(Model):
    name: Name
    timeout_s: Timeout
    undo: Undo | None = None


class RestoreStep(_Step):
    """Bring the snapshot's whole tree back. Undone by wiping the scratch directory."""

    kind: Literal["restore"]


class ConfigFile(Model):
    """A file that the plan writes into the restored tree, such as a configuration for the new address."""

    path: InsidePath
    content: str = Field(max_length=1 << 20)
    mode: int = Field(default=0o640, ge=0, le=0o777)
    must_exist: bool = Field(default=False, description="replace a file that was restored; fail if it was not")

    _path = field_validator("path")(_inside)


class ConfigureStep(_Step):
    """Write files into the restored tree, and nowhere else."""

    kind: Literal["configure"]
    files: tuple[ConfigFile, ...] = Field(min_length=1, max_length=64)


class StartStep(_Step):
    """Start the service. With ``background`` the program stays; else it must end with exit code 0."""

    kind: Literal["start"]
    argv: Argv
    background: bool = False


class PostgresStep(_Step):
    """Verify, recover and start a restored PostgreSQL server, with settings of govsec's and none of the restored ones.

    Without ``time``, ``lsn`` and ``point`` it recovers to the end of the log.
    """

    kind: Literal["postgres"]
    path: InsidePath = Field(description="where the job's log lies in the snapshot: /postgres/<job>")
    time: AwareDatetime | None = None
    lsn: str | None = Field(default=None, pattern=r"^[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}$")
    point: str | None = Field(default=None, min_length=1, max_length=63)
    user: str = Field(default="postgres", min_length=1, max_length=63, description="the superuser that the server has")
    nonce: bool = Field(default=True, description="the row that the stream plants must have come back")

    _path = field_validator("path")(_inside)

    @model_validator(mode="after")
    def _one_target(self) -> PostgresStep:
        if sum(value is not None for value in (self.time, self.lsn, self.point)) > 1:
            raise ValueError("give one of time, lsn and point, or none for the end of the log")
        return self


class MariadbStep(_Step):
    """Recover a restored MariaDB server, start it with settings of govsec's and none of the restored ones, check it.

    Without ``time``, ``position`` and ``gtid`` it recovers to the end of the log.
    """

    kind: Literal["mariadb"]
    path: InsidePath = Field(description="where the job lies in the snapshot: /mariadb/<job>")
    time: AwareDatetime | None = None
    position: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.-]{1,211}:[0-9]{1,19}$")
    gtid: str | None = Field(default=None, pattern=r"^[0-9]{1,10}-[0-9]{1,10}-[0-9]{1,20}$")
    nonce: bool = Field(default=True, description="the row that the stream plants must have come back")

    _path = field_validator("path")(_inside)

    @model_validator(mode="after")
    def _one_target(self) -> MariadbStep:
        if sum(value is not None for value in (self.time, self.position, self.gtid)) > 1:
            raise ValueError("give one of time, position and gtid, or none for the end of the log")
        return self


class ProbeStep(_Step):
    """Prove something."""

    kind: Literal["probe"]
    probe: Probe


class SwitchAddressStep(_Step):
    """Point the users at the new place. A drill never does it: it runs ``rehearsal``, such as a dry run."""

    kind: Literal["switch_address"]
    argv: Argv
    undo: Undo
    rehearsal: Argv | None = None


Step = Annotated[
    RestoreStep | ConfigureStep | StartStep | PostgresStep | MariadbStep | ProbeStep | SwitchAddressStep,
    Field(discriminator="kind"),
]


class Isolation(Model):
    """What the commands of the plan run as."""

    user: str = Field(default="nobody", min_length=1, max_length=32, description="an unprivileged account")
    memory_bytes: int = Field(default=2 << 30, ge=64 << 20)
    cpu_s: int = Field(default=3600, ge=1)
    processes_max: int = Field(default=256, ge=1)
    network: Literal["none"] = "none"
    allow_unisolated: bool = Field(
        default=False, description="run without isolation where the machine cannot give it; the report says so"
    )


class Expectation(Model):
    """The least that must be there, so that a backup of nothing cannot pass."""

    paths: tuple[InsidePath, ...] = Field(min_length=1, max_length=1000)
    files_min: int = Field(default=1, ge=1)
    bytes_min: int = Field(default=1, ge=1)

    @field_validator("paths")
    @classmethod
    def _paths_inside(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_inside(path) for path in paths)


class Selection(Model):
    """Which snapshots are eligible. ``snapshot`` pins one; the drill fails when a newer one is eligible."""

    host: str | None = None
    tags: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    snapshot: str | None = Field(default=None, pattern=r"^[0-9a-f]{8,64}$")


class Element(StrEnum):
    """The seven elements of GB/T 20988-2007, annex A."""

    DATA_BACKUP = "data_backup"
    STANDBY_PROCESSING = "standby_processing"
    STANDBY_NETWORK = "standby_network"
    INFRASTRUCTURE = "infrastructure"
    SUPPORT = "support"
    OPERATIONS = "operations"
    PLAN = "plan"


class Attestation(Model):
    """What a person vouches for that no drill of data can see."""

    element: Element
    level: int = Field(ge=1, le=6)
    by: str = Field(min_length=1, max_length=200)
    reference: str = Field(min_length=1, max_length=500, description="the document that proves it")
    valid_until: AwareDatetime

    @field_validator("element")
    @classmethod
    def _not_measured(cls, element: Element) -> Element:
        if element is Element.DATA_BACKUP:
            raise ValueError("data backup is measured, not attested")
        return element


class Plan(Model):
    """One recovery plan of one system."""

    version: Literal[1] = 1
    name: Name
    title: str = Field(default="", max_length=200)
    system: Name
    scenario: Scenario
    center: Role | None = Field(default=None, description="where to restore from; default: the first that survives")
    select: Selection = Selection()
    objectives: Objectives | None = Field(default=None, description="default: those of the system")
    disaster_at: AwareDatetime | None = Field(default=None, description="declared moment; default: start of the drill")
    isolation: Isolation = Isolation()
    expect: Expectation
    steps: tuple[Step, ...] = Field(min_length=2, max_length=STEPS_MAX)
    attestations: tuple[Attestation, ...] = Field(default=(), max_length=64)
    stale_after_days: int = Field(default=90, ge=1, le=3650, description="when the newest drill is a finding")

    @model_validator(mode="after")
    def _consistent(self) -> Plan:
        names = [step.name for step in self.steps]
        if len(set(names)) != len(names):
            raise ValueError("two steps have the same name")
        if [step.kind for step in self.steps].count("restore") != 1 or self.steps[0].kind != "restore":
            raise ValueError("the first step, and no other, is restore")
        if not any(isinstance(step, ProbeStep) for step in self.steps):
            raise ValueError("there is no probe: a plan that proves nothing cannot pass")
        kinds = [step.probe.kind if isinstance(step, ProbeStep) else step.kind for step in self.steps]
        changing = [kinds.index(kind) for kind in _CHANGING if kind in kinds]
        if "content" in kinds and changing and kinds.index("content") > min(changing):
            raise ValueError("content is compared before any step that may change the restored tree")
        if self.center in self.lost:
            raise ValueError(f"the scenario loses {self.center}, which the plan restores from")
        for database in ("postgres", "mariadb"):
            query = f"{database}_query"
            if query in kinds and database not in kinds[: kinds.index(query)]:
                raise ValueError(f"a {query} asks the server that a step of kind {database} before it recovered")
        damaged = self.scenario.center if isinstance(self.scenario, _Share) else None
        if damaged is not None and self.center not in (None, damaged):
            raise ValueError(f"the scenario damages {damaged}, the plan restores from {self.center}")
        # Evidence names the plan by the digest of its canonical form; a number without one is refused here, not after.
        canonical.dumps(self.model_dump(mode="json"))
        return self

    @property
    def lost(self) -> frozenset[Role]:
        """The centers that the scenario takes away."""
        if isinstance(self.scenario, LoseProduction):
            return frozenset({Role.PRODUCTION})
        if isinstance(self.scenario, LoseBothInCity):
            return frozenset({Role.PRODUCTION, Role.SAME_CITY})
        return frozenset()

    def digest(self) -> str:
        """SHA-256 of the plan's canonical form: evidence names the very plan that was run."""
        return canonical.digest(self.model_dump(mode="json"))


def load_plan(path: Path) -> Plan:
    """The plan in ``path``.

    Raises:
        ConfigurationError: with the file, the key and what is wrong with it.
    """
    try:
        return Plan.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ConfigurationError(f"plan {path}: {explain(error)}") from error
