"""Access keys come from a file that only its owner can read, and never show."""

from __future__ import annotations

from pathlib import Path

import pytest

from govsec.errors import ConfigurationError
from govsec.store.credentials import Credentials, read_credentials

GOOD = {
    "json": '{"access_key": "AK", "secret_key": "hidden"}',
    "json with token": '{"access_key": "AK", "secret_key": "hidden", "session_token": "T"}',
    "aws names in json": '{"aws_access_key_id": "AK", "aws_secret_access_key": "hidden"}',
    "ini": "[default]\naws_access_key_id = AK\naws_secret_access_key = hidden\n",
    "ini without a section": "access_key=AK\nsecret_key=hidden\n",
    "ini with a percent sign": "[default]\naccess_key = AK\nsecret_key = hid%den\n",
}
BAD = {
    "empty": "\n",
    "no secret": '{"access_key": "AK"}',
    "empty secret": '{"access_key": "AK", "secret_key": ""}',
    "unknown key": '{"access_key": "AK", "secret_key": "hidden", "role": "admin"}',
    "key twice": '{"access_key": "AK", "aws_access_key_id": "AK", "secret_key": "hidden"}',
    "number": '{"access_key": "AK", "secret_key": 12345}',
    "list": '["AK", "hidden"]',
    "broken json": '{"access_key": "AK", "secret_key": "hidden"',
    "deep json": '{"access_key": ' * 5000 + "1" + "}" * 5000,
    "several sections": "[default]\naccess_key=AK\nsecret_key=hidden\n[other]\naccess_key=B\n",
    "other section": "[other]\naccess_key=AK\nsecret_key=hidden\n",
    "no ini": "hidden and nothing else",
    "not ascii": '{"access_key": "AK", "secret_key": "hidden钥"}',
}


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("form", GOOD)
def test_both_forms_are_read(tmp_path: Path, form: str) -> None:
    found = read_credentials(write(tmp_path / "keys", GOOD[form]))
    assert (found.access_key, found.secret_key.replace("%", "")) == ("AK", "hidden")


@pytest.mark.parametrize("form", BAD)
def test_anything_else_is_refused_without_showing_it(tmp_path: Path, form: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_credentials(write(tmp_path / "keys", BAD[form]))
    assert "hidden" not in str(caught.value) and "keys" in str(caught.value)
    assert caught.value.__cause__ is None or "hidden" not in str(caught.value.__cause__)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigurationError, match="600"):
        read_credentials(write(tmp_path / "keys", GOOD["json"], mode))


def test_systemd_credentials_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "keys", GOOD["json"])
    # monkeypatch: systemd passes the directory in the environment.
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_credentials(Path("${CREDENTIALS_DIRECTORY}/keys")).access_key == "AK"


def test_secret_is_not_part_of_the_representation() -> None:
    assert repr(Credentials("AK", "hidden", "hidden too")) == "Credentials(access_key='AK')"
