"""The monthly bulletin: what is counted in which month, what is not known, hostile titles, and the samples in docs."""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from govsec import canonical
from govsec.cli import frame
from govsec.cli.main import build_parser
from govsec.errors import UsageError
from govsec.incident.bulletin import Month, compose_bulletin
from govsec.incident.deadlinetable import shipped_deadlines
from govsec.incident.desk import Desk, View
from govsec.incident.entries import ENTRY
from govsec.incident.rulepack import shipped_packs
from govsec.report.bulletin import bulletin_text, render_bulletin
from govsec.report.catalog import Catalogue, Lang
from govsec.testing.cases import MemoryCases
from govsec.testing.clock import FakeClock
from tests.support.incidentsamples import bulletin, first_report, half_year

NOVEMBER = Month(2026, 11)
_SAMPLES = Path(__file__).parents[2] / "docs" / "samples"


class _Desk:
    def __init__(self) -> None:
        self.clock = FakeClock(datetime(2026, 11, 10, 1, 0, tzinfo=UTC))
        self.desk = Desk(MemoryCases(), shipped_packs(), shipped_deadlines(), self.clock)

    def open(self, title: str = "门户网站打不开", **more: Any) -> View:
        said = {"kind": "opened", "title": title, "aware_at": self.clock.now(), "roles": ["other_operator"], **more}
        return self.desk.open(self._entry(**said))

    def say(self, view: View, kind: str, **said: Any) -> View:
        return self.desk.add(view.case.id, self._entry(kind=kind, **said))

    def bulletin(self, *views: View, systems: Any = (), missing: Any = ()) -> Any:
        now = [self.desk.view(view.case.id) for view in views]
        return compose_bulletin(
            NOVEMBER, [view.summary() for view in now], now, drills=[], systems=systems, missing=missing,
            organization="某市", now=self.clock.now(),
        )  # fmt: skip

    def _entry(self, **said: Any) -> Any:
        return ENTRY.validate_python({"time": self.clock.now(), "by": "张三", **said})


@pytest.fixture
def desk() -> _Desk:
    return _Desk()


@pytest.mark.parametrize(("text", "first"), [("2026-11", "2026-10-31T16:00:00"), ("2026-01", "2025-12-31T16:00:00")])
def test_months_are_those_of_china(text: str, first: str) -> None:
    month = Month.parse(text)
    assert month.start.astimezone(UTC).isoformat().startswith(first)
    assert Month.of(month.end - timedelta(seconds=1)) == month
    assert Month.of(month.end) == month.back(-1)
    assert Month(2026, 1).back(1) == Month(2025, 12)


@pytest.mark.parametrize("text", ["2026-13", "2026-1", "202611", "1999-12", "２０２６-11", "2026-11\n", ""])
def test_what_is_no_month_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Month.parse(text)


def test_times_run_from_awareness_and_what_has_not_happened_is_in_no_median(desk: _Desk) -> None:
    views = [desk.open() for _ in range(3)]
    desk.clock.advance(600)
    desk.say(views[0], "acknowledged")
    desk.clock.advance(3000)
    desk.say(views[1], "acknowledged")
    times = desk.bulletin(*views)["times"]["acknowledge"]
    # Ten minutes, exactly an hour (which is still "in 1 h"), and one that nobody has taken on.
    assert times["counts"] == [1, 1, 0, 0, 0]
    assert (times["not_yet"], times["median_s"], times["longest_s"]) == (1, 2100, 3600)


def test_a_first_report_counts_when_the_last_of_its_recipients_took_it(desk: _Desk) -> None:
    view = desk.open(roles=["cii_operator"])
    desk.say(view, "facts", facts={"cii_total_min": "40"})
    view = desk.desk.view(view.case.id)
    owed = [duty.id for duty in view.duties if duty.is_certain and duty.rule.report.value == "first"]
    assert len(owed) == 2
    desk.clock.advance(600)
    said = {"taken_at": desk.clock.now(), "taken_by": "李四", "channel": "电话"}
    desk.say(view, "receipt", duty=owed[0], **said)
    assert desk.bulletin(view)["times"]["first_report"]["not_yet"] == 1
    desk.clock.advance(600)
    desk.say(view, "receipt", duty=owed[1], **{**said, "taken_at": desk.clock.now()})
    assert desk.bulletin(view)["times"]["first_report"]["median_s"] == 1200


