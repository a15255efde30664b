"""Whether an answer is what a step expects: the first thing that is not, with what was expected and what was seen.

What was seen is told in as few bytes as help: an answer of an identity or payment service is full of what only its user
may read. Of a body there is its size and, where it is a page, its title.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from govsec.serviceentry import Expectation, matcher
from govsec.services.values import MISSING, at_path, parse_json
from govsec.web.exchange import Answer

_SHOWN_MAX = 120
#: A title stands in the head of a page; bounded, so that a page of a million ``<title`` costs nothing.
_TITLE = re.compile(r"<title[^<>]{0,200}>([^<]{0,200})", re.IGNORECASE)
_TITLE_WITHIN = 64 << 10


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong in a step: ``what`` names the expectation or the phase; the rest is for people."""

    what: str
    expected: str
    seen: str
    #: OpenSSL's number for what is wrong with a certificate, else 0.
    tls_code: int = 0


def judge_answer(expect: Expectation, answer: Answer) -> Failure | None:
    """The first expectation that the answer does not meet."""
    return next(_failures(expect, answer), None)


def _failures(expect: Expectation, answer: Answer) -> Iterator[Failure]:
    if answer.status not in expect.status:
        wanted = " or ".join(map(str, expect.status))
        yield Failure("status", wanted, f"{answer.status}; {_body(answer)}")
    for name, wanted in expect.headers.items():
        seen = answer.header(name)
        if seen is None or wanted.lower() not in seen.lower():
            yield Failure(
                f"header {name}", f"contains {_cut(wanted)}", "no such header" if seen is None else _cut(seen)
            )
    if not (expect.body_contains or expect.body_lacks or expect.body_matches or expect.json_equals):
        return
    text = answer.text()
    for wanted in expect.body_contains:
        if wanted not in text:
            yield Failure("body", f"contains {_cut(wanted)}", f"does not; {_body(answer)}")
    for unwanted in expect.body_lacks:
        if unwanted in text:
            yield Failure("body", f"lacks {_cut(unwanted)}", f"contains it; {_body(answer)}")
    for pattern in expect.body_matches:
        if not _matches(pattern, text):
            yield Failure("body", f"matches {_cut(pattern)}", f"does not; {_body(answer)}")
    yield from _json_failures(expect, answer)


def _json_failures(expect: Expectation, answer: Answer) -> Iterator[Failure]:
    if not expect.json_equals:
        return
    value = parse_json(answer)
    if value is MISSING:
        yield Failure("json", "an answer in JSON", f"none; {_body(answer)}")
        return
    for path, wanted in expect.json_equals.items():
        seen = at_path(value, path)
        # 1 and true are equal in Python, and are not in JSON.
        if seen is MISSING or seen != wanted or isinstance(seen, bool) != isinstance(wanted, bool):
            shown = "nothing" if seen is MISSING else _value(seen)
            yield Failure(f"json {path}", _cut(json.dumps(wanted, ensure_ascii=False)), shown)


def _matches(pattern: str, text: str) -> bool:
    try:
        matcher(pattern).validate_python(text)
    except ValidationError:
        return False
    return True


def _value(seen: object) -> str:
    return "a list or object" if isinstance(seen, (dict, list)) else _cut(json.dumps(seen, ensure_ascii=False))


def _body(answer: Answer) -> str:
    found = _TITLE.search(answer.text()[:_TITLE_WITHIN])
    title = f", a page titled {_cut(' '.join(found[1].split()))}" if found else ""
    return f"a body of {len(answer.body)} bytes{title}"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 1] + "…"
