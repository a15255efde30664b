"""Small readers that parsers share: numbers, quoted words, ``name = value`` lines. Any text in, a value or None out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pydantic import JsonValue

_WHOLE = re.compile(r"[+-]?[0-9]{1,15}")
_DECIMAL = re.compile(r"[+-]?[0-9]{1,12}(?:\.[0-9]{1,12})?")


def whole_number(text: str) -> int | None:
    """The whole number that ``text`` is, up to 15 digits; None for anything else."""
    text = text.strip()
    return int(text) if _WHOLE.fullmatch(text) else None


def decimal_number(text: str) -> float | None:
    """The decimal number that ``text`` is; None for anything else. Six places are kept."""
    text = text.strip()
    return round(float(text), 6) if _DECIMAL.fullmatch(text) else None


def unquote(text: str) -> str:
    """``text`` without one pair of quotes around it."""
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text


def scalar(text: str) -> int | str:
    """A number where ``text`` is a whole number as people write them (no leading zero: 022 is a mode), else text."""
    number = whole_number(text)
    return number if number is not None and str(number) == text.strip() else text


def plain_lines(lines: Iterable[str], comment: str = "#") -> Iterator[str]:
    """Lines without white space around them; blank ones and those that begin with a comment sign are left out."""
    for line in lines:
        line = line.strip()
        if line and not line.startswith(tuple(comment)):
            yield line


def joined_lines(lines: Iterable[str]) -> Iterator[str]:
    """Lines with those that end in a backslash joined to the next."""
    held = ""
    for line in lines:
        if line.endswith("\\"):
            held += line[:-1] + " "
        else:
            yield held + line
            held = ""
    if held:
        yield held


def assignments(lines: Iterable[str]) -> dict[str, JsonValue]:
    """``name = value`` and ``name value`` lines; a bare name is true; the last of a name wins."""
    values: dict[str, JsonValue] = {}
    for line in plain_lines(lines, "#;"):
        match = re.fullmatch(r"([A-Za-z0-9_.-]+)\s*(?:[=\s]\s*(.*))?", line)
        if match:
            name, value = match.group(1), match.group(2)
            values[name] = True if value is None else scalar(unquote(strip_comment(value)))
    return values


def strip_comment(text: str) -> str:
    """``text`` without a comment that begins after white space."""
    return re.split(r"\s#", text, maxsplit=1)[0].strip()


def texts(items: Iterable[str]) -> list[JsonValue]:
    """Texts as a JSON list (a list of ``str`` is not a list of ``JsonValue`` to a type checker)."""
    return list(items)


def numbers(items: Iterable[int]) -> list[JsonValue]:
    """Numbers as a JSON list."""
    return list(items)


def tight(text: str) -> str:
    """``text`` with every run of white space as one space."""
    return " ".join(text.split())
