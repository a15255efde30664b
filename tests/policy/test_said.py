"""Whatever the collector or govsec's own record gives as a reason can be read in Chinese."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from govsec.policy.said import said

ROOT = Path(__file__).resolve().parents[2] / "govsec"
_RAISED = {"NoFactError": 1, "HostUnreachableError": 0}
_CHINESE = re.compile("[\u4e00-\u9fff]")


def _sentences() -> list[str]:
    """Every reason that the code of ``collect`` can give, with a word in place of each part that differs."""
    found = []
    for path in sorted((ROOT / "collect").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in _RAISED:
                continue
            position = _RAISED[node.func.id]
            text = _text(node.args[position]) if len(node.args) > position else None
            if text is not None and re.sub(r"part|\W", "", text):
                found.append(text)
    return found


def _text(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "part" for part in node.values)  # type: ignore[misc]
    return None


@pytest.mark.parametrize("sentence", dict.fromkeys(_sentences()))
def test_a_reason_that_the_collector_gives_has_chinese_words(sentence: str) -> None:
    words = said(sentence)

    assert words.en == sentence
    assert _CHINESE.search(words.zh), sentence


def test_the_sentences_were_found() -> None:
    assert len(set(_sentences())) > 30


def test_parts_keep_their_place_and_inner_sentences_are_told_too() -> None:
    words = said("probe walk: error: the file systems were not walked yet; run: govsec assess run --walk")

    assert words.zh == "探测 walk：尚未遍历文件系统；请运行：govsec assess run --walk"
    assert said("web-1: the host answered nothing").zh == "web-1：主机没有任何回答"


def _own_names() -> set[str]:
    """What govsec's own record calls its parts when one cannot be looked at."""
    found: set[str] = set()
    for name in ("assemble/registry.py", "assemble/watching.py", "policy/continuityfacts.py"):
        text = (ROOT / name).read_text(encoding="utf-8")
        found |= set(re.findall(r'missing\["([a-z ]+)"\]|_asked\(f?"([a-z ]+)|missing=\{"([a-z]+)"', text))
    return {next(filter(None, names)) for names in found}


def test_parts_of_the_own_record_have_chinese_names() -> None:
    names = _own_names()
    assert {"drills", "trials", "log of ", "record", "register"} <= names

    for name in names:
        part = f"{name}main" if name.endswith(" ") else name
        told = said(f"{part}: the ledger has 2 problems; run: govsec ledger verify").zh
        assert told.endswith("证据链有 2 处问题；请运行：govsec ledger verify")
        assert not re.search("[a-z]", told.partition("证据链")[0].replace("main", "")), told


@pytest.mark.parametrize("text", ["", "no such sentence {0} {x}", "{", "x" * 100_000, "a\nb: c"])
def test_what_is_in_no_table_is_told_as_it_is(text: str) -> None:
    words = said(text)

    assert words.en
    assert len(words.zh) <= 2000
    assert text[:50] in words.zh
