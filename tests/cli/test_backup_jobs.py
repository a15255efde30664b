"""``govsec backup`` on a system of the configuration: receipts, several jobs, and which of them is meant."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from tests.cli.conftest import Site


def change(site: Site, **changes: Any) -> None:
    config = json.loads(site.config.read_text(encoding="utf-8"))
    config["systems"][0] |= changes
    site.config.write_text(json.dumps(config), encoding="utf-8")


def add_jobs(site: Site) -> None:
    """``good`` before and ``later`` after a job that cannot read anything."""
    first, second = site.source / "documents", site.directory / "other"
    second.mkdir()
    (second / "one.txt").write_text("one")
    jobs = [
        {"name": "good", "source": {"kind": "files", "paths": [str(first)]}, "tags": ["weekly"]},
        {"name": "broken", "source": {"kind": "command", "argv": ["false"], "filename": "x"}},
        {"name": "later", "source": {"kind": "files", "paths": [str(second)]}},
    ]
    change(site, backups=jobs)


def test_a_run_without_names_leaves_databases_to_their_own_topics(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    database = {"name": "db", "source": {"kind": "mariadb", "socket": "/nowhere"}}
    files = {"name": "papers", "source": {"kind": "files", "paths": [str(site.source)]}}
    change(site, backups=[database, files])

    assert site.run("backup", "run") == 0
    assert "papers: snapshot" in capsys.readouterr().out
    assert site.run("backup", "run", "--job", "db") == 2
    assert "govsec mariadb backup" in capsys.readouterr().err
    change(site, backups=[database])
    assert site.run("backup", "run") == 2
    assert site.run("backup", "list", "--job", "db") == 0
    assert site.run("backup", "ls", "latest", "/") == 0


def test_the_receipt_is_printed(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert site.run("backup", "run") == 0
    assert "held by main, near (commit 2)" in capsys.readouterr().out


def test_a_center_that_is_behind_is_named_on_both_streams_and_does_not_change_the_exit_code(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    change(site, mode="maximum-availability")
    shutil.rmtree(site.directory / "near")
    assert site.run("backup", "run", "--quiet") == 0
    shown = capsys.readouterr()
    assert "held by main (commit 2)" in shown.out
    for stream in (shown.out, shown.err):
        assert "NOT at near: " in stream
        assert "degraded since 20" in stream


def test_a_job_that_fails_does_not_keep_the_others_from_being_run(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    add_jobs(site)
    assert site.run("backup", "run", "--json", "--quiet") == 1
    shown = capsys.readouterr()
    done = json.loads(shown.out)
    assert [item["job"] for item in done["backups"]] == ["good", "later"]
    assert [(item["job"], item["kind"], item["exit_code"]) for item in done["errors"]] == [("broken", "source", 1)]
    assert shown.err.startswith("govsec: broken: ")


def test_the_exit_code_is_that_of_the_failures_when_they_are_of_one_kind(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    add_jobs(site)
    (site.directory / "keys" / "password").write_text("another\n")
    assert site.run("backup", "run", "--quiet") == 3
    assert capsys.readouterr().out.count("FAILED") == 3


def test_latest_says_which_of_several_jobs_it_took_and_a_job_can_be_named(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    add_jobs(site)
    assert site.run("backup", "run", "--job", "good", "--job", "later") == 0
    capsys.readouterr()
    other = str(site.directory / "other")
    assert site.run("backup", "ls", "latest", "--recursive") == 0
    shown = capsys.readouterr()
    assert f"of job later: {other}" in shown.err
    assert "one.txt" in shown.out
    documents = str(site.source / "documents")
    for option in (("--job", "good"), ("--tag", "weekly"), ("--path", documents)):
        assert site.run("backup", "ls", "latest", "--recursive", *option) == 0
        shown = capsys.readouterr()
        assert "latest is" not in shown.err
        assert ("one.txt" in shown.out, documents in shown.out) == (False, True)
    target = site.directory.parent / "restored"
    assert site.run("backup", "restore", "latest", "--job", "good", "--target", str(target)) == 0
    assert [path.name for path in target.rglob("documents")] == ["documents"]
    assert not list(target.rglob("one.txt"))
    assert site.run("backup", "ls", "latest", "--host", "elsewhere") == 2
    assert site.run("backup", "ls", "latest", "--job", "none") == 2
