"""The flow table once more, packet by packet with a dict: what the fast one must agree with in every number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from govsec.net.columns import PacketBatch

FIN, SYN, RST, ACK = 1, 2, 4, 16
SECOND = 1_000_000_000
IDLE = {6: 300 * SECOND, 17: 60 * SECOND}
OTHER, SHORT, ACTIVE = 30 * SECOND, 5 * SECOND, 300 * SECOND
REPLIES = {(1, 0): 8, (58, 129): 128}
REQUESTS = {(1, 8): 0, (58, 128): 129}

End = tuple[int, int, int]  # high half, low half, port


@dataclass
class Flow:
    id: int
    originator: End
    responder: End
    first_sender: End
    meta: tuple[int, int, int]
    start_ns: int
    first_ns: int
    last_ns: int
    began: int
    opening: int
    icmp_type: int
    answered_ns: int = 0
    part: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NAMES, 0))
    flags: dict[str, int] = field(default_factory=lambda: {"originator": 0, "responder": 0})
    handshake: tuple[End, int] | None = None
    deadline: int = 0

    def is_over(self) -> bool:
        one, other = self.flags.values()
        return bool(one & other & FIN or (one | other) & RST)

    def state(self) -> int:
        one, other = self.flags.values()
        if one & other & FIN:
            return 3
        if other & RST and not other & SYN and self.opening == 1 and not self.counts["payload_originator"]:
            return 1
        if (one | other) & RST and self.answered_ns:
            return 4
        return 2 if self.answered_ns else 0

    def told(self, end: int, end_ns: int) -> dict[str, int]:
        return {
            "id": self.id, "start_ns": self.start_ns, "first_ns": self.first_ns, "last_ns": self.last_ns,
            "end_ns": end_ns, "answered_ns": self.answered_ns, "originator_hi": self.originator[0],
            "originator_lo": self.originator[1], "responder_hi": self.responder[0], "responder_lo": self.responder[1],
            **self.counts, "part": self.part, "originator_port": self.originator[2],
            "responder_port": self.responder[2], "vlan": self.meta[0], "protocol": self.meta[1],
            "ip_version": self.meta[2], "flags_originator": self.flags["originator"],
            "flags_responder": self.flags["responder"], "opening": self.opening, "state": self.state(), "end": end,
            "icmp_type": self.icmp_type,
        }  # fmt: skip


NAMES = [f"{what}_{side}" for what in ("packets", "bytes", "payload") for side in ("originator", "responder")]


class SlowFlows:
    def __init__(self) -> None:
        self.flows: dict[tuple[object, ...], Flow] = {}
        self.opened: list[dict[str, int]] = []
        self.answered: list[dict[str, int]] = []
        self.closed: list[tuple[int, tuple[int, int], dict[str, int]]] = []
        self.now: int | None = None
        self.offset = 0
        self.sets: list[tuple[int, int]] = []
        self.latest_ns = 0
        self.count = 0
        self.packets = 0

    def add(self, batch: PacketBatch) -> Iterator[tuple[int, bool]]:
        """The flow of each packet, and if its originator sent it."""
        for i in range(len(batch)):
            yield self._add_one(batch, i)

    def _clock(self, time_ns: int) -> int:
        if self.now is None:
            self.now, self.offset = 0, -time_ns
        reading = time_ns + self.offset
        if reading < self.now - 60 * SECOND:
            self.sets.append((self.now, self.offset))
            self.offset = self.now - time_ns
        elif reading > self.now + 366 * 86400 * SECOND:
            self.sets.append((self.now, self.offset))
            self.now += 86400 * SECOND
            self.offset = self.now - time_ns
        self.now = max(self.now, time_ns + self.offset)
        self.latest_ns = max(self.latest_ns, time_ns)
        return self.now

    def _add_one(self, batch: PacketBatch, i: int) -> tuple[int, bool]:
        self.packets += 1

        def get(name: str) -> int:
            return int(getattr(batch, name)[i])

        time_ns = get("time_ns")
        clock = self._clock(time_ns)
        for key, flow in list(self.flows.items()):
            if clock > flow.deadline:
                self._close(key, self._silence(flow, 3), flow.deadline, self._stamp(flow.deadline), None)
        if not get("ip_version"):
            return 0, False
        protocol, flags, kind = get("protocol"), get("tcp_flags"), get("icmp_type")
        source_port, target_port = get("source_port"), get("target_port")
        if protocol in (1, 58) and get("fragment") != 2:
            counter = {**REPLIES, **REQUESTS}.get((protocol, kind))
            source_port, target_port = kind, get("icmp_code") if counter is None else counter
        source = get("source_hi"), get("source_lo"), source_port
        target = get("target_hi"), get("target_lo"), target_port
        meta = get("vlan"), protocol, get("ip_version")
        key = (*sorted([source, target]), meta)
        is_syn = protocol == 6 and flags & SYN and not flags & ACK
        handshake: tuple[End, int] | None = None
        if is_syn:
            handshake = source, get("tcp_sequence")
        elif protocol == 6 and flags & SYN:
            handshake = target, (get("tcp_acknowledgment") - 1) % 2**32
        found = self.flows.get(key)
        if found and is_syn and found.handshake != handshake:
            self._close(key, self._silence(found, 7), clock, time_ns, self.packets)
            found = None
        if found is None:
            self.count += 1
            is_reply = (protocol == 6 and (flags & RST or (flags & SYN and flags & ACK))) or (protocol, kind) in REPLIES
            is_from_server = protocol == 6 and not is_syn and source_port < 1024 <= target_port
            ends = (target, source) if is_reply or is_from_server else (source, target)
            opening = 2 if is_reply else 1 if is_syn else 0
            found = Flow(self.count, *ends, source, meta, time_ns, time_ns, time_ns, clock, opening, kind)
            self.flows[key] = found
        elif clock - found.began > ACTIVE:
            self.closed.append((clock, (0, self.packets), found.told(4, time_ns)))
            found.part += 1
            found.counts = dict.fromkeys(NAMES, 0)
            found.first_ns = found.last_ns = time_ns
            found.began = clock
        side = "originator" if source == found.originator else "responder"
        if source == target:
            side = "originator" if found.originator == found.first_sender else "responder"
        found.counts[f"packets_{side}"] += 1
        found.counts[f"bytes_{side}"] += get("wire_size")
        found.counts[f"payload_{side}"] += get("payload_claimed")
        found.flags[side] |= flags
        found.last_ns = max(found.last_ns, time_ns)
        found.handshake = handshake or found.handshake
        allowed = SHORT if flags & SYN else IDLE.get(protocol, OTHER)
        found.deadline = clock + (min(allowed, SHORT) if found.is_over() else allowed)
        if len(self.opened) < self.count:
            self.opened.append(found.told(0, 0))
        if source != found.first_sender and not found.answered_ns:
            found.answered_ns = time_ns
            self.answered.append(found.told(0, 0))
        return found.id, side == "originator"

    @staticmethod
    def _silence(flow: Flow, otherwise: int) -> int:
        one, other = flow.flags.values()
        return 2 if (one | other) & RST else 1 if one & other & FIN else otherwise

    def _stamp(self, reading: int) -> int:
        """By the clock as it was set at that moment."""
        return reading - next((offset for at, offset in self.sets if reading < at), self.offset)

    def _close(self, key: tuple[object, ...], end: int, at: int, end_ns: int, packet: int | None) -> None:
        flow = self.flows.pop(key)
        self.closed.append((at, (1, flow.id) if packet is None else (0, packet), flow.told(end, end_ns)))

    def finish(self) -> None:
        assert self.now is not None
        for key, flow in list(self.flows.items()):
            self._close(key, self._silence(flow, 6), self.now, self.latest_ns, None)

    def closed_rows(self) -> list[dict[str, int]]:
        return [row for _, _, row in sorted(self.closed, key=lambda item: item[:2])]
