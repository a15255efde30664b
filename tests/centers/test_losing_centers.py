"""The command line when a center is gone: production, production and same-city, the machine with its keys."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.centers.commands import answer, run


def lose(place: Path, *centers: str) -> None:
    for center in centers:
        shutil.rmtree(place / center / "permits")


def everything_below(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_lost_production_is_filled_and_the_next_backup_is_held_by_both(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = everything_below(place / "main" / "permits" / "data")
    lose(place, "main")
    for argv in (("center", "init"), ("center", "ship", "main", "--from", "near")):
        (place / "main" / "permits").mkdir()
        code, refused = answer(place, capsys, *argv)
        assert (code, "center rebuild" in refused["error"]["message"]) == (5, True), argv
        (place / "main" / "permits").rmdir()
    code, planned = answer(place, capsys, "center", "rebuild", "production", "--dry-run")
    assert (code, planned["left"][0], planned["head_before"]) == (0, {"center": "near", "head": 1}, None)
    assert not (place / "main" / "permits").exists(), "a dry run changes nothing"

    code, rebuilt = answer(place, capsys, "center", "rebuild", "production")
    assert (code, rebuilt["is_complete"], rebuilt["head"]) == (0, True, 1), rebuilt
    assert everything_below(place / "main" / "permits" / "data") == before
    assert run(place, "center", "verify", "main", "-q") == 0
    assert run(place, "repo", "check", "-q") == 0
    (place / "system" / "new").write_text("new", encoding="utf-8")
    code, backup = answer(place, capsys, "backup", "run")
    receipt = backup["backups"][0]["receipt"]
    assert (code, receipt["number"], receipt["held_by"]) == (0, 2, ["main", "near"])
    _, status = answer(place, capsys, "center", "status")
    near = [row for row in status["systems"][0]["centers"] if row["center"] in ("main", "near")]
    assert [(row["state"], row["is_good"]) for row in near] == [("synced", True)] * 2


def test_production_and_same_city_come_back_from_the_remote_center_one_after_the_other(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(place, "center", "ship", "far", "-q") == 0
    lose(place, "main", "near")
    code, first = answer(place, capsys, "center", "rebuild", "production")
    assert (code, first["head"], first["is_complete"]) == (1, 1, False)
    assert "near" in first["unsettled"], "the mode asks for both"
    code, second = answer(place, capsys, "center", "rebuild", "same_city")
    assert (code, second["head"], second["is_complete"]) == (0, 1, True), second
    assert run(place, "backup", "run", "-q") == 0
    assert run(place, "center", "verify", "-q", "near") == 0


def test_a_machine_that_lost_its_commit_key_gets_a_new_one_that_the_other_sites_must_pin(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(place / "roots.yaml", place / "remote-roots.yaml")
    lose(place, "main")
    for key in (place / "keys").glob("commit*"):
        key.unlink()
    code, rebuilt = answer(place, capsys, "center", "rebuild", "production")
    assert (code, sorted(key["purpose"] for key in rebuilt["pinned"])) == (0, ["commit", "evidence"])
    assert run(place, "backup", "run", "-q") == 0

    path = place / "govsec.yaml"
    written = json.loads(path.read_text(encoding="utf-8"))
    written["signing"]["roots_file"] = "remote-roots.yaml"
    path.write_text(json.dumps(written), encoding="utf-8")
    assert run(place, "center", "ship", "far", "-q") == 1, "a commit by a key that is not pinned here is a flaw"
    code, merge = answer(place, capsys, "center", "roots", "merge", str(place / "roots.yaml"))
    assert (code, merge["is_pinned"], len(merge["added"])) == (1, False, 1)
    assert run(place, "center", "ship", "far", "-q") == 1, "nobody has compared the ids yet"
    code, merge = answer(place, capsys, "center", "roots", "merge", str(place / "roots.yaml"), "--compared")
    assert (code, merge["is_pinned"]) == (0, True)
    code, shipped = answer(place, capsys, "center", "ship", "far")
    assert (code, shipped["shipped"][0]["head"]) == (0, 2)
    assert run(place, "center", "roots", "merge", str(place / "roots.yaml"), "-q") == 0


@pytest.mark.parametrize(("what", "code"), [("password", 3), ("roots", 3), ("disk", 3), ("nothing left", 5)])
def test_a_rebuild_that_cannot_work_writes_nothing(
    place: Path, capsys: pytest.CaptureFixture[str], what: str, code: int
) -> None:
    lose(place, "main")
    if what == "password":
        path = place / json.loads((place / "govsec.yaml").read_text(encoding="utf-8"))["systems"][0]["password_file"]
        path.write_text("another password", encoding="utf-8")
    elif what == "roots":
        (place / "roots.yaml").unlink()
    elif what == "disk":
        (place / "main").rmdir()
    else:
        shutil.rmtree(place / "near" / "permits")
        shutil.rmtree(place / "far" / "permits")
    found, _ = answer(place, capsys, "center", "rebuild", "production")
    assert found == code
    assert not (place / "main" / "permits").exists()
