"""Every finding of a host has words in both languages, with what happened, who did it and what to do."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from govsec import canonical
from govsec.findings.attack import TECHNIQUES
from govsec.guard import registry
from govsec.guard.api import (
    BaselineRefused,
    CanaryTouch,
    FileDifference,
    FileLook,
    FileSample,
    HiddenProcess,
    KeyFile,
    LogFile,
    LooseImage,
    ModuleLook,
    PreloadFile,
    ProcessLook,
    RotatedLog,
)
from govsec.guard.filestate import FileState
from govsec.host.events import EventsLost, Stage, WatchNote
from govsec.records import Finding
from govsec.report.catalog import Catalogue
from govsec.report.findingwords import finding_said, measures
from govsec.report.guard import guard_finding
from tests.guard.records import DAY, HOUR, MONDAY_NS, SECOND, Judge, account, actor, change, login, process, snapshot

_HAN = re.compile(r"[\u4e00-\u9fff]")
ROOM = Path(registry.__file__).parent
STATE = FileState(1, 2, 3, 4, 0o100755, 0, 0, "a" * 64)
BY = actor(66, "evil")


def findings() -> list[Finding]:
    """One of each way in which detectors speak."""
    at = MONDAY_NS
    found: list[Finding] = []
    for operation in ("modified", "renamed", "deleted", "created"):
        for by in (BY, None):
            deed = change(1, f"/srv/{operation}", operation, by=by)
            found += Judge("ransom_canary").take(CanaryTouch(at, deed.path, deed))
    found += Judge("ransom_renames").each(
        change(n, f"/s/{n}.docx.x1", "renamed", old=f"/s/{n}.docx", by=BY) for n in range(20)
    )
    found += Judge("ransom_entropy").each(
        FileSample(at + n, f"/s/{n}.docx", 9000, 9000, 7.9, None, BY, (5.0, "zip")) for n in range(8)
    )
    found += Judge("ransom_deletes").each(change(n / 9, f"/s/{n}.docx", "deleted", by=BY) for n in range(100))
    log = LogFile(at, "/var/log/auth.log", 7, 5000)
    for after in (
        LogFile(at, log.path, 7, 10),
        LogFile(at, log.path, 8, 10),
        LogFile(at, log.path, None, 0),
        LogFile(at, log.path, 7, 6000, is_kept=False),
        LogFile(at, log.path, 7, 6000, went=(RotatedLog("/var/log/auth.log.1", 700, at, 1),)),
    ):
        found += Judge("log_truncated").each([log, after])
    ages = ((28 * DAY, at), (HOUR, at + HOUR))
    went = [(then, RotatedLog("/var/log/auth.log.4", 700, then - age, 0)) for age, then in ages]
    found += Judge("log_truncated").each(
        LogFile(then, log.path, 7, 10, rotations_count=1, went=(one,)) for then, one in went
    )
    for how in ("unlisted", "unreadable", "covered"):
        look = ProcessLook(at, (HiddenProcess(66, how, ()),), 1, 99)
        found += Judge("hidden_process").each([look, look])
    found += Judge("hidden_module").each(
        [ModuleLook(at, ("a",), ("b",), 0, ""), ModuleLook(at, ("a",), ("b",), 4096, "")]
    )
    found += Judge("preload").take(PreloadFile(at, "/etc/ld.so.preload", ("/x.so",)))
    judge = Judge("root_account")
    judge.take(snapshot(accounts=(account("root", 0),)))
    found += judge.take(snapshot(accounts=(account("root", 0), account("eve", 0), account("li", 5, groups=("sudo",)))))
    keys = KeyFile(at, "/root/.ssh/authorized_keys", "root", 0, ())
    found += Judge("authorized_keys").each([keys, KeyFile(at, keys.path, "root", 0, (("SHA256:x", "eve"),), BY)])
    for path in ("/memfd:x", "/tmp/x"):
        program = process(5, "x", executable=path, executable_deleted=True)
        found += Judge("loose_image").take(LooseImage(at, program.key, BY.__class__(program), is_replaced=False))
    found += Judge("login_guessing").each(login(at + n * SECOND, "root", "203.0.113.9") for n in range(8))
    found += Judge("login_guessing").each(login(at + n * SECOND, "root", f"203.0.113.{n}") for n in range(20))
    judge = Judge("login_guessing")
    judge.each(login(at + n * SECOND, "root", "203.0.113.9") for n in range(8))
    found += judge.take(login(at + 9 * SECOND, "root", "203.0.113.9", "success"))
    judge = Judge("login_habits")
    judge.each(login(at + day * DAY, "li", "10.0.0.1", "success") for day in range(12))
    found += judge.take(login(at + 12 * DAY + 9 * HOUR, "li", "203.0.113.9", "success"))
    differences = (
        FileDifference("/usr/bin/a", STATE, None),
        FileDifference("/usr/bin/b", None, STATE, actor=BY),
        FileDifference("/etc/c", STATE, STATE),
    )
    found += Judge("drift_files").take(FileLook(at, differences, more_count=3))
    found += Judge("events_lost").each(
        [
            EventsLost(at, Stage.FILES, "the queue overflowed", 12),
            WatchNote(at, Stage.LOGINS, "polling", True, "no journal"),
        ]
    )
    found += Judge("baseline_refused").take(BaselineRefused(at, "altered"))
    return found


@pytest.fixture(scope="module")
def found() -> list[Finding]:
    return findings()


def test_every_kind_is_told_in_both_languages_from_the_catalogue(found: list[Finding]) -> None:
    zh, en = Catalogue("guard", "zh"), Catalogue("guard", "en")

    assert len(found) > 30
    for finding in found:
        # Its own summary stands in where the catalogue lacks words or a fact.
        mute = finding.model_copy(update={"summary": "its own summary"})
        told_zh, told_en = finding_said(mute, zh), finding_said(mute, en)
        assert _HAN.search(told_zh), finding.kind
        assert not _HAN.search(told_en), finding.kind
        assert told_en != mute.summary, finding.kind
        assert all(_HAN.search(row["name"]) for row in measures(finding, zh)), finding.kind
        for part in ("title", "advice"):
            assert zh.has(f"finding.{finding.kind}.{part}"), finding.kind


def test_every_finding_has_a_canonical_form(found: list[Finding]) -> None:
    """It is signed, chained and spooled: texts without bytes that are none, numbers that JSON keeps."""
    for finding in found:
        assert canonical.dumps(finding.canonical())


def test_rows_with_the_largest_numbers_and_without_names_are_told_too() -> None:
    huge = FileState(2**64 - 1, 2**40, 3, 4, 0o100755, 2**32 - 1, 2**32 - 1, "a" * 64)
    found = [
        *Judge("drift_files").take(FileLook(MONDAY_NS, (FileDifference("/usr/bin/\udcff", huge, None),))),
        *Judge("log_truncated").each(
            [LogFile(MONDAY_NS, "/l", 2**64 - 1, 2**40), LogFile(MONDAY_NS, "/l", 2**64 - 2, 0)]
        ),
        *Judge("root_account").take(snapshot(accounts=(account("", 0),))),
    ]

    assert len(found) == 3
    for finding in found:
        assert canonical.dumps(finding.canonical())


def test_the_catalogues_have_the_same_keys() -> None:
    assert Catalogue("guard", "zh").keys() == Catalogue("guard", "en").keys()


def kinds_in_the_code() -> set[str]:
    """Every literal in the room that is a kind."""
    texts = {
        node.value
        for path in ROOM.glob("*.py")
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return {text for text in texts if re.fullmatch(r"host\.[a-z_]+\.[a-z_]+", text)}


def test_every_kind_in_the_code_has_a_title_a_sentence_and_advice() -> None:
    kinds = kinds_in_the_code()
    keys = Catalogue("guard", "en").keys()

    assert len(kinds) > 25
    for kind in kinds:
        for part in ("title", "said", "advice"):
            assert f"finding.{kind}.{part}" in keys, f"{kind} has no {part}"


def test_every_technique_in_the_code_has_its_name() -> None:
    found = set()
    for path in ROOM.glob("*.py"):
        found |= set(re.findall(r'"(T\d{4}(?:\.\d{3})?)"', path.read_text("utf-8")))

    assert len(found) > 15
    assert found <= set(TECHNIQUES)


def test_evidence_stands_in_what_a_person_reads_and_hostile_text_plays_no_tricks() -> None:
    by = actor(66, "evil\x1b[2J\u202e")
    (finding,) = Judge("ransom_canary").take(CanaryTouch(MONDAY_NS, "/srv/\udcff\x1b", change(1, "/srv/x", by=by)))

    told = guard_finding(finding, "zh")

    assert "处置建议" in told
    assert "T1486" in told
    assert "pid 66" in told or "66 " in told
    assert not re.search(r"[\x1b\u202e\udcff]", told)


def test_every_detector_has_a_row_in_the_page_of_detectors() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "host-detectors.md").read_text("utf-8")

    assert [name for name in registry.DETECTORS if f"| `{name}`" not in page] == []
    assert [
        kind for kind in kinds_in_the_code() if f"`{kind}`" not in page and f"`.{kind.rsplit('.', 1)[1]}`" not in page
    ] == []
