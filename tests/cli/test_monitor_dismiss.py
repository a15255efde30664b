"""``govsec monitor dismiss``: a finding is not told again, visibly, until it ends or is taken back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from govsec.cli.main import main
from govsec.testing import trafficscans
from govsec.testing.packets import pcap_bytes
from govsec.testing.trafficcases import build


@pytest.fixture
def site(tmp_path: Path) -> list[str]:
    (tmp_path / "scan.pcap").write_bytes(pcap_bytes(build(trafficscans.vertical_scan)))
    config = tmp_path / "govsec.yaml"
    config.write_text(f"version: 1\nlang: en\nstate_dir: {tmp_path / 'state'}\n")
    return ["--config", str(config)]


def replayed(site: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    capsys.readouterr()
    main(["monitor", "replay", str(Path(site[1]).parent / "scan.pcap"), "--json", *site])
    value: dict[str, object] = json.loads(capsys.readouterr().out)
    return value


def test_a_dismissed_pattern_is_held_back_and_counted_and_told_again_when_withdrawn(
    site: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    pattern = replayed(site, capsys)["findings"][0]["facts"]["pattern"]  # type: ignore[index]

    assert main(["monitor", "dismiss", pattern, "--reason", "a test of ours", "--owner", "li", *site]) == 0
    after = replayed(site, capsys)
    assert after["findings"] == []
    assert sum(after["counters"]["suppressed"].values()) > 0  # type: ignore[index]
    assert main(["monitor", "replay", str(Path(site[1]).parent / "scan.pcap"), *site]) == 0
    assert pattern in capsys.readouterr().out

    assert main(["monitor", "dismissals", *site]) == 0
    assert "a test of ours" in capsys.readouterr().out

    assert main(["monitor", "dismiss", pattern, "--withdraw", *site]) == 0
    assert len(replayed(site, capsys)["findings"]) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        ["net.scan.vertical", "--reason", "too loud"],
        ["net.scan.vertical|10.0.0.1|x", "--reason", ""],
        ["net.scan.vertical|10.0.0.1|x", "--reason", "good enough", "--days", "4000"],
        ["net.scan.vertical|10.0.0.1|x", "--withdraw"],
    ],
    ids=["a whole kind", "no reason", "for ever", "not on record"],
)
def test_a_dismissal_without_host_reason_or_end_is_refused(
    site: list[str], options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["monitor", "dismiss", *options, *site]) == 2
    assert main(["monitor", "dismissals", *site]) == 0
    assert "nothing is dismissed" in capsys.readouterr().out


def test_a_baseline_is_kept_between_runs(site: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "learned" / "baseline.sqlite"
    command = ["monitor", "replay", str(tmp_path / "scan.pcap"), "--baseline", str(path), *site]

    assert [main(command), main(command)] == [1, 1]
    assert path.stat().st_size > 0

    path.write_bytes(b"not a baseline at all" * 200)
    assert main(command) == 6
