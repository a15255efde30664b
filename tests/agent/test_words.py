"""What an agent says, in words: every kind has them in both languages, with the numbers in; the spool is shown so."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from govsec.agent import child, sayings
from govsec.agent.spool import Spool
from govsec.agent.spoolrecord import Entry, Priority
from govsec.cli.main import main
from govsec.clock import SystemClock
from govsec.records import Finding, Severity
from govsec.report.agent import agent_finding
from govsec.report.catalog import Catalogue
from govsec.testing.clock import FakeClock

KINDS = sorted({value for value in vars(sayings).values() if isinstance(value, str) and value.startswith("agent.")})


def spooled(folder: Path, findings: list[Finding]) -> Path:
    with Spool(folder / "state/agent/host/spool.db", SystemClock()) as spool:
        spool.append(
            [Entry(Priority.FINDING, {"agent": "host", "module": "", "finding": one.canonical()}) for one in findings]
        )
    config = folder / "govsec.yaml"
    config.write_text(f"state_dir: {folder}/state\n")
    return config


def finding(kind: str = "agent.selftest.canary", summary: str = "Nothing.") -> Finding:
    time = datetime(2026, 11, 22, tzinfo=UTC)
    return Finding(kind=kind, severity=Severity.HIGH, time=time, subject="agent host", summary=summary)


def test_the_catalogues_have_the_same_keys_and_words_for_every_kind() -> None:
    assert len(KINDS) >= 10
    keys = set(Catalogue("agent", "en").keys())
    assert keys == set(Catalogue("agent", "zh").keys())
    for kind in [*KINDS, child.CANARY]:
        assert {f"finding.{kind}.title", f"finding.{kind}.said", f"finding.{kind}.advice"} <= keys, kind


@pytest.mark.parametrize("kind", KINDS)
def test_a_finding_of_each_kind_is_told_in_both_languages(kind: str, clock: FakeClock) -> None:
    said = sayings.Sayings("host", clock).say(kind, Severity.HIGH, "guard", "The program's own words.")
    assert said is not None

    chinese, english = agent_finding(said, "zh"), agent_finding(said, "en")
    assert "The program's own words." in chinese
    assert "处置建议" in chinese and "What to do" in english
    assert "{" not in chinese + english, "a number was not put in"


def test_numbers_stand_in_the_sentence(clock: FakeClock) -> None:
    said = sayings.Sayings("host", clock).say(
        sayings.RESTARTED,
        Severity.MEDIUM,
        "guard",
        "x",
        reason="memory",
        measured={"memory": sayings.Measure(300 << 20, 200 << 20, "bytes"), "lived": sayings.Measure(9, unit="s")},
    )
    assert said is not None

    words = agent_finding(said, "en")
    assert re.search(r"took 3\d\d(\.\d)? \S+ of memory where it may take 2\d\d(\.\d)? \S+;", words), words


def test_what_was_said_a_moment_ago_is_held_back_and_counted(clock: FakeClock) -> None:
    speaker = sayings.Sayings("host", clock)
    assert speaker.say(sayings.THROTTLED, Severity.LOW, "guard", "x") is not None
    assert speaker.say(sayings.THROTTLED, Severity.LOW, "guard", "x") is None
    assert speaker.say(sayings.THROTTLED, Severity.LOW, "other", "x") is not None
    clock.sleep(sayings.QUIET_S)
    again = speaker.say(sayings.THROTTLED, Severity.LOW, "guard", "x")

    assert again is not None and again.facts["repeats_held_back"] == 1


def test_the_spool_is_shown_in_words_and_as_json_and_nothing_is_acknowledged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = finding(summary="\x1b[2J\x1b]0;gone\x07 ‮")
    config = spooled(tmp_path, [finding(), hostile, finding("host.test.unknown")])

    assert main(["agent", "findings", "host", "--config", str(config), "--lang", "zh"]) == 1
    shown = capsys.readouterr().out
    assert "自检探测" in shown and "\x1b" not in shown and "\x07" not in shown and "‮" not in shown
    assert main(["agent", "findings", "host", "--config", str(config), "--after", "2", "--json"]) == 1
    records = json.loads(capsys.readouterr().out)["records"]
    assert [record["sequence"] for record in records] == [3]
    assert records[0]["finding"]["kind"] == "host.test.unknown"
    with Spool(tmp_path / "state/agent/host/spool.db", SystemClock(), is_reader=True) as spool:
        assert spool.state().records_count == 3


def test_where_no_agent_ever_ran_there_is_no_spool_to_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "govsec.yaml"
    config.write_text(f"state_dir: {tmp_path}/state\n")

    assert main(["agent", "findings", "host", "--config", str(config)]) == 4
    assert "has ever run here" in capsys.readouterr().err
    assert not (tmp_path / "state").exists()
