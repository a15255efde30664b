"""Speed of sealing, opening and packing by size of blob, in one process.

    python bench/seal.py

Packing is everything between a chunk in memory and a pack that may leave: compress, decompress and compare, seal, open
and compare, header, digest. The blobs are half noise and half text, which zstd shrinks to a little more than half.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable

from govsec.crypto.restic import MasterKey, ResticSuite
from govsec.repo.pack import BlobType
from govsec.repo.packer import Packer

_SECONDS = 0.3


def rate(call: Callable[[], object]) -> float:
    """Calls a second, in processor time: others may share the machine."""
    count, start = 0, time.process_time()
    while (elapsed := time.process_time() - start) < _SECONDS:
        call()
        count += 1
    return count / elapsed


def main() -> None:
    """Print a line for each size."""
    suite = ResticSuite(MasterKey.generate())
    print(f"{'blob':>10} {'seal':>12} {'':>10} {'open':>12} {'':>10} {'pack':>12}")
    for size in (100, 1 << 10, 4 << 10, 25_000, 256 << 10, 1 << 20, 4 << 20):
        plain = (os.urandom(size // 2) + b"a line of some text, repeated; " * (size // 50 + 1))[:size]
        sealed = suite.seal(plain)
        seal, opened = rate(lambda: suite.seal(plain)), rate(lambda: suite.open(sealed))  # noqa: B023 - called here
        packer = Packer(suite)

        def add() -> None:
            packer.add(BlobType.DATA, hashlib.sha256(plain).digest(), plain)  # noqa: B023 - called here

        packed = rate(add)
        print(
            f"{size:>8} B {1e6 / seal:>9.1f} us {seal * size / 1e6:>5.0f} MB/s {1e6 / opened:>9.1f} us "
            f"{opened * size / 1e6:>5.0f} MB/s {1e6 / packed:>9.1f} us {packed * size / 1e6:>5.0f} MB/s"
        )


if __name__ == "__main__":
    main()
