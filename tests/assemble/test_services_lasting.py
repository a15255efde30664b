"""Outages and altered pages with their begin and end, from the portal to the facts of a case."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from govsec.assemble.incident import build_desk
from govsec.assemble.services import SiteServices
from govsec.clock import format_time
from govsec.config import Config
from govsec.incident.api import Query
from govsec.incident.entries import FactsSaid
from govsec.incident.levels import EventLevel
from govsec.records import Finding
from govsec.testing.clock import FakeClock
from tests.assemble.dutysite import NOW, Machine
from tests.services.portals import PATIENT_S, Portal, running

GOOD = (
    "<html><title>政务服务网</title><body>"
    + "".join(f"<p>办事指南第{n}条</p>" for n in "甲乙丙丁戊己")
    + "</body></html>"
)
BAD = "<html><title>Hacked</title><body><h1>Owned by somebody</h1></body></html>"


@pytest.fixture
def portal() -> Iterator[Portal]:
    with running(Portal()) as one:
        one.page("/", GOOD)
        yield one


class Site:
    """A portal that is asked, and the duty daemon that hears of it."""

    def __init__(self, folder: Path, portal: Portal, *, has_pages: bool = False, facts: dict[str, str]) -> None:
        self.clock = FakeClock(NOW)
        self.portal = portal
        self.machine = Machine(
            folder,
            self.clock,
            duty={"services": {"www": {"system": "portal", "down": "portal_down_h", "facts": facts}}},
        )
        service: dict[str, Any] = {
            "name": "www", "title": "某市政务服务网", "kind": "portal", "families": ["ipv4"], "timeout_s": PATIENT_S,
            "interval_s": 600, "confirm": {"failures": 1, "of": 1}, "steps": [{"name": "home", "url": portal.url("/")}],
        }  # fmt: skip
        if has_pages:
            service["pages"] = [{"name": "front", "url": portal.url("/")}]
        config = Config.model_validate({"state_dir": folder / "probe", "services": [service]})
        self.services = SiteServices(config, self.clock, resolve=portal.resolve)
        if has_pages:
            self.services.accept()
        self.duty = self.machine.duty()

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_: object) -> None:
        self.services.close()
        self.duty.close()

    def probe(self) -> list[Finding]:
        """One probe, what it gave, and what the daemon makes of it."""
        self.clock.advance(600)
        before = len(self.portal.asked)
        found: list[Finding] = []
        while len(self.portal.asked) == before:
            found += self.services.step(PATIENT_S)
        while self.services._running is not None:
            found += self.services.step(PATIENT_S)
        if found:
            self.machine.spool(found)
        while self.duty.step():
            pass
        assert self.duty.troubles == {}
        return found

    def facts(self) -> list[dict[str, str]]:
        """The facts of each case, the oldest first."""
        desk = build_desk(self.machine.config, self.duty.store, self.clock)
        return [dict(desk.view(line.id).case.facts) for line in reversed(self.duty.store.find(Query()))]

    def say(self, **facts: str) -> None:
        """A person says something of the first case."""
        desk = build_desk(self.machine.config, self.duty.store, self.clock)
        (line,) = self.duty.store.find(Query())
        desk.add(line.id, FactsSaid(time=self.clock.now(), by="张三", facts=facts))


def _at(minutes: int) -> str:
    return format_time(NOW + timedelta(minutes=minutes))


def test_a_portal_that_is_down_opens_a_case_whose_hours_grow_until_it_is_up(tmp_path: Path, portal: Portal) -> None:
    with Site(tmp_path, portal, facts={"portal_kind": "prefecture_government"}) as site:
        assert site.probe() == []
        portal.routes["/"] = (500, {}, b"")
        (down,) = site.probe()
        assert (down.kind, down.facts["since"]) == ("service.down", _at(20))
        known = {"portal_kind": "prefecture_government", "portal_down_h": f"since {_at(20)}"}
        assert site.facts() == [known]
        for _ in range(12):
            site.probe()
        (line,) = site.duty.store.find(Query())
        desk = build_desk(site.machine.config, site.duty.store, site.clock)
        view = desk.view(line.id)
        assert (line.system, view.classification.suggested) == ("portal", EventLevel.RELATIVELY_MAJOR)
        portal.page("/", GOOD)
        (up,) = site.probe()
        assert up.kind == "service.recovered"
        assert site.facts() == [{**known, "portal_down_h": f"since {_at(20)} until {_at(150)}"}]


def test_an_outage_that_comes_back_soon_went_on_and_a_later_one_is_another_case(tmp_path: Path, portal: Portal) -> None:
    with Site(tmp_path, portal, facts={}) as site:
        for status in (500, 200, 500, 200, 200, 200, 200, 500):
            portal.routes["/"] = (status, {}, b"")
            site.probe()
        assert site.facts() == [
            {"portal_down_h": f"since {_at(10)} until {_at(40)}"},
            {"portal_down_h": f"since {_at(80)}"},
        ]


def test_what_a_person_said_of_an_outage_stands(tmp_path: Path, portal: Portal) -> None:
    with Site(tmp_path, portal, facts={}) as site:
        portal.routes["/"] = (500, {}, b"")
        site.probe()
        site.say(portal_down_h="0")
        portal.page("/", GOOD)
        site.probe()
        portal.routes["/"] = (500, {}, b"")
        site.probe()
        assert site.facts() == [{"portal_down_h": "0"}]


def test_a_service_that_could_not_be_asked_has_not_recovered(tmp_path: Path, portal: Portal) -> None:
    with Site(tmp_path, portal, facts={}) as site:
        portal.routes["/"] = (500, {}, b"")
        site.probe()
        portal.families = ()
        site.clock.advance(600)
        assert "service.recovered" not in [found.kind for found in site.services.step(PATIENT_S)]
        assert site.facts() == [{"portal_down_h": f"since {_at(10)}"}]


def test_an_altered_home_page_is_a_case_of_its_own_until_it_is_restored(tmp_path: Path, portal: Portal) -> None:
    with Site(tmp_path, portal, has_pages=True, facts={"site_kind": "government"}) as site:
        assert site.probe() == []
        portal.page("/", BAD)
        kinds = {found.kind for found in site.probe()}
        assert "page.altered" in kinds
        # Two seconds are between looking and looking once more.
        since = f"since {_at(20)[:-3]}02Z"
        assert site.facts() == [{"site_kind": "government", "home_page_illegal_h": since}]
        portal.page("/", GOOD)
        assert "page.restored" in {found.kind for found in site.probe()}
        (facts,) = site.facts()
        assert facts["home_page_illegal_h"].startswith(f"{since} until {_at(30)[:-3]}")


def test_a_person_can_say_for_good_that_a_page_shows_nothing_illegal(tmp_path: Path, portal: Portal) -> None:
    with Site(tmp_path, portal, has_pages=True, facts={}) as site:
        portal.page("/", BAD)
        site.probe()
        site.say(home_page_illegal_h="unknown")
        portal.page("/", GOOD)
        site.probe()
        portal.page("/", BAD)
        site.probe()
        assert site.facts() == [{"home_page_illegal_h": "unknown"}]


def test_the_begin_of_an_outage_outlives_the_one_who_asks(tmp_path: Path, portal: Portal) -> None:
    portal.routes["/"] = (500, {}, b"")
    with Site(tmp_path, portal, facts={}) as site:
        site.probe()
        site.probe()
        site.services.close()
        again = SiteServices(site.services._config, site.clock, resolve=portal.resolve)
        site.services = again
        (down,) = site.probe()
        assert down.facts["since"] == _at(10)
