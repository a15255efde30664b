"""What a deed hits and why it failed, in both languages: no English that we wrote ourselves is left in Chinese."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import JsonValue

import govsec
from govsec.assemble.incident import build_desk, open_cases
from govsec.assemble.response import SiteCasebook
from govsec.incident.entries import Opened
from govsec.incident.record import view_record
from govsec.records import Notice, Severity
from govsec.report.catalog import Catalogue, Lang
from govsec.report.incident import case_words
from govsec.report.notice import notice_words
from govsec.report.response import deed_words, run_words
from govsec.report.responsewords import why_words
from govsec.response.verbs import VERBS
from govsec.testing.clock import FakeClock
from tests.assemble.dutysite import NOW, Machine

ROOM = Path(govsec.__file__).parent
#: Whoever says why a deed was not done: who does it, and who looks at its order.
SOURCES = [
    *sorted((ROOM / "response" / "helper").glob("*.py")),
    ROOM / "response/asking.py", ROOM / "response/order.py",
    ROOM / "assemble/response.py", ROOM / "assemble/recovery.py",
]  # fmt: skip
_KINDS = {"RefusedError", "TryAgainError", "IntegrityError", "FormatError", "HostUnreachableError"}
#: What is put into a text by name; anything else is a number.
_SAMPLES = {
    "argv[0]": "nft",
    "error": "timed out",
    "error.strerror": "Permission denied",
    "why": "our own",
    "path": "/run/s",
}
#: Where facts are made.
_MAKERS = frozenset({"plan", "rehearse", "take_pack", "check", "take_back"})
#: Two words of English in a row; names of verbs, files and settings stand alone.
_ENGLISH = re.compile(r"[A-Za-z]{2,} [A-Za-z]{2,}")


def _text_of(node: ast.expr) -> str | None:
    """A message as it is written, with something in place of what is put in; None when it is no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.BinOp):
        left = _text_of(node.left)
        return None if left is None else left + "a, b"
    if not isinstance(node, ast.JoinedStr):
        return None
    parts = []
    for value in node.values:
        if isinstance(value, ast.Constant):
            parts.append(str(value.value))
        elif isinstance(value, ast.FormattedValue):
            sample = _SAMPLES.get(ast.unparse(value.value), "9")
            parts.append(f"'{sample}'" if value.conversion == ord("r") else sample)
    return "".join(parts)


def _messages() -> Iterator[str]:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _KINDS and node.args:
                text = _text_of(node.args[0])
                if text is not None:
                    yield text
    for node in ast.walk(ast.parse((ROOM / "response/engine.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "error" and (text := _text_of(node.value)) is not None:
            yield text
    for node in ast.walk(ast.parse((ROOM / "response/playbook.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Proposal":
            yield from (f"nft.block: {text}" for each in node.args[2:] if (text := _text_of(each)) is not None)


MESSAGES = sorted({text for text in _messages() if text.strip("9: ")})


def test_every_reason_that_we_write_has_words_in_chinese() -> None:
    assert len(MESSAGES) > 50
    said = {text: why_words(f"helper: {text}", "zh") for text in MESSAGES}
    left = {text: words for text, words in said.items() if _ENGLISH.search(words.replace("0.0.0.0", ""))}

    assert left == {}
    assert all(why_words(text, "en") == text for text in MESSAGES)


def _fact_names() -> set[str]:
    """Keys of what plans, packs and checks give as facts, and the arguments of verbs."""
    found = {name for kind in VERBS.values() for name in ("ttl_s",) if name in kind.arguments.model_fields}
    for path in SOURCES:
        if path.name == "asking.py":  # what it writes are questions
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name in (
                "plan",
                "rehearse",
                "take_pack",
                "check",
                "take_back",
            ):
                for each in ast.walk(node):
                    if isinstance(each, ast.Dict):
                        found |= {key.value for key in each.keys if isinstance(key, ast.Constant)}
    return {str(name) for name in found}


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_every_fact_that_a_deed_hits_has_a_name_in_both_languages(lang: Lang) -> None:
    names = _fact_names()
    words = Catalogue("response", lang)
    assert {"address", "sessions", "is_admin", "program", "centers", "still_frozen", "given_up", "ttl_s"} <= names
    assert [name for name in sorted(names) if not words.has(f"fact.{name}")] == []


def test_hits_and_reasons_of_notices_and_runs_are_in_the_readers_language() -> None:
    facts = {"address": "192.0.2.66", "sessions": 3, "is_admin": True, "ttl_s": 3600, "tried": "2026-11-22T01:41:00Z"}
    why = "done, and not in force when it was looked at"
    notices = [
        Notice(
            key="response#1", kind=f"response.{what}", severity=Severity.HIGH, time=NOW, subject="x", summary="x",
            facts={
                "deed": "1", "verb": "nft.block", "arguments": "address=192.0.2.66", "host": "web1", "case": "",
                "approvals_needed": 1, "approvals_count": 0, "approve_until": "2026-11-22T02:41:00Z", "hits": facts,
                "error": why,
            },
        )
        for what in ("waiting", "failed")
    ]  # fmt: skip
    waiting, failed = ("\n".join(notice_words(notice, "zh")[1]) for notice in notices)
    deed = {
        "deed": "1" * 32, "verb": "nft.block", "arguments": {"address": "192.0.2.66"}, "state": "failed",
        "approvals_needed": 1, "approved_by": ["张三"], "facts": facts, "error": f"helper: {why}", "ends": None,
        "steps": [],
    }  # fmt: skip
    run = {"id": "1", "playbook": None, "subject": "x", "left_out": [MESSAGES[0]], "deeds": []}

    assert "影响：地址 192.0.2.66，会断开的会话 3，管理员 是，时长 1 小时，演算时间 2026-11-22 09:41:00。" in waiting
    assert "未能完成：已执行，但核查时并未生效。" in failed
    assert "原因      特权助手：已执行，但核查时并未生效" in deed_words(deed, "zh")
    assert "would hit: address 192.0.2.66, sessions cut 3, administrator yes" in notice_words(notices[0], "en")[1][0]
    assert why in notice_words(notices[1], "en")[1][0] and why in deed_words(deed, "en")
    for said in (waiting, failed, deed_words(deed, "zh"), run_words(run, "zh")):
        assert not _ENGLISH.search(said.replace("govsec response", "").replace("--key", "")), said


def test_a_deed_that_failed_says_why_in_the_time_line_of_its_case(tmp_path: Path) -> None:
    machine = Machine(tmp_path, FakeClock(NOW))
    with open_cases(machine.config) as store:
        desk = build_desk(machine.config, store, machine.clock)
        opened = Opened(
            time=NOW, by="zhang", title="扫描", aware_at=NOW, event_class="hidden_danger", roles=("other_operator",)
        )
        case = desk.open(opened).case.id
        facts: dict[str, JsonValue] = {"deed": "1", "error": "helper: process 7: gone"}
        SiteCasebook(machine.config, machine.clock).note(case, "process.suspend", "failed", facts, NOW)
        record = view_record(desk.view(case), store.entries(case))

    assert "处置动作 process.suspend：失败（特权助手：进程 7 已不在）" in case_words(record, NOW, "zh")
    assert "failed (helper: process 7: gone)" in case_words(record, NOW, "en")
