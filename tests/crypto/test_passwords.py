"""New passwords that are among the first to be tried are refused, and the message says nothing of them."""

from __future__ import annotations

import secrets

import pytest

from govsec.crypto.passwords import refuse_weak, unguessed_count
from govsec.errors import ConfigurationError


@pytest.mark.parametrize(
    "password",
    [
        "", "hunter2", "Tr0ub4dor&3", "password1234", "P@ssw0rd2026!", "passwordpassword", "aaaaaaaaaaaaaaaaaaaa",
        "1qaz2wsx3edc4rfv", "abcdefghijklmnop", "qwertyuiop[]123", "20262026202620262026", "backup-backup-2026",
        "Admin@Huawei2026", "x7x7x7x7x7x7x7x7x7", "系统备份密码2026年", "woaini5201314mima", "9876543210987654321",
        "test test test test test",
    ],
)  # fmt: skip
def test_what_is_tried_first_is_refused_without_being_told(password: str) -> None:
    with pytest.raises(ConfigurationError, match="secret file key: too weak") as failure:
        refuse_weak(password.encode(), "secret file key")
    assert not password or password not in str(failure.value)


@pytest.mark.parametrize(
    "password",
    ["correct horse battery staple", "雪夜访戴，兴尽而返，何必相见", "vTq8#kd2LwzR", "ßtraße nach Ypern im Schnee"],
)
def test_what_nobody_would_guess_is_taken(password: str) -> None:
    refuse_weak(password.encode(), "key")


def test_what_a_machine_made_is_taken_whatever_it_is() -> None:
    for _ in range(200):
        assert unguessed_count(secrets.token_urlsafe(24)) >= 20
    refuse_weak(secrets.token_bytes(30), "key")
    with pytest.raises(ConfigurationError):
        refuse_weak(bytes(range(200, 240)), "key")
