"""Repositories and a source for the tests of backup and restore."""

from __future__ import annotations

from pathlib import Path

import pytest

from govsec.backup.archive import ArchiveResult, archive
from govsec.backup.restore import RestoreReport, restore
from govsec.backup.sources import FileSource
from govsec.crypto.keyfile import KdfParameters
from govsec.repo.repository import Repository, WritableRepository
from govsec.store.api import ObjectStore
from govsec.store.memory import MemoryStore
from govsec.testing.clock import FakeClock

PASSWORD = b"a password for tests"
CHEAP = KdfParameters(n=2, r=1, p=1)


class Desk:
    """A repository with what tests do to it again and again, opened anew each time as programs do."""

    def __init__(self, store: ObjectStore, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock
        self.first = WritableRepository.initialize(store, PASSWORD, clock, kdf=CHEAP)

    def writable(self) -> WritableRepository:
        return WritableRepository(self.store, self.first.suite.clone(), self.first.config)

    def readable(self, *fallbacks: ObjectStore) -> Repository:
        return Repository(self.store, self.first.suite.clone(), self.first.config, fallbacks=fallbacks)

    def back_up(self, *paths: Path, workers: int = 0, **options: object) -> ArchiveResult:
        source_options = {name: options.pop(name) for name in ("exclude", "one_file_system") if name in options}
        source = FileSource(paths, **source_options)
        return archive(self.writable(), source, clock=self.clock, workers=workers, **options)

    def restore(self, target: Path, *, selector: str = "latest", workers: int = 0, **options: object) -> RestoreReport:
        repository = self.readable()
        return restore(repository, repository.resolve(selector), target, workers=workers, **options)


@pytest.fixture
def desk(clock: FakeClock) -> Desk:
    return Desk(MemoryStore(), clock)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small directory."""
    root = tmp_path / "source"
    (root / "a" / "b").mkdir(parents=True)
    (root / "one.txt").write_bytes(b"one")
    (root / "a" / "two.txt").write_bytes(b"two" * 1000)
    (root / "a" / "b" / "three.txt").write_bytes(b"three" * 5000)
    return root
