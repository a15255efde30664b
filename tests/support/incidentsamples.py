"""A made-up half year of a city's cases, for samples of reports: ``python -m tests.support.incidentsamples FOLDER``.

Everything is invented. Same code, same bytes (the Word document also needs the same versions of the libraries).
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from govsec import canonical
from govsec.incident.api import Query
from govsec.incident.bulletin import MONTHS_SHOWN, Month, compose_bulletin
from govsec.incident.deadlinetable import shipped_deadlines
from govsec.incident.desk import Desk, View
from govsec.incident.entries import ENTRY, Opened
from govsec.incident.record import Record
from govsec.incident.reportform import Report, shipped_form
from govsec.incident.reportparts import Unit
from govsec.incident.reports import compose_report
from govsec.incident.rulepack import shipped_packs
from govsec.report.bulletin import render_bulletin
from govsec.report.incidentreport_docx import render_report
from govsec.testing.cases import MemoryCases
from govsec.testing.clock import FakeClock

ORGANIZATION = "某市大数据管理局（样例）"
MONTH = Month(2026, 10)
_SEED = 20261122
_KINDS: Sequence[tuple[str, str, Sequence[str]]] = (
    ("content_security", "门户网站首页被篡改", ("home_page_illegal_h=0.6", "site_kind=prefecture_government")),
    ("network_attack", "政务服务网登录接口遭口令猜测", ()),
    ("equipment_failure", "门户网站不可访问", ("portal_down_h=2.5", "portal_kind=prefecture_government")),
    ("malware", "办公终端发现勒索软件", ()),
    ("data_security", "数据共享交换平台数据外传", ("personal_records=200..3000",)),
    ("hidden_danger", "备份恢复演练未通过", ()),
)
_PEOPLE = ("张三", "李四", "王五", "赵六")


def half_year() -> tuple[Desk, FakeClock]:
    """The desk with its cases, and the clock at the month's end."""
    rng = random.Random(_SEED)
    start = MONTH.back(MONTHS_SHOWN - 1).start.astimezone(UTC)
    clock = FakeClock(start)
    desk = Desk(MemoryCases(), shipped_packs(), shipped_deadlines(), clock)
    for months_ago in range(MONTHS_SHOWN - 1, -1, -1):
        month = MONTH.back(months_ago)
        for day in sorted(rng.sample(range(1, 27), rng.randint(3, 8))):
            _go(clock, month.start + timedelta(days=day, minutes=rng.randint(480, 1100)))
            _case(desk, clock, rng, is_current=months_ago == 0)
    _go(clock, MONTH.end + timedelta(hours=9))
    return desk, clock


def bulletin(desk: Desk, clock: FakeClock) -> Record:
    """October's bulletin."""
    lines = desk.store.find(Query(limit=500))
    mine = [desk.view(line.id) for line in lines if MONTH.start <= line.opened_at < MONTH.end]
    return compose_bulletin(
        MONTH, lines, mine, drills=_drills(), systems=_systems(), missing=["identity: remote 无法访问（样例）"],
        organization=ORGANIZATION, now=clock.now(),
    )  # fmt: skip


def first_report(desk: Desk, clock: FakeClock) -> Record:
    """The first report on a page that was altered."""
    since = clock.now() - timedelta(minutes=52)
    facts = {
        "home_page_illegal_h": f"since {since.isoformat().replace('+00:00', 'Z')}",
        "site_kind": "prefecture_government",
        "views": "2000..20000",
    }
    view = _open(desk, clock, "content_security", "市政府门户网站首页被篡改", clock.now() - timedelta(minutes=31))
    for kind, said in (
        ("facts", {"facts": facts}),
        ("acknowledged", {}),
        ("statement", {"part": "place", "text": "市政务云甲机房"}),
        ("statement", {"part": "impact", "text": "首页轮播图被替换为违法信息，其他栏目未见异常，业务系统未受影响"}),
        ("task", {"task": "t1", "title": "下线被改页面并从备份恢复", "owner": "王五"}),
        ("task_done", {"task": "t1", "result": "09:20 页面下线，09:28 由同城中心备份恢复，逐页核对"}),
        ("task", {"task": "t2", "title": "清查后台登录记录，更换发布账号口令", "owner": "赵六"}),
        ("observable", {"what": "address", "value": "203.0.113.57"}),
        (
            "evidence",
            {"name": "web-access.log.zst", "digest": "sha256:" + "5a" * 32, "size_bytes": 48_213, "holder": "赵六"},
        ),
    ):
        view = _say(desk, clock, view.case.id, kind, **said)
    unit = Unit(
        ORGANIZATION,
        {"title": "市政府门户网站 (portal)", "kind": "portal", "owner": ORGANIZATION, "level": 3, "internet": True},
        [{"name": "王五", "role": "系统负责人", "contact": "0571-00000000"}],
    )
    return compose_report(
        Report.FIRST,
        view,
        desk.store.entries(view.case.id),
        form=shipped_form(),
        unit=unit,
        packs=desk.packs,
        by="张三",
    )


