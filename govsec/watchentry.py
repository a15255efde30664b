"""How a job is protected continuously, as the configuration says it (``backups[].watch``)."""

from __future__ import annotations

import re
from datetime import timedelta
from itertools import pairwise

from pydantic import BaseModel, ConfigDict, Field, field_validator

_SPAN = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_span(text: str) -> timedelta:
    """The span that ``text`` names: ``90s``, ``10m``, ``6h``, ``30d``. Raises ``ValueError``."""
    match = _SPAN.fullmatch(text)
    if match is None:
        raise ValueError(f"not a span like 90s, 10m, 6h or 30d: {text[:40]!r}")
    return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])


class ThinStep(BaseModel):
    """Of the snapshots of the last ``within``, one is kept in every ``every``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    within: str = Field(description="as 24h or 7d")
    every: str = Field(description="as 10m; what a window made more often is thinned")

    @field_validator("within", "every")
    @classmethod
    def _is_span(cls, text: str) -> str:
        parse_span(text)
        return text


class WatchConfig(BaseModel):
    """Continuous protection of a job's files (``govsec backup watch``)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window_s: float = Field(default=2.0, ge=0.2, le=3600, description="changes of so long become one snapshot")
    heartbeat_s: float = Field(
        default=600, ge=1, le=86_400, description="without changes a snapshot is made so often all the same"
    )
    rescan_s: float = Field(
        default=6 * 3600,
        ge=60,
        le=7 * 86_400,
        description="the whole source is compared so often, whatever events said",
    )
    witness_samples_count: int = Field(
        default=4, ge=0, le=1000, description="files read independently for drills, for each window"
    )
    report_s: float = Field(
        default=900, ge=60, le=86_400, description="the lag that was measured is signed into the ledger so often"
    )
    tidy_s: float = Field(
        default=86_400,
        ge=0,
        le=30 * 86_400,
        description="snapshots are thinned and small packs put together so often; 0: by govsec repo prune alone",
    )
    keep_all: str = Field(default="1h", description="every snapshot of so long is kept")
    thin: tuple[ThinStep, ...] = Field(
        default=(
            ThinStep(within="24h", every="10m"),
            ThinStep(within="7d", every="1h"),
            ThinStep(within="90d", every="1d"),
        ),
        max_length=16,
        description="older ones, from the newest step to the oldest; what is older than all of them goes by retention",
    )

    @field_validator("keep_all")
    @classmethod
    def _is_span(cls, text: str) -> str:
        parse_span(text)
        return text

    @field_validator("thin")
    @classmethod
    def _widens(cls, steps: tuple[ThinStep, ...]) -> tuple[ThinStep, ...]:
        for earlier, later in pairwise(steps):
            if parse_span(later.within) <= parse_span(earlier.within) or parse_span(later.every) < parse_span(
                earlier.every
            ):
                raise ValueError("thin: each step reaches further back, and keeps no more, than the one before it")
        return steps
