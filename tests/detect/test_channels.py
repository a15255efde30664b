"""Channels in names and echo messages: what hides one does not, and what looks like one is none."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from govsec.detect.api import Observation
from govsec.detect.dns_generated import DnsGenerated, DnsGeneratedSettings
from govsec.detect.tunnel_dns import TunnelDns, TunnelDnsSettings
from govsec.detect.tunnel_icmp import TunnelIcmp, TunnelIcmpSettings
from govsec.dissect.messages import DnsMessage, DnsQuestion, FlowRef, IcmpEcho, Message
from govsec.net.columns import Protocol
from govsec.records import Finding
from tests.detect.observations import empty_observation

SECOND = 10**9
START = 10**18
FLOW = FlowRef(1, "10.0.0.5", 40_000, "10.0.0.2", 53, Protocol.UDP)


def told(detector: TunnelDns | TunnelIcmp | DnsGenerated, messages: list[Message]) -> list[Finding]:
    nothing = empty_observation(START)
    return list(detector.observe(Observation(START, nothing.packets, nothing.flows, tuple(messages))))


def asked(name: str, number: int, *, kind: str = "A", rcode: int | None = None) -> DnsMessage:
    return DnsMessage(
        time_ns=START + number * SECOND // 5,
        flow=FLOW,
        is_originator=rcode is None,
        service="dns",
        is_response=rcode is not None,
        transaction=number,
        opcode=0,
        rcode=rcode or 0,
        is_truncated=False,
        questions=(DnsQuestion(name, kind),),
        answers=(),
        size_bytes=60,
    )


def drawn(rng: Random, size: int) -> str:
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(size))


@pytest.mark.parametrize("prefix", ["", "1.2.3.4."], ids=["plain", "as an address"])
def test_data_in_names_are_found_whatever_stands_before_them(prefix: str) -> None:
    rng = Random(3)
    messages: list[Message] = [asked(f"{prefix}{drawn(rng, 50)}.t.evil.example", number) for number in range(60)]

    findings = told(TunnelDns(TunnelDnsSettings()), messages)
    assert {finding.kind for finding in findings} == {"net.tunnel.dns"}
    assert findings[0].subject == "10.0.0.5"


def test_lists_of_bad_addresses_and_names_in_other_cases_are_no_tunnel() -> None:
    rng = Random(4)
    listed = [f"{rng.randrange(256)}.{rng.randrange(256)}.2.1.zen.list.example" for _ in range(80)]
    name = "_ldap._tcp.headquarters._sites.dc._msdcs.corp.example"
    cases = ["".join(rng.choice((each.upper(), each)) for each in name) for _ in range(80)]
    messages: list[Message] = [asked(each, number) for number, each in enumerate([*listed, *cases])]

    assert told(TunnelDns(TunnelDnsSettings()), messages) == []


def served(clients_count: int) -> list[Message]:
    """Answers of 10.0.0.5, which asks in these tests, to hosts of its own network."""
    answer = asked("www.example.cn", 0, rcode=0)
    return [
        replace(answer, flow=FlowRef(100 + number, f"10.0.1.{number + 1}", 40_000, "10.0.0.5", 53, Protocol.UDP))
        for number in range(clients_count)
    ]


@pytest.mark.parametrize(
    ("clients_count", "names_count", "is_told"),
    [(3, 150, False), (2, 150, True), (3, 220, True)],
    ids=["a resolver", "a host that answered two", "too much for a resolver too"],
)
def test_a_resolver_may_ask_for_more_names_than_a_host(clients_count: int, names_count: int, is_told: bool) -> None:
    rng = Random(8)
    names = [f"{drawn(rng, 24)}.blob.storage.example" for _ in range(names_count)]
    # Five a second: within the window all of them count.
    questions = [asked(name, number // 2) for number, name in enumerate(names)]

    assert bool(told(TunnelDns(TunnelDnsSettings()), [*served(clients_count), *questions])) is is_told


@pytest.mark.parametrize(("clients_count", "is_told"), [(3, False), (0, True)], ids=["a resolver", "a host"])
def test_a_resolver_may_ask_for_more_domains_that_do_not_exist(clients_count: int, is_told: bool) -> None:
    rng = Random(9)
    missing = [asked(f"{drawn(rng, 14)}.example", number, rcode=3) for number in range(40)]

    assert bool(told(DnsGenerated(DnsGeneratedSettings()), [*served(clients_count), *missing])) is is_told


def test_sums_of_names_stay_right_when_old_ones_leave() -> None:
    rng = Random(5)
    long = [asked(f"{drawn(rng, 60)}.a.example", number) for number in range(39)]
    short = [asked(f"w{number}.a.example", number + 39) for number in range(700)]
    messages: list[Message] = [*long, *short]

    detector = TunnelDns(TunnelDnsSettings())
    findings = told(detector, messages)
    # At first the long names weigh; once 120 s have passed only short ones are left.
    assert all(finding.time.timestamp() < START / SECOND + 45 for finding in findings)


def test_a_thousand_names_that_do_not_exist_are_counted_once_each() -> None:
    rng = Random(6)
    messages: list[Message] = [asked(f"{drawn(rng, 14)}.example", number, rcode=3) for number in range(2500)]

    findings = told(DnsGenerated(DnsGeneratedSettings()), messages)
    assert {finding.kind for finding in findings} == {"net.dns.generated"}
    assert findings[-1].facts["measured"]["domains"]["value"] == 256  # type: ignore[index,call-overload]


def echo(number: int, *, reply: bool, digest: bytes, size: int) -> IcmpEcho:
    ends = ("10.0.0.9", "10.0.0.5") if reply else ("10.0.0.5", "10.0.0.9")
    return IcmpEcho(START + number * SECOND, 0, *ends, reply, 7, number, size, digest, 5.0)


def test_replies_that_are_shortened_are_no_conversation_and_those_that_differ_are() -> None:
    shortened: list[Message] = []
    other: list[Message] = []
    for number in range(30):
        request = echo(number, reply=False, digest=b"a" * 8, size=972)
        shortened += [request, echo(number, reply=True, digest=b"b" * 8, size=68)]
        other += [request, echo(number, reply=True, digest=b"b" * 8, size=972)]

    assert told(TunnelIcmp(TunnelIcmpSettings()), shortened) == []
    assert {finding.kind for finding in told(TunnelIcmp(TunnelIcmpSettings()), other)} == {"net.tunnel.icmp"}
