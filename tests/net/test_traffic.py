"""Traffic over time and by host: exact counts whatever the length, the order of batches and the number of hosts."""

from __future__ import annotations

import ipaddress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from govsec.net.columns import FLOW, FlowRecords, PacketBatch
from govsec.net.traffic import BINS_MAX, CLASSES, Talkers, TrafficSeries
from govsec.testing.packets import Frame
from govsec.testing.trafficcases import CASES, build
from tests.net import frames as raw

_FRAMES = [frame for case in CASES[:3] for frame in build(case.attack)[:40]]
_DAY_NS = 86_400 * 10**9


def batch_of(frames: list[Frame]) -> PacketBatch:
    return raw.batch_of([frame.data for frame in frames], times_ns=[frame.time_ns for frame in frames])


def frames_at(times: list[int]) -> list[Frame]:
    return [
        Frame(time_ns, frame.data)
        for time_ns, frame in zip(times, (_FRAMES[at % len(_FRAMES)] for at in range(len(times))), strict=True)
    ]


@given(
    gaps=st.lists(st.sampled_from((0, 1_000, 10**6, 10**8, 10**9, 10**11, _DAY_NS)), min_size=1, max_size=60),
    cut=st.integers(1, 60),
)
def test_every_packet_is_in_the_bin_of_its_time_however_long_the_capture_is(gaps: list[int], cut: int) -> None:
    times = (np.cumsum([1_700_000_000 * 10**9, *gaps[1:]])).tolist()
    frames = frames_at(times)
    counted = TrafficSeries()
    for start in range(0, len(frames), cut):
        counted.add(batch_of(frames[start : start + cut]))
    series = counted.series()

    assert series.start_ns % series.width_ns == 0
    assert len(series.packets[0]) <= BINS_MAX
    expected = [0] * len(series.packets[0])
    for time_ns in times:
        expected[(time_ns - series.start_ns) // series.width_ns] += 1
    assert [sum(column) for column in zip(*series.packets, strict=True)] == expected
    assert sum(map(sum, series.bytes)) == sum(len(frame.data) for frame in frames)


def test_a_clock_that_goes_back_counts_in_the_first_bin() -> None:
    counted = TrafficSeries()
    counted.add(batch_of(frames_at([5 * 10**12, 5 * 10**12 + 1])))
    counted.add(batch_of(frames_at([10**12])))

    assert sum(row[0] for row in counted.series().packets) == 3


def test_protocols_are_told_apart() -> None:
    names = {"vertical": "tcp", "udp-flood": "udp", "sweep": "icmp", "arp-scan": "other"}
    for case in CASES:
        if case.name not in names:
            continue
        counted = TrafficSeries()
        counted.add(batch_of(build(case.attack)[:200]))
        totals = dict(zip(CLASSES, map(sum, counted.series().packets), strict=True))
        assert totals[names[case.name]] == max(totals.values()), case.name


def rows(*flows: tuple[str, str, int, int, int]) -> FlowRecords:
    """Flows of originator, responder, bytes each way, part."""
    found = np.zeros(len(flows), FLOW)
    for row, (originator, responder, sent, received, part) in zip(found, flows, strict=True):
        for side, address in (("originator", originator), ("responder", responder)):
            row[f"{side}_lo"] = 0xFFFF_0000_0000 | int(ipaddress.IPv4Address(address))
        row["bytes_originator"], row["bytes_responder"], row["part"] = sent, received, part
        row["answered_ns"] = 1 if received else 0
    return found


def test_talkers_add_up_both_directions_and_the_rows_of_long_flows() -> None:
    talkers = Talkers()
    talkers.add(rows(("10.0.0.1", "10.0.0.2", 100, 900, 0), ("10.0.0.1", "10.0.0.3", 50, 0, 0)))
    talkers.add(rows(("10.0.0.1", "10.0.0.2", 10, 20, 1)))

    one, two, three = talkers.top(3)
    assert (one.address, one.bytes_sent, one.bytes_received, one.flows_opened) == ("10.0.0.1", 160, 920, 2)
    assert (two.address, two.bytes_sent, two.bytes_received, two.flows_answered) == ("10.0.0.2", 920, 110, 1)
    assert (three.address, three.flows_answered) == ("10.0.0.3", 0)


def test_too_many_hosts_leave_the_loudest_and_say_how_many_went() -> None:
    talkers = Talkers(hosts_max=100)
    for number in range(300):
        talkers.add(rows(("10.0.0.1", f"10.1.{number // 250}.{number % 250 + 1}", 10_000, 1, 0)))

    assert talkers.top(1)[0].address == "10.0.0.1"
    counters = talkers.counters()
    assert counters["hosts"] <= 100
    assert counters["hosts"] + counters["hosts_forgotten"] == 301


def test_nothing_gives_nothing() -> None:
    counted, talkers = TrafficSeries(), Talkers()
    counted.add(batch_of([]))
    talkers.add(np.zeros(0, FLOW))

    assert counted.series().packets == ((),) * len(CLASSES)
    assert talkers.top(5) == ()


@pytest.mark.parametrize("spread_ns", [10**5, 10**9, 400 * _DAY_NS])
def test_a_chart_has_enough_columns_to_show_a_course(spread_ns: int) -> None:
    counted = TrafficSeries()
    start = 1_700_000_000 * 10**9
    counted.add(batch_of(frames_at([start, start + spread_ns // 2, start + spread_ns])))
    bins = len(counted.series().packets[0])
    assert bins == 1 if spread_ns < 10**6 else 30 <= bins <= BINS_MAX
