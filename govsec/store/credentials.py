"""Access keys of S3-compatible stores, read from files that only their owner can read.

Two forms are taken: JSON (``{"access_key": …, "secret_key": …}``) and the INI form of the AWS tools
(``aws_access_key_id``, ``aws_secret_access_key`` under ``[default]``). Nothing is ever taken from the environment:
which of several credentials a program acts with must be what the configuration says.
"""

from __future__ import annotations

import configparser
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from govsec.config import read_secret
from govsec.errors import ConfigurationError

_ALIASES = {
    "access_key": "access_key",
    "aws_access_key_id": "access_key",
    "secret_key": "secret_key",
    "aws_secret_access_key": "secret_key",
    "session_token": "session_token",
    "aws_session_token": "session_token",
}


@dataclass(frozen=True, slots=True)
class Credentials:
    """One identity at one server. The secret never shows in a ``repr``."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


def read_credentials(path: Path) -> Credentials:
    """The credentials in ``path``.

    Raises:
        ConfigurationError: unreadable, open to others, or not one of the two forms. The message shows no value.
    """
    try:
        text = read_secret(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"credentials file {path}: not text") from error
    values = _parse_json(text, path) if text.lstrip().startswith("{") else _parse_ini(text, path)
    named: dict[str, str] = {}
    for key, value in values.items():
        canonical = _ALIASES.get(key)
        if canonical is None or not isinstance(value, str) or not value.isascii() or canonical in named:
            raise ConfigurationError(f"credentials file {path}: key {key!r} is unknown, repeated or not plain text")
        named[canonical] = value
    if not named.get("access_key") or not named.get("secret_key"):
        raise ConfigurationError(f"credentials file {path}: access_key and secret_key are needed")
    return Credentials(named["access_key"], named["secret_key"], named.get("session_token"))


def _parse_json(text: str, path: Path) -> Mapping[str, object]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        # Without the cause: the decoder's message quotes the text.
        raise ConfigurationError(f"credentials file {path}: not JSON") from None
    if not isinstance(value, dict):
        raise ConfigurationError(f"credentials file {path}: not a JSON object")
    return value


def _parse_ini(text: str, path: Path) -> Mapping[str, object]:
    parser = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        parser.read_string(text if text.lstrip().startswith("[") else f"[default]\n{text}")
    except configparser.Error:
        raise ConfigurationError(f"credentials file {path}: neither JSON nor INI") from None
    if parser.sections() != ["default"]:
        raise ConfigurationError(f"credentials file {path}: one section [default] is expected")
    return dict(parser["default"])
