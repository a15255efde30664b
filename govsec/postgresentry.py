"""What a backup job says of a database: how it is reached, and how much of its log is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PostgresSourceConfig(_Entry):
    """A PostgreSQL server, 13 or later: base backups, and its write-ahead log without a pause."""

    kind: Literal["postgres"]
    conninfo: str = Field(
        min_length=1,
        max_length=2000,
        description="libpq connection string without a password: host=… port=… user=… sslrootcert=…",
    )
    password_file: Path | None = Field(default=None, description="the password of that user, nothing else in it")
    slot: str = Field(
        default="govsec", pattern=r"^[a-z0-9_]{1,63}$", description="replication slot that keeps the log for us"
    )
    slot_bytes_max: int = Field(
        default=16 << 30, ge=64 << 20, description="log kept by the slot beyond which `pg status` is a finding"
    )
    on_slot_full: Literal["warn", "drop"] = Field(
        default="warn", description="drop: the slot is given up before the server's disk fills; the log has a gap then"
    )
    window_s: float = Field(default=2.0, ge=0.2, le=300, description="how often what came is committed")
    bases_kept: int = Field(
        default=2, ge=1, le=100, description="base backups in every snapshot, with the log since the oldest of them"
    )
    nonce_database: str = Field(
        default="", max_length=63, description="database in which the table govsec_nonce is written for drills"
    )
    nonce_every_s: float = Field(default=60, ge=1, le=86_400)
