"""Key files: the password opens them, nothing else does, and a planted one takes neither memory nor time."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govsec.crypto.keyfile import KdfParameters, create_key_file, open_key_file, read_key_file_info
from govsec.crypto.restic import MasterKey
from govsec.errors import FormatError, GovsecError, IntegrityError, LimitError, WrongPasswordError

CHEAP = KdfParameters(n=2)
MASTER = MasterKey.generate()


def make(password: bytes = b"right", kdf: KdfParameters = CHEAP) -> bytes:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return create_key_file(MASTER, password, hostname="主机", username="u", created=moment, kdf=kdf)


def changed(**fields: object) -> bytes:
    return json.dumps({**json.loads(make()), **fields}).encode()


def test_the_password_gives_the_master_key() -> None:
    assert open_key_file(make(), b"right") == MASTER


def test_the_default_cost_is_that_of_restic() -> None:
    fields = json.loads(make(kdf=KdfParameters()))
    assert (fields["N"], fields["r"], fields["p"], fields["kdf"]) == (32768, 8, 1, "scrypt")


def test_fields_are_in_the_order_of_restic() -> None:
    assert list(json.loads(make())) == ["created", "username", "hostname", "kdf", "N", "r", "p", "salt", "data"]


def test_another_password_does_not_open() -> None:
    with pytest.raises(WrongPasswordError):
        open_key_file(make(), b"wrong")


def test_an_empty_password_is_refused() -> None:
    with pytest.raises(WrongPasswordError):
        make(password=b"")


def test_neither_password_nor_key_lies_in_the_file() -> None:
    data = make(password=b"a long pass phrase")
    assert b"a long pass phrase" not in data and MASTER.encrypt.hex().encode() not in data


def test_what_it_says_in_the_clear_is_read() -> None:
    info = read_key_file_info(make())
    assert (info.hostname, info.username, info.created, info.kdf) == ("主机", "u", "2026-01-01T00:00:00Z", CHEAP)


@pytest.mark.parametrize(
    "fields",
    [{"N": 1 << 30}, {"N": 2, "p": 1 << 26}, {"r": 1 << 22}, {"N": 1 << 22, "r": 8}, {"N": 10**4000 + 1}],
    ids=str,
)
def test_costs_without_measure_are_refused_before_they_are_paid(fields: dict[str, object]) -> None:
    with pytest.raises((LimitError, FormatError)):
        open_key_file(changed(**fields), b"right")


@pytest.mark.parametrize(
    "fields",
    [
        {"kdf": "argon2"},
        {"kdf": None},
        {"N": 3},
        {"N": 0},
        {"N": -2},
        {"r": 0},
        {"p": 0},
        {"N": "2"},
        {"N": 2.0},
        {"N": True},
        {"salt": "AAAA"},
        {"salt": 5},
        {"salt": "*"},
        {"data": "é"},
        {"data": None},
    ],
    ids=str,
)
def test_a_malformed_key_file_is_a_format_error(fields: dict[str, object]) -> None:
    with pytest.raises(FormatError):
        open_key_file(changed(**fields), b"right")


def test_an_oversized_file_is_not_parsed() -> None:
    with pytest.raises(LimitError):
        open_key_file(b"{" + b" " * (1 << 20), b"right")


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_mutated_key_files_raise_only_our_errors(data: st.DataObject) -> None:
    mutated = bytearray(make())
    for _ in range(data.draw(st.integers(1, 4))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    del mutated[data.draw(st.integers(0, len(mutated))) :]
    try:
        assert open_key_file(bytes(mutated), b"right") == MASTER
    except GovsecError as error:
        assert isinstance(error, (IntegrityError, WrongPasswordError))
