"""Bringing a server back: base backup, the log that it needs, and the settings that make it stop at the right moment.

Below the target::

    data/               the data directory, with recovery.signal and our settings at the end of postgresql.auto.conf
    tablespaces/<oid>/  tablespaces, unless they were given other places; data/pg_tblspc links to them
    wal/                the log, a file a segment, as restore_command copies it

The restored settings of the server stay what they were, with one exception that is ours to make: a server that was
brought back must not archive into, or follow, what belongs to the one that was lost. So archiving and streaming are
off until a person turns them on. A drill never starts a server with restored settings at all
(:mod:`govsec.postgres.isolated`).

Links of tablespaces come from the repository and are not believed: each is made anew, to a place below the target or
one that the operator named.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

from govsec.backup.restore import restore
from govsec.backup.walk import Problem
from govsec.clock import Clock
from govsec.errors import ConfigurationError, IntegrityError, RefusedError
from govsec.postgres.logbook import HISTORY, LOG
from govsec.postgres.view import LogView, StoredSegment
from govsec.postgres.wal import PARTIAL, Segment, format_lsn, is_history_name
from govsec.postgres.window import Target, TargetKind, Window, choose, pages_of, reachable, windows
from govsec.progress import ProgressSink, silent

DATA, WAL, TABLESPACES = "data", "wal", "tablespaces"
#: It becomes part of a command that a shell runs, so nothing that a shell reads into.
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9_./+@=,-]*")
#: A point's name as PostgreSQL allows it, in a setting between single quotes.
_POINT_MAX = 63
_FOLDER_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was written, ready to be started."""

    target: Path
    window: Window
    segments_count: int
    files: int
    size_bytes: int
    problems: tuple[str, ...]
    tablespaces: Mapping[int, Path]


def write_recovery(
    view: LogView,
    target: Path,
    wanted: Target,
    *,
    base_id: str | None = None,
    places: Mapping[str, Path] | None = None,
    is_pausing: bool = False,
    workers: int | None = None,
    clock: Clock,
    progress: ProgressSink = silent,
) -> Recovered:
    """Write a data directory that recovers to ``wanted`` when it is started. ``target`` is empty, or not there.

    ``places`` says where tablespaces go, by their number or by where the server had them. With ``is_pausing`` the
    server waits at the target for a person instead of going on from there.

    Raises:
        RefusedError: the target is not empty, or cannot be recovered to.
        ConfigurationError: a path that cannot stand in a command, or a place for a tablespace that is not there.
        IntegrityError: something could not be restored as it was.
    """
    target = Path(os.path.abspath(target))  # noqa: PTH100 - a link that the operator wrote is kept
    if _PLAIN_PATH.fullmatch(str(target)) is None:
        raise ConfigurationError(f"{target}: recovery needs a path of letters, digits and _./+@=,- alone")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise RefusedError(f"{target} is not empty; recovery writes into an empty directory")
    window = choose(windows(view.page, view.segments(), view.histories()), wanted, base_id)
    spaces = _places(window, places or {}, target)
    report = restore(
        view.repository, view.narrowed(window.base.path), target, workers=workers, clock=clock, progress=progress
    )
    # All of it, also what came behind the target: when a segment arrived says nothing about what is in it.
    items = window.segments
    logs = _write_log(view, target, items, workers, clock, progress)
    problems = tuple(f"{item.path}: {item.what}" for item in (*report.problems, *logs))
    if problems:
        raise IntegrityError(f"{len(problems)} files could not be restored as they were: {problems[0][:200]}")
    _refuse_links(target)
    owner = (target / DATA / "PG_VERSION").lstat()
    pages = pages_of(window, lambda segment, offset, size: _page(target, segment, offset, size))
    wanted = reachable(window, wanted, pages)
    _link_tablespaces(target, spaces, owner)
    _settle(target, owner)
    _configure(target, window, wanted, owner, is_pausing=is_pausing)
    return Recovered(target, window, len(items), report.files, report.size_bytes, problems, spaces)


def settings_of(wal: str, window: Window, wanted: Target, *, is_pausing: bool) -> str:
    """The settings of a recovery, as lines of a configuration file. ``wal`` is the directory of the log.

    Raises:
        ConfigurationError: the point's name is none.
    """
    lines = [
        f"restore_command = 'cp {wal}/%f %p'",
        f"recovery_target_timeline = '{window.timeline}'",
        f"recovery_target_action = '{'pause' if is_pausing else 'promote'}'",
        # A position is where something ended: what began there is not wanted. A moment's own commit is.
        f"recovery_target_inclusive = '{'off' if wanted.kind is TargetKind.LSN else 'on'}'",
    ]
    values = dict.fromkeys(("recovery_target", "recovery_target_xid"), "")
    values |= {"recovery_target_time": "", "recovery_target_lsn": "", "recovery_target_name": ""}
    if wanted.kind is TargetKind.TIME and wanted.time is not None:
        # Not RFC 3339: settings are read before names of time zones are known, "Z" among them.
        values["recovery_target_time"] = f"{wanted.time.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00"
    elif wanted.kind is TargetKind.LSN and wanted.lsn is not None:
        values["recovery_target_lsn"] = format_lsn(wanted.lsn)
    elif wanted.kind is TargetKind.POINT:
        if not 0 < len(wanted.point.encode()) <= _POINT_MAX or not wanted.point.isprintable() or "\\" in wanted.point:
            raise ConfigurationError(f"{wanted.point[:80]!r} is no name of a recovery point")
        values["recovery_target_name"] = wanted.point.replace("'", "''")
    # Those that are not meant are emptied: the restored settings may hold one, and two are an error.
    lines += [f"{name} = '{value}'" for name, value in sorted(values.items(), key=lambda item: bool(item[1]))]
    return "\n".join(lines) + "\n"


