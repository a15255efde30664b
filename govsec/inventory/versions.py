"""Which of two versions is the newer, as dpkg and as rpm see it: exactly, for a wrong answer hides a vulnerability.

Source: Debian Policy 5.6.12 (dpkg); rpm's manual, rpm-version(7) (rpm, with ``~`` and ``^``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

#: Negative, 0 or positive: the first version is older, the same, newer.
Compare: TypeAlias = Callable[[str, str], int]

_DIGITS = frozenset("0123456789")
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_RPM_PARTS = re.compile(r"[0-9]+|[A-Za-z]+|~|\^")
#: Longer is no version of anything; comparing digits costs their count.
VERSION_SIZE_MAX = 500


def compare_dpkg(one: str, other: str) -> int:
    """dpkg's order: epoch, then upstream version, then revision."""
    (epoch, upstream, revision), (epoch2, upstream2, revision2) = _dpkg_parts(one), _dpkg_parts(other)
    return (epoch > epoch2) - (epoch < epoch2) or _dpkg_order(upstream, upstream2) or _dpkg_order(revision, revision2)


def compare_rpm(one: str, other: str) -> int:
    """rpm's order: epoch, then version, then release. A release counts only where both have one."""
    (epoch, version, release), (epoch2, version2, release2) = _rpm_evr(one), _rpm_evr(other)
    order = (epoch > epoch2) - (epoch < epoch2) or _rpm_order(version, version2)
    return order or (_rpm_order(release, release2) if release and release2 else 0)


def _dpkg_parts(version: str) -> tuple[int, str, str]:
    version = version.strip()[:VERSION_SIZE_MAX]
    epoch, colon, rest = version.partition(":")
    if not colon or not (epoch.isascii() and epoch.isdigit()):
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return int(epoch), upstream, revision


def _dpkg_order(one: str, other: str) -> int:
    """Turns of what is no digit, letter by letter, and of digits, as a number."""
    at = at2 = 0
    while at < len(one) or at2 < len(other):
        while (at < len(one) and one[at] not in _DIGITS) or (at2 < len(other) and other[at2] not in _DIGITS):
            weight, weight2 = _weight(one, at), _weight(other, at2)
            if weight != weight2:
                return 1 if weight > weight2 else -1
            at, at2 = at + 1, at2 + 1
        end, end2 = _end_of_digits(one, at), _end_of_digits(other, at2)
        number, number2 = int(one[at:end] or "0"), int(other[at2:end2] or "0")
        if number != number2:
            return 1 if number > number2 else -1
        at, at2 = end, end2
    return 0


def _weight(text: str, at: int) -> int:
    """``~`` before the end, the end and digits alike, then letters, then all the rest."""
    if at >= len(text) or text[at] in _DIGITS:
        return 0
    sign = text[at]
    if sign == "~":
        return -1
    return ord(sign) if sign in _LETTERS else ord(sign) + 256


def _end_of_digits(text: str, at: int) -> int:
    while at < len(text) and text[at] in _DIGITS:
        at += 1
    return at


def _rpm_evr(version: str) -> tuple[int, str, str]:
    version = version.strip()[:VERSION_SIZE_MAX]
    epoch, colon, rest = version.partition(":")
    if not colon or not (epoch.isascii() and epoch.isdigit()):
        epoch, rest = "0", version
    head, dash, release = rest.rpartition("-")
    return int(epoch), head if dash else rest, release if dash else ""


def _rpm_order(one: str, other: str) -> int:
    """Part by part: ``~`` is older than the end, ``^`` newer than the end and older than anything else."""
    if one == other:
        return 0
    parts, parts2 = _RPM_PARTS.findall(one), _RPM_PARTS.findall(other)
    for part, part2 in zip(parts, parts2, strict=False):
        if part == part2:
            continue
        for sign, weight in (("~", -1), ("^", -1)):
            if sign in (part, part2):
                return weight if part == sign else -weight
        if part[0] in _DIGITS and part2[0] in _DIGITS:
            number, number2 = int(part), int(part2)
            if number != number2:
                return 1 if number > number2 else -1
            continue
        if (part[0] in _DIGITS) != (part2[0] in _DIGITS):  # a number is newer than letters
            return 1 if part[0] in _DIGITS else -1
        return 1 if part > part2 else -1
    if len(parts) == len(parts2):
        return 0
    rest, is_first = (parts[len(parts2)], True) if len(parts) > len(parts2) else (parts2[len(parts)], False)
    newer = rest != "~"
    return 1 if newer == is_first else -1
