"""Groups of files: one recovery point or none, hooks that always let the application go on, records that are signed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from govsec.cli.main import main
from tests.support.cheapkey import begin_cheaply

CENTERS = {
    "prod": {"role": "production", "store": {"kind": "local", "path": "prod"}},
    "city": {"role": "same_city", "store": {"kind": "local", "path": "city"}},
    "far": {"role": "remote", "store": {"kind": "local", "path": "far"}},
}


class Site:
    """Two folders of files, three centers."""

    def __init__(self, directory: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self._capture = capture
        for name in ("prod", "city", "far", "state", "letters", "bills"):
            (directory / name).mkdir()
        (directory / "letters" / "a.txt").write_text("a letter")
        (directory / "bills" / "b.txt").write_text("a bill")
        (directory / "password").write_text("a password that is long enough 7")
        (directory / "password").chmod(0o600)
        self.group: dict[str, Any] = {"name": "office", "members": ["letters", "bills"]}
        self.write()
        begin_cheaply(self.config)
        self.ok("center", "init")

    @property
    def config(self) -> Path:
        return self.directory / "govsec.yaml"

    def write(self) -> None:
        jobs = [
            {"name": name, "source": {"kind": "files", "paths": [str(self.directory / name)]}}
            for name in ("letters", "bills")
        ]
        system = {"name": "hr", "password_file": "password", "backups": jobs, "groups": [self.group]}
        signing = {"commit_key_file": "keys/commit", "evidence_key_file": "keys/evidence", "roots_file": "keys/roots"}
        whole = {"version": 1, "state_dir": "state", "centers": CENTERS, "signing": signing, "systems": [system]}
        self.config.write_text(json.dumps(whole))

    def hook(self, name: str, program: str, timeout_s: float = 60) -> None:
        """Let ``program``, in Python, be a hook; it is run in the site's folder."""
        text = f"import os, sys\nos.chdir({str(self.directory)!r})\n{program}"
        self.group[name] = {"argv": [sys.executable, "-I", "-c", text], "timeout_s": timeout_s}
        self.write()

    def run(self, *argv: str) -> tuple[int, dict[str, Any]]:
        self._capture.readouterr()
        code = main([*argv, "--json", "--config", str(self.config)])
        return code, json.loads(self._capture.readouterr().out.splitlines()[-1])

    def ok(self, *argv: str) -> dict[str, Any]:
        code, answer = self.run(*argv)
        assert code == 0, answer
        return answer

    def points(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ok("backup", "group", "office", "--list")["points"]
        return found


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    return Site(tmp_path, capsys)


def test_a_group_is_one_recovery_point_and_comes_back_from_the_remote_center(site: Site) -> None:
    made = site.ok("backup", "group", "office")
    (site.directory / "letters" / "a.txt").write_text("changed afterwards")
    site.ok("center", "ship", "far")
    (site.directory / "prod").rename(site.directory / "gone")
    (site.directory / "city").rename(site.directory / "also gone")

    back = site.ok("backup", "group", "office", "--restore", str(site.directory / "out"), "--center", "far")

    assert back["snapshot"] == made["snapshot"]
    assert [member["job"] for member in back["record"]["members"]] == ["letters", "bills"]
    out = site.directory / "out"
    assert (out / "letters" / str(site.directory / "letters")[1:] / "a.txt").read_text() == "a letter"
    assert (out / "bills" / str(site.directory / "bills")[1:] / "b.txt").read_text() == "a bill"


def test_the_snapshot_of_a_group_holds_everything_and_is_marked_to_be_kept(site: Site) -> None:
    made = site.ok("backup", "group", "office")

    listed = site.ok("backup", "list")["snapshots"]
    (group,) = [found for found in listed if found["id"] == made["snapshot"]]
    assert "group" in group["tags"]
    names = [entry["path"] for entry in site.ok("backup", "ls", made["snapshot"], "--recursive")["entries"]]
    assert {str(site.directory / "letters" / "a.txt"), str(site.directory / "bills" / "b.txt")} <= set(names)
    assert "/groups/office/record.json" in names


def test_a_member_that_fails_is_named_and_there_is_no_half_recovery_point(site: Site) -> None:
    (site.directory / "bills").rename(site.directory / "elsewhere")
    site.hook("post", "open('post', 'w')")

    code, answer = site.run("backup", "group", "office")

    assert code == 1
    assert "member bills" in answer["error"]["message"]
    assert site.points() == []
    assert (site.directory / "post").exists(), "the application was left at rest"


def test_a_pre_hook_that_fails_makes_no_recovery_point_and_the_post_hook_runs(site: Site) -> None:
    site.hook("pre", "sys.exit('the portal does not rest')")
    site.hook("post", "open('post', 'w')")

    code, answer = site.run("backup", "group", "office")

    assert code == 1
    assert "the portal does not rest" in answer["error"]["message"]
    assert site.points() == []
    assert (site.directory / "post").exists()


def test_a_post_hook_that_fails_is_an_error_and_makes_no_recovery_point(site: Site) -> None:
    site.hook("post", "sys.exit(3)")

    code, answer = site.run("backup", "group", "office")

    assert code == 1
    assert "post hook" in answer["error"]["message"] and "exit code 3" in answer["error"]["message"]
    assert site.points() == []


def test_hooks_run_before_and_after_and_see_no_secrets(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    # The environment is what a hook inherits; there is no other way to hand it a secret by mistake.
    monkeypatch.setenv("DATABASE_PASSWORD", "geheim")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "geheim")
    program = "open({0!r}, 'w').write(repr(dict(os.environ)) + str(sorted(os.listdir('.'))))"
    site.hook("pre", program.format("pre"))
    site.hook("post", program.format("post"))

    site.ok("backup", "group", "office")

    before, after = ((site.directory / name).read_text() for name in ("pre", "post"))
    assert "geheim" not in before + after
    assert "'GOVSEC_GROUP': 'office'" in before
    assert "'pre'" in after.rpartition("[")[2], "the post hook ran before the pre hook"


def test_a_hook_that_does_not_end_is_stopped_at_its_limit(site: Site) -> None:
    site.hook("pre", "import time; time.sleep(3600)", timeout_s=0.5)

    code, answer = site.run("backup", "group", "office")

    assert code == 1
    assert "stopped after 0.5 s" in answer["error"]["message"]
    assert site.points() == []


def test_ctrl_c_while_the_application_is_held_still_runs_the_post_hook(site: Site) -> None:
    site.hook("pre", "import signal; os.kill(os.getppid(), signal.SIGINT); import time; time.sleep(3600)")
    site.hook("post", "open('post', 'w')")

    code, _ = site.run("backup", "group", "office")

    assert code == 130
    assert (site.directory / "post").exists()
    assert site.points() == []


@pytest.mark.parametrize(
    "group",
    [
        {"name": "office", "members": ["letters", "nobody"]},
        {"name": "office", "members": ["letters", "letters"]},
        {"name": "letters", "members": ["bills"]},
        {"name": "office", "members": []},
        {"name": "office", "members": ["letters"], "pre": {"argv": []}},
    ],
)
def test_a_group_that_makes_no_sense_is_a_wrong_configuration(site: Site, group: dict[str, Any]) -> None:
    site.group = group
    site.write()

    code, answer = site.run("backup", "group", "office")

    assert code == 3, answer
