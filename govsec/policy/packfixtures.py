"""Fixtures of a pack: what a host might have given for one check, and what must follow.

``fixtures/<check id>/<outcome>-<name>.json``::

    {"probes": {"sshd": {…fact…}, "pam": {"status": "absent"}},      a probe that did not end ok has only "status"
     "level": 3, "platform": {"os_id": "debian"}, "params": {"max_tries": 5}, "now": "2026-01-01T00:00:00Z",
     "high_risk": ["6.4.1.3"]}                                   exactly these cases open; left out: any may

All but ``probes`` may be left out. :mod:`govsec.policy.packtest` proves a pack with them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import Field, JsonValue, ValidationError

from govsec.clock import parse_time
from govsec.collect.facts import Facts, OutcomeStatus, Platform, ProbeOutcome
from govsec.config import Model, explain
from govsec.errors import ConfigurationError
from govsec.policy.judge import Judge
from govsec.policy.pack import Check, Pack
from govsec.policy.packfiles import PackFiles
from govsec.policy.results import CheckResult, Status

_PATH = re.compile(r"fixtures/([^/]+)/((pass|partial|fail|not-applicable|error|unknown)-[a-z0-9-]+)\.json")
_OUTCOMES = {
    "pass": Status.PASS,
    "partial": Status.PARTIAL,
    "fail": Status.FAIL,
    "not-applicable": Status.NOT_APPLICABLE,
    "error": Status.ERROR,
    "unknown": Status.UNKNOWN,
}
_NOW = datetime(2026, 1, 1, tzinfo=UTC)


class _NotOk(Model):
    """In place of a fact: how the probe ended; None, that it was not asked."""

    status: OutcomeStatus | None


class Fixture(Model):
    """What a host might have given for one check."""

    probes: Mapping[str, JsonValue]
    level: int = Field(default=3, ge=1, le=4)
    platform: Platform = Platform()
    params: Mapping[str, JsonValue] = Field(default_factory=dict)
    now: str = ""
    high_risk: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A fixture with its place and what must follow from it."""

    check: Check
    name: str
    expected: Status
    fixture: Fixture


def read_cases(pack: Pack, files: PackFiles) -> list[Case]:
    """All fixtures of a pack. Raises ``ConfigurationError`` with the file."""
    cases = []
    for path, data in sorted(files.contents.items()):
        if not (found := _PATH.fullmatch(path)):
            continue
        try:
            fixture = Fixture.model_validate(json.loads(data))
            check = pack.check(found[1])
            if unknown := set(fixture.probes) - set(check.probes):
                raise ConfigurationError(f"{files.name}/{path}: the check has no probe {', '.join(sorted(unknown))}")
        except ValidationError as error:
            raise ConfigurationError(f"{files.name}/{path}: {explain(error)}") from error
        except (ValueError, RecursionError, KeyError) as error:
            raise ConfigurationError(f"{files.name}/{path}: not a fixture: {error}") from error
        cases.append(Case(check, found[2], _OUTCOMES[found[3]], fixture))
    return cases


def judge_fixture(judge: Judge, fixture: Fixture, changed: Mapping[str, JsonValue]) -> CheckResult:
    """The result for a fixture, with some of its probes changed; ``judge`` is of that one check."""
    probes = judge.probes()
    outcomes = {}
    for name, value in {**fixture.probes, **changed}.items():
        kind, identity = probes[name]
        if not is_not_ok(value):
            outcomes[identity] = ProbeOutcome(kind=kind, status="ok", value=value)
        elif (status := _NotOk.model_validate(value).status) is not None:
            outcomes[identity] = ProbeOutcome(kind=kind, status=status, reason="as the fixture has it")
    facts = Facts(
        host="fixture",
        collected=parse_time(fixture.now) if fixture.now else _NOW,
        collector="fixture",
        platform=fixture.platform,
        outcomes=outcomes,
    )
    (result,) = judge.judge(facts)
    return result


def is_not_ok(value: JsonValue) -> bool:
    """Whether a fixture's entry is no fact but how the probe ended."""
    return isinstance(value, dict) and set(value) == {"status"}
