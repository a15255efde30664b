"""A run knows of how much of a system it is, and says so in what is stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from govsec.assemble.assess import Assessor, run_assessment
from govsec.assemble.assessscope import Request, scope_of
from govsec.assemble.hosts import Collected
from govsec.assemble.systems import Site
from govsec.clock import SystemClock
from govsec.config import Config
from govsec.policy.results import Verdict
from govsec.policy.run import ExtentRow

HOSTS = {name: {"address": f"192.0.2.{number}"} for number, name in enumerate(("web-1", "web-2", "db-1"), 1)}


def _site(tmp_path: Path, registered: list[str] | None) -> Site:
    systems = []
    if registered is not None:
        source = {"kind": "files", "paths": ["/srv"]}
        backups = [{"name": "files", "source": source}]
        systems = [{"name": "permits", "register": {"hosts": registered}, "backups": backups}]
    value = {"state_dir": str(tmp_path), "hosts": HOSTS, "systems": systems}
    return Site(Config.model_validate(value), SystemClock())


@pytest.mark.parametrize(
    ("registered", "hosts", "expected"),
    [
        (["web-1", "db-1"], (), ExtentRow(kind="whole")),
        (["web-1", "db-1"], ("db-1", "web-1", "web-2"), ExtentRow(kind="whole")),
        (["web-1", "db-1"], ("db-1",), ExtentRow(kind="part", left_out=("web-1",))),
        (["web-1", "db-1"], ("web-2",), ExtentRow(kind="part", left_out=("web-1", "db-1"))),
        ([], (), ExtentRow(kind="unlisted")),
        ([], ("web-1",), ExtentRow(kind="unlisted")),
        (None, (), ExtentRow(kind="machine")),
    ],
)
def test_the_register_says_whether_hosts_are_all_of_a_system(
    tmp_path: Path, registered: list[str] | None, hosts: tuple[str, ...], expected: ExtentRow
) -> None:
    assert scope_of(_site(tmp_path, registered), Request(hosts=hosts)).extent == expected


def test_a_part_is_told_in_the_run_and_its_manifest_and_nothing_that_hosts_decide_conforms(tmp_path: Path) -> None:
    site = _site(tmp_path, ["web-1", "db-1"])

    def silent(assessor: Assessor) -> list[Collected]:
        return [Collected(target, site.clock.now(), error="no answer") for target in assessor.scope.targets]

    request = Request(hosts=("db-1",), packs=("sshd",), compare="", is_recorded=False)
    run = run_assessment(site, request, collected=silent)

    extent = run.assessment.extent
    assert extent is not None
    assert (extent.kind, extent.left_out) == ("part", ("web-1",))
    assert "tls" in extent.packs_left_out
    assert run.stored.manifest.extent == extent
    assert Verdict.CONFORM not in {item.verdict for item in run.assessment.items}
