"""What a deed hits, and why one could not be done, in the reader's language.

Facts come with names of their own, and reasons in English, from whoever does a deed: the root helper of any release, a
center, a recovery. Names are in the catalogue ``response`` under ``fact``; reasons go through the phrase book.
"""

from __future__ import annotations

from collections.abc import Mapping

from govsec.clock import parse_time
from govsec.report.catalog import Catalogue, Lang
from govsec.report.phrases import phrase

_HOURS = 8
_MOMENTS = frozenset({"tried"})


def hit_words(facts: Mapping[str, object], lang: Lang, count_max: int) -> str:
    """What a deed would hit or has hit, ``count_max`` facts at most, on one line."""
    words = Catalogue("response", lang)
    pairs = [
        words.text("fact_line", {"name": _name(words, name), "value": _value(words, name, value)})
        for name, value in list(facts.items())[:count_max]
    ]
    return words.text("joint").join(pairs) or "-"


def why_words(why: str, lang: Lang) -> str:
    """Why something could not be done, as far as the phrase book knows it."""
    return phrase(why, lang)


def _name(words: Catalogue, name: str) -> str:
    key = f"fact.{name}"
    return words.text(key) if words.has(key) else name


def _value(words: Catalogue, name: str, value: object) -> str:
    if isinstance(value, bool):
        return words.text("true_" if value else "false_")
    if isinstance(value, (int, float)):
        if name.endswith("_s"):
            return words.duration(value)
        return words.size(value) if name.endswith("_bytes") else str(value)
    if isinstance(value, (list, tuple)):
        return words.text("list_joint").join(phrase(str(each), words.lang) for each in value) or "-"
    if name in _MOMENTS:
        try:
            return words.moment(parse_time(str(value)), _HOURS)
        except ValueError:
            return str(value)
    return phrase(str(value), words.lang)
