"""Proof that a pack's checks do what they say: fixtures that must give their status, and facts that must matter.

Fixtures (:mod:`govsec.policy.packfixtures`) are judged as they stand. Then facts are bent, and the verdict must follow
(mutation testing):

* a probe that was denied, failed or was not asked: error, whatever else is there;
* a fact that is missing: never a pass;
* each value flipped: some flip must change each claim (else the claim is *blind*), and each field that expressions
  read must change something (else it is *idle*);
* a list that matters, emptied, and a value that matters, made null: no pass, unless the check says it may be so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pydantic import JsonValue

from govsec.collect.facts import OutcomeStatus
from govsec.policy.expressions import Expressions
from govsec.policy.judge import Judge
from govsec.policy.pack import Check, Pack
from govsec.policy.packfiles import PackFiles
from govsec.policy.packfixtures import EVERY_ROLE, Case, Fixture, is_not_ok, judge_fixture, read_cases
from govsec.policy.packload import texts_of
from govsec.policy.results import CheckResult, Status

Steps: TypeAlias = tuple[str | int, ...]
_QUOTED = re.compile(r"""\"([^"\n]*)\"|'([^'\n]*)'""")
_NUMBERS = re.compile(r"(?<![A-Za-z0-9_.])[0-9]{1,15}(?![0-9.])")
_LITERALS_MAX = 20
#: Stands for "take it away" among replacements.
_GONE = object()
_STATUSES: tuple[OutcomeStatus, ...] = ("denied", "timeout", "error")


@dataclass(slots=True)
class Proof:
    """What was found about one check. Every list empty: the check does what it says."""

    check: str
    fixtures_count: int = 0
    mutations_count: int = 0
    #: Fixtures that did not give their status.
    wrong: list[str] = field(default_factory=list)
    #: A bent fact gave a better status than it may.
    lenient: list[str] = field(default_factory=list)
    #: Claims that no flip changed.
    blind: list[str] = field(default_factory=list)
    #: Fields that expressions read and that never mattered.
    idle: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """All of them, in words."""
        return [
            f"{self.check}: {what}: {one}"
            for what, found in (
                ("fixture", self.wrong),
                ("too lenient", self.lenient),
                ("no fixture's fact changes claim", self.blind),
                ("read, and never matters", self.idle),
            )
            for one in found
        ]


def prove(pack: Pack, files: PackFiles, expressions: Expressions) -> list[Proof]:
    """Run every fixture of every check, and bend its facts.

    Raises:
        ConfigurationError: a fixture cannot be read.
    """
    cases = read_cases(pack, files)
    return [
        _Prover(pack, check, expressions).prove([case for case in cases if case.check is check])
        for check in pack.checks
    ]


