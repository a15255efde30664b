"""From frames to findings in a test: decoded, put into flows, dissected, and shown to detectors, in batches cut
anywhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from govsec.detect.api import Losses, Observation
from govsec.net.columns import FLOW, FlowUpdate, PacketBatch
from govsec.net.decode import Frames, decode
from govsec.net.gather import SLACK
from govsec.testing.packets import Frame


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
