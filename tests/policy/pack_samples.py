"""A small pack on disk, which tests bend."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from govsec.clock import SystemClock
from govsec.collect.shapes import LEAF, OPEN, Shape
from govsec.policy.expressions import Expressions
from govsec.policy.pack import Pack
from govsec.policy.packfiles import read_folder
from govsec.policy.packload import DRAFT, Known, read_pack

ANYTHING = Shape({"list": Shape(items=OPEN), "l": Shape(items=LEAF)}, values=OPEN)
#: The samples ask for what no host has, so their one probe yields anything.
KNOWN = Known(frozenset({"GEN-CES-1-b", "GEN-CES-2-f"}), frozenset({"6.4.1.1"}), {"faillock": ANYTHING})
HEAD = """\
schema: 1
id: small
version: "1.0.0"
title: {zh: 小, en: Small}
description: {zh: 小, en: Small}
catalog: gbt22239-2019
requires_engine: 1
"""
CHECK = """\
checks:
- id: small-lock
  title: {zh: 锁定, en: Locked}
  guards: {zh: 猜口令, en: Guessing}
  maps:
  - {key: GEN-CES-1-b, role: decides}
  applies:
  - {cel: platform.os_id != "plan9", reason: {zh: 不适用, en: another system}}
  probes:
    lock: {kind: faillock}
  absent: {lock: {means: fail, reason: {zh: 没有, en: none}}}
  conclusive:
  - {cel: "!lock.truncated", reason: {zh: 不全, en: cut}}
  params:
    tries_max: {type: int, default: 5, levels: {4: 3}, source: {zh: 常见, en: usual, status: interpretation}}
  expect:
  - {name: few, cel: lock.deny <= params.tries_max, message: {zh: 多, en: many}}
  - {name: root-too, cel: lock.root, message: {zh: 根, en: root goes free}}
  high_risk:
  - {case: 6.4.1.1, when: lock.deny == 0, mitigated_by: [small-lock]}
  remediation: {zh: 设, en: set}
"""
GOOD: dict[str, JsonValue] = {"deny": 4, "root": True, "truncated": False}
FIXTURES: dict[str, JsonValue] = {
    "pass-set": {"probes": {"lock": GOOD}},
    "fail-open": {"probes": {"lock": {**GOOD, "deny": 9, "root": False}}},
    "fail-absent": {"probes": {"lock": {"status": "absent"}}},
    "partial-root": {"probes": {"lock": {**GOOD, "root": False}}},
    "unknown-cut": {"probes": {"lock": {**GOOD, "truncated": True}}},
    "fail-none": {"probes": {"lock": {**GOOD, "deny": 9, "root": False}}},
    "not-applicable-other": {"probes": {"lock": GOOD}, "platform": {"os_id": "plan9"}},
    "partial-level-4": {"probes": {"lock": GOOD}, "level": 4},
}


def write_pack(
    folder: Path, *, check: str = CHECK, head: str = HEAD, fixtures: Mapping[str, JsonValue] = FIXTURES
) -> Path:
    """The pack below ``folder``."""
    place = folder / "small"
    (place / "checks").mkdir(parents=True, exist_ok=True)
    (place / "pack.yaml").write_text(head, encoding="utf-8")
    (place / "checks" / "lock.yaml").write_text(check, encoding="utf-8")
    (place / "fixtures" / "small-lock").mkdir(parents=True, exist_ok=True)
    for name, value in fixtures.items():
        (place / "fixtures" / "small-lock" / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")
    return place


def read(place: Path, expressions: Expressions | None = None) -> Pack:
    """The pack, as its author reads it."""
    if expressions is not None:
        return read_pack(read_folder(place), DRAFT, KNOWN, expressions)
    with Expressions(SystemClock()) as own:
        return read_pack(read_folder(place), DRAFT, KNOWN, own)
