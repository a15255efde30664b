"""From frames to findings in a test: decoded, put into flows, dissected, and shown to detectors, in batches cut
anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from pydantic import JsonValue

from govsec.config import MonitorConfig
from govsec.detect.api import Losses, Observation, at_end
from govsec.detect.engine import Engine
from govsec.detect.hosts import Networks
from govsec.detect.registry import Site, build_detectors
from govsec.dissect.dissect import Dissector
from govsec.findings.baseline import Baseline
from govsec.findings.judgement import pattern_of
from govsec.net.columns import FLOW, PACKETS_MAX, FlowUpdate, PacketBatch
from govsec.net.decode import Frames, decode
from govsec.net.flows import FlowTable
from govsec.net.gather import SLACK
from govsec.records import Finding
from govsec.testing.packets import Frame
from govsec.testing.trafficcases import CASES, build


@cache
def attack(name: str) -> tuple[Frame, ...]:
    """The frames of the attack of a case, built once."""
    return tuple(build(next(case.attack for case in CASES if case.name == name)))


def batch_of(frames: Sequence[Frame], *, first: int = 0) -> PacketBatch:
    """One batch; ``first`` is the position of its first packet."""
    sizes = np.array([len(frame.data) for frame in frames], dtype=np.uint32)
    offsets = np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))[: len(frames)].astype(np.int64)
    return decode(
        Frames(
            data=memoryview(b"".join(frame.data for frame in frames) + bytes(SLACK)),
            frame_offset=offsets,
            captured_size=sizes,
            wire_size=sizes,
            time_ns=np.array([frame.time_ns for frame in frames], dtype=np.int64),
            position=np.arange(first, first + len(frames), dtype=np.uint64),
        )
    )


def empty_observation(time_ns: int, losses: Losses | None = None) -> Observation:
    """Event time goes on, and nothing comes."""
    return observation(batch_of([]), time_ns, losses)


def observation(packets: PacketBatch, time_ns: int, losses: Losses | None = None) -> Observation:
    """Packets that belong to no flow: for detectors that work on columns."""
    none = np.zeros(0, dtype=FLOW)
    update = FlowUpdate(
        flow=np.zeros(len(packets), dtype=np.uint64),
        is_originator=np.ones(len(packets), dtype=np.bool_),
        opened=none,
        answered=none,
        closed=none,
        time_ns=time_ns,
    )
    return Observation(time_ns, packets, update, (), losses or Losses())


def found(
    frames: Sequence[Frame],
    *names: str,
    packets_max: int = PACKETS_MAX,
    site: Site | None = None,
    settings: Mapping[str, Mapping[str, JsonValue]] | None = None,
) -> list[Finding]:
    """What the detectors ``names`` (all when none is named) make of ``frames``, in batches of ``packets_max``."""
    site = site or Site(Networks(MonitorConfig().home_networks), Baseline())
    detectors = [one for one in build_detectors(settings or {}, site) if not names or one.name in names]
    assert len(detectors) == len(names) or not names, "no such detector"
    table, dissector, engine = FlowTable(), Dissector(), Engine(detectors)
    findings: list[Finding] = []
    batch = batch_of([])
    for start in range(0, len(frames), packets_max):
        batch = batch_of(frames[start : start + packets_max], first=start)
        update = table.add(batch)
        findings += engine.observe(Observation(update.time_ns, batch, update, dissector.observe(batch, update)))
    end = at_end(batch, table.finish(), Losses())
    findings += engine.observe(end)
    findings += engine.finish(end.time_ns)
    return sorted(findings, key=lambda finding: (finding.time, finding.kind, pattern_of(finding)))


def hosts_of(finding: Finding) -> set[str]:
    """All hosts that a finding names."""
    named = {finding.subject}
    for side in ("originators", "responders"):
        hosts = finding.facts.get(side, [])
        assert isinstance(hosts, list)
        named |= {str(host) for host in hosts}
    return named
