"""A gateway that the register names: its real rules decide the lines on borders, and only where it is all there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from govsec.assemble.assess import Assessor, run_assessment
from govsec.assemble.assessscope import Request
from govsec.assemble.hosts import Collected
from govsec.assemble.systems import Site
from govsec.clock import SystemClock
from govsec.collect.collect import collect
from govsec.collect.transport import LocalTransport
from govsec.config import Config
from govsec.policy.run import Assessment, ItemRow
from tests.support.require import require, require_root

CLOCK = SystemClock()
RULES = """
table inet border {
  chain input {
    type filter hook input priority 0; policy drop;
    ct state vmap { invalid : drop, established : accept, related : accept }
    iifname "lo" accept
    ip saddr 10.9.0.0/24 tcp dport 22 ct state new accept
    log prefix "border-denied "
  }
  chain forward {
    type filter hook forward priority 0; policy POLICY;
    ct state invalid drop
    ct state established,related accept
    iifname "wan" ip daddr 192.0.2.10 tcp dport 443 ct state new accept
    log prefix "border-denied "
  }
}
"""
LINES = ("8.1.3.2.a", "8.1.3.2.c", "8.1.3.2.d")
OTHERS = ("8.1.3.3.d", "8.1.3.5.b", "8.1.3.5.c", "8.1.5.4.b", "8.1.5.4.c", "8.1.5.4.f")


def _assessed(folder: Path, register: dict[str, Any], policy: str = "drop") -> Assessment:
    """The whole pack of borders on this machine, in a network of its own with these rules."""
    require("nft")
    require_root()
    (folder / "rules.nft").write_text(RULES.replace("POLICY", policy), encoding="utf-8")
    setup = folder / "setup.sh"
    setup.write_text(
        f'nft -f {folder}/rules.nft; echo 1 >/proc/sys/net/ipv4/ip_forward; exec sh "$@"\n', encoding="utf-8"
    )
    hosts = {"gate": {"kind": "local"}, "web": {"address": "192.0.2.10"}}
    systems = [{"name": "permits", "register": {"hosts": ["gate"], **register}}]
    site = Site(Config.model_validate({"state_dir": str(folder), "hosts": hosts, "systems": systems}), CLOCK)

    def here(assessor: Assessor) -> list[Collected]:
        way = LocalTransport(CLOCK, interpreter=("unshare", "--net", "sh", str(setup)))
        found = []
        for target in assessor.scope.targets:
            facts = collect(target.name, assessor.probes_of(target.name), way, CLOCK)
            found.append(Collected(target, CLOCK.now(), facts, data=facts.dump()))
        return found

    request = Request(packs=("border", "linux-system"), compare="", is_recorded=False)
    return run_assessment(site, request, collected=here).assessment


def _items(made: Assessment) -> dict[str, ItemRow]:
    return {item.id: item for item in made.items}


@pytest.mark.parametrize(
    ("register", "policy", "verdict"),
    [
        ({"borders": ["gate"], "borders_are_all": True}, "drop", "conform"),
        ({"borders": ["gate"], "borders_are_all": True}, "accept", "partial"),
        ({"borders": ["gate"]}, "drop", "undecided"),
        ({"borders": ["gate"]}, "accept", "undecided"),
        ({}, "drop", "undecided"),
    ],
)
def test_rules_of_the_registered_borders_decide_what_the_register_answers_for(
    tmp_path: Path, register: dict[str, Any], policy: str, verdict: str
) -> None:
    items = _items(_assessed(tmp_path, register, policy))

    assert {items[line].verdict.value for line in LINES} == {verdict}
    # Nothing else of what a border is asked came by itself.
    assert not {items[line].verdict.value for line in OTHERS} & {"conform"}


def test_a_host_that_is_no_border_is_not_asked_as_one(tmp_path: Path) -> None:
    made = _assessed(tmp_path, {})

    assert "border" not in {probe.kind for probe in made.probes.values() if probe.id in made.objects["gate"].outcomes}
    result = next(row for row in made.results if row.check == "border-default-deny")
    assert (result.status.value, "no border" in (result.reason.en if result.reason else "")) == ("notapplicable", True)
