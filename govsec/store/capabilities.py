"""The record of a probe: what a store was seen to enforce with one credential. :mod:`govsec.store.probe` makes it."""

from __future__ import annotations

import secrets
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from govsec.records import Moment

#: Where the objects of a probe lie.
PROBE_PREFIX = "govsec/probe/"


class Answer(StrEnum):
    """What became of one attempt. Only ``ERASES`` and ``ALLOWED`` endanger what others stored."""

    DENIED = "denied"
    #: It works, and the bytes from before stay as an older version.
    COVERS = "covers"
    #: It works, and the bytes from before are gone.
    ERASES = "erases"
    ALLOWED = "allowed"
    #: There is no such thing at this store.
    NOTHING = "nothing to try"
    #: It could not be tried; never counts as denied.
    UNKNOWN = "unknown"


_SAFE = frozenset({Answer.DENIED, Answer.COVERS, Answer.NOTHING})


class StoreCapabilities(BaseModel):
    """The record of one probe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str
    time: Moment
    #: How the server calls itself, empty for a directory.
    server: str = ""
    is_versioned: bool
    #: None when the credential may not ask.
    has_object_lock: bool | None
    #: Of two conditional puts of one name, one is refused.
    has_conditional_put: bool
    #: A body that does not fit its Content-MD5 is refused; None where bodies have no such header.
    checks_content_md5: bool | None
    reads_after_writes: bool
    overwrite: Answer
    delete: Answer
    delete_version: Answer
    bypass_governance: Answer
    set_retention: Answer
    shorten_retention: Answer
    change_versioning: Answer
    change_policy: Answer

    @property
    def is_protected(self) -> bool:
        """True when nothing that lies in the store can be erased with the credential that was probed."""
        return self.is_versioned and not self.weaknesses()

    def weaknesses(self) -> tuple[str, ...]:
        """What a thief of the credential could do, one phrase each; empty when nothing was found."""
        found = []
        if not self.is_versioned:
            found.append("the store keeps no versions")
        tried = {
            "overwrite objects": self.overwrite,
            "delete objects": self.delete,
            "delete versions": self.delete_version,
            "bypass governance retention": self.bypass_governance,
            "shorten retention": self.shorten_retention,
            "change versioning": self.change_versioning,
            "change the bucket's policy": self.change_policy,
        }
        for attempt, answer in tried.items():
            if answer is Answer.UNKNOWN:
                found.append(f"whether it can {attempt} is unknown")
            elif answer not in _SAFE:
                found.append(f"it can {attempt}")
        return tuple(found)


def probe_name() -> str:
    """A fresh name for an object of a probe."""
    return f"{PROBE_PREFIX}{secrets.token_hex(8)}"
