"""Building packs: every blob is opened again before its pack leaves.

*Building.* A blob is compressed, sealed into its place in the pack, and opened again from there: authenticated,
decrypted, decompressed, compared with the plaintext, while all of it is still in the processor's cache. What was opened
goes into the pack's digest at once, and the digest of the finished pack is taken again over the bytes that leave: so
what memory did to a blob between the two is found out as well. The header is parsed again from those bytes.

*Choosing.* Each blob goes to one of two open packs at random, so that the packs' sizes do not give the chunks' sizes
away, by which a watcher could recognise known files (Truong, Mathews, Paterson et al., "Breaking and fixing
content-defined chunking", IACR eprint 2025/532; restic does it since 0.18).
"""

from __future__ import annotations

import hashlib
import secrets
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
    """One open pack; used again for the next one when it was finished."""

    def __init__(self, blob_type: BlobType, codec: Codec, suite: Suite, *, is_compressing: bool = True) -> None:
        self.blob_type = blob_type
        #: Bytes of sealed blobs.
        self.size_bytes = 0
        self._codec = codec
        self._suite = suite
        # Trees are always compressed in version 2; the choice is for data alone.
        self._is_compressing = is_compressing or blob_type is BlobType.TREE
        # Kept from pack to pack: on a virtual machine new pages cost more than what is written into them.
        self._buffer = bytearray()
        self._digest = hashlib.sha256()
        self._entries: list[tuple[bytes, int, int, int, int]] = []  # as a row: id, offset, length, plain length, type

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def is_full(self) -> bool:
        """Whether the header has no room for another entry."""
        return len(self._entries) >= ENTRIES_MAX - 1

    def add(self, blob_id: bytes, plain: bytes | bytearray | memoryview) -> None:
        """Take a blob in; ``blob_id`` is the digest of ``plain`` and is taken on trust.

        Raises:
            LimitError: longer than any reader takes.
            IntegrityError: what was sealed did not open to what was put in (bad memory, or a fault in a library); the
                pack is as it was.
        """
        size = len(plain)
        if not 0 < size <= self.blob_type.size_max:
            raise LimitError(f"blob {blob_id.hex()}: {size} bytes; 1 to {self.blob_type.size_max} can be stored")
        payload, raw = plain, 0
        if self._is_compressing:
            compressed = self._codec.compress(plain)
            if self.blob_type is BlobType.TREE or len(compressed) < size:
                payload, raw = compressed, size
        length = len(payload) + self._suite.overhead_bytes
        with self._place(length) as place:
            self._suite.seal_into(payload, place)
            if not self._gives_back(place, raw, plain):
                raise IntegrityError(f"blob {blob_id.hex()}: sealing changed its content; it was not stored")
            self._digest.update(place)
        self._entries.append((blob_id, self.size_bytes, length, raw, int(self.blob_type)))
        self.size_bytes += length

    def take(self, other: PackBuilder) -> None:
        """Move all blobs of ``other`` here."""
        with memoryview(other._buffer)[: other.size_bytes] as sealed, self._place(other.size_bytes) as place:
            place[:] = sealed
            self._digest.update(place)
        for blob_id, offset, length, raw, kind in other._entries:
            self._entries.append((blob_id, self.size_bytes + offset, length, raw, kind))
        self.size_bytes += other.size_bytes
        other._clear()

    def finish(self) -> FinishedPack:
        """Give out the pack; the builder is empty afterwards.

        Raises:
            IntegrityError: it is no longer what was put in; nothing of this pack may be used.
        """
        header = self._suite.seal(b"".join(map(_entry, self._entries)))
        tail = header + LENGTH.pack(len(header))
        self._digest.update(tail)
        with memoryview(self._buffer)[: self.size_bytes] as sealed:
            data = b"".join((sealed, tail))
        pack_id = hashlib.sha256(data).digest()
        if pack_id != self._digest.digest():
            raise IntegrityError("pack: it changed in memory; it was not stored")
        rows = np.array(self._entries, ROW)
        if not np.array_equal(read_header(self._suite, data), rows):
            raise IntegrityError("pack: the header did not give back what was put in; the pack was not stored")
        self._clear()
        return FinishedPack(pack_id, data, rows)

    def _place(self, size: int) -> memoryview:
        """Where the next ``size`` bytes of the pack lie."""
        end = self.size_bytes + size
        if end > len(self._buffer):
            # In large steps, because growing may copy; not by half beyond what most packs need.
            grown = max(end, min(2 * len(self._buffer), PACK_SIZE_DEFAULT + MIB))
            self._buffer.extend(bytes(grown - len(self._buffer)))
        return memoryview(self._buffer)[self.size_bytes : end]

    def _gives_back(self, place: memoryview, raw: int, plain: bytes | bytearray | memoryview) -> bool:
        try:
            opened = self._suite.open(place)
            return (self._codec.decompress(opened, raw) if raw else opened) == plain
        except IntegrityError:
            return False

    def _clear(self) -> None:
        self._digest = hashlib.sha256()
        self._entries = []
        self.size_bytes = 0


class Packer:
    """Turns a stream of blobs into packs: two open packs a type, chosen between at random.

    Made by the process that uses it.
    """

    def __init__(
        self,
        suite: Suite,
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
        """Sealed bytes in the open packs."""
        return sum(builder.size_bytes for pair in self._open.values() for builder in pair)

    def add(self, blob_type: BlobType, blob_id: bytes, plain: bytes | bytearray | memoryview) -> FinishedPack | None:
        """Take a blob in; the pack that became full by it, if one did. Raises as :meth:`PackBuilder.add`."""
        if len(plain) >= self._pack_size:
            alone = self._builder(blob_type)
            alone.add(blob_id, plain)
            return alone.finish()
        builder = self._open[blob_type][self._toss()]
        builder.add(blob_id, plain)
        if builder.size_bytes >= self._pack_size or builder.is_full:
            return builder.finish()
        return None

    def flush(self) -> list[FinishedPack]:
        """Finish what is open; two rests that fit into one pack become one."""
        finished = []
        for first, second in self._open.values():
            if first.size_bytes + second.size_bytes <= self._pack_size and len(first) + len(second) < ENTRIES_MAX:
                first.take(second)
            finished += [builder.finish() for builder in (first, second) if len(builder)]
        return finished

    def _builder(self, blob_type: BlobType) -> PackBuilder:
        return PackBuilder(blob_type, self._codec, self._suite, is_compressing=self._is_compressing)

    def _toss(self) -> int:
        if not self._coins_count:
            self._coins, self._coins_count = secrets.randbits(512), 512
        coin = self._coins & 1
        self._coins >>= 1
        self._coins_count -= 1
        return coin


def _entry(row: tuple[bytes, int, int, int, int]) -> bytes:
    """A blob's entry in the header."""
    blob_id, _, length, raw, kind = row
    return COMPRESSED_ENTRY.pack(kind + 2, length, raw, blob_id) if raw else PLAIN_ENTRY.pack(kind, length, blob_id)
