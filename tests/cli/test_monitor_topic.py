"""``govsec monitor replay``: the same file gives the same output, in words and as data; wrong input is told."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import pytest

import govsec.detect
from govsec.cli.main import main
from govsec.report.catalog import Catalogue
from govsec.testing import trafficscans
from govsec.testing.packets import pcap_bytes
from govsec.testing.trafficcases import build


@pytest.fixture(scope="module")
def attack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("captures") / "scan.pcap"
    path.write_bytes(pcap_bytes(build(trafficscans.vertical_scan)))
    return path


def replayed(path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    code = main(["monitor", "replay", str(path), *options])
    return code, capsys.readouterr().out


def test_an_attack_is_told_with_hosts_numbers_and_advice(attack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, words = replayed(attack, capsys, "--lang", "en")

    assert code == 1
    assert "Port scan of one host" in words
    assert trafficscans.SCANNER.address in words
    assert "T1046" in words
    assert "take it off the network" in words
    assert "{" not in words


def test_words_are_chinese_unless_asked_otherwise(attack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, words = replayed(attack, capsys)

    assert "对单台主机的端口扫描" in words
    assert "处置建议" in words


def test_the_same_file_gives_the_same_output_byte_for_byte(attack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (replayed(attack, capsys, "--json") for _ in range(2))

    assert first == second
    value = json.loads(first[1])
    assert [finding["kind"] for finding in value["findings"]] == ["net.scan.vertical"]
    assert value["summary"]["packets"] > 1000
    assert value["counters"]["engine"]["findings"] == 1


def test_a_silent_capture_ends_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "benign.pcap"
    path.write_bytes(pcap_bytes(build(trafficscans.service_check)))

    code, words = replayed(path, capsys, "--lang", "en")

    assert code == 0
    assert "findings: 0" in words


def test_an_empty_capture_holds_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "empty.pcap"
    path.write_bytes(pcap_bytes([]))

    assert replayed(path, capsys, "--lang", "en") == (0, "no packets; findings: 0\n")


def test_what_is_no_capture_is_an_integrity_error_that_names_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("these are notes, and no packets at all")

    assert main(["monitor", "replay", str(path)]) == 6
    assert "notes.txt" in capsys.readouterr().err
    assert main(["monitor", "replay", str(tmp_path / "nowhere.pcap")]) == 3


def test_what_comes_before_a_broken_packet_is_judged_and_the_damage_told(
    attack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "broken.pcap"
    path.write_bytes(attack.read_bytes() + struct.pack("<IIII", 1, 0, 0xFFFF_FFFF, 60) + bytes(60))

    assert main(["monitor", "replay", str(path), "--lang", "en"]) == 6
    told = capsys.readouterr()
    assert "Port scan of one host" in told.out
    assert "broken, not read further 1" in told.out
    assert "broken.pcap: offset" in told.err
    code, words = replayed(path, capsys, "--json")
    value = json.loads(words)
    assert (code, len(value["findings"])) == (6, 1)
    assert "4294967295 bytes" in value["damage"]


def test_a_capture_that_ends_in_a_packet_says_so(
    attack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut.pcap"
    path.write_bytes(attack.read_bytes()[:-5])

    code, words = replayed(path, capsys)

    assert code == 1
    assert "末尾记录不完整 1" in words


def test_settings_of_the_site_are_used_and_wrong_ones_are_named(
    attack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "govsec.yaml"
    config.write_text("version: 1\nmonitor: {detectors: {scan_vertical: {enabled: false}}}\n")
    assert main(["monitor", "replay", str(attack), "--config", str(config)]) == 0

    config.write_text("version: 1\nmonitor: {detectors: {scan_sideways: {}}}\n")
    assert main(["monitor", "replay", str(attack), "--config", str(config)]) == 3
    assert "scan_sideways: no such detector" in capsys.readouterr().err
    assert main(["config", "check", "--config", str(config)]) == 3

    config.write_text("version: 1\nmonitor: {home_networks: [10.0.0.1/8]}\n")
    assert main(["config", "check", "--config", str(config)]) == 3


def test_the_schema_of_the_configuration_lists_every_detector(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema"]) == 0

    detectors = json.loads(capsys.readouterr().out)["$defs"]["MonitorConfig"]["properties"]["detectors"]
    assert "ports_min" in detectors["properties"]["scan_vertical"]["properties"]
    assert detectors["additionalProperties"] is False


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_every_kind_that_a_detector_tells_has_a_title_and_advice(lang: str) -> None:
    words = Catalogue("monitor", "en" if lang == "en" else "zh")
    sources = "".join(path.read_text(encoding="utf-8") for path in Path(govsec.detect.__path__[0]).glob("*.py"))
    kinds = set(re.findall(r'"(net\.[a-z_]+\.[a-z_]+)"', sources))

    assert len(kinds) >= 25
    for kind in sorted(kinds):
        assert words.has(f"finding.{kind}.title"), kind
        assert words.has(f"finding.{kind}.advice"), kind