def _page(target: Path, segment: Segment, offset: int, size: int) -> bytes:
    with (target / WAL / segment.name).open("rb") as file:
        file.seek(offset)
        return file.read(size)


def _write_log(
    view: LogView,
    target: Path,
    items: Sequence[StoredSegment],
    workers: int | None,
    clock: Clock,
    progress: ProgressSink,
) -> Sequence[Problem]:
    """The segments as plain files in one directory, the unfinished one under its whole name."""
    wal = target / WAL
    wal.mkdir(mode=0o700)
    raw = target / ".log"
    folders = sorted({item.segment.name[:_FOLDER_DIGITS] for item in items})
    wanted = [f"/{folder}" for folder in (*folders, HISTORY.rpartition("/")[2])]
    if view.tree_of(LOG) is None:
        return ()
    report = restore(
        view.repository, view.narrowed(LOG), raw, include=wanted, workers=workers, clock=clock, progress=progress
    )
    for folder in folders:
        _expect(raw / folder, stat.S_ISDIR)
    for item in items:
        name = item.segment.name
        (raw / name[:_FOLDER_DIGITS] / (name + (PARTIAL if item.is_partial else ""))).rename(wal / name)
    histories = raw / HISTORY.rpartition("/")[2]
    if _expect(histories, stat.S_ISDIR, is_needed=False):
        for path in histories.iterdir():
            if is_history_name(path.name) and stat.S_ISREG(path.lstat().st_mode):
                path.rename(wal / path.name)
    shutil.rmtree(raw)
    return report.problems


def _places(window: Window, places: Mapping[str, Path], target: Path) -> dict[int, Path]:
    known = {key for space in window.base.tablespaces for key in (str(space.oid), space.location)}
    unknown = sorted(set(places) - known)
    if unknown:
        raise ConfigurationError(
            f"there is no tablespace {unknown[0]}; the base backup has: {', '.join(sorted(known))}"
        )
    found = {}
    for space in window.base.tablespaces:
        place = places.get(str(space.oid), places.get(space.location))
        if place is not None and (not place.is_absolute() or not place.is_dir() or any(place.iterdir())):
            raise ConfigurationError(f"tablespace {space.oid}: {place} is no empty directory with an absolute path")
        found[space.oid] = place if place is not None else target / TABLESPACES / str(space.oid)
    return found


def _link_tablespaces(target: Path, spaces: Mapping[int, Path], owner: os.stat_result) -> None:
    links = target / DATA / "pg_tblspc"
    for link in links.iterdir():
        _expect(link, stat.S_ISLNK)
        link.unlink()
    for oid, place in spaces.items():
        own = target / TABLESPACES / str(oid)
        _expect(own, stat.S_ISDIR)
        _own(own, owner)
        if place != own:
            for entry in own.iterdir():
                shutil.move(str(entry), str(place / entry.name))
            own.rmdir()
            _own(place, owner)
        (links / str(oid)).symlink_to(place)
        _own(links / str(oid), owner)


def _settle(target: Path, owner: os.stat_result) -> None:
    """What the server must be able to read or write is its own, and nobody else's."""
    for name in (WAL, TABLESPACES):
        place = target / name
        if place.is_dir():
            _own(place, owner)
            place.chmod(0o700)
    for path in (target / WAL).iterdir():
        _own(path, owner)
        path.chmod(0o600)
    (target / DATA).chmod(0o700)
    _own(target / DATA, owner)
    _own(target, owner)


def _configure(target: Path, window: Window, wanted: Target, owner: os.stat_result, *, is_pausing: bool) -> None:
    data = target / DATA
    for name in ("standby.signal", "postmaster.pid", "recovery.signal"):
        if _expect(data / name, stat.S_ISREG, is_needed=False):
            (data / name).unlink()
    lines = settings_of(str(target / WAL), window, wanted, is_pausing=is_pausing)
    auto = data / "postgresql.auto.conf"
    with os.fdopen(_opened(auto, os.O_APPEND), "a", encoding="utf-8") as file:
        file.write("\n# Written by govsec pg restore; archiving and following are off until somebody turns them on.\n")
        file.write("archive_mode = 'off'\nprimary_conninfo = ''\nprimary_slot_name = ''\n" + lines)
    os.close(_opened(data / "recovery.signal", os.O_EXCL))
    for path in (auto, data / "recovery.signal"):
        _own(path, owner)


def _refuse_links(target: Path) -> None:
    """What is written to, read or given away below is what it must be: a link from the repository leads anywhere.

    Raises:
        IntegrityError: names what is a link, or something else, in its place.
    """
    for name in (DATA, f"{DATA}/pg_tblspc", WAL):
        _expect(target / name, stat.S_ISDIR)
    _expect(target / TABLESPACES, stat.S_ISDIR, is_needed=False)
    _expect(target / DATA / "PG_VERSION", stat.S_ISREG)
    _expect(target / DATA / "postgresql.auto.conf", stat.S_ISREG, is_needed=False)
    for path in (target / WAL).iterdir():
        _expect(path, stat.S_ISREG)


def _expect(path: Path, is_kind: Callable[[int], bool], *, is_needed: bool = True) -> bool:
    """True when ``path`` itself is of that kind, False when it may be missing and is. Raises ``IntegrityError``."""
    try:
        status = path.lstat()
    except FileNotFoundError as error:
        if is_needed:
            raise IntegrityError(f"{path}: the backup has none") from error
        return False
    if not is_kind(status.st_mode):
        raise IntegrityError(f"{path}: the backup has a link, or something else, where that may not be")
    return True


def _opened(path: Path, flags: int) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o600)


def _own(path: Path, owner: os.stat_result) -> None:
    if os.geteuid() == 0:
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
