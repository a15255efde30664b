"""What ``notify`` of the configuration says of people: who is on duty when, and who is called next.

A person without a channel and a time without anybody are no errors here, because a site must start with a rota that is
not whole yet; ``govsec notify rota --check`` tells them beforehand, and a call passes over them and says so.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

_Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
_TimeOfDay = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
_Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
SeverityName = Literal["info", "low", "medium", "high", "critical"]
LevelName = Literal["general", "relatively_major", "major", "particularly_major"]
#: Rising; a level counts from 1, and 0 is that of what has none.
LEVELS: tuple[LevelName, ...] = ("general", "relatively_major", "major", "particularly_major")


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PersonConfig(_Entry):
    """Somebody who can be called."""

    name: str = Field(min_length=1, max_length=60, description="as others know the person: 张三")
    channels: tuple[_Name, ...] = Field(
        default=(), max_length=10, description="ways to this person, of notify.channels; all are used at once"
    )


class ShiftConfig(_Entry):
    """Hours of a day, and who takes them."""

    people: tuple[_Name, ...] = Field(max_length=100)
    days: Literal["every", "workday", "restday"] | Annotated[tuple[_Weekday, ...], Field(min_length=1)] = Field(
        default="every",
        description="workday and restday by the official calendar (notify.workdays): a Saturday that is worked is a "
        "workday; or days of the week, whatever the calendar says",
    )
    start: _TimeOfDay = "00:00"
    end: _TimeOfDay = Field(default="00:00", description="not later than start: on the next day")
    turn: Literal["together", "shift", "week"] = Field(
        default="together", description="all together; or one after the other, each shift or each week"
    )
    since: date | None = Field(default=None, description="the day on which the first of `people` has the turn")

    @model_validator(mode="after")
    def _turns_begin_somewhere(self) -> ShiftConfig:
        if self.turn != "together" and self.since is None:
            raise ValueError("turn: say with `since` on which day the first of the people has it")
        return self


class StepConfig(_Entry):
    """One level of a chain: who is called, how often, and when it is the next one's turn."""

    rota: _Name | None = None
    people: tuple[_Name, ...] = Field(default=(), max_length=20)
    repeat_min: int = Field(default=5, ge=1, le=240, description="called again after so many minutes")
    wait_min: int = Field(
        default=15, ge=1, le=1440, description="the next level is called after so many minutes; the last one goes on"
    )

    @model_validator(mode="after")
    def _calls_somebody(self) -> StepConfig:
        if self.rota is None and not self.people:
            raise ValueError("a level calls a rota, people, or both")
        return self


class ChainConfig(_Entry):
    """Who is called for what is this bad, one level after the other, until a person takes it on."""

    severity_min: SeverityName = "info"
    level_min: LevelName = "general"
    systems: tuple[Annotated[str, Field(max_length=200)], ...] = Field(
        default=(), max_length=1000, description="for these systems only; empty: for all"
    )
    hours: tuple[_TimeOfDay, _TimeOfDay] | None = Field(
        default=None, description="called within these hours of a day only; not for what may have to be reported"
    )
    steps: tuple[StepConfig, ...] = Field(min_length=1, max_length=10)

    @model_validator(mode="after")
    def _reportable_does_not_sleep(self) -> ChainConfig:
        if self.hours is not None and self.level_min != "general":
            raise ValueError("hours: what is 较大 or worse is called at any hour; limits of the law run at night")
        return self
