"""The docstrings of the probes are read as the shapes of their facts, and facts have those shapes."""

from __future__ import annotations

import pytest

from govsec.collect.shapes import LEAF, OPEN, Shape, _Notation, fact_shapes


def test_every_kind_of_probe_says_what_its_fact_is() -> None:
    shapes = fact_shapes()

    assert len(shapes) > 35
    assert {kind for kind, shape in shapes.items() if not shape.fields or shape.is_open} == set()


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("{a, b: int, c: [str]}", Shape({"a": LEAF, "b": LEAF, "c": Shape(items=LEAF)})),
        ("{a, b: [str]}", Shape({"a": LEAF, "b": Shape(items=LEAF)})),
        ('{a: "x"|"y"|null, b: 4|6}', Shape({"a": LEAF, "b": LEAF})),
        ("{<name>: {x: bool}}", Shape(values=Shape({"x": LEAF}))),
        ('{"net.ipv4": int|[str]}', Shape(values=Shape(items=LEAF))),
        ("{a: {x: int}, b: {the same}}", Shape({"a": Shape({"x": LEAF}), "b": Shape({"x": LEAF})})),
        ("{a: {...}}", Shape({"a": Shape(values=OPEN)})),
        ("[{a}|null]", Shape(items=Shape({"a": LEAF}))),
        ("{insecure-registries: [str], <key>: bool}", Shape({"insecure-registries": Shape(items=LEAF)}, values=LEAF)),
        ("{a: whatever}", Shape({"a": OPEN})),
    ],
)
def test_the_notation_is_read_as_people_read_it(text: str, shape: Shape) -> None:
    assert _Notation(text).value() == shape


def test_another_probe_stands_for_its_shape() -> None:
    shapes = fact_shapes()

    assert shapes["files"].fields["files"].items == shapes["file"]
    certificate = shapes["tls"].fields["endpoints"].items
    assert certificate is not None
    assert certificate.fields["certificate"] == shapes["certificates"].fields["certificates"].items


def test_what_does_not_fit_is_told_by_its_place() -> None:
    shape = Shape({"users": Shape(items=Shape({"name": LEAF})), "by": Shape(values=LEAF)})

    assert list(shape.misfits({"users": [{"name": "a"}], "by": {"any": 1}})) == []
    assert list(shape.misfits({"users": [{"name": "a", "hash": "x"}], "more": 1})) == ["users[].hash", "more"]
    assert list(shape.misfits({"users": {"a": 1}, "by": ["x"]})) == ["users.a", "by[]"]
