"""Matches of lists: addresses by direction and answer, names with all below them, fingerprints, ends, reload."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest

from govsec.config import MonitorConfig
from govsec.detect.hosts import Networks
from govsec.detect.indicator_match import IndicatorMatch, IndicatorMatchSettings
from govsec.detect.indicators import IndicatorFiles
from govsec.detect.registry import Site
from govsec.findings.baseline import Baseline
from govsec.records import Finding, Severity
from govsec.testing.packets import SECOND, START_NS, SYN, Conversation, Frame, outside, station, tcp_frame
from govsec.testing.traffictls import client_hello
from govsec.testing.traffictunnels import lookup
from tests.detect.observations import empty_observation, found

BAD = outside("203.0.113.200")


def matches(frames: list[Frame], text: str, tmp_path: Path) -> list[Finding]:
    path = tmp_path / "bad.txt"
    path.write_text(text)
    os.utime(path, ns=(START_NS, START_NS))
    site = Site(Networks(MonitorConfig().home_networks), Baseline(), (path,))
    return found(frames, "indicator_match", site=site)


def answered(is_ours: bool) -> list[Frame]:
    client, server = (station(77), BAD) if is_ours else (BAD, station(80))
    return Conversation(Random(1), START_NS, client, server, 443).open().ask(b"x").answer(b"y").close().frames


@pytest.mark.parametrize("entry", ["203.0.113.200 # botnet", "203.0.113.192/26 # botnet"])
def test_an_address_or_network_that_we_called_is_told_with_its_source(entry: str, tmp_path: Path) -> None:
    findings = matches(answered(is_ours=True), f"{entry}\n", tmp_path)

    assert [finding.severity for finding in findings] == [Severity.MEDIUM, Severity.HIGH]
    assert findings[1].subject == station(77).address
    assert findings[1].facts["indicator"]["source"] == "bad.txt:1"  # type: ignore[index,call-overload]
    assert "botnet" in findings[1].summary


def test_who_only_knocked_is_told_as_low(tmp_path: Path) -> None:
    findings = matches(answered(is_ours=False), "203.0.113.200\n", tmp_path)

    assert {finding.severity for finding in findings} == {Severity.LOW}
    assert {finding.subject for finding in findings} == {station(80).address}


def test_the_narrowest_entry_is_the_one_that_is_told(tmp_path: Path) -> None:
    findings = matches(answered(is_ours=True), "203.0.0.0/16 # wide\n203.0.113.200 # narrow\n", tmp_path)

    assert {finding.facts["indicator"]["description"] for finding in findings} == {"narrow"}  # type: ignore[index,call-overload]


def test_an_address_beside_a_network_is_silent(tmp_path: Path) -> None:
    assert matches(answered(is_ours=True), "203.0.113.0/25\n203.0.113.201\n", tmp_path) == []


def test_a_name_is_told_with_all_below_it_and_not_beside_it(tmp_path: Path) -> None:
    frames = lookup(Random(1), START_NS, station(77), "a.b.BAD.example")
    frames += lookup(Random(2), START_NS + SECOND, station(77), "notbad.example")

    (finding,) = matches(frames, "bad.example\n", tmp_path)

    assert finding.severity is Severity.MEDIUM
    assert finding.facts["indicator"]["value"] == "bad.example"  # type: ignore[index,call-overload]


def test_a_name_in_a_client_hello_is_told_as_high(tmp_path: Path) -> None:
    talk = Conversation(Random(1), START_NS, station(77), outside("198.51.100.9"), 443).open()
    frames = talk.ask(client_hello(Random(1), "cdn.bad.example")).close().frames

    (finding,) = matches(frames, "bad.example\n", tmp_path)

    assert finding.severity is Severity.HIGH


def test_an_entry_that_has_ended_is_silent(tmp_path: Path) -> None:
    text = "indicator,expires\n203.0.113.200,2026-05-31\n"

    assert matches(answered(is_ours=True), text, tmp_path) == []


def test_a_changed_list_is_in_force_within_the_interval_and_a_lost_one_is_told(tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_text("192.0.2.1\n")
    settings = IndicatorMatchSettings(reload_s=60)
    detector = IndicatorMatch(settings, IndicatorFiles([path], ttl_s=settings.ttl_s))
    assert list(detector.observe(empty_observation(0))) == []

    path.write_text("192.0.2.1\n192.0.2.2\n")
    assert list(detector.observe(empty_observation(59 * SECOND))) == []
    assert detector.state()["indicators"] == 1
    assert list(detector.observe(empty_observation(60 * SECOND))) == []
    assert detector.state()["indicators"] == 2

    path.unlink()
    (finding,) = detector.observe(empty_observation(120 * SECOND))
    assert (finding.kind, finding.facts["reason"]) == ("net.sensor.degraded", "indicators_unreadable")
    assert detector.state()["indicators"] == 2


def test_a_knock_in_vain_is_told_once(tmp_path: Path) -> None:
    frames = [Frame(START_NS, tcp_frame(station(77), 40_000, BAD, 443, SYN))]

    (finding,) = matches(frames, "203.0.113.200\n", tmp_path)

    assert finding.severity is Severity.MEDIUM
