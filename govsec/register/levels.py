"""A level as people write it: 3, 第三级, 三级, L3, S3A2, S3A2G3."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMERALS = {"一": 1, "二": 2, "三": 3, "四": 4, "五": 5}
_PLAIN = re.compile(r"(?:第|等保|L|LEVEL\s*)?([1-5一二三四五])(?:级|級)?", re.IGNORECASE)
_CODE = re.compile(r"S([1-5])A([1-5])(?:G([1-5]))?", re.IGNORECASE)
#: 第三级（S3A3）, as filings write it.
_BOTH = re.compile(r"(.+?)\s*[(（]\s*(S[1-5]A[1-5](?:G[1-5])?)\s*[)）]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class WrittenLevel:
    """A level, with S and A where they were written too."""

    level: int
    s: int | None = None
    a: int | None = None


def read_level(text: str) -> WrittenLevel:
    """The level that ``text`` says.

    Raises:
        ValueError: it says none, or one that does not follow from its S and A (GB/T 22240-2020: the higher of the two).
    """
    words = text.strip()
    if both := _BOTH.fullmatch(words):
        plain, code = read_level(both[1]), read_level(both[2])
        if plain.s is not None or plain.level != code.level:
            raise ValueError(f"{text[:40]!r} says two levels")
        return code
    if match := _CODE.fullmatch(words):
        s, a = int(match[1]), int(match[2])
        if match[3] is not None and int(match[3]) != max(s, a):
            raise ValueError(f"{text[:40]!r}: the level is the higher of S and A, {max(s, a)}")
        return WrittenLevel(max(s, a), s, a)
    if match := _PLAIN.fullmatch(words):
        return WrittenLevel(_NUMERALS.get(match[1]) or int(match[1]))
    raise ValueError(f"{text[:40]!r} is no level: write 3, 第三级, or S3A2")
