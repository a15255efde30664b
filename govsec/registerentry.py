"""What the register (台账) knows of a system: ``systems[].register`` of the configuration.

Every field may be left out: a register is filled over months, and what is missing is told by findings
(:mod:`govsec.register.duedates`) and by the launch gate, never guessed. Dates are days of the calendar, without a zone.

Fields follow what a filing asks for (备案表) and what the assessors look up: owner, level with S and A, certificate,
last assessment, platform, data classes, plan, training.
"""

from __future__ import annotations

import re
from datetime import date
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def _plain(text: str) -> str:
    # These texts go into tables, terminals and spreadsheets: a line break or a mark that turns the direction of
    # writing would make one entry look like another.
    if _CONTROL.search(text):
        raise ValueError("has a control character or a line break")
    return text.strip()


Short = Annotated[str, Field(max_length=200), AfterValidator(_plain)]
Named = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_plain)]
Level = Annotated[int, Field(ge=1, le=5)]
Count = Annotated[int, Field(ge=0, le=10**12)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SystemKind(StrEnum):
    """What a system is for; the first seven are what the policy texts watch most closely."""

    PORTAL = "portal"
    SERVICE_HALL = "service_hall"
    EXCHANGE = "exchange"
    CERTIFICATES = "certificates"
    IDENTITY = "identity"
    PAYMENT = "payment"
    PLATFORM = "platform"
    OFFICE = "office"
    BUSINESS = "business"
    OTHER = "other"


class Stage(StrEnum):
    """Where a system is in its life."""

    PLANNED = "planned"
    RUNNING = "running"
    RETIRED = "retired"


class RegisterScope(StrEnum):
    """Extensions of GB/T 22239 that apply beside the general requirements."""

    GENERAL = "general"
    CLOUD = "cloud"
    MOBILE = "mobile"
    IOT = "iot"
    ICS = "ics"


class HostRole(StrEnum):
    """What a host is to its system, where requirements ask for such hosts."""

    #: Stands between zones, or at the edge: a gateway, a firewall.
    BORDER = "border"
    #: Guards others: every border, a log server, a sensor, a bastion.
    SECURITY = "security"


class DataLevel(StrEnum):
    """Levels of data. Source: GB/T 43697-2024."""

    CORE = "core"
    IMPORTANT = "important"
    GENERAL = "general"


class Person(_Entry):
    """Somebody who answers for the system."""

    name: Named
    role: Short = ""
    contact: Short = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.role})" if self.role else self.name