def write_samples(folder: Path) -> None:
    """The samples that ``docs/samples`` holds."""
    desk, clock = half_year()
    month, report = bulletin(desk, clock), first_report(desk, clock)
    for name, data in (
        ("bulletin-2026-10.zh.html", render_bulletin(month, "zh").encode()),
        ("bulletin-2026-10.en.html", render_bulletin(month, "en").encode()),
        ("bulletin-2026-10.json", canonical.dumps(month) + b"\n"),
        ("first-report.zh.docx", render_report(report, "zh")),
        ("first-report.en.docx", render_report(report, "en")),
        ("first-report.json", canonical.dumps(report) + b"\n"),
    ):
        (folder / name).write_bytes(data)


def _go(clock: FakeClock, moment: datetime) -> None:
    clock.advance(max((moment - clock.now()).total_seconds(), 0.0))


def _case(desk: Desk, clock: FakeClock, rng: random.Random, *, is_current: bool) -> None:
    event_class, title, facts = rng.choice(_KINDS)
    view = _open(desk, clock, event_class, title, clock.now())
    if facts:
        view = _say(desk, clock, view.case.id, "facts", facts=dict(line.split("=", 1) for line in facts))
    if is_current and rng.random() < 0.15:
        return
    clock.advance(60 * rng.choice((4, 9, 14, 35, 50, 130)))
    view = _say(desk, clock, view.case.id, "acknowledged")
    found = view.classification
    levels = {"suggested": found.suggested.word, "highest_possible": found.highest_possible.word}
    view = _say(desk, clock, view.case.id, "level", level=found.suggested.word, reason="研判会议", **levels)
    for duty in view.duties:
        if duty.is_certain and duty.is_open:
            clock.advance(60 * rng.choice((20, 40, 110)))
            said = {"duty": duty.id, "taken_at": clock.now(), "taken_by": "值班员", "channel": "12387", "number": "17"}
            _say(desk, clock, view.case.id, "receipt", **said)
    if rng.random() < 0.8:
        clock.advance(60 * rng.choice((30, 90, 200, 700, 1500)))
        _say(desk, clock, view.case.id, "recovered", text="逐项核对无误")


def _open(desk: Desk, clock: FakeClock, event_class: str, title: str, aware: datetime) -> View:
    said = {"kind": "opened", "time": clock.now(), "by": "张三", "title": title, "aware_at": aware}
    return desk.open(
        Opened.model_validate({**said, "system": "portal", "roles": ["other_operator"], "event_class": event_class})
    )


def _say(desk: Desk, clock: FakeClock, case: str, kind: str, **said: Any) -> View:
    who = _PEOPLE[int(case[-4:]) % len(_PEOPLE)]
    return desk.add(case, ENTRY.validate_python({"kind": kind, "time": clock.now(), "by": who, **said}))


def _drills() -> list[Record]:
    drill: Record = {
        "plan": "lose-both-in-city",
        "started": "2026-10-14T01:00:00Z",
        "rpo_s": 3600,
        "rto_s": 7200,
        "digest": "0" * 64,
    }
    rows: Sequence[tuple[str, str, int, int | None]] = (
        ("portal", "pass", 312, 1260),
        ("identity", "fail", 9400, None),
        ("exchange", "partial", 3000, 8100),
    )
    return [
        {
            **drill,
            "id": f"20261014T010000Z-{name}",
            "system": name,
            "verdict": verdict,
            "recovery_point_age_s": age_s,
            "restore_time_s": restore_s,
        }
        for name, verdict, age_s, restore_s in rows
    ]


def _systems() -> list[Record]:
    names = ("has_jobs", "is_within_rpo", "is_in_all_centers", "is_drilled", "has_emergency_plan", "is_assessed")
    rows: list[tuple[str, str, int, Sequence[bool | None]]] = [
        ("portal", "市政府门户网站", 3, (True, True, True, True, True, True)),
        ("identity", "统一身份认证平台", 3, (True, None, None, False, True, True)),
        ("exchange", "数据共享交换平台", 3, (True, False, True, False, True, False)),
        ("office", "协同办公系统", 2, (False, False, None, None, False, None)),
    ]
    return [
        {
            "system": name, "title": title, "level": level, "newest_at": "2026-10-31T23:50:00Z" if values[1] else None,
            "rpo_s": 3600, **dict(zip(names, values, strict=True)),
        }
        for name, title, level, values in rows
    ]  # fmt: skip


if __name__ == "__main__":
    write_samples(Path(sys.argv[1]))
