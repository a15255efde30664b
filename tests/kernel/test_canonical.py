"""Canonical JSON against the examples and number samples that RFC 8785 prints, and against hostile values."""

from __future__ import annotations

import json
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govsec import canonical

# RFC 8785, section 3.2.3: names out of order, sorted by UTF-16 code units.
UNSORTED = {
    "\u20ac": "Euro Sign",
    "\r": "Carriage Return",
    "\ufb33": "Hebrew Letter Dalet With Dagesh",
    "1": "One",
    "\U0001f600": "Emoji: Grinning Face",
    "\u0080": "Control",
    "\u00f6": "Latin Small Letter O With Diaeresis",
}
# RFC 8785, appendix B: IEEE 754 bits and what ECMAScript prints, as far as no exponent is needed.
NUMBERS = [
    ("0000000000000000", "0"),
    ("8000000000000000", "0"),
    ("41b3de4355555553", "333333333.3333332"),
    ("41b3de4355555554", "333333333.33333325"),
    ("41b3de4355555555", "333333333.3333333"),
    ("41b3de4355555556", "333333333.3333334"),
    ("41b3de4355555557", "333333333.33333343"),
    ("3eb0c6f7a0b5ed8d", "0.000001"),
    ("becbf647612f3696", "-0.0000033333333333333333"),
    ("43143ff3c1cb0959", "1424953923781206.2"),
]
# From the same appendix: ECMAScript would print an exponent, or the number is no JSON; we refuse both.
REFUSED_NUMBERS = ["0000000000000001", "7fefffffffffffff", "44b52d02c7e14af6", "3eb0c6f7a0b5ed8c", "7fffffffffffffff"]

_text = st.text(st.characters(exclude_categories=["Cs"]))
_values = st.recursive(
    st.none()
    | st.booleans()
    | _text
    | st.integers(-canonical.INTEGER_MAX, canonical.INTEGER_MAX)
    | st.floats(1e-6, 1e15),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(_text, inner, max_size=5),
    max_leaves=30,
)


def _double(bits: str) -> float:
    value: float = struct.unpack(">d", bytes.fromhex(bits))[0]
    return value


def test_keys_are_sorted_as_the_standard_prints_them() -> None:
    order = list(json.loads(canonical.dumps(UNSORTED)).values())

    assert order == [
        "Carriage Return",
        "One",
        "Control",
        "Latin Small Letter O With Diaeresis",
        "Euro Sign",
        "Emoji: Grinning Face",
        "Hebrew Letter Dalet With Dagesh",
    ]


def test_strings_and_literals_come_out_as_the_standard_prints_them() -> None:
    # RFC 8785, section 3.2.2, without the two numbers that need an exponent.
    value = {
        "numbers": [333333333.33333329, 4.50, 2e-3],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }

    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,4.5,0.002],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical.dumps(value) == expected.encode()


@pytest.mark.parametrize(("bits", "text"), NUMBERS)
def test_numbers_come_out_as_the_standard_prints_them(bits: str, text: str) -> None:
    assert canonical.dumps(_double(bits)) == text.encode()


@pytest.mark.parametrize("bits", REFUSED_NUMBERS)
def test_numbers_that_need_an_exponent_are_refused(bits: str) -> None:
    with pytest.raises(ValueError, match="no canonical form"):
        canonical.dumps(_double(bits))


@pytest.mark.parametrize(
    "value",
    [2**53, -(2**53), math.nan, math.inf, {1: "a"}, "\ud800", {"\ud800": 1}, b"bytes", {1, 2}, object()],
)
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        canonical.dumps(value)


def test_nesting_is_bounded_when_writing_and_when_reading() -> None:
    deep: list[object] = []
    for _ in range(100):
        deep = [deep]

    with pytest.raises(ValueError, match="nested"):
        canonical.dumps(deep)
    with pytest.raises(ValueError, match="nested"):
        canonical.loads(b"[" * 100_000 + b"]" * 100_000)


@pytest.mark.parametrize(
    "data",
    [
        b'{"b":1,"a":2}',
        b'{"a": 1}',
        b'{"a":1,"a":1}',
        b"1.0",
        b"1e0",
        b'"\\u0041"',
        b"[1,]",
        b"NaN",
        b"\xff",
        b"",
        b"9" * 5000,
    ],
)
def test_bytes_that_are_not_canonical_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        canonical.loads(data)


@given(_values)
def test_one_value_has_one_sequence_of_bytes_and_comes_back(value: object) -> None:
    data = canonical.dumps(value)

    assert canonical.loads(data) == value
    assert canonical.dumps(canonical.loads(data)) == data


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_and_nothing_else(data: bytes) -> None:
    try:
        value = canonical.loads(data)
    except ValueError:
        return
    assert canonical.dumps(value) == data
