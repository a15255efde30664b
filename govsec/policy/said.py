"""Why something gave no answer, in both languages: the code says it in English, ``policies/said`` has the Chinese.

Facts carry a reason as one English text, and have to: they are written for a host, read years later, and hashed.
For a reader of the other language the sentence is looked up here. What is in no table stays as it is: a reason that
reads badly is better than none.
"""

from __future__ import annotations

import re
from functools import cache

from pydantic import Field, TypeAdapter

from govsec.config import Model
from govsec.datafile import Text as Words
from govsec.shipped import read_table, shipped

_DEPTH_MAX = 3
_LENGTH_MAX = 1900
#: A part in braces, once the sentence was escaped for a pattern.
_PART = re.compile(r"\\\{([a-z]+)\\\}")


class _Sentence(Model):
    en: str
    zh: str
    #: Parts that are sentences themselves.
    parts: tuple[str, ...] = Field(default=())


@cache
def _sentences() -> tuple[tuple[re.Pattern[str], _Sentence], ...]:
    rows = read_table(shipped("said").joinpath("said.yaml"), TypeAdapter(tuple[_Sentence, ...]))
    return tuple((re.compile(_PART.sub(r"(?P<\1>.+?)", re.escape(row.en)), re.DOTALL), row) for row in rows)


def said(reason: str) -> Words:
    """The reason in both languages; one that is empty is told as a dash."""
    text = reason[:_LENGTH_MAX] or "–"
    return Words(zh=_chinese(text, _DEPTH_MAX)[:_LENGTH_MAX], en=text)


def _chinese(reason: str, depth: int) -> str:
    for pattern, sentence in _sentences() if depth else ():
        match = pattern.fullmatch(reason)
        if match is not None:
            found = match.groupdict()
            inner = {name: _chinese(found[name], depth - 1) for name in sentence.parts}
            if inner and all(inner[name] == found[name] for name in inner):
                continue
            return sentence.zh.format_map(found | inner)
    return reason
