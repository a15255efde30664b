"""The flow table: packets become flows of both directions, in a fixed amount of memory, by event time only.

One idea: the packets of a batch are sorted by key, cut into stretches that belong to one flow each (``flowsplit``),
summed up stretch by stretch (``flowsums``), and each sum is added to a row. So the work for a packet is a few numbers
in arrays, and a flow is the same wherever batches are cut.

Who is the originator: the sender of the SYN; of a SYN-ACK, RST or ICMP reply that comes first, the receiver
(backscatter); of a TCP connection picked up in mid-stream, the side without a well-known port; else the sender of the
first packet. Fragments behind the first one have no ports: they make a flow of their own, with ports 0.

Bounded: at most ``capacity`` rows. When they are used up, those that would end soonest are given up and counted. Of the
new flows in one second of event time, ``new_flows_max`` are kept and of the others one in 64, chosen by key; what comes
in packets without a flow is counted in ``sketch``.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from govsec.net.columns import FLOW, I8, PACKETS_MAX, U8, Bools, FlowEnd, FlowRecords, FlowUpdate, PacketBatch, Protocol
from govsec.net.eventclock import EventClock
from govsec.net.flowkeys import FlowKeys, KeyDigest
from govsec.net.flowplan import Plan, make_plan
from govsec.net.flowrows import TimeOuts, ends_by_silence, join, put, take, to_flow
from govsec.net.flowstore import FlowStore
from govsec.net.flowsums import GOES_ON, NEW, PART, Sums, new_rows, sum_up
from govsec.net.sketch import Sketch

#: Below, a table would take batches in pieces that are not worth the work.
CAPACITY_MIN = 16_384
SECOND_NS = 1_000_000_000
_SAMPLE_FACTORS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))
_SAMPLE_SHIFT = np.uint64(58)
_HALF = np.uint64(32)
_BY_SILENCE = np.uint64(1 << 63)


class FlowTable:
    """Add batches in order; what became of flows comes back with each. Times are seconds of event time."""

    def __init__(
        self,
        capacity: int = 262_144,
        *,
        idle_tcp_s: float = 300,
        idle_udp_s: float = 60,
        idle_other_s: float = 30,
        short_s: float = 5,
        active_s: float = 300,
        new_flows_max: int = 20_000,
    ) -> None:
        if capacity < CAPACITY_MIN:
            raise ValueError(f"a flow table has {CAPACITY_MIN} rows at least, not {capacity}")
        #: As many new flows as there may be in so many packets have room.
        self._absorbed_max = min(capacity, PACKETS_MAX)
        idle_ns = np.full(256, int(idle_other_s * SECOND_NS), np.int64)
        idle_ns[Protocol.TCP], idle_ns[Protocol.UDP] = int(idle_tcp_s * SECOND_NS), int(idle_udp_s * SECOND_NS)
        self._time_outs = TimeOuts(idle_ns, int(short_s * SECOND_NS), int(active_s * SECOND_NS))
        self._store = FlowStore(capacity)
        self._clock = EventClock()
        self._digest = KeyDigest()
        self._sketch = Sketch()
        self._new_flows_max = new_flows_max
        self._second = -1
        #: Flows that began in that second, and that were kept without being chosen for the sample.
        self._second_new = 0
        self._flood_second = -1
        self._last_id = 0
        self._latest_ns = 0
        self._counters = dict.fromkeys(
            ("packets", "packets_not_ip", "packets_sketched", "flows", "flows_evicted", "flows_not_kept"), 0
        )

    def __len__(self) -> int:
        return len(self._store)

    def counters(self) -> dict[str, int]:
        """What was done since the beginning, by name. ``flows_not_kept``: beginnings of flows beyond what is kept."""
        return {**self._counters, "flows_open": len(self._store), "clock_steps": self._clock.steps}

    def add(self, batch: PacketBatch) -> FlowUpdate:
        """Take a batch in; gives each packet's flow, and the flows that began, were answered and ended with it."""
        outcome = _Outcome(len(batch))
        lost = self._lost()
        if len(batch):
            clock = self._clock.read(batch.time_ns)
            self._latest_ns = max(self._latest_ns, int(batch.time_ns.max()))
            keys = self._digest.keys(batch)
            self._counters["packets"] += len(batch)
            self._counters["packets_not_ip"] += len(batch) - len(keys.packets)
            if len(keys.packets) < len(batch):
                clock = clock[keys.packets]
            for first in range(0, len(clock), self._absorbed_max):
                chosen = slice(first, min(first + self._absorbed_max, len(clock)))
                self._absorb(batch, keys, clock, chosen, outcome)
        self._expire(outcome, self._clock.now)
        return self._update(outcome, self._lost() > lost)

    def finish(self) -> FlowUpdate:
        """Close everything: the capture is at its end. The table is empty then, and may be used on."""
        outcome = _Outcome(0)
        self._expire(outcome, self._clock.now)
        places = self._store.places()
        flows = to_flow(self._store.rows(places))
        end = ends_by_silence(flows)
        flows["end"] = np.where(end == FlowEnd.IDLE, FlowEnd.FINISHED, end)
        flows["end_ns"] = self._latest_ns
        outcome.close(flows, np.full(len(flows), self._clock.now, np.int64))
        self._store.remove(places)
        return self._update(outcome, False)

    def _lost(self) -> int:
        return self._counters["flows_evicted"] + self._counters["flows_not_kept"]

    def _update(self, outcome: _Outcome, is_degraded: bool) -> FlowUpdate:
        opened, answered, closed = outcome.opened(), outcome.answered(), outcome.closed()
        is_flood = self._flood_second >= 0 and self._clock.now // SECOND_NS <= self._flood_second + 1
        if not is_flood and self._flood_second >= 0:
            self._flood_second = -1
            self._sketch.clear()
        return FlowUpdate(
            flow=outcome.flow,
            is_originator=outcome.is_originator,
            opened=opened,
            answered=answered,
            closed=closed,
            time_ns=self._latest_ns,
            degraded=is_degraded or is_flood,
            sketch=self._sketch.summary() if is_flood else None,
        )

    def _absorb(self, batch: PacketBatch, keys: FlowKeys, clock: I8, chosen: slice, outcome: _Outcome) -> None:
        """Take in the packets ``chosen`` of ``keys``, in order of capture."""
        plan = make_plan(batch, keys, clock, chosen, self._store, self._time_outs)
        stretches = plan.stretches
        is_new = np.flatnonzero(stretches.kind == NEW)
        is_new = is_new[np.argsort(plan.order[stretches.starts[is_new]])]
        seconds = stretches.packets.clock[stretches.starts[is_new]] // SECOND_NS
        if not self._fits(seconds):
            edges = chosen.start + 1 + np.flatnonzero(np.diff(clock[chosen] // SECOND_NS))
            if len(edges):
                # What is kept depends on how many began in the second: then each second is taken by itself.
                for start, end in pairwise((chosen.start, *edges.tolist(), chosen.stop)):
                    self._absorb(batch, keys, clock, slice(start, end), outcome)
                return
        replaced = self._replaced(plan)
        # Mostly each key has one stretch; then these are its rows already.
        rows = plan.rows if len(plan.rows) == len(stretches.key) else take(plan.rows, stretches.key)
        put(rows, is_new, new_rows(stretches, is_new, keys, plan.order))
        self._admit(rows, is_new, seconds)
        sums = sum_up(stretches, rows, is_new, plan.syns, self._time_outs)
        packets = stretches.packets.packets
        flow = np.repeat(rows["id"], stretches.sizes())
        outcome.flow[packets] = flow
        outcome.is_originator[packets] = sums.is_originator & (flow != 0)
        outcome.note(sums)
        self._close_within(plan, rows, replaced, outcome)
        self._put_back(plan, rows, outcome, int(clock[chosen.stop - 1]))
        if not flow.all():
            unkept = np.sort(packets[flow == 0])
            self._counters["packets_sketched"] += len(unkept)
            self._sketch.add(batch.take(unkept))

    def _fits(self, seconds: I8) -> bool:
        """If no more flows begin in any second than are kept. ``seconds``: of each beginning, rising."""
        if self._second_new + len(seconds) <= self._new_flows_max:
            return True
        which, counts = np.unique(seconds, return_counts=True)
        counts[which == self._second] += self._second_new
        return bool((counts <= self._new_flows_max).all())

    def _admit(self, rows: NDArray[np.void], is_new: NDArray[np.intp], seconds: I8) -> None:
        """Give ids to the rows that begin, in order of capture; those beyond what is kept have id 0.

        Either all fit, or all are of one second.
        """
        if not len(is_new):
            return
        last = int(seconds[-1])
        used = self._second_new if last == self._second else 0
        room = max(self._new_flows_max - used, 0)
        is_kept = np.ones(len(is_new), np.bool_)
        if not self._fits(seconds):
            is_kept[room:] = _is_sample(rows[is_new[room:]])
            self._flood_second = last
        self._second, self._second_new = last, used + int(np.count_nonzero(seconds == last))
        self._counters["flows_not_kept"] += int(np.count_nonzero(~is_kept))
        kept = is_new[is_kept]
        rows["id"][is_new] = 0
        rows["id"][kept] = np.arange(self._last_id + 1, self._last_id + 1 + len(kept))
        self._last_id += len(kept)
        self._counters["flows"] += len(kept)

    @staticmethod
    def _replaced(plan: Plan) -> tuple[NDArray[np.intp], NDArray[np.void]]:
        """The stretches that take the place of a flow in the table, and copies of those flows' rows."""
        key = plan.stretches.key
        by = np.flatnonzero(_is_first(key) & plan.is_known[key] & (plan.stretches.kind != GOES_ON))
        return by, take(plan.rows, key[by])

    def _close_within(
        self,
        plan: Plan,
        rows: NDArray[np.void],
        replaced: tuple[NDArray[np.intp], NDArray[np.void]],
        outcome: _Outcome,
    ) -> None:
        """Close what a later stretch of the same key has replaced, in the table or among these packets."""
        kind = plan.stretches.kind
        replaces = np.flatnonzero(~_is_first(plan.stretches.key))
        over = join([replaced[1], take(rows, replaces - 1)])
        following = np.concatenate([replaced[0], replaces])
        if not len(following):
            return
        following, over = following[over["id"] != 0], take(over, over["id"] != 0)
        at = plan.stretches.packets.clock[plan.stretches.starts[following]]
        flows = to_flow(over)
        end = ends_by_silence(flows)
        is_silent = at > over["deadline"]
        end[~is_silent & (end == FlowEnd.IDLE)] = FlowEnd.REOPENED
        is_part = kind[following] == PART
        flows["end"] = np.where(is_part, FlowEnd.ACTIVE, end)
        by_silence = is_silent & ~is_part
        where = plan.stretches.packets.packets[plan.stretches.starts[following]]
        by_packet = plan.stretches.packets.batch.time_ns[where]
        flows["end_ns"] = np.where(by_silence, self._clock.stamp_ns(over["deadline"]), by_packet)
        outcome.close(take(flows, by_silence), over["deadline"][by_silence])
        outcome.close(take(flows, ~by_silence), at[~by_silence], where[~by_silence])

    def _put_back(self, plan: Plan, rows: NDArray[np.void], outcome: _Outcome, now: int) -> None:
        """Store the last row of each key; makes room where there is none."""
        key = plan.stretches.key
        last = rows if len(plan.rows) == len(key) else take(rows, np.append(key[1:] != key[:-1], True))
        is_kept = last["id"] != 0
        self._store.replace(plan.places[plan.is_known & is_kept], take(last, plan.is_known & is_kept))
        self._store.remove(plan.places[plan.is_known & ~is_kept])
        fresh = take(last, ~plan.is_known & is_kept)
        if len(fresh) > self._store.free_count:
            self._expire(outcome, now)
        missing = len(fresh) - self._store.free_count
        if missing > 0:
            places = self._store.soonest(missing)
            flows = to_flow(self._store.rows(places))
            flows["end"] = FlowEnd.EVICTED
            flows["end_ns"] = self._clock.stamp_ns(np.array([now]))
            outcome.close(flows, np.full(missing, now, np.int64))
            self._store.remove(places)
            self._counters["flows_evicted"] += missing
        self._store.insert(fresh)

    def _expire(self, outcome: _Outcome, now: int) -> None:
        places = self._store.expired(now)
        if not len(places):
            return
        rows = self._store.rows(places)
        flows = to_flow(rows)
        flows["end"] = ends_by_silence(flows)
        flows["end_ns"] = self._clock.stamp_ns(rows["deadline"])
        outcome.close(flows, rows["deadline"])
        self._store.remove(places)


class _Outcome:
    """What comes together while one batch is taken in."""

    def __init__(self, count: int) -> None:
        self.flow = np.zeros(count, np.uint64)
        self.is_originator = np.zeros(count, np.bool_)
        self._opened: list[FlowRecords] = [np.zeros(0, FLOW)]
        self._answered: list[FlowRecords] = [np.zeros(0, FLOW)]
        self._closed: list[FlowRecords] = [np.zeros(0, FLOW)]
        self._closed_at: list[I8] = [np.zeros(0, np.int64)]
        self._closed_by: list[U8] = [np.zeros(0, np.uint64)]

    def note(self, sums: Sums) -> None:
        """Flows that began and were answered; not those that are not kept."""
        self._opened.append(to_flow(_kept(sums.opened)))
        self._answered.append(to_flow(_kept(sums.answered)))

    def close(self, flows: FlowRecords, at: I8, packets: NDArray[np.intp] | None = None) -> None:
        """Flows that are over, at these readings of the table's clock, by these packets of the batch or by silence."""
        self._closed.append(flows)
        self._closed_at.append(at)
        # A packet at the very end of a time-out comes before it.
        self._closed_by.append(_BY_SILENCE | flows["id"] if packets is None else packets.astype(np.uint64))

    def opened(self) -> FlowRecords:
        """By id."""
        return join(self._opened)

    def answered(self) -> FlowRecords:
        """In order of the packets that answered."""
        return join(self._answered)

    def closed(self) -> FlowRecords:
        """By the moment they were over; of those at one moment by packet, then by id."""
        order = np.lexsort((np.concatenate(self._closed_by), np.concatenate(self._closed_at)))
        return take(join(self._closed), order)


def _kept(rows: NDArray[np.void]) -> NDArray[np.void]:
    is_kept = rows["id"] != 0
    return rows if is_kept.all() else take(rows, is_kept)


def _is_first(key: NDArray[np.intp]) -> Bools:
    """Which stretches are the first of their key."""
    is_first = np.ones(len(key), np.bool_)
    is_first[1:] = key[1:] != key[:-1]
    return is_first


def _is_sample(rows: NDArray[np.void]) -> Bools:
    """One key in 64; the same ones in every run, whichever end is the originator."""
    mixed: U8 = rows["originator_lo"] ^ rows["originator_hi"] ^ rows["responder_lo"] ^ rows["responder_hi"]
    ports = (rows["originator_port"] ^ rows["responder_port"]).astype(np.uint64) << _HALF | rows["protocol"]
    mixed = (mixed * _SAMPLE_FACTORS[0] ^ ports) * _SAMPLE_FACTORS[1]
    mixed = (mixed ^ (mixed >> _HALF)) * _SAMPLE_FACTORS[0]
    is_chosen: Bools = mixed >> _SAMPLE_SHIFT == 0
    return is_chosen
