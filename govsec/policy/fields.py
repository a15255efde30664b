"""What an expression reads of facts, held against the shapes of the facts when a pack is read.

Two faults are told before any host is asked:

* a field that the probe's fact never has: it would be an error on every host;
* a loop over a mapping, or over something that may be one. The evaluator goes through a mapping in an order of chance,
  and ends a loop at the first error as at the first answer, so the same facts could pass today and be an error
  tomorrow. ``keys(x).all(…)`` goes through the names in their sorted order, always.

It follows a path (``a.b["c"].d``) and what loops bind, through the brackets of the language and no further: what an
operator or a function gives is a plain value, or anything. Whether an expression is one at all is for the evaluator.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from govsec.collect.shapes import LEAF, OPEN, Shape

#: Name of the function that gives the sorted names of a mapping (``expressionchild.py``).
KEYS = "keys"
_LOOPS = frozenset({"all", "exists", "exists_one", "map", "filter"})
_TOKEN = re.compile(
    r"""\s*([rRbB]{0,2}(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|[0-9][0-9A-Za-z.]*|[A-Za-z_][A-Za-z0-9_]*|\S)"""
)
_CLOSED_BY = {"(": ")", "[": "]", "{": "}"}
_DEPTH_MAX = 200


def flaws(text: str, variables: Mapping[str, Shape]) -> Iterator[str]:
    """What is wrong with what ``text`` reads of ``variables``; those without a shape are anything."""
    walk = _Walk(_TOKEN.findall(text))
    walk.until("", variables)
    yield from walk.flaws


@dataclass(frozen=True, slots=True)
class _Value:
    """A value on the way, and how it is written."""

    shape: Shape
    path: str


class _Walk:
    """One pass over the tokens of an expression."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._position = 0
        self._depth = 0
        #: Each once, in the order of their places.
        self.flaws: dict[str, None] = {}

    def until(self, closing: str, names: Mapping[str, Shape]) -> _Value:
        """Everything before ``closing`` or a comma: the value, where it is one; what several make up is anything."""
        found: list[_Value] = []
        self._depth += 1
        while self._position < len(self._tokens) and self._depth < _DEPTH_MAX:
            word = self._tokens[self._position]
            if word in (closing, ",", ")", "]", "}"):
                break
            self._position += 1
            if word == "(":
                inner = self.until(")", names)
                self._close(")")
                found.append(self._rest(inner, names))
            elif word == "[":
                found.append(self._rest(_Value(Shape(items=self._elements("]", names)), "a list"), names))
            elif word == "{":
                self._elements("}", names)
                found.append(self._rest(_Value(OPEN, "a mapping"), names))
            elif word[0].isalpha() or word[0] in "_\"'":
                found.append(self._rest(self._named(word, names), names))
            elif word[0].isdigit():
                found.append(_Value(LEAF, word))
            elif word not in "!-":
                found.append(_Value(OPEN, word))  # an operator: what it makes of its sides is not followed
        self._depth -= 1
        return found[0] if len(found) == 1 else _Value(OPEN, "what an operator gives")

    def _named(self, word: str, names: Mapping[str, Shape]) -> _Value:
        if word[-1] in "\"'":
            return _Value(LEAF, word)
        if self._peek() != "(":
            return _Value(names.get(word, OPEN), word)
        self._position += 1
        shape = self._elements(")", names)
        if word != KEYS:
            return _Value(LEAF, f"{word}()")
        if not shape.may_be_mapping:
            self._tell(f"{KEYS}() of what is no mapping")
        return _Value(Shape(items=LEAF), f"{KEYS}()")

    def _rest(self, value: _Value, names: Mapping[str, Shape]) -> _Value:
        """What follows a value: members, positions, loops and other methods."""
        while self._peek() in (".", "["):
            if self._peek() == "[":
                self._position += 1
                index = self.until("]", names)
                self._close("]")
                value = self._at(value, index.path)
                continue
            name = self._tokens[self._position + 1] if self._position + 1 < len(self._tokens) else ""
            self._position += 2
            if self._peek() != "(":
                value = self._member(value, name)
            elif name in _LOOPS:
                value = self._loop(value, name, names)
            else:
                self._position += 1
                self._elements(")", names)
                value = _Value(LEAF, f"{value.path}.{name}()")
        return value

    def _loop(self, value: _Value, name: str, names: Mapping[str, Shape]) -> _Value:
        element = value.shape.element()
        if value.shape.may_be_mapping:
            self._tell(
                f"loops over {value.path}, whose names come in an order of chance: "
                f"{KEYS}({value.path}).{name}(…) has one"
            )
        elif element is None:
            self._tell(f"loops over {value.path}, which is no list")
        self._position += 1
        bound = self._tokens[self._position] if self._position < len(self._tokens) else ""
        self._position += 2  # the name, and the comma behind it
        body = self._elements(")", {**names, bound: element or OPEN})
        items = body if name == "map" else element if name == "filter" else None
        return _Value(Shape(items=items) if items is not None else LEAF, f"{value.path}.{name}()")

    def _member(self, value: _Value, name: str) -> _Value:
        path = f"{value.path}.{name}"
        found = value.shape.member(name)
        if found is None:
            self._tell(f"reads {path}, which the fact of this probe never has")
        return _Value(OPEN if found is None else found, path)

    def _at(self, value: _Value, index: str) -> _Value:
        path = f"{value.path}[{index}]"
        if index[:1] in "\"'" and value.shape.items is None:
            found = value.shape.member(index[1:-1])
            if found is None:
                self._tell(f"reads {path}, which the fact of this probe never has")
            return _Value(OPEN if found is None else found, path)
        either = [shape for shape in (value.shape.items, value.shape.values) if shape is not None]
        return _Value(either[0] if len(either) == 1 and not value.shape.is_open else OPEN, path)

    def _elements(self, closing: str, names: Mapping[str, Shape]) -> Shape:
        """Values with commas between, up to and with ``closing``: the shape of the last."""
        shape = LEAF
        while self._position < len(self._tokens) and self._peek() != closing:
            before = self._position
            shape = self.until(closing, names).shape
            if self._peek() == "," or self._position == before:
                self._position += 1
        self._close(closing)
        return shape

    def _close(self, closing: str) -> None:
        if self._peek() == closing:
            self._position += 1

    def _peek(self) -> str:
        return self._tokens[self._position] if self._position < len(self._tokens) else ""

    def _tell(self, what: str) -> None:
        self.flaws[what] = None
