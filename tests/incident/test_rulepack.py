"""Rule packs: what is refused when it is read, with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from govsec.errors import ConfigurationError
from govsec.incident.deadlinetable import read_deadlines, shipped_deadlines
from govsec.incident.rulepack import fields_of, read_pack, shipped_packs
from govsec.shipped import shipped

PACK = """\
version: 1
id: local
title: {zh: 本地, en: local}
effective_from: "2026-01-01"
sources:
  text: {title: 文本}
fields:
  down_h: {kind: duration, unit: h, zh: 时长, en: hours}
  threat: {kind: degree, zh: 威胁, en: threat, degrees: [{id: none, zh: 无, en: none}, {id: high, zh: 高, en: high}]}
  site: {kind: choice, zh: 站点, en: site, choices: {a: {zh: 甲, en: a}, b: {zh: 乙, en: b}}}
indicators:
  - id: "1"
    field: down_h
    scope: site
    zh: 中断
    en: down
    levels:
      major: {at_least: 6, of: [a], status: confirmed, source: text}
      relatively_major: {at_least: 2, of: [a, b], status: confirmed, source: text}
"""


def _read(folder: Path, text: str) -> None:
    file = folder / "local.yaml"
    file.write_text(text, encoding="utf-8")
    read_pack(file)


def test_a_sound_pack_is_read(tmp_path: Path) -> None:
    _read(tmp_path, PACK)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("id: local", "id: local\nsurprise: 1", "surprise"),
        ("major: {at_least: 6", "particularly_major: {at_least: 6", "a gap between relatively_major"),
        ("at_least: 6", "at_least: 2", "reached no later than"),
        ("of: [a], ", "of: [a, c], ", "scope site has no c"),
        ("of: [a, b], ", "of: [b], ", "leaves out"),
        ("of: [a], ", "", "go together"),
        ("field: down_h", "field: up_h", "no field up_h"),
        ("field: down_h", "field: site", "has no order"),
        ("scope: site", "scope: threat", "is no choice"),
        ("at_least: 6", "at_least: high", "'high'"),
        ("source: text}\n      rel", "source: nowhere}\n      rel", "no source nowhere"),
        ("status: confirmed, source: text}\n      rel", "source: text}\n      rel", "status"),
        ("kind: duration, unit: h", "kind: duration, unit: week", "in min, h or d"),
        ("degrees: [{id: none, zh: 无, en: none}, ", "degrees: [", "two degrees"),
        ("choices: {a: {zh: 甲, en: a}, b: {zh: 乙, en: b}}", "choices: {}", "has choices"),
        ("major: {at_least: 6", "general: {at_least: 6", "general"),
        ("at_least: 6", "at_least: -6", "greater than or equal to 0"),
    ],
)
def test_a_pack_with_a_gap_an_overlap_or_a_dangling_name_is_refused(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    assert old in PACK

    with pytest.raises(ConfigurationError, match=words) as raised:
        _read(tmp_path, PACK.replace(old, new, 1))
    assert "local.yaml:" in str(raised.value)


def test_a_field_that_two_packs_understand_differently_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "local.yaml"
    file.write_text(PACK.replace("down_h", "portal_down_h").replace("unit: h", "unit: min"), encoding="utf-8")

    with pytest.raises(ConfigurationError, match="portal_down_h is another"):
        fields_of((*shipped_packs(), read_pack(file)))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("within: 30min", "within: 30 minutes", "a number of min, h or d"),
        ("within: 30min", "within: 0h", "a number of min, h or d"),
        ("clock: received_at", "clock: whenever", "clock"),
        ("roles: [protection_department]", "roles: [nobody]", "no role nobody"),
        ("id: R2", "id: R1", "written twice"),
        ("source: pipl", "source: hearsay", "no source hearsay"),
        ("from: major", "from: terrible", "from"),
    ],
)
def test_a_table_of_deadlines_that_cannot_be_meant_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    text = shipped("incidents").joinpath("deadlines.yaml").read_text(encoding="utf-8")
    assert old in text
    file = tmp_path / "deadlines.yaml"
    file.write_text(text.replace(old, new, 1), encoding="utf-8")

    with pytest.raises(ConfigurationError, match=words):
        read_deadlines(file)


def test_the_shipped_table_has_every_rule_of_the_measures() -> None:
    table = shipped_deadlines()
    ids = [rule.id for rule in table.duties] + [rule.id for rule in table.other]
    rules = {name.partition("-")[0] for name in ids}

    assert rules == {f"R{number}" for number in range(1, 17)}
