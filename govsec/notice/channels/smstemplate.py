"""The template language of SMS gateways: values put into text, a few filters, nothing that runs.

``{name}`` is a value, ``{name|filter}`` the value through filters, ``{{`` and ``}}`` are braces. There are no
conditions, loops, attributes or calls, and what is put in is never read as a template again. Values are bytes, because
some gateways key one HMAC with the raw bytes of another.

Filters: ``pct`` (RFC 3986), ``json`` (a JSON string with its quotes), ``xml``, ``base64``, ``hex``, ``upper`` and
``lower``.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable, Mapping
from urllib.parse import quote_from_bytes

from govsec.errors import ConfigurationError

_PIECE = re.compile(r"\{\{|\}\}|\{([a-z][a-z0-9_]*)((?:\|[a-z0-9]+)*)\}|[{}]")
_RENDERED_SIZE_MAX = 64 << 10
_Filter = Callable[[bytes, str], bytes]


def _json(data: bytes, charset: str) -> bytes:
    return json.dumps(data.decode(charset), ensure_ascii=False).encode(charset)


def _xml(data: bytes, charset: str) -> bytes:
    # XML 1.0, 2.2: two characters that text may have, and XML may not.
    return html.escape(data.decode(charset).replace("\ufffe", "").replace("\uffff", "")).encode(charset)


FILTERS: Mapping[str, _Filter] = {
    "pct": lambda data, _: quote_from_bytes(data, safe="-_.~").encode(),
    "json": _json,
    "xml": _xml,
    "base64": lambda data, _: base64.b64encode(data),
    "hex": lambda data, _: data.hex().encode(),
    "upper": lambda data, _: data.upper(),
    "lower": lambda data, _: data.lower(),
}


class Template:
    """One text with places for values. ``guard``: a filter for places that name none."""

    def __init__(self, text: str, where: str, *, guard: str = "") -> None:
        """Raises ``ConfigurationError`` when a brace stands alone or a filter is unknown."""
        self._pieces: list[str | tuple[str, tuple[str, ...]]] = []
        end = 0
        for found in _PIECE.finditer(text):
            self._pieces.append(text[end : found.start()])
            end = found.end()
            if found[0] in ("{{", "}}"):
                self._pieces.append(found[0][0])
            elif found[1] is None:
                raise ConfigurationError(f"{where}: a brace alone; {{{{ and }}}} are written for braces")
            else:
                filters = tuple(found[2].split("|")[1:]) or ((guard,) if guard else ())
                for name in filters:
                    if name not in FILTERS:
                        raise ConfigurationError(f"{where}: no filter {name}: there are {', '.join(FILTERS)}")
                self._pieces.append((found[1], filters))
        self._pieces.append(text[end:])
        self._where = where

    def render(self, value_of: Callable[[str], bytes], charset: str) -> bytes:
        """The text with its values. ``value_of`` raises for a name that there is not.

        Raises:
            ConfigurationError: it grows without measure. ``UnicodeError``: a value is not in the charset.
        """
        parts: list[bytes] = []
        for piece in self._pieces:
            if isinstance(piece, str):
                parts.append(piece.encode(charset))
                continue
            name, filters = piece
            data = value_of(name)
            for each in filters:
                data = FILTERS[each](data, charset)
            parts.append(data)
        whole = b"".join(parts)
        if len(whole) > _RENDERED_SIZE_MAX:
            raise ConfigurationError(f"{self._where}: becomes longer than {_RENDERED_SIZE_MAX} bytes")
        return whole
