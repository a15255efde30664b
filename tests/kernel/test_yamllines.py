"""The strict subset of YAML that packs are written in, and the line of every value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govsec.errors import ConfigurationError
from govsec.yamllines import SIZE_MAX, read_document


def test_values_are_what_they_look_like() -> None:
    text = b"a: 1\nb: -2.5\nc: true\nd: null\ne: 2026-01-01\nf: '1'\ng: 007\nh: |\n  x\ni: [x, {j: ~}]\nk: 0x1f\n"

    assert read_document(text, "f").value == {
        "a": 1, "b": -2.5, "c": True, "d": None, "e": "2026-01-01", "f": "1", "g": "007", "h": "x\n",
        "i": ["x", {"j": None}], "k": "0x1f",
    }  # fmt: skip


def test_every_value_knows_its_line_and_steps_that_are_no_keys_are_passed_over() -> None:
    document = read_document(b"a:\n- b: 1\n  c:\n    d: 2\n", "f")

    assert document.where(("a", 0, "c", "d")) == "f:4"
    assert document.where(("a", 0, "tag", "c", "d")) == "f:4"
    assert document.where(("a", 0, "c", "missing")) == "f:4"
    assert document.where(()) == "f:1"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"", "f: empty"),
        (b"a: &x 1\nb: *x", "f:1: anchors"),
        (b"a: 1\na: 2", "f:2: key 'a' is written twice"),
        (b"a:\n  b: yes", "f:2: quote 'yes'"),
        (b"a: off", "f:1: quote 'off'"),
        (b"a: !!str 1", "f:1: tag"),
        (b"a: !!python/name:os.system x", "f:1: tag"),
        (b"a: !!map {b: 1}", "f:1: tag"),
        (b"? [1, 2]\n: 3", "f:1: a key is plain text"),
        (b"- 1\n---\n- 2", "a second document"),
        (b"a: [1", "not YAML"),
        (b"\xff\xfe\x00", "not YAML"),
        (b"[" * 200_000, "nested deeper"),
        (b"[" + b"x," * 200_000 + b"x]", "more than"),
        (b"#" * (SIZE_MAX + 1), "larger than"),
    ],
)
def test_what_is_outside_the_subset_is_told_with_its_line(text: bytes, what: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        read_document(text, "f")

    assert what in str(error.value)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_our_own_error(data: bytes) -> None:
    try:
        read_document(data, "f")
    except ConfigurationError as error:
        assert str(error).startswith("f:")
