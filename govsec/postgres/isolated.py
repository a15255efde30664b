"""A restored server, started where it can do no harm: with settings of ours, on a private socket, under no network.

Nothing that came from the repository decides how the server runs. Its ``postgresql.conf`` and ``pg_hba.conf`` are not
read; ``postgresql.auto.conf``, which a server reads whatever it is told, is emptied first. So no program is run for it
but ``cp`` from one folder of ours, no library is loaded before a query asks for it, nothing is archived or followed,
and it listens on a unix socket in a folder that only its own user may enter.

Everything here runs inside a sandbox as an unprivileged user (a :class:`Cell`), in this order: the restored files are
verified as they are (``pg_verifybackup``), then arranged, then the server recovers and is asked.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from govsec.clock import Clock, format_time, from_ns, parse_time
from govsec.errors import FormatError, GovsecError, IntegrityError
from govsec.localfile import read_bounded
from govsec.postgres.logbook import HISTORY, LOG, PAGE, Page, read_page
from govsec.postgres.nonce import query_of
from govsec.postgres.recovery import DATA, TABLESPACES, settings_of
from govsec.postgres.server import major_of, needed_settings, parse_control, require_programs
from govsec.postgres.view import StoredSegment
from govsec.postgres.wal import PARTIAL, Branch, Segment, format_lsn, is_history_name, parse_history, parse_lsn
from govsec.postgres.window import Target, TargetKind, choose, pages_of, reachable, windows

RUN = ".govsec-run"
_SMALL_SIZE_MAX = 1 << 20
_POLL_S = 0.1
_TAIL = 1500
_HISTORIES_MAX = 10_000
#: What a role or a database of the restored server would have loaded into our session; ours comes last and wins.
_SESSION = "-c session_preload_libraries= -c local_preload_libraries= -c statement_timeout=0"
_SETTINGS = """listen_addresses = ''
unix_socket_permissions = 0700
port = 5432
shared_preload_libraries = ''
session_preload_libraries = ''
local_preload_libraries = ''
jit = off
archive_mode = off
archive_command = ''
archive_cleanup_command = ''
recovery_end_command = ''
primary_conninfo = ''
primary_slot_name = ''
hot_standby = off
wal_level = replica
fsync = off
full_page_writes = off
shared_buffers = 32MB
dynamic_shared_memory_type = mmap
huge_pages = off
autovacuum = off
ssl = off
logging_collector = on
log_filename = 'server.log'
log_destination = 'stderr'
log_line_prefix = ''
lc_messages = 'C'
"""


class Outcome(Protocol):
    """How a command ended."""

    @property
    def exit_code(self) -> int | None: ...
    @property
    def output(self) -> bytes: ...
    @property
    def note(self) -> str: ...


class Cell(Protocol):
    """Where it runs; the drill's sandbox is one."""

    @property
    def tree(self) -> str: ...
    def run(self, argv: Sequence[str], timeout_s: float) -> Outcome: ...
    def spawn(self, argv: Sequence[str]) -> str: ...
    def call(self, function: Callable[[], dict[str, Any]], timeout_s: float) -> dict[str, Any]: ...


class RecoveryFailedError(IntegrityError):
    """The restored server is not what it should be, or does not come up."""


@dataclass(frozen=True, slots=True)
class Arranged:
    """A restored server, ready to be started."""

    programs: str
    data: str
    run: str
    user: str
    page: Page
    end: int


