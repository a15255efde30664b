"""govsec: backup over three centers, drills, monitoring, graded protection and incidents for government clouds.

The public interface is what ``docs/api.md`` lists. A name is loaded when it is first asked for, so that
``import govsec`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from govsec.clock import SystemClock as SystemClock
    from govsec.config import Config as Config
    from govsec.config import load_config as load_config
    from govsec.crypto.signing import Purpose as Purpose
    from govsec.crypto.signing import Signer as Signer
    from govsec.crypto.signing import TrustedKeys as TrustedKeys
    from govsec.errors import GovsecError as GovsecError
    from govsec.ledger.ledger import Ledger as Ledger
    from govsec.records import Evidence as Evidence
    from govsec.records import Finding as Finding
    from govsec.records import Severity as Severity
    from govsec.store.local import LocalStore as LocalStore
    from govsec.store.memory import MemoryStore as MemoryStore
    from govsec.store.s3 import S3Store as S3Store

#: Where each public name lives.
_HOMES = {
    "Config": "govsec.config",
    "Evidence": "govsec.records",
    "Finding": "govsec.records",
    "GovsecError": "govsec.errors",
    "Ledger": "govsec.ledger.ledger",
    "LocalStore": "govsec.store.local",
    "MemoryStore": "govsec.store.memory",
    "Purpose": "govsec.crypto.signing",
    "S3Store": "govsec.store.s3",
    "Severity": "govsec.records",
    "Signer": "govsec.crypto.signing",
    "SystemClock": "govsec.clock",
    "TrustedKeys": "govsec.crypto.signing",
    "load_config": "govsec.config",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'govsec' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
