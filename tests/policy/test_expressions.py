"""Expressions of packs: what they may say, and that bombs are cut, named and never true."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import pytest
from pydantic import JsonValue

from govsec.clock import SystemClock
from govsec.errors import WorkerError
from govsec.policy.expressions import Answer, Expressions, Group, Job, with_parameters

NOW = "2026-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def child() -> Iterator[Expressions]:
    with Expressions(SystemClock(), children_count=2) as expressions:
        yield expressions


def ask(
    child: Expressions, texts: list[str], facts: object = None, params: Mapping[str, JsonValue] | None = None
) -> list[Answer]:
    """Each text as a job of its own."""
    child.load([with_parameters(text, params or {}) for text in texts])
    jobs = [Job([number], frozenset({"f"})) for number in range(len(texts))]
    return [answer for (answer,) in child.evaluate([Group({"f": json.dumps(facts)}, jobs)], NOW)]


def test_expressions_see_facts_parameters_and_the_time_of_the_facts(child: Expressions) -> None:
    texts = ["f.a == 1", "f.a > params.x", 'now == timestamp("2026-01-01T00:00:00Z")', 'f.t.contains("中")']

    assert ask(child, texts, {"a": 1, "t": "中文"}, {"x": 1}) == [True, False, True, True]


@pytest.mark.parametrize(
    "text", ["f.b == 1", "f.a < 'x'", "f.a", "f[0] == 1", "1 / 0 == 1", "g", "f.a.matches('(')", "int('x') == 1"]
)
def test_what_cannot_be_answered_says_why_and_is_neither_true_nor_false(child: Expressions, text: str) -> None:
    (answer,) = ask(child, [text], {"a": 1})

    assert isinstance(answer, str)
    assert answer


BOMBS = {
    "time": "f.l.all(x, f.l.all(y, f.l.all(z, x + y + z >= 0)))",
    "memory": "f.l.map(x, f.l.map(y, f.l)).size() > 0",
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_is_cut_and_named_and_what_stands_around_it_is_answered(child: Expressions, bomb: str) -> None:
    before = child.cuts_count

    answers = ask(child, ["f.l.size() == 900", bomb, "f.l[0] == 0"], {"l": list(range(900))})

    assert (answers[0], answers[2]) == (True, True)
    assert str(answers[1]).startswith("cut: ")
    assert child.cuts_count == before + 1


def test_an_expensive_regular_expression_is_refused_by_its_size(child: Expressions) -> None:
    (answer,) = ask(child, ['f.matches("(?:x{1000}){1000}")'], "x")

    assert isinstance(answer, str)


def test_many_bombs_end_the_host_and_not_the_run() -> None:
    with Expressions(SystemClock()) as child:
        answers = ask(child, [BOMBS["time"]] * 7, {"l": list(range(900))})

        assert all(isinstance(answer, str) for answer in answers)
        assert "too many" in str(answers[-1])
        assert ask(child, ["f == 1"], 1) == [True]


@pytest.mark.parametrize(
    "text",
    ["1 +", "(" * 60 + "1" + ")" * 60, "f.lowerAscii() == 'x'", "f.?a == 1", "'" + "x" * 100, "f.all(x)", "{", ""],
)
def test_what_is_no_expression_is_told_when_it_is_loaded(child: Expressions, text: str) -> None:
    good, bad, other = child.load(["f == 1", text, "f == 2"])

    assert bad.error
    assert not good.error
    assert not other.error
    jobs = [Job([number], frozenset({"f"})) for number in range(3)]
    (first,), (second,), (third,) = child.evaluate([Group({"f": "1"}, jobs)], NOW)
    assert (first, third) == (True, False)
    assert second is not True


def test_names_are_told_without_those_that_loops_bind(child: Expressions) -> None:
    (names,) = child.load(['sshd.all.exists(s, s.a == "params.no") && params.max > 1 && platform.os_id == level'])

    assert names.variables == {"sshd", "params", "platform", "level"}
    assert names.bound == {"s"}
    assert names.members["params"] == {"max"}
    assert names.members["platform"] == {"os_id"}


class HurriedClock(SystemClock):
    """A clock for which every look at it takes a thousand seconds, once it is in a hurry."""

    def __init__(self) -> None:
        self.is_hurried = False
        self._looks_count = 0

    def monotonic(self) -> float:
        self._looks_count += self.is_hurried
        return super().monotonic() + 1000 * self._looks_count


def test_a_child_that_does_not_answer_in_time_is_cut() -> None:
    clock = HurriedClock()
    with Expressions(clock) as expressions:
        expressions.load([BOMBS["time"]])
        clock.is_hurried = True
        group = Group({"f": json.dumps({"l": list(range(900))})}, [Job([0], frozenset({"f"}))])
        try:
            ((answer,),) = expressions.evaluate([group], NOW)
        except WorkerError as error:
            answer = str(error)

    assert "no answer within" in str(answer)


def test_parameters_stand_as_literals_where_they_are_read_and_never_inside_text() -> None:
    params: dict[str, JsonValue] = {"max": -3, "names": ['a"b', "params.max", "中"], "on": True}

    text = with_parameters(
        "f <= params.max && 'params.max' in params . names && params.on && s.params.max == 1", params
    )

    assert text.startswith("f <= (-3) && 'params.max' in ([")
    assert text.endswith("]) && (true) && s.params.max == 1")
    assert with_parameters("params.other == 1", params) == "params.other == 1"


def test_texts_in_parameters_keep_their_signs(child: Expressions) -> None:
    value = "a\"b\\ ' 中 \n"

    assert ask(child, ["f == params.x", "f in params.y"], value, {"x": value, "y": [value]}) == [True, True]
