"""The network sensor put together: packets, flows, messages and detectors, from the configuration.

One idea: a capture file and an interface give the same batches, so one :class:`Sensor` serves both; here it is fed
from a file. Nothing but the packets decides what comes out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from govsec.config import MonitorConfig
from govsec.detect.allowances import allowances_of
from govsec.detect.api import Losses, Observation, Sink, at_end
from govsec.detect.engine import Engine
from govsec.detect.hosts import Networks
from govsec.detect.registry import Site, build_detectors
from govsec.dissect.dissect import DissectLimits, Dissector
from govsec.errors import FormatError
from govsec.findings.baseline import Baseline
from govsec.findings.quiet import Quiet
from govsec.net.capturefile import CaptureFile
from govsec.net.columns import PacketBatch
from govsec.net.flows import FlowTable
from govsec.net.summary import FlowSummary
from govsec.progress import Progress, ProgressSink, silent
from govsec.records import Finding

#: Of a packet in a pcap file; in pcapng it is a little more.
_RECORD_HEADER_SIZE = 16


class Sensor:
    """Flow table, dissector and detectors, fed with batches.

    Raises:
        ConfigurationError: a setting of a detector is wrong, or a list of indicators cannot be read.
    """

    def __init__(
        self,
        config: MonitorConfig,
        *,
        baseline: Baseline | None = None,
        quiet: Quiet | None = None,
        limits: DissectLimits | None = None,
        sinks: Sequence[Sink] = (),
    ) -> None:
        site = Site(Networks(config.home_networks), baseline or Baseline(), config.indicators)
        self._flows = FlowTable(config.flows_max)
        self._dissector = Dissector(limits)
        self._sinks = tuple(sinks)
        self.engine = Engine(
            build_detectors(config.detectors, site), quiet=quiet or Quiet(allowed=allowances_of(config.allow))
        )
        self.summary = FlowSummary()

    def take(
        self, batch: PacketBatch, losses: Losses | None = None, *, is_dissected: bool = True
    ) -> tuple[Finding, ...]:
        """What is sure after this batch.

        ``losses``: of a live source. ``is_dissected`` false: conversations in it are not read, to save time.
        """
        update = self._flows.add(batch)
        messages = self._dissector.observe(batch, update) if is_dissected else ()
        observation = Observation(update.time_ns, batch, update, messages, self._with_flows(losses or Losses()))
        return self._give(observation, self.engine.observe(observation))

    def finish(self, last: PacketBatch, losses: Losses | None = None) -> tuple[Finding, ...]:
        """No more packets come after the batch ``last``: what open flows, and then the detectors, have to say."""
        end = at_end(last, self._flows.finish(), self._with_flows(losses or Losses()))
        return self._give(end, (*self.engine.observe(end), *self.engine.finish(end.time_ns)))

    def _give(self, observation: Observation, findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
        self.summary.add(observation.packets, observation.flows.closed)
        for sink in self._sinks:
            sink.take(observation, findings)
        return findings

    def counters(self) -> dict[str, dict[str, int]]:
        """What every part did, left out and lost."""
        return {
            "flows": dict(self._flows.counters()),
            "dissector": dict(self._dissector.counters),
            **self.engine.counters(),
        }

    def _with_flows(self, losses: Losses) -> Losses:
        return replace(losses, flows_evicted=self._flows.counters()["flows_evicted"])


@dataclass(frozen=True, slots=True)
class Replay:
    """What a capture file held. ``damage``: why it was read no further than to some packet; empty for a sound file."""

    findings: tuple[Finding, ...]
    summary: Mapping[str, object]
    counters: Mapping[str, Mapping[str, int]]
    damage: str = ""


def replay(
    path: Path,
    config: MonitorConfig,
    sinks: Sequence[Sink] = (),
    *,
    baseline: Baseline | None = None,
    quiet: Quiet | None = None,
    progress: ProgressSink = silent,
) -> Replay:
    """Findings and summary of a capture file: the same file gives the same result, byte for byte.

    ``sinks`` are given what the detectors are given, and what they found. ``baseline`` is learned from and added to (by
    default one in memory, empty); ``quiet`` holds back what the site has dismissed (by default what it allows).

    Raises:
        ConfigurationError: the file or a setting cannot be used.
        FormatError: it is no capture, or its first packet is broken. What comes before a broken packet is judged.
    """
    sensor, capture = Sensor(config, baseline=baseline, quiet=quiet, sinks=sinks), _Sound(CaptureFile(path))
    findings = list(_findings(sensor, _told(capture.batches(), path, progress)))
    findings.sort(key=lambda finding: (finding.time, finding.kind, str(finding.facts["pattern"])))
    counters = {"capture": capture.counters(), **sensor.counters()}
    return Replay(tuple(findings), sensor.summary.facts(), counters, capture.damage)


class _Sound:
    """A capture file as far as it can be read."""

    def __init__(self, capture: CaptureFile) -> None:
        self._capture = capture
        self.damage = ""

    def batches(self) -> Iterator[PacketBatch]:
        try:
            yield from self._capture.batches()
        except FormatError as error:
            if not self._capture.counters()["packets"]:
                raise
            self.damage = str(error)

    def counters(self) -> dict[str, int]:
        return self._capture.counters() | {"records_broken": int(bool(self.damage))}


def _told(batches: Iterator[PacketBatch], path: Path, progress: ProgressSink) -> Iterator[PacketBatch]:
    """The batches, and how much of the file they come from (record headers taken as those of pcap)."""
    done_bytes, packets = 0, 0
    total_bytes = path.stat().st_size if path.is_file() else None
    for batch in batches:
        yield batch
        packets += len(batch)
        done_bytes += int(batch.captured_size.sum(dtype="i8")) + _RECORD_HEADER_SIZE * len(batch)
        progress(Progress("replay", done_bytes, total_bytes, packets, None, path.name))


def _findings(sensor: Sensor, batches: Iterator[PacketBatch]) -> Iterator[Finding]:
    last: PacketBatch | None = None
    for batch in batches:
        last = batch
        yield from sensor.take(batch)
    if last is not None:
        yield from sensor.finish(last)
