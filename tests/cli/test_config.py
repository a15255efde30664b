"""``govsec config`` and the sample configurations that are installed with it."""

from __future__ import annotations

import json
from pathlib import Path

import govsec_agents
import jsonschema
import pytest

from govsec.cli.main import main
from govsec.config import read_yaml

SAMPLES = sorted((Path(govsec_agents.__path__[0]) / "config").glob("*.yaml"))


def test_there_are_sample_configurations_for_every_site() -> None:
    assert {path.stem for path in SAMPLES} >= {"production", "same-city", "remote", "one-machine"}


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_every_sample_is_good_by_the_model_and_by_the_printed_schema(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "schema"]) == 0
    schema = json.loads(capsys.readouterr().out)

    jsonschema.validate(read_yaml(path), schema)
    assert main(["config", "check", "--config", str(path)]) == 0
    assert capsys.readouterr().out.startswith(f"{path}: good")


@pytest.mark.parametrize("name", ["production", "remote", "one-machine"])
def test_every_sample_that_drills_has_its_plans_beside_it(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = next(path for path in SAMPLES if path.stem == name)
    assert main(["config", "check", "--json", "--config", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["plans"]


def test_a_plan_that_is_not_there_or_is_none_is_found_by_the_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "govsec.yaml"
    path.write_text("systems: [{name: hr, plans: [plan.yaml]}]\n")
    assert main(["config", "check", "--config", str(path)]) == 3
    assert "plan.yaml: No such file" in capsys.readouterr().err
    (tmp_path / "plan.yaml").write_text("name: x\n")
    assert main(["config", "check", "--config", str(path)]) == 3
    assert "plan.yaml: system: Field required" in capsys.readouterr().err


def test_production_holds_nothing_that_opens_the_remote_center() -> None:
    sample = next(path for path in SAMPLES if path.stem == "production")
    value = read_yaml(sample)

    assert isinstance(value, dict)
    assert {center["role"] for center in value["centers"].values()} == {"production", "same_city"}
    assert not any("owner_credentials_file" in center for center in value["centers"].values())


def test_show_prints_every_default_and_is_a_configuration_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sample = next(path for path in SAMPLES if path.stem == "one-machine")
    assert main(["config", "show", "--config", str(sample)]) == 0
    shown = capsys.readouterr().out
    again = tmp_path / "govsec.yaml"
    again.write_text(shown, encoding="utf-8")

    assert "release_grace_s: 2592000" in shown
    assert "办公室文件" in shown
    assert main(["config", "show", "--config", str(again)]) == 0
    assert capsys.readouterr().out == shown


def test_an_unknown_key_is_named_in_one_line_and_is_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "govsec.yaml"
    path.write_text("organisation: x\n")

    assert main(["config", "check", "--config", str(path)]) == 3
    assert capsys.readouterr().err == f"govsec: {path}: organisation: Extra inputs are not permitted\n"


_GUARD_LIMITS = """
guard:
  files_max: 500000
  hash_size_max_mb: 2048
  pass_size_max_mb: 16384
  logs_max: 64
  logs_rewritten: [lastlog]
  logs_old_folders: [/var/log/old]
  sweeps: {certificate_folders: [/etc/ssl, /srv/tls], privileged_skipped: [/var/lib/docker]}
  sampling: {per_s_max: 50}
  detectors: {log_truncated: {kept_days: 365, aged_days: 30, rotation_s: 900}}
agent:
  modules:
    guard:
      settings:
        polling_every_s: 60
        polling_files_max: 20000
        web_logs:
          - path: /srv/app/log/access.log
            pattern: '(?P<source>[^ ]+) (?P<time>[^ ]+) (?P<status>[0-9]+)'
            time_format: '%Y-%m-%dT%H:%M:%S%z'
"""


def test_the_limits_of_the_guards_sweeps_are_settings_of_the_model_and_of_the_printed_schema(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "govsec.yaml"
    path.write_text(f"version: 1\nstate_dir: {tmp_path}/state\n{_GUARD_LIMITS}")
    assert main(["config", "schema"]) == 0
    schema = json.loads(capsys.readouterr().out)

    jsonschema.validate(read_yaml(path), schema)
    assert main(["config", "check", "--config", str(path)]) == 0


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ("/srv/tls]", "srv/tls]", "guard.sweeps: certificate_folders"),
        ("kept_days: 365", "kept_days: 0", "kept_days"),
        ("polling_every_s: 60", "polling_every_s: 0", "polling_every_s"),
        ("P<source>", "P<origin>", "names no source"),
    ],
)
def test_a_wrong_limit_of_a_sweep_is_named_by_the_check_and_found_by_the_schema(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], good: str, bad: str, said: str
) -> None:
    path = tmp_path / "govsec.yaml"
    assert good in _GUARD_LIMITS
    path.write_text(f"version: 1\nstate_dir: {tmp_path}/state\n{_GUARD_LIMITS.replace(good, bad)}")

    assert main(["config", "check", "--config", str(path)]) == 3
    assert said in capsys.readouterr().err
    if "P<" not in bad:  # what a pattern names no schema says
        assert main(["config", "schema"]) == 0
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(read_yaml(path), json.loads(capsys.readouterr().out))
