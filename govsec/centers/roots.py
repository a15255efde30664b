"""Roots files of two sites made one. Which keys are trusted is decided by people; here is only shown what they decide.

A site makes its keys itself, so after a site began (or was rebuilt) every site has keys that the others lack. Merging
adds; it never takes a key away, because whatever a removed key signed can no longer be verified.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from govsec.crypto.signing import PublicKey, TrustedKeys


@dataclass(frozen=True, slots=True)
class Merge:
    """What bringing another site's roots into ours means."""

    path: Path
    #: Only the other file has these.
    added: tuple[PublicKey, ...]
    #: Both have these.
    shared: tuple[PublicKey, ...]
    #: Only ours has these; the other site needs them.
    ours_alone: tuple[PublicKey, ...]

    @property
    def result(self) -> TrustedKeys:
        """The keys of both."""
        return TrustedKeys([*self.shared, *self.ours_alone, *self.added])


def plan_merge(ours: Path, theirs: Path) -> Merge:
    """What merging ``theirs`` into ``ours`` would add; changes nothing. ``ours`` may be missing: a site that begins.

    Raises:
        ConfigurationError: a file is no roots file.
    """
    own = list(TrustedKeys.load(ours)) if ours.exists() else []
    other = list(TrustedKeys.load(theirs))
    known = {(key.purpose, key.key_id) for key in own}
    offered = {(key.purpose, key.key_id) for key in other}
    return Merge(
        path=ours,
        added=tuple(key for key in other if (key.purpose, key.key_id) not in known),
        shared=tuple(key for key in own if (key.purpose, key.key_id) in offered),
        ours_alone=tuple(key for key in own if (key.purpose, key.key_id) not in offered),
    )
