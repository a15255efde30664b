"""A small information system to try things on: a SQLite database and some thousands of documents with Chinese names.

Everything in it is invented, and the same at every call: contents are drawn from a hash of their name.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from govsec.errors import SourceError
from govsec.progress import Progress, ProgressSink, silent

DATABASE = "data/permits.sqlite"
DOCUMENTS = "documents"
_OFFICES = ("办公室", "人事处", "财务处", "规划处", "信息中心", "政务服务大厅")
_KINDS = ("申请表", "审批意见", "会议纪要", "通知", "合同", "台账")
_WORDS = ("受理", "审核", "归档", "办结", "补正", "转办", "复核", "公示", "permit", "review", "archive", "notice")
_DOCUMENTS_PER_FOLDER = 50
_ROWS_PER_DAY = 4000


@dataclass(frozen=True, slots=True)
class Sample:
    """What one call wrote."""

    files_count: int
    size_bytes: int
    rows_count: int


def write_day(root: Path, day: int, *, documents_count: int = 3000, progress: ProgressSink = silent) -> Sample:
    """Let the system work for a day: ``day`` 1 makes it, later days add documents and rows and change a few.

    Raises:
        SourceError: the directory cannot be written.
    """
    try:
        return _write_day(root, day, documents_count, progress)
    except (OSError, sqlite3.Error) as error:
        raise SourceError(f"{root}: cannot write the sample system: {error}") from error


def _write_day(root: Path, day: int, documents_count: int, progress: ProgressSink) -> Sample:
    size_bytes = 0
    for position, (path, content) in enumerate(_documents(root / DOCUMENTS, day, documents_count), 1):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        size_bytes += len(content)
        progress(Progress("sample", done_items=position, total_items=documents_count, current=path.name))
    if day == 1:
        _write_oddities(root)
    return Sample(documents_count, size_bytes, _write_rows(root / DATABASE, day))


def _documents(root: Path, day: int, count: int) -> Iterator[tuple[Path, bytes]]:
    for number in range(count):
        office = _OFFICES[number % len(_OFFICES)]
        kind = _KINDS[number // len(_OFFICES) % len(_KINDS)]
        name = f"{kind}-{day:02}-{number:05}.txt"
        folder = root / office / f"2026年第{number // _DOCUMENTS_PER_FOLDER + 1}卷"
        yield folder / name, _text(name)
    # Scans are larger and do not compress; the first changes every day, as the plan of the month does.
    for number in range(3):
        name = f"扫描件-{number}.pdf"
        seed = f"{name} {day}" if number == 0 else name
        yield root / _OFFICES[-1] / name, hashlib.shake_256(seed.encode()).digest(1 << 20)


def _text(name: str) -> bytes:
    draw = hashlib.shake_256(name.encode()).digest(400)
    words = (_WORDS[byte % len(_WORDS)] for byte in draw[: 40 + draw[0]])
    return (f"{name}\n" + " ".join(words) + "\n").encode() * (1 + draw[1] % 8)


def _write_oddities(root: Path) -> None:
    """What a real tree has besides plain files: links, an empty file, a hole, a private folder."""
    folder = root / DOCUMENTS
    first = next(path for path in sorted(folder.rglob("*.txt")))
    os.link(first, folder / "硬链接.txt")
    (folder / "符号链接").symlink_to(first.relative_to(folder))
    (folder / "空文件.txt").touch()
    with (folder / "稀疏文件.bin").open("wb") as file:
        file.truncate(8 << 20)
    (root / "private").mkdir(mode=0o700)


def _write_rows(path: Path, day: int) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    try:
        with connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS permits (id INTEGER PRIMARY KEY, day INT, office TEXT, state TEXT)"
            )
            connection.executemany(
                "INSERT INTO permits (day, office, state) VALUES (?, ?, ?)",
                ((day, _OFFICES[n % len(_OFFICES)], _WORDS[n % 8]) for n in range(_ROWS_PER_DAY)),
            )
            connection.execute("UPDATE permits SET state = '办结' WHERE day < ? AND id % 7 = 0", (day,))
        (rows_count,) = connection.execute("SELECT count(*) FROM permits").fetchone()
    finally:
        connection.close()
    return int(rows_count)
