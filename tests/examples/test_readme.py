"""The README's code runs, in the order in which it is read; both languages show the same code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from govsec.testing import trafficscans
from govsec.testing.packets import pcap_bytes
from govsec.testing.trafficcases import build

ROOT = Path(__file__).resolve().parents[2]
READMES = ["README.md", "README.zh-CN.md"]


def _blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", READMES)
def test_the_code_of_the_readme_backs_up_ships_restores_and_drills(page: str, tmp_path: Path) -> None:
    office = tmp_path / "office"
    office.mkdir()
    (office / "合同.txt").write_text("a contract\n", encoding="utf-8")
    (office / "图.bin").write_bytes(bytes(range(256)) * 100)
    (tmp_path / "scratch").mkdir(mode=0o700)
    (tmp_path / "office.pcapng").write_bytes(pcap_bytes(build(trafficscans.vertical_scan)))
    (plan,) = _blocks(page, "yaml")
    (tmp_path / "plan.yaml").write_text(plan.replace("/srv/office", str(office)), encoding="utf-8")
    code = "".join(_blocks(page, "python"))
    assert "/srv/office" in code
    (tmp_path / "readme.py").write_text(code.replace("/srv/office", str(office)), encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "readme.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    backed_up, shipped, restored, drilled, watched = done.stdout.splitlines()
    assert re.fullmatch(r"snapshot [0-9a-f]{8} is at main and near", backed_up)
    assert re.match(r"[1-9][0-9]* objects, ", shipped)
    assert restored == "1 files, 1 read again, 0 problems"
    assert re.fullmatch(r"pass: restored in [0-9.]+ s, ledger entry 1", drilled)
    assert re.match(rf"high: {trafficscans.SCANNER.address} probed ", watched)
    assert [path.read_text(encoding="utf-8") for path in (tmp_path / "restored").rglob("*.txt")] == ["a contract\n"]


def test_each_step_takes_about_ten_lines() -> None:
    lengths = [len(block.splitlines()) for block in _blocks("README.md", "python")]

    assert len(lengths) == 6
    assert max(lengths) <= 11


def test_both_languages_show_the_same_code() -> None:
    def bare(page: str, language: str) -> list[str]:
        return [re.sub(r"\s*#.*", "", block) for block in _blocks(page, language)]

    for language in ("python", "yaml", "sh"):
        assert bare(READMES[0], language) == bare(READMES[1], language)
        assert bare(READMES[0], language)
