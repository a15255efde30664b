"""``govsec monitor baseline`` and ``canary`` as an operator runs them, with their exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from govsec.cli.main import main


class Site:
    """A site whose guard looks after one small folder."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capsys = capsys
        self.etc = folder / "etc"
        self.etc.mkdir()
        (self.etc / "app.conf").write_text("port = 80\n")
        # Other tables are those of the machine that runs this test, and change while it does.
        config = {
            "state_dir": "state",
            "lang": "en",
            "signing": {"baseline_key_file": "baseline.key", "roots_file": "roots.yaml"},
            "guard": {
                "roots": [str(self.etc)],
                "detectors": {"drift_tables": {"tables": ["accounts"]}, "authorized_keys": {"enabled": False}},
            },
        }
        (folder / "govsec.yaml").write_text(json.dumps(config))

    def run(self, *argv: str) -> tuple[int, Any]:
        """The exit code, and the JSON that was printed."""
        self.capsys.readouterr()
        code = main([*argv, "--config", str(self.folder / "govsec.yaml"), "--json"])
        out = self.capsys.readouterr().out
        return code, json.loads(out) if out.strip() else None

    def said(self, *argv: str) -> str:
        """The words that were printed."""
        self.capsys.readouterr()
        main([*argv, "--config", str(self.folder / "govsec.yaml")])
        return self.capsys.readouterr().out

    def make_key(self) -> None:
        key = ["--output", str(self.folder / "baseline.key"), "--pin", str(self.folder / "roots.yaml")]
        code, _ = self.run("assess", "key", "--for", "baseline", "--name", "ops", *key)
        assert code == 0


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    return Site(tmp_path, capsys)


def test_accept_show_drift_and_accept_again(site: Site) -> None:
    site.make_key()
    code, accepted = site.run("monitor", "baseline", "accept", "--by", "wang")
    assert (code, accepted["number"], accepted["files_count"], accepted["made_by"]) == (0, 1, 2, "wang")
    assert site.run("monitor", "baseline", "show")[1]["digest"] == accepted["digest"]
    assert site.run("monitor", "baseline", "drift")[0] == 0

    (site.etc / "app.conf").write_text("port = 81\n")
    code, drifted = site.run("monitor", "baseline", "drift")
    assert code == 1
    assert [finding["subject"] for finding in drifted["findings"]] == [str(site.etc / "app.conf")]
    assert "no update of a package explains it" in site.said("monitor", "baseline", "drift", "--lang", "en")
    assert "没有软件包更新可以解释" in site.said("monitor", "baseline", "drift", "--lang", "zh")

    assert site.run("monitor", "baseline", "accept")[1]["previous"] == accepted["digest"]
    assert site.run("monitor", "baseline", "drift")[0] == 0


def test_a_baseline_that_was_altered_ends_with_6(site: Site) -> None:
    site.make_key()
    site.run("monitor", "baseline", "accept")
    path = site.folder / "state/guard/baseline/baseline.json"
    path.write_bytes(path.read_bytes().replace(b'"number":1', b'"number":9'))

    assert [site.run("monitor", "baseline", verb)[0] for verb in ("show", "drift", "accept")] == [6, 6, 6]


def test_without_key_or_baseline_the_way_on_is_said(site: Site) -> None:
    code, said = site.run("monitor", "baseline", "accept")
    assert (code, "baseline.key" in said["error"]["message"]) == (3, True)
    site.make_key()
    code, said = site.run("monitor", "baseline", "drift")
    assert (code, "baseline accept" in said["error"]["message"]) == (3, True)


def test_what_was_dismissed_is_not_told_and_counted(site: Site) -> None:
    site.make_key()
    site.run("monitor", "baseline", "accept")
    (site.etc / "app.conf").unlink()
    (finding,) = site.run("monitor", "baseline", "drift")[1]["findings"]

    code, _ = site.run("monitor", "dismiss", finding["facts"]["pattern"], "--reason", "was decided", "--owner", "wang")
    assert code == 0
    code, drifted = site.run("monitor", "baseline", "drift")

    assert (code, drifted["findings"]) == (0, [])
    assert sum(drifted["counters"]["suppressed"].values()) == 1


def test_canaries_are_placed_listed_and_removed(site: Site) -> None:
    share = site.folder / "share"
    share.mkdir()

    code, placed = site.run("monitor", "canary", "place", str(share))
    assert (code, len(placed["placed"]), len(list(share.iterdir()))) == (0, 2, 2)
    assert [one["path"] for one in site.run("monitor", "canary", "list")[1]["canaries"]] == sorted(
        str(path) for path in share.iterdir()
    )
    assert site.run("monitor", "canary", "remove", str(share))[0] == 0
    assert (list(share.iterdir()), site.run("monitor", "canary", "list")[1]) == ([], {"canaries": []})
    assert site.run("monitor", "canary", "remove", str(share))[0] == 5
    assert site.run("monitor", "canary", "place", str(site.folder / "nowhere"))[0] == 3


def test_a_setting_that_does_not_exist_is_an_error_that_names_it(site: Site) -> None:
    (site.folder / "govsec.yaml").write_text(json.dumps({"guard": {"detectors": {"ransom_canary": {"speed": 9}}}}))

    code, said = site.run("config", "check")

    assert code == 3
    assert "guard.detectors.ransom_canary" in said["error"]["message"]
