"""What a replay can write beside its findings: events as JSON lines (EVE, OCSF), and the record of a report.

One idea: each is a sink of the sensor. Files of events appear under their name when all is in them, never half; a
record is plain JSON, and the report is made from it alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from pydantic import JsonValue

from govsec.assemble.monitor import Replay
from govsec.config import MonitorConfig
from govsec.detect.api import Observation, Sink
from govsec.detect.eve import EveWriter
from govsec.detect.hosts import Networks
from govsec.detect.ocsf import OcsfWriter
from govsec.errors import ConfigurationError
from govsec.net.traffic import CLASSES, Talkers, TrafficSeries
from govsec.records import Finding
from govsec.report.capture import FORMAT

#: Hosts that a report lists.
_TALKERS_MAX = 20


class _Writer(Protocol):
    def events(self, observation: Observation, findings: tuple[Finding, ...]) -> Iterator[dict[str, JsonValue]]: ...


class EventFile(Sink):
    """A file of events, one line of JSON each, mode 0600. A context manager: leaving it well puts the file in place.

    Raises:
        ConfigurationError: the file cannot be written.
    """

    def __init__(self, path: Path, writer: _Writer) -> None:
        self._path = path
        self._writer = writer
        self._new = path.with_name(f".{path.name}.{os.getpid()}.new")
        self.events_count = 0

    def __enter__(self) -> EventFile:
        def private(name: str, flags: int) -> int:
            return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

        try:
            self._new.unlink(missing_ok=True)  # left from a process of the same number that died
            self._file = open(self._new, "x", encoding="utf-8", opener=private)
        except OSError as error:
            raise self._unwritable(error) from error
        return self

    def take(self, observation: Observation, findings: tuple[Finding, ...]) -> None:
        try:
            for event in self._writer.events(observation, findings):
                self._file.write(json.dumps(event, ensure_ascii=True, separators=(",", ":")) + "\n")
                self.events_count += 1
        except OSError as error:
            raise self._unwritable(error) from error

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._file:
                if kind is None:
                    self._file.flush()
                    os.fsync(self._file.fileno())
            if kind is None:
                self._new.replace(self._path)
            else:
                self._new.unlink(missing_ok=True)
        except OSError as error:
            self._new.unlink(missing_ok=True)
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> ConfigurationError:
        return ConfigurationError(f"events file {self._path}: {error.strerror}")


def eve_file(path: Path) -> EventFile:
    """Events in Suricata's EVE format."""
    return EventFile(path, EveWriter())


def ocsf_file(path: Path, config: MonitorConfig) -> EventFile:
    """Events of the Open Cybersecurity Schema Framework."""
    return EventFile(path, OcsfWriter(Networks(config.home_networks)))


class Picture(Sink):
    """Traffic by time and by host: what a report draws."""

    def __init__(self) -> None:
        self._series = TrafficSeries()
        self._talkers = Talkers()

    def take(self, observation: Observation, findings: tuple[Finding, ...]) -> None:
        self._series.add(observation.packets)
        self._talkers.add(observation.flows.closed)

    def facts(self) -> dict[str, Any]:
        """Series and talkers as plain JSON; times in microseconds."""
        series = self._series.series()
        top = self._talkers.top(_TALKERS_MAX)
        return {
            "series": {
                "start_us": series.start_ns // 1000,
                "width_us": series.width_ns // 1000,
                "classes": list(CLASSES),
                "packets": [list(row) for row in series.packets],
                "bytes": [list(row) for row in series.bytes],
            },
            "hosts_count": sum(self._talkers.counters().values()),
            "talkers": [{name: getattr(talker, name) for name in talker.__slots__} for talker in top],
        }


def capture_record(path: Path, done: Replay, picture: Picture, *, organization: str = "") -> dict[str, Any]:
    """The record that a report on a capture is made from (``govsec.capture.v1``).

    Raises:
        ConfigurationError: the capture cannot be read again for its digest.
    """
    summary = {name: value for name, value in done.summary.items() if name not in ("first_ns", "last_ns")}
    moments = {
        f"{name}_us": None if done.summary[f"{name}_ns"] is None else int(str(done.summary[f"{name}_ns"])) // 1000
        for name in ("first", "last")
    }
    return {
        "format": FORMAT,
        "organization": organization,
        "version": version("govsec"),
        "file": {"name": path.name, **_size_and_digest(path)},
        "summary": summary | moments,
        **picture.facts(),
        "suppressed_count": _suppressed(done.counters),
        "findings": [finding.canonical() for finding in done.findings],
        "counters": {part: dict(counts) for part, counts in done.counters.items()},
    }


def _suppressed(counters: Mapping[str, Mapping[str, int]]) -> int:
    """Findings that rules of the site silenced."""
    return sum(counters.get("suppressed", {}).values())


def _size_and_digest(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return {"size_bytes": file.tell(), "sha256": digest}
    except OSError as error:
        raise ConfigurationError(f"capture {path}: {error.strerror}") from error
