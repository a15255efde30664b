"""The form of the network's findings: which hosts, which packets, which flows.

``facts`` beside those of every finding (:mod:`govsec.findings.judgement`; lists are bounded, and say how many there
were)::

    originators, responders, ports     who did it to whom; *_count where there were more than are listed
    first, last   first and last packet that counts for it
    flows         community ids of flows to look at; all of them, where there is no flows_count
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue

from govsec.clock import format_time, from_ns
from govsec.dissect.messages import FlowRef
from govsec.findings import judgement as findings
from govsec.findings.judgement import Measure, put_list
from govsec.net import addresses
from govsec.net.columns import FLOW
from govsec.net.community import community_ids
from govsec.records import Finding, Severity


@dataclass(frozen=True, slots=True)
class Evidence:
    """The part of a finding that comes from packets: between which moments, on which flows.

    ``flows_count``: how many there are, where ``flows`` are only some of them. What is kept as evidence goes by the
    flows where all are named, and by the hosts otherwise.
    """

    first_ns: int
    last_ns: int
    flows: Sequence[str] = ()
    flows_count: int = 0


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
        if evidence.flows and evidence.flows_count > len(set(evidence.flows)):
            hosts["flows_count"] = evidence.flows_count
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


def flow_name(flow: FlowRef) -> str:
    """The community id of the flow that a message travelled on."""
    row = np.zeros(1, dtype=FLOW)
    for side, address, port in (
        ("originator", flow.originator, flow.originator_port),
        ("responder", flow.responder, flow.responder_port),
    ):
        row[f"{side}_hi"], row[f"{side}_lo"] = addresses.parse(address)
        row[f"{side}_port"] = port
    row["protocol"], row["ip_version"] = flow.protocol, 6 if ":" in flow.originator else 4
    return community_ids(row)[0]


def is_address(host: str) -> bool:
    """False for hosts that are known by their card alone."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
