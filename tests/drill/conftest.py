"""A small system, three centers on local directories, and a plan that passes until something is broken."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from govsec.backup.archive import archive
from govsec.backup.sources import FileSource
from govsec.backup.witness import observe, save_witness
from govsec.clock import SystemClock
from govsec.config import Objectives, Role
from govsec.crypto.keyfile import KdfParameters
from govsec.drill.centers import DrillCenter
from govsec.drill.plan import Plan
from govsec.drill.result import DrillResult
from govsec.drill.run import Desk, Restorer, run_drill
from govsec.repo.repository import Repository, WritableRepository
from govsec.repo.snapshot import Snapshot
from govsec.store.api import ReadStore
from govsec.store.local import LocalStore

ROLES = (Role.PRODUCTION, Role.SAME_CITY, Role.REMOTE)


@dataclass
class Rig:
    """A system under backup at three centers, and the drill of it."""

    base: Path
    repository: WritableRepository
    clock: SystemClock = field(default_factory=SystemClock)

    @property
    def source(self) -> Path:
        return self.base / "srv" / "oa"

    @property
    def scratch(self) -> Path:
        return self.base / "scratch"

    def center(self, role: Role) -> Path:
        return self.base / role.value

    def fill(self) -> None:
        """Write the sample system."""
        for number in range(24):
            folder = self.source / "docs" / f"dir{number % 4}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"公文{number}.txt").write_bytes(os.urandom(300) + b"text " * number)
        (self.source / "conf").mkdir()
        (self.source / "conf" / "app.ini").write_text("address = 10.1.1.1\n")
        (self.source / "link").symlink_to("conf/app.ini")
        with sqlite3.connect(self.source / "oa.db") as connection:
            connection.execute("CREATE TABLE cases (id INTEGER PRIMARY KEY, title TEXT)")
            connection.executemany("INSERT INTO cases (title) VALUES (?)", [("件" * 200,)] * 500)
        connection.close()

    def back_up(
        self,
        *,
        paths: Sequence[Path] | None = None,
        exclude: Sequence[str] = (),
        samples_count: int = 8,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Snapshot:
        """Back up with a witness, as ``govsec backup run`` does; ``meanwhile`` comes after observing."""
        source = FileSource(paths or [self.source], exclude=exclude)
        seen = observe(source, clock=self.clock, samples_count=samples_count)
        meanwhile()
        result = archive(self.repository, source, clock=self.clock, workers=0, is_rereading=True)
        save_witness(self.repository.object_store, self.repository.suite, seen.confirm(result.snapshot_id))
        return result.snapshot

    def ship(self) -> None:
        """Bring same-city and remote to production's state."""
        for role in ROLES[1:]:
            shutil.rmtree(self.center(role), ignore_errors=True)
            shutil.copytree(self.center(Role.PRODUCTION), self.center(role))

    def objects(self, role: Role, prefix: str) -> list[Path]:
        """The files behind a center's objects, ascending by name."""
        store = LocalStore(self.center(role))
        return [self.center(role) / info.name for info in store.list(prefix)]

    def plan(self, **changes: Any) -> Plan:
        """The plan of the sample system with some keys changed; ``None`` leaves a key out."""
        value: dict[str, Any] = {
            "version": 1,
            "name": "remote-restore",
            "system": "oa",
            "scenario": {"kind": "lose_production_and_same_city"},
            "objectives": {"rpo_s": 3600, "rto_s": 3600},
            "expect": {"paths": [f"{self.source}/docs", f"{self.source}/oa.db"], "files_min": 20, "bytes_min": 10_000},
            "steps": self.steps(),
        }
        value |= changes
        return Plan.model_validate({key: item for key, item in value.items() if item is not None})

    def steps(self, **replaced: Any) -> list[dict[str, Any]]:
        """The steps of the plan; a keyword replaces the step of that name (dashes as underscores)."""
        source = str(self.source).lstrip("/")
        steps: list[dict[str, Any]] = [
            {"kind": "restore", "name": "restore", "timeout_s": 60},
            {"kind": "probe", "name": "content", "timeout_s": 60, "probe": {"kind": "content"}},
            {"kind": "probe", "name": "nonce", "timeout_s": 60, "probe": {"kind": "nonce"}},
            {
                "kind": "configure",
                "name": "new-address",
                "timeout_s": 60,
                "files": [{"path": f"{source}/conf/app.ini", "content": "home = {target}\n", "must_exist": True}],
            },
            {
                "kind": "probe",
                "name": "database",
                "timeout_s": 60,
                "probe": {
                    "kind": "sqlite",
                    "path": f"{source}/oa.db",
                    "query": "SELECT count(*) FROM cases",
                    "minimum": 500,
                },
            },
            {
                "kind": "start",
                "name": "start",
                "timeout_s": 60,
                "background": True,
                "argv": ["sh", "-c", f"echo serving > {{target}}/{source}/state; exec sleep 60"],
            },
            {
                "kind": "probe",
                "name": "ask",
                "timeout_s": 60,
                "probe": {
                    "kind": "command",
                    "argv": ["cat", f"{{target}}/{source}/state"],
                    "output_contains": "serving",
                    "retry_s": 5,
                },
            },
        ]
        for name, step in replaced.items():
            position = [item["name"] for item in steps].index(name.replace("_", "-"))
            steps[position] = step
        return steps

    def drill(self, plan: Plan | None = None, *, restorer: Restorer | None = None, **options: Any) -> DrillResult:
        """Run a drill over the three centers."""
        centers = [
            DrillCenter(role.value, role, LocalStore(self.center(role), name=role.value))
            for role in ROLES
            if self.center(role).exists()
        ]
        desk = Desk(operator="tester", objectives=Objectives())
        return run_drill(
            plan or self.plan(),
            centers,
            self.open,
            self.scratch,
            desk=desk,
            clock=self.clock,
            restorer=restorer,
            **options,
        )

    def open(self, store: ReadStore, fallbacks: Sequence[ReadStore]) -> Repository:
        return Repository(store, self.repository.suite.clone(), fallbacks=fallbacks)


def codes(result: DrillResult) -> set[str]:
    return {reason.code for reason in result.reasons}


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """A system that is not backed up yet."""
    clock = SystemClock()
    store = LocalStore(tmp_path / "production", name="production", create=True)
    # A cheap key: no test here opens the repository with its password.
    repository = WritableRepository.initialize(store, b"a password", clock, kdf=KdfParameters(n=16))
    made = Rig(tmp_path, repository)
    made.scratch.mkdir()
    made.fill()
    return made


@pytest.fixture
def shipped(rig: Rig) -> Rig:
    """A system that is backed up and shipped."""
    rig.back_up()
    rig.ship()
    return rig


def moment(hour: int) -> datetime:
    return datetime(2026, 1, 1, hour, tzinfo=UTC)
