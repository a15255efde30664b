"""Live traffic of one interface as batches: two rings that the kernel fills, put together by time, losses counted.

One idea: the wide ring has the first bytes of nearly everything (flows need no more), the deep ring the whole frames of
the little that is dissected; each packet is in exactly one of them (``bpf``). A batch is what both hold up to one
moment, sorted by the kernel's time stamps. Frames that are stamped later stay in their ring, so the order is right over
batches too, and nothing is kept aside.

Under load the sensor gives up depth before it loses packets: when the deep ring fills, both filters change to those of
less ``Depth``, and step by step back when it was calm for long; how often is counted. An interface that goes away is
waited for. Batches come at least every second, empty where nothing came, so that the caller's own work goes on.

What this does not do: drop privileges (``privileges``, once the capture is open), keep flows, judge.
"""

from __future__ import annotations

import logging
import select
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from govsec.clock import Clock, to_ns
from govsec.net import bpf
from govsec.net.columns import Fault, PacketBatch
from govsec.net.decode import Frames, decode
from govsec.net.gather import SLACK
from govsec.net.ring import SLOT_OVERHEAD, Ready, Ring
from govsec.net.ringorder import Merged, merge

log = logging.getLogger(__name__)

_SECOND_NS = 1_000_000_000
#: A stamp is taken before the frame is in the ring; by then at most this much has passed.
_SETTLING_NS = 2_000_000
#: Steps of the clock below this are taken for what they nearly always are: stamps of two processors.
_STEP_NS = _SECOND_NS
#: Between two looks at the rings: long enough for batches of thousands at high rates, short for a person.
_PAUSE_S = 0.02
_IDLE_S = 1.0
_RETRY_S = 1.0
#: Share of the deep ring that takes a step of depth, looked at every round; and how long it must have been calm for a
#: step back.
_PRESSED_SHARE = 0.25
_CALM_S = 30.0
#: Packets in one batch: what comes in a twentieth of a second at the rates this is made for. More would be faster, and
#: findings later.
_BATCH_MAX = 16_384
#: Frames of the deep ring in one batch: what is dissected at once must not take longer than the wide ring lasts.
_DEEP_MAX = 2048
#: After a change of filters, how long frames that came during it may still be in the rings.
_SWITCH_S = 2.0


class Depth(IntEnum):
    """What is kept whole."""

    NONE = 0  #: nothing: every packet is cut
    NARROW = 1  #: openings of known protocols, and what clients say to clear services
    FULL = 2  #: also all that clear services and services of TLS answer


