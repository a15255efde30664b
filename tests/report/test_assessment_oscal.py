from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from govsec.report.assessment_oscal import render_oscal
from govsec.report.catalog import Lang
from govsec.report.oscalmodels import Property
from tests.report.assessment_samples import assessment, hostile, short
from tests.support.require import missing

LANGS: tuple[Lang, ...] = ("zh", "en")
VECTORS = Path(__file__).resolve().parent.parent / "vectors" / "oscal"
GOLDEN = VECTORS / "results.json"
#: Installed apart from the suite's own libraries (see the Makefile).
TRESTLE = Path(sys.prefix) / "oscal"
READ = """
import sys, pathlib, warnings
sys.path.insert(0, sys.argv[1])
warnings.simplefilter("error")
from trestle.oscal.assessment_results import AssessmentResults
for name in sys.argv[2:]:
    (result,) = AssessmentResults.oscal_read(pathlib.Path(name)).results
    print(len(result.findings), len(result.observations), len(result.risks))
"""


def _result(record: dict[str, Any], lang: Lang = "zh") -> dict[str, Any]:
    (result,) = json.loads(render_oscal(record, lang))["assessment-results"]["results"]
    assert isinstance(result, dict)
    return result


def _props(part: dict[str, Any]) -> dict[str, str]:
    return {prop["name"]: prop["value"] for prop in part["props"]}


def test_compliance_trestle_reads_what_we_write(tmp_path: Path) -> None:
    if not (TRESTLE / "installed").exists():
        missing("compliance-trestle", f"not in {TRESTLE} (make {TRESTLE}/installed)")
    for name, data in (("full", render_oscal(assessment(), "zh")), ("hostile", render_oscal(hostile(), "en"))):
        (tmp_path / f"{name}.json").write_bytes(data)
    files = [str(tmp_path / "full.json"), str(tmp_path / "hostile.json"), str(GOLDEN)]

    done = subprocess.run(
        [sys.executable, "-I", "-c", READ, str(TRESTLE), *files],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split("\n") == ["209 121 2", "209 121 2", "8 22 2", ""]


def test_a_known_record_gives_the_known_document() -> None:
    record = json.loads((VECTORS / "record.json").read_bytes())

    assert render_oscal(record, "en") == GOLDEN.read_bytes()


def test_only_conform_is_satisfied_and_the_verdict_stands_beside_it() -> None:
    record = assessment()
    verdicts = {item["id"]: item["verdict"] for item in record["items"]}
    seen = set()
    for finding in _result(record)["findings"]:
        props = _props(finding)
        assert props["verdict"] == verdicts[props["clause"]]
        is_satisfied = finding["target"]["status"]["state"] == "satisfied"
        assert is_satisfied == (props["verdict"] == "conform")
        seen.add((props["verdict"], finding["target"]["status"]["reason"]))

    assert seen == {("conform", "pass"), ("partial", "fail"), ("not_conform", "fail"), ("undecided", "other")}


def test_what_does_not_apply_is_excluded_and_has_no_finding() -> None:
    result = _result(assessment())
    (selection,) = result["reviewed-controls"]["control-selections"]

    assert len(selection["include-controls"]) == 211
    assert len(selection["exclude-controls"]) == 2
    assert "8.1.3.6" not in {_props(finding)["clause"] for finding in result["findings"]}


@pytest.mark.parametrize("record", [assessment(), hostile()], ids=["sample", "hostile"])
def test_every_reference_leads_to_something_and_no_identifier_is_used_twice(record: dict[str, Any]) -> None:
    document = json.loads(render_oscal(record, "zh"))["assessment-results"]
    (result,) = document["results"]
    defined = [part["uuid"] for kind in ("observations", "risks", "findings") for part in result[kind]]
    defined += [part["uuid"] for part in result["local-definitions"]["components"]]
    defined += [part["uuid"] for part in document["back-matter"]["resources"]]
    named = {ref["observation-uuid"] for part in result["findings"] for ref in part.get("related-observations", ())}
    named |= {ref["risk-uuid"] for part in result["findings"] for ref in part.get("related-risks", ())}
    named |= {ref["subject-uuid"] for part in result["observations"] for ref in part.get("subjects", ())}
    named.add(document["import-ap"]["href"].removeprefix("#"))

    assert len(defined) == len(set(defined))
    assert named <= set(defined)
    assert len(named) > 100


def test_names_that_differ_only_in_what_is_escaped_keep_their_own_identifiers() -> None:
    record = short()
    record["objects"]["a\x00"] = record["objects"]["oa-app-01"] | {"name": "a\x00"}
    record["objects"]["a\\u0000"] = record["objects"]["oa-app-01"] | {"name": "a\\u0000"}
    parts = _result(record)["local-definitions"]["components"]

    assert len({part["uuid"] for part in parts}) == len(record["objects"])


def test_a_rate_carries_its_standing_and_coverage() -> None:
    props = {prop["name"]: prop for prop in _result(assessment(), "en")["props"]}

    assert props["coverage"]["value"] == "35.8 %"
    assert props["rate-2025"]["value"] == "28.3 %"
    assert "Coverage 35.8 %" in props["rate-2025"]["remarks"]
    assert "formula unconfirmed" in props["rate-2025"]["remarks"]


def test_raw_outputs_stay_in_the_record() -> None:
    text = render_oscal(assessment(), "zh").decode()

    assert "appview locked=no" not in text
    assert assessment()["objects"]["oa-db-01"]["facts_sha256"] in text


@pytest.mark.parametrize("lang", LANGS)
def test_the_same_record_gives_the_same_bytes(lang: Lang) -> None:
    assert render_oscal(assessment(), lang) == render_oscal(assessment(), lang)


def test_a_level_mark_in_a_key_becomes_a_token() -> None:
    record = short()
    record["items"][0] |= {"key": "GEN-PES-2-b@L4", "assessment_unit": ""}

    assert "GEN-PES-2-b_L4" in {finding["target"]["target-id"] for finding in _result(record)["findings"]} | {
        ref["control-id"] for ref in _result(record)["reviewed-controls"]["control-selections"][0]["include-controls"]
    }


@pytest.mark.parametrize("value", ["", " a", "a\nb"])
def test_a_property_that_oscal_does_not_allow_cannot_be_made(value: str) -> None:
    with pytest.raises(ValidationError):
        Property(name="x", value=value)
