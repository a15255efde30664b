"""A snapshot as plain JSON values, for files, pages and other programs: the record ``govsec.host.v1``.

Command lines carry passwords; they leave here with secrets cut. Bytes of names that are no UTF-8 are written ``\\xff``,
so that every text is one, whatever reads it. Moments (``started_ns``) are RFC 3339, under the name without its unit.
A table that could not be read is ``{"unavailable": reason}``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime

from pydantic import JsonValue

from govsec.clock import format_time, from_ns
from govsec.host.tables import HostSnapshot, Process, ProcessKey, Socket, TableName, Unavailable
from govsec.redact import redact

FORMAT = "govsec.host.v1"
#: Larger ones are no numbers to every reader of JSON (RFC 8259, 6); only a file that is made of holes is larger.
_NUMBER_MAX = (1 << 53) - 1
#: Fields that hold what somebody typed.
_TYPED = frozenset(("command", "commands"))


def host_record(snapshot: HostSnapshot) -> dict[str, JsonValue]:
    """The snapshot as a record. ``command`` of a process is one line; times are RFC 3339 where they are moments."""
    return {
        "format": FORMAT,
        "time": format_time(from_ns(snapshot.time_ns)),
        "name": clean(snapshot.name),
        "boot_id": clean(snapshot.boot_id),
        "machine": _row(snapshot.machine),
        "tables": {table.value: _table(getattr(snapshot, table)) for table in TableName},
        "gaps": [_row(gap) for gap in snapshot.gaps],
    }


def clean(text: str) -> str:
    """``text`` with bytes that are no UTF-8 written as ``\\xff``."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _table(value: object) -> JsonValue:
    if isinstance(value, Unavailable):
        return {"unavailable": clean(value.reason)}
    if isinstance(value, tuple):
        return [_row(row) for row in value]
    return _row(value)


def _row(row: object) -> dict[str, JsonValue]:
    if isinstance(row, Socket | Process):
        names: Sequence[str] = row._fields
    else:
        names = [field.name for field in fields(row)]  # type: ignore[arg-type]  # every other row is a dataclass
    record: dict[str, JsonValue] = {}
    for name in names:
        value = getattr(row, name)
        if name.endswith("_ns"):
            record[name.removesuffix("_ns")] = format_time(from_ns(value)) if value else None
        else:
            record[name] = _value(name, value)
    return record


def _value(name: str, value: object) -> JsonValue:
    if name == "command" and isinstance(value, tuple):
        value = " ".join(value)
    if isinstance(value, str):
        return clean(redact(value) if name in _TYPED else value)
    if isinstance(value, ProcessKey):
        return {"pid": value.pid, "start_ticks": value.start_ticks}
    if isinstance(value, tuple):
        return [_value(name, item) for item in value]
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return min(value, _NUMBER_MAX)
    if value is None or isinstance(value, (bool, float)):
        return value
    raise TypeError(f"{type(value).__name__} has no place in a record")
