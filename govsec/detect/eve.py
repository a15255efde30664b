"""What the sensor saw as Suricata's EVE JSON: events ``flow``, ``dns``, ``tls`` and ``alert``, one line each.

One idea: a collector that reads Suricata reads this too, so only fields of its schema occur, with its meaning. What has
no place there is left out; nothing is invented. The version of each form is the one named beside it.

Source: the EVE JSON format of Suricata 7 (``flow``, ``alert``), DNS version 2, JA3 and JA4 under ``tls``. A row of a
flow that goes on (``FlowEnd.ACTIVE``) gives no event, as in Suricata: its last row does, with the sums of all.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from pydantic import JsonValue

from govsec.clock import from_ns
from govsec.detect.api import Observation
from govsec.detect.judgement import is_address
from govsec.dissect.messages import DnsMessage, FlowMessage, FlowRef, TlsCertificates, TlsClientHello, TlsServerHello
from govsec.net import addresses
from govsec.net.columns import FlowEnd, FlowRecords, FlowState, Protocol, TcpFlag
from govsec.net.community import community_ids
from govsec.records import Finding, Severity

Event = dict[str, JsonValue]

#: Hellos that wait for the server's part of the handshake.
_HELLOS_MAX = 4096
#: Long flows whose earlier rows are remembered.
_LONG_FLOWS_MAX = 65_536
_COUNTS = ("packets_originator", "packets_responder", "bytes_originator", "bytes_responder")
_TLS_13 = 0x0304
_VERSIONS = {
    0x0300: "SSLv3",
    0x0301: "TLS 1.0",
    0x0302: "TLSv1.1",
    0x0303: "TLS 1.2",
    0x0304: "TLS 1.3",
    0x0101: "TLCP",
}
_PROTOCOLS: dict[int, str] = {
    Protocol.ICMP: "ICMP",
    Protocol.TCP: "TCP",
    Protocol.UDP: "UDP",
    Protocol.GRE: "GRE",
    Protocol.ICMPV6: "IPv6-ICMP",
}
_RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
#: Suricata's priorities go the other way: 1 is the worst.
_PRIORITIES = {
    Severity.CRITICAL: 1,
    Severity.HIGH: 1,
    Severity.MEDIUM: 2,
    Severity.LOW: 3,
    Severity.INFO: 3,
}
#: Signature ids 1000000–1999999 are for local rules (Suricata user guide, "Meta keywords").
_SIGNATURES_FROM = 1_000_000


class EveWriter:
    """Turns observations and findings into events; feed it in order. Events come in the order of the records."""

    def __init__(self) -> None:
        self._hellos: OrderedDict[int, TlsClientHello] = OrderedDict()
        self._earlier: OrderedDict[int, list[int]] = OrderedDict()
        self._forgotten = 0

    def events(self, observation: Observation, findings: tuple[Finding, ...]) -> Iterator[Event]:
        """What one observation gives: messages, then flows that ended, then findings."""
        for message in observation.messages:
            if isinstance(message, DnsMessage) and message.service == "dns":
                yield from _dns(message)
            elif isinstance(message, TlsClientHello | TlsServerHello | TlsCertificates):
                yield from self._tls(message)
        yield from self._flows(observation.flows.closed)
        for finding in findings:
            yield alert(finding)

    def counters(self) -> dict[str, int]:
        """Long flows whose last event will lack what their earlier rows counted: there were too many at once."""
        return {"long_flows_forgotten": self._forgotten}

    def _flows(self, closed: FlowRecords) -> Iterator[Event]:
        names = closed.dtype.names or ()
        for values, community in zip(closed.tolist(), community_ids(closed), strict=True):
            row = dict(zip(names, values, strict=True))
            earlier = self._earlier.pop(row["id"], [0] * len(_COUNTS))
            sums = [before + row[name] for before, name in zip(earlier, _COUNTS, strict=True)]
            if row["end"] != FlowEnd.ACTIVE:
                yield _flow(row | dict(zip(_COUNTS, sums, strict=True)), community)
                continue
            self._earlier[row["id"]] = sums
            if len(self._earlier) > _LONG_FLOWS_MAX:
                self._earlier.popitem(last=False)
                self._forgotten += 1

    def _tls(self, message: TlsClientHello | TlsServerHello | TlsCertificates) -> Iterator[Event]:
        """One event a handshake: at the server's certificates, or at its hello where TLS 1.3 hides them."""
        flow = message.flow.id
        if isinstance(message, TlsClientHello):
            if flow:
                self._hellos[flow] = message
                if len(self._hellos) > _HELLOS_MAX:
                    self._hellos.popitem(last=False)
            return
        if isinstance(message, TlsServerHello) and message.version < _TLS_13:
            return
        if message.is_originator:  # the client's own certificates
            return
        yield _tls(message, self._hellos.pop(flow, None))


def alert(finding: Finding) -> Event:
    """A finding as an event ``alert``; its kind is the category, its hosts are source and destination.

    The signature's number follows from the kind alone, so that rules of a collector can name it.
    """
    facts = finding.facts
    event: Event = {"timestamp": _text(finding.time), "event_type": "alert"}
    for key, name in (("src_ip", "originators"), ("dest_ip", "responders")):
        if hosts := [host for host in _texts(facts.get(name)) if is_address(host)]:
            event[key] = hosts[0]
    if ports := facts.get("ports"):
        event["dest_port"] = _first(ports)
    flows = facts.get("flows")
    if isinstance(flows, list) and len(flows) == 1:
        event["community_id"] = flows[0]
    event["alert"] = {
        "action": "allowed",
        "gid": 1,
        "signature_id": signature_id(finding.kind),
        "rev": 1,
        "signature": finding.summary,
        "category": finding.kind,
        "severity": _PRIORITIES[finding.severity],
        "metadata": {"signature_severity": [finding.severity.name.lower()], "tag": [str(facts.get("pattern", ""))]},
    }
    return event


