"""What is held back on purpose: silences, maintenance windows, and what follows from something that was told already.

Nothing is forgotten by it: what is held back is counted where it is held back, a silence that ends is told with that
count, and an event of level 较大 or above cannot be silenced.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from govsec.errors import RefusedError

#: A silence that lasts longer is a decision about a detector, and belongs into its configuration.
SILENCE_MAX = timedelta(days=30)
_ID = re.compile(r"[A-Za-z0-9._-]{1,60}")


class Held(StrEnum):
    """Why a finding was not told."""

    SILENCED = "silenced"
    MAINTENANCE = "maintenance"
    INHIBITED = "inhibited"


@dataclass(frozen=True, slots=True)
class Match:
    """Which findings are meant: a kind or what it begins with, and patterns (``*``, ``?``) of subject and system."""

    kind: str = ""
    subject: str = "*"
    system: str = "*"

    def fits(self, kind: str, subject: str, system: str) -> bool:
        """True when the finding is meant."""
        return (
            (not self.kind or kind == self.kind or kind.startswith(f"{self.kind}."))
            and fnmatch.fnmatchcase(subject, self.subject)
            and fnmatch.fnmatchcase(system, self.system)
        )


@dataclass(frozen=True, slots=True)
class Silence:
    """Findings that are not to be told for a while, by a named person and for a reason."""

    id: str
    match: Match
    author: str
    reason: str
    starts_at: datetime
    ends_at: datetime

    def holds(self, now: datetime) -> bool:
        """True from its begin until just before its end."""
        return self.starts_at <= now < self.ends_at


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Work that was announced: a silence that comes from the configuration, and ends by itself without a word."""

    match: Match
    reason: str
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Inhibition:
    """While a finding of kind ``cause`` is open, those of kind ``effect`` on what needs its subject are not told."""

    cause: str
    effect: str


#: A host that does not answer takes its services with it.
DEFAULT_INHIBITIONS = (Inhibition("service.host_down", "service"), Inhibition("center.unreachable", "center"))


def new_silence(silence: Silence) -> Silence:
    """The silence, when it can be meant.

    Raises:
        RefusedError: no name, author, reason or end, longer than :data:`SILENCE_MAX`, or everything at once.
    """
    if not silence.author.strip() or not silence.reason.strip():
        raise RefusedError("a silence needs the name of a person and a reason")
    if not timedelta(0) < silence.ends_at - silence.starts_at <= SILENCE_MAX:
        raise RefusedError(f"a silence ends after it begins, and lasts {SILENCE_MAX.days} days at most")
    if not _ID.fullmatch(silence.id):
        raise RefusedError("a silence's name has 1 to 60 letters, digits, dots, dashes and underscores")
    match = silence.match
    if not match.kind and not match.subject.strip("*?") and not match.system.strip("*?"):
        raise RefusedError("a silence names a kind, a subject or a system; everything at once cannot be silenced")
    return silence


def inhibitor_of(
    kind: str, subject: str, inhibitions: Sequence[Inhibition], parents: Mapping[str, Sequence[str]]
) -> list[tuple[str, str]]:
    """Kinds and subjects that would inhibit this finding if they were open."""
    found = []
    for rule in inhibitions:
        if kind == rule.effect or kind.startswith(f"{rule.effect}."):
            found += [
                (rule.cause, parent) for parent in parents.get(subject, ()) if (kind, subject) != (rule.cause, parent)
            ]
    return found
