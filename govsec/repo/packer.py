"""Building packs: every blob is opened again before its pack leaves.

*Building.* A blob is compressed when it is added, decompressed again and compared with the plaintext; it is sealed when
its pack is finished (workers start before the key is there), opened again and compared with what was compressed, with a
checksum taken at the first comparison. Together that is: every blob was opened again, from the sealed bytes to the
plaintext, before its pack leaves. The header is parsed again as well.

*Choosing.* Each blob goes to one of two open packs at random, so that the packs' sizes do not give the chunks' sizes
away, by which a watcher could recognise known files (Truong, Mathews, Paterson et al., "Breaking and fixing
content-defined chunking", IACR eprint 2025/532; restic does it since 0.18).
"""

from __future__ import annotations

import hashlib
import secrets
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from govsec.crypto.api import Suite
from govsec.errors import IntegrityError, LimitError
from govsec.repo.codec import LEVEL_DEFAULT, Codec
from govsec.repo.layout import MIB
from govsec.repo.pack import COMPRESSED_ENTRY, ENTRIES_MAX, LENGTH, PLAIN_ENTRY, ROW, BlobType, Rows, read_header

#: restic's default as well.
PACK_SIZE_DEFAULT = 16 * MIB


@dataclass(frozen=True, slots=True)
class FinishedPack:
    """A pack that is ready to be stored, and what the index will say of it."""

    id: bytes
    data: bytes
    rows: Rows


class PackBuilder:
    """One open pack."""

    def __init__(self, blob_type: BlobType, codec: Codec, *, is_compressing: bool = True) -> None:
        self.blob_type = blob_type
        self.size_bytes = 0
        self._codec = codec
        # Trees are always compressed in version 2; the choice is for data alone.
        self._is_compressing = is_compressing or blob_type is BlobType.TREE
        self._blobs: list[tuple[bytes, bytes, int, int]] = []  # id, payload, plain length or 0, checksum

    def __len__(self) -> int:
        return len(self._blobs)

    @property
    def is_full(self) -> bool:
        """Whether the header has no room for another entry."""
        return len(self._blobs) >= ENTRIES_MAX - 1

    def add(self, blob_id: bytes, plain: bytes | bytearray | memoryview) -> None:
        """Take a blob in; ``blob_id`` is the digest of ``plain`` and is taken on trust.

        Raises:
            LimitError: longer than any reader takes.
            IntegrityError: the compressed form did not give the plaintext back (bad memory, or a fault in zstd).
        """
        size = len(plain)
        if not 0 < size <= self.blob_type.size_max:
            raise LimitError(f"blob {blob_id.hex()}: {size} bytes; 1 to {self.blob_type.size_max} can be stored")
        payload, raw = b"", 0
        if self._is_compressing:
            payload, raw = self._codec.compress(plain), size
            if self.blob_type is BlobType.DATA and len(payload) >= size:
                raw = 0
            elif self._codec.decompress(payload, size) != plain:
                raise IntegrityError(f"blob {blob_id.hex()}: compressing changed its content; it was not stored")
        if not raw:
            payload = bytes(plain)
        self._blobs.append((blob_id, payload, raw, zlib.crc32(payload)))
        self.size_bytes += len(payload)

    def take(self, other: PackBuilder) -> None:
        """Move all blobs of ``other`` here."""
        self._blobs.extend(other._blobs)
        self.size_bytes += other.size_bytes
        other._blobs = []
        other.size_bytes = 0

    def finish(self, suite: Suite) -> FinishedPack:
        """Seal everything, open it again, and give out the pack; the builder is empty afterwards.

        Raises:
            IntegrityError: what was sealed did not open to what was put in; nothing of this pack may be used.
        """
        parts: list[bytes] = []
        header: list[bytes] = []
        entries: list[tuple[bytes, int, int, int, int]] = []
        offset = 0
        for blob_id, payload, raw, checksum in self._blobs:
            sealed = suite.seal(payload)
            opened = suite.open(sealed)
            if opened != payload or zlib.crc32(opened) != checksum:
                raise IntegrityError(f"blob {blob_id.hex()}: sealing changed its content; its pack was not stored")
            parts.append(sealed)
            if raw:
                header.append(COMPRESSED_ENTRY.pack(self.blob_type + 2, len(sealed), raw, blob_id))
            else:
                header.append(PLAIN_ENTRY.pack(self.blob_type, len(sealed), blob_id))
            entries.append((blob_id, offset, len(sealed), raw, int(self.blob_type)))
            offset += len(sealed)
        sealed_header = suite.seal(b"".join(header))
        parts += (sealed_header, LENGTH.pack(len(sealed_header)))
        data = b"".join(parts)
        rows = np.array(entries, ROW)
        if not np.array_equal(read_header(suite, data), rows):
            raise IntegrityError("pack: the header did not give back what was put in; the pack was not stored")
        self._blobs = []
        self.size_bytes = 0
        return FinishedPack(hashlib.sha256(data).digest(), data, rows)


class Packer:
    """Turns a stream of blobs into packs: two open packs a type, chosen between at random.

    ``suite`` is asked for when the first pack is finished, so that blobs can be added before the key is there. Made by
    the process that uses it.
    """

    def __init__(
        self,
        suite: Callable[[], Suite],
        *,
        pack_size: int = PACK_SIZE_DEFAULT,
        level: int = LEVEL_DEFAULT,
        is_compressing: bool = True,
    ) -> None:
        self._suite = suite
        self._pack_size = pack_size
        self._codec = Codec(level)
        self._is_compressing = is_compressing
        self._open = {blob_type: (self._builder(blob_type), self._builder(blob_type)) for blob_type in BlobType}
        self._coins = 0
        self._coins_count = 0

    @property
    def pending_bytes(self) -> int:
        """Compressed bytes in the open packs."""
        return sum(builder.size_bytes for pair in self._open.values() for builder in pair)

    def add(self, blob_type: BlobType, blob_id: bytes, plain: bytes | bytearray | memoryview) -> FinishedPack | None:
        """Take a blob in; the pack that became full by it, if one did. Raises as :meth:`PackBuilder.add`."""
        if len(plain) >= self._pack_size:
            alone = self._builder(blob_type)
            alone.add(blob_id, plain)
            return alone.finish(self._suite())
        builder = self._open[blob_type][self._toss()]
        builder.add(blob_id, plain)
        if builder.size_bytes >= self._pack_size or builder.is_full:
            return builder.finish(self._suite())
        return None

    def flush(self) -> list[FinishedPack]:
        """Finish what is open; two rests that fit into one pack become one."""
        finished = []
        for first, second in self._open.values():
            if first.size_bytes + second.size_bytes <= self._pack_size and len(first) + len(second) < ENTRIES_MAX:
                first.take(second)
            finished += [builder.finish(self._suite()) for builder in (first, second) if len(builder)]
        return finished

    def _builder(self, blob_type: BlobType) -> PackBuilder:
        return PackBuilder(blob_type, self._codec, is_compressing=self._is_compressing)

    def _toss(self) -> int:
        if not self._coins_count:
            self._coins, self._coins_count = secrets.randbits(512), 512
        coin = self._coins & 1
        self._coins >>= 1
        self._coins_count -= 1
        return coin
