"""The part of OSCAL's assessment results (version 1.2) that govsec writes, as models that know no more than that.

Source: NIST OSCAL 1.2.1, ``oscal_assessment-results_schema.json``. Names follow the schema, written with hyphens. The
whole of OSCAL is a large library's business (compliance-trestle); the tests let it read what is written here.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

OSCAL_VERSION: Literal["1.2.1"] = "1.2.1"
#: OSCAL's TokenDatatype, narrowed to ASCII.
Token = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")]
#: OSCAL's StringDatatype: no white space at either end, not empty, one line.
Line = Annotated[str, Field(pattern=r"^\S([^\n]*\S)?$")]
Uuid = Annotated[str, Field(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")]


def _hyphenated(name: str) -> str:
    return name.rstrip("_").replace("_", "-")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=_hyphenated, populate_by_name=True)


class Property(_Part):
    """A name and a value; ours lie in a namespace of our own."""

    name: Token
    ns: str = "urn:govsec:oscal"
    value: Line
    remarks: str | None = None


class Party(_Part):
    """The organization that assessed itself."""

    uuid: Uuid
    type: Literal["organization"] = "organization"
    name: Line


class Metadata(_Part):
    """Head of the document."""

    title: Line
    last_modified: str
    version: Line
    oscal_version: Literal["1.2.1"] = OSCAL_VERSION
    parties: tuple[Party, ...] | None = None
    remarks: str | None = None


class ImportAp(_Part):
    """The assessment plan, which is a resource in the back matter."""

    href: str


class Status(_Part):
    """State of a component."""

    state: Literal["operational", "other"]


class Component(_Part):
    """An object that was assessed."""

    uuid: Uuid
    type: Line
    title: Line
    description: str
    props: tuple[Property, ...] | None = None
    status: Status


class LocalDefinitions(_Part):
    """Objects that no plan defines."""

    components: tuple[Component, ...]


class ControlRef(_Part):
    """A requirement by its level-independent key."""

    control_id: Token


class ControlSelection(_Part):
    """The requirements that were assessed, and those that do not apply."""

    include_controls: tuple[ControlRef, ...] = Field(min_length=1)
    exclude_controls: tuple[ControlRef, ...] | None = None


class ReviewedControls(_Part):
    """What was assessed."""

    control_selections: tuple[ControlSelection, ...]


class Subject(_Part):
    """An object that an observation is about."""

    subject_uuid: Uuid
    type: Literal["component"] = "component"


class Evidence(_Part):
    """What an observation rests on, by its digest."""

    description: str
    props: tuple[Property, ...] | None = None


class Observation(_Part):
    """One look: a check of an object, evidence of operation, or a person's word."""

    uuid: Uuid
    title: Line
    description: str
    props: tuple[Property, ...]
    methods: tuple[Literal["EXAMINE", "INTERVIEW", "TEST"], ...]
    subjects: tuple[Subject, ...] | None = None
    relevant_evidence: tuple[Evidence, ...] | None = None
    collected: str
    expires: str | None = None


class RelatedObservation(_Part):
    """Link to an observation."""

    observation_uuid: Uuid


class AssociatedRisk(_Part):
    """Link to a risk."""

    risk_uuid: Uuid


class MitigatingFactor(_Part):
    """What lowers a risk."""

    uuid: Uuid
    description: str


class Risk(_Part):
    """A high-risk case."""

    uuid: Uuid
    title: Line
    description: str
    statement: str
    props: tuple[Property, ...]
    status: Literal["open"] = "open"
    mitigating_factors: tuple[MitigatingFactor, ...] | None = None


class ObjectiveStatus(_Part):
    """Satisfied or not; OSCAL knows no third, so the verdict is a property of the finding."""

    state: Literal["satisfied", "not-satisfied"]
    reason: Literal["pass", "fail", "other"]


class Target(_Part):
    """The assessment unit of a requirement."""

    type: Literal["objective-id"] = "objective-id"
    target_id: Token
    status: ObjectiveStatus


class Finding(_Part):
    """The verdict on a requirement."""

    uuid: Uuid
    title: Line
    description: str
    props: tuple[Property, ...]
    target: Target
    related_observations: tuple[RelatedObservation, ...] | None = None
    related_risks: tuple[AssociatedRisk, ...] | None = None


class Result(_Part):
    """One run."""

    uuid: Uuid
    title: Line
    description: str
    start: str
    end: str
    props: tuple[Property, ...]
    local_definitions: LocalDefinitions
    reviewed_controls: ReviewedControls
    observations: tuple[Observation, ...] | None = None
    risks: tuple[Risk, ...] | None = None
    findings: tuple[Finding, ...] | None = None
    remarks: str | None = None


class Resource(_Part):
    """Something that the document refers to."""

    uuid: Uuid
    title: Line
    description: str
    props: tuple[Property, ...] | None = None


class BackMatter(_Part):
    """Resources."""

    resources: tuple[Resource, ...]


class AssessmentResults(_Part):
    """The document."""

    uuid: Uuid
    metadata: Metadata
    import_ap: ImportAp
    results: tuple[Result, ...]
    back_matter: BackMatter


class Document(_Part):
    """The one key at the top of the file."""

    assessment_results: AssessmentResults
