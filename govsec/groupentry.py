"""Application-consistent groups of backup jobs, as the configuration writes them down."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


class HookConfig(BaseModel):
    """A program that is run: no shell, and nothing in its environment that opens a door."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    argv: tuple[Annotated[str, Field(max_length=4096)], ...] = Field(min_length=1, max_length=256)
    timeout_s: float = Field(default=60, gt=0, le=3600)


class GroupConfig(BaseModel):
    """Several jobs that make one recovery point together: taken while ``pre`` holds the application still."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: _Name
    members: tuple[_Name, ...] = Field(min_length=1, max_length=64, description="backup jobs of the system")
    pre: HookConfig | None = Field(default=None, description="brings the application to rest; fails: no recovery point")
    post: HookConfig | None = Field(default=None, description="lets it go on; always run once pre was started")
    wait_s: float = Field(
        default=120, gt=0, le=86_400, description="how long logs of databases may take to reach the centers afterwards"
    )
