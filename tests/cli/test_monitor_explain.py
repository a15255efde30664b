"""``govsec monitor explain`` on a terminal: words in both languages, JSON, and wrong questions."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from govsec.cli.main import main
from govsec.testing import trafficweb
from govsec.testing.packets import pcap_bytes


@pytest.fixture
def capture(tmp_path: Path) -> str:
    path = tmp_path / "web.pcap"
    path.write_bytes(pcap_bytes(trafficweb.path_traversal(Random(1))))
    return str(path)


def test_a_packet_is_explained_in_words(capture: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--lang", "en", "monitor", "explain", capture, "--packet", "4"]) == 0

    said = capsys.readouterr().out
    assert said.startswith("Packet 4  2026-06-01T01:00:00.006250Z  ")
    assert "asks for /download?file=../../../../etc/passwd of www.example.gov.cn (GET), in the clear." in said
    assert "0030" in said


def test_a_flow_is_explained_as_json(capture: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--json", "monitor", "explain", capture, "--packet", "1"])
    first = json.loads(capsys.readouterr().out)["packets"][0]
    port = dict(next(layer for layer in first["layers"] if layer["name"] == "TCP")["fields"])["sport"]
    flow = f"203.0.113.70:{port}-192.168.10.80:80/tcp"

    assert main(["--json", "monitor", "explain", capture, "--flow", flow, "--count", "3"]) == 0
    packets = json.loads(capsys.readouterr().out)["packets"]
    assert [packet["number"] for packet in packets] == [1, 2, 3]
    assert [packet["notes"][0]["code"] for packet in packets] == ["tcp.opening", "tcp.accepted", "tcp.acknowledged"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--packet", "0"], "packets are counted from 1"),
        (["--packet", "9999"], "and no number 9999"),
        (["--flow", "x"], "is no flow"),
        (["--flow", "1:x", "--count", "0"], "--count is between 1 and 200"),
    ],
)
def test_a_wrong_question_is_answered_with_what_is_wrong(
    capture: str, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    assert main(["--lang", "en", "monitor", "explain", capture, *arguments]) == 2
    assert complaint in capsys.readouterr().err
