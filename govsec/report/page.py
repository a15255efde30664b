"""What every page has in common: one self-contained file that loads nothing and runs nothing.

Style and drawings are inside, a content security policy with the style's digest forbids everything else, and every
value is escaped on its way into the page: markup by Jinja, characters that make text look like another text by
:func:`govsec.report.catalog.plain`. ``base.html.j2`` has the frame (head, header, footer), ``base.css`` its style; a
page adds its own of each.
"""

from __future__ import annotations

import hashlib
import importlib.resources
from base64 import b64encode
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from govsec.report.catalog import plain


@dataclass(frozen=True, slots=True)
class LedgerRef:
    """Where the record lies in the ledger; printed, it is the head that finds a truncation later."""

    chain: str
    number: int
    digest: str
    held_by: tuple[str, ...]


def render_page(name: str, **values: object) -> str:
    """The page ``name`` (its template and style sheet) with ``values`` put in. Same values, same bytes."""
    style = _sheet("base") + _sheet(name)
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return _environment().get_template(f"{name}.html.j2").render(**values, style=style, style_digest=digest)


@cache
def _sheet(name: str) -> str:
    return importlib.resources.files("govsec.report").joinpath("templates", f"{name}.css").read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("govsec.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: plain(value) if type(value) is str else value,
    )
