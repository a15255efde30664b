"""What hosts answered, each answer once: numbered, at the end of a page, and named by number wherever it counts.

A check speaks to several requirements and several checks read the same answer, so printing an answer where it is judged
prints it five times over; on paper that was two thirds of a report. Here the answers that a page rests on are gathered
first, numbered by object in reading order, and each knows the requirements that rest on it. What is shorter than a
reference to it may stand in its place as well (:attr:`Reference.brief`).

The whole is bounded: an answer for which there is no room any more has no number, and lies in the record.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from govsec.report.assessment import Look, Output

#: One answer, and all of them together, in characters: 200 hosts with 250 checks stay a file that a browser opens.
_OUTPUT_CHARS_MAX = 8_000
_OUTPUTS_CHARS_MAX = 3_000_000
_BRIEF_CHARS_MAX, _BRIEF_LINES_MAX = 110, 2
#: How a collector heads the answer of one source, with its exit code.
_HEAD = re.compile(r"^\[[^\]\n]{1,80}: -?[0-9A-Za-z]+\]$")


@dataclass(frozen=True, slots=True)
class Reference:
    """Where an answer is, seen from a check that rests on it."""

    #: None where there is no room for it on the page, or nothing came.
    number: int | None
    #: All of it, where that is hardly longer than the reference; empty otherwise.
    brief: str
    is_left_out: bool


@dataclass(slots=True)
class Entry:
    """One answer at the end of the page."""

    thing: str
    output: Output
    text: str
    is_cut: bool
    number: int = 0
    #: Requirements that rest on it, in reading order.
    items: dict[str, None] = field(default_factory=dict)


class Outputs:
    """The answers under all ``looks`` (what is shown under each requirement, by its id)."""

    def __init__(self, looks: Mapping[str, Iterable[Look]]) -> None:
        self._entries: dict[tuple[str, str, str], Entry] = {}
        self._left_out: set[tuple[str, str, str]] = set()
        size = 0
        for item, shown in looks.items():
            for look in shown:
                for output in look.outputs:
                    key = _key(look.object, output)
                    if not output.excerpt.strip() or key in self._left_out:
                        continue
                    if key not in self._entries:
                        text = output.excerpt[:_OUTPUT_CHARS_MAX]
                        if size + len(text) > _OUTPUTS_CHARS_MAX:
                            self._left_out.add(key)
                            continue
                        size += len(text)
                        is_cut = output.is_truncated or len(text) < len(output.excerpt)
                        self._entries[key] = Entry(look.object, output, text.rstrip(), is_cut)
                    self._entries[key].items[item] = None
        self.entries = sorted(self._entries.values(), key=lambda entry: entry.thing)
        for number, entry in enumerate(self.entries, 1):
            entry.number = number

    def of(self, thing: str, output: Output) -> Reference:
        """Where the answer of one object is."""
        key = _key(thing, output)
        entry = self._entries.get(key)
        if entry is None:
            return Reference(None, "", key in self._left_out)
        return Reference(entry.number, "" if entry.is_cut else _brief(entry.text), False)


def _key(thing: str, output: Output) -> tuple[str, str, str]:
    return thing, output.command, output.sha256


def _brief(text: str) -> str:
    """The answer on one line without the heads of its sources; nothing where that is too long."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not _HEAD.match(line)]
    joined = "  ".join(lines)
    return joined if len(lines) <= _BRIEF_LINES_MAX and len(joined) <= _BRIEF_CHARS_MAX else ""
