"""Canonical JSON: one value, one sequence of bytes. Whatever is hashed, signed or chained goes through here.

Follows RFC 8785 (JSON Canonicalization Scheme): keys sorted by UTF-16 code units, no white space, shortest
escapes, numbers as ECMAScript prints them. Refused instead of guessed at: NaN and infinities, integers that a
double cannot hold, keys that are not text, lone surrogates, and any type that JSON does not have.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from decimal import Decimal

#: Largest integer that every JSON reader keeps exactly (RFC 8785, section 3.2.2.3; IEEE 754 double).
INTEGER_MAX = 2**53 - 1
_DEPTH_MAX = 64
#: Made once: the log of commits is read through here, and ``json.dumps`` would make an encoder for every string.
_text = json.JSONEncoder(ensure_ascii=False).encode


def dumps(value: object) -> bytes:
    """The canonical bytes of ``value`` (dict, list, tuple, str, int, float, bool, None).

    Raises:
        ValueError: when ``value`` has no canonical form.
    """
    parts: list[str] = []
    _write(value, parts, 0)
    try:
        return "".join(parts).encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError("text with a lone surrogate has no canonical form") from error


def loads(data: bytes) -> object:
    """The value in ``data``, provided that ``data`` is its canonical form to the byte.

    Raises:
        ValueError: when ``data`` is not JSON, or not canonical (so no two byte strings mean the same).
    """
    try:
        value: object = json.loads(data)
    except RecursionError as error:
        raise ValueError("JSON is nested too deeply") from error
    if dumps(value) != data:
        raise ValueError("JSON is not in canonical form")
    return value


def digest(value: object) -> str:
    """SHA-256 of the canonical bytes of ``value``, as 64 lower-case hex digits."""
    return hashlib.sha256(dumps(value)).hexdigest()


def _write(value: object, parts: list[str], depth: int) -> None:
    if depth > _DEPTH_MAX:
        raise ValueError(f"nested deeper than {_DEPTH_MAX} levels")
    if isinstance(value, str):
        parts.append(_text(value))
    elif value is None:
        parts.append("null")
    elif isinstance(value, bool):
        parts.append("true" if value else "false")
    elif isinstance(value, int):
        if abs(value) > INTEGER_MAX:
            raise ValueError(f"integer {value} is beyond 2^53 - 1")
        parts.append(str(int(value)))
    elif isinstance(value, float):
        parts.append(_number(value))
    elif isinstance(value, Mapping):
        _write_mapping(value, parts, depth)
    elif isinstance(value, (list, tuple)):
        parts.append("[")
        for position, item in enumerate(value):
            if position:
                parts.append(",")
            _write(item, parts, depth + 1)
        parts.append("]")
    else:
        raise ValueError(f"{type(value).__name__} has no canonical form")


def _write_mapping(value: Mapping[object, object], parts: list[str], depth: int) -> None:
    keys = []
    for key in value:
        if not isinstance(key, str):
            raise ValueError(f"key {key!r} is not text")
        keys.append(key)
    parts.append("{")
    # The standard's order is that of UTF-16; for ASCII, nearly always, Python's own is the same and costs nothing.
    is_plain = all(map(str.isascii, keys))
    order = sorted(keys) if is_plain else sorted(keys, key=lambda text: text.encode("utf-16-be", "surrogatepass"))
    for position, key in enumerate(order):
        if position:
            parts.append(",")
        parts.append(_text(key))
        parts.append(":")
        _write(value[key], parts, depth + 1)
    parts.append("}")


def _number(value: float) -> str:
    # Outside this span ECMAScript switches to exponents that Python writes differently; nothing we record needs it.
    if not math.isfinite(value) or (value != 0 and not 1e-6 <= abs(value) <= INTEGER_MAX):
        raise ValueError(f"number {value!r} has no canonical form")
    # Python writes an exponent below 1e-4, ECMAScript only below 1e-6; the shortest digits are the same.
    return str(int(value)) if value.is_integer() else format(Decimal(repr(value)), "f")
