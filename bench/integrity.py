"""What a pass over files costs the guard: metadata of everything, contents of what changed.

A tree of many small files is made, taken as a baseline, and gone over again: unchanged, with one percent changed, and
beside ``aide``'s way of reading every file (SHA-256 of all contents, in the same process).

    python -m bench.integrity --files 100000
    python -m bench.integrity --tree /usr
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from govsec.guard.filescan import FileChecker, FileScanner
from govsec.guard.filestate import marks_of

_FOLDER_SIZE = 100
_CHANGED_RATIO = 100
_ROUNDS = 5


def make_tree(root: Path, count: int) -> None:
    """``count`` files of 1 KiB, a hundred a folder."""
    for number in range(count):
        folder = root / f"{number // _FOLDER_SIZE:05}"
        if not number % _FOLDER_SIZE:
            folder.mkdir()
        (folder / f"file{number}").write_bytes(number.to_bytes(8, "big") * 128)


def median_s(work: Callable[[], object]) -> float:
    """The median of some rounds, in seconds."""
    times = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def measure(root: Path, *, may_write: bool) -> None:
    """Print files a second of each way."""
    scanner = FileScanner([str(root)], [])
    known = {path: marks_of(status) + scanner.digest(path, status) for path, status in scanner.walk()}
    count = len(known)
    checker = FileChecker(scanner, known)
    rows = [("metadata pass, nothing changed", median_s(lambda: sum(1 for _ in checker.everything())))]
    if may_write:
        for number, path in enumerate(sorted(known)):
            if not number % _CHANGED_RATIO and Path(path).is_file():
                Path(path).write_bytes(os.urandom(1024))
        changed = FileChecker(scanner, known)
        rows.append(("one percent changed, these hashed", median_s(lambda: sum(1 for _ in changed.everything()))))

    def read_everything() -> None:
        for path in known:
            if Path(path).is_file() and not Path(path).is_symlink():
                hashlib.sha256(Path(path).read_bytes()).digest()

    rows.append(("every file read and hashed", median_s(read_everything)))
    for what, seconds in rows:
        sys.stdout.write(f"{what:36} {seconds:7.2f} s  {count / seconds:>10,.0f} files/s\n")


def main() -> int:
    """Measure a tree that is made for it, or one that is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--tree", type=Path, help="a folder that is there; it is only read")
    args = parser.parse_args()
    if args.tree is not None:
        measure(args.tree, may_write=False)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        make_tree(Path(folder), args.files)
        measure(Path(folder), may_write=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
