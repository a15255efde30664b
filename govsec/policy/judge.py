"""From facts to results: every check of the packs on one host. Same facts, same packs, same results.

What can be answered without asking an expression is decided here, and fails closed:

* a probe that was denied, timed out, failed or was never asked makes each expression that reads it an error;
* a thing that is absent means what the check's ``absent`` says, and is an error where it says nothing;
* an expression that reads a missing key, clashes in types, is cut, or gives anything but true or false is an error;
* one error among a check's expectations makes the whole check an error: what could not be looked at is never a pass;
* a pass that is not ``conclusive``, because what was seen is not all there is, is unknown.

``now`` in expressions is when the facts were collected, so that facts judged again next year give the same results.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from pydantic import JsonValue

from govsec.clock import format_time
from govsec.collect.facts import Facts, ProbeOutcome
from govsec.collect.shapes import Shape, fact_shapes
from govsec.errors import ConfigurationError
from govsec.policy.expressions import CUT, Answer, Expressions, Group, Job, with_parameters
from govsec.policy.lifecycle import platform_variable
from govsec.policy.pack import Check, Expect, HighRisk, Meaning, Pack
from govsec.policy.packload import texts_of
from govsec.policy.results import CaseHit, CheckResult, Expectation, Status, Words
from govsec.policy.said import said
from govsec.registerentry import HostRole

#: JSON of one probe's fact. A larger one is an error for every check that reads it.
FACT_SIZE_MAX = 2 << 20
#: After so many hosts on which a check was cut, it is an error on all others without being tried: a bomb costs a
#: second each time. Not after the first, so that one hostile host's facts cannot silence a check for the fleet.
_CUTS_MAX = 3
#: For two children two hosts each: enough that neither waits long, few enough to be held in memory twice.
_HOSTS_AT_ONCE = 4
#: Why a check for hosts of a role does not apply to one.
_NOT_SO = {
    HostRole.BORDER: Words(
        zh="台账没有把这台主机登记为边界（register.borders）",
        en="the register names this host as no border (register.borders)",
    ),
    HostRole.SECURITY: Words(
        zh="台账没有把这台主机登记为安全设备（register.borders、register.security_hosts）",
        en="the register names this host as no security device (register.borders, register.security_hosts)",
    ),
}


@dataclass(frozen=True, slots=True)
class _Text:
    """An expression: its number in the evaluator, and the check's probes that it reads."""

    number: int
    probes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Plan:
    """A check, prepared."""

    pack: str
    check: Check
    group: int
    applies: tuple[_Text, ...]
    expect: tuple[_Text, ...]
    conclusive: tuple[_Text, ...]
    risks: tuple[_Text | None, ...]
    identities: Mapping[str, str]
    #: Names of variables that its expressions may read.
    reads: frozenset[str]


@dataclass(slots=True)
class _Asked:
    """What is asked about one check of one host, and what is known without asking."""

    plan: _Plan
    outcomes: Mapping[str, ProbeOutcome | None]
    #: By number of the expression: the answer where it needs no asking.
    known: dict[int, Answer] = field(default_factory=dict)
    programs: list[int] = field(default_factory=list)
    #: False: the check is for hosts of another role.
    is_for: bool = True


@dataclass(frozen=True, slots=True)
class _Batch:
    """Hosts that are judged together."""

    facts: Sequence[Facts]
    groups: list[Group]
    #: Who waits for an answer, in the order of the groups' jobs.
    order: list[_Asked]
    #: By host, what is asked about each check.
    asked: list[list[_Asked]]


