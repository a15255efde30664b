"""Signatures and signed documents: one key, one purpose, one canonical form; only pinned keys count."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govsec.crypto.document import open_document, sign_document
from govsec.crypto.signing import PublicKey, Purpose, Signer, TrustedKeys
from govsec.errors import ConfigurationError, FormatError, IntegrityError, LimitError

#: RFC 8032, section 7.1, test 1: secret and public key.
RFC_SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
RFC_PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
SIGNER = Signer.generate(Purpose.COMMIT)
TRUSTED = TrustedKeys([SIGNER.public("production")])
BODY = {"number": 1, "名": "值", "objects": ["a", "b"]}


def test_the_public_key_is_that_of_the_rfc() -> None:
    assert Signer(Purpose.COMMIT, RFC_SEED).public().raw == RFC_PUBLIC


def test_a_signature_is_good_for_its_payload_alone() -> None:
    signature = SIGNER.sign(b"payload")
    TRUSTED.verify(Purpose.COMMIT, SIGNER.key_id, b"payload", signature)
    with pytest.raises(IntegrityError):
        TRUSTED.verify(Purpose.COMMIT, SIGNER.key_id, b"payloae", signature)


def test_a_signature_for_one_purpose_is_none_for_another() -> None:
    evidence = Signer(Purpose.EVIDENCE, RFC_SEED)
    trusted = TrustedKeys([evidence.public(), Signer(Purpose.COMMIT, RFC_SEED).public()])
    with pytest.raises(IntegrityError):
        trusted.verify(Purpose.COMMIT, evidence.key_id, b"payload", evidence.sign(b"payload"))


def test_a_key_that_nobody_pinned_is_not_trusted() -> None:
    with pytest.raises(IntegrityError, match="not trusted"):
        TrustedKeys().verify(Purpose.COMMIT, SIGNER.key_id, b"x", SIGNER.sign(b"x"))


def test_a_private_key_file_is_for_its_owner_alone_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "commit.key"
    SIGNER.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Signer.load(path, Purpose.COMMIT).key_id == SIGNER.key_id


def test_a_private_key_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "commit.key"
    path.write_text("precious")
    with pytest.raises(ConfigurationError):
        SIGNER.save(path)
    assert path.read_text() == "precious"


@pytest.mark.parametrize("content", ["", "{}", "[]", "junk", '{"purpose":"commit","private":"AA=="}', '{"purpose":[]}'])
def test_a_broken_private_key_file_is_a_configuration_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "key"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError):
        Signer.load(path, Purpose.COMMIT)


def test_a_key_for_another_purpose_is_not_loaded(tmp_path: Path) -> None:
    SIGNER.save(tmp_path / "key")
    with pytest.raises(ConfigurationError, match="commit"):
        Signer.load(tmp_path / "key", Purpose.EVIDENCE)


def test_a_private_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    SIGNER.save(tmp_path / "key")
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(ConfigurationError):
        Signer.load(tmp_path / "key", Purpose.COMMIT)


def test_roots_come_back_from_their_file(tmp_path: Path) -> None:
    path = tmp_path / "roots.yaml"
    trusted = TRUSTED.with_key(Signer.generate(Purpose.EVIDENCE).public("审计"))
    trusted.save(path)
    assert list(TrustedKeys.load(path)) == list(trusted)
    assert [item.name for item in tmp_path.iterdir()] == ["roots.yaml"]


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"keys": {}},
        {"extra": 1},
        {"keys": [{"purpose": "commit"}]},
        {"keys": [{"purpose": "nothing", "key": "x", "public": ""}]},
        {"keys": [{"purpose": "commit", "key": "0" * 32, "public": b64encode(RFC_PUBLIC).decode()}]},
        {"keys": [{"purpose": "commit", "key": "0" * 32, "public": "*"}]},
        {"keys": [7]},
    ],
    ids=str,
)
def test_a_roots_file_that_is_not_exact_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "roots.yaml"
    path.write_text(json.dumps({"version": 1, "keys": [], **change}))
    with pytest.raises(ConfigurationError):
        TrustedKeys.load(path)


def test_a_document_gives_its_body_back() -> None:
    assert open_document(TRUSTED, Purpose.COMMIT, sign_document(SIGNER, BODY)) == BODY


def test_a_document_of_another_purpose_is_refused() -> None:
    with pytest.raises(IntegrityError, match="commit"):
        open_document(TRUSTED, Purpose.EVIDENCE, sign_document(SIGNER, BODY))


def test_a_document_by_an_unknown_key_is_refused() -> None:
    with pytest.raises(IntegrityError, match="not trusted"):
        open_document(TRUSTED, Purpose.COMMIT, sign_document(Signer.generate(Purpose.COMMIT), BODY))


def test_a_document_longer_than_agreed_is_not_parsed() -> None:
    data = sign_document(SIGNER, BODY)
    with pytest.raises(LimitError):
        open_document(TRUSTED, Purpose.COMMIT, data, size_max=len(data) - 1)


def test_a_document_in_another_form_is_refused() -> None:
    data = sign_document(SIGNER, BODY)
    with pytest.raises(FormatError):
        open_document(TRUSTED, Purpose.COMMIT, json.dumps(json.loads(data)).encode())


def test_one_statement_has_one_sequence_of_bytes() -> None:
    data = sign_document(SIGNER, BODY)
    digit = data.index(b'=="}') - 1
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    # 64 bytes end in a digit of which two bits count: the next one of the alphabet decodes to the same signature.
    other = alphabet[alphabet.index(data[digit]) ^ 1]
    with pytest.raises(FormatError, match="canonical"):
        open_document(TRUSTED, Purpose.COMMIT, data[:digit] + bytes([other]) + data[digit + 1 :])


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_every_mutated_document_is_refused(data: st.DataObject) -> None:
    whole = sign_document(SIGNER, BODY)
    mutated = bytearray(whole)
    mutated[data.draw(st.integers(0, len(mutated) - 1))] ^= data.draw(st.integers(1, 255))
    del mutated[data.draw(st.integers(0, len(mutated))) :]
    with pytest.raises(IntegrityError):
        open_document(TRUSTED, Purpose.COMMIT, bytes(mutated))


def test_a_public_key_with_a_foreign_id_is_not_found() -> None:
    with pytest.raises(IntegrityError):
        TrustedKeys([PublicKey(Purpose.COMMIT, RFC_PUBLIC)]).get(Purpose.COMMIT, SIGNER.key_id)
