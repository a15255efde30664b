"""The proof of a pack finds what it is for: wrong fixtures, blind claims, idle facts, passes that rest on nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from pydantic import JsonValue

from govsec.clock import SystemClock
from govsec.errors import ConfigurationError
from govsec.policy.expressions import Expressions
from govsec.policy.packfiles import read_folder
from govsec.policy.packtest import Proof, prove
from tests.policy.pack_samples import CHECK, FIXTURES, GOOD, read, write_pack


@pytest.fixture(scope="module")
def child() -> Iterator[Expressions]:
    with Expressions(SystemClock()) as expressions:
        yield expressions


def proof(folder: Path, child: Expressions, check: str = CHECK, fixtures: Mapping[str, JsonValue] = FIXTURES) -> Proof:
    place = write_pack(folder, check=check, fixtures=fixtures)
    (found,) = prove(read(place, child), read_folder(place), child)
    return found


def test_a_check_that_does_what_it_says_has_no_problems(tmp_path: Path, child: Expressions) -> None:
    found = proof(tmp_path, child)

    assert found.problems == []
    assert found.fixtures_count == len(FIXTURES)
    assert found.mutations_count > 20


def test_a_fixture_that_gives_another_status_is_told(tmp_path: Path, child: Expressions) -> None:
    found = proof(tmp_path, child, fixtures={**FIXTURES, "pass-other": {"probes": {"lock": {**GOOD, "deny": 9}}}})

    assert found.wrong == ["pass-other gives partial"]


@pytest.mark.parametrize(
    ("claim", "what", "problem"),
    [
        ("lock.deny <= params.tries_max || true", "blind", "few"),
        ("lock.deny <= params.tries_max && lock.extra >= -5", "idle", "lock.extra"),
        ('lock.deny <= params.tries_max && lock.word != "bad"', "lenient", "still passes when lock.word is null"),
        ("lock.deny <= params.tries_max && lock.list.all(x, x > 0)", "lenient", "still passes when lock.list is empty"),
        ("lock.deny <= params.tries_max || lock.list == [7]", "lenient", "passes without lock.list"),
    ],
)  # fmt: skip
def test_claims_that_prove_less_than_they_say_are_told(
    tmp_path: Path, child: Expressions, claim: str, what: str, problem: str
) -> None:
    check = CHECK.replace("cel: lock.deny <= params.tries_max,", f"cel: '{claim}',")
    assert check != CHECK
    more: dict[str, JsonValue] = {"extra": 10_000_000, "word": "good", "list": [1]}
    fixtures = {
        name: {**case, "probes": {"lock": {**case["probes"]["lock"], **more}}}  # type: ignore[index, call-overload, dict-item]
        for name, case in FIXTURES.items()
        if name != "fail-absent"
    }

    found = proof(tmp_path, child, check, fixtures)

    assert problem in {one.removeprefix("pass-set: ") for one in getattr(found, what)}


def test_a_list_that_may_be_empty_is_no_problem(tmp_path: Path, child: Expressions) -> None:
    claim = "cel: 'lock.deny <= params.tries_max && lock.list.all(x, x > 0)',"
    check = CHECK.replace("cel: lock.deny <= params.tries_max,", claim)
    check = check.replace("  high_risk:", "  may_be_empty: [lock.list]\n  high_risk:")
    fixtures: dict[str, JsonValue] = {
        "pass-set": {"probes": {"lock": {**GOOD, "list": [1]}}},
        "fail-all": {"probes": {"lock": {"deny": 9, "root": False, "truncated": False, "list": [0]}}},
        "not-applicable-other": {"probes": {"lock": GOOD}, "platform": {"os_id": "plan9"}},
    }

    assert proof(tmp_path, child, check, fixtures).lenient == []


@pytest.mark.parametrize(
    "case", [{"probes": {"other": 1}}, {"facts": {}}, [], {"probes": {"lock": GOOD}, "level": 7}, "text"]
)
def test_what_is_no_fixture_is_told_with_its_file(tmp_path: Path, child: Expressions, case: JsonValue) -> None:
    with pytest.raises(ConfigurationError, match=r"small-lock/pass-odd\.json"):
        proof(tmp_path, child, fixtures={**FIXTURES, "pass-odd": case})