class IsolatedServer:
    """One restored server in a cell. ``root`` is where its log lies in the restored tree, as ``/postgres/main``."""

    def __init__(self, cell: Cell, clock: Clock, root: str, *, user: str = "postgres") -> None:
        self._cell = cell
        self._clock = clock
        self._top = f"{cell.tree}/{root.strip('/')}"
        self._user = user
        self._arranged: Arranged | None = None

    def recover(self, target: Target, timeout_s: float, *, is_asking_nonce: bool) -> dict[str, int | float | str]:
        """Verify, recover, start, let ``pg_amcheck`` look at every index and table, find the nonce; facts of it.

        Raises:
            RecoveryFailedError: says which of these went wrong, and how.
            ConfigurationError: this machine lacks the server's programs.
        """
        began = self._clock.monotonic()

        def left_s() -> float:
            return max(0.1, timeout_s - (self._clock.monotonic() - began))

        found = self._called(lambda: look(self._top, target), left_s())
        programs = str(require_programs(int(found["major"])))
        data, run = f"{self._top}/base/{found['base']}/{DATA}", f"{self._top}/{RUN}"
        self._ran([f"{programs}/pg_verifybackup", "--exit-on-error", data], left_s(), "pg_verifybackup")
        control = self._ran(["env", "LC_ALL=C", f"{programs}/pg_controldata", data], left_s(), "pg_controldata")
        needed = needed_settings(parse_control(control))
        verified = self._clock.monotonic()
        self._called(lambda: arrange(self._top, target, str(found["base"]), needed), left_s())
        page = read_page(str(found["page"]).encode())
        self._arranged = Arranged(programs, data, run, self._user, page, int(found["end"]))
        self._start(left_s)
        recovered = self._clock.monotonic()
        facts: dict[str, int | float | str] = {
            "base": str(found["base"]),
            "reached": format_lsn(int(found["end"])),
            "verify_s": round(verified - began, 3),
            "recover_s": round(recovered - verified, 3),
            "segments": int(found["segments"]),
        }
        log = self._log()
        if "last completed transaction was at log time " in log:
            facts["last_transaction"] = log.rpartition("at log time ")[2].splitlines()[0][:40]
        self._check()
        facts["check_s"] = round(self._clock.monotonic() - recovered, 3)
        if is_asking_nonce:
            facts["nonce"] = self._find_nonce(target, left_s())
        return facts

    def ask(self, database: str, query: str, timeout_s: float) -> str:
        """The one value that a query gives. Raises ``RecoveryFailedError``."""
        arranged = self._started()
        lines = self._ran(self._psql(arranged, database, query), timeout_s, "the query").splitlines()
        if len(lines) != 1:
            raise RecoveryFailedError(f"the query gives {len(lines)} rows, one value is expected")
        return lines[0]

    def _start(self, left_s: Callable[[], float]) -> None:
        arranged = self._started()
        settings = f"{arranged.run}/postgresql.conf"
        why = self._cell.spawn(
            [f"{arranged.programs}/postgres", "-D", arranged.data, "-c", f"config_file={settings}"],
        )
        while not why:
            probe = self._cell.run(self._psql(arranged, "postgres", "SELECT pg_is_in_recovery()"), left_s())
            if probe.exit_code == 0 and probe.output.strip() == b"f":
                return
            log = self._log()
            if "FATAL" in log and "starting up" not in log.rpartition("FATAL")[2].splitlines()[0]:
                why = "it ended"
            elif left_s() <= _POLL_S:
                why = "it did not come up in time"
            self._clock.sleep(_POLL_S)
        raise RecoveryFailedError(f"the recovered server does not start: {why}; {_tail(self._log())}")

    def _check(self) -> None:
        arranged = self._started()
        command = [
            "env",
            f"PGOPTIONS={_SESSION}",
            f"{arranged.programs}/pg_amcheck",
            "-h",
            arranged.run,
            "-p",
            "5432",
            "-U",
            self._user,
        ]
        command += ["--all", "--install-missing", "--heapallindexed", "--no-strict-names"]
        if not os.path.exists(f"{arranged.programs}/pg_amcheck"):  # noqa: PTH110 - before version 14
            return
        self._ran(command, 7 * 86400.0, "pg_amcheck")

    def _find_nonce(self, target: Target, timeout_s: float) -> str:
        arranged = self._started()
        planted = [nonce for nonce in arranged.page.nonces if _is_before(nonce.written, nonce.after, target)]
        if not planted:
            raise RecoveryFailedError("no nonce was planted before the target: set nonce_database, or nonce: false")
        newest = planted[-1]
        found = self.ask(newest.database, query_of(newest), timeout_s)
        if hashlib.sha256(found.encode()).hexdigest() != newest.sha256:
            raise RecoveryFailedError(
                f"the row that was written at {format_time(newest.written)} is not what was recovered"
            )
        return format_time(newest.written)

    def _psql(self, arranged: Arranged, database: str, query: str) -> list[str]:
        where = f"host={arranged.run} port=5432 user='{_quoted(self._user)}' dbname='{_quoted(database)}'"
        command = [f"{arranged.programs}/psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
        return [*command, "-d", f"{where} connect_timeout=10 options='{_SESSION}'", "-c", query]

    def _log(self) -> str:
        arranged = self._started()
        return str(self._called(lambda: read_log(arranged.run), 60.0)["log"])

    def _started(self) -> Arranged:
        if self._arranged is None:
            raise RecoveryFailedError("the server was not recovered by an earlier step")
        return self._arranged

    def _called(self, function: Callable[[], dict[str, Any]], timeout_s: float) -> dict[str, Any]:
        result = self._cell.call(function, timeout_s)
        if "error" in result:
            raise RecoveryFailedError(str(result["error"])[:500])
        return result

    def _ran(self, argv: Sequence[str], timeout_s: float, what: str) -> str:
        outcome = self._cell.run(argv, timeout_s)
        text = outcome.output.decode("utf-8", "replace")
        if outcome.exit_code != 0:
            ended = outcome.note or f"ended with exit code {outcome.exit_code}"
            raise RecoveryFailedError(f"{what}: {ended}: {_tail(text)}")
        return text


def look(top: str, target: Target) -> dict[str, Any]:
    """What a restored tree of a log can be recovered to. Runs in the cell."""
    page, items, histories = _read(Path(top))
    window = choose(windows(page, items, histories), target)
    data = Path(top) / window.base.path / DATA
    if target.kind is TargetKind.END and window.hole is not None:
        raise IntegrityError(
            f"the log from {format_lsn(window.hole.start)} to {format_lsn(window.hole.end)} is missing: recovery would "
            "end before the end of the log"
        )
    return {
        "base": window.base.id,
        "end": window.end if target.lsn is None else target.lsn,
        "segments": len(window.segments),
        "major": major_of(read_bounded(data / "PG_VERSION", 64).decode("ascii", "replace")),
        "page": page.model_dump_json(),
    }


def arrange(top: str, target: Target, base_id: str, needed: dict[str, int]) -> dict[str, Any]:
    """Settings of ours, the log under its plain names, links of tablespaces to their own folders. Runs in the cell."""
    root = Path(top)
    page, items, histories = _read(root)
    window = choose(windows(page, items, histories), target, base_id)
    base, run = root / window.base.path, root / RUN
    data = base / DATA
    run.mkdir(mode=0o700)
    (run / "wal").mkdir(mode=0o700)
    for item in window.segments:
        name = item.segment.name
        stored = root / LOG / name[:16] / (name + (PARTIAL if item.is_partial else ""))
        (run / "wal" / name).symlink_to(stored)
    if (root / HISTORY).is_dir():
        for path in (root / HISTORY).iterdir():
            (run / "wal" / path.name).symlink_to(path)
    for name in ("standby.signal", "recovery.signal", "postmaster.pid", "postgresql.auto.conf"):
        (data / name).unlink(missing_ok=True)
    for link in (data / "pg_tblspc").iterdir():
        link.unlink()
    for space in window.base.tablespaces:
        (data / "pg_tblspc" / str(space.oid)).symlink_to(base / TABLESPACES / str(space.oid))
    (data / "postgresql.auto.conf").touch(mode=0o600)
    (data / "recovery.signal").touch(mode=0o600)
    data.chmod(0o700)
    target = reachable(window, target, pages_of(window, lambda segment, at, size: _page(run, segment, at, size)))
    lines = [f"{name} = {value}" for name, value in sorted(needed.items())]
    lines += [f"unix_socket_directories = '{run}'", f"log_directory = '{run}/log'"]
    lines += [f"hba_file = '{run}/pg_hba.conf'", f"ident_file = '{run}/pg_ident.conf'", f"data_directory = '{data}'"]
    own = "\n".join(lines) + "\n" + settings_of(f"{run}/wal", window, target, is_pausing=False)
    (run / "postgresql.conf").write_text(_SETTINGS + own, encoding="utf-8")
    (run / "pg_hba.conf").write_text("local all all trust\n", encoding="ascii")
    (run / "pg_ident.conf").write_text("", encoding="ascii")
    return {"segments": len(window.segments)}


def _page(run: Path, segment: Segment, offset: int, size: int) -> bytes:
    with (run / "wal" / segment.name).open("rb") as file:
        file.seek(offset)
        return file.read(size)


def read_log(run: str) -> dict[str, Any]:
    """The end of the server's own log. Runs in the cell."""
    with contextlib.suppress(OSError, GovsecError):
        return {"log": read_bounded(Path(run) / "log" / "server.log", _SMALL_SIZE_MAX).decode("utf-8", "replace")}
    return {"log": ""}


def _read(root: Path) -> tuple[Page, list[StoredSegment], dict[int, list[Branch]]]:
    page = read_page(read_bounded(root / PAGE, _SMALL_SIZE_MAX))
    items, histories = [], {}
    for folder in sorted((root / LOG).iterdir()) if (root / LOG).is_dir() else ():
        for path in sorted(folder.iterdir())[:_HISTORIES_MAX]:
            if is_history_name(path.name) and folder.name == "history":
                timeline = int(path.name[:8], 16)
                histories[timeline] = parse_history(read_bounded(path, _SMALL_SIZE_MAX), timeline)
                continue
            segment = Segment.named(path.name.removesuffix(PARTIAL), page.segment_size)
            status = path.lstat()
            if segment is not None and status.st_size == segment.size:
                items.append(StoredSegment(segment, path.name.endswith(PARTIAL), from_ns(status.st_mtime_ns)))
    return page, sorted(items, key=lambda item: (item.segment, item.is_partial)), histories


def _is_before(written: datetime, after: str, target: Target) -> bool:
    if target.kind is TargetKind.TIME and target.time is not None:
        return written <= target.time
    if target.kind is TargetKind.LSN and target.lsn is not None:
        return parse_lsn(after) <= target.lsn
    return target.kind is TargetKind.END


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


def _tail(text: str) -> str:
    return " ".join(text[-_TAIL:].split())


def target_of(*, time: datetime | None = None, lsn: str | None = None, point: str | None = None) -> Target:
    """The target that a plan or a person names: a time, a position, a point, or the end when none is given.

    Raises:
        FormatError: more than one is given.
        UsageError: the position is none.
    """
    if sum(value is not None for value in (time, lsn, point)) > 1:
        raise FormatError("give one of time, position and point, or none for the end of the log")
    if time is not None:
        return Target(TargetKind.TIME, time=time.astimezone(UTC))
    if lsn is not None:
        return Target(TargetKind.LSN, lsn=parse_lsn(lsn))
    if point is not None:
        return Target(TargetKind.POINT, point=point)
    return Target()


def time_of(text: str) -> datetime:
    """The moment that a person wrote. Raises ``FormatError``."""
    try:
        return parse_time(text)
    except ValueError as error:
        raise FormatError(f"{text[:60]!r} is no time like 2026-11-22T13:05:00+08:00") from error
