"""The forensic pack: what would be gone or changed by a deed, written down before it, on this host, for root alone.

One file a deed, ``STATE/forensics/<nonce>.json``: all processes (parent, user, start, program, command line), sockets
as the kernel lists them, the end of the logs, and of each process that the deed is about its memory map, open files and
the digest of its program. Known by its SHA-256 from then on. No environment and no memory is read. Every part is
bounded, and what was left out is counted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from govsec.clock import format_time
from govsec.errors import TryAgainError
from govsec.privatefile import make_private_directory, write_private
from govsec.redact import redact
from govsec.response.helper.processes import PROC, pids, program_of, status_of

#: In all; a full table of a busy host has some megabytes.
PACK_SIZE_MAX = 32 << 20
_PROCESSES_MAX = 20_000
_SUBJECTS_MAX = 64
_TEXT_MAX = 256 << 10
_SOCKETS_MAX = 2 << 20
_LOG_TAIL = 128 << 10
_PROGRAM_MAX = 256 << 20
_FILES_MAX = 2_000


def take_pack(
    folder: Path, nonce: str, subjects: Sequence[int], logs: Sequence[str], moment: datetime
) -> dict[str, Any]:
    """Write the pack; gives its path, digest and size. One that is there stays: it is from before the deed.

    Raises:
        TryAgainError: it cannot be written.
    """
    path = folder / f"{nonce}.json"
    try:
        make_private_directory(folder)
        if not path.exists():
            write_private(path, _bounded(_gather(subjects, logs, moment)))
        data = path.read_bytes()
    except OSError as error:
        raise TryAgainError(f"{path}: {error.strerror}") from error
    return {"pack": str(path), "pack_sha256": hashlib.sha256(data).hexdigest(), "pack_bytes": len(data)}


def _gather(subjects: Sequence[int], logs: Sequence[str], moment: datetime) -> dict[str, Any]:
    all_pids = pids()
    machine = os.uname()
    return {
        "schema": "govsec.forensics.v1",
        "time": format_time(moment),
        "host": machine.nodename,
        "kernel": f"{machine.sysname} {machine.release} {machine.machine}",
        "boot_id": _text(PROC / "sys/kernel/random/boot_id", _TEXT_MAX).strip(),
        "uptime_s": _text(PROC / "uptime", _TEXT_MAX).split(" ")[0],
        "processes_count": len(all_pids),
        "processes": [each for pid in all_pids[:_PROCESSES_MAX] if (each := _process(pid)) is not None],
        "subjects_count": len(subjects),
        "subjects": [_subject(pid) for pid in subjects[:_SUBJECTS_MAX]],
        "sockets": {name: _text(PROC / "net" / name, _SOCKETS_MAX) for name in ("tcp", "tcp6", "udp", "udp6", "unix")},
        "logs": {name: redact(_text(Path(name), _LOG_TAIL, is_tail=True)) for name in logs if Path(name).is_file()},
    }


def _bounded(pack: dict[str, Any]) -> bytes:
    for part in ("", "logs", "sockets", "subjects"):
        if part:
            pack[part] = {"left_out": True}
        data = json.dumps(pack, ensure_ascii=True, sort_keys=True).encode()
        if len(data) <= PACK_SIZE_MAX:
            break
    return data


def _process(pid: int) -> dict[str, Any] | None:
    status = status_of(pid)
    if status is None:
        return None
    found: dict[str, Any] = {"pid": pid, "name": status[0], "state": status[1], "parent": status[2], "start": status[3]}
    with contextlib.suppress(OSError):
        found["uid"] = (PROC / str(pid)).stat().st_uid
        found["program"] = program_of(pid)
    found["command"] = redact(_text(PROC / str(pid) / "cmdline", 4096).replace("\0", " ").strip())
    return found


def _subject(pid: int) -> dict[str, Any]:
    folder = PROC / str(pid)
    found: dict[str, Any] = {"pid": pid, "maps": _text(folder / "maps", _TEXT_MAX)}
    found["status"] = _text(folder / "status", _TEXT_MAX)
    with contextlib.suppress(OSError):
        found["directory"] = str((folder / "cwd").readlink())
    with contextlib.suppress(OSError):
        names = sorted(os.listdir(folder / "fd"), key=int)  # noqa: PTH208 - names alone
        found["files_count"] = len(names)
        found["files"] = {name: _link(folder / "fd" / name) for name in names[:_FILES_MAX]}
    found["program_sha256"] = _digest(folder / "exe")
    return found


def _link(path: Path) -> str:
    try:
        return os.fsencode(path.readlink()).decode("utf-8", "backslashreplace")
    except OSError:
        return ""


def _digest(path: Path) -> str:
    """Of the file that a process runs, also when it was removed; empty when it cannot be read, or is too large."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > _PROGRAM_MAX:
                return ""
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _text(path: Path, size_max: int, *, is_tail: bool = False) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if is_tail:
                file.seek(max(0, os.fstat(descriptor).st_size - size_max))
            return file.read(size_max).decode("utf-8", "backslashreplace")
    except OSError:
        return ""
