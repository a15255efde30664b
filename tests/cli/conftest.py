"""A small site that was set up and backed up through the command line, three directories as three centers."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from govsec.assemble.demo import local_centers, write_site
from govsec.cli.main import main
from tests.support.cheapkey import begin_cheaply


@dataclass(frozen=True)
class Site:
    """Where things lie."""

    directory: Path

    @property
    def config(self) -> Path:
        return self.directory / "govsec.yaml"

    @property
    def source(self) -> Path:
        return self.directory / "system"

    def run(self, *argv: str) -> int:
        return main([*argv, "--config", str(self.config)])

    def digest(self) -> str:
        # What this machine saw of the centers may be noted; what lies in them may not change.
        return tree_digest(self.directory, but="state")


def tree_digest(directory: Path, *, but: str = "") -> str:
    """One digest over every name, type, mode and content below ``directory``."""
    whole = hashlib.sha256()
    for path in sorted(path for path in directory.rglob("*") if path.relative_to(directory).parts[0] != but):
        status = path.lstat()
        whole.update(f"{os.fsencode(path.relative_to(directory))!r} {status.st_mode:o} {status.st_size}".encode())
        if stat.S_ISREG(status.st_mode):
            whole.update(path.read_bytes())
        elif stat.S_ISLNK(status.st_mode):
            whole.update(os.fsencode(path.readlink()))
    return whole.hexdigest()


@pytest.fixture(scope="session")
def _prepared_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("prepared")
    source = directory / "system"
    (source / "documents").mkdir(parents=True)
    for number in range(20):
        (source / "documents" / f"合同-{number}.txt").write_text(f"contract {number}\n" * 50, encoding="utf-8")
    write_site(directory, local_centers(directory), source)
    site = Site(directory)
    begin_cheaply(site.config)
    assert site.run("center", "init") == 0
    assert site.run("backup", "run") == 0
    assert site.run("center", "ship", "far") == 0
    return directory


@pytest.fixture
def site(_prepared_site: Path, tmp_path: Path) -> Site:
    """A copy of its own, at another path."""
    return _copy(_prepared_site, tmp_path / "site")


@pytest.fixture
def open_site(_prepared_site: Path) -> Iterator[Site]:
    """A copy where anybody may go; pytest closes its own directories to others."""
    with tempfile.TemporaryDirectory(prefix="govsec-test-") as directory:
        Path(directory).chmod(0o755)
        yield _copy(_prepared_site, Path(directory) / "site")


def _copy(prepared: Path, directory: Path) -> Site:
    shutil.copytree(prepared, directory, symlinks=True)
    directory.chmod(0o755)
    path = directory / "govsec.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace(str(prepared), str(directory)), encoding="utf-8")
    return Site(directory)
