"""What a pack may look like, and that everything else is refused with file and line before anything is used."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from govsec.clock import SystemClock
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import ConfigurationError, IntegrityError
from govsec.policy.expressions import Expressions
from govsec.policy.pack import Pack
from govsec.policy.packfiles import FILE_SIZE_MAX, SIGNATURE, read_folder, sign
from govsec.policy.packload import Known, load_shipped, load_signed
from tests.policy.pack_samples import CHECK, FIXTURES, HEAD, KNOWN, read, write_pack


@pytest.fixture(scope="module")
def child() -> Iterator[Expressions]:
    with Expressions(SystemClock()) as expressions:
        yield expressions


def test_a_pack_is_read_whole(tmp_path: Path, child: Expressions) -> None:
    pack = read(write_pack(tmp_path), child)

    assert (pack.id, pack.head.version, [check.id for check in pack.checks]) == ("small", "1.0.0", ["small-lock"])
    assert len(pack.sha256) == 64


@pytest.mark.parametrize(
    ("old", "new", "where", "what"),
    [
        ("  remediation:", "  colour: red\n  remediation:", "checks/lock.yaml:21", "Extra inputs"),
        ("kind: faillock", "kind: shell", "checks/lock.yaml:10", "faillock"),
        ("key: GEN-CES-1-b", "key: GEN-CES-1-z", "checks/lock.yaml:6", "no requirement GEN-CES-1-z"),
        ("case: 6.4.1.1", "case: 6.4.9.9", "checks/lock.yaml:20", "no high-risk case 6.4.9.9"),
        ("mitigated_by: [small-lock]", "mitigated_by: [small-door]", "checks/lock.yaml:20", "no check small-door"),
        ("lock.deny <=", "lock.deny <= <=", "checks/lock.yaml:17", "Syntax error"),
        ("lock.deny <=", "luck.deny <=", "checks/lock.yaml:17", "luck"),
        ("params.tries_max,", "params.tries,", "checks/lock.yaml:17", "params.tries"),
        ("platform.os_id", "platform.os", "checks/lock.yaml:8", "platform.os"),
        ("cel: lock.root,", "cel: 'lock.all(lock, true)',", "checks/lock.yaml:18", "which is taken"),
        ("cel: lock.root,", "cel: 'true',", "checks/lock.yaml:18", "looks at nothing"),
        ("cel: lock.root,", "cel: lock.root.reverse(),", "checks/lock.yaml:18", "unknown function reverse"),
        ("id: small-lock", "id: other-lock", "checks/lock.yaml:2", "does not begin with small-"),
        ("default: 5", "default: five", "checks/lock.yaml:15", "not of type int"),
        ("name: root-too", "name: few", "checks/lock.yaml:2", "names something twice"),
        ("absent: {lock:", "absent: {lack:", "checks/lock.yaml:2", "no probe of this check"),
        ("    lock: {kind: faillock}", "    lock: {kind: faillock}\n    sudo: {kind: sudoers}", "checks/lock.yaml:11",
         "reads probe sudo"),
        ("    tries_max:", "    other: {type: int, default: 1, source: {zh: x, en: x, status: draft}}\n    tries_max:",
         "checks/lock.yaml:15", "no expression reads parameter other"),
        ("guards: {zh: 猜口令, en: Guessing}", "guards: &a {zh: x, en: y}", "checks/lock.yaml:4", "anchors"),
        ("title: {zh: 锁定, en: Locked}", "title: {zh: 锁定}", "checks/lock.yaml:3", "Field required"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_with_file_and_line(
    tmp_path: Path, child: Expressions, old: str, new: str, where: str, what: str
) -> None:
    assert old in CHECK
    place = write_pack(tmp_path, check=CHECK.replace(old, new))

    with pytest.raises(ConfigurationError) as error:
        read(place, child)

    assert f"{where}: " in str(error.value)
    assert what in str(error.value)


def test_a_check_that_is_there_twice_is_refused(tmp_path: Path, child: Expressions) -> None:
    place = write_pack(tmp_path)
    (place / "checks" / "more.yaml").write_text(CHECK, encoding="utf-8")

    with pytest.raises(ConfigurationError, match=r"more.yaml:2: small-lock is there twice"):
        read(place, child)


@pytest.mark.parametrize("missing", ["pass-set", "not-applicable-other"])
def test_a_check_without_its_fixtures_is_refused(tmp_path: Path, child: Expressions, missing: str) -> None:
    fixtures = {name: value for name, value in FIXTURES.items() if name != missing}

    with pytest.raises(ConfigurationError, match=r"lock.yaml:2: small-lock has no fixture"):
        read(write_pack(tmp_path, fixtures=fixtures), child)


@pytest.mark.parametrize("head", [HEAD + "more: 1\n", HEAD.replace("schema: 1", "schema: 2"), "- 1\n", "", "a: [\n"])
def test_a_head_of_another_form_is_refused(tmp_path: Path, child: Expressions, head: str) -> None:
    with pytest.raises(ConfigurationError, match=r"pack\.yaml"):
        read(write_pack(tmp_path, head=head), child)


def test_a_bomb_of_brackets_or_aliases_is_refused_before_it_grows(tmp_path: Path, child: Expressions) -> None:
    aliases = "a: &a [x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20)
    )
    for text in ("[" * 500_000, aliases, "checks: !!python/object/apply:os.system ['true']"):
        with pytest.raises(ConfigurationError, match=r"lock\.yaml"):
            read(write_pack(tmp_path, check=text), child)


def test_an_expression_too_deep_for_a_parser_is_refused_with_its_line(tmp_path: Path, child: Expressions) -> None:
    deep = CHECK.replace("cel: lock.root,", f"cel: '{'(' * 900}lock.root{')' * 900}',")

    with pytest.raises(ConfigurationError, match=r"lock.yaml:18: small-lock: expression: nested deeper"):
        read(write_pack(tmp_path, check=deep), child)


@pytest.mark.parametrize("name", ["link", "fifo", "odd name", "deep", "large", "stranger"])
def test_folders_that_hold_more_than_a_pack_are_refused(tmp_path: Path, child: Expressions, name: str) -> None:
    place = write_pack(tmp_path)
    match name:
        case "link":
            (place / "checks" / "more.yaml").symlink_to("/etc/passwd")
        case "fifo":
            os.mkfifo(place / "checks" / "more.yaml")
        case "odd name":
            (place / "checks" / ".hidden").write_text("x")
        case "deep":
            (place / "fixtures" / "small-lock" / "a" / "b").mkdir(parents=True)
        case "large":
            (place / "checks" / "more.yaml").write_bytes(b"#" * (FILE_SIZE_MAX + 1))
        case "stranger":
            (place / "run.sh").write_text("true")

    with pytest.raises(ConfigurationError):
        read(place, child)


def test_a_pack_that_is_a_link_itself_or_is_not_there_is_refused(tmp_path: Path) -> None:
    place = write_pack(tmp_path)
    (tmp_path / "link").symlink_to(place)

    for path in (tmp_path / "link", tmp_path / "nowhere", place / "pack.yaml"):
        with pytest.raises(ConfigurationError, match="pack"):
            read_folder(path)


@pytest.fixture
def signer() -> Signer:
    return Signer.generate(Purpose.PACK)


def signed(folder: Path, signer: Signer) -> Path:
    place = write_pack(folder)
    (place / SIGNATURE).write_bytes(sign(read_folder(place), signer, pack="small", version="1.0.0"))
    return place


def load(place: Path, trusted: TrustedKeys, child: Expressions) -> Pack:
    return load_signed(place, trusted, KNOWN, child)


def test_a_pack_signed_by_a_pinned_key_is_read_and_names_the_key(
    tmp_path: Path, child: Expressions, signer: Signer
) -> None:
    pack = load(signed(tmp_path, signer), TrustedKeys([signer.public("packs")]), child)

    assert pack.trust == signer.key_id
    assert pack.sha256 == read(tmp_path / "small", child).sha256


def test_a_pack_that_nobody_signed_is_refused(tmp_path: Path, child: Expressions, signer: Signer) -> None:
    with pytest.raises(ConfigurationError, match="not signed"):
        load(write_pack(tmp_path), TrustedKeys([signer.public()]), child)


@pytest.mark.parametrize("change", ["altered", "added", "removed", "check removed", "another key", "nobody"])
def test_a_pack_that_is_not_what_was_signed_is_an_integrity_failure(
    tmp_path: Path, child: Expressions, signer: Signer, change: str
) -> None:
    place, trusted = signed(tmp_path, signer), TrustedKeys([signer.public()])
    fixture = place / "fixtures" / "small-lock" / "pass-set.json"
    match change:
        case "altered":
            fixture.write_bytes(fixture.read_bytes() + b" ")
        case "added":
            fixture.with_name("pass-more.json").write_bytes(fixture.read_bytes())
        case "removed":
            fixture.with_name("unknown-cut.json").unlink()
        case "check removed":
            (place / "checks" / "lock.yaml").unlink()
        case "another key":
            other = Signer.generate(Purpose.PACK)
            (place / SIGNATURE).write_bytes(sign(read_folder(place), other, pack="small", version="1.0.0"))
        case "nobody":
            trusted = TrustedKeys()

    with pytest.raises(IntegrityError) as error:
        load(place, trusted, child)

    assert error.value.exit_code == 6


@pytest.mark.parametrize("purpose", [Purpose.COMMIT, Purpose.EVIDENCE, Purpose.APPROVAL])
def test_a_key_of_another_purpose_signs_no_pack(tmp_path: Path, child: Expressions, purpose: Purpose) -> None:
    other = Signer.generate(purpose)
    place = write_pack(tmp_path)
    (place / SIGNATURE).write_bytes(sign(read_folder(place), other, pack="small", version="1.0.0"))

    with pytest.raises(IntegrityError):
        load(place, TrustedKeys([other.public()]), child)


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 100_000, b"\xff"])
def test_a_signature_that_is_none_is_an_integrity_failure(
    tmp_path: Path, child: Expressions, signer: Signer, data: bytes
) -> None:
    place = write_pack(tmp_path)
    (place / SIGNATURE).write_bytes(data)

    with pytest.raises(IntegrityError, match="signature"):
        load(place, TrustedKeys([signer.public()]), child)


@pytest.mark.parametrize("name", ["nothing", "../sshd", "", "continuity", "sshd/checks"])
def test_only_names_of_shipped_packs_lead_to_one(child: Expressions, name: str) -> None:
    with pytest.raises(ConfigurationError, match="did not come with govsec"):
        load_shipped(name, Known.shipped(), child)
