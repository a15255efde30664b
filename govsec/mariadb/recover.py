"""Restored files become a server's data folder as of a place in the log.

Two steps. ``mariadb-backup --prepare`` makes the base backup whole. Then a private server (:mod:`private`) plays the
log files as a replica does that has received them: its own SQL thread applies them, up to the place and not an event
further. So row events, statements, character sets, ``GRANT`` and ``LOAD DATA`` are applied by the server itself, and
no text of the log ever passes through a client, where ``\\!`` in somebody's statement would be a command.

What is read was kept by others, and may be hostile: the option file in the base backup is written anew with the few
options that describe the files, links and files that name other places (``.isl``) are refused, and the programs run
where and as whom the caller says (a drill: isolated, without a network).
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from govsec.clock import Clock
from govsec.errors import ConfigurationError, RefusedError, SourceError
from govsec.localfile import read_bounded
from govsec.mariadb.api import Cell
from govsec.mariadb.events import MAGIC
from govsec.mariadb.private import Files, PrivateServer
from govsec.mariadb.record import BaseRecord
from govsec.mariadb.server import Server
from govsec.mariadb.target import Stop

_TOOL = "mariadb-backup"
_OPTIONS_FILE = "backup-my.cnf"
_OPTIONS_SIZE_MAX = 64 << 10
_PREPARE_MEMORY = "128M"
_POLL_S = 0.1
#: Options that say how the files are laid out, and what they may say. Everything else in that file is left out.
_LAYOUT = {
    "innodb_checksum_algorithm": re.compile(r"[a-z0-9_]{1,32}"),
    "innodb_data_file_path": re.compile(r"[A-Za-z0-9_]{1,64}:[0-9]{1,12}[KMG]?(:autoextend(:max:[0-9]{1,12}[KMG]?)?)?"),
    "innodb_log_file_size": re.compile(r"[0-9]{1,15}"),
    "innodb_page_size": re.compile(r"[0-9]{4,6}"),
    "innodb_undo_directory": re.compile(r"\./"),
    "innodb_undo_tablespaces": re.compile(r"[0-9]{1,3}"),
    "innodb_compression_level": re.compile(r"[0-9]"),
}
#: Left out for the server itself: old ones it does not take any more.
_NOT_FOR_SERVER = {"innodb_log_file_size"}
#: What the tool leaves in the folder that is no file of a server.
_LEFTOVERS = re.compile(r"(xtrabackup_.*|mariadb_backup_.*|backup-my\.cnf|ib_logfile[1-9][0-9]*)")


@dataclass(frozen=True, slots=True)
class Folders:
    """A restored job: ``base`` (the base backup's own folder) and ``log_file``, as this process sees them."""

    tree: Path
    data: Path
    log_file: Callable[[str], Path]
    #: Folder for the server's work, made and removed here; below ``tree``.
    work: Path


@dataclass(frozen=True, slots=True)
class Recovered:
    """A data folder as of a place."""

    base: BaseRecord
    stop: Stop
    seconds: Mapping[str, float] = field(default_factory=dict)


def recover(
    cell: Cell,
    folders: Folders,
    base: BaseRecord,
    stop: Stop,
    *,
    clock: Clock,
    timeout_s: float,
    owner: tuple[int, int] | None,
) -> Recovered:
    """Prepare the base backup and play the log up to ``stop``.

    The server that does so has ended when this returns; when it raises, it ends with the cell.

    ``owner`` is the user and group that the programs run as, where that is not this process's.

    Raises:
        SourceError: the tool or the server could not; its own words are told. RefusedError: the files are such that
        no server is started over them. ConfigurationError: a program is missing.
    """
    seconds: dict[str, float] = {}
    begun = clock.monotonic()

    def lap(name: str) -> None:
        nonlocal begun
        now = clock.monotonic()
        seconds[name], begun = round(now - begun, 3), now

    options = make_safe(folders.data)
    _make_work(folders, owner)
    _prepare(cell, folders, timeout_s)
    lap("prepare")
    if stop.commit is not None and base.place is not None:
        _lay_out(cell, folders, stop, owner)
        server = PrivateServer(cell, _files(cell, folders), clock)
        server.start(options)
        lap("start")
        _play(server, base, stop, clock, timeout_s)
        lap("apply")
        # It was told to end by the connection that plays; where that failed, it ends with its cell.
        server.wait()
        lap("stop")
    return Recovered(base, stop, seconds)


def serve(cell: Cell, folders: Folders, clock: Clock) -> PrivateServer:
    """Start a private server over a recovered data folder; stop it when done. Raises as :func:`recover`."""
    server = PrivateServer(cell, _files(cell, folders), clock)
    server.start(_server_options(folders.data))
    return server


def make_safe(data: Path) -> tuple[str, ...]:
    """Look at the files of a base backup and rewrite its option file; the options that a server needs for them.

    Raises:
        RefusedError: there are links, special files, or files that lead elsewhere.
    """
    for folder, _, names in os.walk(data, onerror=_raise):
        for name in names:
            path = Path(folder) / name
            if not stat.S_ISREG(path.lstat().st_mode):
                raise RefusedError(f"base backup: {str(path.relative_to(data))!a} is no regular file")
            if name.endswith(".isl"):
                raise RefusedError(
                    f"base backup: {str(path.relative_to(data))!a} names a table outside the data folder "
                    "(DATA DIRECTORY); bring this one back by hand"
                )
    layout = _layout(data)
    lines = ["[mysqld]", *(f"{name}={value}" for name, value in layout.items()), ""]
    path = data / _OPTIONS_FILE
    path.unlink(missing_ok=True)
    path.write_text("\n".join(lines), encoding="ascii")
    path.chmod(0o644)
    return _as_options(layout)


def finish(data: Path) -> None:
    """Remove what is no file of a server."""
    for path in data.iterdir():
        if _LEFTOVERS.fullmatch(path.name) and path.is_file():
            path.unlink()


def _raise(error: OSError) -> None:
    raise SourceError(f"base backup: {error.filename}: {error.strerror}") from error


def _layout(data: Path) -> dict[str, str]:
    try:
        text = read_bounded(data / _OPTIONS_FILE, _OPTIONS_SIZE_MAX).decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"base backup: {_OPTIONS_FILE} cannot be read: {error}") from error
    found = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and name in _LAYOUT:
            if _LAYOUT[name].fullmatch(value) is None:
                raise RefusedError(f"base backup: {_OPTIONS_FILE}: {name} is {value[:100]!a}")
            found[name] = value
    return found


