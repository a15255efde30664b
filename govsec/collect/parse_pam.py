"""PAM stacks with their includes, and what they say about new passwords and about failed log-ins."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from govsec.collect.probes_accounts import FaillockProbe, LoginDefsProbe, PamProbe, PwqualityProbe
from govsec.collect.readers import assignments, joined_lines, plain_lines, scalar, strip_comment, texts, tight
from govsec.collect.sources import NoFactError, Reading, Source

_TYPES = ("auth", "account", "password", "session")
_DEPTH_MAX = 8
_LINES_MAX = 500
PAM = Source("pam", "[ -d /etc/pam.d ] || exit 90\nshow /etc/pam.d/* /usr/lib/pam.d/*", size_max=512 << 10)
PWQUALITY = Source(
    "pwquality",
    "show /etc/security/pwquality.conf /etc/security/pwquality.conf.d/*.conf /etc/security/pwhistory.conf",
)
FAILLOCK = Source("faillock", "show /etc/security/faillock.conf /etc/security/faillock.conf.d/*.conf")
LOGIN_DEFS = Source("login_defs", "[ -e /etc/login.defs ] || exit 90; show /etc/login.defs")
_PASSWORD_SERVICES = ("system-auth", "password-auth", "common-password", "system-password", "passwd")
_AUTH_SERVICES = ("system-auth", "password-auth", "common-auth", "system-login", "login", "sshd")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a stack."""

    type: str
    control: str
    module: str
    arguments: tuple[str, ...]
    file: str
    optional: bool

    @property
    def options(self) -> dict[str, JsonValue]:
        """``name=value`` arguments; a bare word is true."""
        pairs = (argument.partition("=") for argument in self.arguments)
        return {name: scalar(value) if equals else True for name, equals, value in pairs}


def pam_sources(probe: PamProbe) -> tuple[Source, ...]:
    """Every service's file: includes are resolved here."""
    return (PAM,)


def parse_pam(probe: PamProbe, reading: Reading) -> JsonValue:
    """See :class:`PamProbe`."""
    services = _services(reading)
    if probe.service not in services:
        raise NoFactError("absent", f"PAM has no service {probe.service}")
    unresolved: list[str] = []
    stack = _resolve(probe.service, services, unresolved)
    listed: list[JsonValue] = [
        {
            "type": line.type,
            "control": line.control,
            "module": line.module,
            "args": texts(line.arguments),
            "options": line.options,
            "file": line.file,
            "optional": line.optional,
        }
        for line in stack
    ]
    return {
        "service": probe.service,
        "stack": listed,
        "modules": {kind: texts(line.module for line in stack if line.type == kind) for kind in _TYPES},
        "unresolved": texts(unresolved),
    }


def _services(reading: Reading) -> dict[str, list[str]]:
    services: dict[str, list[str]] = {}
    for path, lines in reading.files("pam").items():
        services.setdefault(path.rsplit("/", 1)[-1], lines)  # /etc comes first, and wins
    return services


def _resolve(
    service: str, services: Mapping[str, list[str]], unresolved: list[str], only: str = "", depth: int = 0
) -> list[Line]:
    stack: list[Line] = []
    for text in plain_lines(joined_lines(services.get(service, []))):
        if len(stack) >= _LINES_MAX:
            unresolved.append(f"{service}: longer than {_LINES_MAX} lines")
            break
        text = strip_comment(text)
        include = re.fullmatch(r"@include\s+(\S+)", text)
        match = re.fullmatch(r"(-?)(auth|account|password|session)\s+(\[[^\]]*\]|\S+)\s+(\S+)\s*(.*)", text)
        kind, target = only, ""
        if include:
            target = include.group(1)
        elif match and match.group(3) in ("include", "substack"):
            kind, target = match.group(2), match.group(4)
            if only and kind != only:
                continue
        if target:
            target = target.rsplit("/", 1)[-1]
            if target in services and depth < _DEPTH_MAX:
                stack += _resolve(target, services, unresolved, kind, depth + 1)
            else:
                unresolved.append(target)
        elif match and (not only or match.group(2) == only):
            # Arguments in brackets hold spaces.
            arguments = re.findall(r"\[[^\]]*\]|\S+", match.group(5))
            stack.append(
                Line(
                    match.group(2), tight(match.group(3)), match.group(4).rsplit("/", 1)[-1],
                    tuple(argument.strip("[]") for argument in arguments), service, bool(match.group(1)),
                )
            )  # fmt: skip
    return stack[: 4 * _LINES_MAX]


def login_defs_sources(probe: LoginDefsProbe) -> tuple[Source, ...]:
    """The one file."""
    return (LOGIN_DEFS,)


def parse_login_defs(probe: LoginDefsProbe, reading: Reading) -> JsonValue:
    """See :class:`LoginDefsProbe`."""
    files = reading.files("login_defs")
    if not files and reading.unreadable("login_defs"):
        raise NoFactError("denied", "login.defs may not be read")
    return {"values": assignments(line for lines in files.values() for line in lines)}


