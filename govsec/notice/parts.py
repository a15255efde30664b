"""One notice as several messages: what each says, and how a text is taken apart so that each fits.

A text is taken apart before it is put into a channel's markup, and measured after, so no escape and no character is
ever cut in two. Parts say which of how many they are; a text beyond the number of parts that a channel may take ends
with how many lines are missing.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence

from pydantic import BaseModel, ConfigDict, Field

from govsec.notice.words import Words
from govsec.records import Attachment

#: Marks that belong to the character before them; a base with more of them is no text.
_MARKS_MAX = 16
_VARIATIONS = range(0xFE00, 0xFE10)
_SKIN_TONES = range(0x1F3FB, 0x1F400)


class Part(BaseModel):
    """One message of a notice: words, or a file. ``to``: of several recipients the one that it is for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int = Field(ge=1)
    count: int = Field(ge=1)
    title: str = ""
    lines: tuple[str, ...] = ()
    to: str = ""
    attachment: Attachment | None = None

    @property
    def words(self) -> Words:
        """What it says."""
        return Words(self.title, self.lines)


def numbered(
    words: Sequence[Words], *, recipients: Sequence[str] = ("",), attachments: Sequence[Attachment] = ()
) -> tuple[Part, ...]:
    """Words and files as parts: all of them to the first recipient, then all to the next."""
    bodies: list[tuple[Words, Attachment | None]] = [
        *((each, None) for each in words),
        *((Words(each.name, ()), each) for each in attachments),
    ]
    count = len(bodies) * len(recipients)
    return tuple(
        Part(number=number, count=count, title=each.title, lines=each.lines, to=to, attachment=file)
        for number, (to, (each, file)) in enumerate(((to, body) for to in recipients for body in bodies), start=1)
    )


def taken_apart(
    words: Words, fits: Callable[[Words], bool], parts_max: int, *, is_title_repeated: bool = True
) -> tuple[Words, ...]:
    """The words in messages that fit, ``parts_max`` at most; with their number in the title when there are several.

    ``fits`` says of words whether one message takes them; it must take a title of ten characters and a line of one.
    """
    if fits(words):
        return (words,)
    title = _shortened(words.title, lambda text: fits(Words(f"{text}… (99/99)", ("…",))))
    rest = title if is_title_repeated else ""
    groups: list[list[str]] = [[]]
    for line in words.lines:
        for piece in _pieces(line, groups, title, rest, fits):
            groups[-1].append(piece)
    kept = groups[:parts_max]
    missing = sum(map(len, groups[parts_max:]))
    if missing:
        kept[-1] = _with_rest(kept[-1], missing, lambda lines: fits(_part(title, rest, parts_max - 1, 99, lines)))
    if len(kept) == 1:
        return (Words(title, tuple(kept[0])),)
    return tuple(_part(title, rest, at, len(kept), lines) for at, lines in enumerate(kept))


def _with_rest(lines: Sequence[str], missing: int, fits: Callable[[Sequence[str]], bool]) -> list[str]:
    """The last message's lines with how many did not get into any; what is cut for that counts as missing."""
    kept, mark = list(lines), f"… (+{missing})"
    while kept and not fits([*kept, mark]):
        mark = f"… (+{missing + 1})"
        *before, last = kept
        head = _shortened(last, lambda text, before=before, mark=mark: fits([*before, text, mark]))  # type: ignore[misc]
        kept = [*before, head] if head else before
        missing += not head
    return [*kept, mark]


def _part(title: str, rest: str, at: int, count: int, lines: Sequence[str]) -> Words:
    head = title if at == 0 else rest
    return Words(f"{head} ({at + 1}/{count})" if head else f"({at + 1}/{count})", tuple(lines))


def _pieces(line: str, groups: list[list[str]], title: str, rest: str, fits: Callable[[Words], bool]) -> Iterator[str]:
    """The line in pieces; begins a new group where one does not fit any more."""
    while True:
        at = len(groups) - 1

        def fits_here(text: str, at: int = at) -> bool:
            # Measured with the longest number that there can be.
            return fits(_part(title, rest, min(at, 98), 99, [*groups[-1], text]))

        if fits_here(line):
            yield line
            return
        if groups[-1]:
            groups.append([])
            continue
        head = _shortened(line, fits_here) or line[:1]
        yield head
        line = line[len(head) :]
        if not line:
            return
        groups.append([])


def _shortened(text: str, fits: Callable[[str], bool]) -> str:
    """As much of the text's beginning as fits, and no character without its marks."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(text[:middle]) else (low, middle - 1)
    for back in range(min(_MARKS_MAX, low)):
        if low - back == len(text) or not _is_mark(text[low - back]):
            return text[: low - back]
    return text[:low]


def _is_mark(character: str) -> bool:
    code = ord(character)
    return unicodedata.category(character)[0] == "M" or code in _VARIATIONS or code in _SKIN_TONES
