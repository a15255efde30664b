"""The doctor finds what is wrong, names it, and changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from govsec.assemble.doctor import State, worst
from govsec.cli.main import main
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from tests.cli.conftest import Site


@pytest.fixture
def prepared(site: Site) -> Site:
    """A site with repositories and snapshots."""
    return site


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A configuration with nothing wrong but that no repository was made yet."""
    (tmp_path / "state").mkdir()
    (tmp_path / "source").mkdir()
    for center in ("main", "near"):
        (tmp_path / center / "hr").mkdir(parents=True)
    password = tmp_path / "password"
    password.write_bytes(b"correct horse\n")
    password.chmod(0o600)
    signer = Signer.generate(Purpose.COMMIT)
    signer.save(tmp_path / "commit.key")
    TrustedKeys([signer.public("main")]).save(tmp_path / "roots.yaml")
    config = {
        "state_dir": "state",
        "centers": {
            "main": {"role": "production", "store": {"kind": "local", "path": "main"}},
            "near": {"role": "same_city", "store": {"kind": "local", "path": "near"}},
        },
        "signing": {"commit_key_file": "commit.key", "roots_file": "roots.yaml"},
        "systems": [
            {
                "name": "hr",
                "password_file": "password",
                "backups": [{"name": "files", "source": {"kind": "files", "paths": ["source"]}}],
            }
        ],
    }
    (tmp_path / "govsec.yaml").write_text(json.dumps(config))
    return tmp_path


def _examine(directory: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, dict[str, Any]]]:
    code = main(["doctor", "--config", str(directory / "govsec.yaml"), "--json"])
    observations = json.loads(capsys.readouterr().out)["observations"]
    assert len(observations) > 10, "hardly anything was looked at"
    return code, {seen["subject"]: seen for seen in observations}


def test_a_site_with_nothing_wrong_is_0_and_says_what_it_looked_at(
    bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, seen = _examine(bare, capsys)

    assert code == 0
    assert {subject for subject, one in seen.items() if one["state"] == "problem"} == set()
    assert seen["signing.commit_key_file"]["state"] == "good"
    assert seen["system hr: password_file"]["state"] == "good"
    assert seen["system hr at center near"]["found"] == "reachable, no repository yet"


def _open_password(bare: Path) -> None:
    (bare / "password").chmod(0o644)


def _remove_source(bare: Path) -> None:
    (bare / "source").rmdir()


def _unmount_center(bare: Path) -> None:
    (bare / "near" / "hr").rmdir()


def _remove_state(bare: Path) -> None:
    (bare / "state").rmdir()


def _open_roots(bare: Path) -> None:
    (bare / "roots.yaml").chmod(0o666)


def _pin_another_key(bare: Path) -> None:
    TrustedKeys([Signer.generate(Purpose.COMMIT).public()]).save(bare / "roots.yaml")


def _put_a_key_of_another_purpose(bare: Path) -> None:
    (bare / "commit.key").unlink()
    Signer.generate(Purpose.EVIDENCE).save(bare / "commit.key")


def _break_configuration(bare: Path) -> None:
    (bare / "govsec.yaml").write_text('{"systems": [{"nmae": "hr"}]}')


def _remove_configuration(bare: Path) -> None:
    (bare / "govsec.yaml").unlink()


@pytest.mark.parametrize(
    ("damage", "subject", "words"),
    [
        (_open_password, "system hr: password_file", "chmod 600"),
        (_remove_source, "system hr: source files", "source is not there"),
        (_unmount_center, "system hr at center near", "near"),
        (_remove_state, "state_dir: space", "No such file"),
        (_open_roots, "signing.roots_file", "can be changed by others"),
        (_pin_another_key, "signing.commit_key_file", "not trusted for commit"),
        (_put_a_key_of_another_purpose, "signing.commit_key_file", "signs evidence"),
        (_break_configuration, "configuration", "nmae"),
        (_remove_configuration, "configuration", "is not there"),
    ],
)
def test_each_fault_is_named_and_ends_with_1(
    bare: Path, capsys: pytest.CaptureFixture[str], damage: Any, subject: str, words: str
) -> None:
    damage(bare)

    code, seen = _examine(bare, capsys)

    assert code == 1
    assert seen[subject]["state"] == "problem"
    assert words in seen[subject]["found"]
    assert [one["subject"] for one in seen.values() if one["state"] == "problem"] == [subject]


def test_an_object_from_the_future_tells_of_a_wrong_clock(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import os

    path = bare / "near" / "hr" / "config"
    path.write_bytes(b"x")
    os.utime(path, (4e9, 4e9))

    code, seen = _examine(bare, capsys)

    assert code == 1
    assert "lies in the future" in seen["system hr at center near"]["found"]


def test_a_password_that_opens_nothing_is_found_at_every_center(
    prepared: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    code, seen = _examine(prepared.directory, capsys)
    assert code == 0
    assert seen["system permits at center far"]["found"] == "reachable, opens with this site's password"

    (prepared.directory / "keys" / "password").write_text("hunter2\n")
    code, seen = _examine(prepared.directory, capsys)
    assert code == 1
    wrong = [one["subject"] for one in seen.values() if one["state"] == "problem"]
    assert wrong == [f"system permits at center {center}" for center in ("main", "near", "far")]


def test_a_plan_that_cannot_be_read_is_named(prepared: Site, capsys: pytest.CaptureFixture[str]) -> None:
    (prepared.directory / "plan.yaml").write_text("name: x\n")

    code, seen = _examine(prepared.directory, capsys)

    assert code == 1
    assert "plan.yaml" in seen["system permits: plan"]["found"]


def test_nothing_observed_is_a_problem() -> None:
    assert worst([]) is State.PROBLEM


def test_a_person_reads_a_table_with_counts(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--config", str(bare / "govsec.yaml")]) == 0

    assert "0 problems" in capsys.readouterr().out.splitlines()[-1]
