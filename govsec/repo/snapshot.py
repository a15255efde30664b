"""Snapshots: who backed up what, when, and the root of its tree, in restic's JSON.

Unknown fields are skipped on reading. An id is the name of the stored object; a snapshot that was not stored has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from govsec.clock import format_time, parse_time
from govsec.errors import FormatError, UsageError
from govsec.repo.layout import is_id

#: Shortest start of an id that people may type; restic asks for as much.
_PREFIX_MIN = 4


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup counted, in restic's fields."""

    backup_start: str = ""
    backup_end: str = ""
    files_new: int = 0
    files_changed: int = 0
    files_unmodified: int = 0
    dirs_new: int = 0
    dirs_changed: int = 0
    dirs_unmodified: int = 0
    data_blobs: int = 0
    tree_blobs: int = 0
    data_added: int = 0
    data_added_packed: int = 0
    total_files_processed: int = 0
    total_bytes_processed: int = 0


class _Wire(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The JSON object, fields in restic's order."""

    time: str
    parent: str | None = None
    tree: str
    paths: list[str]
    hostname: str = ""
    username: str = ""
    uid: int = 0
    gid: int = 0
    excludes: list[str] | None = None
    tags: list[str] | None = None
    original: str | None = None
    program_version: str = ""
    summary: Summary | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One snapshot. ``tree`` is the id of its root directory, 64 hex digits."""

    id: str = ""
    time: datetime
    tree: str
    paths: tuple[str, ...]
    parent: str | None = None
    hostname: str = ""
    username: str = ""
    uid: int = 0
    gid: int = 0
    excludes: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    original: str | None = None
    program_version: str = ""
    summary: Summary | None = None
    #: The time as it is written down, with its zone; retention counts days in it, as restic does.
    time_text: str = ""

    @property
    def short_id(self) -> str:
        """The first eight digits, as people quote it."""
        return self.id[:8]


_decoder = msgspec.json.Decoder(_Wire)


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """The JSON of a snapshot, without its id."""
    wire = _Wire(
        time=snapshot.time_text or format_time(snapshot.time),
        parent=snapshot.parent,
        tree=snapshot.tree,
        paths=list(snapshot.paths),
        hostname=snapshot.hostname,
        username=snapshot.username,
        uid=snapshot.uid,
        gid=snapshot.gid,
        excludes=list(snapshot.excludes) or None,
        tags=list(snapshot.tags) or None,
        original=snapshot.original,
        program_version=snapshot.program_version,
        summary=snapshot.summary,
    )
    return msgspec.json.encode(wire)


def decode_snapshot(snapshot_id: str, json: bytes) -> Snapshot:
    """The snapshot that ``json`` holds. Raises ``FormatError``."""
    try:
        wire = _decoder.decode(json)
        moment = parse_time(wire.time)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, ValueError, OverflowError) as error:
        raise FormatError(f"snapshot {snapshot_id[:8]}: {error}") from error
    for text in (wire.tree, wire.parent, wire.original):
        if text is not None and not is_id(text):
            raise FormatError(f"snapshot {snapshot_id[:8]}: {text[:80]!r} is no id")
    return Snapshot(
        id=snapshot_id,
        time=moment.astimezone(UTC),
        tree=wire.tree,
        paths=tuple(wire.paths),
        parent=wire.parent,
        hostname=wire.hostname,
        username=wire.username,
        uid=wire.uid,
        gid=wire.gid,
        excludes=tuple(wire.excludes or ()),
        tags=tuple(wire.tags or ()),
        original=wire.original,
        program_version=wire.program_version,
        summary=wire.summary,
        time_text=wire.time,
    )


def select(
    snapshots: Iterable[Snapshot],
    selector: str = "latest",
    *,
    before: datetime | None = None,
    hostname: str | None = None,
    tags: Sequence[str] = (),
    paths: Sequence[str] = (),
) -> Snapshot:
    """The snapshot that ``selector`` names: ``latest``, or the first digits of an id.

    The other arguments narrow the choice: made before a moment, on a host, with all tags, of all paths.

    Raises:
        UsageError: none fits, or the digits fit several.
    """
    fitting = [
        snapshot
        for snapshot in snapshots
        if (before is None or snapshot.time < before)
        and (hostname is None or snapshot.hostname == hostname)
        and set(tags) <= set(snapshot.tags)
        and set(paths) <= set(snapshot.paths)
    ]
    if selector == "latest":
        if not fitting:
            raise UsageError("snapshot 'latest': no snapshot fits")
        return max(fitting, key=lambda snapshot: (snapshot.time, snapshot.id))
    if len(selector) < _PREFIX_MIN:
        raise UsageError(f"snapshot {selector!r}: at least {_PREFIX_MIN} digits of an id are needed")
    named = [snapshot for snapshot in fitting if snapshot.id.startswith(selector)]
    if len(named) != 1:
        raise UsageError(f"snapshot {selector[:80]!r}: {len(named)} snapshots fit, exactly one must")
    return named[0]
