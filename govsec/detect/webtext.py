"""What a web request really says: decoded as often as servers do, without what attackers put in to break words apart.

One idea: signatures are matched against a plain form, never against the wire. Decoding twice finds what one proxy
leaves to the next; more rounds find nothing that a server would understand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

from govsec.dissect.messages import HttpRequest

#: Of each field; what comes behind is not looked at.
FIELD_SIZE_MAX = 8192
_FIELDS_MAX = 100
_ROUNDS = 2
_WIDE = re.compile(r"%u([0-9a-f]{4})", re.IGNORECASE)
_RUN_COMMENT = re.compile(r"/\*!\d{0,6}([^*]{0,200})\*/")
_COMMENT = re.compile(r"/\*.{0,64}?\*/", re.DOTALL)
_SPACE = re.compile(r"[\s\x00]+")
#: Log4j's lookups that stand for one letter: ${lower:j}, ${upper:J}, ${::-j}, ${env:NO:-j}.
_LOOKUP = re.compile(r"\$\{(?:(?:lower|upper):([^${}]{1,8})|[^${}]{0,40}:-([^${}]{0,8}))\}", re.IGNORECASE)
_ENTITY = re.compile(r"&#(x[0-9a-f]{1,4}|\d{1,5});", re.IGNORECASE)


def fields(request: HttpRequest) -> Iterator[tuple[str, str]]:
    """Name and plain form of each part of a request that a client fills in."""
    yield "target", plain(request.target, is_form=True)
    if request.body:
        yield "body", plain(request.body[:FIELD_SIZE_MAX].decode("latin-1"), is_form=True)
    for name, value in request.headers[:_FIELDS_MAX]:
        yield name, plain(value)


def plain(text: str, *, is_form: bool = False) -> str:
    """``text`` decoded, in lower case, comments of SQL and runs of white space as one space."""
    text = text[:FIELD_SIZE_MAX]
    for _ in range(_ROUNDS):
        if is_form:
            text = text.replace("+", " ")
        decoded = unquote_to_bytes(_WIDE.sub(_code_point, text).encode("utf-8", "surrogatepass"))
        text = decoded.decode("utf-8", "replace")
    text = _ENTITY.sub(_entity, text)
    for _ in range(8):  # nested lookups, from the inside
        shorter = _LOOKUP.sub(lambda found: found[1] or found[2] or "", text)
        if shorter == text:
            break
        text = shorter
    # MySQL runs what stands in /*!50000 … */; other comments are only put between words.
    return _SPACE.sub(" ", _COMMENT.sub(" ", _RUN_COMMENT.sub(r" \1 ", text))).lower()


def _code_point(found: re.Match[str]) -> str:
    code = int(found[1], 16)
    return chr(code) if not 0xD800 <= code < 0xE000 else "?"


def _entity(found: re.Match[str]) -> str:
    code = int(found[1][1:], 16) if found[1][0] in "xX" else int(found[1])
    return chr(code) if code < 0xD800 else "?"
