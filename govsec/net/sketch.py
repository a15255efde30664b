"""Counting in constant memory what a flood brings, when its flows are too many to keep.

One idea: two small tables answer "who gets or sends most" and "from how many" for any number of hosts. A count-min
sketch never counts too little; HyperLogLog registers tell how many different ones there were. The heaviest are kept by
name.

The digests are fixed, so that the same packets give the same estimates; who knows them can make hosts share cells, and
so be counted too much, never too little. Source: Cormode and Muthukrishnan 2005 (count-min); Flajolet et al. 2007.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from govsec.net import addresses
from govsec.net.columns import I8, U1, U8, PacketBatch, SketchSummary

TOP_MAX = 16
_CANDIDATES_MAX = 64
#: Rows by cells: with 4 x 4096, a host is counted too much by more than 1/1500 of all packets once in 50.
_DEPTH, _WIDTH = 4, 4096
#: Registers for the distinct ones of one host (error 13 %), in how many cells; and of all together (error 1.6 %).
_REGISTERS, _CELLS, _REGISTERS_ALL = 64, 4096, 4096
#: Prefixes of sources: what one network has, in IPv4 (of the mapped address) and IPv6.
PREFIX_BITS = {4: 24, 6: 48}
_FACTORS = tuple(
    np.uint64(factor)
    for factor in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5, 0xD6E8FEB86659FD93)
)
_HALF = np.uint64(32)


class Sketch:
    """Empty until packets are added."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._since_ns = 0
        self._packets = 0
        self._bytes = 0
        self._targets, self._prefixes = _Side(), _Side()
        self._all_sources, self._all_targets = np.zeros((2, _REGISTERS_ALL), np.uint8)

    def add(self, batch: PacketBatch) -> None:
        """Count these packets, all of them IP."""
        if not self._packets:
            self._since_ns = int(batch.time_ns[0])
        self._packets += len(batch)
        self._bytes += int(batch.wire_size.sum(dtype=np.int64))
        source, target = _digest(batch.source_hi, batch.source_lo), _digest(batch.target_hi, batch.target_lo)
        _register(self._all_sources, np.zeros(len(batch), np.intp), source)
        _register(self._all_targets, np.zeros(len(batch), np.intp), target)
        hi, lo = addresses.masked(batch.source_hi, batch.source_lo, batch.ip_version, PREFIX_BITS)
        self._targets.add(batch.target_hi, batch.target_lo, target, source)
        self._prefixes.add(hi, lo, _digest(hi, lo), target)

    def summary(self) -> SketchSummary:
        """What was counted so far."""
        prefixes = (
            (f"{address}/{PREFIX_BITS[6 if ':' in address else 4]}", packets, distinct)
            for address, packets, distinct in self._prefixes.heaviest()
        )
        return SketchSummary(
            since_ns=self._since_ns,
            packets=self._packets,
            bytes=self._bytes,
            sources_estimate=_estimate(self._all_sources),
            targets_estimate=_estimate(self._all_targets),
            targets=tuple(self._targets.heaviest()),
            source_prefixes=tuple(prefixes),
        )


class _Side:
    """Packets and distinct others of each host or prefix."""

    def __init__(self) -> None:
        self._counts = np.zeros((_DEPTH, _WIDTH), np.int64)
        self._registers = np.zeros(_CELLS * _REGISTERS, np.uint8)
        self._candidates: dict[tuple[int, int], int] = {}

    def add(self, hi: U8, lo: U8, digest: U8, other: U8) -> None:
        for row, cells in enumerate(_cells(digest)):
            self._counts[row] += np.bincount(cells, minlength=_WIDTH)
        _register(self._registers, (digest % np.uint64(_CELLS)).astype(np.intp), other)
        _, first, counts = np.unique(digest, return_index=True, return_counts=True)
        # Whoever is among the heaviest of all is among the heaviest of the batches that made it so.
        first = first[np.argsort(-counts, kind="stable")[:_CANDIDATES_MAX]]
        known = dict.fromkeys(self._candidates) | dict.fromkeys(
            zip(hi[first].tolist(), lo[first].tolist(), strict=True)
        )
        names = np.array(list(known), np.uint64)
        packets = self._count(_digest(names[:, 0], names[:, 1]))
        best = sorted(zip((-packets).tolist(), known, strict=True))[:_CANDIDATES_MAX]
        self._candidates = {name: -packets for packets, name in best}

    def heaviest(self) -> list[tuple[str, int, int]]:
        found = []
        for (hi, lo), packets in list(self._candidates.items())[:TOP_MAX]:
            cell = int(_digest(np.array([hi], np.uint64), np.array([lo], np.uint64))[0] % np.uint64(_CELLS))
            registers = self._registers[cell * _REGISTERS : (cell + 1) * _REGISTERS]
            found.append((addresses.format(hi, lo), packets, _estimate(registers)))
        return found

    def _count(self, digest: U8) -> I8:
        counts: I8 = np.min([self._counts[row][cells] for row, cells in enumerate(_cells(digest))], axis=0)
        return counts


def _digest(hi: U8, lo: U8) -> U8:
    first, second, third, *_ = _FACTORS
    mixed = (lo + hi * first) * second
    mixed = (mixed ^ (mixed >> _HALF)) * third
    return mixed ^ (mixed >> _HALF)


def _cells(digest: U8) -> list[NDArray[np.intp]]:
    """One cell a row of a count-min sketch."""
    return [((digest * _FACTORS[row]) >> np.uint64(52)).astype(np.intp) for row in range(_DEPTH)]


def _register(registers: U1, cell: NDArray[np.intp], digest: U8) -> None:
    """Note ``digest`` in the HyperLogLog of its cell; ``registers`` has those of all cells in a row."""
    size = min(len(registers), _REGISTERS if len(registers) > _REGISTERS_ALL else _REGISTERS_ALL)
    mixed = digest * _FACTORS[4]
    mixed ^= mixed >> _HALF
    place = cell * size + (mixed % np.uint64(size)).astype(np.intp)
    # The position of the highest bit of 40 that are left is geometric, as is the number of zeros before it.
    rest = (mixed >> np.uint64(24)).astype(np.float64)
    rank = 41 - np.frexp(rest)[1]
    np.maximum.at(registers, place, rank.astype(np.uint8))


def _estimate(registers: U1) -> int:
    """HyperLogLog's estimate, with linear counting while registers are empty."""
    count = len(registers)
    raw = 0.7213 / (1 + 1.079 / count) * count * count / float(np.sum(2.0 ** -registers.astype(np.float64)))
    empty = int(np.count_nonzero(registers == 0))
    if raw <= 2.5 * count and empty:
        raw = count * float(np.log(count / empty))
    return round(raw)