def pwquality_sources(probe: PwqualityProbe) -> tuple[Source, ...]:
    """PAM's stacks and the files of its modules."""
    return (PAM, PWQUALITY)


_QUALITY_MODULES = ("pam_pwquality.so", "pam_cracklib.so", "pam_passwdqc.so")
_QUALITY_DEFAULTS: dict[str, int] = {
    "minlen": 8, "dcredit": 0, "ucredit": 0, "lcredit": 0, "ocredit": 0, "minclass": 0, "difok": 1, "maxrepeat": 0,
    "maxsequence": 0, "maxclassrepeat": 0, "retry": 1, "dictcheck": 1, "usercheck": 1, "enforcing": 1,
}  # fmt: skip


def parse_pwquality(probe: PwqualityProbe, reading: Reading) -> JsonValue:
    """See :class:`PwqualityProbe`."""
    stacks = _stacks(reading, _PASSWORD_SERVICES, "password")
    lines = [(name, line) for name, stack in stacks for line in stack if line.module in _QUALITY_MODULES]
    files = reading.files("pwquality")
    file = assignments(line for path, text in files.items() if "pwquality" in path for line in text)
    arguments = lines[0][1].options if lines else {}
    # pam_cracklib and pam_passwdqc do not read pwquality.conf.
    read = file if not lines or lines[0][1].module == "pam_pwquality.so" else {}
    merged = {**read, **arguments}
    effective: dict[str, JsonValue] = {
        name: value if isinstance(value := merged.get(name, default), int) else default
        for name, default in _QUALITY_DEFAULTS.items()
    }
    negative = sum(
        isinstance(credit := effective[name], int) and credit < 0
        for name in ("dcredit", "ucredit", "lcredit", "ocredit")
    )
    minclass = effective["minclass"]
    effective["enforce_for_root"] = "enforce_for_root" in merged
    unix = [line for _, stack in stacks for line in stack if line.module == "pam_unix.so"]
    algorithms = ("yescrypt", "gost_yescrypt", "sm3", "sha512", "sha256", "blowfish", "bigcrypt", "md5")
    history = assignments(line for path, text in files.items() if "pwhistory" in path for line in text)
    remember = [
        value
        for _, stack in stacks
        for line in stack
        if line.module in ("pam_unix.so", "pam_pwhistory.so")
        and isinstance(
            value := line.options.get("remember", history.get("remember", 10) if "history" in line.module else None),
            int,
        )
    ]
    return {
        "active": bool(lines),
        "module": lines[0][1].module if lines else None,
        "services": texts(dict.fromkeys(name for name, _ in lines)),
        "effective": effective,
        "required_classes": max(negative, minclass if isinstance(minclass, int) else 0),
        "file": file,
        "arguments": arguments,
        "history_remember": max(remember) if remember else None,
        "hash": next((word for word in algorithms for line in unix if word in line.arguments), None),
    }


def _stacks(reading: Reading, names: tuple[str, ...], kind: str) -> list[tuple[str, list[Line]]]:
    services = _services(reading)
    if not services:
        raise NoFactError("error", "PAM's files could not be read")
    return [
        (name, [line for line in _resolve(name, services, []) if line.type == kind])
        for name in names
        if name in services
    ]


def faillock_sources(probe: FaillockProbe) -> tuple[Source, ...]:
    """PAM's stacks and faillock.conf."""
    return (PAM, FAILLOCK)


def parse_faillock(probe: FaillockProbe, reading: Reading) -> JsonValue:
    """See :class:`FaillockProbe`."""
    modules = ("pam_faillock.so", "pam_tally2.so", "pam_tally.so")
    stacks = _stacks(reading, _AUTH_SERVICES, "auth")
    lines = [(name, line) for name, stack in stacks for line in stack if line.module in modules]
    file = assignments(line for text in reading.files("faillock").values() for line in text)
    module = lines[0][1].module if lines else None
    arguments: dict[str, JsonValue] = {}
    for _, line in reversed(lines):
        if line.module == module:
            arguments.update(line.options)
    merged = {**(file if module in (None, "pam_faillock.so") else {}), **arguments}
    is_faillock = module in (None, "pam_faillock.so")

    def seconds(name: str, default: int | None) -> int | None:
        value = merged.get(name, default)
        return 0 if value == "never" else value if isinstance(value, int) else default

    unlock = seconds("unlock_time", 600 if is_faillock else 0)
    effective: dict[str, JsonValue] = {
        "deny": seconds("deny", 3 if is_faillock else 0),
        "unlock_time": unlock,
        "fail_interval": seconds("fail_interval", 900 if is_faillock else 0),
        "even_deny_root": "even_deny_root" in merged or "root_unlock_time" in merged,
        "root_unlock_time": seconds("root_unlock_time", None),
    }
    return {
        "active": bool(lines),
        "module": module,
        "services": texts(dict.fromkeys(name for name, _ in lines)),
        "effective": effective,
        "file": file,
        "arguments": arguments,
    }
