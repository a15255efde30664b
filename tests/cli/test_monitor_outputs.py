"""What ``monitor replay`` writes: a page with charts, EVE and OCSF lines; all of a file or none of it."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from govsec.cli.main import main
from govsec.report.catalog import Catalogue
from govsec.testing import trafficscans
from govsec.testing.packets import pcap_bytes
from govsec.testing.trafficcases import build
from tests.support.pages import Page


@pytest.fixture(scope="module")
def attack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("captures") / "scan<b>.pcap"
    path.write_bytes(pcap_bytes(build(trafficscans.vertical_scan)))
    return path


def test_a_page_shows_findings_traffic_and_hosts_and_loads_nothing(attack: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    assert main(["monitor", "replay", str(attack), "--report", str(report), "--lang", "en"]) == 1

    page = Page(report.read_text())
    assert "Port scan of one host" in page.text
    assert "scan<b>.pcap" in page.text
    assert page.text.count(trafficscans.SCANNER.address) >= 3
    assert {"rect", "circle"} <= set(page.tags)
    assert not {"script", "link", "img", "iframe", "b>"} & set(page.tags)
    assert not [link for link in page.links if not link.startswith("#")]
    assert stat.S_IMODE(report.stat().st_mode) == 0o600


def test_the_page_is_chinese_unless_asked_otherwise_and_the_same_each_time(attack: Path, tmp_path: Path) -> None:
    pages = []
    for name in ("one.html", "two.html"):
        main(["monitor", "replay", str(attack), "--report", str(tmp_path / name)])
        pages.append((tmp_path / name).read_bytes())

    assert pages[0] == pages[1]
    assert "网络流量分析报告" in pages[0].decode()


def test_the_two_catalogues_say_the_same_things() -> None:
    assert Catalogue("capture", "zh").keys() == Catalogue("capture", "en").keys()


def test_events_are_lines_of_json_with_the_finding_among_them(attack: Path, tmp_path: Path) -> None:
    eve, ocsf = tmp_path / "eve.json", tmp_path / "ocsf.json"
    assert main(["monitor", "replay", str(attack), "--eve", str(eve), "--ocsf", str(ocsf)]) == 1

    kinds = [json.loads(line)["event_type"] for line in eve.read_text().splitlines()]
    assert kinds.count("alert") == 1
    assert kinds.count("flow") > 100
    classes = [json.loads(line)["class_uid"] for line in ocsf.read_text().splitlines()]
    assert classes.count(2004) == 1
    assert stat.S_IMODE(eve.stat().st_mode) == 0o600


def test_a_broken_capture_leaves_no_half_file_of_events(attack: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pcap"
    data = bytearray(attack.read_bytes())
    data[24 + 8 : 24 + 12] = b"\xff\xff\xff\x7f"  # the first record claims two gigabytes
    broken.write_bytes(data)
    eve = tmp_path / "eve.json"
    eve.write_text("what was there before\n")

    assert main(["monitor", "replay", str(broken), "--eve", str(eve)]) != 0
    assert eve.read_text() == "what was there before\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.pcap", "eve.json"]


@pytest.mark.parametrize("option", ["--eve", "--ocsf", "--report"])
def test_a_place_that_cannot_be_written_is_named(
    attack: Path, tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "missing" / "out"
    assert main(["monitor", "replay", str(attack), option, str(place)]) == 2
    assert str(place) in capsys.readouterr().err


def test_no_output_takes_the_place_of_the_capture_or_of_another(attack: Path, tmp_path: Path) -> None:
    before = attack.read_bytes()
    same = str(tmp_path / "one.json")

    assert main(["monitor", "replay", str(attack), "--eve", str(attack)]) == 2
    assert main(["monitor", "replay", str(attack), "--eve", same, "--ocsf", same]) == 2
    assert attack.read_bytes() == before
    assert not (tmp_path / "one.json").exists()
