"""The form of the network's findings: which hosts, which packets, which flows.

``facts`` beside those of every finding (:mod:`govsec.findings.judgement`; lists are bounded, and say how many there
were)::

    originators, responders, ports     who did it to whom; *_count where there were more than are listed
    first, last   first and last packet that counts for it
    flows         community ids of flows to look at
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from govsec.clock import format_time, from_ns
from govsec.findings import judgement as findings
from govsec.findings.judgement import Measure, put_list
from govsec.records import Finding, Severity


@dataclass(frozen=True, slots=True)
class Evidence:
    """The part of a finding that comes from packets: between which moments, on which flows."""

    first_ns: int
    last_ns: int
    flows: Sequence[str] = ()


def judge(
    *,
    kind: str,
    detector: str,
    severity: Severity,
    time_ns: int,
    subject: str,
    summary: str,
    pattern: Sequence[str | int],
    attack: Sequence[str] = (),
    originators: Iterable[str] = (),
    responders: Iterable[str] = (),
    ports: Iterable[int] = (),
    measured: Mapping[str, Measure] | None = None,
    evidence: Evidence | None = None,
    facts: Mapping[str, JsonValue] | None = None,
) -> Finding:
    """A finding in the common form, with its hosts and flows. Orders are kept, repeats are not."""
    hosts: dict[str, JsonValue] = {}
    for name, values in (("originators", originators), ("responders", responders), ("ports", ports)):
        put_list(hosts, name, values)
    if evidence is not None:
        hosts["first"] = format_time(from_ns(evidence.first_ns))
        hosts["last"] = format_time(from_ns(evidence.last_ns))
        put_list(hosts, "flows", evidence.flows)
    return findings.judge(
        kind=kind,
        detector=detector,
        severity=severity,
        time_ns=time_ns,
        subject=subject,
        summary=summary,
        pattern=pattern,
        attack=attack,
        measured=measured,
        facts=hosts | dict(facts or {}),
    )


def is_address(host: str) -> bool:
    """False for hosts that are known by their card alone."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
