"""The form of reports as data: what is refused when it is read, and that every report can be incomplete."""

from __future__ import annotations

import importlib.resources
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from govsec.errors import UsageError
from govsec.incident.reportform import PartSource, Report, ReportForm, shipped_form
from govsec.report.catalog import Catalogue


def _shipped() -> Any:
    return yaml.safe_load((importlib.resources.files("govsec_policies") / "incidents" / "reports.yaml").read_text())


def test_the_shipped_form_has_the_eight_items_of_article_7_and_the_six_of_article_8() -> None:
    form = shipped_form()
    assert len(list(form.of(Report.FIRST))) == len(list(form.of(Report.SUPPLEMENTARY))) == 8
    final = [item.id for item in form.of(Report.FINAL)]
    assert final[-6:] == ["final_cause", "handling", "harm", "accountability", "rectification", "lessons"]
    assert {part.source for item in form.items for part in item.parts if part.source} == set(PartSource)


def test_a_form_that_contradicts_itself_is_refused() -> None:
    def broken(change: Any) -> None:
        value = _shipped()
        change(value)
        with pytest.raises(ValidationError):
            ReportForm.model_validate(value)

    broken(lambda value: value["items"][0].update(source="nobody"))
    broken(lambda value: value["items"][0]["parts"][0].update(id="system"))
    broken(lambda value: value["items"][2]["parts"][0].update(needed=["final"]))
    broken(lambda value: value["items"][1]["parts"][1].update(enough="statement"))
    broken(lambda value: [part.update(needed=[]) for item in value["items"] for part in item["parts"]])
    broken(lambda value: value.update(surprise=1))


def test_only_parts_of_the_form_are_answered() -> None:
    shipped_form().check_part("cause")
    with pytest.raises(UsageError, match="there are organization"):
        shipped_form().check_part("Cause")


def test_both_languages_have_the_same_words_for_reports() -> None:
    assert Catalogue("incidentreport", "zh").keys() == Catalogue("incidentreport", "en").keys()
