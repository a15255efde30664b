"""A pack of somebody's own, from a key to a verdict: linted, signed, configured, run; altered or unsigned, refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from govsec.cli.main import main

REDIS = Path(__file__).resolve().parents[2] / "policies" / "redis"
CHECK = "city-redis-file-mode"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pack of one check, a key that is pinned, and a configuration that names both."""
    folder = tmp_path_factory.mktemp("own")
    pack = folder / "pack"
    (pack / "checks").mkdir(parents=True)
    head = (REDIS / "pack.yaml").read_text(encoding="utf-8").replace("id: redis\n", "id: city-redis\n", 1)
    (pack / "pack.yaml").write_text(head, encoding="utf-8")
    every = [
        check for path in (REDIS / "checks").glob("*.yaml") for check in yaml.safe_load(path.read_bytes())["checks"]
    ]
    (own,) = (check for check in every if check["id"] == "redis-file-mode")
    text = json.dumps({"checks": [own | {"id": CHECK}]}, ensure_ascii=False)
    (pack / "checks" / "files.yaml").write_text(text + "\n", encoding="utf-8")
    shutil.copytree(REDIS / "fixtures" / "redis-file-mode", pack / "fixtures" / CHECK)
    key = ["assess", "key", "--for", "pack", "--name", "Zhang Wei", "--output", str(folder / "pack.key")]
    assert main([*key, "--pin", str(folder / "roots.yaml"), "-q"]) == 0
    value = {
        "state_dir": str(folder / "state"),
        "signing": {"roots_file": str(folder / "roots.yaml")},
        "assessment": {"packs": [str(pack)]},
    }
    (folder / "govsec.yaml").write_text(json.dumps(value), encoding="utf-8")
    return folder


def _run(site: Path, *argv: str) -> int:
    return main([*argv, "--config", str(site / "govsec.yaml"), "--json"])


def test_a_signed_pack_is_run_by_who_signed_it_and_an_altered_one_by_nobody(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer() -> dict[str, Any]:
        value: dict[str, Any] = json.loads(capsys.readouterr().out)
        return value

    pack = site / "pack"
    capsys.readouterr()
    assert _run(site, "assess", "run", "--pack", "city-redis") == 3, "nobody signed it"
    capsys.readouterr()
    assert _run(site, "assess", "pack", "lint", str(pack)) == 0
    assert (linted := answer())["problems"] == []
    assert linted["fixtures"] >= 3
    assert _run(site, "assess", "pack", "sign", str(pack), "--key", str(site / "pack.key")) == 0
    signed = answer()
    assert _run(site, "assess", "run", "--pack", "city-redis", "--compare", "none") in (0, 1, 7)
    directory = Path(answer()["directory"])
    manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    rows = {row["id"]: row for row in manifest["packs"]}
    assert (rows["city-redis"]["trust"], rows["city-redis"]["sha256"]) == (signed["key"], signed["sha256"])

    file = pack / "checks" / "files.yaml"
    file.write_text(file.read_text(encoding="utf-8") + "# altered\n", encoding="utf-8")
    assert _run(site, "assess", "run", "--pack", "city-redis") == 6
    assert "altered" in answer()["error"]["message"]
    assert _run(site, "assess", "pack", "verify", str(pack)) == 6


def test_a_pack_that_a_stranger_signed_is_refused(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stranger = site / "stranger.key"
    assert main(["assess", "key", "--for", "pack", "--name", "Stranger", "--output", str(stranger), "-q"]) == 0
    assert _run(site, "assess", "pack", "sign", str(site / "pack"), "--key", str(stranger)) == 0
    assert _run(site, "assess", "run", "--pack", "city-redis") in (3, 6)
    assert len(list((site / "state" / "assessments").glob("*"))) <= 1
