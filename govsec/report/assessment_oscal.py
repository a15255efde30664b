"""The assessment as OSCAL assessment results, for programs of others.

Requirement → control (its level-independent key), assessment unit → objective, check of an object → observation (TEST),
evidence of operation → observation (EXAMINE), attestation → observation (INTERVIEW, EXAMINE), verdict → finding,
high-risk case → risk. OSCAL knows *satisfied* and *not satisfied* only: ``conform`` alone is satisfied, and the verdict
itself stands beside it as a property; a requirement that does not apply is excluded from the controls under review and
has no finding. Raw outputs stay in the record; here are their digests.

Identifiers are derived from the run (UUID version 5), so the same record gives the same bytes.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from govsec.report.assessment import Look, Reading, Requirement
from govsec.report.catalog import Lang, plain
from govsec.report.oscalmodels import (
    AssessmentResults,
    AssociatedRisk,
    BackMatter,
    Component,
    ControlRef,
    ControlSelection,
    Document,
    Evidence,
    Finding,
    ImportAp,
    LocalDefinitions,
    Metadata,
    MitigatingFactor,
    ObjectiveStatus,
    Observation,
    Party,
    Property,
    RelatedObservation,
    Resource,
    Result,
    ReviewedControls,
    Risk,
    Status,
    Subject,
    Target,
)

#: The namespace of govsec's identifiers: made once at random, and never changed.
_NAMESPACE = uuid.UUID("6b0f2f52-8d5c-5d6e-9a53-1f0b6f6d8f21")
_NOT_APPLICABLE = "not_applicable"


def render_oscal(record: Mapping[str, Any], lang: Lang) -> bytes:
    """The record (``govsec.assessment.v1``) as JSON of OSCAL 1.2. Same record, same bytes."""
    return _Writer(record, lang).document()


class _Writer:
    def __init__(self, record: Mapping[str, Any], lang: Lang) -> None:
        self._reading = Reading(record, lang)
        self._record = self._reading.record
        self._text = self._reading.words.text

    def document(self) -> bytes:
        plan = self._id("plan")
        value = Document(
            assessment_results=AssessmentResults(
                uuid=self._id("document"),
                metadata=self._metadata(),
                import_ap=ImportAp(href=f"#{plan}"),
                results=(self._result(),),
                back_matter=BackMatter(resources=(self._plan(plan),)),
            )
        )
        plain_value = value.model_dump(mode="json", by_alias=True, exclude_none=True)
        return json.dumps(plain_value, ensure_ascii=False, indent=1).encode() + b"\n"

    def _id(self, *parts: str) -> str:
        # Names come from hosts: JSON keeps any two lists of them apart, joining them would not.
        return str(uuid.uuid5(_NAMESPACE, json.dumps([self._record["id"], *parts])))

    def _metadata(self) -> Metadata:
        organization = self._record["organization"]
        party = Party(uuid=self._id("organization"), name=_line(organization)) if organization.strip() else None
        return Metadata(
            title=_line(f"{self._text('title')} {self._reading.system()}"),
            last_modified=self._record["ended"],
            version=_line(self._record["id"]),
            parties=(party,) if party else None,
            remarks=self._text("disclaimer"),
        )

    def _plan(self, name: str) -> Resource:
        packs = [
            _property("pack", f"{pack['id']} {pack['version']} {pack['sha256']}") for pack in self._record["packs"]
        ]
        catalog = self._record["catalog"]
        return Resource(
            uuid=name,
            title=_line(f"{catalog['edition']} {self._reading.level()}"),
            description=self._reading.scopes(),
            props=(_property("catalog", f"{catalog['id']} {catalog['sha256']}"), *packs),
        )

    def _result(self) -> Result:
        applicable = [one for one in self._reading.requirements if one.verdict != _NOT_APPLICABLE]
        excluded = [one for one in self._reading.requirements if one.verdict == _NOT_APPLICABLE]
        selection = ControlSelection(
            include_controls=tuple(ControlRef(control_id=_token(one.row["key"])) for one in self._reading.requirements),
            exclude_controls=tuple(ControlRef(control_id=_token(one.row["key"])) for one in excluded) or None,
        )
        return Result(
            uuid=self._id("result"),
            title=_line(f"{self._reading.system()} {self._reading.level()}"),
            description=_line(" ".join([self._text("disclaimer"), *self._reading.extent()])),
            start=self._record["started"],
            end=self._record["ended"],
            props=tuple(self._figures()),
            local_definitions=LocalDefinitions(components=tuple(self._components())),
            reviewed_controls=ReviewedControls(control_selections=(selection,)),
            observations=tuple(self._observations()) or None,
            risks=tuple(self._risks()) or None,
            findings=tuple(self._finding(one) for one in applicable) or None,
            remarks="\n".join(self._reading.words.lines("limits")),
        )

    def _figures(self) -> Iterator[Property]:
        coverage = f"{self._text('label.coverage')} {self._reading.share()}"
        yield _property("coverage", self._reading.share())
        extent = self._record.get("extent")
        yield _property("extent", extent["kind"] if extent else "unknown", " ".join(self._reading.extent()) or None)
        for rate in self._record["rates"]:
            status = self._text("label.confirmed_rate" if rate["is_confirmed"] else "label.unconfirmed_rate")
            remarks = f"{coverage}; {status}; {self._reading.say(rate['formula'])}"
            yield _property(rate["strategy"], self._reading.value(rate), remarks)
        for verdict, count in self._reading.counts.items():
            yield _property(f"count-{verdict}", str(count))

    def _components(self) -> Iterator[Component]:
        for thing in self._record["objects"].values():
            facts = thing["facts_sha256"]
            yield Component(
                uuid=self._id("object", thing["name"]),
                type=thing["kind"],
                title=_line(thing["name"]),
                description=_line(thing["address"] or thing["name"]),
                props=(
                    _property("state", thing["state"]),
                    *([_property("facts-sha256", facts)] if facts else []),
                ),
                status=Status(state="other" if thing["state"] == "unreachable" else "operational"),
            )

    def _observations(self) -> Iterator[Observation]:
        told: set[tuple[str, str]] = set()
        for requirement in self._reading.requirements:
            for look in requirement.looks:
                if (look.check, look.object) not in told:
                    told.add((look.check, look.object))
                    yield self._seen(look)
            if requirement.row["attestation"]:
                yield self._said(requirement)
        for entry in self._record["evidence"]:
            yield Observation(
                uuid=self._id("evidence", entry["digest"]),
                title=_line(self._reading.say(entry["title"])),
                description=_line(self._text("evidence_kind." + entry["kind"])),
                props=(_property("kind", entry["kind"]),),
                methods=("EXAMINE",),
                relevant_evidence=(_digest(entry["digest"]),),
                collected=entry["time"],
            )

    def _seen(self, look: Look) -> Observation:
        bad = [message for message, holds in look.expectations if holds is not True]
        collected = self._record["objects"].get(look.object, {}).get("collected") or self._record["ended"]
        known = look.object in self._record["objects"]
        return Observation(
            uuid=self._id("look", look.check, look.object),
            title=_line(f"{look.title} · {look.object}"),
            description=_line("; ".join([part for part in (look.reason, *bad) if part]) or look.title),
            props=(_property("check", look.check), _property("status", look.status), *_waiver(look.waiver)),
            methods=("TEST",),
            subjects=(Subject(subject_uuid=self._id("object", look.object)),) if known else None,
            relevant_evidence=tuple(_digest(output.sha256) for output in look.outputs if output.sha256) or None,
            collected=collected,
        )

    def _said(self, requirement: Requirement) -> Observation:
        row = requirement.row["attestation"]
        return Observation(
            uuid=self._id("attestation", requirement.id),
            title=_line(f"{self._text('basis.attestation')} {requirement.id} · {row['by']}"),
            description=_line(row["statement"] or requirement.summary),
            props=(_property("attestation", row["id"]), _property("is-expired", str(row["is_expired"]).lower())),
            methods=("INTERVIEW", "EXAMINE"),
            relevant_evidence=tuple(_digest(digest) for digest in row["evidence"]) or None,
            collected=row["made"],
            expires=row["until"],
        )

    def _risks(self) -> Iterator[Risk]:
        for case in self._record["cases"]:
            factors = [*(self._reading.title_of(name) for name in case["mitigated_by"])]
            factors += [self._reading.say(reason) for reason in case["reasons"]]
            is_mitigated = case["state"] == "mitigated"
            yield Risk(
                uuid=self._id("case", case["case"]),
                title=_line(f"{case['case']} {self._reading.say(case['title'])}"),
                description=_line(", ".join(case["objects"]) or self._reading.system()),
                statement=_line(self._reading.say(case["title"])),
                props=(
                    _property("case", case["case"]),
                    _property("state", case["state"]),
                    _property("is-confirmed", str(case["is_confirmed"]).lower()),
                ),
                mitigating_factors=tuple(
                    MitigatingFactor(uuid=self._id("factor", case["case"], str(number)), description=_line(factor))
                    for number, factor in enumerate(factors)
                    if is_mitigated
                )
                or None,
            )

    def _finding(self, requirement: Requirement) -> Finding:
        row = requirement.row
        linked = [self._id("look", look.check, look.object) for look in requirement.looks]
        linked += [self._id("evidence", entry["digest"]) for entry in requirement.evidence]
        linked += [self._id("attestation", requirement.id)] if row["attestation"] else []
        cases = {case["case"] for case in self._record["cases"]}
        return Finding(
            uuid=self._id("finding", requirement.id),
            title=_line(f"{requirement.id} {requirement.summary}"),
            description=_line("; ".join(requirement.reasons) or self._text(f"verdict.{requirement.verdict}")),
            props=(
                _property("verdict", requirement.verdict),
                _property("basis", row["basis"]),
                _property("clause", requirement.id),
                _property("attribute", row["attribute"]),
                _property("is-confirmed", str(row["is_confirmed"]).lower()),
                *([_property("original", row["original"])] if row["original"] else []),
                *_waiver(row["waiver"]),
            ),
            target=Target(target_id=_token(row["assessment_unit"] or row["key"]), status=_status(requirement.verdict)),
            related_observations=tuple(RelatedObservation(observation_uuid=name) for name in dict.fromkeys(linked))
            or None,
            related_risks=tuple(
                AssociatedRisk(risk_uuid=self._id("case", case)) for case in row["high_risk"] if case in cases
            )
            or None,
        )


def _status(verdict: str) -> ObjectiveStatus:
    if verdict == "conform":
        return ObjectiveStatus(state="satisfied", reason="pass")
    is_known = verdict in ("partial", "not_conform")
    return ObjectiveStatus(state="not-satisfied", reason="fail" if is_known else "other")


def _waiver(row: Mapping[str, Any] | None) -> Iterator[Property]:
    if row is not None:
        yield _property("waiver", f"{row['id']} {row['approver']} {row['until']}")


def _digest(digest: str) -> Evidence:
    return Evidence(description=f"SHA-256 {digest}", props=(_property("sha256", digest),))


def _property(name: str, value: str, remarks: str | None = None) -> Property:
    return Property(name=_token(name), value=_line(value), remarks=remarks)


def _token(name: str) -> str:
    """A name as OSCAL's token: what it does not allow (the level mark of a key, ``@L4``) becomes an underscore."""
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "_" for letter in name)


def _line(text: str) -> str:
    """``text`` on one line, never empty: OSCAL knows no empty text."""
    return " ".join(plain(text).split()) or "–"
