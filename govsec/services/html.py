"""Reads a page into elements and texts, in one pass, whatever it holds.

The standard library's parser goes back to where it was when a tag, a comment or a declaration has no end, and takes
time that grows with the square of a page made for that (CVE-2025-6069). A page here may be made for that. This reader
never goes back: each character is passed over once, and tags, attributes and texts are bounded, with a count of what
was left out. It follows the parts of the tokenizer that matter for what a browser shows: quoted and unquoted
attributes, slashes between them, raw texts, character references, the ends of comments, and that inside ``svg`` and
``math`` no element has a raw text (which of its elements are open is followed by name; no tree is built).

Source: HTML Living Standard, 13.2.5 (tokenization), 13.2.6.5 (foreign content).
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

#: Tags and texts; the page of a portal has some thousand.
_TOKENS_MAX = 60_000
_ATTRIBUTES_MAX = 64
_VALUE_MAX = 8192
_TEXT_MAX = 16 << 10
_RAW_MAX = 1 << 20
_RAW = frozenset({"script", "style", "textarea", "title", "xmp", "noembed", "noframes"})
_TAG_NAME = re.compile(r"[A-Za-z][^\s/>\x00]{0,40}")
_SPACE = re.compile(r"[\s/]*")
_ATTRIBUTE_NAME = re.compile(r"[^\s/>=][^\s/>=]*")
_EQUALS = re.compile(r"\s*=\s*")
_UNQUOTED = re.compile(r"[^\s>]*")
_COMMENT_END = re.compile("--!?>")
_FOREIGN = frozenset({"svg", "math"})
_FOREIGN_MAX = 512
#: Elements of foreign content in which HTML counts again.
_INTEGRATION = {
    "svg": frozenset({"foreignobject", "desc", "title"}),
    "math": frozenset({"mi", "mo", "mn", "ms", "mtext", "annotation-xml"}),
}
#: Tags that end foreign content wherever they stand.
_BREAKS_OUT = frozenset([
    "b", "big", "blockquote", "body", "br", "center", "code", "dd", "div", "dl", "dt", "em", "embed", "h1", "h2",
    "h3", "h4", "h5", "h6", "head", "hr", "i", "img", "li", "listing", "menu", "meta", "nobr", "ol", "p", "pre",
    "ruby", "s", "small", "span", "strong", "strike", "sub", "sup", "table", "tt", "u", "ul", "var",
])  # fmt: skip
#: A frame's page stands in an attribute.
_PAGE_ATTRIBUTE = "srcdoc"


@dataclass(frozen=True, slots=True)
class Start:
    """A tag that opens. ``attributes``: names in lower case, the first of a name counts."""

    name: str
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class End:
    """A tag that closes."""

    name: str


@dataclass(frozen=True, slots=True)
class Text:
    """Characters between tags; ``is_raw``: the content of ``raw_of``, in which no tag counts."""

    text: str
    raw_of: str = ""


Token: TypeAlias = Start | End | Text


@dataclass(slots=True)
class Reader:
    """Reads one page. ``cut_count``: what was left out because there was too much of it."""

    page: str
    cut_count: int = 0
    _at: int = field(default=0, init=False)
    #: What was looked for and is not in the rest of the page: it is not looked for again.
    _absent: set[str] = field(default_factory=set, init=False)
    #: ``svg`` and ``math`` that are open, and their elements in which HTML counts.
    _foreign: list[str] = field(default_factory=list, init=False)
    #: The script or style of foreign content whose texts come next.
    _foreign_raw: str = field(default="", init=False)
    _is_self_closed: bool = field(default=False, init=False)

    def tokens(self) -> Iterator[Token]:
        """The page in its order."""
        page, count = self.page, 0
        while self._at < len(page):
            count += 1
            if count > _TOKENS_MAX:
                self.cut_count += 1
                return
            tag_at = page.find("<", self._at)
            if tag_at != self._at:
                end = len(page) if tag_at < 0 else tag_at
                text = html.unescape(page[self._at : min(end, self._at + _TEXT_MAX)])
                yield Text(self._cut(text, end - self._at), self._foreign_raw)
                self._at = end
                continue
            found = self._markup()
            if found is None:
                continue
            yield found
            if isinstance(found, End):
                self._close(found.name)
            elif isinstance(found, Start) and not self._open_foreign(found) and found.name in _RAW:
                yield from self._raw(found.name)

    def _markup(self) -> Token | None:
        """What begins with ``<`` here; None for what shows nothing."""
        page, at = self.page, self._at
        if page.startswith("<!--", at):
            self._at = self._after_comment(at + 4)
            return None
        if self._is_foreign() and page.startswith("<![CDATA[", at):
            self._at = self._after("]]>", at + 9)
            text = page[at + 9 : min(self._at, at + 9 + _TEXT_MAX)].removesuffix("]]>")
            return Text(self._cut(text, self._at - at - 12), self._foreign_raw)
        if page.startswith("</>", at):
            self._at = at + 3
            return None
        is_end = page.startswith("</", at)
        if page.startswith(("<!", "<?"), at) or (is_end and _TAG_NAME.match(page, at + 2) is None):
            self._at = self._after(">", at + 2)
            return None
        found = _TAG_NAME.match(page, at + (2 if is_end else 1))
        if found is None:
            self._at = at + 1
            return Text("<")
        self._at = found.end()
        name = found.group().lower()
        attributes = self._attributes()
        if attributes is None:  # a tag without an end shows nothing
            self._at = len(page)
            return None
        return End(name) if is_end else Start(name, attributes)

    def _attributes(self) -> Mapping[str, str] | None:
        """The attributes up to the end of the tag, which is passed over; None when it has none."""
        page = self.page
        found: dict[str, str] = {}
        while True:
            begin = self._at
            at = self._at = _SPACE.match(page, begin).end()  # type: ignore[union-attr]  # matches the empty text
            if at >= len(page):
                return None
            if page[at] == ">":
                self._at = at + 1
                self._is_self_closed = at > begin and page[at - 1] == "/"
                return found
            name = _ATTRIBUTE_NAME.match(page, at)
            if name is None:  # a lone equals sign
                self._at = at + 1
                continue
            self._at = name.end()
            value = self._value()
            if value is None:
                return None
            key = name.group()[:_VALUE_MAX].lower()
            if len(found) >= _ATTRIBUTES_MAX:
                self.cut_count += 1
            elif key not in found:
                size_max = _RAW_MAX if key == _PAGE_ATTRIBUTE else _VALUE_MAX
                found[key] = self._cut(html.unescape(value[:size_max]), len(value), size_max)

    def _value(self) -> str | None:
        """The value behind a name, empty without one; None when its quote has no end."""
        equals = _EQUALS.match(self.page, self._at)
        if equals is None:
            return ""
        at = equals.end()
        quote = self.page[at : at + 1]
        if quote in ('"', "'") and quote:
            end = self.page.find(quote, at + 1)
            if end < 0:
                return None
            self._at = end + 1
            return self.page[at + 1 : end]
        found = _UNQUOTED.match(self.page, at)
        assert found is not None  # matches the empty text
        self._at = found.end()
        return found.group()

    def _is_foreign(self) -> bool:
        return bool(self._foreign) and self._foreign[-1] in _FOREIGN

    def _open_foreign(self, tag: Start) -> bool:
        """Whether a tag that opens belongs to foreign content, in which it has no raw text."""
        self._foreign_raw = ""
        name = tag.name
        if self._is_foreign():
            around = self._foreign[-1]
            if name in _BREAKS_OUT or (
                name == "font" and not tag.attributes.keys().isdisjoint(("color", "face", "size"))
            ):
                self._break_out()
                return False
            if not self._is_self_closed:
                self._foreign_raw = name if name in ("script", "style") else ""
                if name in _FOREIGN or name in _INTEGRATION[around]:
                    self._push(name)
            return True
        if name in _FOREIGN and not self._is_self_closed:
            self._push(name)
        return False

    def _push(self, name: str) -> None:
        if len(self._foreign) < _FOREIGN_MAX:
            self._foreign.append(name)
        else:
            self.cut_count += 1

    def _break_out(self) -> None:
        while self._is_foreign():
            self._foreign.pop()

    def _close(self, name: str) -> None:
        self._foreign_raw = ""
        if name in ("p", "br"):
            self._break_out()
            return
        if name in self._foreign:
            while self._foreign.pop() != name:
                pass

    def _raw(self, name: str) -> Iterator[Token]:
        """The content of an element in which no tag counts, up to its end tag or the end of the page."""
        begin = self._at
        end = self._find_end_tag(name)
        self._at = end
        text = self.page[begin : min(end, begin + _RAW_MAX)]
        text = html.unescape(text) if name in ("title", "textarea") else text
        yield Text(self._cut(text, end - begin, _RAW_MAX), name)

    def _find_end_tag(self, name: str) -> int:
        if name in self._absent:
            return len(self.page)
        found = re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE).search(self.page, self._at)
        if found is None:
            self._absent.add(name)
            return len(self.page)
        return found.start()

    def _after_comment(self, begin: int) -> int:
        """Behind the comment whose text begins there: ``>`` and ``->`` end it at once, then ``-->`` and ``--!>``."""
        for end in (">", "->"):
            if self.page.startswith(end, begin):
                return begin + len(end)
        found = None if "-->" in self._absent else _COMMENT_END.search(self.page, begin)
        if found is None:
            self._absent.add("-->")
            return len(self.page)
        return found.end()

    def _after(self, mark: str, begin: int) -> int:
        found = -1 if mark in self._absent else self.page.find(mark, begin)
        if found < 0:
            self._absent.add(mark)
            return len(self.page)
        return found + len(mark)

    def _cut(self, text: str, size: int, size_max: int = _TEXT_MAX) -> str:
        if size > size_max:
            self.cut_count += 1
        return text
