"""What the sensor saw as events of the Open Cybersecurity Schema Framework, version 1.8.0: a pinned subset.

Three classes: network_activity (4001) for a flow that ended, dns_activity (4003) for a DNS message, detection_finding
(2004) for a finding. Only attributes of those classes occur; what has no place there stands under ``unmapped``, as the
framework has it. Times are milliseconds since 1970.

Source: schema.ocsf.io 1.8.0, classes named above and the objects that they use.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from importlib.metadata import version
from typing import Any

from pydantic import JsonValue

from govsec import canonical
from govsec.detect.api import Observation
from govsec.detect.hosts import Networks
from govsec.detect.judgement import is_address
from govsec.dissect.messages import DnsMessage
from govsec.findings.attack import TECHNIQUES
from govsec.net import addresses
from govsec.net.columns import FlowEnd, FlowRecords, FlowState, Protocol
from govsec.net.community import community_ids
from govsec.records import Finding, Severity

Event = dict[str, JsonValue]

VERSION = "1.8.0"
_NETWORK_ACTIVITY = 4001
_DNS_ACTIVITY = 4003
_DETECTION_FINDING = 2004
_CLOSE, _RESET, _FAIL, _REFUSE, _TRAFFIC = 2, 3, 4, 5, 6  # activity_id of network_activity
_UNKNOWN = 0  # direction_id
#: direction_id by whether originator and responder are ours: lateral, outbound, inbound.
_DIRECTIONS = {(True, True): 3, (True, False): 2, (False, True): 1, (False, False): _UNKNOWN}
_IP_ADDRESS, _MAC_ADDRESS = 2, 3  # type_id of an observable
_SEVERITIES = {
    Severity.INFO: 1,
    Severity.LOW: 2,
    Severity.MEDIUM: 3,
    Severity.HIGH: 4,
    Severity.CRITICAL: 5,
}
#: Response codes that have an id of their own; the framework gathers the rest under "unassigned" (24).
_RCODES_OWN = (*range(12), *range(16, 24))
_PROTOCOLS: dict[int, str] = {
    Protocol.ICMP: "icmp",
    Protocol.TCP: "tcp",
    Protocol.UDP: "udp",
    Protocol.ICMPV6: "ipv6-icmp",
}


class OcsfWriter:
    """Turns observations and findings into events; feed it in order."""

    def __init__(self, networks: Networks) -> None:
        self._networks = networks

    def events(self, observation: Observation, findings: tuple[Finding, ...]) -> Iterator[Event]:
        """What one observation gives: DNS messages, then rows of flows, then findings.

        A long flow gives an event a row (activity *Traffic*), so that its sums add up.
        """
        for message in observation.messages:
            if isinstance(message, DnsMessage) and message.service == "dns":
                yield _dns(message)
        yield from self._flows(observation.flows.closed)
        for finding in findings:
            yield detection_finding(finding)

    def _flows(self, closed: FlowRecords) -> Iterator[Event]:
        names = closed.dtype.names or ()
        ours = [
            self._networks.contains(closed[f"{side}_hi"], closed[f"{side}_lo"]).tolist()
            for side in ("originator", "responder")
        ]
        for values, community, *home in zip(closed.tolist(), community_ids(closed), *ours, strict=True):
            yield _flow(dict(zip(names, values, strict=True)), community, _DIRECTIONS[tuple(home)])


def detection_finding(finding: Finding) -> Event:
    """A finding as a detection_finding that was created.

    ``finding_info.uid`` follows from the finding alone: the same finding in another run has the same.
    """
    facts = finding.facts
    originators, responders = (_texts(facts.get(name)) for name in ("originators", "responders"))
    first, last = (facts.get(name) for name in ("first", "last"))
    detector = str(facts.get("detector", ""))
    info: Event = {
        "uid": canonical.digest(finding.canonical()),
        "title": finding.kind,
        "desc": finding.summary,
        "types": [finding.kind],
        "analytic": {"type_id": 2, "uid": detector, "name": detector},  # 2: behavioral
        "created_time": _of(finding.time),
    }
    if isinstance(first, str) and isinstance(last, str):
        info["first_seen_time"] = _of(datetime.fromisoformat(first))
        info["last_seen_time"] = _of(datetime.fromisoformat(last))
    techniques = _texts(facts.get("attack"))
    if techniques:
        info["attacks"] = [
            {"technique": {"uid": technique, "name": TECHNIQUES.get(technique, technique)}} for technique in techniques
        ]
    event = _base(_DETECTION_FINDING, 1, _of(finding.time), finding.severity) | {
        "message": finding.summary,
        "status_id": 1,  # new
        "finding_info": info,
        "observables": [
            {"name": f"{name}[{number}]", "type_id": _IP_ADDRESS if is_address(host) else _MAC_ADDRESS, "value": host}
            for name, hosts in (("src_endpoint", originators), ("dst_endpoint", responders))
            for number, host in enumerate(hosts)
        ],
        "unmapped": {name: value for name, value in facts.items() if name not in ("attack", "first", "last")},
    }
    evidence: Event = {
        key: {"ip" if is_address(hosts[0]) else "mac": hosts[0]}
        for key, hosts in (("src_endpoint", originators), ("dst_endpoint", responders))
        if hosts
    }
    return event | ({"evidences": [evidence]} if evidence else {})


def _flow(row: dict[str, Any], community: str, direction: int) -> Event:
    originator = addresses.format(row["originator_hi"], row["originator_lo"])
    responder = addresses.format(row["responder_hi"], row["responder_lo"])
    source: Event = {"ip": originator}
    target: Event = {"ip": responder}
    protocol = row["protocol"]
    if protocol in (Protocol.TCP, Protocol.UDP):
        source["port"], target["port"] = row["originator_port"], row["responder_port"]
    if row["vlan"]:
        source["vlan_uid"] = target["vlan_uid"] = str(row["vlan"])
    connection: Event = {
        "uid": str(row["id"]),
        "community_uid": community,
        "direction_id": direction,
        "protocol_num": protocol,
        "protocol_ver_id": row["ip_version"],
    }
    if protocol in _PROTOCOLS:
        connection["protocol_name"] = _PROTOCOLS[protocol]
    if protocol == Protocol.TCP:
        connection["tcp_flags"] = row["flags_originator"] | row["flags_responder"]
    packets = (row["packets_originator"], row["packets_responder"])
    sizes = (row["bytes_originator"], row["bytes_responder"])
    return _base(_NETWORK_ACTIVITY, _activity(row), _milliseconds(row["end_ns"]), Severity.INFO) | {
        "start_time": _milliseconds(row["first_ns"]),
        "end_time": _milliseconds(row["last_ns"]),
        "src_endpoint": source,
        "dst_endpoint": target,
        "connection_info": connection,
        "traffic": {
            "packets": sum(packets),
            "packets_out": packets[0],
            "packets_in": packets[1],
            "bytes": sum(sizes),
            "bytes_out": sizes[0],
            "bytes_in": sizes[1],
        },
    }


def _dns(message: DnsMessage) -> Event:
    query: Event = {"hostname": "", "opcode_id": message.opcode}
    if message.questions:
        query |= {"hostname": message.questions[0].name, "type": message.questions[0].type}
    ends: list[Event] = [
        {"ip": message.flow.originator, "port": message.flow.originator_port},
        {"ip": message.flow.responder, "port": message.flow.responder_port},
    ]
    event = _base(_DNS_ACTIVITY, 2 if message.is_response else 1, _milliseconds(message.time_ns), Severity.INFO)
    event |= {
        "src_endpoint": ends[0],
        "dst_endpoint": ends[1],
        "connection_info": {
            "uid": str(message.flow.id),
            "direction_id": _UNKNOWN,
            "protocol_num": message.flow.protocol,
        },
        "query": query,
    }
    if not message.is_response:
        return event | {"query_time": _milliseconds(message.time_ns)}
    return event | {
        "response_time": _milliseconds(message.time_ns),
        "rcode_id": message.rcode if message.rcode in _RCODES_OWN else 24,
        "answers": [{"type": item.type, "rdata": item.text, "ttl": item.ttl_s} for item in message.answers],
    }


def _base(class_uid: int, activity: int, time_ms: int, severity: Severity) -> Event:
    return {
        "class_uid": class_uid,
        "category_uid": class_uid // 1000,
        "activity_id": activity,
        "type_uid": class_uid * 100 + activity,
        "time": time_ms,
        "severity_id": _SEVERITIES[severity],
        "metadata": {
            "version": VERSION,
            "product": {"name": "govsec", "vendor_name": "govsec", "version": version("govsec")},
        },
    }


def _activity(row: dict[str, Any]) -> int:
    if row["end"] == FlowEnd.ACTIVE:
        return _TRAFFIC
    if row["protocol"] != Protocol.TCP:  # it has no handshake that could fail
        return _CLOSE
    by_state = {FlowState.ATTEMPT: _FAIL, FlowState.REJECTED: _REFUSE, FlowState.RESET: _RESET}
    return by_state.get(row["state"], _CLOSE)


def _texts(value: JsonValue) -> Sequence[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _milliseconds(time_ns: int) -> int:
    return int(time_ns) // 1_000_000


def _of(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
