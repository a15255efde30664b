"""Running the command line on a site in a directory, as the tests of this room do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from govsec.cli.main import main


def run(directory: Path, *argv: str) -> int:
    return main([*argv, "--config", str(directory / "govsec.yaml")])


def answer(directory: Path, capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, dict]:  # type: ignore[type-arg]
    capsys.readouterr()
    code = run(directory, *argv, "--json", "-q")
    return code, json.loads(capsys.readouterr().out)


def some_pack(directory: Path, center: str) -> Path:
    return max((path for path in (directory / center).rglob("data/*/*")), key=lambda path: path.stat().st_size)
