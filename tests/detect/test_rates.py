"""Rates by target from columns: exact for small traffic, constant in memory, the same wherever batches are cut."""

from __future__ import annotations

import numpy as np

from govsec.detect.rates import ASK, Burst, RateBins, Usual, buckets
from govsec.testing.packets import SECOND, START_NS, SYN, Frame, outside, station, tcp_frame
from tests.detect.observations import batch_of


def syns(times_ms: list[int], target: int = 80) -> list[Frame]:
    return [
        Frame(
            START_NS + time * SECOND // 1000,
            tcp_frame(outside(f"198.51.{number % 200}.9"), 1024, station(target), 443, SYN),
        )
        for number, time in enumerate(times_ms)
    ]


def bursts(frames: list[Frame], *, asks_min: int, packets_max: int = 16_384) -> list[tuple[int, int, int]]:
    """Second (from the start), asks and sources of each burst."""
    bins, found = RateBins(asks_min=asks_min), []
    for start in range(0, len(frames), packets_max):
        packets = batch_of(frames[start : start + packets_max])
        index = np.arange(len(packets))
        kinds = np.full(len(packets), ASK, dtype=np.int8)
        found += list(bins.add(packets, index, kinds, buckets(packets.target_hi, packets.target_lo)))
    found += list(bins.finish())
    return [((burst.time_ns - START_NS) // SECOND, burst.asks, burst.sources_count) for burst in found]


def test_two_neighbouring_seconds_make_a_burst_together() -> None:
    frames = syns([*range(500, 1000, 10), *range(1000, 1500, 10)])

    assert bursts(frames, asks_min=100) == [(2, 100, 100)]
    assert bursts(frames, asks_min=101) == []


def test_seconds_apart_make_none() -> None:
    assert bursts(syns([*range(0, 900, 10), *range(2000, 2900, 10)]), asks_min=100) == []


def test_where_batches_are_cut_changes_no_burst() -> None:
    frames = syns(sorted(number * 37 % 9000 for number in range(900)))
    whole = bursts(frames, asks_min=150)

    assert whole
    for packets_max in (1, 7, 250):
        assert bursts(frames, asks_min=150, packets_max=packets_max) == whole


def test_targets_are_told_apart() -> None:
    frames = sorted(syns(list(range(0, 900, 5)), 80) + syns(list(range(0, 900, 9)), 81))

    assert bursts(frames, asks_min=150) == [(1, 180, 180)]


def test_a_clock_that_is_set_back_does_not_pile_an_hour_on_one_second() -> None:
    frames = syns([*range(0, 1000, 25), *range(-3_600_000, -3_590_000, 25)])

    assert bursts(frames, asks_min=81) == []
    assert bursts(frames, asks_min=80)[0][1] == 80


def test_more_packets_than_are_sampled_are_still_counted() -> None:
    frame = syns([0])[0].data
    frames = [Frame(START_NS + number, frame) for number in range(40_000)]

    assert bursts(frames, asks_min=100) == [(1, 40_000, 1)]


def test_what_is_usual_is_known_after_warmup_and_forgotten_for_targets_long_quiet() -> None:
    usual = Usual(warmup_s=3)

    def burst(target: int, asks: int) -> Burst:
        return Burst(0, 0, target, asks, 0, 0, np.zeros(0))

    assert [usual.rate(burst(1, asks)) for asks in (20, 40, 60, 1000)] == [None, None, None, 20]
    for target in range(2, 5000):
        usual.rate(burst(target, 1))
    assert usual.rate(burst(1, 20)) is None
    assert usual.forgotten_count > 0