class _Prover:
    """One check: its judge for each level and set of parameters, and what was learnt so far."""

    def __init__(self, pack: Pack, check: Check, expressions: Expressions) -> None:
        self._pack = pack.model_copy(update={"checks": (check,)})
        self._check = check
        self._expressions = expressions
        texts = [text for _, text in texts_of(check)]
        self._texts = " & ".join(texts)  # so that no pattern reaches from one expression into the next
        self._read = {
            (name, member)
            for names in expressions.load(texts)
            for name in check.probes
            for member in names.members.get(name, frozenset())
        }
        self._proof = Proof(check.id)
        self._changed: set[str] = set()
        self._mattered: set[tuple[str, str]] = set()

    def prove(self, cases: Sequence[Case]) -> Proof:
        for case in cases:
            self._proof.fixtures_count += 1
            judge = self._judge(case.fixture)
            (result,) = judge_fixture(judge, case.fixture)
            if result.status is not case.expected:
                why = f": {result.reason.en}" if result.reason else ""
                self._proof.wrong.append(f"{case.name} gives {result.status.value}{why}")
            elif (opened := case.fixture.high_risk) is not None and set(opened) != {
                hit.case for hit in result.high_risk
            }:
                self._proof.wrong.append(
                    f"{case.name} opens {', '.join(hit.case for hit in result.high_risk) or 'no case'}"
                )
            elif case.expected in (Status.PASS, Status.PARTIAL, Status.FAIL):
                self._bend(judge, case, result)
        self._proof.blind = [one.name for one in self._check.expect if one.name not in self._changed]
        self._proof.idle = sorted(
            f"{name}.{member}"
            for name, member in self._read - self._mattered
            if member and not self._is_method(name, member)
        )
        return self._proof

    def _judge(self, fixture: Fixture) -> Judge:
        overrides = {self._check.id: dict(fixture.params)} if fixture.params else {}
        levels = {self._check.id: fixture.level}
        return Judge([self._pack], self._expressions, levels=levels, parameters=overrides, hosts_of=EVERY_ROLE)

    def _bend(self, judge: Judge, case: Case, before: CheckResult) -> None:
        is_pass = before.status is Status.PASS
        for name, value in case.fixture.probes.items():
            if is_not_ok(value):
                continue
            mattered: set[Steps] = set()
            self._statuses(judge, case, name)
            for steps, old in self._read_leaves(judge, case, before, name, value):
                if not (replacements := [*_flips(old), *self._literals(old)]):
                    continue
                after = self._try(judge, case, name, [_replaced(value, steps, new) for new in replacements])
                if all(_same(before, one) for one in after):
                    continue
                self._learn(name, steps, before, after)
                mattered |= {steps[:length] for length in range(1, len(steps) + 1)}
                # A list of names holds names: its parser has seen to that, and "is not among them" is true of null.
                if is_pass and isinstance(steps[-1], str) and not self._says_null():
                    self._lenient(judge, case, name, steps, _replaced(value, steps, None), "is null")
            needed = (
                [member for member in value if self._must_be_there(name, member)] if isinstance(value, dict) else []
            )
            if is_pass:
                without = self._try(judge, case, name, [_replaced(value, (member,), _GONE) for member in needed])
                for member, result in zip(needed, without, strict=True):
                    if _same(before, result):
                        self._proof.lenient.append(f"{case.name}: passes without {name}.{member}")
            if is_pass:
                self._lists(judge, case, name, value, mattered)

    def _read_leaves(
        self, judge: Judge, case: Case, before: CheckResult, name: str, value: JsonValue, steps: Steps = ()
    ) -> Iterator[tuple[Steps, JsonValue]]:
        """Every value below that something may read; not the whole.

        A part that can be taken away, or be null, and nobody notices is read by nobody: facts are large, and most of
        one is about other checks.
        """
        inner = _at(value, steps)
        below: list[Steps] = []
        if isinstance(inner, list):
            below = [(*steps, position) for position in range(len(inner))]
        elif isinstance(inner, dict):
            below = [(*steps, key) for key in inner]
            tries = [_replaced(value, place, new) for place in below for new in (_GONE, None)]
            same = [_same(before, one) for one in self._try(judge, case, name, tries)]
            below = [place for number, place in enumerate(below) if not (same[2 * number] and same[2 * number + 1])]
        for place in below:
            yield place, _at(value, place)
            yield from self._read_leaves(judge, case, before, name, value, place)

    def _try(self, judge: Judge, case: Case, name: str, values: Sequence[JsonValue]) -> list[CheckResult]:
        """The results with each of ``values`` in the place of what the probe ``name`` gave."""
        self._proof.mutations_count += len(values)
        return judge_fixture(judge, case.fixture, [{name: value} for value in values])

    def _statuses(self, judge: Judge, case: Case, name: str) -> None:
        statuses = (*_STATUSES, None)
        for status, result in zip(
            statuses, self._try(judge, case, name, [{"status": status} for status in statuses]), strict=True
        ):
            if result.status is not Status.ERROR:
                what = status or "not asked"
                self._proof.lenient.append(f"{case.name}: probe {name} {what} gives {result.status.value}")

    def _learn(self, name: str, steps: Steps, before: CheckResult, after: Sequence[CheckResult]) -> None:
        """Note which claims these changes moved, from true to false or back, and that the field matters."""
        self._mattered.add((name, str(steps[0])))
        for result in after:
            for old, new in zip(before.expectations, result.expectations, strict=False):
                if new.holds is not None and old.holds is not new.holds:
                    self._changed.add(old.name)

    def _lists(self, judge: Judge, case: Case, name: str, value: JsonValue, mattered: set[Steps]) -> None:
        for steps, found in _lists(value):
            path = ".".join([name, *(step for step in steps if isinstance(step, str))])
            if found and steps in mattered and path not in self._check.may_be_empty and self._is_looped(steps):
                self._lenient(judge, case, name, steps, _replaced(value, steps, []), "is empty")

    def _lenient(self, judge: Judge, case: Case, name: str, steps: Steps, value: JsonValue, how: str) -> None:
        (result,) = self._try(judge, case, name, [value])
        if result.status is Status.PASS:
            where = ".".join(map(str, (name, *steps)))
            self._proof.lenient.append(f"{case.name}: still passes when {where} {how}")

    def _is_looped(self, steps: Steps) -> bool:
        """Whether ``all`` runs over a list of this name: over nothing, it is true."""
        return bool(steps) and re.search(rf"\b{re.escape(str(steps[-1]))}\b[^&|]*\.all\(", self._texts) is not None

    def _literals(self, value: JsonValue) -> Sequence[JsonValue]:
        """What the expressions compare with, of the type of ``value``: they may refuse one single value."""
        if isinstance(value, str):
            return [text for pair in _QUOTED.findall(self._texts) for text in pair if text][:_LITERALS_MAX]
        if isinstance(value, int) and not isinstance(value, bool):
            return [int(text) for text in _NUMBERS.findall(self._texts)][:_LITERALS_MAX]
        return []

    def _says_null(self) -> bool:
        return re.search(r"\bnull\b", self._texts) is not None

    def _must_be_there(self, name: str, member: str) -> bool:
        return (name, member) in self._read and f"has({name}.{member}" not in self._texts

    def _is_method(self, name: str, member: str) -> bool:
        return re.search(rf"\b{name}\s*\.\s*{member}\s*\(", self._texts) is not None


