"""Values that go from one step into the next, and how they are put into a request and kept out of every report.

One idea: a value is put in where it cannot change what stands around it: percent-encoded in a URL, as a JSON text in
JSON, encoded in a form. Where words for people are made, every secret and every value that was kept is masked.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from urllib.parse import quote, quote_plus, urlencode

from pydantic import JsonValue

from govsec.clock import Clock
from govsec.errors import ConfigurationError
from govsec.secretfile import read_secret
from govsec.serviceentry import PLACEHOLDER, Keep, SecretConfig, StepConfig
from govsec.web.exchange import Answer

#: A value that is kept for later steps: a token, a number of a form.
_KEPT_SIZE_MAX = 16 << 10
#: Below this a kept value is a word of everyday ("1", "ok"), and masking it would make reports unreadable.
_MASKED_SIZE_MIN = 6
_PATH_STEP = re.compile(r"([^.\[\]]+)|\[(\d{1,6})\]")
_PATH = re.compile(r"(?:[^.\[\]]+|\[\d{1,6}\])(?:\.[^.\[\]]+|\[\d{1,6}\])*")
MISSING = object()


def secret_values(secrets: Mapping[str, SecretConfig], clock: Clock) -> dict[str, str]:
    """The secrets as they are now; codes of this moment for those that are keys (RFC 6238, 30 s, SHA-1, six digits).

    Raises:
        ConfigurationError: a file is missing, open to others, or no text.
    """
    values = {}
    for name, secret in secrets.items():
        data = read_secret(secret.file)
        try:
            values[name] = _code(data, clock) if secret.totp else data.decode("utf-8")
        except (UnicodeDecodeError, binascii.Error) as error:
            what = "a base32 key" if secret.totp else "UTF-8 text"
            raise ConfigurationError(f"secret {name}: {secret.file} does not hold {what}") from error
    return values


def _code(key: bytes, clock: Clock) -> str:
    """Source: RFC 4226 section 5.3 (dynamic truncation), RFC 6238 section 4."""
    plain = bytes(key).replace(b" ", b"").upper()
    secret = base64.b32decode(plain + b"=" * (-len(plain) % 8))
    counter = int(clock.now().timestamp()) // 30
    digest = hmac.new(secret, counter.to_bytes(8, "big"), hashlib.sha1).digest()
    at = digest[-1] & 15
    return f"{(int.from_bytes(digest[at : at + 4], 'big') & 0x7FFFFFFF) % 1_000_000:06d}"


def fill(text: str, values: Mapping[str, str]) -> str:
    """``text`` with its placeholders replaced."""
    return PLACEHOLDER.sub(lambda found: values[found[1]], text)


def fill_url(url: str, values: Mapping[str, str]) -> str:
    """A URL with its placeholders replaced, each percent-encoded: a value can be no new host, path or query."""
    return PLACEHOLDER.sub(lambda found: quote(values[found[1]], safe=""), url)


def body_of(step: StepConfig, values: Mapping[str, str]) -> tuple[bytes | None, str | None]:
    """What a step sends, and its content type where the step's kind of body has one."""
    if step.form is not None:
        form = {name: fill(text, values) for name, text in step.form.items()}
        return urlencode(form).encode("ascii"), "application/x-www-form-urlencoded"
    if step.json_body is not None:
        return json.dumps(_fill_json(step.json_body, values), ensure_ascii=False).encode("utf-8"), "application/json"
    return (None, None) if step.body is None else (fill(step.body, values).encode("utf-8"), None)


def _fill_json(value: JsonValue, values: Mapping[str, str]) -> JsonValue:
    if isinstance(value, str):
        return fill(value, values)
    if isinstance(value, dict):
        return {key: _fill_json(item, values) for key, item in value.items()}
    return [_fill_json(item, values) for item in value] if isinstance(value, list) else value


def parse_json(answer: Answer) -> object:
    """The JSON of an answer, or :data:`MISSING` when it is none."""
    try:
        value: object = json.loads(answer.body)
    except (ValueError, RecursionError):
        return MISSING
    return value


def at_path(value: object, path: str) -> object:
    """What stands at a path as ``data.items[0].id``, or :data:`MISSING`."""
    if not _PATH.fullmatch(path):
        return MISSING
    for found in _PATH_STEP.finditer(path):
        if found[1] is not None:
            value = value.get(found[1], MISSING) if isinstance(value, dict) else MISSING
        else:
            at = int(found[2])
            value = value[at] if isinstance(value, list) and at < len(value) else MISSING
    return value


def kept_value(keep: Keep, answer: Answer) -> str | None:
    """The value that a later step needs; None when the answer has none, or one that is too long."""
    if keep.header is not None:
        found = answer.header(keep.header)
    elif keep.json_path is not None:
        value = at_path(parse_json(answer), keep.json_path)
        found = value if isinstance(value, str) else str(value) if isinstance(value, int | float) else None
    else:
        _, sep, rest = answer.text().partition(keep.after or "")
        found, end, _ = rest.partition(keep.before)
        found = found if sep and end else None
    return None if found is None or len(found) > _KEPT_SIZE_MAX else found


class Mask:
    """Replaces secrets and kept values in words that people read, in every form in which a step may have sent them."""

    def __init__(self) -> None:
        self._hidden: dict[str, str] = {}

    def hide(self, name: str, value: str, *, is_secret: bool) -> None:
        """From now on ``value`` is shown as its name."""
        if not is_secret and len(value) < _MASKED_SIZE_MIN:
            return
        for form in (value, quote(value, safe=""), quote_plus(value), json.dumps(value)[1:-1], _basic(value)):
            if form:
                self._hidden[form] = f"‹{name}›"

    def plain(self, text: str) -> str:
        """``text`` without what is hidden; the longest is replaced first, so no part of it stays."""
        for form in sorted(self._hidden, key=len, reverse=True):
            text = text.replace(form, self._hidden[form])
        return text


def _basic(value: str) -> str:
    return base64.b64encode(value.encode("utf-8", "surrogatepass")).decode("ascii")
