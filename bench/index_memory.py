"""Memory and speed of the index at ten million blobs: at rest, while it is built, and while it grows.

    python bench/index_memory.py [blobs, default 10000000]

The rows are random and come in groups of 50,000, as index files do. Memory is the resident set of the process beyond
what it had before (``/proc/self/status``); the budget is 100 bytes a blob at rest.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import numpy as np

from govsec.repo.index import Index
from govsec.repo.indexbuild import IndexBuilder
from govsec.repo.pack import ROW, BlobType, Rows

_GROUP = 50_000
_BLOBS_A_PACK = 500
_BUDGET_BYTES = 100


class Peak:
    """The largest resident set seen while the block runs, sampled every few milliseconds."""

    def __init__(self) -> None:
        self.bytes = 0
        self._is_done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_done.wait(0.005):
            self.bytes = max(self.bytes, resident())


def resident() -> int:
    """Bytes of this process in memory."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) * 1024


def random_rows(chance: np.random.Generator) -> Rows:
    """As many rows as one index file has."""
    rows = np.zeros(_GROUP, ROW)
    rows["id"] = np.frombuffer(chance.bytes(32 * _GROUP), "V32")
    rows["length"] = 1000
    return rows


def build(count: int, chance: np.random.Generator, base: Index | None = None) -> Index:
    """An index of ``count`` new blobs, and of those of ``base``."""
    builder = IndexBuilder()
    if base is not None:
        builder.add_index(base)
    for _ in range(count // _GROUP):
        rows = random_rows(chance)
        starts = range(0, _GROUP, _BLOBS_A_PACK)
        builder.add_packs([(chance.bytes(32), rows[start : start + _BLOBS_A_PACK]) for start in starts])
    return builder.finish()


def main() -> None:
    """Print the figures."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    chance = np.random.default_rng(20261122)
    build(_GROUP, chance)  # libraries and their buffers are there now
    before = resident()
    start = time.perf_counter()
    with Peak() as peak:
        index = build(count, chance)
    seconds = time.perf_counter() - start
    print(f"blobs                  {len(index):>12,}")
    print(f"at rest, computed      {index.size_bytes / len(index):>12.1f} B a blob")
    print(f"at rest, resident      {(resident() - before) / len(index):>12.1f} B a blob (budget {_BUDGET_BYTES})")
    print(f"while building, peak   {(peak.bytes - before) / len(index):>12.1f} B a blob in {seconds:.1f} s")
    wanted = np.ascontiguousarray(index.ids[chance.integers(0, len(index), 200_000)])
    start = time.perf_counter()
    found = index.contains_many(BlobType.DATA, wanted).all()
    print(f"lookups in one batch   {200_000 / (time.perf_counter() - start):>12,.0f} a second, all found: {found}")
    singles = [wanted[position].tobytes() for position in range(100_000)]
    start = time.perf_counter()
    hits = sum((BlobType.DATA, blob) in index for blob in singles)
    print(f"single lookups         {100_000 / (time.perf_counter() - start):>12,.0f} a second, {hits:,} found")
    with Peak() as peak:
        grown = build(count // 10, chance, index)
    print(f"growing by a tenth     {(peak.bytes - before) / len(grown):>12.1f} B a blob at the peak")


if __name__ == "__main__":
    main()
