"""The configuration says in one line what is wrong with it, and hostile YAML costs little."""

from __future__ import annotations

import json
import os
from datetime import date
from pathlib import Path

import jsonschema
import pytest

from govsec.config import Config, load_config, read_secret, read_yaml
from govsec.errors import ConfigurationError

GOOD = """
version: 1
organization: 某市大数据局
centers:
  main: {role: production, store: {kind: local, path: a}, credentials_file: keys/main}
  near: {role: same_city, store: {kind: s3, endpoint: "https://s3.example:9000", bucket: backup}}
systems:
  - name: hr
    title: 人事系统
    password_file: keys/hr
    backups: [{name: files, source: {kind: files, paths: [/srv/hr]}}]
    plans: [plans/hr.yaml]
"""


def _write(directory: Path, text: str) -> Path:
    path = directory / "govsec.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_relative_paths_are_taken_from_where_the_file_lies(tmp_path: Path) -> None:
    config = load_config(_write(tmp_path, GOOD))

    main = config.centers["main"]
    assert main.store.kind == "local"
    assert main.store.path == tmp_path / "a"
    assert main.credentials_file == tmp_path / "keys/main"
    assert config.systems[0].password_file == tmp_path / "keys/hr"
    assert config.systems[0].plans == (tmp_path / "plans/hr.yaml",)
    assert config.systems[0].backups[0].source.model_dump()["paths"] == (Path("/srv/hr"),)


def test_the_json_schema_accepts_what_is_good_and_refuses_an_unknown_key(tmp_path: Path) -> None:
    schema = Config.model_json_schema()
    value = read_yaml(_write(tmp_path, GOOD))

    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(value, schema)
    assert isinstance(value, dict)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**value, "colour": "red"}, schema)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (("version: 1", "version: 2"), "version"),
        (("organization:", "organisation:"), "organisation"),
        (("role: same_city", "role: same-city"), "centers.near.role"),
        (("role: same_city", "role: production"), "two centers have the role production"),
        (("kind: s3", "kind: ftp"), "centers.near.store"),
        (("https://s3.example:9000", "s3.example"), "endpoint"),
        (("name: hr", "name: HR!"), "systems.0.name"),
        (("paths: [/srv/hr]", "paths: []"), "paths"),
        (("password_file", "password"), "systems.0.password"),
        (("{name: files,", "{name: files, pack_size_bytes: 1,"), "pack_size_bytes"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_that_names_the_file_and_the_key(
    tmp_path: Path, change: tuple[str, str], key: str
) -> None:
    assert change[0] in GOOD
    path = _write(tmp_path, GOOD.replace(*change))

    with pytest.raises(ConfigurationError) as caught:
        load_config(path)

    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert key in message
    assert "\n" not in message


def test_a_value_that_may_be_a_secret_is_not_repeated_in_the_message(tmp_path: Path) -> None:
    path = _write(tmp_path, GOOD.replace("password_file: keys/hr", "password: hunter2"))

    with pytest.raises(ConfigurationError) as caught:
        load_config(path)

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("version: 1\nversion: 1\n", "'version' is written twice"),
        ("systems:\n  - {name: a, name: b}\n", "'name' is written twice"),
        ("a: [1, 2\n", "not YAML"),
        ("a: !!python/object/apply:os.system ['true']\n", "not YAML"),
        ("a: 1\n---\nb: 2\n", "not YAML"),
        ("a: \xff\n", "not YAML"),
        ("a: &x [*x]\n", "inside its own anchor"),
        ("[" * 5000 + "]" * 5000, "not YAML"),
    ],
)
def test_yaml_that_is_not_one_plain_document_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(text.encode("latin-1"))

    with pytest.raises(ConfigurationError, match=complaint) as caught:
        read_yaml(path)
    assert "\n" not in str(caught.value)


