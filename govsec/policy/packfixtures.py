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
from collections.abc import Mapping, Sequence
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
from govsec.registerentry import HostRole

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
#: What a fixture's host is called, and what it is: whatever its check asks for.
_HOST = "fixture"
EVERY_ROLE = dict.fromkeys(HostRole, (_HOST,))
#: Changed facts of one fixture that are judged together: how many, and bytes of all.
_AT_ONCE_MAX = 200
_AT_ONCE_SIZE_MAX = 1 << 20


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


def judge_fixture(
    judge: Judge, fixture: Fixture, changes: Sequence[Mapping[str, JsonValue]] = ({},)
) -> list[CheckResult]:
    """The result for a fixture with each of ``changes`` made to its probes; ``judge`` is of that one check."""
    probes = judge.probes()
    given = {name: _outcome(probes[name][0], value) for name, value in fixture.probes.items()}
    many = [_facts(fixture, probes, {**given, **_outcomes(probes, changed)}) for changed in changes]
    # Many small facts at once cost one answer's wait; large ones would fill the evaluator's memory.
    count = max(1, min(_AT_ONCE_MAX, _AT_ONCE_SIZE_MAX // (1 + len(json.dumps(fixture.probes, default=str)))))
    batches = [many[start : start + count] for start in range(0, len(many), count)]
    return [result for batch in batches for (result,) in judge.judge_all(batch)]


def _outcomes(probes: Mapping[str, tuple[str, str]], values: Mapping[str, JsonValue]) -> dict[str, ProbeOutcome | None]:
    return {name: _outcome(probes[name][0], value) for name, value in values.items()}


def _outcome(kind: str, value: JsonValue) -> ProbeOutcome | None:
    if not is_not_ok(value):
        return ProbeOutcome(kind=kind, status="ok", value=value)
    status = _NotOk.model_validate(value).status
    return ProbeOutcome(kind=kind, status=status, reason="as the fixture has it") if status is not None else None


def _facts(
    fixture: Fixture, probes: Mapping[str, tuple[str, str]], outcomes: Mapping[str, ProbeOutcome | None]
) -> Facts:
    return Facts(
        host=_HOST,
        collected=parse_time(fixture.now) if fixture.now else _NOW,
        collector="fixture",
        platform=fixture.platform,
        outcomes={probes[name][1]: outcome for name, outcome in outcomes.items() if outcome is not None},
    )


def is_not_ok(value: JsonValue) -> bool:
    """Whether a fixture's entry is no fact but how the probe ended."""
    return isinstance(value, dict) and set(value) == {"status"}
