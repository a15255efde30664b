"""What a configuration of services may say, and what is refused with a reason."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from govsec.serviceentry import ServiceConfig

STEP = {"name": "home", "url": "https://portal.example/"}


def test_the_smallest_service_has_one_step() -> None:
    service = ServiceConfig.model_validate({"name": "portal", "steps": [STEP]})

    assert service.families == ("ipv4", "ipv6")
    assert service.hosts_allowed() == {"portal.example"}


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({}, "nothing would be looked at"),
        ({"steps": [STEP], "verify": False}, "Extra inputs"),
        ({"steps": [{**STEP, "url": "ftp://portal.example/"}]}, "http"),
        ({"steps": [{**STEP, "url": "https://user:secret@portal.example/"}]}, "holds a user"),
        ({"steps": [{**STEP, "url": "https://${host}/"}]}, "placeholder"),
        ({"steps": [{**STEP, "url": "https://portal.example/ x"}]}, "without blanks"),
        ({"steps": [{**STEP, "url": "https://portal.example/\r\nX: y"}]}, "without blanks"),
        ({"steps": [{**STEP, "url": "https://portal.example:99999/"}]}, "is no URL"),
        ({"steps": [{**STEP, "headers": {"X-A": "b\r\nX-C: d"}}]}, "control character"),
        ({"steps": [{**STEP, "headers": {"Host": "evil.example"}}]}, "cannot be set"),
        ({"steps": [{**STEP, "headers": {"X-T": "${token}"}}]}, "no earlier step keeps it"),
        ({"steps": [{**STEP, "form": {}, "body": ""}]}, "more than one of"),
        ({"steps": [{**STEP, "keep": {"t": {"json": "a", "header": "b"}}}]}, "exactly one"),
        ({"steps": [{**STEP, "expect": {"body_matches": ["(?=a)"]}}]}, "linear kind"),
        ({"steps": [{**STEP, "expect": {"body_matches": ["a{1000}{1000}{1000}"]}}]}, "linear kind"),
        ({"steps": [STEP, STEP]}, "same name"),
        ({"steps": [STEP], "confirm": {"failures": 3, "of": 2}}, "more failures than attempts"),
        ({"steps": [STEP], "addresses": ["169.254.0.0/33"]}, "169.254.0.0/33"),
        ({"steps": [STEP], "families": ["ipv4"], "families_required": ["ipv6"]}, "families does not"),
        ({"pages": [{"name": "home", "url": "https://portal.example/?${x}"}]}, "no placeholder"),
        ({"signals": [{"name": "a", "kind": "traffic", "url": "https://p.example/"}]}, "exactly one"),
    ],
)
def test_what_cannot_be_meant_is_refused(entry: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError) as raised:
        ServiceConfig.model_validate({"name": "portal", **entry})

    assert why in str(raised.value)


def test_a_value_of_an_earlier_step_and_a_secret_may_be_put_in() -> None:
    steps = [
        {**STEP, "headers": {"X-P": "${password}"}, "keep": {"token": {"header": "X-T"}}},
        {**STEP, "name": "next", "json": {"a": ["${token}"]}},
    ]

    service = ServiceConfig.model_validate({"name": "p", "steps": steps, "secrets": {"password": {"file": "/x"}}})

    assert list(service.steps[1].placeholders()) == ["token"]
