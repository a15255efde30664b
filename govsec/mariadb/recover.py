r"""Restored files become a server's data folder as of a place in the log.

Three steps. The restored files are looked at and laid out; ``mariadb-backup --prepare`` makes the base backup whole;
then a private server (:mod:`private`) plays the log files as a replica does that has received them: its own SQL thread
applies them, up to the place and not an event further. So row events, statements, character sets, ``GRANT`` and ``LOAD
DATA`` are applied by the server itself, and no text of the log ever passes through a client, where ``\!`` in a
statement would be a command.

What is read was kept by others, and may be hostile. Everything that touches it runs in the cell, with no more rights
than the server has: a link that leads elsewhere leads to what that user may touch anyway. The option file in the base
backup is written anew with the few options that describe the files; links, and files that name other places
(``.isl``), are refused.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from govsec.clock import Clock, format_time, parse_time
from govsec.errors import ConfigurationError, FormatError, RefusedError, SourceError
from govsec.localfile import read_bounded
from govsec.mariadb.api import Cell
from govsec.mariadb.base import DATA
from govsec.mariadb.events import MAGIC, Commit
from govsec.mariadb.private import PrivateServer
from govsec.mariadb.record import (
    BASES_MAX,
    RECORD_FILE,
    RECORD_SIZE_MAX,
    BaseRecord,
    LogPlace,
    LogRecord,
    encode,
    log_path,
    parse_base_record,
    parse_log_record,
)
from govsec.mariadb.server import Server
from govsec.mariadb.target import Choice, Stop, Target, choices, find_stop

_TOOL = "mariadb-backup"
_OPTIONS_FILE = "backup-my.cnf"
_OPTIONS_SIZE_MAX = 64 << 10
_PREPARE_MEMORY = "128M"
_POLL_S = 0.1
_WORK = "work"
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
class Recovered:
    """A data folder as of a place."""

    base: BaseRecord
    #: The last transaction that is in it; None where nothing was played on top of the base backup.
    commit: Commit | None
    transactions: int
    #: Transactions behind the end that say a time before it; 0 unless the end is a time.
    earlier_behind: int
    #: Digest of the nonce that must be in it; None when none was planted by then.
    nonce: str | None
    #: Options that a server over it needs.
    options: tuple[str, ...]
    seconds: Mapping[str, float]


class Recovery:
    """A restored job at ``path`` below the cell's tree, such as ``mariadb/hr-db``; it belongs to the cell's user."""

    def __init__(self, cell: Cell, clock: Clock, path: str) -> None:
        self._cell = cell
        self._clock = clock
        self._root = Path(cell.tree) / path.strip("/")
        self._work = self._root / _WORK
        self._server: PrivateServer | None = None

    def recover(self, target: Target, timeout_s: float) -> Recovered | None:
        """Bring the data folder to the target; None when the target lies before every base backup that was restored.

        The server that does so has ended when this returns; when it raises, it ends with the cell.

        Raises:
            RefusedError: nothing here leads to the target, or no server is started over such files.
            SourceError: the log or a file is damaged, or a program could not; its own words are told.
            ConfigurationError: a program is missing.
        """
        seconds: dict[str, float] = {}
        begun = self._clock.monotonic()

        def lap(name: str) -> None:
            nonlocal begun
            now = self._clock.monotonic()
            seconds[name], begun = round(now - begun, 3), now

        arranged = self._call(lambda: _arranged(self._root, target), timeout_s)
        if not arranged:
            return None
        found = _recovered(arranged)
        lap("arrange")
        self._prepare(found.base, timeout_s)
        lap("prepare")
        if found.commit is not None and found.base.place is not None:
            server = self._new_server(found.base)
            server.start(found.options)
            lap("start")
            _play(server, found.base.place, found.commit, int(arranged["files"]), self._clock, timeout_s)
            lap("apply")
            # It was told to end by the connection that plays.
            server.wait()
            lap("stop")
        return replace(found, seconds=seconds)

    def serve(self, recovered: Recovered) -> PrivateServer:
        """Start a server over what was recovered. Raises as :meth:`recover`."""
        server = self._new_server(recovered.base)
        server.start(recovered.options)
        return server

    def hand_out(self, recovered: Recovered, name: str) -> None:
        """Make the data folder ``name`` at the top of the cell's tree, and remove the rest of the job."""
        source, top, tree = self._root / "base" / recovered.base.id / DATA, self._root.parent, Path(self._cell.tree)

        def move() -> dict[str, Any]:
            for path in source.iterdir():
                if _LEFTOVERS.fullmatch(path.name) and path.is_file():
                    path.unlink()
            source.rename(tree / name)
            shutil.rmtree(top)
            return {"moved": True}

        self._call(move, 3600)

    def _new_server(self, base: BaseRecord) -> PrivateServer:
        return PrivateServer(self._cell, self._root / "base" / base.id / DATA, self._work, self._clock)

    def _prepare(self, base: BaseRecord, timeout_s: float) -> None:
        program = shutil.which(_TOOL)
        if program is None:
            raise ConfigurationError(f"{_TOOL} is not installed (Debian: mariadb-backup)")
        data = self._root / "base" / base.id / DATA
        outcome = self._cell.run(
            [program, "--no-defaults", "--prepare", f"--target-dir={data}", f"--use-memory={_PREPARE_MEMORY}"],
            timeout_s,
        )
        if outcome.exit_code != 0:
            words = outcome.output.decode("utf-8", "backslashreplace").strip().splitlines()
            raise SourceError(f"{_TOOL} --prepare failed: {outcome.note or ' | '.join(words[-3:])[:1000]}")

    def _call(self, function: Any, timeout_s: float) -> dict[str, Any]:
        answer = self._cell.call(function, timeout_s)
        if "error" in answer:
            raise SourceError(str(answer["error"])[:2000])
        return answer


