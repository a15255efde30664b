"""Short clauses that machines write in English, said in the reader's language: by patterns, clause by clause.

A probe writes what it expected and saw in English, once, for the record and for every reader; here it is put into
Chinese where the phrase book (``messages/phrases.zh.yaml``) knows it. What it does not know stays as it was: a foreign
word is better than a lost one.
"""

from __future__ import annotations

import importlib.resources
import re
from functools import cache

from govsec.config import read_yaml
from govsec.errors import ConfigurationError
from govsec.report.catalog import Lang

_SEPARATOR = "; "
#: What probes say is cut to some hundred characters each; more is no phrase.
_CLAUSE_CHARS_MAX = 1000
_DEPTH_MAX = 4


def phrase(text: str, lang: Lang) -> str:
    """``text`` in the reader's language, as far as the phrase book knows it."""
    if lang == "en":
        return text
    return "；".join(_said(clause, 0) for clause in text.split(_SEPARATOR))


def _said(clause: str, depth: int) -> str:
    if depth < _DEPTH_MAX and len(clause) <= _CLAUSE_CHARS_MAX:
        for pattern, words in _book():
            found = pattern.fullmatch(clause)
            if found is not None:
                return words.format(*(_said(group, depth + 1) for group in found.groups()))
    return clause


@cache
def _book() -> tuple[tuple[re.Pattern[str], str], ...]:
    with importlib.resources.as_file(importlib.resources.files("govsec.report")) as room:
        path = room / "messages" / "phrases.zh.yaml"
        value = read_yaml(path)
    if not isinstance(value, list):
        raise ConfigurationError(f"{path}: a list of pairs is expected")
    return tuple((re.compile(pattern), words) for pattern, words in value)
