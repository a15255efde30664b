"""The part of the demo in which the sensor reads the traffic of the day: an intruder is found, and a report written.

Nothing here is special to the demo but the traffic: it calls what ``govsec monitor replay --report`` calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from govsec.assemble.captureoutputs import Picture, capture_record
from govsec.assemble.demo import Tell
from govsec.assemble.monitor import replay
from govsec.assemble.samplecapture import write_capture
from govsec.clock import Clock
from govsec.config import load_config
from govsec.errors import ConfigurationError
from govsec.privatefile import write_private
from govsec.progress import ProgressSink, silent
from govsec.records import Finding
from govsec.report.capture import render_capture

_LANGS = ("zh", "en")
_BEFORE = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class DemoCapture:
    """What the sensor found, and where that stands."""

    capture: Path
    findings: tuple[Finding, ...]
    reports: tuple[Path, ...]


def watch_demo(config_path: Path, clock: Clock, *, tell: Tell, progress: ProgressSink = silent) -> DemoCapture:
    """Write the sample traffic, replay it, and write the reports.

    Raises:
        GovsecError: as a replay raises it, or a file cannot be written.
    """
    site, directory = load_config(config_path), config_path.parent
    capture, picture = directory / "traffic.pcap", Picture()
    try:
        packets_count = write_capture(capture, clock.now() - _BEFORE)
        done = replay(capture, site.monitor, [picture], progress=progress)
        record = capture_record(capture, done, picture, organization=site.organization)
        (directory / "reports").mkdir(mode=0o700, exist_ok=True)
        reports = []
        for lang in _LANGS:
            path = directory / "reports" / f"traffic.{lang}.html"
            write_private(path, render_capture(record, "zh" if lang == "zh" else "en").encode())
            reports.append(path)
    except OSError as error:
        raise ConfigurationError(f"{directory}: {error.strerror}") from error
    hosts = sorted({finding.subject for finding in done.findings})
    tell(
        "watched",
        {"packets_count": packets_count, "findings_count": len(done.findings), "hosts": ", ".join(hosts) or "–"},
    )
    return DemoCapture(capture, done.findings, tuple(reports))
