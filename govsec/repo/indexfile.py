"""Index files: which blobs lie in which pack, as restic's JSON.

::

    {"packs":[{"id":pack,"blobs":[blob, …]}, …]}
    blob = {"id":id,"type":"data"|"tree","offset":n,"length":n,"uncompressed_length":n}

``uncompressed_length`` is left out for blobs that are not compressed. All blobs of a pack stand in one index file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta

from govsec.errors import FormatError, LimitError
from govsec.repo.index import ids_from_hex
from govsec.repo.pack import ID_SIZE, NULL_ID, ROW, Rows

#: As many blobs as restic puts into one index file; a pack more may stand above it.
BLOBS_A_FILE = 50_000
_U32 = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
#: restic's largest index (50,000 blobs and one full pack) and room for its packs. Each is one JSON object, and takes a
#: few hundred bytes while it is decoded, so their number bounds the memory that a hostile file can take.
OBJECTS_MAX = 600_000
_LABELS = ("data", "tree")

PackRows = tuple[bytes, Rows]


class _Blob(msgspec.Struct, frozen=True, gc=False):
    id: str
    type: Literal["data", "tree"]
    offset: _U32
    length: _U32
    uncompressed_length: _U32 = 0


class _Pack(msgspec.Struct, frozen=True):
    id: str
    blobs: list[_Blob]


class _Index(msgspec.Struct, frozen=True):
    packs: list[_Pack] | None


_decoder = msgspec.json.Decoder(_Index)


def decode_index(json: bytes) -> list[PackRows]:
    """The packs that an index file lists.

    Raises:
        FormatError: not an index, or ids and numbers that none can have.
        LimitError: more packs and blobs than any writer puts into one file.
    """
    if json.count(b"{") > OBJECTS_MAX:
        raise LimitError(f"index: more than {OBJECTS_MAX} packs and blobs in one file")
    try:
        packs = _decoder.decode(json).packs or []
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise FormatError(f"index: {error}") from error
    pack_ids = ids_from_hex([pack.id for pack in packs])
    return [
        (pack_ids[position * ID_SIZE : (position + 1) * ID_SIZE], _rows(pack)) for position, pack in enumerate(packs)
    ]


def encode_index(packs: Iterable[PackRows]) -> bytes:
    """The JSON of an index file."""
    parts = []
    for pack_id, rows in packs:
        ids = rows["id"].tobytes().hex()
        blobs = []
        for position, (offset, length, raw, kind) in enumerate(
            zip(
                rows["offset"].tolist(),
                rows["length"].tolist(),
                rows["raw"].tolist(),
                rows["type"].tolist(),
                strict=True,
            )
        ):
            blob_id = ids[position * 64 : position * 64 + 64]
            tail = f',"uncompressed_length":{raw}}}' if raw else "}"
            blobs.append(f'{{"id":"{blob_id}","type":"{_LABELS[kind]}","offset":{offset},"length":{length}{tail}')
        parts.append(f'{{"id":"{pack_id.hex()}","blobs":[{",".join(blobs)}]}}')
    return f'{{"packs":[{",".join(parts)}]}}'.encode("ascii")


def split_for_files(packs: Iterable[PackRows]) -> Iterator[list[PackRows]]:
    """The packs in groups that fit one index file each; a pack is never divided."""
    group: list[PackRows] = []
    count = 0
    for pack in packs:
        group.append(pack)
        count += len(pack[1])
        if count >= BLOBS_A_FILE:
            yield group
            group, count = [], 0
    if group:
        yield group


def _rows(pack: _Pack) -> Rows:
    blobs = pack.blobs
    rows = np.empty(len(blobs), ROW)
    ids = ids_from_hex([blob.id for blob in blobs])
    rows["id"] = np.frombuffer(ids, f"V{ID_SIZE}")
    rows["offset"] = [blob.offset for blob in blobs]
    rows["length"] = [blob.length for blob in blobs]
    rows["raw"] = [blob.uncompressed_length for blob in blobs]
    rows["type"] = [blob.type == "tree" for blob in blobs]
    if _has_null_id(ids) or (len(blobs) and int(rows["length"].min()) <= 32):
        raise FormatError(f"index: pack {pack.id[:8]} lists a null id or a blob without content")
    return rows


def _has_null_id(ids: bytes) -> bool:
    # Looking for the bytes first costs little and is nearly always the answer.
    if NULL_ID not in ids:
        return False
    return bool((np.frombuffer(ids, np.uint64).reshape(-1, ID_SIZE // 8) == 0).all(axis=1).any())
