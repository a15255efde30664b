"""``monitor flows``, ``top`` and ``timeline``: the same counts as the capture has, in tables, lines and as data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from govsec.cli.main import main
from govsec.cli.monitorviews import sparkline
from govsec.testing import trafficscans, traffictunnels
from govsec.testing.packets import merge, pcap_bytes
from govsec.testing.trafficcases import build


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("captures") / "day.pcap"
    path.write_bytes(pcap_bytes(merge(build(trafficscans.vertical_scan), build(traffictunnels.exfiltration))))
    return path


def facts(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["monitor", *words, "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert isinstance(value, dict)
    return value


def test_flows_come_by_size_and_can_be_asked_for_by_host(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    every = facts(capsys, "flows", str(capture), "--count", "10000")
    sizes = [flow["bytes_sent"] + flow["bytes_received"] for flow in every["flows"]]

    assert every["count"] == len(every["flows"]) > 500
    assert sizes == sorted(sizes, reverse=True)
    some = facts(capsys, "flows", str(capture), "--host", trafficscans.SCANNER.address, "--count", "5")
    assert len(some["flows"]) == 5
    assert all(trafficscans.SCANNER.address in (flow["originator"], flow["responder"]) for flow in some["flows"])
    assert {flow["community_id"][:2] for flow in some["flows"]} == {"1:"}
    alone = [flow for flow in every["flows"] if trafficscans.SCANNER.address in (flow["originator"], flow["responder"])]
    assert some["count"] == len(alone)
    assert some["flows"] == alone[:5]


def test_who_sends_most_is_on_top(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    talkers = facts(capsys, "top", str(capture), "--count", "2")["talkers"]

    assert traffictunnels.INFECTED.address in {talker["address"] for talker in talkers}
    assert talkers[0]["bytes_sent"] + talkers[0]["bytes_received"] > 16 << 20


def test_the_timeline_has_every_packet(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value = facts(capsys, "timeline", str(capture))

    assert sum(map(sum, value["packets"])) == value["counters"]["capture"]["packets"]


@pytest.mark.parametrize(("verb", "words"), [("flows", "的流"), ("top", "主机"), ("timeline", "每格")])
def test_each_is_a_table_in_the_reader_s_language(
    capture: Path, verb: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["monitor", verb, str(capture), "--lang", "en"]) == 0
    english = capsys.readouterr().out
    assert main(["monitor", verb, str(capture)]) == 0
    chinese = capsys.readouterr().out

    assert english.isascii() or set(english) & set("→█▁▂▃▄▅▆▇")
    assert english != chinese
    assert words.strip("的") in chinese


def test_wrong_words_are_told(capture: Path, tmp_path: Path) -> None:
    assert main(["monitor", "top", str(capture), "--count", "0"]) == 2
    assert main(["monitor", "flows", str(capture), "--host", "nobody"]) == 3
    assert main(["monitor", "timeline", str(tmp_path / "none.pcap")]) == 3


def test_a_sparkline_shows_whatever_is_not_nothing() -> None:
    assert sparkline([0, 1, 1000]) == " ▁█"
    assert sparkline([]) == ""
    assert sparkline([0, 0]) == "  "
    assert len(sparkline(list(range(1000)))) <= 60
