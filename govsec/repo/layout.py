"""Where a repository's objects lie, and how large each kind may be.

::

    config                     sealed JSON, never compressed          the one object without a digest for a name
    keys/<id>                  JSON, see govsec.crypto.keyfile
    data/<first two hex>/<id>  packs
    index/<id>  snapshots/<id>  locks/<id>     sealed, compressed JSON
    govsec/…                   what restic has no place for; restic ignores it

An id is 64 lower-case hex digits: the SHA-256 of the stored bytes. Names from a listing that are not of this form are
foreign objects: they are skipped, never opened.

The size limits are what a reader takes into memory. They lie above anything an honest writer makes.
"""

from __future__ import annotations

import re
from enum import StrEnum

CONFIG = "config"
GOVSEC_PREFIX = "govsec/"

_ID = re.compile(r"[0-9a-f]{64}")
MIB = 1 << 20

CONFIG_SIZE_MAX = 64 << 10
LOCK_SIZE_MAX = 64 << 10
SNAPSHOT_SIZE_MAX = 16 * MIB
#: restic writes up to 50,000 blobs and one full pack header (409,200 entries) into one index: 80 MB of JSON at most.
INDEX_SIZE_MAX = 96 * MIB
#: restic's writers stop at 128 MiB plus one blob; packs of other tools up to this size are read as well.
PACK_SIZE_MAX = 512 * MIB
#: Largest plaintext of a data blob. restic's and our chunkers stop at 8 MiB.
DATA_BLOB_SIZE_MAX = 64 * MIB
#: Largest tree, about 600,000 entries in one directory.
TREE_BLOB_SIZE_MAX = 256 * MIB


class Kind(StrEnum):
    """The kinds of objects whose names are digests; the value is the prefix in the store."""

    KEY = "keys"
    PACK = "data"
    INDEX = "index"
    SNAPSHOT = "snapshots"
    LOCK = "locks"

    @property
    def prefix(self) -> str:
        """What every name of this kind starts with."""
        return f"{self.value}/"


def object_name(kind: Kind, object_id: str) -> str:
    """The name under which an object of this kind and id is stored."""
    if kind is Kind.PACK:
        return f"data/{object_id[:2]}/{object_id}"
    return f"{kind.value}/{object_id}"


def pack_name(pack_id: bytes) -> str:
    """The name of the pack with this digest."""
    text = pack_id.hex()
    return f"data/{text[:2]}/{text}"


def is_id(text: str) -> bool:
    """Whether ``text`` is 64 lower-case hex digits."""
    return _ID.fullmatch(text) is not None


def id_in_name(kind: Kind, name: str) -> str | None:
    """The id in an object's name, None when this is not a name of an object of this kind."""
    object_id = name.rpartition("/")[2]
    return object_id if is_id(object_id) and name == object_name(kind, object_id) else None
