"""Path patterns for excludes, includes and ``find``: restic's, so that people need to learn one kind.

* ``*``, ``?``, ``[…]`` match within a name, never a slash; ``**`` stands for any number of whole names, none included.
* A pattern that starts with a slash is matched from the root, any other one from any directory on.
* A pattern that starts with ``!`` takes back what an earlier one matched; the last pattern that matches decides.
* A directory that matches is not entered, so nothing below it can be taken back.

Names are matched as text; bytes that are not UTF-8 count as one character each.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from govsec.errors import ConfigurationError

_PATTERN_LENGTH_MAX = 4096


class Patterns:
    """A list of patterns, ready to match absolute paths."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._rules = [_compile(pattern) for pattern in patterns]
        self._starts = [_start(pattern) for pattern in patterns]

    def __bool__(self) -> bool:
        return bool(self._rules)

    def match(self, path: bytes) -> bool:
        """True when the path itself (not only something above it) is matched."""
        if not self._rules:
            return False
        text = os.fsdecode(path)
        is_matched = False
        for expression, is_negative in self._rules:
            if is_matched == is_negative and expression.search(text):
                is_matched = not is_negative
        return is_matched

    def may_match_below(self, directory: bytes) -> bool:
        """False when no path below ``directory`` can be matched, so that it need not be entered."""
        names = [name for name in os.fsdecode(directory).split("/") if name]
        return any(starts is None or _agrees(starts, names) for starts in self._starts)

    def match_below(self, path: bytes) -> bool:
        """True when the path or a directory above it is matched."""
        if self.match(path):
            return True
        position = path.find(b"/", 1)
        while position != -1:
            if self.match(path[:position]):
                return True
            position = path.find(b"/", position + 1)
        return False


def _compile(pattern: str) -> tuple[re.Pattern[str], bool]:
    is_negative = pattern.startswith("!")
    body = pattern[1:] if is_negative else pattern
    parts = [part for part in body.split("/") if part not in ("", ".")]
    if not body or len(body) > _PATTERN_LENGTH_MAX or ".." in parts:
        raise ConfigurationError(f"not a pattern for paths: {pattern[:200]!r}")
    # Every name is written with the slash before it, so a path is a plain sequence of "/name".
    expression = "".join("(?:/[^/]+)*" if part == "**" else "/" + _name(part, pattern) for part in parts)
    start = r"\A" if body.startswith("/") else ""
    return re.compile(f"{start}{expression or '/'}\\Z", re.DOTALL), is_negative


def _start(pattern: str) -> list[re.Pattern[str]] | None:
    """The names that a rooted pattern begins with, up to the first ``**``; None when it may match anywhere."""
    if not pattern.startswith("/"):
        return None
    names = []
    for part in pattern.split("/"):
        if part == "**":
            break
        if part not in ("", "."):
            names.append(re.compile(_name(part, pattern), re.DOTALL))
    return names


def _agrees(starts: list[re.Pattern[str]], names: list[str]) -> bool:
    return all(start.fullmatch(name) for start, name in zip(starts, names, strict=False))


def _name(part: str, pattern: str) -> str:
    """The regular expression for one name; the syntax is that of Go's ``filepath.Match``."""
    expression = ""
    position = 0
    while position < len(part):
        character = part[position]
        position += 1
        if character == "*":
            expression += "[^/]*"
        elif character == "?":
            expression += "[^/]"
        elif character == "\\" and position < len(part):
            expression += re.escape(part[position])
            position += 1
        elif character == "[":
            end = part.find("]", position + 1)
            if end == -1:
                raise ConfigurationError(f"pattern {pattern!r}: a [ is never closed")
            members = part[position:end]
            is_inverse = members[0] in "^!"
            members = re.sub(r"([\\\[\]^&~|])", r"\\\1", members[1:] if is_inverse else members)
            expression += f"[{'^/' if is_inverse else ''}{members}]"
            position = end + 1
        else:
            expression += re.escape(character)
    try:
        re.compile(expression)
    except re.error as error:
        raise ConfigurationError(f"pattern {pattern!r}: {error}") from error
    return expression