class Filing(_Entry):
    """The filing (备案) and its certificate."""

    number: Short = Field(default="", description="number of the filing (备案编号)")
    certificate_number: Short = ""
    authority: Short = Field(default="", description="who accepted it (受理机关)")
    issued: date | None = None
    valid_until: date | None = Field(
        default=None, description="as printed on the certificate; counted from `issued` without it"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Filing:
        if self.issued and self.valid_until and self.valid_until <= self.issued:
            raise ValueError("valid_until is not after issued")
        return self


class LastAssessment(_Entry):
    """The last assessment by a licensed body (等级测评)."""

    held: date
    body: Short = ""
    conclusion: Short = ""
    rate_percent: float | None = Field(default=None, ge=0, le=100)
    hidden_dangers_count: int | None = Field(default=None, ge=0, le=10_000)
    hidden_dangers_fixed_count: int | None = Field(default=None, ge=0, le=10_000)


class CloudPlatform(_Entry):
    """What the system runs on, where that is graded on its own."""

    name: Named
    level: Level | None = None
    filing_number: Short = ""
    system: Short = Field(default="", description="its own entry in this register, where it has one")


class DataClass(_Entry):
    """One smallest class of data ("accounts of a bank"), the unit of the data survey."""

    name: Named
    level: DataLevel
    personal_count: Count = Field(default=0, description="persons whose data it holds")
    crosses_border: bool = False
    jobs: tuple[Named, ...] = Field(default=(), max_length=100, description="backup jobs that hold it")
    no_backup_because: Short = Field(default="", description="why none is needed: derived, kept elsewhere, …")


class EmergencyPlan(_Entry):
    """The emergency plan (应急预案) in force."""

    version: Named
    reviewed: date
    document: Short = ""


class Training(_Entry):
    """A training that was held."""

    held: date
    topic: Short = ""
    people_count: int = Field(default=1, ge=1, le=1_000_000)


class RegisterEntry(_Entry):
    """One system of the register; its name, title, objectives and backup jobs stand beside it in the configuration."""

    short_name: Short = ""
    kind: SystemKind | None = None
    stage: Stage = Stage.RUNNING
    owner: Short = Field(default="", description="unit that answers for it (责任单位)")
    authority: Short = Field(default="", description="department above it (主管部门)")
    responsible: tuple[Person, ...] = Field(default=(), max_length=50)
    level: Level | None = None
    s: Level | None = None
    a: Level | None = None
    graded: date | None = None
    expert_review: date | None = None
    scopes: tuple[RegisterScope, ...] = ()
    filing: Filing | None = None
    assessment: LastAssessment | None = None
    cryptography_assessed: date | None = Field(default=None, description="last assessment of cryptography (密评)")
    hosts: tuple[Named, ...] = Field(default=(), max_length=5000, description="names under `hosts`")
    borders: tuple[Named, ...] = Field(
        default=(), max_length=1000, description="those of `hosts` that stand between zones or at the edge"
    )
    borders_are_all: bool = Field(
        default=False, description="nothing but `borders` leads in, out, or from zone to zone; no other device does"
    )
    security_hosts: tuple[Named, ...] = Field(
        default=(),
        max_length=1000,
        description="those of `hosts` that guard others, beside `borders`: log server, sensor …",
    )
    security_are_all: bool = Field(
        default=False, description="`borders` and `security_hosts` are all security devices that there are"
    )
    location: Short = ""
    internet: bool = False
    users_count: Count | None = None
    high_availability: bool = Field(default=False, description="its service must not stop")
    key_industry: bool = False
    critical_infrastructure: bool = False
    platform: CloudPlatform | None = None
    data: tuple[DataClass, ...] = Field(default=(), max_length=1000)
    plan: EmergencyPlan | None = None
    training: tuple[Training, ...] = Field(default=(), max_length=1000)
    contractors: tuple[Named, ...] = Field(default=(), max_length=100)

    @model_validator(mode="after")
    def _consistent(self) -> RegisterEntry:
        halves = [half for half in (self.s, self.a) if half is not None]
        if self.level is not None and halves and max(halves) > self.level:
            raise ValueError(f"level {self.level} is below S or A; the higher of the two counts")
        if self.level is not None and len(halves) == 2 and max(halves) != self.level:
            raise ValueError(f"level {self.level} is above both S and A; the higher of the two counts")
        names = [entry.name for entry in self.data]
        if len(set(names)) != len(names):
            raise ValueError("two data classes have the same name")
        for name, some in (("borders", self.borders), ("security_hosts", self.security_hosts)):
            if strangers := set(some) - set(self.hosts):
                raise ValueError(f"{name}: {', '.join(sorted(strangers)[:5])} is not among hosts")
        if self.borders_are_all and not self.borders:
            raise ValueError("borders_are_all is set, and borders names none")
        if self.security_are_all and not (self.borders or self.security_hosts):
            raise ValueError("security_are_all is set, and neither borders nor security_hosts names one")
        return self

    def hosts_of(self, role: HostRole) -> tuple[str, ...]:
        """The hosts that are written down as such."""
        return self.borders if role is HostRole.BORDER else tuple(dict.fromkeys((*self.borders, *self.security_hosts)))

    def are_all(self, role: HostRole) -> bool:
        """Whether somebody answers for it that there are no others."""
        return self.borders_are_all if role is HostRole.BORDER else self.security_are_all

    @property
    def system_level(self) -> int | None:
        """The level of the system: as set, or the higher half where both are known."""
        if self.level is not None:
            return self.level
        return max(self.s, self.a) if self.s is not None and self.a is not None else None

    @property
    def trained(self) -> date | None:
        """When people were trained last."""
        return max((training.held for training in self.training), default=None)
