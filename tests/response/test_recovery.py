"""A real recovery: the drill's plan, two persons, a tree that stays, and users who are sent to it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from govsec.assemble.demo import local_centers, write_site
from govsec.cli.main import main
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from tests.support.cheapkey import begin_cheaply


@dataclass
class Office:
    directory: Path
    capture: pytest.CaptureFixture[str]

    def run(self, *argv: str, code: int = 0) -> Any:
        self.capture.readouterr()
        found = main([*argv, "--config", str(self.directory / "govsec.yaml"), "--json", "--quiet"])
        said = self.capture.readouterr()
        assert found == code, said.err
        return json.loads(said.out) if said.out else None

    @property
    def system(self) -> str:
        config = yaml.safe_load((self.directory / "govsec.yaml").read_text(encoding="utf-8"))
        return str(config["systems"][0]["name"])

    def plan(self, **changes: Any) -> None:
        value = {
            "name": "lose-the-city",
            "system": self.system,
            "scenario": {"kind": "lose_production_and_same_city"},
            "expect": {"paths": [f"{self.directory}/system/documents"]},
            "steps": [
                {"kind": "restore", "name": "restore", "timeout_s": 600},
                {"kind": "probe", "name": "content", "timeout_s": 600, "probe": {"kind": "content"}},
                {
                    "kind": "switch_address",
                    "name": "address",
                    "timeout_s": 600,
                    "argv": ["/bin/sh", "-c", f"echo {{target}} > {self.directory}/address"],
                    "undo": {"argv": ["/bin/rm", "-f", f"{self.directory}/address"], "timeout_s": 600},
                },
            ],
        } | changes
        (self.directory / "plan.yaml").write_text(yaml.safe_dump(value), encoding="utf-8")

    def planned(self) -> str:
        arguments = ["--argument", f"system={self.system}", "--argument", "plan=lose-the-city"]
        (run,) = self.run("response", "plan", "--verb", "dr.recover", *arguments)["runs"]
        self.run("response", "run")
        return str(run["deeds"][0]["deed"])

    def approve(self, deed: str, *names: str) -> Any:
        for name in names:
            said = self.run("response", "approve", deed, "--key", str(self.directory / f"{name}.key"))
        return said


@pytest.fixture
def office(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Office:
    source = tmp_path / "system"
    (source / "documents").mkdir(parents=True)
    for number in range(10):
        (source / "documents" / f"文件{number}").write_text(f"{number}\n" * 99, encoding="utf-8")
    write_site(tmp_path, local_centers(tmp_path), source)
    path = tmp_path / "govsec.yaml"
    begin_cheaply(path)
    office = Office(tmp_path, capsys)
    for argv in (["center", "init"], ["backup", "run"], ["center", "ship", "far"]):
        office.run(*argv)
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    config["systems"][0]["plans"] = ["plan.yaml"]
    config["response"] = {"live": ["dr.recover"]}
    path.write_text(json.dumps(config), encoding="utf-8")
    roots = tmp_path / config["signing"]["roots_file"]
    for name in ("zhang", "li"):
        signer = Signer.generate(Purpose.RESPONSE)
        signer.save(tmp_path / f"{name}.key")
        TrustedKeys.load(roots).with_key(signer.public(name)).save(roots)
    office.plan()
    return office


def test_two_persons_send_the_users_to_what_was_restored_far_away(office: Office) -> None:
    deed = office.planned()
    assert office.approve(deed, "zhang")["state"] == "proposed"
    office.run("response", "run")
    assert not (office.directory / "address").exists()
    office.approve(deed, "li")
    office.run("response", "run")

    status = office.run("response", "status", deed)

    assert status["state"] == "verified" and status["approved_by"] == ["li", "zhang"]
    assert status["facts"]["center"] == "far" and status["facts"]["restore_time_s"] >= 0
    tree = Path((office.directory / "address").read_text(encoding="utf-8").strip())
    restored = list(tree.rglob("documents/文件*"))
    assert len(restored) == 10 and restored[0].read_text(encoding="utf-8").splitlines()[0] in restored[0].name
    assert restored[0].stat().st_uid == (office.directory / "system/documents/文件0").stat().st_uid
    office.run("response", "run")
    assert office.run("response", "undo", deed)["state"] == "undone"
    assert not (office.directory / "address").exists() and tree.is_dir()


def test_a_recovery_whose_probe_fails_sends_nobody_anywhere(office: Office) -> None:
    steps: list[dict[str, Any]] = [
        {"kind": "restore", "name": "restore", "timeout_s": 600},
        {
            "kind": "start",
            "name": "begin",
            "timeout_s": 600,
            "argv": ["/bin/touch", f"{office.directory}/begun"],
            "undo": {"argv": ["/bin/rm", f"{office.directory}/begun"], "timeout_s": 600},
        },
        {"kind": "probe", "name": "asks", "timeout_s": 600, "probe": {"kind": "command", "argv": ["/bin/false"]}},
        {
            "kind": "switch_address",
            "name": "address",
            "timeout_s": 600,
            "argv": ["/bin/touch", f"{office.directory}/address"],
            "undo": {"argv": ["/bin/true"], "timeout_s": 600},
        },
    ]
    office.plan(steps=steps)
    deed = office.planned()
    office.approve(deed, "zhang", "li")
    office.run("response", "run")

    status = office.run("response", "status", deed)

    assert status["state"] == "refused" and "probe_failed" in status["error"]
    assert not (office.directory / "address").exists()
    assert not (office.directory / "begun").exists()


def test_a_plan_that_was_changed_after_it_was_approved_is_not_followed(office: Office) -> None:
    deed = office.planned()
    office.approve(deed, "zhang", "li")
    office.plan(title="another one")
    office.run("response", "run")

    status = office.run("response", "status", deed)

    assert status["state"] == "refused" and "was changed since it was proposed" in status["error"]
    assert not (office.directory / "address").exists()


def test_made_up_damage_is_for_drills_only(office: Office) -> None:
    office.plan(scenario={"kind": "corrupt_share", "center": "remote", "fraction": 0.1, "seed": 1})
    deed = office.planned()

    assert office.run("response", "status", deed)["state"] == "refused"