class LiveOptions(BaseModel):
    """How an interface is listened to. Memory is both slot counts times their slot sizes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Bytes kept of a packet that is not dissected: Ethernet with two tags, IPv6 with options, TCP with options fit.
    snap_length: int = Field(default=128, ge=14, le=16384)
    #: 131,072 packets are 0.4 s at 300,000 packets/s: longer than a pause of the processor or of Python's memory.
    wide_slots: int = Field(default=131_072, ge=1024, le=4_194_304)
    deep_slots: int = Field(default=8_192, ge=256, le=262_144)
    #: Bytes of a slot of the deep ring; 2,048 hold a whole frame of Ethernet.
    deep_slot_size: int = Field(default=2_048, ge=512, le=65_536)
    is_promiscuous: bool = True
    #: For ``lo``, where every packet is seen twice: leaves out what this machine sends.
    ignores_outgoing: bool = False


@dataclass(slots=True)
class LiveCounters:
    """What the capture saw and lost since it was opened; each only grows, save the last two."""

    packets: int = 0
    #: Frames that came while a ring was full.
    wide_dropped: int = 0
    deep_dropped: int = 0
    deep_packets: int = 0
    #: Frames larger than a wire has: the kernel or the card merged several (GRO); turn that off for true counts.
    merged: int = 0
    #: Frames of the deep ring that did not fit their slot.
    deep_cut: int = 0
    #: Frames found in both rings while filters changed; one of each was left out.
    duplicates: int = 0
    clock_steps_back: int = 0
    interface_losses: int = 0
    #: How often the deep ring was pressed, and a step of depth was given up.
    narrowings: int = 0
    depth: Depth = Depth.FULL
    is_interface_up: bool = True

    @property
    def dropped(self) -> int:
        """Packets that the kernel had no room for: what was on the wire and nobody saw."""
        return self.wide_dropped + self.deep_dropped


class LiveCapture:
    """An open capture; a context manager."""

    def __init__(self, interface: str, options: LiveOptions, clock: Clock) -> None:
        """Raises what :class:`~govsec.net.ring.Ring` does."""
        self._clock = clock
        self._counters = LiveCounters()
        self._snap_length = options.snap_length
        self._is_stopped = False
        self._last_ns = 0
        self._pressed_at = 0.0
        self._switching_until = 0.0
        self._deep_fullness = 0.0
        self._end_ns = 0
        slot_size = 1 << (options.snap_length + SLOT_OVERHEAD - 1).bit_length()
        self._wide = Ring(
            interface,
            self._wide_filter(Depth.FULL),
            slot_size=slot_size,
            slots_count=options.wide_slots,
            is_promiscuous=options.is_promiscuous,
            ignores_outgoing=options.ignores_outgoing,
        )
        try:
            self._deep = Ring(
                interface,
                _deep_filter(Depth.FULL),
                slot_size=1 << (options.deep_slot_size - 1).bit_length(),
                slots_count=options.deep_slots,
                is_promiscuous=options.is_promiscuous,
                ignores_outgoing=options.ignores_outgoing,
            )
        except BaseException:
            self._wide.close()
            raise
        self._poll = select.poll()
        for ring in self._rings:
            self._poll.register(ring, select.POLLIN)
        self._counters.is_interface_up = not self._lost_interface()

    def __enter__(self) -> LiveCapture:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _rings(self) -> tuple[Ring, Ring]:
        return self._wide, self._deep

    def close(self) -> None:
        """Stop listening and give the rings back. A batch that was taken stays valid."""
        self._is_stopped = True
        for ring in self._rings:
            ring.close()

    def stop(self) -> None:
        """Let :meth:`batches` end after what the rings hold now; for a signal's handler."""
        self._is_stopped = True

    def counters(self) -> LiveCounters:
        """A copy, with the kernel's own counts as of now."""
        _, self._counters.wide_dropped = self._wide.statistics()
        _, self._counters.deep_dropped = self._deep.statistics()
        return LiveCounters(**asdict(self._counters))

    def pressure(self) -> float:
        """How full the wide ring is, 0 to 1: above a half, work that can be left out should be, or packets are lost."""
        return self._wide.fullness()

    def batches(self) -> Iterator[PacketBatch]:
        """Batches in event-time order until :meth:`stop`; an empty one after every second without packets.

        A batch never spans a step of the clock backwards; ``clock_steps_back`` has grown when the one after it comes.
        """
        idle_since = self._clock.monotonic()
        while True:
            is_last = self._is_stopped
            batch = self._take(is_last)
            now = self._clock.monotonic()
            # Before the batch is worked on: what comes meanwhile must have room.
            self._look_after_depth(now)
            if len(batch) or now - idle_since >= _IDLE_S:
                idle_since = now
                yield batch
            if len(batch) < _BATCH_MAX // 2:
                if is_last and not len(batch):
                    return
                self._wait()

    def _wait(self) -> None:
        if not self._counters.is_interface_up:
            self._clock.sleep(_RETRY_S)
            is_found = [ring.rebind() for ring in self._rings]
            if all(is_found) and not self._lost_interface():
                self._counters.is_interface_up = True
                log.info("interface back", extra={"interface": self._wide.interface})
            return
        events = self._poll.poll(_IDLE_S * 1000)
        if any(event & select.POLLERR for _, event in events) and self._lost_interface():
            self._counters.is_interface_up = False
            self._counters.interface_losses += 1
            log.warning("interface lost", extra={"interface": self._wide.interface})
        elif not self._is_stopped:
            self._clock.sleep(_PAUSE_S)

    def _lost_interface(self) -> bool:
        return True in {ring.lost_interface() for ring in self._rings}  # both are asked: asking takes the error away

    def _take(self, is_last: bool) -> PacketBatch:
        """What is due in both rings, oldest first, at most ``_BATCH_MAX``, copied out and decoded."""
        now_ns = to_ns(self._clock.now())
        if is_last:
            self._end_ns = self._end_ns or now_ns  # what comes later is not waited for: on a busy wire there is no end
        until_ns = self._end_ns or now_ns - _SETTLING_NS
        self._deep_fullness = self._deep.fullness()
        # The deep ring is looked at first: what comes between the two looks is not due, by ``until_ns``.
        deep = self._deep.ready(_DEEP_MAX, until_ns, now_ns + _STEP_NS)
        wide = self._wide.ready(_BATCH_MAX, until_ns, now_ns + _STEP_NS)
        merged = merge((wide, deep), count_max=_BATCH_MAX, last_ns=self._last_ns, step_ns=_STEP_NS)
        frames = self._copied((wide, deep), merged)
        if self._clock.monotonic() < self._switching_until:
            frames = self._without_twins(frames, merged)
        if len(frames.time_ns):
            self._last_ns = int(frames.time_ns.max())
            self._counters.clock_steps_back += merged.is_step_back
        batch = decode(frames)
        self._counters.merged += int(np.count_nonzero(batch.faults & Fault.MERGED))
        return batch

    def _copied(self, ready: tuple[Ready, Ready], merged: Merged) -> Frames:
        """The frames in one buffer of this process, their slots given back."""
        heads = zip(self._rings, ready, merged.counts, strict=True)
        parts = [ring.frames(found, count) for ring, found, count in heads]
        data = np.empty(sum(frames.size for frames, _ in parts) + SLACK, np.uint8)
        offsets, start = [], 0
        for ring, count, (frames, offset) in zip(self._rings, merged.counts, parts, strict=True):
            data[start : start + frames.size].reshape(frames.shape)[:] = frames
            ring.release(count)
            offsets.append(start + offset)
            start += frames.size

        def column(name: str) -> NDArray[Any]:
            parts = [getattr(found, name)[:count] for found, count in zip(ready, merged.counts, strict=True)]
            return np.concatenate(parts)[merged.order]

        captured, wire = column("captured_size"), column("wire_size")
        self._counters.deep_cut += int(np.count_nonzero((captured < wire) & (merged.order >= merged.counts[0])))
        first = self._counters.packets
        self._counters.packets += len(merged.order)
        self._counters.deep_packets += merged.counts[1]
        return Frames(
            data=data.data,
            frame_offset=np.concatenate(offsets)[merged.order],
            captured_size=captured,
            wire_size=wire,
            time_ns=column("time_ns"),
            position=np.arange(first, self._counters.packets, dtype=np.uint64),
            vlan_moved=column("vlan"),
        )

    def _without_twins(self, frames: Frames, merged: Merged) -> Frames:
        """Of a packet that is in both rings, known by its stamp and size, the whole one stays."""
        is_deep = merged.order >= merged.counts[0]
        is_twin = np.zeros(len(is_deep), np.bool_)
        is_twin[:-1] = (is_deep[1:] & ~is_deep[:-1]) & (frames.time_ns[1:] == frames.time_ns[:-1])
        is_twin[:-1] &= frames.wire_size[1:] == frames.wire_size[:-1]
        kept = np.flatnonzero(~is_twin)
        twins_count = len(is_twin) - len(kept)
        self._counters.duplicates += twins_count
        self._counters.packets -= twins_count
        columns = ("frame_offset", "captured_size", "wire_size", "time_ns", "vlan_moved")
        taken = {name: getattr(frames, name)[kept] for name in columns}
        return replace(frames, **taken, position=frames.position[: len(kept)])

    def _look_after_depth(self, now: float) -> None:
        """A step down while the deep ring fills, a step up after it was calm."""
        depth = self._counters.depth
        if self._deep_fullness > _PRESSED_SHARE:
            self._pressed_at = now
            if depth is Depth.NONE:
                return
            self._change_depth(Depth(depth - 1))
            self._counters.narrowings += 1
            log.warning("capture depth given up", extra={"interface": self._wide.interface, "depth": depth - 1})
        elif depth is not Depth.FULL and now - self._pressed_at >= _CALM_S:
            self._pressed_at = now
            self._change_depth(Depth(depth + 1))
            log.info("capture depth regained", extra={"interface": self._wide.interface, "depth": depth + 1})

    def _change_depth(self, depth: Depth) -> None:
        """The filter that takes more is set first: for a moment a packet may be in both rings, never in none."""
        rings = [(self._wide, self._wide_filter(depth)), (self._deep, _deep_filter(depth))]
        for ring, program in rings if depth < self._counters.depth else reversed(rings):
            ring.attach(program)
        self._counters.depth = depth
        self._switching_until = self._clock.monotonic() + _SWITCH_S

    def _wide_filter(self, depth: Depth) -> bytes:
        if depth is Depth.NONE:
            return bpf.all_filter(self._snap_length)
        return bpf.wide_filter(self._snap_length, is_narrow=depth is Depth.NARROW)


def _deep_filter(depth: Depth) -> bytes:
    return bpf.all_filter(0) if depth is Depth.NONE else bpf.deep_filter(is_narrow=depth is Depth.NARROW)