def _arranged(root: Path, target: Target) -> dict[str, Any]:
    """Find the way, make the files safe, and lay out the log; nothing when the target lies before every base backup."""
    record = _read_record(root)
    for choice in choices(record, target):
        stop = find_stop(choice, lambda name, choice=choice: _log_file(root, choice, name), target, record.misdated)  # type: ignore[misc]
        if stop is None:
            continue
        options = make_safe(root / "base" / choice.base.id / DATA)
        work = root / _WORK
        for folder in (work, *(work / name for name in ("empty", "temporary", "relay"))):
            folder.mkdir(mode=0o700)
        _lay_out(root, choice, stop, work / "relay")
        return {
            "base": encode(choice.base).decode(),
            "commit": None if stop.commit is None else _written(stop.commit),
            "transactions": stop.transactions,
            "earlier_behind": stop.earlier_behind,
            "files": len(stop.files),
            "nonce": _nonce_at(record, choice, stop),
            "options": list(options),
        }
    return {}


def _recovered(arranged: Mapping[str, Any]) -> Recovered:
    commit = arranged["commit"]
    return Recovered(
        parse_base_record(arranged["base"].encode()),
        None if commit is None else Commit(commit[0], commit[1], parse_time(commit[2]), commit[3]),
        arranged["transactions"],
        arranged["earlier_behind"],
        arranged["nonce"],
        tuple(arranged["options"]),
        {},
    )


def _written(commit: Commit) -> list[str | int]:
    return [commit.file, commit.position, format_time(commit.time), commit.gtid]


def _read_record(root: Path) -> LogRecord:
    """What the job's folder holds, as far as it was restored."""
    try:
        names = sorted(path.name for path in (root / "base").iterdir())[:BASES_MAX]
        bases = tuple(
            parse_base_record(read_bounded(root / "base" / name / RECORD_FILE, RECORD_SIZE_MAX)) for name in names
        )
        if (root / RECORD_FILE).exists():
            record = parse_log_record(read_bounded(root / RECORD_FILE, RECORD_SIZE_MAX))
            return record.model_copy(update={"bases": tuple(base for base in bases if base.id in names)})
    except OSError as error:
        raise SourceError(f"{root.name}: {error.filename}: {error.strerror}") from error
    if not bases:
        raise FormatError(f"{root.name}: there is no base backup")
    return LogRecord(job=root.name, written=bases[-1].ended, bases=bases)


def _log_file(root: Path, choice: Choice, name: str) -> Path:
    assert choice.line is not None  # without a line nobody asks
    return root / log_path(choice.line.number, name)


def _nonce_at(record: LogRecord, choice: Choice, stop: Stop) -> str | None:
    """The newest nonce that lies in the log up to where the recovery ends."""
    if choice.line is None or choice.base.place is None:
        return None
    end = choice.base.place
    if stop.commit is not None:
        end = LogPlace(file=stop.commit.file, position=stop.commit.position)
    within = [nonce for nonce in record.nonces if nonce.line == choice.line.number and nonce.place.order <= end.order]
    return within[-1].sha256 if within else None


def make_safe(data: Path) -> tuple[str, ...]:
    """Look at the files of a base backup and rewrite its option file; the options that a server needs for them.

    Raises:
        RefusedError: there are links, special files, or files that lead elsewhere.
    """
    for folder, folders, names in os.walk(data, onerror=_raise):
        for name in (*folders, *names):
            path = Path(folder) / name
            mode = path.lstat().st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
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
    # As bytes: this user may not be able to read the modules of Python that another way of writing would load.
    path.write_bytes("\n".join(lines).encode())
    return tuple(
        f"--loose-{name.replace('_', '-')}={value}" for name, value in layout.items() if name not in _NOT_FOR_SERVER
    )


def _raise(error: OSError) -> None:
    raise SourceError(f"base backup: {error.filename}: {error.strerror}") from error


def _layout(data: Path) -> dict[str, str]:
    try:
        text = read_bounded(data / _OPTIONS_FILE, _OPTIONS_SIZE_MAX).decode()
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


def _lay_out(root: Path, choice: Choice, stop: Stop, relay: Path) -> None:
    """The log files as the relay log of a replica, the last one cut where the recovery ends."""
    index = []
    for number, name in enumerate(stop.files, start=1):
        path = relay / f"relay.{number:06d}"
        _log_file(root, choice, name).rename(path)
        if stop.commit is not None and name == stop.commit.file:
            os.truncate(path, stop.commit.position)
        index.append(f"{path}\n")
    (relay / "relay.index").write_bytes("".join(index).encode())


def _play(server: PrivateServer, place: LogPlace, commit: Commit, last: int, clock: Clock, timeout_s: float) -> None:
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