def test_aliases_to_aliases_cost_what_they_stand_for(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 10))
    merged = "a0: &a0 {k: v}\n"
    merged += "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 10))

    for text in (bomb, merged):
        with pytest.raises(ConfigurationError, match="aliases counted"):
            read_yaml(_write(tmp_path, text))


def test_an_honest_anchor_may_be_used_again(tmp_path: Path) -> None:
    path = _write(tmp_path, "base: &base {keep_last: 3}\nhr: {<<: *base, keep_daily: 7}\nlaw: *base\n")

    assert read_yaml(path) == {
        "base": {"keep_last": 3},
        "hr": {"keep_last": 3, "keep_daily": 7},
        "law": {"keep_last": 3},
    }


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="larger than"):
        read_yaml(_write(tmp_path, "#" * ((4 << 20) + 1)))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.yaml: No such file"):
        load_config(tmp_path / "absent.yaml")


def _secret(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def test_a_secret_is_read_without_the_newline_at_its_end(tmp_path: Path) -> None:
    assert read_secret(_secret(tmp_path / "s", b" pass word \r\n")) == b" pass word "


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o660, 0o777])
def test_a_secret_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = _secret(tmp_path / "s", b"hunter2", mode)

    with pytest.raises(ConfigurationError, match="chmod 600") as caught:
        read_secret(path)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"\n", b"x" * ((64 << 10) + 1)])
def test_a_secret_that_is_empty_or_endless_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ConfigurationError, match="empty or too long"):
        read_secret(_secret(tmp_path / "s", data))


def test_a_fifo_or_directory_in_place_of_a_secret_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)

    for path in (tmp_path / "fifo", tmp_path):
        with pytest.raises(ConfigurationError, match=r"regular file|directory"):
            read_secret(path)


def test_a_systemd_credential_is_found_where_systemd_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The environment is the interface that systemd defines here; there is no other way to hand it in.
    _secret(tmp_path / "hr", b"from systemd")
    text = GOOD.replace("password_file: keys/hr", "password_file: ${CREDENTIALS_DIRECTORY}/hr")
    password_file = load_config(_write(tmp_path, text)).systems[0].password_file
    assert password_file is not None

    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ConfigurationError, match="CREDENTIALS_DIRECTORY is not set"):
        read_secret(password_file)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_secret(password_file) == b"from systemd"


def test_every_default_is_written_in_the_schema() -> None:
    schema = Config.model_json_schema()

    assert schema["properties"]["lang"]["default"] == "zh"
    assert json.loads(json.dumps(schema)) == schema


def test_the_register_of_a_system_is_checked_with_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "govsec.yaml"
    path.write_text(
        "systems:\n  - name: portal\n    register: {level: 3, s: 2, a: 3, filing: {number: '1', issued: 2025-06-01}}\n"
        "  - name: old\n    register: {}\n  - name: bare\n",
        encoding="utf-8",
    )

    portal, old, bare = load_config(path).systems

    assert (portal.register_.system_level, portal.register_.s) == (3, 2)
    assert portal.register_.filing is not None and portal.register_.filing.issued == date(2025, 6, 1)
    assert old.register_ == bare.register_ and old.register_.system_level is None


@pytest.mark.parametrize(
    ("register", "complaint"),
    [
        ("{levle: 3}", "levle"),
        ("{level: 6}", "level"),
        ("{level: 2, s: 3}", "below S or A"),
        ("{level: 3, s: 2, a: 2}", "above both"),
        ("{filing: {issued: 2025-06-01, valid_until: 2025-06-01}}", "not after issued"),
        ("{data: [{name: a, level: core}, {name: a, level: core}]}", "same name"),
        ('{owner: "a\\u202eb"}', "control character"),
    ],
)
def test_a_register_that_contradicts_itself_is_refused(tmp_path: Path, register: str, complaint: str) -> None:
    path = tmp_path / "govsec.yaml"
    path.write_text(f"systems:\n  - name: portal\n    register: {register}\n", encoding="utf-8")

    with pytest.raises(ConfigurationError, match=f"{complaint}"):
        load_config(path)
