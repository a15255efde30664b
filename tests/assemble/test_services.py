"""The services of a site, step by step, as an agent asks them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from govsec.assemble.services import SiteServices
from govsec.config import Config
from govsec.records import Finding
from govsec.testing.clock import FakeClock
from tests.services.portals import PATIENT_S, Portal, running


@pytest.fixture
def portal() -> Iterator[Portal]:
    with running(Portal()) as one:
        yield one


def site(folder: Path, portal: Portal, clock: FakeClock, *names: str, **entries: Any) -> SiteServices:
    services = [
        {
            "name": name,
            "families": ["ipv4"],
            "timeout_s": PATIENT_S,
            "interval_s": 600,
            "confirm": {"failures": 1, "of": 1},
            "steps": [{"name": "home", "url": portal.url(f"/{name}")}],
            **entries,
        }
        for name in names
    ]
    config = Config.model_validate({"state_dir": folder, "services": services})
    return SiteServices(config, clock, resolve=portal.resolve)


def findings(services: SiteServices, portal: Portal, count: int) -> list[Finding]:
    """Steps until so many requests were made, and what they gave."""
    found: list[Finding] = []
    while len(portal.asked) < count:
        found += services.step(PATIENT_S)
    return found


def test_services_are_asked_one_after_the_other_each_when_it_is_due(
    tmp_path: Path, portal: Portal, clock: FakeClock
) -> None:
    with site(tmp_path, portal, clock, "one", "two") as services:
        findings(services, portal, 2)
        assert [asked.path for asked in portal.asked] == ["/one", "/two"]

        assert services.step(1) == ()
        assert len(portal.asked) == 2

        clock.advance(600)
        findings(services, portal, 4)

    assert [asked.path for asked in portal.asked] == ["/one", "/two", "/one", "/two"]


def test_what_is_still_so_is_told_once_an_hour(tmp_path: Path, portal: Portal, clock: FakeClock) -> None:
    told = []
    with site(tmp_path, portal, clock, "one") as services:
        for count in range(1, 9):
            told.append([finding.kind for finding in findings(services, portal, count)])
            clock.advance(600)

    assert told == [["service.down"], [], [], [], [], [], ["service.down"], []]


def test_what_was_learned_is_there_after_a_restart(tmp_path: Path, portal: Portal, clock: FakeClock) -> None:
    confirm = {"failures": 2, "of": 2}
    portal.routes["/one"] = (200, {}, b"")
    with site(tmp_path, portal, clock, "one", confirm=confirm) as services:
        assert services.probe().findings == ()
    portal.routes["/one"] = (500, {}, b"")
    with site(tmp_path, portal, clock, "one", confirm={"failures": 1, "of": 1}) as services:
        services.probe()
    before = len(portal.asked)
    with site(tmp_path, portal, clock, "one", confirm=confirm) as services:
        assert [finding.kind for finding in services.probe().findings] == ["service.down"]

    # The failure that was known needed one more attempt, and not two.
    assert len(portal.asked) == before + 1


def test_a_secret_that_is_gone_does_not_blind_the_site_and_is_not_tried_without_end(
    tmp_path: Path, portal: Portal, clock: FakeClock
) -> None:
    secrets = {"key": {"file": tmp_path / "gone"}}
    with site(tmp_path, portal, clock, "one", secrets=secrets) as services:
        (finding,) = services.step(PATIENT_S)
        assert finding.kind == "service.unmeasured"
        assert services.step(1) == ()

    assert clock.sleeps == [1]


def test_an_agent_that_asks_services_does_without_numpy() -> None:
    code = "import sys, govsec.assemble.services; sys.exit('numpy' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
