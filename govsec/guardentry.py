"""What ``guard`` of the configuration says: which files are held against the baseline, what is looked at, how often.

Paths are those of the guarded machine, absolute, and patterns are the shell's.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator

MachinePath = Annotated[str, StringConstraints(pattern=r"^/", max_length=4000)]
_Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AllowOnHost(_Entry):
    """Findings that are not to be told: of these kinds, about these subjects, until a day."""

    name: _Name
    kinds: tuple[str, ...] = Field(min_length=1, max_length=20, description="kinds of findings, as host.login.odd_hour")
    subjects: tuple[str, ...] = Field(
        min_length=1, max_length=100, description="shell patterns of subjects: a path, an account, an address"
    )
    owner: str = Field(min_length=1, max_length=200, description="who answers for it")
    reason: str = Field(min_length=3, max_length=500)
    expires: date = Field(description="the first day on which it does not hold any more (UTC)")

    @model_validator(mode="after")
    def _is_narrow(self) -> AllowOnHost:
        for subject in self.subjects:
            if len(subject.strip("*?/.")) < 3:  # a pattern of everything has hardly a letter
                raise ValueError(f"the pattern {subject!r} would allow nearly everything")
        return self


class GuardConfig(_Entry):
    """The guard of this machine."""

    roots: tuple[MachinePath, ...] = Field(
        default=(
            "/etc",
            "/boot",
            "/usr/bin",
            "/usr/sbin",
            "/usr/lib",
            "/usr/libexec",
            "/usr/local",
            "/bin",
            "/sbin",
            "/root/.ssh",
        ),
        max_length=200,
        description="files and folders that the baseline is about; file systems below them are not entered",
    )
    exclude: tuple[str, ...] = Field(
        default=(
            "*/__pycache__",
            "/etc/ld.so.cache",
            "/etc/mtab",
            "/etc/adjtime",
            "/etc/resolv.conf",
            "/etc/.pwd.lock",
            "/etc/passwd",
            "/etc/passwd-",
            "/etc/group",
            "/etc/group-",
        ),
        max_length=1000,
        description="patterns of paths that change by themselves, or are told row by row (accounts)",
    )
    files_max: int = Field(default=300_000, ge=1000, le=5_000_000, description="files of a baseline; 250 bytes each")
    hash_size_max_mb: int = Field(
        default=1024, ge=1, le=1_048_576, description="of larger files the metadata alone is compared"
    )
    pass_size_max_mb: int = Field(
        default=8192,
        ge=64,
        le=16_777_216,
        description="read of changed files in one pass; of more, the metadata alone is compared, and that is told",
    )
    pass_every_s: int = Field(
        default=3600,
        ge=60,
        le=7 * 86_400,
        description="between passes over all files; changes are looked at as they come",
    )
    look_every_s: int = Field(
        default=30, ge=1, le=3600, description="between looks at logs, keys, processes and modules from other sides"
    )
    logs: tuple[MachinePath, ...] = Field(
        default=(
            "/var/log/*.log",
            "/var/log/syslog",
            "/var/log/messages",
            "/var/log/secure",
            "/var/log/wtmp",
            "/var/log/btmp",
            "/var/log/lastlog",
            "/var/log/audit/*.log",
            "/var/log/nginx/*.log",
            "/var/log/apache2/*.log",
            "/var/log/httpd/*_log",
        ),
        max_length=200,
        description="patterns of logs that must not lose what they hold",
    )
    logs_rewritten: tuple[str, ...] = Field(
        default=("lastlog", "faillog", "tallylog"),
        max_length=200,
        description="names of logs that are written at any place: of them only the size counts",
    )
    logs_old_folders: tuple[MachinePath, ...] = Field(
        default=(), max_length=20, description="folders to which rotation moves files (olddir of logrotate)"
    )
    key_files: tuple[str, ...] = Field(
        default=(".ssh/authorized_keys", ".ssh/authorized_keys2"),
        max_length=20,
        description="as AuthorizedKeysFile in sshd_config: below the home, or with %h and %u",
    )
    logs_max: int = Field(
        default=512, ge=16, le=10_000, description="logs that are followed; their rotated files at 600 bytes each"
    )
    sweeps: Mapping[str, JsonValue] = Field(
        default_factory=dict,
        description="where the machine's files are searched: certificate_folders, privileged_skipped",
    )
    sampling: Mapping[str, JsonValue] = Field(
        default_factory=dict, description="how much is read of what is written: per_s_max, files_max"
    )
    detectors: Mapping[str, Mapping[str, JsonValue]] = Field(
        default_factory=dict, description="detector: setting: value, in place of the detector's own"
    )
    allow: tuple[AllowOnHost, ...] = Field(default=(), max_length=1000, description="what is not to be told, and why")
