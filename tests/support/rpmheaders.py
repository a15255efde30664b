"""Headers of rpm made by hand, and databases of them: hostile ones, and more than anybody would build."""

from __future__ import annotations

import os
import sqlite3
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

STRING, STRINGS = 6, 8
NUMBERS = {2: "B", 3: "H", 4: "I", 5: "Q"}
#: (tag, type, values): text, texts or numbers.
Entry = tuple[int, int, "str | Sequence[str] | Sequence[int]"]


def pack_header(entries: Iterable[Entry]) -> bytes:
    """A header with these entries, in this order."""
    index, data = [], b""
    for tag, kind, values in entries:
        if kind in NUMBERS:
            data += b"\0" * (-len(data) % struct.calcsize(NUMBERS[kind]))
        index.append(struct.pack(">IIiI", tag, kind, len(data), 1 if isinstance(values, str) else len(values)))
        if isinstance(values, str):
            data += os.fsencode(values) + b"\0"
        elif kind in NUMBERS:
            data += struct.pack(f">{len(values)}{NUMBERS[kind]}", *values)
        else:
            data += b"".join(os.fsencode(str(value)) + b"\0" for value in values)
    return struct.pack(">II", len(index), len(data)) + b"".join(index) + data


def entries_of(name: str, version: str, files: Sequence[tuple[str, int, int, str]]) -> list[Entry]:
    """A package's entries; of each file path, mode, size and digest (SHA-256, in hex)."""
    folders = list(dict.fromkeys(path.rpartition("/")[0] + "/" for path, *_ in files))
    positions = {folder: position for position, folder in enumerate(folders)}
    return [
        (1000, STRING, name),
        (1001, STRING, version),
        (1002, STRING, "1"),
        (1022, STRING, "noarch"),
        (1028, 4, [size & 0xFFFFFFFF for _, _, size, _ in files]),
        (1029, 2, [0] * len(files)),
        (1030, 3, [mode for _, mode, _, _ in files]),
        (1035, STRINGS, [digest for _, _, _, digest in files]),
        (1036, STRINGS, [""] * len(files)),
        (1037, 4, [0] * len(files)),
        (1039, STRINGS, ["root"] * len(files)),
        (1040, STRINGS, ["root"] * len(files)),
        (1116, 4, [positions[path.rpartition("/")[0] + "/"] for path, *_ in files]),
        (1117, STRINGS, [path.rpartition("/")[2] for path, *_ in files]),
        (1118, STRINGS, folders),
        (5011, 4, [8]),
    ]


def write_database(path: Path, headers: Iterable[bytes], *, page_size: int = 4096) -> None:
    """A database of rpm with these headers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as database:
        database.executescript(f"PRAGMA page_size = {page_size}; PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF")
        database.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
        database.executemany("INSERT INTO Packages (blob) VALUES (?)", ((header,) for header in headers))
    database.close()
