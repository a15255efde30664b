"""The posture of this machine as one record: its tables, its drift from the baseline, its vulnerable packages.

One idea: each part is there or says why not. A machine without a configuration, a baseline or vulnerability data still
has a posture; what nobody compared is ``{"unavailable": reason}`` and never an empty list.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue

from govsec.assemble.guard import baseline_store, drift
from govsec.assemble.inventory import match_packages
from govsec.clock import Clock, format_time
from govsec.config import Config
from govsec.errors import CoverageError
from govsec.host.record import host_record
from govsec.host.tables import HostSnapshot
from govsec.progress import ProgressSink, silent

FORMAT = "govsec.posture.v1"


def posture_record(
    snapshot: HostSnapshot,
    clock: Clock,
    *,
    config: Config | None = None,
    data: Sequence[Path] = (),
    root: Path = Path("/"),
    progress: ProgressSink = silent,
) -> dict[str, JsonValue]:
    """The record that ``report/posture.py`` makes a page of. ``data``: files of vulnerability data.

    Raises:
        ConfigurationError, FormatError, LimitError: vulnerability data cannot be read, or are none.
        ConfigurationError, IntegrityError: there is a baseline, and it cannot be verified.
    """
    baseline, changes = _changes(config, clock, root, progress)
    return {
        "format": FORMAT,
        "version": importlib.metadata.version("govsec"),
        "organization": config.organization if config is not None else "",
        "host": host_record(snapshot),
        "baseline": baseline,
        "changes": changes,
        "vulnerabilities": _vulnerabilities(snapshot, data),
    }


def _changes(config: Config | None, clock: Clock, root: Path, progress: ProgressSink) -> tuple[JsonValue, JsonValue]:
    if config is None:
        return None, {"unavailable": "no configuration"}
    if baseline_store(config).digest() is None:
        return None, {"unavailable": "no baseline was accepted"}
    baseline, findings, _ = drift(config, clock, root=root, progress=progress)
    made = format_time(baseline.made)
    return {"number": baseline.number, "made": made, "made_by": baseline.made_by}, [
        finding.canonical() for finding in findings
    ]


def _vulnerabilities(snapshot: HostSnapshot, data: Sequence[Path]) -> JsonValue:
    if not data:
        return {"unavailable": "no vulnerability data were given"}
    try:
        return [finding.canonical() for finding in match_packages(snapshot, data).findings]
    except CoverageError as error:
        return {"unavailable": str(error)}
