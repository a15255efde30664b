"""The queue of a module's findings before they are sent: bounded; in a full one the least severe goes, and is counted.

Pure: the module's side of the socket asks it what to send next.
"""

from __future__ import annotations

from collections import Counter, deque

from govsec.records import Severity

#: A thousand findings a module could not send yet: its supervisor has stood still for minutes.
FINDINGS_MAX = 1_000


class Outbox:
    """Packets by severity, first in, first out within one."""

    def __init__(self, findings_max: int = FINDINGS_MAX) -> None:
        self._findings_max = findings_max
        self._queues: dict[Severity, deque[bytes]] = {severity: deque() for severity in sorted(Severity, reverse=True)}
        self._count = 0
        #: Lost since they were last taken, by stage and reason.
        self.losses: Counter[tuple[str, str]] = Counter()

    def __len__(self) -> int:
        return self._count

    def put(self, severity: Severity, packet: bytes) -> None:
        """Queue a packet; in a full queue the oldest of the least severe makes room, or it is dropped itself."""
        if self._count >= self._findings_max:
            least = next(each for each in reversed(self._queues) if self._queues[each])
            self.losses["queue", "full"] += 1
            if severity < least:
                return
            self._queues[least].popleft()
            self._count -= 1
        self._queues[severity].append(packet)
        self._count += 1

    def first(self) -> bytes | None:
        """The packet to send next: of the most severe, the oldest."""
        return next((queue[0] for queue in self._queues.values() if queue), None)

    def sent(self) -> None:
        """The first packet was sent."""
        queue = next(queue for queue in self._queues.values() if queue)
        queue.popleft()
        self._count -= 1
