"""Every attack that a detector is for gives its finding on the right hosts; its twin gives none.

Traffic is that of ``govsec.testing.trafficcases``. The table names, for each case, what the finding must say of hosts.
"""

from __future__ import annotations

from random import Random

import pytest

from govsec.testing import trafficfloods, trafficlan, trafficscans, traffictunnels
from govsec.testing.trafficcases import CASES, Case, build
from govsec.testing.trafficoffice import office_day
from tests.detect.observations import attack, found, hosts_of

#: Kinds that the shipped detectors tell of traffic.
KINDS = (
    "net.scan.vertical",
    "net.scan.horizontal",
    "net.scan.slow",
    "net.scan.icmp",
    "net.flood.syn",
    "net.flood.udp",
    "net.flood.icmp",
    "net.flood.http",
    "net.beacon.periodic",
    "net.guessing.flows",
    "net.exfiltration.volume",
    "net.scan.arp",
    "net.spoof.arp",
    "net.spoof.dhcp",
    "net.spoof.router",
    "net.starvation.dhcp",
    "net.guessing.ssh",
    "net.guessing.ftp",
    "net.guessing.rdp",
    "net.guessing.smb",
    "net.guessing.http",
    "net.tunnel.dns",
    "net.tunnel.icmp",
    "net.dns.generated",
    "net.lateral.shares",
    "net.lateral.service",
    "net.lateral.netlogon",
    "net.web.injection",
    "net.web.traversal",
    "net.web.jndi",
    "net.web.scanner",
    "net.certificate.expired",
    "net.certificate.expiring",
    "net.certificate.self_signed",
    "net.certificate.mismatch",
)
#: Datagrams to all ports of a host are a scan of them besides.
ALSO = {"udp-flood": ("net.scan.vertical",)}


def test_there_is_a_case_for_every_kind_and_a_detector_for_every_case() -> None:
    assert {case.kind for case in CASES} == set(KINDS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_attack_gives_findings_of_its_kind_alone_on_the_right_hosts(case: Case) -> None:
    findings = found(attack(case.name))

    findings = [finding for finding in findings if finding.kind not in ALSO.get(case.name, ())]
    # A service that was made on three hosts is told for each, an open share and a program in it are two things.
    assert [finding.kind for finding in findings] == [case.kind] * {"service": 3, "shares": 2}.get(case.name, 1)
    # Clients of a starvation are invented, so the victim is all that is known; who forges ARP is known by his card.
    victim = trafficlan.DHCP_SERVER if case.kind == "net.starvation.dhcp" else case.culprit
    assert {victim.address, victim.mac} & hosts_of(findings[0])
    assert findings[0].facts["attack"]
    assert findings[0].facts["measured"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_benign_twin_is_silent(case: Case) -> None:
    assert found(build(case.twin)) == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_where_batches_are_cut_changes_no_finding(case: Case) -> None:
    frames = attack(case.name)
    frames = frames[:3000]

    assert found(frames, packets_max=97) == found(frames)


def test_answers_to_a_flood_elsewhere_make_nobody_a_scanner() -> None:
    assert found(build(trafficscans.backscatter)) == []


def test_an_ordinary_day_of_an_office_is_silent() -> None:
    assert [finding.summary for finding in found(office_day(Random(7), hours=0.5, desktops_count=6))] == []


def test_a_flood_names_its_target_and_whether_it_has_one_source_or_many() -> None:
    (syn,) = found(attack("syn-flood"), "flood_syn")
    (udp,) = found(attack("udp-flood"), "flood_udp")

    assert (syn.subject, syn.facts["is_distributed"]) == (trafficfloods.WEB_SERVER.address, True)
    assert (udp.subject, udp.facts["is_distributed"]) == (trafficfloods.WEB_SERVER.address, False)
    assert udp.facts["originators"] == [trafficfloods.ATTACKER.address]


def test_a_beacon_without_jitter_is_told_from_one_with() -> None:
    (strict,) = found(attack("beacon"), "beacon")
    (loose,) = found(attack("jitter"), "beacon")

    assert (strict.facts["has_jitter"], loose.facts["has_jitter"]) == (False, True)
    assert strict.facts["responders"] == [traffictunnels.CONTROL.address]
    assert strict.facts["measured"]["period"]["value"] == pytest.approx(60, abs=1)  # type: ignore[index,call-overload]
