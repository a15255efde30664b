"""Packs: many blobs in one object, and the header that says where each lies.

::

    pack   = sealed blob 1 || … || sealed blob N || sealed header || length of the sealed header (u32, little endian)
    header = entries in the order of the blobs; offsets are implied, the first is 0, there are no gaps
      0 data, 1 tree:               type (1) | sealed length (u32 LE) | id (32)                              37 bytes
      2 data, 3 tree, compressed:   type (1) | sealed length (u32 LE) | plain length (u32 LE) | id (32)      41 bytes

A blob's id is the SHA-256 of its plaintext; a pack's id that of all its bytes. A pack holds blobs of one type.

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
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from govsec.crypto.api import Suite
from govsec.errors import FormatError, IntegrityError, LimitError
from govsec.repo.codec import LEVEL_DEFAULT, Codec
from govsec.repo.layout import DATA_BLOB_SIZE_MAX, MIB, TREE_BLOB_SIZE_MAX

ID_SIZE = 32
NULL_ID = bytes(ID_SIZE)
#: Sealed header and its length, as restic bounds them (``MaxHeaderSize``).
HEADER_SIZE_MAX = 16 * MIB
PACK_SIZE_DEFAULT = 16 * MIB
_LENGTH = struct.Struct("<I")
_PLAIN = struct.Struct("<BI32s")
_COMPRESSED = struct.Struct("<BII32s")
#: One more would not fit into the largest header.
_ENTRIES_MAX = (HEADER_SIZE_MAX + _LENGTH.size - 36) // _COMPRESSED.size


class BlobType(IntEnum):
    """The two types of blobs."""

    DATA = 0
    TREE = 1

    @property
    def label(self) -> str:
        """The word in index files."""
        return "tree" if self else "data"

    @property
    def size_max(self) -> int:
        """Largest plaintext that is read or written."""
        return TREE_BLOB_SIZE_MAX if self else DATA_BLOB_SIZE_MAX


#: One blob of a pack; ``raw`` is the plain length, 0 when the blob is not compressed.
ROW = np.dtype([("id", "V32"), ("offset", "<u4"), ("length", "<u4"), ("raw", "<u4"), ("type", "u1")])
Rows = NDArray[np.void]


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
        return len(self._blobs) >= _ENTRIES_MAX - 1

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
                header.append(_COMPRESSED.pack(self.blob_type + 2, len(sealed), raw, blob_id))
            else:
                header.append(_PLAIN.pack(self.blob_type, len(sealed), blob_id))
            entries.append((blob_id, offset, len(sealed), raw, int(self.blob_type)))
            offset += len(sealed)
        sealed_header = suite.seal(b"".join(header))
        parts += (sealed_header, _LENGTH.pack(len(sealed_header)))
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
            if first.size_bytes + second.size_bytes <= self._pack_size and len(first) + len(second) < _ENTRIES_MAX:
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


def read_header(suite: Suite, data: bytes | memoryview) -> Rows:
    """The rows of a whole pack, or of its end when that holds the whole header and ``data`` is all there is before it.

    Raises:
        IntegrityError: the header is not authentic.
        FormatError: lengths that do not add up to the pack, unknown types, null ids.
    """
    size = header_size(data, len(data))
    rows = parse_header(suite.open(memoryview(data)[len(data) - size - _LENGTH.size : -_LENGTH.size]))
    check_extent(rows, len(data) - size - _LENGTH.size)
    return rows


def header_size(tail: bytes | memoryview, pack_size: int) -> int:
    """The length of the sealed header, from a pack's last bytes. Raises ``FormatError`` when it cannot be."""
    if len(tail) < _LENGTH.size:
        raise FormatError(f"pack: {pack_size} bytes are too few for a header")
    (size,) = _LENGTH.unpack(bytes(memoryview(tail)[-_LENGTH.size :]))
    if size < _PLAIN.size or size > HEADER_SIZE_MAX or size + _LENGTH.size > pack_size:
        raise FormatError(f"pack: a header of {size} bytes in a pack of {pack_size}")
    return int(size)


def parse_header(plain: bytes) -> Rows:
    """The rows that an opened header lists. Raises ``FormatError``."""
    entries: list[tuple[bytes, int, int, int, int]] = []
    position, offset, end = 0, 0, len(plain)
    while position < end:
        kind = plain[position]
        if kind > 3:
            raise FormatError(f"pack header: blob type {kind} is not known")
        layout = _COMPRESSED if kind & 2 else _PLAIN
        if end - position < layout.size:
            raise FormatError("pack header: ends within an entry")
        raw = 0
        if kind & 2:
            _, length, raw, blob_id = _COMPRESSED.unpack_from(plain, position)
            if not raw:
                raise FormatError("pack header: a compressed blob of length 0")
        else:
            _, length, blob_id = _PLAIN.unpack_from(plain, position)
        if blob_id == NULL_ID or length <= 32:
            raise FormatError("pack header: a null id, or a blob without content")
        entries.append((blob_id, offset, length, raw, kind & 1))
        offset += length
        if offset > 0xFFFFFFFF:
            raise FormatError("pack header: blobs end behind 4 GiB")
        position += layout.size
    return np.array(entries, ROW)


def check_extent(rows: Rows, blobs_size: int) -> None:
    """Raise ``FormatError`` unless the blobs fill exactly what lies before the header."""
    listed = int(rows["offset"][-1]) + int(rows["length"][-1]) if len(rows) else 0
    if listed != blobs_size:
        raise FormatError(f"pack: the header lists {listed} bytes of blobs, there are {blobs_size}")


def pack_size_of(rows: Rows) -> int:
    """How large a pack with these rows is: blobs, header, and the header's length."""
    compressed = int(np.count_nonzero(rows["raw"]))
    entries = compressed * _COMPRESSED.size + (len(rows) - compressed) * _PLAIN.size
    return int(rows["length"].sum(dtype=np.int64)) + entries + 32 + _LENGTH.size


def open_blob(
    suite: Suite, codec: Codec, sealed: bytes | memoryview, *, blob_id: bytes, raw: int, size_max: int
) -> bytes:
    """The plaintext of one blob, which is what its id says or an error.

    Raises:
        IntegrityError: altered, swapped, or not what the id names.
        LimitError: longer than ``size_max``.
    """
    if raw > size_max or len(sealed) > size_max + (64 << 10):
        raise LimitError(f"blob {blob_id.hex()}: more than {size_max} bytes")
    plain = suite.open(sealed)
    if raw:
        plain = codec.decompress(plain, raw)
        if len(plain) != raw:
            raise IntegrityError(f"blob {blob_id.hex()}: {len(plain)} bytes, where {raw} are written down")
    if suite.digest(plain) != blob_id:
        raise IntegrityError(f"blob {blob_id.hex()}: its content has another digest")
    return plain