def _as_options(layout: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(
        f"--loose-{name.replace('_', '-')}={value}" for name, value in layout.items() if name not in _NOT_FOR_SERVER
    )


def _server_options(data: Path) -> tuple[str, ...]:
    return _as_options(_layout(data)) if (data / _OPTIONS_FILE).exists() else ()


def _make_work(folders: Folders, owner: tuple[int, int] | None) -> None:
    for folder in (folders.work, *(folders.work / name for name in ("empty", "temporary", "relay"))):
        folder.mkdir(mode=0o700)
        if owner is not None:
            os.chown(folder, *owner)
    if owner is not None:
        _give(folders.data, owner)


def _give(folder: Path, owner: tuple[int, int]) -> None:
    """Everything below ``folder`` becomes the server's; there are no links in it."""
    os.chown(folder, *owner, follow_symlinks=False)
    for above, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(above) / name
            os.chown(path, *owner, follow_symlinks=False)
            path.chmod(0o700 if name in folders else 0o600)
    folder.chmod(0o700)


def _prepare(cell: Cell, folders: Folders, timeout_s: float) -> None:
    program = shutil.which(_TOOL)
    if program is None:
        raise ConfigurationError(f"{_TOOL} is not installed (Debian: mariadb-backup)")
    target = _inside(cell, folders, folders.data)
    outcome = cell.run(
        [program, "--no-defaults", "--prepare", f"--target-dir={target}", f"--use-memory={_PREPARE_MEMORY}"], timeout_s
    )
    if outcome.exit_code != 0:
        words = outcome.output.decode("utf-8", "backslashreplace").strip().splitlines()
        raise SourceError(f"{_TOOL} --prepare failed: {outcome.note or ' | '.join(words[-3:])[:1000]}")


def _lay_out(cell: Cell, folders: Folders, stop: Stop, owner: tuple[int, int] | None) -> None:
    """The log files as the relay log of a replica, the last one cut where the recovery ends."""
    assert stop.commit is not None  # the caller looks
    relay = folders.work / "relay"
    inside = _inside(cell, folders, relay)
    index = []
    for number, name in enumerate(stop.files, start=1):
        path = relay / f"relay.{number:06d}"
        folders.log_file(name).rename(path)
        if name == stop.commit.file:
            os.truncate(path, stop.commit.position)
        if owner is not None:
            os.chown(path, *owner)
        path.chmod(0o600)
        index.append(f"{inside}/{path.name}\n")
    (relay / "relay.index").write_text("".join(index), encoding="utf-8")
    if owner is not None:
        os.chown(relay / "relay.index", *owner)


def _play(server: PrivateServer, base: BaseRecord, stop: Stop, clock: Clock, timeout_s: float) -> None:
    assert stop.commit is not None and base.place is not None  # the caller looks
    commit, place, last = stop.commit, base.place, len(stop.files)

    def play(connection: Server) -> dict[str, Any]:
        # From here on accounts exist, so that statements about them can be applied; this connection stays in.
        connection.query("FLUSH PRIVILEGES")
        connection.query(
            "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_USER='nobody', MASTER_USE_GTID=no, "
            "RELAY_LOG_FILE=%s, RELAY_LOG_POS=%s",
            ("relay.000001", max(place.position, len(MAGIC))),
        )
        connection.query(
            "START SLAVE SQL_THREAD UNTIL RELAY_LOG_FILE=%s, RELAY_LOG_POS=%s", (f"relay.{last:06d}", commit.position)
        )
        deadline = clock.monotonic() + timeout_s
        while True:
            state = connection.status()
            if state["Last_SQL_Errno"]:
                return {"error": f"{_where(state)}: {state['Last_SQL_Error']}"}
            # Once the last one is played the server goes on to an empty relay log of its own.
            if (int(state["Relay_Log_File"].rpartition(".")[2]), int(state["Relay_Log_Pos"])) >= (
                last,
                commit.position,
            ):
                break
            if state["Slave_SQL_Running"] != "Yes":
                return {"error": f"{_where(state)}: stopped before {commit.file}:{commit.position}"}
            if clock.monotonic() > deadline:
                return {"error": f"{_where(state)}: longer than {timeout_s:g} s"}
            clock.sleep(_POLL_S)
        connection.query("STOP SLAVE")
        connection.query("RESET SLAVE ALL")
        connection.query("SHUTDOWN")
        return {"applied": True}

    answer = server.call(play, timeout_s=timeout_s + 60)
    if "error" in answer:
        raise SourceError(f"the log could not be played: {answer['error']}")


def _where(state: Mapping[str, Any]) -> str:
    return f"at {state['Relay_Master_Log_File'] or 'the first log'}:{state['Exec_Master_Log_Pos']}"


def _files(cell: Cell, folders: Folders) -> Files:
    return Files(folders.data, _inside(cell, folders, folders.data), folders.work, _inside(cell, folders, folders.work))


def _inside(cell: Cell, folders: Folders, path: Path) -> str:
    return f"{cell.tree}/{path.relative_to(folders.tree).as_posix()}"
