"""The one place where text becomes part of a shell script.

Every argument of a probe goes through :func:`quote` (taken literally) or :func:`quote_glob` (``*``, ``?`` and ``[…]``
stay patterns, everything else is literal). Fuzzed under dash, bash and busybox sh.
"""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,-]+")
_PATTERN_PIECES = re.compile(r"[*?]|\[[A-Za-z0-9_-]+\]|[^*?\[]+|\[")


def quote(text: str) -> str:
    """``text`` as one word of a POSIX shell, whatever it holds.

    Raises:
        ValueError: for NUL, which no argument of a Unix program can hold.
    """
    if "\x00" in text:
        raise ValueError("a shell word cannot hold NUL")
    if _PLAIN.fullmatch(text) and not text.startswith("-"):
        return text
    return "'" + text.replace("'", "'\\''") + "'"


def quote_glob(pattern: str) -> str:
    """``pattern`` as one word in which only ``*``, ``?`` and brackets of letters and digits keep their meaning.

    Raises:
        ValueError: for NUL.
    """
    pieces = _PATTERN_PIECES.findall(pattern)
    return "".join(
        piece if piece[0] in "*?" or (len(piece) > 2 and piece[0] == "[") else quote(piece) for piece in pieces
    )
