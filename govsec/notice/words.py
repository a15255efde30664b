"""A notice as words for a channel: a title, lines, and how much of them a channel takes.

What stands in a notice comes from hosts and networks that may be hostile. Each channel's own markup is escaped by the
function of that markup here, and by nobody else; control characters never get through.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass

from govsec.records import Notice

#: Controls, marks and overrides of direction, line and paragraph separators, lone surrogates.
_TRICKS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~&@])")


@dataclass(frozen=True, slots=True)
class Words:
    """What people read. Plain text; every line on its own."""

    title: str
    lines: tuple[str, ...]

    def text(self) -> str:
        """Title and lines as plain text."""
        return "\n".join((self.title, *self.lines))


#: Puts a notice into the words of a language; the catalogue is somebody else's.
Wording = Callable[[Notice], Words]


def english(notice: Notice) -> Words:
    """The words that are in the notice itself, for sites without a catalogue, and for tests."""
    lines = [f"severity: {notice.severity.name.lower()}", f"subject: {notice.subject}"]
    if notice.system:
        lines.append(f"system: {notice.system}")
    return clean(Words(f"[{notice.kind}] {notice.subject}", (notice.summary, *lines)))


def clean(words: Words) -> Words:
    """The same words, title and lines :func:`visible`."""
    return Words(visible(words.title), tuple(visible(line) for line in words.lines))


def markdown(text: str) -> str:
    """``text`` so that Markdown shows it as it is: no link, no mention, no heading."""
    return _MARKDOWN.sub(r"\\\1", visible(text))


def escaped_html(text: str) -> str:
    """``text`` for the body of an HTML mail."""
    return html.escape(visible(text))


def cut(text: str, size_max_bytes: int) -> str:
    """As much of ``text`` as fits, with an ellipsis when something is missing; never half a character."""
    data = text.encode("utf-8")
    if len(data) <= size_max_bytes:
        return text
    mark = "…"
    kept = data[: max(0, size_max_bytes - len(mark.encode()))].decode("utf-8", "ignore")
    return (kept + mark) if size_max_bytes >= len(mark.encode()) else ""


def visible(text: str) -> str:
    """``text`` on one line, with everything that could look like, or steer, something else written as an escape."""
    return _TRICKS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
