"""What a page is made of: texts, structure, and everything on it that leads elsewhere, seen or hidden.

One idea: numbers, dates and tokens change from visit to visit and are written alike, so what is left is what somebody
wrote. Links are kept by the host that they lead to; what stands in texts of scripts counts too, for that is where links
hide from those who read the source.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urljoin, urlsplit

from govsec.services.html import End, Reader, Start, Text
from govsec.services.pagestyle import Styles, background_of, hidden_why

_TEXTS_MAX = 20_000
_LINKS_MAX = 20_000
_SHOWN_MAX = 80
_SHOWN_URL_MAX = 2000
_DEPTH_MAX = 512
_SCRIPT_LINKS_MAX = 200
_FRAMES_DEPTH_MAX = 3
_VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "wbr")
)
#: A tag of these closes the one of its kind that is open.
_CLOSES_ITSELF = frozenset(["p", "li", "dt", "dd", "tr", "td", "th", "option"])
_ATTRIBUTE_OF = {
    "a": "href", "area": "href", "iframe": "src", "frame": "src", "script": "src", "form": "action", "embed": "src",
    "object": "data", "base": "href", "link": "href",
}  # fmt: skip
#: Looks ahead a bounded way: a text of nothing but ``a-a-a`` must not cost its square.
_TOKEN = re.compile(r"\b(?=[A-Za-z0-9_-]{0,63}[0-9])[A-Za-z0-9_-]{8,}\b")
_DIGITS = re.compile(r"[0-9]+(?:[.,:/-][0-9]+)*")
_BLANKS = re.compile(r"\s+")
_HAS_STYLE = re.compile("<style", re.IGNORECASE)
_REFRESH = re.compile(r"[0-9.]{0,10}[;,]?(?:url=)?[\"']?([^\"'>]+)", re.IGNORECASE)
_SCRIPT_URL = re.compile(r"(?:https?:)?\\?/\\?/([A-Za-z0-9][A-Za-z0-9.-]{2,200}\.[A-Za-z]{2,20})(?=[/\\:'\"?#\s)])")
#: What a script has no honest reason to do on a page of a portal, each with the word that reports use.
_TRICKS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("writes markup", re.compile(r"document\s*\.\s*write(?:ln)?\s*\(|\.insertAdjacentHTML\s*\(|\.innerHTML\s*=")),
    ("is packed", re.compile(r"eval\s*\(\s*function\s*\(\s*p\s*,\s*a\s*,\s*c|eval\s*\(\s*(?:atob|unescape)\s*\(")),
    ("builds text from numbers", re.compile(r"String\s*\.\s*fromCharCode\s*\(|\\x[0-9a-f]{2}\\x[0-9a-f]{2}\\x", re.I)),
    ("hides what it names", re.compile(r"\.style\s*\.\s*(?:display|visibility)\s*=\s*[\"'](?:none|hidden)")),
    ("asks who came from a search engine", re.compile(
        r"(?:document\.referrer|navigator\.userAgent)[^;]{0,200}(?:baidu|google|sogou|bing|spider|so\.com|360)", re.I)),
    ("leads elsewhere", re.compile(r"(?:window|top|self|document|parent)\s*\.\s*location(?:\.href)?\s*=[^=]"
                                   r"|location\s*\.\s*(?:replace|assign)\s*\(")),
)  # fmt: skip


#: What a visitor does: that a page then leads on or folds something away is what handlers are for.
_DEEDS = (
    "onclick", "ondblclick", "onmouse", "onkey", "onchange", "onsubmit", "oninput", "onselect", "onreset", "onblur",
    "onpointer", "ontouch", "oncontextmenu", "ondrag", "href", "xlink:href", "action", "formaction",
)  # fmt: skip
_DONE_BY_DEEDS = frozenset({"leads elsewhere", "hides what it names"})
_SCRIPT_ADDRESSES = ("href", "xlink:href", "src", "action", "formaction", "data")
#: Browsers leave out control characters before it and line ends within it.
_SCRIPT_SCHEME = re.compile(r"[\x00-\x20]*" + r"[\t\r\n]*".join("javascript:"), re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Link:
    """Something that leads elsewhere. ``kind``: the tag, refresh, text of script or of a handler."""

    kind: str
    host: str
    url: str
    text: str
    #: Why nobody sees it; empty when it is seen.
    hidden: str


@dataclass(slots=True)
class PageFacts:
    """One take of a page. ``texts`` in their order, as somebody wrote them, without figures."""

    url: str
    title: str = ""
    description: str = ""
    texts: list[str] = field(default_factory=list)
    hidden_texts: list[str] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    structure: Counter[str] = field(default_factory=Counter)
    #: Digest of a script's text, and what it does that has no honest reason.
    scripts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    cut_count: int = 0


def read_page(page: str, url: str) -> PageFacts:
    """The facts of a page that was found at ``url``."""
    return _Builder(url).build(page)


def written_alike(text: str) -> str:
    """``text`` with one blank between words, figures as 0 and tokens as ~, so that two visits give the same."""
    text = _BLANKS.sub(" ", unicodedata.normalize("NFKC", text)).strip()
    return _DIGITS.sub("0", _TOKEN.sub("~", text))


def digest_of(text: str) -> str:
    """Short and stable; no secret depends on it."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


