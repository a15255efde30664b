"""The names of objects that centers exchange, which digest each name promises, and the order they are written in.

::

    config                                   digest: in every commit (``repository``)
    keys/<sha256>                            travel by ``center init`` and ``repo keys sync`` alone
    data/<first 2 hex>/<sha256>              packs       ┐
    index/<sha256>                           indexes     │ named by commits
    snapshots/<sha256>                       snapshots   │
    govsec/witness/<sha256>                  witnesses   ┘
    govsec/objects/<sha256>                  lists that commits and checkpoints refer to
    govsec/commits/<number>-<sha256>         the commit log; number has 12 digits
    govsec/checkpoints/<number>-<sha256>     its state after commit <number>
    govsec/claims/<number>                   a commit that is about to be written (see ``commits``)
    govsec/released/<sha256>                 what this center let go, signed by this center
    govsec/verified/center-<sha256>          what this center's verification saw
    govsec/quarantine/<sha256 of manifest>/… junk that was moved aside
    govsec/paused                            this center's shipping, releasing and locking wait
    govsec/frozen/<end>-<id>                 until then nothing is let go here
"""

from __future__ import annotations

import re
from typing import Final

CONFIG: Final = "config"
KEYS: Final = "keys/"
LOCKS: Final = "locks/"
PACKS: Final = "data/"
INDEXES: Final = "index/"
SNAPSHOTS: Final = "snapshots/"
WITNESSES: Final = "govsec/witness/"
LISTS: Final = "govsec/objects/"
COMMITS: Final = "govsec/commits/"
CHECKPOINTS: Final = "govsec/checkpoints/"
CLAIMS: Final = "govsec/claims/"
RELEASED: Final = "govsec/released/"
VERIFIED: Final = "govsec/verified/"
QUARANTINE: Final = "govsec/quarantine/"
PAUSED: Final = "govsec/paused"
FROZEN: Final = "govsec/frozen/"

NUMBER_DIGITS: Final = 12
_COMMITTED = re.compile(r"(?:data/([0-9a-f]{2})/|index/|snapshots/|govsec/witness/)([0-9a-f]{64})")
_DIGEST_LAST = re.compile(
    r"(?:data/[0-9a-f]{2}/|index/|snapshots/|keys/|govsec/(?:witness|objects|released)/"
    r"|govsec/(?:commits|checkpoints)/[0-9]{12}-)"
    r"([0-9a-f]{64})"
)
_NUMBERED = re.compile(r"govsec/(?:commits|checkpoints)/([0-9]{12})-([0-9a-f]{64})")


def is_committed_kind(name: str) -> bool:
    """True for names that a commit may list; nothing else is ever shipped on a commit's word."""
    match = _COMMITTED.fullmatch(name)
    return match is not None and (match[1] is None or match[2].startswith(match[1]))


def digest_of(name: str) -> str | None:
    """The SHA-256, in hex, that the bytes under ``name`` must have; None for names that promise none."""
    match = _DIGEST_LAST.fullmatch(name)
    return match[1] if match else None


def numbered(prefix: str, number: int, digest: str = "") -> str:
    """The name of a commit or checkpoint, or, without digest, what all names of this number start with."""
    return f"{prefix}{number:0{NUMBER_DIGITS}d}-{digest}"


def parse_numbered(name: str) -> tuple[int, str] | None:
    """Number and digest in the name of a commit or checkpoint; None when it is not such a name."""
    match = _NUMBERED.fullmatch(name)
    return (int(match[1]), match[2]) if match else None


def write_rank(name: str) -> int:
    """The place of ``name`` in the write order: what refers to others comes after them. Removing goes backwards."""
    for rank, prefixes in enumerate(((PACKS, WITNESSES, LISTS), (INDEXES,), (SNAPSHOTS,), (COMMITS,), (CHECKPOINTS,))):
        if name.startswith(prefixes):
            return rank
    return 0
