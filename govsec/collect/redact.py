"""Cutting secrets out of text: once on the host before it is sent, once here before anything is stored.

Hashes, private keys, passwords in assignments, arguments and addresses. The same idea stands twice, as awk in the
script's prelude and as Python here, because neither side trusts the other: a host may be hostile, and an export lies in
files. A cut is visible as ``[cut]``.
"""

from __future__ import annotations

import re

from pydantic import JsonValue

CUT = "[cut]"

_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY.*?(-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.S), CUT),
    # crypt(3) and its relatives: a known prefix between dollar signs. "$host$uri" of nginx is not one.
    (
        re.compile(
            r"\$(?:1|2[abxy]?|5|6|7|y|gy|md5|sha1|sm3|apr1|scrypt|argon2[a-z]*|pbkdf2[a-z0-9-]*)"
            r"\$[./A-Za-z0-9$=,+-]{4,}"
        ),
        CUT,
    ),
    (re.compile(r"\{(?:SSHA|SHA|SMD5|MD5|CRYPT|SSHA256|SSHA512|PBKDF2)[^}]{0,20}\}[A-Za-z0-9+/=$.]{6,}"), CUT),
    (re.compile(r"SCRAM-SHA-256\$[A-Za-z0-9+/=:$]+"), CUT),
    (re.compile(r"\bmd5[0-9a-f]{32}\b"), CUT),
    (re.compile(r"(://)[^/@\s:]*:[^/@\s]*@"), r"\1" + CUT + "@"),
    (
        re.compile(
            r"((?:^|[\s?&;,'\"(-])[A-Za-z0-9_.-]{0,40}?(?:passwd|password|passphrase|passwort|pwd|secrets?|token|"
            r"bindpw|api_?key|access_?key|secret_?key|private_?key|auth_?key)=)(?:\"[^\"]*\"|'[^']*'|[^\s;&,]+)",
            re.I,
        ),
        r"\1" + CUT,
    ),
    # As settings and JSON write it: "splunk-token": "…", password("…"), pass = '…'.
    (
        re.compile(
            r"((?:passwd|password|passphrase|passwort|pwd|secret|token|(?<![a-z])pass)[\"']?\s{0,8}[=:(]\s{0,8})"
            r"(?:\"[^\"\n]+\"|'[^'\n]+')",
            re.I,
        ),
        r"\1" + CUT,
    ),
    (
        re.compile(
            r"((?:passwd|password|passphrase|passwort|pwd|secret|bindpw)\s{1,8}=\s{1,8}|\bbindpw\s+)[^\s=]+", re.I
        ),
        r"\1" + CUT,
    ),
    (
        re.compile(
            r"(--?(?:passwd|password|pass|passphrase|token|secret|requirepass|masterauth|api-key|auth)[ =]+)"
            r"(?:\"[^\"]*\"|'[^']*'|\S+)",
            re.I,
        ),
        r"\1" + CUT,
    ),
    (
        re.compile(r"(?<![A-Za-z_-])((?:requirepass|masterauth|sentinel auth-pass \S+)\s+)(?:\"[^\"\n]*\"|\S+)", re.I),
        r"\1" + CUT,
    ),
    (re.compile(r"(\b(?:mysql|mariadb)[a-z-]{0,12}\b[^|;\n]{0,200}?\s-p)[^\s]+"), r"\1" + CUT),
    (re.compile(r"(\b(?:redis-cli|sshpass)\b[^|;\n]{0,200}?\s-[ap]\s?)\S+"), r"\1" + CUT),
    (re.compile(r"(authorization:?\s*(?:basic|bearer)\s+)[^\s\"';]+", re.I), r"\1" + CUT),
    (re.compile(r"(\b(?:PGPASSWORD|MYSQL_PWD|REDISCLI_AUTH)=)\S+"), r"\1" + CUT),
)


#: What at least one rule needs. Nearly every text of a fact has none of it, and is done after one look.
_HINT = re.compile(
    r"[$]|PRIVATE KEY|\{(?:SSHA|SHA|SMD5|MD5|CRYPT|PBKDF2)|SCRAM-|md5|://|passw|passphrase|pwd|secret|token|bindpw|key=|"
    r"--?(?:pass|auth|api)|pass[\"']?\s{0,8}[=:(]|requirepass|masterauth|auth-pass|mysql|mariadb|redis|sshpass|authorization",
    re.I,
)


def redact(text: str) -> str:
    """``text`` with every secret that has a known form replaced by ``[cut]``."""
    if not _HINT.search(text):
        return text
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def redact_value(value: JsonValue) -> JsonValue:
    """The same for every text in plain JSON values; keys of mappings included, for a host chooses some of them."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {redact(key): redact_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [redact_value(item) for item in value]
    return value
