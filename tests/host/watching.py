"""Watching this machine for real: a tree of its processes, waiting for an event, a file system of one's own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from govsec.host.api import Source
from govsec.host.events import FileChange, Record
from govsec.host.processes import ProcessReader
from govsec.host.processtree import ProcessTree
from govsec.host.tables import Process
from govsec.host.tree import Gaps, Tree
from tests.support.require import missing, require_root

#: Against a hang only: what is waited for comes in milliseconds on a machine that runs.
WAIT_S = 60.0


class Machine:
    """Reads the processes of this machine, as ``open_stream`` does."""

    def __init__(self) -> None:
        self._reader = ProcessReader(Tree.at(Path("/")))
        self.tree = ProcessTree(self._reader.read)

    def read_all(self) -> tuple[Process, ...]:
        return self._reader.read_all(Gaps())

    def close(self) -> None:
        self._reader.close()


@contextlib.contextmanager
def machine() -> Iterator[Machine]:
    found = Machine()
    try:
        yield found
    finally:
        found.close()


def until(source: Source, is_enough: Callable[[list[Record]], bool]) -> list[Record]:
    """Read until what came is enough; fails after a minute with what came."""
    records: list[Record] = []
    deadline = time.monotonic() + WAIT_S
    while not is_enough(records):
        if time.monotonic() > deadline:
            pytest.fail(f"did not come: {records}")
        time.sleep(0.01)
        records += source.read()
    return records


def changes_until(source: Source, name: str) -> list[FileChange]:
    """All changes up to the first of a file called ``name``."""
    records = until(
        source, lambda came: any(isinstance(each, FileChange) and each.path.endswith(name) for each in came)
    )
    return [each for each in records if isinstance(each, FileChange)]


def said(changes: Sequence[FileChange], root: Path) -> list[str]:
    """Each change in a few words, with paths below ``root``."""
    words = []
    for change in changes:
        old = f" from {change.old_path.removeprefix(f'{root}/')}" if change.old_path is not None else ""
        words.append(f"{change.operation} {change.path.removeprefix(f'{root}/')}{old}")
    return words


def run(script: str, folder: Path) -> None:
    """A script of the shell in ``folder``, by a process of its own."""
    subprocess.run(["/bin/sh", "-ec", script], cwd=folder, check=True, timeout=120)


def python(script: str, *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A program of Python in a process of its own, with this suite's modules."""
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=120, cwd=folder
    )


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter; pytest's own lie below one that every session closes to others again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        yield folder


@contextlib.contextmanager
def own_file_system(folder: Path) -> Iterator[Path]:
    """An empty file system in memory at ``folder``: what other tests write is not in it. Skips without root."""
    require_root()
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        missing("mount", f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
