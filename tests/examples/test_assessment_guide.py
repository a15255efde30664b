"""The commands of the assessment guide run in its order on a small real site, and both languages show the same."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from govsec.assemble import demo
from govsec.cli.main import main
from govsec.clock import SystemClock
from govsec.config import Config

ROOT = Path(__file__).resolve().parents[2]
GUIDES = ["assessment.md", "assessment.zh-CN.md"]
#: What this machine, a site without training and a system without launch papers end with.
ENDS = {
    "govsec assess run --level 3": {1},
    "govsec assess run": {1},
    "govsec assess report --format oscal --output /tmp/assessment.json": {0},
    # The host of this guide is a live machine: between two looks at it something may have become worse.
    "govsec assess diff previous latest": {0, 1},
    "govsec system findings": {1},
    "govsec assess expiring": {1},
    "govsec assess risk": {1},
    "govsec system launch": {5},
}


def _text(guide: str) -> str:
    return (ROOT / "docs" / "guides" / guide).read_text(encoding="utf-8")


def _commands(guide: str) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```$", _text(guide), flags=re.MULTILINE | re.DOTALL)
    return [
        re.sub(r"\s+#.*", "", line) for block in blocks for line in block.splitlines() if line.startswith("govsec ")
    ]


def test_the_commands_of_the_guide_run_in_its_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "system"
    source.mkdir()
    config = demo.write_site(tmp_path, demo.local_centers(tmp_path), source)
    demo.run_demo(config, source, SystemClock(), tell=lambda key, facts: None, lose=lambda: None, documents_count=120)
    codes = {}
    for command in _commands(GUIDES[0]):
        words = command.replace("/tmp/", f"{tmp_path}/").replace("roots.yaml", f"{tmp_path}/roots.yaml")
        codes[command] = main([*shlex.split(words)[1:], "--config", str(config)])
    shown = capsys.readouterr()

    assert len(codes) > 20
    assert {command: code for command, code in codes.items() if code not in ENDS.get(command, {0})} == {}, shown
    assert (tmp_path / "assessment.html").is_file()


def test_both_languages_show_the_same_commands() -> None:
    assert _commands(GUIDES[0]) == _commands(GUIDES[1])


@pytest.mark.parametrize("guide", GUIDES)
def test_the_configuration_in_the_guide_is_one(guide: str) -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```$", _text(guide), flags=re.MULTILINE | re.DOTALL)

    config = Config.model_validate(yaml.safe_load(blocks[0]))
    assert set(config.systems[0].register_.hosts) == set(config.hosts)
