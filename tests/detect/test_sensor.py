"""The sensor on itself: lost packets, flows that are not kept, settings that are wrong."""

from __future__ import annotations

import pytest

from govsec.config import MonitorConfig
from govsec.detect.api import Losses
from govsec.detect.capture_loss import CaptureLoss, CaptureLossSettings
from govsec.detect.hosts import Networks
from govsec.detect.registry import DETECTORS, Site, build_detectors, read_settings, settings_schema
from govsec.detect.sensor_degraded import SensorDegraded, SensorDegradedSettings
from govsec.errors import ConfigurationError
from govsec.findings.baseline import Baseline
from govsec.records import Severity
from tests.detect.observations import empty_observation

SECOND_NS = 10**9


def lost(*steps: tuple[int, int, int]) -> list[Severity]:
    """Severities told for (second, packets received, packets dropped) so far."""
    detector, told = CaptureLoss(CaptureLossSettings()), []
    for second, received, dropped in steps:
        told += list(detector.observe(empty_observation(second * SECOND_NS, Losses(received, dropped))))
    told += list(detector.finish((steps[-1][0] + 1) * SECOND_NS))
    return [finding.severity for finding in told]


def test_a_loss_is_judged_by_the_minute_as_a_share_of_what_came() -> None:
    assert lost((0, 0, 0), (60, 100_000, 1000)) == [Severity.MEDIUM]
    assert lost((0, 0, 0), (60, 100_000, 50_000)) == [Severity.HIGH]
    assert lost((0, 0, 0), (60, 1_000_000, 500)) == []
    assert lost((0, 0, 0), (60, 1000, 50)) == []


def test_an_old_loss_is_not_told_again() -> None:
    assert lost((0, 0, 0), (60, 100_000, 1000), (120, 200_000, 1000)) == [Severity.MEDIUM]


def test_a_loss_of_the_last_minute_is_told_at_the_end() -> None:
    assert lost((0, 0, 0), (30, 100_000, 1000)) == [Severity.MEDIUM]


def test_evicted_flows_and_unread_conversations_are_told_by_the_minute() -> None:
    detector = SensorDegraded(SensorDegradedSettings())
    list(detector.observe(empty_observation(0)))

    told = list(detector.observe(empty_observation(60 * SECOND_NS, Losses(flows_evicted=5000, messages_cut=20_000))))

    assert [finding.facts["reason"] for finding in told] == ["flows_evicted", "messages_cut"]
    assert list(detector.finish(90 * SECOND_NS)) == []


def test_every_detector_is_built_by_its_name_and_counts() -> None:
    detectors = build_detectors({}, Site(Networks(MonitorConfig().home_networks), Baseline()))

    assert [detector.name for detector in detectors] == list(DETECTORS)
    assert all(isinstance(count, int) for detector in detectors for count in detector.state().values())


def test_a_detector_can_be_switched_off() -> None:
    detectors = build_detectors({"beacon": {"enabled": False}}, Site(Networks(()), Baseline()))

    assert [detector.name for detector in detectors] == [name for name in DETECTORS if name != "beacon"]


@pytest.mark.parametrize(
    ("configured", "complaint"),
    [
        ({"scan_verticall": {}}, r"monitor\.detectors\.scan_verticall: no such detector"),
        ({"beacon": {"calls_mni": 3}}, r"monitor\.detectors\.beacon: calls_mni"),
        ({"beacon": {"calls_min": 1}}, r"monitor\.detectors\.beacon: calls_min"),
        ({"flood_syn": {"rate_min": "many"}}, r"monitor\.detectors\.flood_syn: rate_min"),
    ],
)
def test_a_wrong_setting_is_an_error_that_names_it(configured: dict[str, dict[str, object]], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        read_settings(configured)  # type: ignore[arg-type]


def test_every_threshold_says_in_the_schema_why_it_is_what_it_is() -> None:
    schema = settings_schema()

    for name, settings in schema["properties"].items():
        for key, field in settings["properties"].items():
            assert key == "enabled" or len(field.get("description", "")) > 8, f"{name}.{key}"
            assert "default" in field, f"{name}.{key}"
