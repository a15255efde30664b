"""The programs of an installed PostgreSQL, and what ``pg_controldata`` says of a data directory."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from govsec.errors import ConfigurationError, FormatError
from govsec.runtime.children import child_environment

#: Where distributions put the programs of a major version; what is on PATH comes after.
_PLACES = ("/usr/lib/postgresql/{major}/bin", "/usr/pgsql-{major}/bin", "/opt/postgresql/{major}/bin")
_VERSION = re.compile(r"\(PostgreSQL\) ([0-9]+)")
_NUMBER_MAX = 10_000
_TIMEOUT_S = 60.0


def find_programs(major: int | None = None) -> Path | None:
    """The folder with ``postgres`` of this major version; without one the newest. None when there is none."""
    versions = range(40, 12, -1) if major is None else (major,)
    for version in versions:
        for place in _PLACES:
            folder = Path(place.format(major=version))
            if (folder / "postgres").is_file():
                return folder
    for folder in _on_path():
        found = version_of(folder)
        if found is not None and found in versions:
            return folder
    return None


def version_of(programs: Path) -> int | None:
    """The major version of the programs in a folder; None when they do not say."""
    try:
        done = subprocess.run(
            [str(programs / "postgres"), "--version"],
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
            env=child_environment(),
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(done.stdout.decode("utf-8", "replace"))
    return None if match is None else int(match[1])


def require_programs(major: int) -> Path:
    """As :func:`find_programs`.

    Raises:
        ConfigurationError: this machine has none of that version.
    """
    found = find_programs(major)
    if found is None:
        raise ConfigurationError(f"PostgreSQL {major} is not installed here (postgresql-{major})")
    return found


def major_of(version_file: str) -> int:
    """The major version that a data directory's ``PG_VERSION`` says. Raises ``FormatError``."""
    text = version_file.strip()
    if not text.isdigit() or not 0 < int(text) < _NUMBER_MAX:
        raise FormatError(f"PG_VERSION says {text[:20]!r}")
    return int(text)


def parse_control(text: str) -> Mapping[str, str]:
    """What ``pg_controldata`` printed (in the C locale), by its words."""
    found = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found[name.strip()] = value.strip()
    return found


def needed_settings(control: Mapping[str, str]) -> dict[str, int]:
    """Settings that a recovering server needs at least as large as the one had that wrote the log."""
    names = {
        "max_connections setting": "max_connections",
        "max_worker_processes setting": "max_worker_processes",
        "max_wal_senders setting": "max_wal_senders",
        "max_prepared_xacts setting": "max_prepared_transactions",
        "max_locks_per_xact setting": "max_locks_per_transaction",
    }
    found = {}
    for words, name in names.items():
        value = control.get(words, "")
        if value.isdigit() and int(value) <= _NUMBER_MAX:
            found[name] = int(value)
    return found


def _on_path() -> Iterator[Path]:
    for part in os.environ.get("PATH", "").split(os.pathsep):
        program = Path(part) / "postgres"
        if part and program.is_file():
            yield program.resolve().parent
