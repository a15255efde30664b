"""What people read of a finding comes from the catalogue, in their language: nothing English on a Chinese page."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from random import Random
from typing import Literal

import pytest

from govsec.clock import from_ns
from govsec.config import MonitorConfig
from govsec.detect.api import Losses
from govsec.detect.capture_loss import CaptureLoss, CaptureLossSettings
from govsec.detect.hosts import Networks
from govsec.detect.registry import Site
from govsec.detect.sensor_degraded import SensorDegraded, SensorDegradedSettings
from govsec.findings.baseline import Baseline
from govsec.records import Finding, Severity
from govsec.report.catalog import Catalogue
from govsec.report.findingwords import finding_said, measures
from govsec.testing.packets import SECOND, START_NS, Conversation, outside, station
from govsec.testing.trafficcases import CASES, Case
from tests.detect.observations import attack, empty_observation, found
from tests.detect.test_volumes import HOST, MIB, NOW, a_whole_hour, known, told, volume

LANGS: tuple[Literal["zh", "en"], ...] = ("zh", "en")
_HAN = re.compile(r"[\u4e00-\u9fff]")


@cache
def findings_of(name: str) -> tuple[Finding, ...]:
    return tuple(found(attack(name)))


def assert_is_told(finding: Finding) -> str:
    """In both languages, from the catalogue alone; gives the Chinese words."""
    zh, en = Catalogue("monitor", "zh"), Catalogue("monitor", "en")
    told_zh, told_en = finding_said(finding, zh), finding_said(finding, en)
    assert _HAN.search(told_zh)
    assert not _HAN.search(told_en)
    # Its own summary stands in where the catalogue lacks words or a fact: in English that would not show.
    key = f"finding.{finding.kind}.said"
    keys = en.keys()
    assert any(each == key or each.startswith(f"{key}_") for each in keys)
    assert all(_HAN.search(row["name"]) for row in measures(finding, zh))
    return told_zh


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_finding_is_told_from_the_catalogue_in_both_languages(case: Case) -> None:
    findings = findings_of(case.name)

    assert findings
    for finding in findings:
        assert_is_told(finding)


def test_numbers_hosts_and_thresholds_stand_in_the_words() -> None:
    (finding,) = findings_of("horizontal")

    assert assert_is_told(finding) == (
        "192.168.10.66 在 4.8 秒内对 18 台主机尝试了 TCP 端口 23（阈值 15），90% 的尝试没有应答。"
    )


def test_a_list_of_indicators_is_told_by_how_it_was_met(tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_text("203.0.113.200 # botnet\n")
    os.utime(path, ns=(START_NS, START_NS))
    site = Site(Networks(MonitorConfig().home_networks), Baseline(), (path,))
    bad = outside("203.0.113.200")
    ours = Conversation(Random(1), START_NS, station(77), bad, 443).open().ask(b"x").answer(b"y").close().frames
    theirs = Conversation(Random(2), START_NS + SECOND, bad, station(80), 22).open().frames

    words = [assert_is_told(finding) for finding in found([*ours, *theirs], "indicator_match", site=site)]

    assert [("未见应答" in each, "已有应答" in each, "被 203.0.113.200 连接" in each) for each in words] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
        (False, False, True),
    ]
    assert all("botnet" in each and "bad.txt:1" in each for each in words)


def test_what_the_sensor_says_of_itself_is_told_in_both_languages() -> None:
    loss, degraded = CaptureLoss(CaptureLossSettings()), SensorDegraded(SensorDegradedSettings())
    findings: list[Finding] = []
    for second, losses in ((0, Losses()), (60, Losses(100_000, 1000, 5000, 20_000, 3))):
        findings += [*loss.observe(empty_observation(second * SECOND, losses))]
        findings += [*degraded.observe(empty_observation(second * SECOND, losses))]

    words = [assert_is_told(finding) for finding in findings]

    assert len(words) == 4
    assert words[0] == "1 分内有 1,000 个数据包（1%，阈值 0.1%）未及读取即丢失。"


def test_a_volume_is_told_beside_what_is_usual() -> None:
    (finding,) = told(volume(known([10.0 * MIB] * 8, "sent")), a_whole_hour(900 * MIB))

    assert "通常为 10.0 MiB" in assert_is_told(finding)


def test_a_finding_of_another_version_is_told_by_its_own_summary() -> None:
    finding = Finding(
        kind="net.scan.arp",
        severity=Severity.LOW,
        time=from_ns(NOW),
        subject=HOST,
        summary="Something\x1b[2J happened.",
        facts={"measured": {"hosts": {"value": 3}}},
    )

    assert finding_said(finding, Catalogue("monitor", "zh")) == "Something\\u001b[2J happened."


def test_every_kind_has_words_with_the_same_facts_in_both_languages() -> None:
    zh, en = (Catalogue("monitor", lang).keys() for lang in LANGS)
    kinds = {key.removesuffix(".title") for key in zh if key.startswith("finding.") and key.endswith(".title")}
    assert len(kinds) > 40

    for kind in kinds:
        assert any(key == f"{kind}.said" or key.startswith(f"{kind}.said_") for key in zh), kind
    assert zh == en
