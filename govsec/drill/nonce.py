"""Is the nonce that was planted before the backup in the restored tree?"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from govsec.backup.witness import Witness
from govsec.drill.inside import open_inside

_NONCE_SIZE_MAX = 64 << 10


def check_nonce(witness: Witness | None, tree: Path) -> str:
    """``nonce_absent`` or ``nonce_wrong`` when the planted nonce is not what came back; empty when it is."""
    if witness is None or witness.nonce is None:
        return "nonce_absent"
    data = _read(witness, tree)
    if data is None:
        return "nonce_absent"
    return "" if hashlib.sha256(data).hexdigest() == witness.nonce.sha256 else "nonce_wrong"


def planted_size(witness: Witness | None, tree: Path) -> int | None:
    """Size of the planted file where it came back, None where it did not: it is no file of the system."""
    data = None if witness is None or witness.nonce is None else _read(witness, tree)
    return None if data is None else len(data)


def _read(witness: Witness, tree: Path) -> bytes | None:
    assert witness.nonce is not None  # both callers have asked
    try:
        with os.fdopen(open_inside(tree, witness.nonce.path), "rb") as file:
            return file.read(_NONCE_SIZE_MAX + 1)
    except OSError:
        return None
