"""A site of three directories with one backup in it, made once and copied for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from govsec.assemble.demo import local_centers, write_site
from tests.centers.commands import run
from tests.support.cheapkey import begin_cheaply


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("prepared")
    source = directory / "system"
    source.mkdir()
    for number in range(5):
        (source / f"合同-{number}").write_text(f"contract {number}\n" * 999, encoding="utf-8")
    begin_cheaply(write_site(directory, local_centers(directory), source))
    assert run(directory, "center", "init") == 0
    assert run(directory, "backup", "run") == 0
    return directory


@pytest.fixture
def place(prepared: Path, tmp_path: Path) -> Path:
    directory = tmp_path / "site"
    shutil.copytree(prepared, directory, symlinks=True)
    path = directory / "govsec.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace(str(prepared), str(directory)), encoding="utf-8")
    return directory
