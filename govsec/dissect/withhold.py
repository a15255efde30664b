"""Takes secrets out of what HTTP carries before it becomes a message: passwords, cookies, tokens.

An attack may hide in a password field or a cookie as anywhere else. So of a secret the *shape* stays, and words of code
that no password needs: ``name=x&password=' or 1=1 --`` is kept as it is, ``password=Tr0ub4dor`` as ``password=x``. Of a
cookie or token stay expressions ``${…}`` alone.
"""

from __future__ import annotations

import re
from urllib.parse import quote_from_bytes, unquote_to_bytes

#: Headers whose value lets its holder in. Of ``authorization`` the scheme is kept.
SECRET_HEADERS = frozenset(
    {"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-auth-token", "x-csrf-token"}
)
_NAME = (
    rb"(?:[\w.%\[\]-]{0,48}?(?:passw|passphrase|passcode|pwd|secret|token|api_?key|session_?id|sessid|mima)"
    rb"[\w.%\[\]-]{0,32}|pass|pw|pin|otp)"
)
_FORM = re.compile(rb"((?:^|[?&;\n])" + _NAME + rb"=)([^&\s]*)", re.IGNORECASE)
_JSON = re.compile(rb'("' + _NAME + rb'"\s{0,8}:\s{0,8}")((?:[^"\\]|\\.)*)', re.IGNORECASE)
_PART = re.compile(
    rb'(name="?' + _NAME + rb'"?[^\r\n]{0,200}\r\n(?:[^\r\n]{1,200}\r\n){0,4}\r\n)([^\r\n]*)', re.IGNORECASE
)
_ELEMENT = re.compile(rb"(<(?:\w{1,32}:)?" + _NAME + rb"(?:\s[^<>]{0,200})?>)([^<]*)", re.IGNORECASE)
_EXPRESSION = re.compile(rb"\$\{[^\r\n]{0,300}\}")
_WORD = re.compile(rb"[A-Za-z0-9_\x80-\xff]+")
#: Words that stay: they are code in attacks, and no password that stands alone would be the worse for it.
_CODE = frozenset(
    b"or and not like union select insert update delete drop from where sleep benchmark waitfor delay char concat exec "
    b"xp_cmdshell information_schema script alert onerror onload img svg src javascript jndi ldap ldaps rmi dns lower "
    b"upper env etc passwd bin sh cmd cat null true false".split()
)


def has_secret(data: bytes) -> bool:
    """Whether a form, JSON, multipart or XML text has a field that is named like a secret."""
    return any(pattern.search(data) for pattern in (_FORM, _JSON, _PART, _ELEMENT))


def without_secrets(data: bytes) -> bytes:
    """A query, form, JSON, multipart or XML text in which fields named like a secret keep their shape only."""
    data = _FORM.sub(lambda match: match[1] + quote_from_bytes(_shape(_decoded(match[2])), "").encode("ascii"), data)
    for pattern in (_JSON, _PART, _ELEMENT):
        data = pattern.sub(lambda match: match[1] + _shape(match[2]), data)
    return data


def header_shape(name: str, value: bytes) -> bytes:
    """What is kept of a header of :data:`SECRET_HEADERS`."""
    scheme = re.match(rb"[A-Za-z-]{1,20}(?= )", value) if name.endswith("authorization") else None
    kept = _EXPRESSION.findall(_decoded(value))
    return b" ".join(([scheme[0]] if scheme else []) + kept)


def _decoded(value: bytes) -> bytes:
    # Twice: an attack that is encoded twice would otherwise lose its shape.
    return unquote_to_bytes(unquote_to_bytes(value.replace(b"+", b" ")))


def _shape(value: bytes) -> bytes:
    return _WORD.sub(lambda match: match[0] if len(match[0]) == 1 or match[0].lower() in _CODE else b"x", value)
