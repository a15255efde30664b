"""Uploads and volumes against what is usual: by hour of the week, by pair, or a fixed floor while nothing is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from govsec.config import MonitorConfig
from govsec.detect.api import Detector, Losses, Observation, at_end
from govsec.detect.exfiltration import Exfiltration, ExfiltrationSettings
from govsec.detect.hosts import Networks
from govsec.detect.volume import Volume, VolumeSettings
from govsec.findings.baseline import HOUR_NS, Baseline, hour_of
from govsec.net.addresses import parse
from govsec.net.columns import FLOW, FlowState, FlowUpdate, Opening, Protocol
from govsec.records import Finding, Severity
from govsec.testing.packets import START_NS
from tests.detect.observations import batch_of

HOME = Networks(MonitorConfig().home_networks)
HOST, PLACE, OTHER = "192.168.10.77", "203.0.113.150", "203.0.113.151"
MIB = 1 << 20
NOW = hour_of(START_NS) * HOUR_NS


def flow(time_ns: int, sent: int, received: int, *, responder: str = PLACE, originator: str = HOST) -> np.ndarray:
    row = np.zeros(1, dtype=FLOW)
    for name, address in (("originator", originator), ("responder", responder)):
        row[f"{name}_hi"], row[f"{name}_lo"] = parse(address)
    row["first_ns"] = row["start_ns"] = time_ns
    row["last_ns"] = row["end_ns"] = time_ns
    row["payload_originator"], row["payload_responder"] = sent, received
    row["bytes_originator"], row["bytes_responder"] = sent, received
    row["responder_port"], row["protocol"], row["ip_version"] = 443, Protocol.TCP, 4
    row["opening"], row["state"] = Opening.SYN, FlowState.CLOSED
    return row


def told(detector: Detector, flows: Sequence[np.ndarray]) -> list[Finding]:
    findings: list[Finding] = []
    none = np.zeros(0, dtype=FLOW)
    for row in flows:
        time_ns = int(row["end_ns"][0])
        update = FlowUpdate(np.zeros(0, np.uint64), np.zeros(0, np.bool_), none, none, row, time_ns)
        observation: Observation = at_end(batch_of([]), update, Losses())
        findings += detector.observe(observation)
    return findings


def exfiltration(baseline: Baseline | None = None) -> Exfiltration:
    return Exfiltration(ExfiltrationSettings(), HOME, baseline or Baseline())


def known(values: Sequence[float], metric: str, weeks_ago_first: int = 8) -> Baseline:
    """Values of this hour of the week, one a week before now."""
    baseline = Baseline()
    for number, value in enumerate(values):
        baseline.add(hour_of(NOW) - 168 * (weeks_ago_first - number), {(HOST, metric): value})
    return baseline


def test_an_upload_over_the_floor_is_told_without_a_baseline_and_says_so() -> None:
    (finding,) = told(exfiltration(), [flow(NOW, 10 * MIB, 1000), flow(NOW + 1, 10 * MIB, 1000)])

    assert finding.severity is Severity.MEDIUM
    assert finding.facts["has_baseline"] is False
    assert finding.facts["originators"] == [HOST]
    assert finding.facts["responders"] == [PLACE]


@pytest.mark.parametrize(
    "flows",
    [
        [flow(NOW, 15 * MIB, 0)],
        [flow(NOW, 10 * MIB, 0), flow(NOW + HOUR_NS, 10 * MIB, 0)],
        [flow(NOW, 10 * MIB, 0), flow(NOW, 10 * MIB, 0, responder=OTHER)],
        [flow(NOW, 100 * MIB, 10 * MIB)],
        [flow(NOW, 100 * MIB, 0, responder="192.168.10.5")],
        [flow(NOW, 100 * MIB, 0, responder="239.1.1.1")],
        [flow(NOW, 0, 100 * MIB)],
    ],
    ids=["little", "over two hours", "to two places", "an exchange", "at home", "to a group", "a download"],
)
def test_what_is_little_or_goes_both_ways_or_stays_at_home_is_silent(flows: list[np.ndarray]) -> None:
    assert told(exfiltration(), flows) == []


def test_an_upload_far_above_this_hour_of_earlier_weeks_is_told_as_high() -> None:
    (finding,) = told(exfiltration(known([MIB, 2 * MIB, MIB], "upload")), [flow(NOW, 64 * MIB, 0)])

    assert finding.severity is Severity.HIGH
    assert finding.facts["has_baseline"] is True


def test_an_upload_that_is_usual_at_this_hour_is_silent() -> None:
    baseline = known([60 * MIB, 70 * MIB, 65 * MIB], "upload")

    assert told(exfiltration(baseline), [flow(NOW, 64 * MIB, 0)]) == []


def test_a_place_that_the_host_knows_for_days_is_silent() -> None:
    baseline = Baseline()
    for day in range(3):
        baseline.meet(hour_of(NOW) - 24 * (3 - day), {(HOST, PLACE): None})

    assert told(exfiltration(baseline), [flow(NOW, 64 * MIB, 0)]) == []
    assert len(told(exfiltration(baseline), [flow(NOW, 64 * MIB, 0, responder=OTHER)])) == 1


def test_whole_hours_are_learned_and_the_first_partial_one_is_not() -> None:
    baseline = Baseline()
    flows = [flow(NOW + hour * HOUR_NS, (hour + 1) * 1000, 0) for hour in range(24 * 7)]
    told(exfiltration(baseline), flows)

    usual = baseline.usual(HOST, "upload", hour_of(NOW) + 24 * 7, weeks_min=9, days_min=3)

    assert usual == [1000.0 * (24 * day + 1) for day in range(1, 7)]


def volume(baseline: Baseline) -> Volume:
    return Volume(VolumeSettings(), HOME, baseline)


def a_whole_hour(sent: int) -> list[np.ndarray]:
    """One hour that is seen from its beginning, and the first flow of the next."""
    return [flow(NOW - HOUR_NS, 1, 1), flow(NOW, sent, 1), flow(NOW + HOUR_NS, 1, 1)]


def test_an_hour_far_above_the_same_hour_of_earlier_weeks_is_told_when_it_is_over() -> None:
    (finding,) = told(volume(known([40.0 * MIB, 50 * MIB, 45 * MIB], "sent")), a_whole_hour(900 * MIB))

    assert (finding.kind, finding.subject) == ("net.volume.unusual", HOST)
    assert finding.facts["measured"]["sent"]["value"] == 900 * MIB  # type: ignore[index,call-overload]


@pytest.mark.parametrize(
    ("values", "sent"),
    [([], 900), ([800.0, 900.0, 850.0], 900), ([1.0, 1.0, 1.0], 200), ([300.0, 300.0, 300.0], 900)],
    ids=["nothing is known", "as usual", "below the floor", "below the factor"],
)
def test_an_hour_without_comparison_or_close_to_it_is_silent(values: list[float], sent: int) -> None:
    assert told(volume(known([value * MIB for value in values], "sent")), a_whole_hour(sent * MIB)) == []


def test_tables_are_bounded_and_count_what_they_drop() -> None:
    small = Exfiltration(ExfiltrationSettings(pairs_max=1024), HOME, Baseline())
    told(small, [flow(NOW, 1, 1, responder=f"203.0.{number // 250}.{number % 250 + 1}") for number in range(1100)])

    assert small.state() == {"pairs": 1024, "pairs_dropped": 76}
