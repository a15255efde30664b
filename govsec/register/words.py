"""What the register, the launch gate and grading say to people: ``policies/register/words.yaml``, in both languages.

A sentence has a name (that of the finding's kind, where it is one) and places that facts are put in: ``{days}``.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from functools import cache

from pydantic import JsonValue, TypeAdapter

from govsec.datafile import Text
from govsec.shipped import read_table, shipped

_TABLE = TypeAdapter(Mapping[str, Text])


def say(name: str, facts: Mapping[str, JsonValue]) -> Text:
    """The sentence of that name with the facts put in; a fact that is not there stays visible as ``{name}``."""
    return fill(words()[name], facts)


def fill(sentence: Text, facts: Mapping[str, JsonValue]) -> Text:
    """A sentence with the facts put in."""
    return Text(zh=_fill(sentence.zh, facts), en=_fill(sentence.en, facts))


@cache
def words() -> Mapping[str, Text]:
    """Every sentence by its name.

    Raises:
        ConfigurationError: the table is damaged.
    """
    return read_table(shipped("register").joinpath("words.yaml"), _TABLE)


def _fill(template: str, facts: Mapping[str, JsonValue]) -> str:
    # Not str.format: a template can then reach no attribute of a fact, whatever somebody writes into the table.
    parts = []
    for literal, name, _, _ in string.Formatter().parse(template):
        parts.append(literal)
        if name is not None:
            parts.append(_text(facts[name]) if name in facts else f"{{{name}}}")
    return "".join(parts)


def _text(value: JsonValue) -> str:
    return ", ".join(_text(item) for item in value) if isinstance(value, list) else str(value)
