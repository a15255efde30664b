"""Cutting secrets out of text: once on the host before it is sent, once here before anything is read or stored.

Hashes, private keys, tokens of known form, and whatever stands where a password is written: in assignments, settings,
arguments, statements, headers, addresses, and sentences in Chinese. The same idea stands twice, as awk in the script's
prelude and as Python here, because neither side trusts the other: a host may be hostile, and an export lies in files. A
rule that is added on one side is added on the other; a test holds them against each other. A cut shows as ``[cut]``.

Line by line, and a rule is tried only on a line that has one of its hints: a host sends half a megabyte, and of its
lines few have any. What is cut without need costs an answer, so plain switches (``yes``, ``no`` …) and the words that
systems use for settings of passwords stay.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple

from pydantic import JsonValue

CUT = "[cut]"

#: A name that a password, a key or a token goes by; "pass" and "pw" alone only as a word or the end of one.
_NAME = (
    r"(?:passwd|password|passphrase|passwort|passcode|pwd|secrets?|token|credentials?|bindpw|rootpw|psk|"
    r"(?:api|access|secret|private|auth|signing|encryption|master|account|shared|preshared|storage)[_-]?key|"
    r"secret[_-]?key[_-]?base|(?<![a-z])(?:pass|pw)|(?-i:(?<=[a-z])Pass))"
)
_NAMES = "pass|pwd|secret|token|credential|pw|psk|key"
#: What is no secret, whatever it is called: switches, sources of nsswitch, kinds of hashes as facts have them.
_SWITCHES = frozenset(
    [
        *("yes", "no", "true", "false", "on", "off", "0", "1", "null", "none", "nil", "enabled", "disabled", "locked"),
        *("required", "requisite", "sufficient", "optional", "files", "compat", "nis", "sss", "db"),
        *("scram", "md5", "plain", "other", "unknown", "set", "empty", CUT),
    ]
)
_PLAIN = rf"(?![\"']?(?:{'|'.join(map(re.escape, sorted(_SWITCHES)))})?[\"']?\s*(?:[\s;,)}}\]]|$))"
#: sudoers writes its tags like names: ``NOPASSWD: ALL``.
_TAG = r"(?-i:PASSWD)"
_QUOTED = r"(?:\"(?:[^\"\\]|\\.)*\"|'[^']*')"


#: Boundaries of words as ASCII has them: a token right behind a Chinese character begins there.
_FLAGS = re.IGNORECASE | re.ASCII


class _Rule(NamedTuple):
    hints: tuple[str, ...]
    pattern: re.Pattern[str]
    replacement: str | Callable[[re.Match[str]], str]


def _rule(hints: str, *parts: str, to: str | Callable[[re.Match[str]], str] = rf"\1{CUT}") -> _Rule:
    return _Rule(tuple(hints.split("|")), re.compile("".join(parts), _FLAGS), to)


def _acl(match: re.Match[str]) -> str:
    """A user of a Redis access list without its passwords (``>clear``, ``#digest``, ``<removed``)."""
    return re.sub(r"(?<=\s)[><#!][^\s\"]+", CUT, match[0])


#: What goes over several lines; looked for in the whole text.
_WHOLE = (
    _rule(
        "private key",
        r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?s:.*?)(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\Z)",
        to=CUT,
    ),
    _rule("private-lines", r"(Private-Lines:\s*\d+\s*\n)(?:[ ]?[A-Za-z0-9+/=]+\n?)+"),
)
_FORMS = (
    # crypt(3) and its relatives: a known prefix between dollar signs. "$host$uri" of nginx is not one.
    _rule(
        "$",
        r"\$(?:1|2[abxy]?|5|6|7|y|gy|md5|sha1|sm3|apr1|scrypt|argon2[a-z]*|pbkdf2[a-z0-9-]*|A)\$[./A-Za-z0-9$=,+-]{4,}",
        to=CUT,
    ),
    _rule("grub.pbkdf2", r"grub\.pbkdf2\.[a-z0-9]+\.[0-9]+\.[0-9A-F.]+", to=CUT),
    _rule(
        "{s|{m|{c|{p",
        r"\{(?:SSHA|SHA|SMD5|MD5|CRYPT|SSHA256|SSHA512|PBKDF2|PLAIN|CLEARTEXT|SM3)[^}\s]{0,20}\}[^\s,;\"']{3,}",
        to=CUT,
    ),
    _rule("scram-", r"SCRAM-SHA-(?:1|256|512)\$[A-Za-z0-9+/=:$]+", to=CUT),
    _rule("md5", r"\bmd5[0-9a-f]{32}\b", to=CUT),
    _rule("*", r"(?-i:\*[0-9A-F]{40}\b)", to=CUT),
    # Tokens that tell themselves what they are.
    _rule("eyj", r"(?-i:\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?)", to=CUT),
    _rule("akia|asia", r"(?-i:\bA[KS]IA[0-9A-Z]{16}\b)", to=CUT),
    _rule("ltai|akid", r"(?-i:\b(?:LTAI[0-9A-Za-z]{12,26}|AKID[0-9A-Za-z]{13,40})\b)", to=CUT),
    _rule("aiza", r"(?-i:\bAIza[0-9A-Za-z_-]{35})", to=CUT),
    _rule("gh|glpat-", r"(?-i:\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}))", to=CUT),
    _rule("xox|k_live|sk-", r"(?-i:\b(?:xox[abprs]-[A-Za-z0-9-]{10,}|[sr]k_live_[A-Za-z0-9]{16,}|"
          r"sk-(?:[a-z]{3,5}-)?[A-Za-z0-9]{20,}))", to=CUT),
    _rule("npm_|age-secret", r"(?-i:\b(?:npm_[A-Za-z0-9]{30,}|AGE-SECRET-KEY-1[0-9A-Z]{20,}))", to=CUT),
)  # fmt: skip
_PLACES = (
    # Addresses: user:password@, token@, and what a query carries.
    _rule("://", r"(://)(?:[^/@\s:\"']*:[^/@\s\"']*|[A-Za-z0-9_-]{16,})@", to=rf"\1{CUT}@"),
    _rule("?|&|;", r"([?&;](?:[a-z]+[_-])?(?:token|key|sig|signature|secret|password|passwd|pwd|code|ticket|session|"
          rf"sessionid|auth)=)(?!{re.escape(CUT)})[^&\s#\"'<>]+"),
    # name = value, "name": "value", name("value"), name: value, <name>value</name>.
    _rule(_NAMES, rf"({_NAME}[\"']?[ \t]{{0,8}}=[ \t]{{0,8}}){_PLAIN}(?:{_QUOTED}|[^\s;&,\"'<>][^\s;&,<>]*)"),
    _rule(_NAMES, rf"({_NAME}[\"']?[ \t]{{0,8}}[=:(][ \t]{{0,8}}){_PLAIN}{_QUOTED}"),
    _rule(_NAMES, rf"({_NAME}(?<!{_TAG})[ \t]{{0,8}}:[ \t]{{1,8}}){_PLAIN}(?![|>&*!])[^\s\"'].*"),
    _rule(_NAMES, rf"(<[A-Za-z0-9_.:-]{{0,40}}{_NAME}>)[^<]+"),
    # Arguments of commands.
    _rule("-p|-t|-s|-r|-m|-a", r"((?:^|\s)--?(?:[a-z]+-)?(?:passwd|password|pass|passphrase|passin|passout|token|"
          rf"secret|requirepass|masterauth|api-key|auth)(?:[ \t]+|=)){_PLAIN}(?!-)(?:{_QUOTED}|\S+)"),
    _rule("curl|wget|http", r"(\b(?:curl|wget|http)\b[^|;]{0,300}?\s(?:-u|--(?:proxy-)?user)[ =]?)",
          rf"(?:{_QUOTED}|\S+)"),
    _rule("mysql|mariadb", r"(\b(?:mysql|mariadb)[a-z-]{0,12}\b[^|;]{0,200}?\s-p)[^\s]+"),
    _rule("redis-cli|sshpass", r"(\b(?:redis-cli|sshpass)\b[^|;]{0,200}?\s-[ap]\s?)\S+"),
    _rule("docker|podman|ldap", r"(\b(?:(?:docker|podman)\s+login|ldap[a-z]+)\b[^|;]{0,200}?\s-[pw]\s?)[^\s-]\S*"),
    _rule("smb|rpcclient|net ", r"(\b(?:smbclient|rpcclient|net)\b[^|;]{0,200}?-U\s?[^\s%]+%)\S+"),
    _rule("pass:", r"(\bpass:)\S+"),
    # Settings whose value stands behind a space.
    _rule("requirepass|masterauth|auth-pass|bindpw|rootpw|community", r"(?<![A-Za-z_-])((?:requirepass|masterauth|",
          r"sentinel[ \t]+auth-pass[ \t]+\S+|bindpw|olcrootpw:?|rootpw|r[ow]community6?)[ \t]+)",
          rf"{_PLAIN}(?:{_QUOTED}|\S+)"),
    _rule("login", r"(\blogin\s+\S+\s+password\s+)\S+"),
    _rule("createuser", r"(\bcreateUser\s+\S+\s+\S+\s+)\S+(?:\s+(?:AES|DES)\S*\s+\S+)?"),
    _rule("user", r"^.*\buser[ \t]+\S+[ \t].*[ \t](?:on|off|reset|[~+&@]).*$", to=_acl),
    # Statements.
    _rule("identified", r"(\bIDENTIFIED\s+(?:VIA\s+\S+\s+|WITH\s+\S+\s+)?(?:BY|AS|USING)\s+(?:PASSWORD\s*\(?\s*)?)",
          _QUOTED),
    _rule("password", r"(\bPASSWORD(?:\s+FOR\s+\S+)?\s*(?:=\s*|\(\s*|\s)(?:PASSWORD\s*\(\s*)?)'[^']*'"),
    # Headers.
    _rule("authorization", r"(authorization[\"']?(?:\s*[:=,]|\s)\s*[\"']?(?:basic|bearer|token|digest|apikey)\s+)",
          r"[^\s\"';]+"),
    _rule("x-", r"(\bx-(?:[a-z]+-)?(?:auth|api|access|token|key|secret)[a-z-]*[\"']?\s*[:=]\s*[\"']?)[^\s\"';]+"),
    _rule("cookie", r"(\b(?:set-)?cookie[\"']?\s*:\s*[\"']?)[^\"']+"),
    _rule('"auth"|identitytoken', r"(\"(?:auth|identitytoken)\"\s*:\s*)\"[^\"]+\""),
    # In sentences; a figure of up to three digits is a rule ("口令：90 天").
    _rule("密码|口令|密钥|私钥|令牌|授权码", r"((?:密码|口令|密钥|私钥|令牌|授权码)\s*(?:[:：=＝]|为|是|改为|设为)",
          r"[\s\u3000]*[“\"「']?)",
          r"(?![0-9]{1,3}(?![\x21-\x7e]))[\x21-\x7e]{2,}"),
)  # fmt: skip
_RULES = (*_FORMS, *_PLACES)
#: For each hint the positions of the rules that have it.
_RULES_OF: dict[str, set[int]] = {}
for _position, _each in enumerate(_RULES):
    for _hint in _each.hints:
        _RULES_OF.setdefault(_hint, set()).add(_position)
