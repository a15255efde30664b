"""A capture for a person's eyes: its flows, its talkers, its course in time. No detector runs for the first two."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from govsec.config import MonitorConfig
from govsec.net import addresses
from govsec.net.addresses import Prefix
from govsec.net.capturefile import CaptureFile
from govsec.net.columns import FlowEnd, FlowRecords, FlowState, PacketBatch, Protocol
from govsec.net.community import community_ids
from govsec.net.flows import FlowTable
from govsec.net.traffic import Series, Talker, Talkers, TrafficSeries
from govsec.progress import Progress, ProgressSink, silent


@dataclass(frozen=True, slots=True)
class Flow:
    """One row of the flow table; a long flow has several. Sizes are bytes on the wire."""

    first_ns: int
    duration_s: float
    protocol: str
    originator: str
    originator_port: int
    responder: str
    responder_port: int
    state: str
    end: str
    packets: int
    bytes_sent: int
    bytes_received: int
    community_id: str


@dataclass(frozen=True, slots=True)
class Flows:
    """The chosen flows, and how many there were of them in all."""

    flows: tuple[Flow, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Course:
    """Traffic by time, talkers, and what each part counted."""

    series: Series
    talkers: tuple[Talker, ...]
    counters: Mapping[str, Mapping[str, int]]


def flows_of(
    path: Path,
    config: MonitorConfig,
    *,
    network: Prefix | None = None,
    count: int = 50,
    progress: ProgressSink = silent,
) -> Flows:
    """The ``count`` largest flows by bytes, of hosts in ``network`` where one is named; largest first.

    Raises:
        ConfigurationError: the file cannot be read. FormatError: it is no capture.
    """
    largest: list[tuple[int, int, dict[str, Any], str]] = []
    total = 0
    for _, closed in _read(path, config, {}, progress):
        if network is not None:
            closed = closed[
                network.holds(closed["originator_hi"], closed["originator_lo"])
                | network.holds(closed["responder_hi"], closed["responder_lo"])
            ]
        names = closed.dtype.names or ()
        for values, community in zip(closed.tolist(), community_ids(closed), strict=True):
            row = dict(zip(names, values, strict=True))
            total += 1
            # Equal sizes keep the order of the capture: the earlier row stays.
            item = (row["bytes_originator"] + row["bytes_responder"], -total, row, community)
            if len(largest) < count:
                heapq.heappush(largest, item)
            elif item[:2] > largest[0][:2]:
                heapq.heapreplace(largest, item)
    ranked = sorted(largest, key=lambda item: item[:2], reverse=True)
    return Flows(tuple(_flow(row, community) for _, _, row, community in ranked), total)


def course_of(path: Path, config: MonitorConfig, *, count: int = 20, progress: ProgressSink = silent) -> Course:
    """Traffic by time and the ``count`` hosts that talked most.

    Raises:
        ConfigurationError: the file cannot be read. FormatError: it is no capture.
    """
    series, talkers, counters = TrafficSeries(), Talkers(), dict[str, Mapping[str, int]]()
    for batch, closed in _read(path, config, counters, progress):
        if batch is not None:
            series.add(batch)
        talkers.add(closed)
    return Course(series.series(), talkers.top(count), counters | {"talkers": talkers.counters()})


def _read(
    path: Path, config: MonitorConfig, counters: dict[str, Mapping[str, int]], progress: ProgressSink
) -> Iterator[tuple[PacketBatch | None, FlowRecords]]:
    """Batches with the flows that ended with them; last, those that were still open."""
    capture, table, packets = CaptureFile(path), FlowTable(config.flows_max), 0
    for batch in capture.batches():
        yield batch, table.add(batch).closed
        packets += len(batch)
        progress(Progress("replay", done_items=packets, current=path.name))
    yield None, table.finish().closed
    counters |= {"capture": capture.counters(), "flows": table.counters()}


def _flow(row: Mapping[str, Any], community: str) -> Flow:
    return Flow(
        first_ns=row["first_ns"],
        duration_s=round((row["last_ns"] - row["first_ns"]) / 1e9, 6),
        protocol=protocol_name(row["protocol"]),
        originator=addresses.format(row["originator_hi"], row["originator_lo"]),
        originator_port=row["originator_port"],
        responder=addresses.format(row["responder_hi"], row["responder_lo"]),
        responder_port=row["responder_port"],
        state=FlowState(row["state"]).name.lower(),
        end=FlowEnd(row["end"]).name.lower(),
        packets=row["packets_originator"] + row["packets_responder"],
        bytes_sent=row["bytes_originator"],
        bytes_received=row["bytes_responder"],
        community_id=community,
    )


def protocol_name(number: int) -> str:
    """The name of a protocol that is read, else its number."""
    return Protocol(number).name.lower() if number in set(Protocol) else str(number)