class Judge:
    """The packs of a run, ready for any number of hosts."""

    def __init__(
        self,
        packs: Sequence[Pack],
        expressions: Expressions,
        *,
        levels: Mapping[str, int],
        parameters: Mapping[str, Mapping[str, JsonValue]] | None = None,
        hosts_of: Mapping[HostRole, Collection[str]] | None = None,
    ) -> None:
        """``levels`` gives each check the level whose parameters hold (:func:`levels_of`); ``parameters`` override.

        ``hosts_of`` are the hosts of each role; a check for hosts of a role applies to no other one.

        Raises:
            ConfigurationError: an override names no check or parameter, or is of another type; an expression is wrong.
        """
        self._expressions = expressions
        self._hosts_of = hosts_of or {}
        checks = [(pack.id, check) for pack in packs for check in pack.checks]
        overrides = parameters or {}
        check_parameters(packs, overrides)
        self._names: list[dict[str, str]] = []
        self._levels: list[int] = []
        self._plans: list[_Plan] = []
        self._cuts: dict[str, int] = {}
        shapes = fact_shapes()
        #: By identity of each probe that is read.
        self._shapes = {probe.identity: shapes[probe.kind] for _, check in checks for probe in check.probes.values()}
        # Equal expressions with equal parameters are one program, and are answered once a host.
        params = {check.id: _params(check, levels[check.id], overrides.get(check.id, {})) for _, check in checks}
        numbers: dict[str, int] = {}
        for _, check in checks:
            for _, text in texts_of(check):
                numbers.setdefault(with_parameters(text, params[check.id]), len(numbers))
        names = expressions.load(list(numbers))
        for pack_id, check in checks:
            texts: dict[tuple[str | int, ...], _Text] = {}
            for path, text in texts_of(check):
                number = numbers[with_parameters(text, params[check.id])]
                error = names[number].error or (
                    "params.<name> is the only way" if "params" in names[number].variables else ""
                )
                if error:
                    raise ConfigurationError(f"{check.id}: {'.'.join(map(str, path))}: {error}")
                texts[path] = _Text(number, tuple(sorted(names[number].variables & set(check.probes))))
            self._plans.append(self._plan(pack_id, check, texts, levels[check.id]))

    def probes(self) -> dict[str, tuple[str, str]]:
        """Of each probe name the kind and identity; for a judge of one check, whose names mean one thing."""
        return {name: (probe.kind, probe.identity) for plan in self._plans for name, probe in plan.check.probes.items()}

    @property
    def identities(self) -> frozenset[str]:
        """Identities of all probes that the checks read."""
        return frozenset(identity for plan in self._plans for identity in plan.identities.values())

    def judge(self, facts: Facts) -> tuple[CheckResult, ...]:
        """One result for each check, in the order of the packs."""
        (results,) = self.judge_all([facts])
        return results

    def judge_each(self, many: Iterable[Facts]) -> Iterator[tuple[CheckResult, ...]]:
        """The results for each host of a fleet, in order, a few hosts at a time.

        A child of the evaluator then has whole hosts: facts are converted once, in place of once a child. The next
        hosts are read and prepared while the children work.
        """
        hosts = iter(many)
        waiting = [self._prepare(list(islice(hosts, _HOSTS_AT_ONCE)))]
        while waiting[-1].facts:
            batch = waiting.pop()
            yield from self._judge(batch, lambda: waiting.append(self._prepare(list(islice(hosts, _HOSTS_AT_ONCE)))))

    def judge_all(self, many: Sequence[Facts]) -> list[tuple[CheckResult, ...]]:
        """The results for each of ``many`` (not empty), asked of the evaluator at once."""
        return self._judge(self._prepare(many), lambda: None)

    def _prepare(self, many: Sequence[Facts]) -> _Batch:
        groups: list[Group] = []
        order: list[_Asked] = []
        every = [self._ask_all(facts, groups, order) for facts in many]
        return _Batch(many, groups, order, every)

    def _judge(self, batch: _Batch, meanwhile: Callable[[], None]) -> list[tuple[CheckResult, ...]]:
        now = format_time(batch.facts[0].collected)
        answers = self._expressions.evaluate(batch.groups, now, meanwhile=meanwhile)
        for one, answer in zip(batch.order, answers, strict=True):
            one.known.update(zip(one.programs, answer, strict=True))
            if any(isinstance(text, str) and text.startswith(CUT) for text in answer):
                check_id = one.plan.check.id
                self._cuts[check_id] = self._cuts.get(check_id, 0) + 1
        return [
            tuple(_result(one, facts.host) for one in asked)
            for facts, asked in zip(batch.facts, batch.asked, strict=True)
        ]

    def _ask_all(self, facts: Facts, groups: list[Group], order: list[_Asked]) -> list[_Asked]:
        """What is asked about every check of one host; its groups, and who waits for their answers, are added."""
        outcomes = facts.outcomes
        values = {one: _encoded(outcomes[one], shape) for one, shape in self._shapes.items() if one in outcomes}
        asked = [
            self._ask(plan, facts, values) if self._is_for(plan.check, facts.host) else _Asked(plan, {}, is_for=False)
            for plan in self._plans
        ]
        platform = json.dumps(platform_variable(facts.platform))
        for number, names in enumerate(self._names):
            members = [one for one in asked if one.plan.group == number and one.programs]
            if not members:
                continue
            variables = {name: values.get(identity) or "null" for name, identity in names.items()}
            variables |= {"platform": platform, "level": str(self._levels[number])}
            jobs = [Job(one.programs, one.plan.reads) for one in members]
            groups.append(Group(variables, jobs, format_time(facts.collected)))
            order += members
        return asked

    def unreachable(self, host: str, reason: str) -> tuple[CheckResult, ...]:
        """The results for a host that gave no facts: every check an error."""
        words = Words(zh=f"未采集到主机事实:{reason}", en=f"no facts of this host: {reason}")
        return tuple(
            CheckResult(plan.check.id, plan.pack, host, Status.ERROR, words, probes=plan.identities)
            if self._is_for(plan.check, host)
            else _result(_Asked(plan, {}, is_for=False), host)
            for plan in self._plans
        )

    def _is_for(self, check: Check, host: str) -> bool:
        return check.hosts is None or host in self._hosts_of.get(check.hosts, ())

    def _plan(self, pack_id: str, check: Check, texts: Mapping[tuple[str | int, ...], _Text], level: int) -> _Plan:
        identities = {name: probe.identity for name, probe in check.probes.items()}
        return _Plan(
            pack=pack_id,
            check=check,
            group=self._group(identities, level),
            applies=tuple(texts["applies", position, "cel"] for position in range(len(check.applies))),
            expect=tuple(texts["expect", position, "cel"] for position in range(len(check.expect))),
            conclusive=tuple(texts["conclusive", position, "cel"] for position in range(len(check.conclusive))),
            risks=tuple(texts.get(("high_risk", position, "when")) for position in range(len(check.high_risk))),
            identities=identities,
            reads=frozenset({*identities, "platform", "level"}),
        )

    def _group(self, identities: Mapping[str, str], level: int) -> int:
        """The first group that calls no other probe by one of these names: facts are handed over once a group."""
        for number, names in enumerate(self._names):
            fits = all(names.get(name, identity) == identity for name, identity in identities.items())
            if fits and self._levels[number] == level:
                names.update(identities)
                return number
        self._names.append(dict(identities))
        self._levels.append(level)
        return len(self._names) - 1

    def _ask(self, plan: _Plan, facts: Facts, values: Mapping[str, str | None]) -> _Asked:
        outcomes = {name: facts.outcomes.get(identity) for name, identity in plan.identities.items()}
        asked = _Asked(plan, outcomes)
        is_bomb = self._cuts.get(plan.check.id, 0) >= _CUTS_MAX
        for text in (*plan.applies, *plan.expect, *plan.conclusive, *filter(None, plan.risks)):
            answer = _unasked(plan.check, text.probes, outcomes)
            if answer is None and any(values.get(plan.identities[name]) is None for name in text.probes):
                answer = f"the fact is larger than {FACT_SIZE_MAX} bytes, or built as no probe builds it"
            if answer is None and is_bomb:
                answer = f"not evaluated: cut on {_CUTS_MAX} hosts before"
            if answer is None:
                asked.programs.append(text.number)
            else:
                asked.known[text.number] = answer
        return asked