def test_exercises_are_counted_apart_and_nowhere_else(desk: _Desk) -> None:
    record = desk.bulletin(desk.open("演练", is_exercise=True), desk.open())
    assert record["counts"]["opened"] == 1
    assert record["counts"]["exercises"] == 1
    assert [case["title"] for case in record["cases"]] == ["门户网站打不开"]
    assert sum(record["trend"][-1]["by_level"].values()) == 1


def test_what_is_not_known_of_a_system_is_no_success(desk: _Desk) -> None:
    systems = [{"system": name, "title": name, "level": 3, "newest_at": None, "rpo_s": 1, "is_drilled": value}
               for name, value in (("a", True), ("b", None), ("c", False))]  # fmt: skip
    record = desk.bulletin(systems=systems)
    assert record["rates"] == [{"rate": "is_drilled", "met": 1, "unknown": 1, "total": 3}]
    assert "1/3，1 个未知" in render_bulletin(record, "zh")


def test_a_month_without_events_but_with_a_blind_spot_is_not_green(desk: _Desk) -> None:
    assert 'class="verdict pass' in render_bulletin(desk.bulletin(), "zh")
    page = render_bulletin(desk.bulletin(missing=["portal: centers: remote does not answer"]), "zh")
    assert 'class="verdict partial' in page
    assert "remote does not answer" in page


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_a_title_cannot_become_markup_or_another_line(desk: _Desk, lang: Lang) -> None:
    record = desk.bulletin(desk.open("<script>alert(1)</script>\n  伪造：9 \u202egnp"))
    page = render_bulletin(record, lang)
    assert "<script" not in page
    assert "\u202e" not in page
    assert "http" not in re.sub(r"http-equiv", "", page)
    assert not [line for line in bulletin_text(record, lang).splitlines() if line.startswith("  伪造")]


def test_both_languages_have_the_same_words() -> None:
    assert Catalogue("bulletin", "zh").keys() == Catalogue("bulletin", "en").keys()


def test_the_samples_in_the_documentation_are_what_the_code_makes_today() -> None:
    desk, clock = half_year()
    month = bulletin(desk, clock)
    report = first_report(desk, clock)
    assert (_SAMPLES / "bulletin-2026-10.json").read_bytes() == canonical.dumps(month) + b"\n"
    assert (_SAMPLES / "first-report.json").read_bytes() == canonical.dumps(report) + b"\n"
    for lang in ("zh", "en"):
        page = (_SAMPLES / f"bulletin-2026-10.{lang}.html").read_text(encoding="utf-8")
        assert page == render_bulletin(month, lang)  # type: ignore[arg-type]  # the two languages there are


def _run(folder: Path, *argv: str) -> tuple[int, str, str]:
    config = folder / "govsec.yaml"
    config.write_text(f"version: 1\nstate_dir: {folder / 'state'}\nsystems: [{{name: portal}}]\n", encoding="utf-8")
    out, err = io.StringIO(), io.StringIO()
    clock = FakeClock(datetime(2026, 11, 22, 2, 0, tzinfo=UTC))
    line = ["incident", *argv, "--config", str(config), "--lang", "zh"]
    return frame.run(build_parser(), line, stdout=out, stderr=err, clock=clock), out.getvalue(), err.getvalue()


def test_the_command_prints_last_month_and_writes_files(tmp_path: Path) -> None:
    code, out, _ = _run(tmp_path, "bulletin", "--json")
    assert (code, json.loads(out)["month"], json.loads(out)["is_whole"]) == (0, "2026-10", True)
    for name in ("b.html", "b.json", "b.txt"):
        code, _, err = _run(tmp_path, "bulletin", "--month", "2026-11", "--output", str(tmp_path / name))
        assert code == 0, err
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert json.loads((tmp_path / "b.json").read_bytes())["is_whole"] is False
    for argv in (("--month", "2026-12"), ("--month", "x"), ("--output", str(tmp_path / "b.pdf"))):
        assert _run(tmp_path, "bulletin", *argv)[0] == 2
