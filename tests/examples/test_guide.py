"""The commands of the first-day guide run, one after the other, as an operator types them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from govsec.assemble.demo import local_centers, write_site
from govsec.assemble.sample import write_day
from govsec.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
GUIDES = ["first-day.md", "first-day.zh-CN.md"]


def _commands(guide: str) -> list[str]:
    text = (ROOT / "docs" / "guides" / guide).read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [
        re.sub(r"\s+#.*", "", line) for block in blocks for line in block.splitlines() if line.startswith("govsec ")
    ]


def test_the_commands_of_the_guide_run_in_its_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "office"
    for day in (1, 2):
        write_day(source, day, documents_count=120)
    config = write_site(tmp_path, local_centers(tmp_path), source)
    codes = {}
    for command in _commands(GUIDES[0]):
        words = command.replace("/etc/govsec/govsec.yaml", str(config)).replace("/srv/restored", str(tmp_path / "out"))
        words = words.replace("/srv/office/合同", f"{source}/documents")
        # The first look at the machine is taken before there is a configuration.
        where = [] if words == "govsec doctor" else ["--config", str(config)]
        codes[command] = main([*shlex.split(words)[1:], *where])
    shown = capsys.readouterr()

    assert len(codes) > 10
    # Directories keep nothing from whoever may write them, and both commands say so.
    assert {command: code for command, code in codes.items() if code} == {
        "govsec center probe same_city": 1,
        "govsec center status": 1,
    }, shown
    restored = {path.name for path in (tmp_path / "out").rglob("*.txt")}
    assert restored == {path.name for path in (source / "documents").rglob("*.txt")}


def test_both_languages_show_the_same_commands() -> None:
    assert _commands(GUIDES[0]) == _commands(GUIDES[1])
