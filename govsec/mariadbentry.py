"""A MariaDB server as a backup job's source, as the configuration writes it down."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

#: Numbers of replicas that govsec takes when none is chosen; few people number their servers this high.
REPLICA_IDS = range(3_000_000_000, 4_000_000_000)


class MariadbSourceConfig(BaseModel):
    """Base backups (``govsec mariadb backup``) and the binary log (``govsec mariadb stream``) of one server.

    Over TCP the server's certificate is always verified; a unix socket needs none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["mariadb"]
    socket: Path | None = Field(default=None, description="the server's unix socket; give this, or host")
    host: str = Field(default="", pattern=r"^[A-Za-z0-9.:_-]{0,253}$", description="name as in its certificate")
    port: int = Field(default=3306, ge=1, le=65535)
    ca_file: Path | None = Field(default=None, description="authorities to trust, instead of the system's (PEM)")
    user: str = Field(default="govsec", min_length=1, max_length=128)
    password_file: Path | None = Field(default=None, description="absent where the server knows the system's user")
    replica_id: int | None = Field(
        default=None, ge=1, le=(1 << 32) - 1, description="server id of the stream; default: made of system and job"
    )
    log_window_s: float = Field(
        default=1, ge=0.1, le=60, description="longest time that log waits before it becomes a snapshot"
    )
    log_window_bytes: int = Field(
        default=16 << 20, ge=1 << 20, le=256 << 20, description="log that becomes one at once"
    )
    quiet_every_s: float = Field(
        default=60, ge=1, le=86400, description="how often a server without news makes a recovery point that says so"
    )
    bases_keep: int = Field(
        default=2, ge=1, le=60, description="base backups in the newest recovery point; log before the oldest goes"
    )
    backup_threads: int = Field(default=1, ge=1, le=16, description="threads of mariadb-backup")
    backup_timeout_s: float = Field(default=6 * 3600, gt=0, le=7 * 86400)
    nonce_database: str = Field(
        default="", max_length=63, description="database in which the table govsec_nonce is written for drills"
    )
    nonce_every_s: float = Field(default=60, ge=1, le=86_400)
    server_user: str = Field(
        default="mysql", min_length=1, max_length=32, description="whom a server that is brought back runs as"
    )

    @model_validator(mode="after")
    def _has_one_address(self) -> MariadbSourceConfig:
        if (self.socket is None) == (not self.host):
            raise ValueError("give either socket or host")
        return self
