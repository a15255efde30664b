"""What the register, the launch gate and grading say to people: ``policies/register/words.yaml``, in both languages.

A sentence has a name (that of the finding's kind, where it is one) and places that facts are put in: ``{days}``.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from functools import cache
from typing import Literal

from pydantic import JsonValue, TypeAdapter

from govsec.datafile import Text
from govsec.shipped import read_table, shipped

_TABLE = TypeAdapter(Mapping[str, Text])


def say(name: str, facts: Mapping[str, JsonValue]) -> Text:
    """The sentence of that name with the facts put in; a fact that is not there stays visible as ``{name}``."""
    return fill(words()[name], facts)


def fill(sentence: Text, facts: Mapping[str, JsonValue]) -> Text:
    """A sentence with the facts put in; a value that the table has words for (``value.<fact>.<value>``) in these."""
    return Text(zh=_fill(sentence, facts, "zh"), en=_fill(sentence, facts, "en"))


@cache
def words() -> Mapping[str, Text]:
    """Every sentence by its name.

    Raises:
        ConfigurationError: the table is damaged.
    """
    return read_table(shipped("register").joinpath("words.yaml"), _TABLE)


def _fill(sentence: Text, facts: Mapping[str, JsonValue], lang: Literal["zh", "en"]) -> str:
    # Not str.format: a template can then reach no attribute of a fact, whatever somebody writes into the table.
    parts = []
    for literal, name, _, _ in string.Formatter().parse(getattr(sentence, lang)):
        parts.append(literal)
        if name is not None:
            parts.append(_text(name, facts[name], lang) if name in facts else f"{{{name}}}")
    return "".join(parts)


def _text(name: str, value: JsonValue, lang: Literal["zh", "en"]) -> str:
    if isinstance(value, list):
        # Names of hosts and the like stay as they are written, commas between them too.
        is_told = lang == "zh" and all(f"value.{name}.{item}" in words() for item in value)
        return ("、" if is_told else ", ").join(_text(name, item, lang) for item in value)
    known = words().get(f"value.{name}.{value}")
    return str(value) if known is None else str(getattr(known, lang))