@dataclass(slots=True)
class _Open:
    name: str
    hidden: str
    background: str


class _Builder:
    def __init__(self, url: str) -> None:
        self._facts = PageFacts(url)
        self._base = url
        self._open: list[_Open] = []
        self._styles = Styles()
        self._anchor: Link | None = None
        self._anchor_text: list[str] = []
        self._frames_depth = 0

    def build(self, page: str) -> PageFacts:
        self._read(page)
        return self._facts

    def _read(self, page: str) -> None:
        # Styles hold for what stands before them too: they are read first.
        if _HAS_STYLE.search(page):
            for token in Reader(page).tokens():
                if isinstance(token, Text) and token.raw_of == "style":
                    self._styles.add(token.text)
        reader = Reader(page)
        for token in reader.tokens():
            if isinstance(token, Start):
                self._start(token)
            elif isinstance(token, End):
                self._end(token.name)
            else:
                self._text(token)
        self._close_anchor()
        self._facts.cut_count += reader.cut_count

    def _frame(self, page: str, hidden: str) -> None:
        """The page that stands in a frame's attribute, as part of this one."""
        if self._frames_depth >= _FRAMES_DEPTH_MAX:
            self._facts.cut_count += 1
            return
        self._close_anchor()
        around, base = self._open, self._base
        # No end tag has this name.
        self._open = [_Open("#srcdoc", hidden, "#ffffff")]
        self._frames_depth += 1
        self._read(page)
        self._frames_depth -= 1
        self._open, self._base = around, base

    def _start(self, tag: Start) -> None:
        style = self._styles.of(tag.name, tag.attributes)
        around = self._open[-1] if self._open else _Open("", "", "#ffffff")
        hidden = around.hidden or hidden_why(tag.name, tag.attributes, style, around.background)
        self._shape(tag.name)
        self._links(tag, hidden)
        self._handlers(tag.attributes)
        if tag.name == "iframe" and (page := tag.attributes.get("srcdoc")):
            self._frame(page, hidden)
        if tag.name == "meta":
            self._meta(tag.attributes)
        if tag.name in _VOID:
            return
        if tag.name in _CLOSES_ITSELF and self._open and self._open[-1].name == tag.name:
            self._open.pop()
            around = self._open[-1] if self._open else _Open("", "", "#ffffff")
            hidden = around.hidden or hidden_why(tag.name, tag.attributes, style, around.background)
        if len(self._open) < _DEPTH_MAX:
            self._open.append(_Open(tag.name, hidden, background_of(tag.attributes, style, around.background)))
        else:
            self._facts.cut_count += 1

    def _end(self, name: str) -> None:
        if name == "a":
            self._close_anchor()
        for at in range(len(self._open) - 1, max(-1, len(self._open) - 32), -1):
            if self._open[at].name == name:
                del self._open[at:]
                return

    def _shape(self, name: str) -> None:
        """The tag below its two nearest: what is left of a page's shape when its texts change."""
        path = "/".join([*(one.name for one in self._open[-2:]), name])
        if path in self._facts.structure or len(self._facts.structure) < _TEXTS_MAX:
            self._facts.structure[path] += 1

    def _text(self, token: Text) -> None:
        if token.raw_of in ("style", "xmp", "noembed", "noframes"):
            return
        if token.raw_of == "script":
            self._script(token.text)
            return
        text = written_alike(token.text)
        if not text or text in "0~|<>·-–":
            return
        if token.raw_of == "title":
            self._facts.title = self._facts.title or text[:300]
            return
        if self._anchor is not None:
            self._anchor_text.append(text[:_SHOWN_MAX])
        texts = self._facts.hidden_texts if self._open and self._open[-1].hidden else self._facts.texts
        if len(texts) < _TEXTS_MAX:
            texts.append(text)
        else:
            self._facts.cut_count += 1

    def _meta(self, attributes: Mapping[str, str]) -> None:
        content = attributes.get("content", "")
        if attributes.get("name", "").lower() in ("keywords", "description"):
            self._facts.description += f" {written_alike(content)[:1000]}"
        if attributes.get("http-equiv", "").lower() == "refresh" and (
            found := _REFRESH.match(_BLANKS.sub("", content)[:_SHOWN_URL_MAX])
        ):
            self._link("refresh", found[1], "")

    def _handlers(self, attributes: Mapping[str, str]) -> None:
        """Scripts that stand in attributes."""
        for name, value in attributes.items():
            is_deed = name.startswith(_DEEDS)
            if name.startswith("on"):
                self._script(value, is_deed=is_deed)
            elif name in _SCRIPT_ADDRESSES and (scheme := _SCRIPT_SCHEME.match(value)):
                self._script(unquote(value[scheme.end() :]), is_deed=is_deed)

    def _links(self, tag: Start, hidden: str) -> None:
        name = _ATTRIBUTE_OF.get(tag.name)
        if tag.name == "a" and "href" not in tag.attributes:
            name = "xlink:href"
        if name is None or name not in tag.attributes:
            return
        if tag.name == "base":
            self._base = urljoin_safe(self._base, tag.attributes[name])
            return
        if tag.name == "link" and "stylesheet" not in tag.attributes.get("rel", "").lower():
            return
        if tag.name == "a":
            self._close_anchor()
        link = self._link(tag.name, tag.attributes[name], hidden)
        if tag.name == "a" and link is not None:
            self._anchor, self._anchor_text = link, []

    def _link(self, kind: str, target: str, hidden: str) -> Link | None:
        url = urljoin_safe(self._base, _BLANKS.sub("", target)[:2000])
        host = host_of(url)
        if not host:
            return None
        if len(self._facts.links) >= _LINKS_MAX:
            self._facts.cut_count += 1
            return None
        link = Link(kind, host, url[:300], "", hidden)
        self._facts.links.append(link)
        return link

    def _close_anchor(self) -> None:
        if self._anchor is None:
            return
        done = self._anchor
        text = " ".join(self._anchor_text)[:_SHOWN_MAX]
        at = next(at for at in range(len(self._facts.links) - 1, -1, -1) if self._facts.links[at] is done)
        self._facts.links[at] = Link(done.kind, done.host, done.url, text, done.hidden)
        self._anchor, self._anchor_text = None, []

    def _script(self, text: str, *, is_deed: bool = False) -> None:
        if not text.strip():
            return
        tricks = tuple(
            word for word, pattern in _TRICKS if not (is_deed and word in _DONE_BY_DEEDS) and pattern.search(text)
        )
        if len(self._facts.scripts) < _TEXTS_MAX:
            self._facts.scripts[digest_of(written_alike(text))] = tricks
        for host in dict.fromkeys(_hosts_in(text)):
            # Where a click leads is a link, whoever wrote it so.
            self._link("text of handler" if is_deed else "text of script", f"//{host}/", "script")


def urljoin_safe(base: str, target: str) -> str:
    """The URL that a link means; empty when it is none."""
    try:
        return urljoin(base, target)
    except ValueError:
        return ""


def host_of(url: str) -> str:
    """The host that a web address leads to, in lower case; empty for what leads nowhere."""
    try:
        parts = urlsplit(url)
        return (parts.hostname or "").rstrip(".").lower()[:253] if parts.scheme in ("http", "https", "ftp") else ""
    except ValueError:
        return ""


def _hosts_in(text: str) -> Iterator[str]:
    for count, found in enumerate(_SCRIPT_URL.finditer(text)):
        if count >= _SCRIPT_LINKS_MAX:
            return
        yield found[1].lower()
