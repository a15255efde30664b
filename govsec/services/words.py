"""The list of words that give a hidden text or a foreign link away (``policies/pages/words.yaml``)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from govsec.config import Model
from govsec.datafile import FigureStatus, Text
from govsec.shipped import read_table, shipped

_BLANKS = re.compile(r"[\s_\-·・|,，.。/]+")
Word = Annotated[str, Field(min_length=2, max_length=60)]


class WordGroup(Model):
    """Words of one trade. ``english`` ones count as whole words only."""

    id: str = Field(pattern=r"^[a-z_]{2,40}$")
    title: Text
    words: tuple[Word, ...] = ()
    english: tuple[Word, ...] = ()


class WordList(Model):
    """The whole table."""

    version: Literal[1]
    status: FigureStatus
    source: str = Field(min_length=3, max_length=500)
    groups: tuple[WordGroup, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Words:
    """The list, ready to be looked for."""

    plain: tuple[tuple[str, str], ...]
    english: re.Pattern[str]

    def found(self, texts: Sequence[str]) -> Iterator[str]:
        """The words that occur in the texts, each once. Chinese ones also when blanks or marks were put between."""
        joined = unicodedata.normalize("NFKC", "\n".join(texts)).lower()
        close = _BLANKS.sub("", joined)
        seen = {word for word, form in self.plain if form in close}
        seen.update(match.group() for match in self.english.finditer(joined))
        yield from sorted(seen)


@cache
def shipped_words() -> Words:
    """The list that came with govsec.

    Raises:
        ConfigurationError: it is damaged.
    """
    table = read_table(shipped("pages") / "words.yaml", TypeAdapter(WordList))
    plain = tuple((word, _BLANKS.sub("", word.lower())) for group in table.groups for word in group.words)
    english = "|".join(re.escape(word) for group in table.groups for word in group.english)
    return Words(plain, re.compile(rf"\b(?:{english})\b"))
