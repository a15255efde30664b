"""Words on a terminal: sizes, durations, tables, and names that cannot play tricks.

Names of files come from repositories and hosts that may be hostile. A terminal obeys escape sequences and reorders
text at bidirectional overrides, so nothing reaches it before :func:`printable` or :func:`printable_lines`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

# C0 and C1 controls, bidirectional marks and overrides, line and paragraph separators, lone surrogates.
_TRICKS = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_TRICK_IN_LINES = re.compile(f"[{_TRICKS}]")
_TRICK = re.compile(f"[{_TRICKS}\t\n]")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def printable(name: str) -> str:
    """``name`` on one line, with everything that steers a terminal written as an escape."""
    return _TRICK.sub(_escape, name)


def printable_lines(text: str) -> str:
    """``text`` with its lines and tabs kept and everything else that steers a terminal written as an escape."""
    return _TRICK_IN_LINES.sub(_escape, text)


def printable_json(line: str) -> str:
    """A line of JSON, with everything that steers a terminal written as JSON escapes: the value stays the same."""
    return _TRICK_IN_LINES.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


def size(count_bytes: float) -> str:
    """``count_bytes`` for people: ``0 B``, ``1.5 KiB``, ``12 GiB``."""
    value = float(count_bytes)
    for unit in _UNITS:
        if abs(value) < 1024 or unit == _UNITS[-1]:
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" or abs(value) >= 100 else f"{value:.1f} {unit}"


def duration(seconds: float) -> str:
    """``seconds`` for people: ``0.4 s``, ``12 s``, ``3:20``, ``2:03:20``, ``3 d 02:03``."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    if hours == 0:
        return f"{minute}:{second:02}"
    days, hour = divmod(hours, 24)
    return f"{days} d {hour:02}:{minute:02}" if days else f"{hour}:{minute:02}:{second:02}"


def width(text: str) -> int:
    """How many columns ``text`` takes; Chinese characters take two."""
    columns = 0
    for character in text:
        if unicodedata.combining(character):
            continue
        columns += 2 if unicodedata.east_asian_width(character) in "WF" else 1
    return columns


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """``rows`` under ``header`` in aligned columns, one line each; numbers lean right."""
    lines = [[printable(str(cell)) for cell in row] for row in rows]
    heads = [printable(cell) for cell in header]
    widths = [max([width(heads[at]), *(width(line[at]) for line in lines)]) for at in range(len(heads))]
    leans_right = [bool(rows) and all(isinstance(row[at], (int, float)) for row in rows) for at in range(len(heads))]

    def line_of(cells: Sequence[str]) -> str:
        padded = []
        for at, cell in enumerate(cells):
            gap = " " * (widths[at] - width(cell))
            padded.append(gap + cell if leans_right[at] else cell + gap)
        return "  ".join(padded).rstrip()

    return "\n".join(line_of(cells) for cells in [heads, *lines])


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a name that is not UTF-8 (surrogateescape)
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
