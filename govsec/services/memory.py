"""What is remembered of a service between probes: the last outcomes, and the figures of the hour that runs.

One idea: a probe may be one call from cron or the hundredth of an agent; what it must know of those before lies in one
small private file, written whole. What an hour came to goes to the baseline when the hour is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import median

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from govsec.config import explain
from govsec.errors import FormatError, LimitError, TryAgainError
from govsec.findings.baseline import Baseline
from govsec.localfile import read_bounded
from govsec.privatefile import make_private_directory, write_private

_SIZE_MAX = 128 << 20
#: Of an hour and a metric; a median needs no more.
_SAMPLES_MAX = 120
_RECENT_MAX = 20


class Reading(BaseModel):
    """A counter as it stood."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    time_ns: int
    value: float


class ServiceMemory(BaseModel):
    """Of one service. Keys are ``family step`` or names of signals."""

    model_config = ConfigDict(extra="forbid")

    #: True for an attempt that passed, newest last.
    outcomes: dict[str, list[bool]] = Field(default_factory=dict)
    hour: int = 0
    #: Figures of this hour, by subject and metric.
    samples: dict[str, dict[str, list[float]]] = Field(default_factory=dict)
    #: The newest figures, over the end of hours.
    recent: dict[str, list[float]] = Field(default_factory=dict)
    readings: dict[str, Reading] = Field(default_factory=dict)
    dropped_count: int = 0
    #: What is wrong and lasts, and since when, in ns: an outage, an altered page.
    lasting: dict[str, int] = Field(default_factory=dict)

    def outcome(self, key: str, *, has_passed: bool, of: int) -> list[bool]:
        """Add an outcome; gives the last ``of``."""
        known = [*self.outcomes.get(key, []), has_passed][-max(of, 1) :]
        self.outcomes[key] = known
        return known

    def sample(self, subject: str, metric: str, value: float, *, of: int) -> list[float]:
        """Add a figure of this hour; gives the last ``of`` of this metric."""
        value = float(f"{value:.6g}")
        values = self.samples.setdefault(subject, {}).setdefault(metric, [])
        if len(values) < _SAMPLES_MAX:
            values.append(value)
        else:
            self.dropped_count += 1
        key = f"{subject} {metric}"
        self.recent[key] = [*self.recent.get(key, []), value][-min(of, _RECENT_MAX) :]
        return self.recent[key]

    def of_hour(self, subject: str, metric: str) -> list[float]:
        """The figures of this hour so far."""
        return self.samples.get(subject, {}).get(metric, [])

    def roll(self, hour: int, baseline: Baseline, service: str) -> None:
        """Begin an hour: what the one before came to is usual from now on. A clock that ran back begins nothing.

        Raises:
            FormatError, TryAgainError: the baseline cannot be used.
        """
        if hour <= self.hour:
            return
        sums = {
            (f"{service} {subject}", metric): sum(values) / len(values) if metric == "errors" else median(values)
            for subject, metrics in self.samples.items()
            for metric, values in metrics.items()
            if values
        }
        if sums:
            baseline.add(self.hour, sums)
        self.hour, self.samples = hour, {}


class _Memories(BaseModel):
    model_config = ConfigDict(extra="forbid")
    version: int = Field(default=1, ge=1, le=1)
    services: dict[str, ServiceMemory] = Field(default_factory=dict)


class MemoryFile:
    """The memories of a site's services, in one private file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, ServiceMemory]:
        """By service; nothing when there is no file.

        Raises:
            FormatError: the file is none of ours. TryAgainError: it cannot be read.
        """
        try:
            data = read_bounded(self._path, _SIZE_MAX)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise TryAgainError(f"{self._path}: {error.strerror}") from error
        except LimitError as error:
            raise FormatError(f"{self._path}: no memory of services: {error}") from error
        try:
            return _Memories.model_validate_json(data).services
        except ValidationError as error:
            raise FormatError(f"{self._path}: no memory of services: {explain(error)}") from error

    def write(self, memories: Mapping[str, ServiceMemory]) -> None:
        """Keep these; on the disk when this returns.

        Raises:
            TryAgainError: it cannot be written. LimitError: it would be more than is read again. What was there is
            still there then.
        """
        data = _Memories(services=dict(memories)).model_dump_json().encode()
        if len(data) > _SIZE_MAX:
            raise LimitError(f"{self._path}: more than {_SIZE_MAX} bytes of figures; ask fewer services, or less often")
        try:
            make_private_directory(self._path.resolve().parent)
            write_private(self._path, data)
        except OSError as error:
            raise TryAgainError(f"{self._path}: {error.strerror}") from error
