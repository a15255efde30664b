"""Attestations and waivers: two persons, an end, and evidence that cannot change unseen."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from govsec import canonical
from govsec.crypto.document import sign_document
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import ConfigurationError, GovsecError, IntegrityError, LimitError, RefusedError
from govsec.policy.attest import (
    APPROVAL_SCHEMA,
    Attestation,
    EvidenceFile,
    Standing,
    Waiver,
    Words,
    approve,
    attest,
    expiring,
    open_record,
)
from govsec.policy.evidencefiles import FlawKind, evidence_flaws, keep_evidence

NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)
FILE = EvidenceFile(name="duty-list.pdf", sha256="a" * 64, size_bytes=12)
WANG = Signer(Purpose.ATTESTATION, b"w" * 32)
LI = Signer(Purpose.APPROVAL, b"l" * 32)
TRUSTED = TrustedKeys([WANG.public("Wang"), LI.public("Li")])


def attestation(**changes: Any) -> Attestation:
    fields: dict[str, Any] = {
        "system": "portal",
        "item": "8.1.7.1.c",
        "verdict": "conform",
        "statement": "Duties of every post were seen in the signed list of posts.",
        "by": "Wang",
        "made": NOW,
        "valid_until": NOW + timedelta(days=365),
        "evidence": (FILE,),
    }
    return Attestation.model_validate(fields | changes)


def waiver(**changes: Any) -> Waiver:
    fields: dict[str, Any] = {
        "system": "portal",
        "check": "sshd-root-login",
        "reason": "The vendor's agent logs in as root until its update in March.",
        "compensation": "Only the bastion host reaches port 22, with two factors.",
        "by": "Wang",
        "made": NOW,
        "valid_until": NOW + timedelta(days=90),
    }
    return Waiver.model_validate(fields | changes)


@pytest.mark.parametrize("statement", [attestation(), waiver()], ids=["attestation", "waiver"])
def test_a_statement_counts_once_a_second_person_approved_it(statement: Attestation | Waiver) -> None:
    signed = attest(WANG, statement)
    pending = open_record(TRUSTED, signed)
    record = open_record(TRUSTED, approve(LI, TRUSTED, signed, by="Li", time=NOW + timedelta(hours=1)))

    assert (pending.statement, pending.approver) == (statement, None)
    assert pending.standing(NOW + timedelta(days=1)) is Standing.PENDING
    assert (record.statement, record.approver, record.id) == (statement, "Li", pending.id)
    assert record.standing(NOW) is Standing.NOT_YET
    assert record.standing(NOW + timedelta(hours=1)) is Standing.VALID
    assert record.standing(statement.valid_until - timedelta(microseconds=1)) is Standing.VALID
    assert record.standing(statement.valid_until) is Standing.EXPIRED


def test_nobody_approves_a_statement_of_their_own() -> None:
    signed = attest(WANG, attestation())

    with pytest.raises(RefusedError, match="another person approves"):
        approve(LI, TRUSTED, signed, by="Wang", time=NOW)


def test_one_key_pinned_for_both_purposes_is_one_person_whatever_its_names_say() -> None:
    both = Signer(Purpose.APPROVAL, b"w" * 32)
    trusted = TrustedKeys([WANG.public("Wang"), both.public("Zhao")])

    with pytest.raises(IntegrityError, match="the same person"):
        approve(both, trusted, attest(WANG, attestation()), by="Zhao", time=NOW)


def test_a_name_in_the_text_is_held_against_the_name_of_the_key() -> None:
    with pytest.raises(IntegrityError, match="names 'Director Chen', and its attestation key is 'Wang'"):
        open_record(TRUSTED, attest(WANG, attestation(by="Director Chen")))
    with pytest.raises(IntegrityError, match="approval key is 'Li'"):
        open_record(TRUSTED, _approved(attest(WANG, attestation()), by="Director Chen"))


def test_a_key_that_is_not_pinned_or_for_another_purpose_signs_nothing() -> None:
    signed = attest(WANG, attestation())

    with pytest.raises(IntegrityError, match="not trusted"):
        open_record(TrustedKeys([LI.public("Li")]), signed)
    with pytest.raises(IntegrityError, match="not trusted"):
        open_record(TrustedKeys([WANG.public("Wang")]), approve(LI, TRUSTED, signed, by="Li", time=NOW))
    with pytest.raises(RefusedError, match="signs approval"):
        attest(LI, attestation())


def test_an_approval_belongs_to_one_statement() -> None:
    first, second = attest(WANG, attestation()), attest(WANG, attestation(item="8.1.7.1.b"))
    approved = json.loads(approve(LI, TRUSTED, first, by="Li", time=NOW))
    swapped = canonical.dumps({**approved, "statement": json.loads(second)["statement"]})

    with pytest.raises(IntegrityError, match="for another statement"):
        open_record(TRUSTED, swapped)
    with pytest.raises(RefusedError, match="already"):
        approve(LI, TRUSTED, canonical.dumps(approved), by="Li", time=NOW)


@pytest.mark.parametrize("moment", [NOW - timedelta(seconds=1), NOW + timedelta(days=365)])
def test_an_approval_before_the_making_or_after_the_end_does_not_hold(moment: datetime) -> None:
    signed = attest(WANG, attestation())

    with pytest.raises(RefusedError, match="outside"):
        approve(LI, TRUSTED, signed, by="Li", time=moment)
    with pytest.raises(IntegrityError, match="before it was made, or after its end"):
        open_record(TRUSTED, _approved(signed, time=moment))


@pytest.mark.parametrize(
    "changes",
    [
        {"valid_until": NOW + timedelta(days=365, seconds=1)},
        {"valid_until": NOW},
        {"valid_until": NOW - timedelta(days=1)},
        {"evidence": ()},
        {"evidence": (FILE, FILE)},
        {"statement": "ok"},
        {"item": "8.1.7"},
        {"item": "GEN-ORS-1-c"},
        {"verdict": "undecided"},
        {"by": "Wang\nLi"},
        {"unknown": 1},
    ],
    ids=str,
)
def test_a_statement_that_says_too_little_or_holds_too_long_cannot_be_made(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        attestation(**changes)


def test_what_does_not_apply_or_is_not_met_needs_words_and_no_file() -> None:
    for verdict in ("not_applicable", "not_conform"):
        assert attestation(verdict=verdict, evidence=()).verdict == verdict


@pytest.mark.parametrize("field", ["reason", "compensation", "check"])
def test_a_waiver_without_reason_or_compensation_cannot_be_made(field: str) -> None:
    with pytest.raises(ValidationError):
        waiver(**{field: ""})


def test_statements_that_end_within_thirty_days_are_listed_the_next_first() -> None:
    def approved(days: int) -> bytes:
        statement = waiver(made=NOW - timedelta(days=60), valid_until=NOW + timedelta(days=days))
        return approve(LI, TRUSTED, attest(WANG, statement), by="Li", time=NOW - timedelta(days=59))

    records = [open_record(TRUSTED, approved(days)) for days in (31, 30, -1, 5)]
    pending = open_record(TRUSTED, attest(WANG, waiver(valid_until=NOW + timedelta(days=1))))

    found = expiring([*records, pending], NOW)

    assert [(record.statement.valid_until - NOW).days for record in found] == [-1, 5, 30]


@settings(max_examples=60)
@given(st.data())
def test_a_record_with_any_byte_changed_is_refused(data: st.DataObject) -> None:
    whole = approve(LI, TRUSTED, attest(WANG, waiver()), by="Li", time=NOW)
    position = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != whole[position]))
    cut = data.draw(st.sampled_from([None, position]))

    changed = whole[:position] if cut is not None else whole[:position] + bytes([byte]) + whole[position + 1 :]

    with pytest.raises(GovsecError):
        open_record(TRUSTED, changed)


def test_an_approval_that_is_stripped_leaves_a_statement_that_is_pending() -> None:
    approved = json.loads(approve(LI, TRUSTED, attest(WANG, waiver()), by="Li", time=NOW))

    assert open_record(TRUSTED, canonical.dumps({**approved, "approval": None})).standing(NOW) is Standing.PENDING


def test_a_record_larger_than_any_statement_is_not_read() -> None:
    with pytest.raises(LimitError):
        open_record(TRUSTED, b" " * (1 << 20 | 1))


def test_evidence_is_kept_under_its_digest_and_looked_at_again(tmp_path: Path) -> None:
    source, folder = tmp_path / "list.pdf", tmp_path / "evidence"
    source.write_bytes(b"signed list of posts")

    kept = keep_evidence(source, folder)
    again = keep_evidence(source, folder)

    stored = folder / kept.sha256
    assert kept == again and kept.name == "list.pdf" and kept.size_bytes == 20
    assert stored.read_bytes() == b"signed list of posts" and stored.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in folder.iterdir()] == [kept.sha256]
    assert evidence_flaws([kept], folder) == ()

    stored.write_bytes(b"signed list of POSTS")
    assert [flaw.kind for flaw in evidence_flaws([kept], folder)] == [FlawKind.ALTERED]
    stored.unlink()
    assert [flaw.kind for flaw in evidence_flaws([kept], folder)] == [FlawKind.MISSING]


def test_what_is_no_plain_file_is_no_evidence(tmp_path: Path) -> None:
    import os

    (tmp_path / "link").symlink_to("/etc/hostname")
    os.mkfifo(tmp_path / "fifo")

    for name in ("link", "fifo", "missing", "."):
        with pytest.raises(ConfigurationError):
            keep_evidence(tmp_path / name, tmp_path / "evidence")
    assert list((tmp_path / "evidence").iterdir()) == []


def _approved(signed: bytes, *, by: str = "Li", time: datetime = NOW) -> bytes:
    """The record with an approval that :func:`approve` would not have made."""
    import hashlib

    from govsec.clock import format_time

    value = json.loads(signed)
    digest = hashlib.sha256(canonical.dumps(value["statement"])).hexdigest()
    body = {"schema": APPROVAL_SCHEMA, "approves": digest, "by": by, "time": format_time(time)}
    return canonical.dumps({**value, "approval": json.loads(sign_document(LI, body))})


@pytest.mark.parametrize("text", ["Looked at.", "现场核对", "厂商七月修复"])
def test_a_few_chinese_characters_explain_as_much_as_a_sentence(text: str) -> None:
    assert TypeAdapter(Words).validate_python(text) == text


@pytest.mark.parametrize("text", ["", "   ok     ", "done", "已查阅", "。。 " * 1, " " * 40])
def test_what_explains_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Words).validate_python(text)
