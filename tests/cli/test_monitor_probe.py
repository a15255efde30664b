"""``govsec monitor probe``: tables, JSON, exit codes, dismissals, accepting."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from govsec.cli.main import main
from govsec.report.catalog import Catalogue
from govsec.services.findings import KINDS
from tests.services.portals import Portal, running


@pytest.fixture
def portal() -> Iterator[Portal]:
    with running(Portal()) as one:
        one.page("/", "<title>fine</title><p>one</p><p>two</p>")
        yield one


@pytest.fixture
def site(tmp_path: Path, portal: Portal) -> list[str]:
    secret = tmp_path / "secret"
    secret.write_text("s3cret-value")
    secret.chmod(0o600)
    service: dict[str, Any] = {
        "name": "portal",
        "title": "某市政务服务网",
        "kind": "portal",
        "families": ["ipv4"],
        "timeout_s": 60,
        "confirm": {"failures": 1, "of": 1},
        "secrets": {"key": {"file": "secret"}},
        "steps": [
            {"name": "home", "url": f"http://127.0.0.1:{portal.port}/", "headers": {"X-Key": "${key}"}},
        ],
    }
    pages = {
        "name": "pages",
        "families": ["ipv4"],
        "timeout_s": 60,
        "pages": [{"name": "home", "url": f"http://127.0.0.1:{portal.port}/", "take_pause_s": 0}],
    }
    config = {"version": 1, "lang": "en", "state_dir": str(tmp_path / "state"), "services": [service, pages]}
    (tmp_path / "govsec.yaml").write_text(yaml.safe_dump(config))
    return ["--config", str(tmp_path / "govsec.yaml")]


def run(site: list[str], capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    capsys.readouterr()
    code = main(["monitor", "probe", *words, *site])
    return code, capsys.readouterr().out


def test_what_answers_is_a_table_and_what_does_not_has_advice(
    site: list[str], portal: Portal, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(site, capsys, "--accept")[0] == 0
    code, text = run(site, capsys)
    assert (code, "passed" in text, "findings: 0" in text) == (0, True, True)
    assert "s3cret-value" in [asked.headers.get("X-Key") for asked in portal.asked]

    portal.routes["/"] = (500, {}, b"s3cret-value")
    code, text = run(site, capsys, "portal")

    assert code == 1
    assert "Step home fails over ipv4: expected 200; seen: 500; a body of 12 bytes. 1 of 1 attempts failed." in text
    assert "What to do" in text
    code, text = run(site, capsys, "portal", "--lang", "zh")
    assert "服务不可用" in text
    assert "步骤 home 经 ipv4 失败" in text


def test_json_has_every_step_and_no_secret(site: list[str], portal: Portal, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run(site, capsys, "--json")
    facts = json.loads(text)

    assert code == 1  # the page was never accepted
    assert [service["name"] for service in facts["services"]] == ["portal", "pages"]
    (step,) = facts["services"][0]["runs"][0]["steps"]
    assert (step["name"], step["status"], step["failure"]) == ("home", 200, None)
    assert [finding["kind"] for finding in facts["findings"]] == ["service.unmeasured"]
    assert "s3cret" not in text


def test_a_finding_that_was_dismissed_is_held_back_and_counted(
    site: list[str], portal: Portal, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = json.loads(run(site, capsys, "--json")[1])
    pattern = facts["findings"][0]["facts"]["pattern"]

    assert main(["monitor", "dismiss", pattern, "--reason", "not ready yet", *site]) == 0
    code, text = run(site, capsys, "--json")

    assert code == 0
    assert json.loads(text)["suppressed"] == {f"dismissed {pattern}": 1}


def test_a_missing_secret_or_service_is_told_and_nothing_else_stops(
    site: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(site, capsys, "--accept")
    (tmp_path / "secret").unlink()

    code, text = run(site, capsys)

    assert code == 1
    assert "No such file" in text
    assert main(["monitor", "probe", "nobody", *site]) == 2
    (tmp_path / "govsec.yaml").write_text("version: 1\n")
    assert main(["monitor", "probe", *site]) == 3


def test_every_kind_has_title_and_advice_in_both_languages() -> None:
    for lang in ("zh", "en"):
        words = Catalogue("services", lang)  # type: ignore[arg-type]
        missing = [
            f"{kind}.{part}"
            for kind in KINDS
            for part in ("title", "advice")
            if not words.has(f"finding.{kind}.{part}")
        ]
        assert missing == []
    assert Catalogue("services", "zh").keys() == Catalogue("services", "en").keys()


def test_every_technique_that_findings_name_is_in_the_matrix() -> None:
    from govsec.findings.attack import TECHNIQUES
    from govsec.services import findings

    named = {value for value in vars(findings).values() if isinstance(value, str) and value.startswith("T1")}

    assert named
    assert named <= set(TECHNIQUES)


def test_the_configuration_of_the_documentation_is_one(tmp_path: Path) -> None:
    from govsec.config import load_config

    page = (Path(__file__).resolve().parents[2] / "docs" / "services.md").read_text(encoding="utf-8")
    path = tmp_path / "govsec.yaml"
    path.write_text(page.split("```yaml\n")[1].split("```")[0], encoding="utf-8")

    (service,) = load_config(path).services

    assert [step.name for step in service.steps] == ["home", "log-in", "certificate"]
    assert service.secrets["password"].file == Path("/etc/govsec/probe.password")
