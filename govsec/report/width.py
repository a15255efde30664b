"""Text in columns of a terminal, where a Chinese character is two columns wide (Unicode Standard Annex 11)."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

_WIDE = ("W", "F")


def columns(text: str) -> int:
    """How many columns ``text`` takes; ambiguous characters count as one, as terminals do outside legacy locales."""
    return sum(_columns_of(character) for character in text)


def cut(text: str, width: int) -> str:
    """``text`` in at most ``width`` columns, with an ellipsis where something was cut."""
    if columns(text) <= width:
        return text
    taken, used = [], 1
    for character in text:
        used += _columns_of(character)
        if used > width:
            break
        taken.append(character)
    return ("".join(taken) + "…") if width > 0 else ""


def padded(text: str, width: int, *, is_right: bool = False) -> str:
    """``text`` cut and filled to exactly ``width`` columns."""
    shown = cut(text, width)
    fill = " " * (width - columns(shown))
    return fill + shown if is_right else shown + fill


def wrapped(text: str, width: int) -> list[str]:
    """``text`` in lines of at most ``width`` columns; what is indented stays indented. Breaks at spaces where there are
    any near the end of a line, and anywhere where there are none, as Chinese does."""
    indent = " " * (len(text) - len(text.lstrip()))
    lines = []
    while columns(text) > width:
        head = cut(text, width + 1)[:-1]
        space = head.rfind(" ", len(indent) + 1)
        if space > len(head) // 2:
            head = head[:space]
        lines.append(head.rstrip())
        text = f"{indent}  {text[len(head) :].lstrip()}"
    return [*lines, text]


def table(rows: Sequence[Sequence[str]], *, width: int, flexible: int) -> list[str]:
    """``rows`` as aligned lines of at most ``width`` columns; the column at ``flexible`` gives way, the first is left
    aligned as it is, and columns of numbers are aligned right."""
    widths = [max(columns(row[position]) for row in rows) for position in range(len(rows[0]))]
    over = sum(widths) + 2 * (len(widths) - 1) - width
    if over > 0:
        widths[flexible] = max(4, widths[flexible] - over)
    is_number = [all(row[position].isdigit() for row in rows[1:]) for position in range(len(widths))]
    return [
        "  ".join(
            padded(cell, widths[position], is_right=is_number[position]) for position, cell in enumerate(row)
        ).rstrip()
        for row in rows
    ]


def _columns_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in _WIDE else 1
