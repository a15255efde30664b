"""What a verb of the root helper is, and the settings that bound all of them."""

from __future__ import annotations

import os
import stat
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Protocol

from govsec.errors import ConfigurationError, RefusedError, TryAgainError

Network = IPv4Network | IPv6Network
Arguments = Mapping[str, str | int]
#: What a verb keeps to take itself back: plain values.
Before = dict[str, Any]
_OUTPUT_MAX = 4 << 20
_COMMAND_LIMIT_S = 60.0


class Verb(Protocol):
    """One deed. Everything but ``plan`` may be called again after a crash in its middle, and does no harm then."""

    #: Its rules are gone when the machine starts again, and are to be put back then.
    is_volatile: bool

    def plan(self, arguments: Arguments, peer_pid: int) -> dict[str, Any]:
        """What it would hit, as facts. Changes nothing. Raises ``RefusedError`` for what must never be hit."""
        ...

    def before(self, arguments: Arguments) -> Before:
        """What taking it back will need; written down before the deed."""
        ...

    def act(self, arguments: Arguments, before: Before, ttl_s: int, nonce: str) -> None:
        """Do it, for ``ttl_s`` from now."""
        ...

    def holds(self, arguments: Arguments, before: Before) -> bool:
        """Whether it is in force, by what the kernel or the file says."""
        ...

    def undo(self, arguments: Arguments, before: Before) -> str:
        """As it was; empty, or why it is not quite as it was."""
        ...

    def processes(self, arguments: Arguments) -> list[int]:
        """Those that it is about, for the forensic pack; empty: all of them."""
        ...


@dataclass(frozen=True, slots=True)
class Settings:
    """``helper.toml``. Lists of networks are CIDR; all of it is root's to write."""

    host: str
    roots_file: Path
    state_dir: Path
    socket: Path
    #: Who may ask: user ids, as the kernel says them of whoever connects.
    peers: tuple[int, ...]
    dry_run: bool = True
    management: tuple[Network, ...] = ()
    never_block: tuple[Network, ...] = ()
    never_disable: tuple[str, ...] = ()
    #: Programs by path; one that ends in ``/`` stands for all below it.
    never_suspend: tuple[str, ...] = ("/usr/lib/systemd/", "/usr/sbin/sshd", "/usr/bin/dbus-daemon", "/opt/govsec/")
    admin_groups: tuple[str, ...] = ("sudo", "wheel", "admin")
    logs: tuple[str, ...] = ("/var/log/auth.log", "/var/log/secure", "/var/log/syslog", "/var/log/messages")
    #: How many of one verb are in force at a time, begin in an hour, and how long one may last.
    active_max: int = 64
    per_hour_max: int = 20
    ttl_max_s: int = 86_400
    #: Persons who must have approved, by verb; one for those that are not named.
    approvals: Mapping[str, int] = field(default_factory=dict)
    #: Of ``passwd``, ``shadow`` and ``group``; another than ``/`` for images of machines.
    accounts_root: Path = Path("/")


def refuse_writable(path: Path) -> None:
    """Return when nobody but root, or who runs this, can write a file or its folder.

    Raises:
        ConfigurationError: somebody else can, so it decides nothing here; or it is not there.
    """
    for each in (path, path.parent):
        try:
            status = each.stat()
        except OSError as error:
            raise ConfigurationError(f"{each}: {error.strerror}") from error
        is_sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
        if status.st_uid not in (0, os.geteuid()) or (status.st_mode & 0o022 and not is_sticky):
            raise ConfigurationError(f"{each}: others than root can write it; nothing is decided by it")


def read_settings(path: Path) -> Settings:
    """The settings in a TOML file. Raises ``ConfigurationError`` with what is wrong in it."""
    refuse_writable(path)
    try:
        with path.open("rb") as file:
            found = tomllib.load(file)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    known = {each.name: str(each.type) for each in fields(Settings)}
    values: dict[str, Any] = {}
    for name, value in found.items():
        if name not in known:
            raise ConfigurationError(f"{path}: {name}: unknown")
        try:
            values[name] = _typed(known[name], value)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"{path}: {name}: expected {known[name]}: {error}") from error
    missing = {"host", "roots_file", "state_dir", "socket", "peers"} - set(values)
    if missing:
        raise ConfigurationError(f"{path}: missing: {', '.join(sorted(missing))}")
    return Settings(**values)


def _typed(kind: str, value: object) -> object:
    if kind.startswith("tuple["):
        if not isinstance(value, list):
            raise TypeError("no list")
        return tuple(_typed(kind[6:].split(",")[0], each) for each in value)
    if kind.startswith("Mapping"):
        if not isinstance(value, dict):
            raise TypeError("no table")
        return {name: _typed("int", each) for name, each in value.items()}
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind == "int" and type(value) is int and value >= 0:
        return value
    if kind in ("str", "Path", "Network") and isinstance(value, str):
        return Path(value) if kind == "Path" else ip_network(value) if kind == "Network" else value
    raise TypeError(f"not {value!r}")


def text_of(arguments: Arguments, name: str) -> str:
    """A text among the arguments. Raises ``RefusedError`` when it is none."""
    value = arguments.get(name)
    if not isinstance(value, str) or not value:
        raise RefusedError(f"argument {name}: expected text")
    return value


def number_of(arguments: Arguments, name: str) -> int:
    """A whole number above 0 among the arguments. Raises ``RefusedError`` when it is none."""
    value = arguments.get(name)
    if type(value) is not int or value <= 0:
        raise RefusedError(f"argument {name}: expected a whole number above 0")
    return value


def run(argv: Sequence[str], given: str = "") -> str:
    """Standard output of a program of the system, with nothing of our environment.

    Raises:
        TryAgainError: it cannot be started, or does not end. ``RefusedError``: it failed, with its words.
    """
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            argv, input=given.encode(), capture_output=True, timeout=_COMMAND_LIMIT_S, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TryAgainError(f"{argv[0]}: {error}") from error
    if done.returncode != 0:
        words = done.stderr[:500].decode("utf-8", "backslashreplace")
        raise RefusedError(f"{argv[0]}: exit code {done.returncode}: {words.strip()}")
    return done.stdout[:_OUTPUT_MAX].decode("utf-8", "replace")