_LINE_END = re.compile("\n")
#: Thousands of the texts in facts are names and numbers: one look is enough for those.
_SHORT = 200
_ANY_HINT = re.compile("|".join(sorted({re.escape(hint) for rule in (*_WHOLE, *_RULES) for hint in rule.hints})))
#: The name of a YAML block: the value stands on the line below.
_BLOCK = re.compile(rf"{_NAME}[ \t]{{0,8}}:[ \t]{{0,8}}[|>][-+0-9]{{0,2}}[ \t]*$", _FLAGS)
#: Where name and value were taken apart, the name alone says what the value is.
_NAMED = re.compile(rf"[a-z0-9_.-]{{0,60}}?{_NAME}", _FLAGS)


def redact(text: str) -> str:
    """``text`` with every secret that has a known form replaced by ``[cut]``."""
    lowered = text.lower()
    if len(text) <= _SHORT and not _ANY_HINT.search(lowered):
        return text
    for hints, pattern, replacement in _WHOLE:
        if any(hint in lowered for hint in hints):
            text = pattern.sub(replacement, text)
            lowered = text.lower()
    touched = _touched(lowered)
    if not touched:
        return text
    lines = text.split("\n")
    cut_whole = -1
    for number in sorted(touched):
        line = lines[number]
        if number == cut_whole:
            continue
        if line.rstrip().endswith(("|", ">", "-", "+")) and _BLOCK.search(line) and number + 1 < len(lines):
            cut_whole = number + 1
            lines[cut_whole] = CUT if lines[cut_whole].strip() else lines[cut_whole]
        for position in sorted(touched[number]):
            line = _RULES[position].pattern.sub(_RULES[position].replacement, line)
        lines[number] = line
    return "\n".join(lines)


def _touched(lowered: str) -> dict[int, set[int]]:
    """The lines of a text in small letters that have hints, each with the positions of the rules to try on it."""
    ends = [match.start() for match in _LINE_END.finditer(lowered)]
    found: dict[int, set[int]] = {}
    for hint, positions in _RULES_OF.items():
        at = lowered.find(hint)
        while at >= 0:
            number = bisect_left(ends, at)
            found.setdefault(number, set()).update(positions)
            at = lowered.find(hint, ends[number]) if number < len(ends) else -1
    return found


def redact_bytes(data: bytes) -> bytes:
    """The same for an answer of a host; what is not UTF-8 stays as it is."""
    return redact(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def redact_value(value: JsonValue) -> JsonValue:
    """The same for every text in plain JSON values; keys of mappings included, for a host chooses some of them."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {redact(key): CUT if _is_secret(key, item) else redact_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [redact_value(item) for item in value]
    return value


def _is_secret(name: str, value: JsonValue) -> bool:
    """Whether a text is a secret because of what it is called."""
    return isinstance(value, str) and bool(value) and value not in _SWITCHES and bool(_NAMED.fullmatch(name))
