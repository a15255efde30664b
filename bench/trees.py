"""A made-up tree of files, the same for the same seed: what a department's file server and its applications hold.

About 100,000 files in 12,000 directories and 2.5 GB at scale 1: mostly small texts, office documents (which are
compressed already), logs, and a few large databases and archives. Content is made from a seeded generator; texts are
drawn from a vocabulary, so that they compress as texts do, not as random bytes and not as zeros.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from pathlib import Path

_TIME_NS = 1_780_000_000_000_000_000


@dataclass(frozen=True)
class TreeSize:
    """What was made."""

    files: int
    directories: int
    size_bytes: int


def make_tree(root: Path, *, scale: float, seed: int = 2026) -> TreeSize:
    """Make the tree below ``root``, which must not be there."""
    source = random.Random(seed)
    vocabulary = [_word(source) for _ in range(6000)]
    directories_count = max(3, int(12_000 * scale))
    paths = [root]
    root.mkdir(parents=True)
    for number in range(directories_count - 1):
        above = paths[source.randrange(max(1, len(paths) // 8), len(paths) + 1) - 1]
        path = above / f"{source.choice(vocabulary)[:20]}-{number}"
        path.mkdir()
        paths.append(path)
    files = size = 0
    noise = source.randbytes(4 << 20)
    for number in range(int(100_000 * scale)):
        directory = paths[source.randrange(len(paths))]
        kind = source.random()
        if kind < 0.55:
            name, data = f"note-{number}.txt", _text(source, vocabulary, int(source.lognormvariate(7.2, 1.1)))
        elif kind < 0.80:
            name, data = f"scan-{number}.docx", _cut(source, noise, int(source.lognormvariate(8.8, 1.2)))
        elif kind < 0.95:
            name, data = f"app-{number}.log", _log(source, vocabulary, int(source.lognormvariate(9.0, 1.4)))
        else:
            name, data = f"mix-{number}.bin", _text(source, vocabulary, 20_000) + _cut(source, noise, 40_000)
        _write(directory / name, data, number)
        files, size = files + 1, size + len(data)
    for number in range(max(1, int(60 * scale))):
        data = b"".join(
            _cut(source, noise, 1 << 20) if source.random() < 0.4 else _log(source, vocabulary, 1 << 20)
            for _ in range(source.randrange(4, 40))
        )
        _write(paths[source.randrange(len(paths))] / f"base-{number}.db", data, number)
        files, size = files + 1, size + len(data)
    return TreeSize(files, len(paths), size)


def tree_size(root: Path) -> TreeSize:
    """What lies below ``root``."""
    files = directories = size = 0
    for directory, _, names in os.walk(root):
        directories += 1
        files += len(names)
        size += sum(os.lstat(os.path.join(directory, name)).st_size for name in names)
    return TreeSize(files, directories, size)


def change_tree(root: Path, *, share: float, seed: int) -> int:
    """Change that share of the files: rewrite most, append to some, add and remove a few; how many were touched."""
    source = random.Random(seed)
    paths = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    chosen = source.sample(paths, max(1, int(len(paths) * share)))
    for number, path in enumerate(chosen):
        kind = number % 10
        if kind < 6:
            data = bytearray(path.read_bytes() or b"x")
            data[source.randrange(len(data))] ^= 0x55
            path.write_bytes(data)
        elif kind < 8:
            with path.open("ab") as file:
                file.write(source.randbytes(300))
        elif kind == 8:
            (path.parent / f"new-{seed}-{number}.txt").write_bytes(source.randbytes(2000))
        else:
            path.unlink()
    return len(chosen)


def _write(path: Path, data: bytes, number: int) -> None:
    path.write_bytes(data)
    moment = _TIME_NS - number * 7_654_321_000
    os.utime(path, ns=(moment, moment))


def _word(source: random.Random) -> str:
    return "".join(source.choice("abcdefghijklmnoprstuvwy") for _ in range(source.randrange(3, 12)))


def _text(source: random.Random, vocabulary: list[str], size: int) -> bytes:
    words = source.choices(vocabulary, k=size // 8 + 1)
    return " ".join(words).encode()[: max(1, size)]


def _cut(source: random.Random, noise: bytes, size: int) -> bytes:
    # A random start and a running number make pieces that do not repeat, without making new noise for each.
    start = source.randrange(len(noise) - 1)
    piece = source.randbytes(64) + noise[start:] + noise
    return piece[: max(1, size)]


def _log(source: random.Random, vocabulary: list[str], size: int) -> bytes:
    lines = []
    length = 0
    while length < size:
        line = (
            f"2026-{source.randrange(1, 13):02d}-{source.randrange(1, 29):02d}T{source.randrange(24):02d}:"
            f"{source.randrange(60):02d}:00Z host{source.randrange(40)} app[{source.randrange(1, 32000)}]: "
            f"{' '.join(source.choices(vocabulary, k=6))} status={source.randrange(100, 600)}\n"
        )
        lines.append(line)
        length += len(line)
    return "".join(lines).encode()[: max(1, size)]