def _same(before: CheckResult, after: CheckResult) -> bool:
    return (before.status, before.expectations, before.high_risk) == (after.status, after.expectations, after.high_risk)


def _flips(value: JsonValue) -> Sequence[JsonValue]:
    """Other values of the same type; for a number such as lie beyond any limit."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, (int, float)):
        return [0, -1, value + 1, value - 1, 1_000_000]
    if isinstance(value, str):
        return ["", "other", f"{value}x", "no" if value == "yes" else "yes", "1970-01-01T00:00:00Z"]
    if isinstance(value, list):
        return [[], [*value, *value[:1]] if value else ["other"]]
    return [{}, {**value, "other": {}}] if isinstance(value, dict) else []


def _leaves(value: JsonValue, steps: Steps = ()) -> Iterator[tuple[Steps, JsonValue]]:
    """Every value below, lists and mappings themselves too; not the whole."""
    if steps:
        yield steps, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*steps, key))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _leaves(inner, (*steps, position))


def _at(value: Any, steps: Steps) -> Any:
    for step in steps:
        value = value[step]
    return value


def _lists(value: JsonValue) -> Iterator[tuple[Steps, list[JsonValue]]]:
    for steps, inner in _leaves(value):
        if isinstance(inner, list):
            yield steps, inner


def _replaced(value: Any, steps: Steps, new: object) -> Any:
    """A copy of ``value`` in which what is at ``steps`` is ``new``, or gone."""
    if not steps:
        return new
    step, rest = steps[0], steps[1:]
    if new is _GONE and not rest:
        return {key: inner for key, inner in value.items() if key != step}
    if isinstance(value, dict):
        return {**value, step: _replaced(value[step], rest, new)}
    return [_replaced(inner, rest, new) if position == step else inner for position, inner in enumerate(value)]
