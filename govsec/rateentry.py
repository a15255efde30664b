"""When a line may carry how much: ``centers[].rate_schedule`` of the configuration. Times are Beijing's."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

_BEIJING = timezone(timedelta(hours=8))
_Clock = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
_Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_DAYS: tuple[_Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class RateWindow(BaseModel):
    """A time of the day with a rate of its own; one that ends before it begins runs past midnight."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    days: tuple[_Day, ...] = Field(default=_DAYS, min_length=1, description="days on which it begins")
    begin: _Clock = Field(description="HH:MM, Beijing time")
    end: _Clock = Field(description="HH:MM, not included; earlier than begin: on the day after")
    rate_bytes_per_s: Annotated[int, Field(gt=0)] | None = Field(description="null: no limit")

    @model_validator(mode="after")
    def _lasts(self) -> RateWindow:
        if self.begin == self.end:
            raise ValueError("begins and ends at the same time")
        return self

    def holds(self, moment: datetime) -> bool:
        """True when ``moment`` lies in it."""
        local = moment.astimezone(_BEIJING)
        now, today = f"{local:%H:%M}", _DAYS[local.weekday()]
        if self.begin < self.end:
            return today in self.days and self.begin <= now < self.end
        yesterday = _DAYS[local.weekday() - 1]
        return (today in self.days and now >= self.begin) or (yesterday in self.days and now < self.end)


def rate_at(moment: datetime, usual: int | None, schedule: Sequence[RateWindow]) -> int | None:
    """Bytes per second at ``moment``: of the first window that holds, else the usual ones. None: no limit."""
    for window in schedule:
        if window.holds(moment):
            return window.rate_bytes_per_s
    return usual
