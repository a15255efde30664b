"""What a capture amounts to: packets, bytes and flows by protocol, and what was wrong with packets."""

from __future__ import annotations

from collections import Counter

import numpy as np

from govsec.net.columns import FlowRecords, PacketBatch, Protocol


class FlowSummary:
    """What the flows of a capture amount to; rows of long flows add up."""

    def __init__(self) -> None:
        self._protocols: dict[str, Counter[str]] = {}
        self._faults: Counter[str] = Counter()
        self.packets_count = 0
        self.bytes_count = 0
        self.first_ns: int | None = None
        self.last_ns: int | None = None

    def add(self, batch: PacketBatch, closed: FlowRecords) -> None:
        """Count a batch, and the flows that ended with it."""
        if len(batch):
            first, last = int(batch.time_ns.min()), int(batch.time_ns.max())
            self.first_ns = first if self.first_ns is None else min(self.first_ns, first)
            self.last_ns = last if self.last_ns is None else max(self.last_ns, last)
            self.packets_count += len(batch)
            self.bytes_count += int(batch.wire_size.sum(dtype=np.int64))
            self._faults.update(batch.fault_counts())
        for protocol in np.unique(closed["protocol"]).tolist():
            rows = closed[closed["protocol"] == protocol]
            counts = self._protocols.setdefault(_protocol_name(protocol), Counter())
            counts["flows"] += int(np.count_nonzero(rows["part"] == 0))
            counts["answered"] += int(np.count_nonzero((rows["part"] == 0) & (rows["answered_ns"] > 0)))
            for what in ("packets", "bytes"):
                for side in ("originator", "responder"):
                    counts[what] += int(rows[f"{what}_{side}"].sum(dtype=np.int64))

    def facts(self) -> dict[str, object]:
        """The counts, ready to be printed."""
        return {
            "packets": self.packets_count,
            "bytes": self.bytes_count,
            "first_ns": self.first_ns,
            "last_ns": self.last_ns,
            "protocols": {name: dict(counts) for name, counts in sorted(self._protocols.items())},
            "faults": dict(sorted(self._faults.items())),
        }


def _protocol_name(number: int) -> str:
    try:
        return Protocol(number).name.lower()
    except ValueError:  # one that is not read; its number is its name
        return str(number)
