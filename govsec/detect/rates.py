"""Rates of packets at each target, from columns alone: a flood of forged sources costs no memory here.

One idea: packets are counted by second in a fixed number of buckets of target addresses, as three kinds: those that
*ask* (what a flood is made of), those that the target *replies*, and those with which askers *follow* up. Only when a
bucket holds more asks in two neighbouring seconds than the least flood, its targets are looked up in a sample of that
time's packets. Seconds that cannot hold a flood cost nothing but the counting.

Replies and follow-ups are known by bucket, so another busy host in the same one of 8192 can hide a flood, never make
one.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from govsec.detect.windows import I64, U64, EventClock, Groups, Rows, mix
from govsec.findings.api import SECOND_NS
from govsec.net.columns import PacketBatch

BUCKETS = 8192
ASK, REPLY, FOLLOW = 0, 1, 2
_KINDS = 3
#: Packets of a second that are kept to tell targets, sources and ports; the first ones, all of them when fewer.
_SAMPLE_MAX = 16_384
#: A clock that falls by more than this was set; less is packets out of order.
_TOLERANCE_NS = 2 * SECOND_NS
SAMPLE = np.dtype(
    [
        ("time_ns", "i8"),
        ("source_hi", "u8"),
        ("source_lo", "u8"),
        ("target_hi", "u8"),
        ("target_lo", "u8"),
        ("source_port", "u2"),
        ("target_port", "u2"),
        ("protocol", "u1"),
        ("ip_version", "u1"),
        ("icmp_type", "u1"),
        ("size", "u4"),
    ],
    align=True,
)
Kinds = NDArray[np.int8]


def buckets(hi: U64, lo: U64) -> NDArray[np.int64]:
    """The bucket of each address."""
    mixed = (lo ^ (hi * np.uint64(0x9E3779B97F4A7C15))) * np.uint64(0xBF58476D1CE4E5B9)
    return (mixed >> np.uint64(64 - 13)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Burst:
    """What one target got within two neighbouring seconds. ``time_ns``: the end of them.

    ``asks`` is exact while ``sample`` holds all its packets, and scaled up from it otherwise.
    """

    time_ns: int
    target_hi: int
    target_lo: int
    asks: int
    replies: int
    follows: int
    sample: Rows

    @property
    def sources_count(self) -> int:
        """Different sources in the sample."""
        return len(np.unique(mix(self.sample["source_hi"], self.sample["source_lo"])))

    @property
    def rate(self) -> float:
        """Asks a second."""
        return self.asks / 2


class _Second:
    """What was counted in one second."""

    def __init__(self, second: int) -> None:
        self.second = second
        self.counts = np.zeros((_KINDS, BUCKETS), dtype=np.int64)
        self.samples: list[Rows] = []
        self.sampled_count = 0

    def add(self, kinds: Kinds, cells: I64, packets: PacketBatch, index: NDArray[np.intp]) -> None:
        flat = np.bincount(kinds.astype(np.int64) * BUCKETS + cells, minlength=_KINDS * BUCKETS)
        self.counts += flat.reshape(_KINDS, BUCKETS)
        asking = index[kinds == ASK][: _SAMPLE_MAX - self.sampled_count]
        if len(asking):
            self.samples.append(_sample(packets, asking))
            self.sampled_count += len(asking)


class RateBins:
    """Counts by second and bucket; gives bursts of at least ``asks_min`` asks at one target in two seconds."""

    def __init__(self, *, asks_min: int) -> None:
        self._asks_min = asks_min
        self._clock = EventClock(tolerance_ns=_TOLERANCE_NS)
        self._open: _Second | None = None
        self._before: _Second | None = None

    @property
    def jumps_count(self) -> int:
        """How often the clock was set back."""
        return self._clock.jumps_count

    def add(self, packets: PacketBatch, index: NDArray[np.intp], kinds: Kinds, cells: I64) -> Iterator[Burst]:
        """Count the packets at ``index`` (ascending): ``kinds``, and ``cells``, the bucket of the target asked, also in
        replies."""
        # The clock sees all packets, so that one out of order counts in the same second wherever batches are cut.
        for start, end, times in self._clock.runs(packets.time_ns):
            low, high = np.searchsorted(index, (start, end))
            if low == high:
                continue
            seconds = times[index[low:high] - start] // SECOND_NS
            if self._open is not None and seconds[0] < self._open.second:
                yield from self.finish()
            yield from self._run(packets, index[low:high], kinds[low:high], cells[low:high], seconds)

    def advance(self, time_ns: int) -> Iterator[Burst]:
        """Event time has come to ``time_ns``: gives the bursts of seconds that are over."""
        if self._open is not None and time_ns // SECOND_NS > self._open.second:
            yield from self._close()

    def finish(self) -> Iterator[Burst]:
        """Gives the bursts of the last second."""
        if self._open is not None:
            yield from self._close()
        self._before = None

    def _run(
        self, packets: PacketBatch, index: NDArray[np.intp], kinds: Kinds, cells: I64, seconds: I64
    ) -> Iterator[Burst]:
        starts = np.concatenate(([0], np.flatnonzero(np.diff(seconds)) + 1))
        ends = np.append(starts[1:], len(seconds))
        asks = np.add.reduceat((kinds == ASK).astype(np.int64), starts)
        # A second is looked at when it, or the next, can be half of a burst. The first and the last go on elsewhere.
        pairs = asks[:-1] + asks[1:]
        is_needed = np.ones(len(starts), dtype=np.bool_)
        is_needed[1:-1] = (pairs[:-1] >= self._asks_min) | (pairs[1:] >= self._asks_min)
        is_needed[1:2] = is_needed[-2:] = True
        for position in np.flatnonzero(is_needed).tolist():
            low, high, second = int(starts[position]), int(ends[position]), int(seconds[starts[position]])
            if self._open is not None and self._open.second != second:
                yield from self._close()
            if self._open is None:
                self._open = _Second(second)
            self._open.add(kinds[low:high], cells[low:high], packets, index[low:high])

    def _close(self) -> Iterator[Burst]:
        assert self._open is not None  # callers look first
        this, before = self._open, self._before
        self._open, self._before = None, this
        if before is not None and before.second != this.second - 1:
            before = None
        counts = this.counts if before is None else this.counts + before.counts
        hot = np.flatnonzero(counts[ASK] >= self._asks_min)
        if len(hot):
            parts = [*(before.samples if before is not None else ()), *this.samples]
            yield from self._bursts((this.second + 1) * SECOND_NS, np.concatenate(parts), counts, hot)

    def _bursts(self, time_ns: int, sample: Rows, counts: NDArray[np.int64], hot: NDArray[np.intp]) -> Iterator[Burst]:
        cells = buckets(sample["target_hi"], sample["target_lo"])
        sample, cells = sample[np.isin(cells, hot)], cells[np.isin(cells, hot)]
        if not len(sample):
            return
        targets = Groups(mix(sample["target_hi"], sample["target_lo"]))
        sizes = targets.sizes()
        in_cell = np.bincount(cells, minlength=BUCKETS)
        for target in range(targets.count):
            row = targets.first[target]
            cell = int(cells[row])
            asks = round(int(counts[ASK, cell]) * int(sizes[target]) / int(in_cell[cell]))
            if asks >= self._asks_min:
                yield Burst(
                    time_ns=time_ns,
                    target_hi=int(sample["target_hi"][row]),
                    target_lo=int(sample["target_lo"][row]),
                    asks=asks,
                    replies=int(counts[REPLY, cell]),
                    follows=int(counts[FOLLOW, cell]),
                    sample=sample[targets.rows(target)],
                )


class Usual:
    """What burst rates are usual for a target: the median of its bursts of the last minutes, once there are enough.

    Bounded by ``_TARGETS_MAX`` targets; the one longest quiet goes first.
    """

    _TARGETS_MAX = 4096
    _BURSTS = 300

    def __init__(self, *, warmup_s: int) -> None:
        self._warmup = warmup_s
        self._rates: OrderedDict[tuple[int, int], deque[float]] = OrderedDict()
        self.forgotten_count = 0

    def rate(self, burst: Burst) -> float | None:
        """The usual rate before this burst; None while too little is known. The burst is added to what is known."""
        key = (burst.target_hi, burst.target_lo)
        rates = self._rates.setdefault(key, deque(maxlen=self._BURSTS))
        self._rates.move_to_end(key)
        usual = float(np.median(rates)) if len(rates) >= self._warmup else None
        rates.append(burst.rate)
        if len(self._rates) > self._TARGETS_MAX:
            self._rates.popitem(last=False)
            self.forgotten_count += 1
        return usual


def _sample(packets: PacketBatch, index: NDArray[np.intp]) -> Rows:
    rows = np.zeros(len(index), dtype=SAMPLE)
    for name in SAMPLE.names or ():
        rows[name] = (packets.wire_size if name == "size" else getattr(packets, name))[index]
    return rows
