"""Traffic over time and by host, in bounded memory: what a chart and a list of talkers are drawn from.

One idea: a series has at most ``BINS_MAX`` bins. When a capture outgrows them the bins become wider and neighbours are
added up, along widths that divide each other, so the counts stay exact and bins begin at round moments (UTC). Hosts are
counted exactly too, up to a bound; beyond it the quietest are forgotten, and how many is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from govsec.net import addresses
from govsec.net.columns import FlowRecords, PacketBatch, Protocol

BINS_MAX = 240
#: Each divides the next: 1 ms to 1 s, then minutes, hours and a day.
_STEPS = (2, 5, 2, 5, 2, 5, 5, 2, 3, 2, 5, 2, 3, 2, 6, 4)
_WIDTH_MIN_NS = 1_000_000
#: Rows of the tables, in the order in which charts stack them.
CLASSES = ("tcp", "udp", "icmp", "other_ip", "other")


@dataclass(frozen=True, slots=True)
class Series:
    """Counts by bin. ``start_ns`` is the beginning of the first bin; each table has one row a name of ``CLASSES``."""

    start_ns: int
    width_ns: int
    packets: tuple[tuple[int, ...], ...]
    bytes: tuple[tuple[int, ...], ...]


class TrafficSeries:
    """Packets and bytes (on the wire) by time and class of protocol."""

    def __init__(self) -> None:
        self._level = 0
        self._width_ns = _WIDTH_MIN_NS
        self._start: int | None = None  # in bins of the present width since 1970
        self._counts = np.zeros((2, len(CLASSES), BINS_MAX), np.int64)
        self._used = 0

    def add(self, batch: PacketBatch) -> None:
        """Count a batch. A packet from before the first bin (its clock went back) counts in the first one."""
        if not len(batch):
            return
        if self._start is None:
            self._start = int(batch.time_ns.min()) // self._width_ns
        while int(batch.time_ns.max()) // self._width_ns - self._start >= BINS_MAX and self._level < len(_STEPS):
            self._widen()
        bins = np.clip(batch.time_ns // self._width_ns - self._start, 0, BINS_MAX - 1)
        place = _classes(batch) * BINS_MAX + bins
        cells = len(CLASSES) * BINS_MAX
        shape = (len(CLASSES), BINS_MAX)
        self._counts[0] += np.bincount(place, minlength=cells).reshape(shape)
        # Sums of sizes stay far below 2**53, so that counting them as floats is exact.
        self._counts[1] += np.bincount(place, weights=batch.wire_size, minlength=cells).astype(np.int64).reshape(shape)
        self._used = max(self._used, int(bins.max()) + 1)

    def series(self) -> Series:
        """What was counted so far; no bins when there were no packets."""
        packets, sizes = (tuple(tuple(row[: self._used].tolist()) for row in self._counts[which]) for which in range(2))
        return Series((self._start or 0) * self._width_ns, self._width_ns, packets, sizes)

    def _widen(self) -> None:
        assert self._start is not None
        factor = _STEPS[self._level]
        self._level += 1
        self._width_ns *= factor
        shift = self._start % factor
        self._start //= factor
        target = (np.arange(BINS_MAX) + shift) // factor
        wider = np.zeros_like(self._counts)
        np.add.at(np.moveaxis(wider, 2, 0), target, np.moveaxis(self._counts, 2, 0))
        self._counts = wider
        self._used = (self._used + shift + factor - 1) // factor if self._used else 0


@dataclass(frozen=True, slots=True)
class Talker:
    """One host: what it sent and received, on the wire, and on how many flows it was which side."""

    address: str
    bytes_sent: int
    bytes_received: int
    flows_opened: int
    flows_answered: int


class Talkers:
    """What each host sent and received, from the rows of closed flows."""

    def __init__(self, hosts_max: int = 65_536) -> None:
        self._hosts_max = hosts_max
        self._hosts: dict[tuple[int, int], NDArray[np.int64]] = {}
        self._forgotten = 0

    def add(self, closed: FlowRecords) -> None:
        """Count the rows of flows that ended (rows of one long flow add up)."""
        for side, other, at in (("originator", "responder", 2), ("responder", "originator", 3)):
            if not len(closed):
                return
            hosts = np.empty(len(closed), [("hi", "u8"), ("lo", "u8")])
            hosts["hi"], hosts["lo"] = closed[f"{side}_hi"], closed[f"{side}_lo"]
            found, which = np.unique(hosts, return_inverse=True)
            sums = np.zeros((len(found), 4), np.int64)
            np.add.at(sums[:, 0], which, closed[f"bytes_{side}"].astype(np.int64))
            np.add.at(sums[:, 1], which, closed[f"bytes_{other}"].astype(np.int64))
            is_counted = closed["part"] == 0
            if side == "responder":
                is_counted &= closed["answered_ns"] > 0
            np.add.at(sums[:, at], which, is_counted.astype(np.int64))
            for host, row in zip(found.tolist(), sums, strict=True):
                known = self._hosts.get(host)
                self._hosts[host] = row.copy() if known is None else known + row
        if len(self._hosts) > self._hosts_max:
            self._forget()

    def top(self, count: int) -> tuple[Talker, ...]:
        """The hosts that sent and received most, by bytes and then by address."""
        ranked = sorted(self._hosts.items(), key=lambda item: (-int(item[1][0] + item[1][1]), item[0]))
        return tuple(Talker(addresses.format(*host), *(int(n) for n in row)) for host, row in ranked[:count])

    def counters(self) -> Mapping[str, int]:
        """Hosts in the table, and those that were forgotten because it was full."""
        return {"hosts": len(self._hosts), "hosts_forgotten": self._forgotten}

    def _forget(self) -> None:
        """Half of the table goes, the quietest first: rarely, so that it costs little for each host."""
        ranked = sorted(self._hosts.items(), key=lambda item: (-int(item[1][0] + item[1][1]), item[0]))
        self._forgotten += len(ranked) - self._hosts_max // 2
        self._hosts = dict(ranked[: self._hosts_max // 2])


def _classes(batch: PacketBatch) -> NDArray[np.int64]:
    is_ip = batch.ip_version > 0
    found = np.full(len(batch), CLASSES.index("other"), np.int64)
    found[is_ip] = CLASSES.index("other_ip")
    for name, numbers in (
        ("tcp", (Protocol.TCP,)),
        ("udp", (Protocol.UDP,)),
        ("icmp", (Protocol.ICMP, Protocol.ICMPV6)),
    ):
        found[is_ip & np.isin(batch.protocol, numbers)] = CLASSES.index(name)
    return found
