"""EVE and OCSF: the events that collectors read, held to the fields that those formats have."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from py_ocsf_models.events.findings.detection_finding import DetectionFinding

import govsec.detect
from govsec.config import MonitorConfig
from govsec.detect.api import Losses, Observation, at_end
from govsec.detect.eve import EveWriter, alert, signature_id
from govsec.detect.hosts import Networks
from govsec.detect.judgement import judge
from govsec.detect.ocsf import OcsfWriter, detection_finding
from govsec.dissect.dissect import Dissector
from govsec.findings.attack import TECHNIQUES
from govsec.net.flows import FlowTable
from govsec.records import Finding, Severity
from govsec.report.catalog import Catalogue
from govsec.testing import trafficoffice
from govsec.testing.packets import Frame
from govsec.testing.trafficcases import CASES, build
from tests.detect.observations import batch_of

_TEXT, _COUNT, _FLAG = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
_MOMENT = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+0000$"}


def closed_object(required: str, **fields: object) -> dict[str, object]:
    return {
        "type": "object",
        "properties": fields,
        "required": required.split(),
        "additionalProperties": False,
    }


#: The fields of Suricata's EVE that are used here, with their types; any other field is an error, as in its schema.
EVE = closed_object(
    "timestamp event_type",
    timestamp=_MOMENT,
    event_type={"enum": ["flow", "dns", "tls", "alert"]},
    flow_id=_COUNT,
    community_id={"type": "string", "pattern": "^1:"},
    vlan={"type": "array", "items": _COUNT},
    src_ip=_TEXT,
    src_port=_COUNT,
    dest_ip=_TEXT,
    dest_port=_COUNT,
    proto=_TEXT,
    icmp_type=_COUNT,
    flow=closed_object(
        "pkts_toserver pkts_toclient bytes_toserver bytes_toclient start end age state reason alerted",
        pkts_toserver=_COUNT,
        pkts_toclient=_COUNT,
        bytes_toserver=_COUNT,
        bytes_toclient=_COUNT,
        start=_MOMENT,
        end=_MOMENT,
        age=_COUNT,
        state={"enum": ["new", "established", "closed"]},
        reason={"enum": ["timeout", "shutdown"]},
        alerted=_FLAG,
    ),
    tcp=closed_object(
        "tcp_flags tcp_flags_ts tcp_flags_tc",
        tcp_flags=_TEXT,
        tcp_flags_ts=_TEXT,
        tcp_flags_tc=_TEXT,
        **dict.fromkeys(("syn", "fin", "rst", "psh", "ack", "urg", "ece", "cwr"), _FLAG),
    ),
    dns=closed_object(
        "type id",
        version={"const": 2},
        type={"enum": ["query", "answer"]},
        id=_COUNT,
        tx_id=_COUNT,
        qr=_FLAG,
        tc=_FLAG,
        rrname=_TEXT,
        rrtype=_TEXT,
        rcode=_TEXT,
        answers={
            "type": "array",
            "items": closed_object("rrname rrtype ttl rdata", rrname=_TEXT, rrtype=_TEXT, ttl=_COUNT, rdata=_TEXT),
        },
    ),
    tls=closed_object(
        "version",
        **dict.fromkeys(("version", "sni", "subject", "issuerdn", "serial", "notbefore", "notafter", "ja4"), _TEXT),
        ja3=closed_object("hash", hash={"type": "string", "pattern": "^[0-9a-f]{32}$"}),
    ),
    alert=closed_object(
        "action gid signature_id rev signature category severity",
        action={"const": "allowed"},
        gid=_COUNT,
        signature_id=_COUNT,
        rev=_COUNT,
        signature=_TEXT,
        category=_TEXT,
        severity={"enum": [1, 2, 3, 4]},
        metadata=closed_object(
            "signature_severity tag",
            signature_severity={"type": "array", "items": _TEXT},
            tag={"type": "array", "items": _TEXT},
        ),
    ),
)
_MILLISECONDS = {"type": "integer", "minimum": 10**12}
_ENDPOINT = closed_object("ip", ip=_TEXT, port=_COUNT, vlan_uid=_TEXT)
_BASE = {
    "category_uid": {"const": 4},
    "activity_id": _COUNT,
    "type_uid": _COUNT,
    "time": _MILLISECONDS,
    "severity_id": {"const": 1},
    "metadata": closed_object(
        "version product",
        version={"const": "1.8.0"},
        product=closed_object("name vendor_name", name=_TEXT, vendor_name=_TEXT, version=_TEXT),
    ),
    "src_endpoint": _ENDPOINT,
    "dst_endpoint": _ENDPOINT,
    "connection_info": closed_object(
        "direction_id",
        uid=_TEXT,
        community_uid=_TEXT,
        direction_id={"enum": [0, 1, 2, 3]},
        protocol_num=_COUNT,
        protocol_name=_TEXT,
        protocol_ver_id={"enum": [4, 6]},
        tcp_flags=_COUNT,
    ),
}
_BASE_REQUIRED = "category_uid activity_id class_uid type_uid time severity_id metadata src_endpoint dst_endpoint"
#: network_activity and dns_activity of OCSF 1.8.0, as far as they are used; findings are held to py-ocsf-models.
NETWORK_ACTIVITY = closed_object(
    _BASE_REQUIRED + " connection_info traffic start_time end_time",
    **_BASE,
    class_uid={"const": 4001},
    start_time=_MILLISECONDS,
    end_time=_MILLISECONDS,
    traffic=closed_object(
        "bytes packets",
        **dict.fromkeys(("packets", "packets_in", "packets_out", "bytes", "bytes_in", "bytes_out"), _COUNT),
    ),
)
DNS_ACTIVITY = closed_object(
    _BASE_REQUIRED + " query",
    **_BASE,
    class_uid={"const": 4003},
    query_time=_MILLISECONDS,
    response_time=_MILLISECONDS,
    rcode_id=_COUNT,
    query=closed_object("hostname opcode_id", hostname=_TEXT, type=_TEXT, opcode_id=_COUNT),
    answers={"type": "array", "items": closed_object("rdata", type=_TEXT, rdata=_TEXT, ttl=_COUNT)},
)

_EVE = Draft202012Validator(EVE)
_OCSF = {4001: Draft202012Validator(NETWORK_ACTIVITY), 4003: Draft202012Validator(DNS_ACTIVITY)}


def observed(frames: list[Frame], *, size: int = 500) -> Iterator[Observation]:
    table, dissector, batch = FlowTable(), Dissector(), batch_of([])
    for start in range(0, len(frames), size):
        batch = batch_of(frames[start : start + size], first=start)
        update = table.add(batch)
        yield Observation(update.time_ns, batch, update, dissector.observe(batch, update))
    yield at_end(batch, table.finish(), Losses())


def eve_of(frames: list[Frame], *, size: int = 500) -> list[dict[str, Any]]:
    writer = EveWriter()
    return [event for item in observed(frames, size=size) for event in writer.events(item, ())]


def ocsf_of(frames: list[Frame], *, size: int = 500) -> list[dict[str, Any]]:
    writer = OcsfWriter(Networks(MonitorConfig().home_networks))
    return [event for item in observed(frames, size=size) for event in writer.events(item, ())]


@pytest.fixture(scope="module")
def office() -> list[Frame]:
    return build(lambda rng: trafficoffice.office_day(rng, hours=0.05))


def test_every_event_of_an_office_has_only_fields_of_the_format(office: list[Frame]) -> None:
    kinds = set()
    for event in eve_of(office):
        _EVE.validate(json.loads(json.dumps(event)))
        kinds.add(event["event_type"])
    assert kinds >= {"flow", "dns", "tls"}

    classes = set()
    for event in ocsf_of(office):
        _OCSF[event["class_uid"]].validate(json.loads(json.dumps(event)))
        assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
        classes.add(event["class_uid"])
    assert classes == {4001, 4003}


@pytest.mark.parametrize("events_of", [eve_of, ocsf_of])
def test_the_same_flows_are_told_wherever_batches_are_cut(
    office: list[Frame], events_of: Callable[..., list[dict[str, Any]]]
) -> None:
    one, other = (
        sorted(json.dumps(event, sort_keys=True) for event in events_of(office, size=size)) for size in (97, 5000)
    )
    assert one == other


def test_flows_carry_every_packet_and_byte_once(office: list[Frame]) -> None:
    flows = [event["flow"] for event in eve_of(office) if event["event_type"] == "flow"]
    packets = sum(flow["pkts_toserver"] + flow["pkts_toclient"] for flow in flows)
    traffic = [event["traffic"] for event in ocsf_of(office) if event["class_uid"] == 4001]

    assert packets == sum(item["packets"] for item in traffic)
    assert sum(flow["bytes_toserver"] for flow in flows) == sum(item["bytes_out"] for item in traffic)
    ethertypes = [frame.data[12:14] for frame in office]
    assert packets == sum(1 for kind in ethertypes if kind in (b"\x08\x00", b"\x86\xdd"))


def test_a_handshake_is_one_event_with_name_fingerprint_and_certificate() -> None:
    case = next(case for case in CASES if case.kind == "net.certificate.expired")
    events = [event for event in eve_of(build(case.attack)) if event["event_type"] == "tls"]

    assert events
    for event in events:
        assert re.fullmatch(r"[0-9a-f]{32}", event["tls"]["ja3"]["hash"])
        assert event["tls"]["notafter"] < "2100"
        assert event["tls"]["subject"]


def finding(kind: str = "net.scan.vertical", **facts: object) -> Finding:
    given: dict[str, Any] = {
        "kind": kind,
        "detector": "scan_vertical",
        "severity": Severity.HIGH,
        "time_ns": 1_732_233_600 * 10**9,
        "subject": "192.168.10.66",
        "summary": "192.168.10.66 tried 1000 ports of 192.168.10.5.",
        "pattern": ("192.168.10.66",),
        "attack": ["T1046"],
        "originators": ["192.168.10.66"],
        "responders": ["192.168.10.5", "192.168.10.6"],
    }
    return judge(**(given | facts))


def test_a_finding_is_an_alert_that_rules_of_a_collector_can_name() -> None:
    event = alert(finding())

    _EVE.validate(event)
    assert (event["src_ip"], event["dest_ip"]) == ("192.168.10.66", "192.168.10.5")
    body = event["alert"]
    assert isinstance(body, dict)
    assert body["category"] == "net.scan.vertical"
    assert body["severity"] == 1
    assert body["signature_id"] == signature_id("net.scan.vertical")


def test_no_two_kinds_of_findings_share_a_signature() -> None:
    words = Catalogue("monitor", "en")
    titles = sorted(key for key in iter(words.keys()) if key.endswith(".title"))
    kinds = [key.removeprefix("finding.").removesuffix(".title") for key in titles]
    kinds = [kind for kind in kinds if kind.startswith("net.")]

    assert len(kinds) > 10
    assert len({signature_id(kind) for kind in kinds}) == len(kinds)
    assert all(1_000_000 <= signature_id(kind) < 2_000_000 for kind in kinds)


def test_a_finding_is_read_by_the_framework_s_own_models() -> None:
    event = detection_finding(finding())
    read = DetectionFinding.model_validate(event)

    assert read.class_uid == 2004
    assert read.type_uid.value == 200401
    assert read.finding_info.uid == event["finding_info"]["uid"]  # type: ignore[index,call-overload]
    assert detection_finding(finding()) == event
    assert detection_finding(finding(subject="other"))["finding_info"] != event["finding_info"]
    assert [item["value"] for item in event["observables"]] == [  # type: ignore[index,call-overload,union-attr]
        "192.168.10.66",
        "192.168.10.5",
        "192.168.10.6",
    ]


def test_every_technique_in_a_detector_has_its_name() -> None:
    room = Path(govsec.detect.__file__).parent
    used = {found for path in room.glob("*.py") for found in re.findall(r'"(T1\d{3}(?:\.\d{3})?)"', path.read_text())}

    assert len(used) > 5
    assert used <= set(TECHNIQUES)
