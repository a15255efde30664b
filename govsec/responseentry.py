"""What ``response`` of the configuration says: which deeds may really be done from here, and by which playbooks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

#: Longest that snapshots are kept from being let go; whoever needs longer says so again.
FREEZE_DAYS_MAX = 30
_Verb = Annotated[str, Field(pattern=r"^[a-z]{1,20}\.[a-z]{1,20}$")]


class ResponseConfig(BaseModel):
    """Responses: playbooks, and the helper that does what needs root."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    live: tuple[_Verb, ...] = Field(
        default=("backup.freeze",),
        max_length=20,
        description="verbs that are really done; all others are only tried, and say what they would hit",
    )
    playbooks: tuple[Path, ...] = Field(
        default=(), max_length=100, description="files of further playbooks, each signed by a pinned key"
    )
    host: str = Field(default="", max_length=200, description="this machine's name in orders (default: its own)")
    helper: Path = Field(default=Path("/run/govsec-helper/socket"), description="socket of the root helper")
    freeze_days: int = Field(
        default=7, ge=1, le=FREEZE_DAYS_MAX, description="how long backup.freeze lasts, unless a playbook says so"
    )
    runs: Path | None = Field(default=None, description="the file of runs (default: below state_dir)")
