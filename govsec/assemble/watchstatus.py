"""How the watcher of a job stands, from what it wrote down: for people, programs and Prometheus. Asks no center."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from govsec.centers.lag import LagInterval
from govsec.clock import Clock
from govsec.errors import StoreUnavailableError
from govsec.records import Moment

if TYPE_CHECKING:
    from govsec.assemble.systems import Site
    from govsec.config import SystemConfig

_STATE_SIZE_MAX = 1 << 20
#: A watcher writes its state every twenty seconds; one that has not for so long is not there any more, or hangs.
_SILENT_S = 120.0


class WatchRecord(BaseModel):
    """What a watcher wrote down last (``<state_dir>/<system>/watch-<job>.json``)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = Field(default=1, ge=1, le=1)
    system: str
    job: str
    pid: int
    began: Moment
    time: Moment
    phase: str
    problem: str = ""
    problem_since: Moment | None = None
    unwatched: str = ""
    #: When a receipt came last, and how old its oldest change was then.
    last: Moment | None = None
    last_lag_s: float | None = None
    waiting_count: int = 0
    #: ``degraded`` while a center that should hold everything does not.
    reached: str = "synced"
    #: Since the last signing.
    lag: tuple[LagInterval, ...] = ()
    mounts: tuple[str, ...] = ()
    counts: Mapping[str, int] = Field(default_factory=dict)
    events: Mapping[str, int] = Field(default_factory=dict)

    def trouble(self, now: datetime) -> str:
        """Why a person is needed; empty when nobody is."""
        if self.phase == "stopped":
            return "stopped"
        silent_s = (now - self.time).total_seconds()
        if silent_s > _SILENT_S:
            return f"has not been heard of for {silent_s:.0f} s"
        behind = "degraded: a center does not hold what it should" if self.reached != "synced" else ""
        return self.problem or self.unwatched or behind

    @property
    def pack_size_mean(self) -> float:
        """Bytes of a pack that a window stored, on average; 0 without any."""
        return self.counts.get("packs_bytes", 0) / max(1, self.counts.get("packs", 0))


def state_path(site: Site, system: SystemConfig, job: str) -> Path:
    """Where a watcher writes how it stands."""
    return site.config.state_dir / system.name / f"watch-{job}.json"


def read_record(path: Path) -> WatchRecord | None:
    """What the watcher wrote; None when there never was one.

    Raises:
        StoreUnavailableError: the file cannot be read, or is none of a watcher.
    """
    try:
        with path.open("rb") as file:
            return WatchRecord.model_validate_json(file.read(_STATE_SIZE_MAX))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreUnavailableError(f"{path}: {os.strerror(error.errno or 0)}") from error
    except ValidationError as error:
        raise StoreUnavailableError(f"{path}: not the state of a watcher; remove it to begin anew") from error


def record_bytes(record: WatchRecord) -> bytes:
    """What is written down."""
    return json.dumps(record.model_dump(mode="json"), ensure_ascii=False, indent=1).encode() + b"\n"


_GAUGES = (
    ("up", "1 while the watcher lives and follows.", lambda record, now: int(not record.trouble(now))),
    ("silent_seconds", "Since the watcher was heard of.", lambda record, now: (now - record.time).total_seconds()),
    (
        "receipt_age_seconds",
        "Since the last receipt.",
        lambda record, now: None if record.last is None else (now - record.last).total_seconds(),
    ),
    ("receipt_lag_seconds", "Age of the oldest change at the last receipt.", lambda record, now: record.last_lag_s),
    (
        "waiting_snapshots",
        "Snapshots that are stored and have no commit yet.",
        lambda record, now: record.waiting_count,
    ),
    ("pack_bytes_mean", "Size of a pack that a window stored.", lambda record, now: record.pack_size_mean),
)


def as_prometheus(records: Sequence[WatchRecord], clock: Clock) -> str:
    """Watchers in the Prometheus text format, version 0.0.4; times are seconds."""
    now = clock.now()
    lines = []
    for name, words, value_of in _GAUGES:
        lines += [f"# HELP govsec_watch_{name} {words}", f"# TYPE govsec_watch_{name} gauge"]
        for record in records:
            value = value_of(record, now)
            if value is not None:
                lines.append(f"govsec_watch_{name}{{{_labels(record)}}} {value:.10g}")
    for name in sorted({name for record in records for name in record.counts}):
        lines += [
            f"# HELP govsec_watch_{name}_total Since the watcher began.",
            f"# TYPE govsec_watch_{name}_total counter",
        ]
        lines += [
            f"govsec_watch_{name}_total{{{_labels(record)}}} {record.counts[name]}"
            for record in records
            if name in record.counts
        ]
    lines += [
        "# HELP govsec_watch_lag_seconds Measured since the last signing.",
        "# TYPE govsec_watch_lag_seconds gauge",
    ]
    for record in records:
        for interval in record.lag:
            for what, value in (("p50", interval.p50_ms), ("p95", interval.p95_ms), ("max", interval.max_ms)):
                labels = f'{_labels(record)},center="{_escaped(interval.center)}",of="{what}"'
                lines.append(f"govsec_watch_lag_seconds{{{labels}}} {value / 1000:.10g}")
    return "\n".join(lines) + "\n"


def _labels(record: WatchRecord) -> str:
    return f'system="{_escaped(record.system)}",job="{_escaped(record.job)}"'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
