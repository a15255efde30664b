"""Damaged frames and clocks that lie: no detector raises, every table stays bounded, and the sensor goes on."""

from __future__ import annotations

from random import Random

import pytest

from govsec.testing.packets import SECOND, Frame
from govsec.testing.trafficcases import CASES
from tests.detect.observations import attack, found


def mixed() -> list[Frame]:
    """A bit of every attack, in the order of the table."""
    return [frame for case in CASES for frame in attack(case.name)[:40]]


def damaged(rng: Random, frame: Frame) -> Frame:
    data = bytearray(frame.data)
    for _ in range(rng.randrange(3)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return frame._replace(data=bytes(data[: rng.randrange(14, len(data) + 1)]) if rng.random() < 0.2 else bytes(data))


@pytest.mark.parametrize("seed", range(3))
def test_damaged_frames_in_any_order_make_no_detector_raise(seed: int) -> None:
    rng = Random(seed)
    frames = [damaged(rng, frame) for frame in mixed()]
    rng.shuffle(frames)

    findings = found(frames, packets_max=500)

    assert not any(finding.facts.get("reason") == "detector_failed" for finding in findings)


@pytest.mark.parametrize("seed", range(3))
def test_clocks_that_jump_make_no_detector_raise(seed: int) -> None:
    rng = Random(seed)
    jumps = (0, 1, -5, 3600, -3600, 86_400 * 400, -86_400 * 400, -(1_790_000_000))
    frames = [
        frame._replace(
            time_ns=max(0, frame.time_ns + rng.choice(jumps) * SECOND) if rng.random() < 0.05 else frame.time_ns
        )
        for frame in mixed()
    ]

    findings = found(frames, packets_max=500)

    assert not any(finding.facts.get("reason") == "detector_failed" for finding in findings)


def test_an_attack_after_one_packet_from_the_far_future_is_still_found() -> None:
    flood = attack("syn-flood")
    liar = flood[0]._replace(time_ns=flood[0].time_ns + 365 * 86_400 * SECOND)

    assert "net.flood.syn" in {finding.kind for finding in found([liar, *flood])}