def signature_id(kind: str) -> int:
    """A number for a kind of finding: the same for ever, within the range for local rules."""
    return _SIGNATURES_FROM + zlib.crc32(kind.encode()) % 1_000_000


def _flow(row: dict[str, Any], community: str) -> Event:
    protocol = row["protocol"]
    event: Event = {
        "timestamp": _time(row["end_ns"]),
        "flow_id": row["id"],
        "event_type": "flow",
        "src_ip": addresses.format(row["originator_hi"], row["originator_lo"]),
        "dest_ip": addresses.format(row["responder_hi"], row["responder_lo"]),
        "proto": _protocol(protocol),
    }
    if row["vlan"]:
        event["vlan"] = [row["vlan"]]
    if protocol in (Protocol.TCP, Protocol.UDP):
        event |= {"src_port": row["originator_port"], "dest_port": row["responder_port"]}
    elif protocol in (Protocol.ICMP, Protocol.ICMPV6):
        event["icmp_type"] = row["icmp_type"]
    event["community_id"] = community
    event["flow"] = {
        "pkts_toserver": row["packets_originator"],
        "pkts_toclient": row["packets_responder"],
        "bytes_toserver": row["bytes_originator"],
        "bytes_toclient": row["bytes_responder"],
        "start": _time(row["start_ns"]),
        "end": _time(row["last_ns"]),
        "age": max(0, row["last_ns"] - row["start_ns"]) // 1_000_000_000,
        "state": _state(row["state"]),
        "reason": "shutdown" if row["end"] == FlowEnd.FINISHED else "timeout",
        "alerted": False,
    }
    if protocol == Protocol.TCP:
        event["tcp"] = _tcp(row["flags_originator"], row["flags_responder"])
    return event


def _tcp(originator: int, responder: int) -> Event:
    both = originator | responder
    found: Event = {
        "tcp_flags": f"{both:02x}",
        "tcp_flags_ts": f"{originator:02x}",
        "tcp_flags_tc": f"{responder:02x}",
    }
    return found | {str(flag.name).lower(): True for flag in TcpFlag if both & flag}


def _state(state: int) -> str:
    if state in (FlowState.CLOSED, FlowState.RESET, FlowState.REJECTED):
        return "closed"
    return "established" if state == FlowState.ESTABLISHED else "new"


def _dns(message: DnsMessage) -> Iterator[Event]:
    """A query gives one event a question; an answer gives one event."""
    if not message.is_response:
        for number, question in enumerate(message.questions):
            query: Event = {"type": "query", "id": message.transaction, "rrname": question.name}
            yield _event("dns", message, {"dns": query | {"rrtype": question.type, "tx_id": number}})
        return
    answer: Event = {
        "version": 2,
        "type": "answer",
        "id": message.transaction,
        "qr": True,
        "rcode": _RCODES.get(message.rcode, str(message.rcode)),
    }
    if message.is_truncated:
        answer["tc"] = True
    if message.questions:
        answer |= {"rrname": message.questions[0].name, "rrtype": message.questions[0].type}
    if message.answers:
        answer["answers"] = [
            {"rrname": item.name, "rrtype": item.type, "ttl": item.ttl_s, "rdata": item.text}
            for item in message.answers
        ]
    yield _event("dns", message, {"dns": answer})


def _tls(message: TlsServerHello | TlsCertificates, hello: TlsClientHello | None) -> Event:
    tls: Event = {"version": _VERSIONS.get(message.version, f"0x{message.version:04x}")}
    if message.server_name:
        tls["sni"] = message.server_name
    if isinstance(message, TlsCertificates) and message.certificates:
        leaf = message.certificates[0]
        tls |= {
            "subject": leaf.subject,
            "issuerdn": leaf.issuer,
            "serial": leaf.serial,
            "notbefore": leaf.not_before.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
            "notafter": leaf.not_after.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        }
    if hello is not None:
        tls |= {"ja3": {"hash": hello.ja3}, "ja4": hello.ja4}
    return _event("tls", message, {"tls": tls})


def _event(kind: str, message: FlowMessage, more: Event) -> Event:
    flow: FlowRef = message.flow
    event: Event = {"timestamp": _time(message.time_ns), "event_type": kind}
    if flow.id:
        event["flow_id"] = flow.id
    if flow.vlan:
        event["vlan"] = [flow.vlan]
    ends = (flow.originator, flow.originator_port, flow.responder, flow.responder_port)
    # As in Suricata, an answer's packet goes from the server to the client; `tls` keeps the direction of the flow.
    if kind == "dns" and not message.is_originator:
        ends = (*ends[2:], *ends[:2])
    event |= dict(zip(("src_ip", "src_port", "dest_ip", "dest_port"), ends, strict=True))
    event["proto"] = _protocol(flow.protocol)
    return event | more


def _protocol(number: int) -> str:
    """The protocol's name; one that has none here goes by its number, as in Suricata."""
    return _PROTOCOLS.get(number, f"{number:03d}")


def _texts(value: JsonValue) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _first(values: JsonValue) -> JsonValue:
    return values[0] if isinstance(values, list) and values else values


def _time(time_ns: int) -> str:
    return _text(from_ns(time_ns))


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f+0000")
