"""``archive_command`` and ``restore_command``: one file of the log in, one out.

*In* (:func:`push_file`): success lets the server throw the file away, so it is given when a receipt covers it, and not
before. Opening a repository takes longer than a server that writes much has between two files; so one call takes along
all files that wait (``archive_status/*.ready``), and the calls for those find a note on this machine that says which
digest was acknowledged. Where a stream of the same job runs, it is the stream's receipts that cover the file.

*Out* (:func:`fetch_file`): the file that is asked for, and a few that will be asked for next, which wait here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from govsec import canonical
from govsec.assemble.postgresjobs import COVERED, STREAM_LOCK, alone, state_of
from govsec.clock import to_ns
from govsec.errors import (
    LimitError,
    LockedError,
    ObjectNotFoundError,
    RefusedError,
    SourceError,
    TryAgainError,
    UsageError,
)
from govsec.localfile import read_bounded
from govsec.postgres.wal import (
    HEAD_SIZE,
    PARTIAL,
    Segment,
    is_history_name,
    is_log_name,
    read_head,
)
from govsec.privatefile import make_private_directory, write_private

if TYPE_CHECKING:  # what opens a repository is loaded when one has to be opened
    from govsec.assemble.systems import Site
    from govsec.config import BackupConfig, SystemConfig
    from govsec.postgres.logbook import Logbook
    from govsec.postgres.view import LogView
    from govsec.postgresentry import PostgresSourceConfig

_FILE_SIZE_MAX = 1 << 30
_NOTE_SIZE_MAX = 4 << 20
_PUSHED = "pushed.json"
_NOTED_MAX = 4096
#: Taken along by one call; more would keep the server waiting for its first file.
_TOGETHER_MAX = 64
_AHEAD = 8
_FETCHED = "fetched"


class AbsentError(ObjectNotFoundError):
    """The log has no such file: an answer, where every other error is none."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What became of a file: ``is_new`` when this call brought it, ``others`` what it took along."""

    name: str
    is_new: bool
    others: int = 0


