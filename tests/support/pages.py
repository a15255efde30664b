"""HTML pages as tests look at them: elements with their attributes, and the text."""

from __future__ import annotations

import re
from html.parser import HTMLParser


class Page(HTMLParser):
    """A page taken apart."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: list[str] = []
        #: Element, attribute, value.
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        """What a reader sees, with single spaces."""
        return " ".join(" ".join(self.texts).split())

    @property
    def ids(self) -> list[str]:
        """Every target that something can point at."""
        return [value for _, name, value in self.attributes if name == "id"]

    @property
    def links(self) -> list[str]:
        """Everything that points somewhere."""
        return [value for _, name, value in self.attributes if name in ("href", "src")]

    def part(self, target: str) -> str:
        """The markup from the element with that id up to the next one that has any."""
        found = re.search(f'id="{re.escape(target)}"(.*?)(?:id="|</main>)', self.html, re.DOTALL)
        assert found is not None, target
        return found[1]
