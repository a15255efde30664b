from __future__ import annotations

from datetime import UTC, datetime

import pydantic
import pytest

from govsec import canonical, errors
from govsec.records import Evidence, Finding, Severity, as_evidence

TIME = datetime(2026, 1, 1, tzinfo=UTC)


def test_evidence_has_one_canonical_form() -> None:
    evidence = Evidence(kind="drill.passed", time=TIME, subject="hr", facts={"b": 1, "a": [True, None]})

    assert canonical.dumps(evidence.canonical()) == (
        b'{"facts":{"a":[true,null],"b":1},"kind":"drill.passed","subject":"hr","time":"2026-01-01T00:00:00Z"}'
    )


def test_a_finding_becomes_evidence_with_its_severity_and_words() -> None:
    finding = Finding(
        kind="center.degraded", severity=Severity.HIGH, time=TIME, subject="near", summary="no ack", facts={"n": 3}
    )

    assert as_evidence(finding).facts == {"n": 3, "severity": "high", "summary": "no ack"}


@pytest.mark.parametrize("kind", ["", "drill", "Drill.failed", "drill.", "drill failed", "drill.failed!"])
def test_a_kind_is_dotted_lower_case_words(kind: str) -> None:
    with pytest.raises(pydantic.ValidationError):
        Evidence(kind=kind, time=TIME, subject="hr", facts={})


def test_a_record_without_a_time_zone_or_with_an_unknown_field_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError):
        Evidence(kind="a.b", time=datetime(2026, 1, 1), subject="hr", facts={})
    with pytest.raises(pydantic.ValidationError):
        Evidence.model_validate({"kind": "a.b", "time": TIME, "subject": "hr", "facts": {}, "verdict": "pass"})


def test_the_exit_codes_are_those_the_documentation_prints() -> None:
    lines = (errors.__doc__ or "").splitlines()
    printed = {}
    for line in lines:
        words = line.replace("│", " ").replace("├──", " ").replace("└──", " ").split()
        if len(words) > 2 and words[0].endswith("Error") and words[1].isdigit():
            printed[words[0]] = int(words[1])
    defined = {
        name: value.exit_code
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.GovsecError)
    }

    assert printed == defined
    assert len(printed) > 15
