"""What ``incident`` of the configuration says: who reports here, and how clocks are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

_Role = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


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
