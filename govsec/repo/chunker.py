"""The chunker: cuts a file where its content says so, so that an insertion changes one or two chunks.

FastCDC (Xia et al., USENIX ATC 2016) with the sizes of restic's Rabin chunker: 512 KiB at least, 1 MiB more on
average, 8 MiB at most. Any cut is valid in restic's format; only data that restic itself stored in the same repository
is not recognised, and is stored anew once.

The gear table is seeded from the repository's secret polynomial, so that an onlooker who sees sizes cannot simply
compute the cuts of files that he knows. That is an obstacle, not a proof: the library mixes 64 bits of seed into a
known table by XOR, and seeded rolling hashes were broken by who could have chosen data stored (IACR eprint 2025/558).
What hides the chunks' sizes is that blobs go to packs at random (:mod:`govsec.repo.packer`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from pyfastcdc import FastCDC

from govsec.repo.layout import MIB

CHUNK_SIZE_MIN = MIB // 2
CHUNK_SIZE_AVERAGE = MIB
CHUNK_SIZE_MAX = 8 * MIB


class Chunker:
    """Cuts by the secret of one repository."""

    def __init__(self, chunker_polynomial: str) -> None:
        seed = hashlib.sha256(b"govsec chunker\0" + chunker_polynomial.encode()).digest()
        self._cdc = FastCDC(
            CHUNK_SIZE_AVERAGE,
            min_size=CHUNK_SIZE_MIN,
            max_size=CHUNK_SIZE_MAX,
            # 63 bits: the library doubles the seed in an unsigned 64-bit number.
            seed=int.from_bytes(seed[:8], "big") >> 1,
        )

    def cuts(self, buffer: bytes | bytearray | memoryview) -> Iterator[int]:
        """Where chunks end in ``buffer``, ascending; the last is its length.

        When more of the file follows, the last chunk is not finished unless it has :data:`CHUNK_SIZE_MAX`: keep it and
        put what follows behind it.
        """
        return (chunk.offset + chunk.length for chunk in self._cdc.cut_buf(buffer))