def push_file(site: Site, system: SystemConfig, job: BackupConfig, source: PostgresSourceConfig, path: Path) -> Pushed:
    """Return when the centers hold the file as the mode asks. The same file again is no error.

    Raises:
        UsageError: not a file of a log, by its name.
        SourceError: it cannot be read.
        RefusedError: another content is held under this name.
        IntegrityError: it is of another server, or not what its name says.
        TryAgainError: a stream of this job is at work and has not come so far.
        StoreError: the centers do not take it.
    """
    if not is_log_name(path.name):
        raise UsageError(f"{path.name[:80]!r} is no name of a file of the log")
    data = _read(path)
    digest = hashlib.sha256(data).hexdigest()
    state = state_of(site, system, job)
    noted = _notes(state / _PUSHED)
    if _is_known(path.name, digest, noted):
        return Pushed(path.name, is_new=False)
    from govsec.assemble.live import LiveSession
    from govsec.assemble.postgres import holding_place, open_logbook

    with ExitStack() as stack:
        try:
            stack.enter_context(alone(state, STREAM_LOCK, "a stream"))
        except LockedError as error:
            return _covered_by_stream(site, system, job, path.name, data, digest, error)
        session = stack.enter_context(LiveSession(site, system, job=job.name))
        try:
            stack.enter_context(holding_place(site, job, source, session))
        except LockedError as error:
            return _covered_by_stream(site, system, job, path.name, data, digest, error)
        logbook = open_logbook(site, session, job)
        files = {path.name: data, **_waiting(path)}
        for name, content in sorted(files.items()):
            _add(logbook, path.parent / name, content)
        if logbook.is_changed:
            session.commit(logbook.save())
    noted |= {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    write_private(state / _PUSHED, canonical.dumps(dict(list(noted.items())[-_NOTED_MAX:])))
    return Pushed(path.name, is_new=True, others=len(files) - 1)


def fetch_file(
    site: Site, system: SystemConfig, job: BackupConfig, name: str, target: Path, *, center: str | None = None
) -> None:
    """Write the file ``name`` of the log to ``target``.

    Raises:
        UsageError: no name of a file of a log.
        AbsentError: the log has no such file.
        StoreError, IntegrityError: it cannot be had; that says nothing about whether it exists.
    """
    if not is_log_name(name):
        raise UsageError(f"{name[:80]!r} is no name of a file of the log")
    spool = state_of(site, system, job) / _FETCHED
    make_private_directory(spool)
    with contextlib.suppress(FileNotFoundError, LimitError):
        write_private(target, read_bounded(spool / name, _FILE_SIZE_MAX))
        (spool / name).unlink()
        return
    from govsec.assemble.postgres import open_view

    view = open_view(site, system, job, center=center)
    if is_history_name(name):
        data = _history(view, name)
        if data is None:
            raise AbsentError(f"{view.root}: there is no {name}")
        write_private(target, data)
        return
    wanted = Segment.named(name, view.page.segment_size)
    found = [item for item in view.segments() if wanted is not None and item.segment.timeline == wanted.timeline]
    position = next((at for at, item in enumerate(found) if item.segment == wanted), None)
    if wanted is None or position is None:
        raise AbsentError(f"{view.root}: there is no {name}")
    for old in spool.iterdir():
        old.unlink(missing_ok=True)  # of another recovery, or asked for in another order
    node = found[position].node
    assert node is not None  # a view has nodes
    write_private(target, view.content(node, _FILE_SIZE_MAX))
    for item in found[position + 1 : position + 1 + _AHEAD]:
        # Only what is complete never changes.
        if not item.is_partial and item.node is not None:
            write_private(spool / item.segment.name, view.content(item.node, _FILE_SIZE_MAX))


def _add(logbook: Logbook, path: Path, data: bytes) -> None:
    if is_history_name(path.name) or path.name.endswith(".backup"):
        if logbook.page is not None:
            logbook.add_history(path.name, data)
        return
    head = read_head(data[:HEAD_SIZE])
    if logbook.page is None:
        segment = Segment.named(path.name.removesuffix(PARTIAL), head.segment_size)
        if segment is None:
            raise UsageError(f"{path.name}: no name of a segment of {head.segment_size} bytes")
        logbook.begin(
            system_id=head.system_id,
            server_version=_version_beside(path),
            size=head.segment_size,
            timeline=segment.timeline,
            position=segment.start,
        )
    segment = Segment.named(path.name.removesuffix(PARTIAL), logbook.known.segment_size)
    if segment is None or len(data) != segment.size:
        raise SourceError(f"{path.name}: {len(data)} bytes are no segment of this log")
    mtime_ns = to_ns(logbook.known.current_at)
    with contextlib.suppress(OSError):
        mtime_ns = path.stat().st_mtime_ns
    logbook.add_segment(segment, data, mtime_ns=mtime_ns, is_partial=path.name.endswith(PARTIAL))


def _waiting(path: Path) -> dict[str, bytes]:
    """Other files that the server has marked as ready, oldest first; those that cannot be read wait for their call."""
    found: dict[str, bytes] = {}
    size = 0
    for mark in sorted((path.parent / "archive_status").glob("*.ready")):
        name = mark.name.removesuffix(".ready")
        if name != path.name and is_log_name(name) and len(found) < _TOGETHER_MAX and size < _FILE_SIZE_MAX:
            with contextlib.suppress(SourceError):
                found[name] = _read(path.parent / name)
                size += len(found[name])
    return found


def _read(path: Path) -> bytes:
    try:
        return read_bounded(path, _FILE_SIZE_MAX)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error


def _is_known(name: str, digest: str, noted: dict[str, str]) -> bool:
    if name in noted and noted[name] != digest:
        raise RefusedError(f"{name} is held with another content; it is not replaced")
    return name in noted


def _notes(path: Path, key: str | None = None) -> dict[str, str]:
    """What was noted; a note that cannot be read is none, and costs time only."""
    with contextlib.suppress(OSError, ValueError, LimitError, KeyError, TypeError):
        body = json.loads(read_bounded(path, _NOTE_SIZE_MAX))
        entries = body if key is None else body[key]
        return {str(name): str(digest) for name, digest in entries.items()}
    return {}


def _covered_by_stream(
    site: Site, system: SystemConfig, job: BackupConfig, name: str, data: bytes, digest: str, error: LockedError
) -> Pushed:
    """A stream is at work: it is held when the stream's receipts cover it. Raises ``TryAgainError`` until then."""
    from govsec.assemble.postgres import open_view

    if _is_known(name, digest, _notes(state_of(site, system, job) / COVERED, "finished")):
        return Pushed(name, is_new=False)
    if name.endswith(".backup"):
        # The label of somebody's base backup: recovery needs none, and a stream has none to give.
        return Pushed(name, is_new=False)
    view = open_view(site, system, job)
    if is_history_name(name):
        found = _history(view, name)
    elif name.endswith(PARTIAL):
        segment = Segment.named(name.removesuffix(PARTIAL), view.page.segment_size)
        # What is left of a timeline is complete here once the stream has gone on to the next one.
        is_here = any(item.segment == segment for item in view.segments())
        found = data if segment is not None and is_here and view.page.timeline > segment.timeline else None
    else:
        # The stream is on another machine, or has finished this one long ago.
        nodes = [item.node for item in view.segments() if item.segment.name == name and not item.is_partial]
        found = view.content(nodes[0], _FILE_SIZE_MAX) if nodes and nodes[0] is not None else None
    if found is not None and found != data:
        raise RefusedError(f"{name} is held with another content; it is not replaced")
    if found is not None:
        return Pushed(name, is_new=False)
    raise TryAgainError(f"{name}: the stream at work has not come so far ({error})") from error


def _history(view: LogView, name: str) -> bytes | None:
    from govsec.postgres.logbook import HISTORY

    tree_id = view.tree_of(HISTORY)
    for node in [] if tree_id is None else view.repository.load_tree(tree_id).nodes:
        if node.name == name:
            return view.content(node, _NOTE_SIZE_MAX)
    return None


def _version_beside(path: Path) -> int:
    """The major version that the data directory beside the log says, as the server numbers itself; 0 without one."""
    with contextlib.suppress(OSError, ValueError, LimitError):
        return int(read_bounded(path.parent.parent / "PG_VERSION", 64)) * 10_000
    return 0
