"""What a site does not want to be told again: dismissed patterns, and what it allows.

One idea: quiet is never silent and never for ever. A dismissal quietens exactly one pattern (one behaviour of these
hosts), with the reason and the name of who said so; an allowance quietens named kinds for a named part of the site.
Both end, and what they held back is counted by entry. Time is event time: a capture of last year is judged as it would
have been.

A dismissal of a whole kind is refused: it would hide the next attacker with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from pydantic import Field, ValidationError, field_validator

from govsec import canonical
from govsec.config import Model, explain
from govsec.errors import FormatError, LimitError, RefusedError, TryAgainError, UsageError
from govsec.findings.judgement import pattern_of
from govsec.localfile import read_bounded
from govsec.privatefile import make_private_directory, write_private
from govsec.records import Finding, Moment

_SIZE_MAX = 8 << 20
#: So many single patterns are a threshold that does not fit.
_DISMISSALS_MAX = 10_000
_PATTERN = r"^[a-z_]+(\.[a-z_]+)+\|[^|]+(\|.*)?$"


class Allowance(Protocol):
    """An entry of the configuration that says what is fine."""

    name: str

    def covers(self, finding: Finding) -> bool:
        """True when the entry is in force at the finding's time, and about it."""
        ...


class Dismissal(Model):
    """One pattern that is not to be told until ``expires``, by whom, and why."""

    pattern: str = Field(pattern=_PATTERN, max_length=1000)
    reason: str = Field(min_length=3, max_length=500)
    owner: str = Field(min_length=1, max_length=200)
    made: Moment
    expires: Moment


class _Dismissals(Model):
    version: int = Field(default=1, ge=1, le=1)
    dismissals: tuple[Dismissal, ...] = ()

    @field_validator("dismissals")
    @classmethod
    def _are_few(cls, dismissals: tuple[Dismissal, ...]) -> tuple[Dismissal, ...]:
        if len(dismissals) > _DISMISSALS_MAX:
            raise ValueError(f"more than {_DISMISSALS_MAX} dismissals")
        return dismissals


class DismissalFile:
    """The dismissals of a site, in one private file; the latest of a pattern counts."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> tuple[Dismissal, ...]:
        """All of them, by pattern; none when there is no file.

        Raises:
            FormatError: the file is none of ours. TryAgainError: it cannot be read.
        """
        try:
            data = read_bounded(self._path, _SIZE_MAX)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise TryAgainError(f"{self._path}: {error.strerror}") from error
        except LimitError as error:
            raise FormatError(f"{self._path}: no dismissals: {error}") from error
        try:
            return _Dismissals.model_validate_json(data).dismissals
        except ValidationError as error:
            raise FormatError(f"{self._path}: no dismissals: {explain(error)}") from error

    def add(self, dismissal: Dismissal) -> None:
        """Put one in place of an earlier one of its pattern.

        Raises:
            RefusedError: there are too many. FormatError, TryAgainError: as :meth:`read`, or it cannot be written.
        """
        others = [one for one in self.read() if one.pattern != dismissal.pattern]
        if len(others) >= _DISMISSALS_MAX:
            raise RefusedError(f"{self._path}: {_DISMISSALS_MAX} patterns are dismissed; change a threshold instead")
        self._write([*others, dismissal])

    def withdraw(self, pattern: str) -> None:
        """Take one back.

        Raises:
            UsageError: there is none of this pattern.
        """
        before = self.read()
        left = [one for one in before if one.pattern != pattern]
        if len(left) == len(before):
            raise UsageError(f"no dismissal of {pattern!r} is on record")
        self._write(left)

    def _write(self, dismissals: Sequence[Dismissal]) -> None:
        ordered = sorted(dismissals, key=lambda one: one.pattern)
        value = _Dismissals(dismissals=tuple(ordered)).model_dump(mode="json")
        try:
            make_private_directory(self._path.parent)
            write_private(self._path, canonical.dumps(value))
        except OSError as error:
            raise TryAgainError(f"{self._path}: {error.strerror}") from error


class Quiet:
    """Holds back what is dismissed or allowed, and counts it."""

    def __init__(self, dismissals: Sequence[Dismissal] = (), allowed: Sequence[Allowance] = ()) -> None:
        self._dismissals = {one.pattern: one for one in dismissals}
        self._allowed = tuple(allowed)
        self._counts: Counter[str] = Counter()

    def covers(self, finding: Finding) -> bool:
        """True when the finding is not to be told; it is counted then."""
        dismissal = self._dismissals.get(pattern_of(finding))
        if dismissal is not None and finding.time < dismissal.expires:
            self._counts[f"dismissed {dismissal.pattern}"] += 1
            return True
        for allowance in self._allowed:
            if allowance.covers(finding):
                self._counts[f"allowed {allowance.name}"] += 1
                return True
        return False

    def counters(self) -> Mapping[str, int]:
        """How many findings each entry held back; entries that held back none are not in it."""
        return dict(sorted(self._counts.items()))
