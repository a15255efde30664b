"""The shape of every fact, read from where people read it: the docstring of its probe.

A pack names fields of facts, and a field that no probe yields would be an error on every host, years later. So the
notation of the docstrings (``probes_*.py``) is read here, expressions are held against it when a pack is read
(:mod:`govsec.policy.fields`), and the tests hold what parsers yield against it: the three cannot drift apart.

The notation: ``{name, other: type}`` a mapping with these fields; ``{<what>: type}``, ``{"such.a.name": type}`` or a
closing ``...`` a mapping with any names; ``[type]`` a list; ``a|b`` either; ``as OtherProbe`` that probe's shape; ``the
same`` the shape before. What stands in round brackets or behind ``#`` is for people.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import get_args

from pydantic import JsonValue

from govsec.collect.probe_base import ProbeModel
from govsec.collect.probes import AnyProbe
from govsec.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Shape:
    """What a value may be. All fields empty: text, a number, true, false or null."""

    #: A mapping with these names.
    fields: Mapping[str, Shape] = field(default_factory=dict)
    #: A mapping with any names, to values of this shape.
    values: Shape | None = None
    #: A list of these.
    items: Shape | None = None
    #: Anything: the notation does not say.
    is_open: bool = False

    @property
    def may_be_mapping(self) -> bool:
        """Whether a loop over it may be one over names."""
        return bool(self.fields) or self.values is not None or self.is_open

    def member(self, name: str) -> Shape | None:
        """The shape of the member of that name; None where there is none."""
        if name in self.fields:
            return self.fields[name]
        return self.values if self.values is not None else OPEN if self.is_open else None

    def element(self) -> Shape | None:
        """The shape of what a loop over it binds, or of what stands at a position; None where there is none."""
        if self.items is not None:
            return self.items
        return OPEN if self.is_open else LEAF if self.may_be_mapping else None

    def either(self, other: Shape) -> Shape:
        """This or the other."""
        fields = {**self.fields}
        for name, shape in other.fields.items():
            fields[name] = fields[name].either(shape) if name in fields else shape
        return Shape(
            fields, _either(self.values, other.values), _either(self.items, other.items), self.is_open or other.is_open
        )

    def is_built_so(self, value: JsonValue) -> bool:
        """Whether mappings and lists in ``value`` stand where this shape has them; other names than its are no matter.

        Facts of another version have names more and less; a mapping in the place of a list is somebody's hand.
        """
        if self.is_open:
            return True
        if isinstance(value, dict):
            if not self.may_be_mapping:
                return False
            for name, inner in value.items():
                if isinstance(inner, dict | list):
                    shape = self.member(name)
                    if shape is not None and not shape.is_built_so(inner):
                        return False
        elif isinstance(value, list):
            items = self.items
            return items is not None and all(
                items.is_built_so(inner) for inner in value if isinstance(inner, dict | list)
            )
        return True

    def misfits(self, value: JsonValue, path: str = "") -> Iterator[str]:
        """The places in ``value`` that this shape does not have."""
        if self.is_open:
            return
        if isinstance(value, dict):
            for name, inner in value.items():
                shape = self.member(name)
                if shape is None:
                    yield f"{path}.{name}".lstrip(".")
                else:
                    yield from shape.misfits(inner, f"{path}.{name}".lstrip("."))
        elif isinstance(value, list):
            if self.items is None:
                yield f"{path}[]"
            for inner in value if self.items is not None else ():
                yield from self.items.misfits(inner, f"{path}[]")  # type: ignore[union-attr] # not None, or no loop


LEAF = Shape()
OPEN = Shape(is_open=True)


@cache
def fact_shapes() -> Mapping[str, Shape]:
    """The shape of the fact of every kind of probe.

    Raises:
        ConfigurationError: this Python was told to drop docstrings (``-OO``).
    """
    return {kind: _shape_of(probe) for kind, probe in _probes().items()}


@cache
def _probes() -> Mapping[str, type[ProbeModel]]:
    probes = get_args(get_args(AnyProbe)[0]) or get_args(AnyProbe)
    return {str(probe.model_fields["kind"].default): probe for probe in probes}


@cache
def _shape_of(probe: type[ProbeModel]) -> Shape:
    if probe.__doc__ is None:
        raise ConfigurationError("packs are checked against the probes' docstrings; run Python without -OO")
    text = probe.__doc__[probe.__doc__.index("Fact") :]
    plain = re.sub(r"\([^()]*\)", " ", re.sub(r"(?m)\s#.*$", ",", text))
    return _Notation(plain[plain.index("{") :]).value()


def _either(one: Shape | None, other: Shape | None) -> Shape | None:
    return one.either(other) if one is not None and other is not None else one or other


_TOKEN = re.compile(r'\s*("[^"]*"|<[^>]*>|\.\.\.|[{}\[\]:,|]|[^\s{}\[\]:,|<"]+)')
_TYPES = frozenset({"str", "int", "number", "bool", "time", "null", "true", "false", "path", "name"})
#: How a literal begins: text, or a number.
_LITERAL = '"0123456789'


class _Notation:
    """Reads one value of the notation from the beginning of a text."""

    def __init__(self, text: str) -> None:
        self._tokens = [found[1] for found in _TOKEN.finditer(text)]
        self._position = 0
        self._before = LEAF

    def value(self) -> Shape:
        shape = self._one()
        while self._next() == "|":
            self._take()
            shape = shape.either(self._one())
        return shape

    def _next(self) -> str:
        return self._tokens[self._position] if self._position < len(self._tokens) else ""

    def _take(self) -> str:
        self._position += 1
        return self._tokens[self._position - 1]

    def _one(self) -> Shape:
        word = self._take()
        if word == "{":
            return self._mapping()
        if word == "[":
            return self._list()
        words = [word]
        while self._next() not in ("", ",", "|", "}", "]", ":"):
            words.append(self._take())
        if words == ["the", "same"]:
            return self._before
        if words[0] == "as":
            name, _, part = words[1].partition(".")
            (probe,) = (probe for probe in _probes().values() if probe.__name__ == name)
            shape = _shape_of(probe)
            return (shape.fields[part].items or LEAF) if part else shape
        return LEAF if words[0] in _TYPES or words[0][0] in _LITERAL else OPEN

    def _list(self) -> Shape:
        items: Shape | None = None
        while self._next() != "]":
            if self._next() in (",", "..."):
                self._take()
                continue
            # What follows a colon in a list are examples: "as FileProbe: /etc/crontab, …".
            if self._next() == ":":
                while self._next() != "]":
                    self._take()
                continue
            items = _either(items, self.value())
        self._take()
        # A list of names says so by a word of its own: [name].
        return Shape(items=items or LEAF)

    def _mapping(self) -> Shape:
        fields: dict[str, Shape] = {}
        values: Shape | None = None
        names: list[str] = []
        while (word := self._next()) != "}":
            if word == ",":
                self._take()
            elif word == "...":
                self._take()
                values = OPEN
            elif word == ":":
                self._take()
                self._before = shape = self.value()
                for name in names:
                    if name.startswith(("<", '"')):
                        values = _either(values, shape)
                    else:
                        # "name, uid, gid: int" shares what is plain; "name, members: [str]" shares no list.
                        fields[name] = shape if name == names[-1] or shape == LEAF else LEAF
                names = []
            elif word in ("as", "the"):
                shape = self._before if word == "the" else self._one()
                while self._next() != "}":
                    self._take()
                fields.update(shape.fields)
            else:
                names.append(self._take())
        self._take()
        # Names without a type are plain values.
        fields.update({name: LEAF for name in names if not name.startswith(("<", '"'))})
        return Shape(fields=fields, values=values)