def levels_of(checks: Iterable[Check], item_levels: Mapping[str, int], default: int) -> dict[str, int]:
    """The level whose parameters hold for each check: the highest of the requirements that it speaks to.

    ``item_levels`` is by key, of the items that were selected: in an S2A3 system a check on log-in follows level 2.
    """
    return {
        check.id: max((item_levels[maps.key] for maps in check.maps if maps.key in item_levels), default=default)
        for check in checks
    }


def check_parameters(packs: Iterable[Pack], parameters: Mapping[str, Mapping[str, JsonValue]]) -> None:
    """Hold what a site overrides against what its packs have.

    Raises:
        ConfigurationError: no such check or parameter, or a value of another type.
    """
    checks = {check.id: check for pack in packs for check in pack.checks}
    if unknown := set(parameters) - set(checks):
        raise ConfigurationError(f"parameters: there is no check {', '.join(sorted(unknown))}")
    for check_id, values in parameters.items():
        known = checks[check_id].params
        for name, value in values.items():
            if name not in known or not known[name].takes(value):
                raise ConfigurationError(f"parameters: {check_id}.{name}: no such parameter, or of another type")


def _params(check: Check, level: int, overrides: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    return {name: parameter.at(level) for name, parameter in check.params.items()} | dict(overrides)


def _encoded(outcome: ProbeOutcome, shape: Shape) -> str | None:
    """The fact as JSON, written once for all checks that read it; None where it cannot be judged.

    Facts may come from a file. A mapping in the place of a list would be looped over in an order of chance.
    """
    if outcome.status != "ok":
        return "null"
    if not shape.is_built_so(outcome.value):
        return None
    text = json.dumps(outcome.value)
    return text if len(text) <= FACT_SIZE_MAX else None


def _unasked(check: Check, probes: Iterable[str], outcomes: Mapping[str, ProbeOutcome | None]) -> Answer | None:
    """What an expression over ``probes`` amounts to without asking it; None where it has to be asked."""
    meanings: list[Meaning] = []
    for name in probes:
        outcome = outcomes[name]
        if outcome is None:
            return f"probe {name} was not asked on this host"
        if outcome.status == "absent":
            absence = check.absent.get(name)
            if absence is None:
                return f"probe {name}: absent, and the check does not say what that means"
            meanings.append(absence.means)
        elif outcome.status != "ok":
            return f"probe {name}: {outcome.status}: {outcome.reason}"
    if Meaning.FAIL in meanings:
        return False
    return True if Meaning.PASS in meanings else None


def _result(asked: _Asked, host: str) -> CheckResult:
    plan, check = asked.plan, asked.plan.check

    def result(status: Status, reason: Words | None, **more: Any) -> CheckResult:
        return CheckResult(check.id, plan.pack, host, status, reason, probes=plan.identities, **more)

    if check.hosts is not None and not asked.is_for:
        return result(Status.NOT_APPLICABLE, _NOT_SO[check.hosts])
    for name, absence in check.absent.items():
        outcome = asked.outcomes[name]
        if absence.means is Meaning.NOT_APPLICABLE and outcome is not None and outcome.status == "absent":
            return result(Status.NOT_APPLICABLE, absence.reason)
    for condition, text in zip(check.applies, plan.applies, strict=True):
        applies = asked.known[text.number]
        if applies is False:
            return result(Status.NOT_APPLICABLE, condition.reason)
        if applies is not True:
            return result(Status.ERROR, _why(applies))
    answers = [asked.known[text.number] for text in plan.expect]
    expectations = tuple(map(_expectation, check.expect, answers))
    risks = [asked.known[text.number] if text else None for text in plan.risks]
    conclusive = [asked.known[text.number] for text in plan.conclusive]
    for answer in (*answers, *conclusive, *risks):
        if isinstance(answer, str):
            return result(Status.ERROR, _why(answer), expectations=expectations)
    held_count = sum(answer is True for answer in answers)
    status = Status.PASS if held_count == len(answers) else Status.PARTIAL if held_count else Status.FAIL
    reason = _absence_reason(asked)
    if status is Status.PASS and not all(conclusive):
        status, reason = Status.UNKNOWN, check.conclusive[conclusive.index(False)].reason
    return result(
        status,
        reason,
        expectations=expectations,
        high_risk=tuple(_hits(check.high_risk, risks, status)),
        compensates=tuple(one.key for one in check.compensates) if status is Status.PASS else (),
    )


def _expectation(expect: Expect, answer: Answer) -> Expectation:
    holds = answer if isinstance(answer, bool) else None
    return Expectation(expect.name, holds, expect.message if holds is False else None)


def _hits(risks: Sequence[HighRisk], answers: Sequence[Answer | None], status: Status) -> Iterable[CaseHit]:
    for risk, answer in zip(risks, answers, strict=True):
        if answer is True or (answer is None and status is Status.FAIL):
            yield CaseHit(risk.case, risk.mitigated_by)


def _absence_reason(asked: _Asked) -> Words | None:
    """Why absence counts as it does, where it decided something."""
    for name, absence in asked.plan.check.absent.items():
        outcome = asked.outcomes[name]
        if outcome is not None and outcome.status == "absent" and absence.means in (Meaning.PASS, Meaning.FAIL):
            return absence.reason
    return None


def _why(answer: Answer) -> Words:
    words = said(str(answer)[:500])
    return Words(zh=f"无法判定：{words.zh}", en=f"cannot be judged: {words.en}")
