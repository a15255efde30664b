"""Packs: many blobs in one object, and the header that says where each lies.

::

    pack   = sealed blob 1 || … || sealed blob N || sealed header || length of the sealed header (u32, little endian)
    header = entries in the order of the blobs; offsets are implied, the first is 0, there are no gaps
      0 data, 1 tree:               type (1) | sealed length (u32 LE) | id (32)                              37 bytes
      2 data, 3 tree, compressed:   type (1) | sealed length (u32 LE) | plain length (u32 LE) | id (32)      41 bytes

A blob's id is the SHA-256 of its plaintext; a pack's id that of all its bytes. A pack holds blobs of one type.
"""

from __future__ import annotations

import struct
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from govsec.crypto.api import Suite
from govsec.errors import FormatError, IntegrityError, LimitError
from govsec.repo.codec import Codec
from govsec.repo.layout import DATA_BLOB_SIZE_MAX, MIB, TREE_BLOB_SIZE_MAX

ID_SIZE = 32
NULL_ID = bytes(ID_SIZE)
#: Sealed header and its length, as restic bounds them (``MaxHeaderSize``).
HEADER_SIZE_MAX = 16 * MIB
LENGTH = struct.Struct("<I")
PLAIN_ENTRY = struct.Struct("<BI32s")
COMPRESSED_ENTRY = struct.Struct("<BII32s")
#: One entry, the seal of the header, and its length: what restic calls the smallest pack.
PACK_SIZE_MIN = PLAIN_ENTRY.size + 32 + LENGTH.size
#: One more would not fit into the largest header.
ENTRIES_MAX = (HEADER_SIZE_MAX + LENGTH.size - 36) // COMPRESSED_ENTRY.size


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


def read_header(suite: Suite, data: bytes | memoryview) -> Rows:
    """The rows of a whole pack, or of its end when that holds the whole header and ``data`` is all there is before it.

    Raises:
        IntegrityError: the header is not authentic.
        FormatError: lengths that do not add up to the pack, unknown types, null ids.
    """
    size = header_size(data, len(data))
    rows = parse_header(suite.open(memoryview(data)[len(data) - size - LENGTH.size : -LENGTH.size]))
    check_extent(rows, len(data) - size - LENGTH.size)
    return rows


def header_size(tail: bytes | memoryview, pack_size: int) -> int:
    """The length of the sealed header, from a pack's last bytes. Raises ``FormatError`` when it cannot be."""
    if len(tail) < LENGTH.size:
        raise FormatError(f"pack: {pack_size} bytes are too few for a header")
    (size,) = LENGTH.unpack(bytes(memoryview(tail)[-LENGTH.size :]))
    if size < PLAIN_ENTRY.size or size > HEADER_SIZE_MAX or size + LENGTH.size > pack_size:
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
        layout = COMPRESSED_ENTRY if kind & 2 else PLAIN_ENTRY
        if end - position < layout.size:
            raise FormatError("pack header: ends within an entry")
        raw = 0
        if kind & 2:
            _, length, raw, blob_id = COMPRESSED_ENTRY.unpack_from(plain, position)
            if not raw:
                raise FormatError("pack header: a compressed blob of length 0")
        else:
            _, length, blob_id = PLAIN_ENTRY.unpack_from(plain, position)
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
    entries = compressed * COMPRESSED_ENTRY.size + (len(rows) - compressed) * PLAIN_ENTRY.size
    return int(rows["length"].sum(dtype=np.int64)) + entries + 32 + LENGTH.size


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
