"""Slow scan: the breadth of a scan spread over hours, so that no minute of it looks like one (ATT&CK T1046).

Idea: a port or a host every few minutes passes under every short window, but in six hours it still adds up to thirty
different closed doors behind one wall (ports of a host) or in one street (one port of many hosts). Peer-to-peer
programs also meet thousands of absent hosts, each at a port of its own: no structure, no finding. Lone ACKs count where
no remains of connections look like them (``loneacks``). What was answered is counted in a sketch of constant size,
which can only err to the side of silence.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from govsec.detect.api import Observation
from govsec.detect.attempts import ATTEMPT, attempts, responders
from govsec.detect.hosts import Networks
from govsec.detect.judgement import judge
from govsec.detect.loneacks import is_refused, without_remains_of_pairs, without_remains_of_streets
from govsec.detect.scan import Breadth, broad, evidence_of, originator_of, responders_of, severity_of
from govsec.detect.windows import U64, EventWindow, Rows, mix
from govsec.findings.api import SECOND_NS, Settings
from govsec.findings.judgement import Measure
from govsec.net.columns import Protocol
from govsec.records import Finding

KIND = "net.scan.slow"
_STEP_S = 300
_SLOTS = 6
#: Answered tries are counted by key in this many cells a slot: 6 MiB in all, and a cell for each pair of a large site.
_CELLS = 1 << 18


class ScanSlowSettings(Settings):
    """A scan over hours."""

    goals_min: int = Field(
        default=30, ge=5, description="different ports of one host, or hosts on one port, that did not answer"
    )
    web_hosts_min: int = Field(
        default=200, ge=5, description="the same for hosts on ports 80 and 443: browsers meet dead links all day"
    )
    unanswered_min: float = Field(
        default=0.8, ge=0, le=1, description="share without answer; over hours an honest client succeeds mostly"
    )
    window_s: int = Field(
        default=6 * 3600, ge=1800, le=86_400, description="a try every five minutes (nmap -T0) makes 72 in six hours"
    )
    burst_max: float = Field(
        default=0.34, gt=0, le=1, description="share of the goals in the densest minute; above it is no slow scan"
    )
    tries_max: int = Field(default=131_072, ge=4096, description="different unanswered tries kept")


class ScanSlow:
    """Scans that take hours."""

    name = "scan_slow"

    def __init__(self, settings: ScanSlowSettings, home: Networks) -> None:
        self._settings = settings
        self._home = home
        self._span = settings.window_s * SECOND_NS
        self._fresh = EventWindow(span_ns=_STEP_S * SECOND_NS, step_ns=_STEP_S * SECOND_NS, rows_max=settings.tries_max)
        self._kept: Rows = np.zeros(0, dtype=ATTEMPT)
        self._answered = _Answered(self._span // _SLOTS)
        self._dropped_count = 0
        self.cooldown_s = max(settings.cooldown_s, settings.window_s)

    def observe(self, observation: Observation) -> Iterator[Finding]:
        times, rows = attempts(observation.flows.closed, (Protocol.TCP, Protocol.UDP))
        steps = times // (_STEP_S * SECOND_NS)
        cuts = [0, *(np.flatnonzero(np.diff(steps)) + 1).tolist(), len(times)] if len(times) else [0]
        # Step by step: what was answered after a moment must not count at it.
        for low, high in itertools.pairwise(cuts):
            part = rows[low:high]
            is_probe = part["is_probe"] & part["is_unanswered"]
            for moment, fresh in self._fresh.advance(int(times[low])):
                yield from self._judge(moment, fresh)
            self._answered.add(times[low:high][~is_probe], part[~is_probe])
            yield from self._take(times[low:high][is_probe], part[is_probe])
        for moment, fresh in self._fresh.advance(observation.time_ns):
            yield from self._judge(moment, fresh)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        for moment, fresh in self._fresh.finish():
            yield from self._judge(min(moment, time_ns), fresh)

    def state(self) -> Mapping[str, int]:
        return {"tries_kept": len(self._kept), "tries_dropped": self._dropped_count + self._fresh.dropped_count}

    def _take(self, times: NDArray[np.int64], probes: Rows) -> Iterator[Finding]:
        for moment, fresh in self._fresh.add(times, probes):
            yield from self._judge(moment, fresh)

    def _judge(self, time_ns: int, fresh: Rows) -> Iterator[Finding]:
        self._keep(time_ns, fresh)
        rows, settings = self._kept, self._settings
        if len(rows) < settings.goals_min:
            return
        least_ports = np.full(len(rows), settings.goals_min)
        least_hosts = np.where(np.isin(rows["responder_port"], (80, 443)), settings.web_hosts_min, settings.goals_min)
        pairs, streets = _pairs(rows), _streets(rows)
        refusing = streets[is_refused(rows)]
        for keys, goals, count_min, unit, counted in (
            (pairs, mix(rows["responder_port"]), least_ports, "ports", without_remains_of_pairs(rows, pairs)),
            (streets, responders(rows), least_hosts, "hosts", without_remains_of_streets(rows, streets, refusing)),
        ):
            for scans in broad(
                rows[counted],
                keys[counted],
                goals[counted],
                count_min=count_min[counted],
                unanswered_min=settings.unanswered_min,
            ):
                for scan in scans:
                    yield from self._finding(time_ns, scan, unit)

    def _finding(self, time_ns: int, scan: Breadth, unit: str) -> Iterator[Finding]:
        settings, rows = self._settings, scan.rows
        key = (_pairs if unit == "ports" else _streets)(rows[:1])
        ratio = scan.count / (scan.count + self._answered.count(key, time_ns))
        per_minute = np.bincount((rows["first_ns"] - rows["first_ns"].min()) // (60 * SECOND_NS))
        if ratio < settings.unanswered_min or per_minute.max() > settings.burst_max * scan.count:
            return
        originator, victims = originator_of(rows), responders_of(rows)
        hours = (int(rows["last_ns"].max()) - int(rows["first_ns"].min())) / (3600 * SECOND_NS)
        what = f"ports of {victims[0]}" if unit == "ports" else f"hosts on port {int(rows['responder_port'][0])}"
        yield judge(
            kind=KIND,
            detector=self.name,
            severity=severity_of(rows, self._home),
            time_ns=time_ns,
            subject=originator,
            summary=f"{originator} tried {scan.count} different {what} over {hours:.1f} h (threshold "
            f"{settings.goals_min}), "
            f"at most {per_minute.max()} a minute; {ratio:.0%} were unanswered.",
            pattern=(originator, victims[0] if unit == "ports" else int(rows["responder_port"][0])),
            attack=("T1046",),
            originators=(originator,),
            responders=victims,
            ports=rows["responder_port"].tolist(),
            measured={
                unit: Measure(scan.count, settings.goals_min, unit),
                "unanswered_ratio": Measure(ratio, settings.unanswered_min),
                "duration": Measure(hours, settings.window_s / 3600, "h"),
                "densest_minute": Measure(int(per_minute.max()), settings.burst_max * scan.count, unit),
            },
            evidence=evidence_of([rows]),
            facts={"how": unit, "is_ack": bool(rows["is_ack"].all())},
        )

    def _keep(self, time_ns: int, fresh: Rows) -> None:
        """Take in new tries: each different one once, with its first moment, for the span of the window."""
        rows = np.concatenate([self._kept, fresh])
        rows = rows[rows["first_ns"] > time_ns - self._span]
        goal = mix(_pairs(rows), rows["responder_port"], rows["is_ack"])
        _, first = np.unique(goal, return_index=True)
        rows = rows[np.sort(first)]
        # The oldest go: a flood of forged tries must not keep new ones out for hours.
        excess = max(0, len(rows) - self._settings.tries_max)
        self._dropped_count += excess
        self._kept = rows[excess:]


class _Answered:
    """How many answered tries a key had within the last slots of time; never too few, by collision too many."""

    def __init__(self, slot_ns: int) -> None:
        self._slot_ns = slot_ns
        # Two bytes a cell: a count that large is answered often enough, whatever it is exactly.
        self._counts = np.zeros((_SLOTS + 1, _CELLS), dtype=np.uint16)
        self._slot = -1

    def add(self, times: NDArray[np.int64], rows: Rows) -> None:
        if not len(rows):
            return
        slots = np.maximum.accumulate(np.maximum(times // self._slot_ns, self._slot))
        for slot in np.unique(slots).tolist():
            self._turn(slot)
            part = rows[slots == slot]
            row = self._counts[slot % len(self._counts)]
            for keys in (_pairs(part), _streets(part)):
                cells, more = np.unique(_cell(keys), return_counts=True)
                row[cells] = np.minimum(row[cells] + more, np.iinfo(np.uint16).max)

    def count(self, key: U64, time_ns: int) -> int:
        self._turn(max(self._slot, time_ns // self._slot_ns))
        return int(self._counts[:, _cell(key)[0]].sum())

    def _turn(self, slot: int) -> None:
        for old in range(max(self._slot + 1, slot - _SLOTS), slot + 1):
            self._counts[old % len(self._counts)] = 0
        self._slot = slot


def _pairs(rows: Rows) -> U64:
    return mix(
        rows["originator_hi"], rows["originator_lo"], rows["responder_hi"], rows["responder_lo"], rows["protocol"]
    )


def _streets(rows: Rows) -> U64:
    return mix(rows["originator_hi"], rows["originator_lo"], rows["responder_port"], rows["protocol"])


def _cell(keys: U64) -> NDArray[np.intp]:
    return (keys >> np.uint64(64 - 18)).astype(np.intp)
