"""Whatever call to the center fails during a drill: there is a record, it never passes for it, and nothing is left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from govsec.backup.restore import RestoreReport, restore
from govsec.config import Role
from govsec.drill.centers import DrillCenter
from govsec.drill.result import Verdict
from govsec.drill.run import Desk, run_drill
from govsec.progress import ProgressSink
from govsec.repo.repository import Repository
from govsec.repo.snapshot import Snapshot
from govsec.store.api import ReadStore
from govsec.store.local import LocalStore
from govsec.testing.faults import FaultKind, FaultStore, sweep
from tests.drill.conftest import Rig


@pytest.mark.parametrize("kind", [FaultKind.ERROR, FaultKind.DENIED])
@pytest.mark.parametrize("is_permanent", [False, True])
def test_whatever_call_fails_there_is_a_record_and_nothing_is_left(
    kind: FaultKind, is_permanent: bool, shipped: Rig
) -> None:
    plan = shipped.plan(steps=shipped.steps()[:3])  # no commands: the sweep is over the store

    def open_repository(store: ReadStore, fallbacks: Sequence[ReadStore]) -> Repository:
        return Repository(store, shipped.repository.suite.clone(), fallbacks=fallbacks)

    def in_this_process(
        repository: Repository, snapshot: Snapshot, target: Path, progress: ProgressSink
    ) -> RestoreReport:
        return restore(repository, snapshot, target, workers=0)

    passed = 0
    for faults in sweep(kind, is_permanent=is_permanent):
        store = FaultStore(LocalStore(shipped.center(Role.REMOTE), name="remote"), faults)

        result = run_drill(
            plan,
            [DrillCenter("remote", Role.REMOTE, store)],
            open_repository,
            shipped.scratch,
            desk=Desk(operator="tester"),
            clock=shipped.clock,
            restorer=in_this_process,
        )

        assert list(shipped.scratch.iterdir()) == []
        if faults.was_reached:
            faults.assert_injected()
        passed += result.verdict is Verdict.PASS
        if result.verdict is not Verdict.PASS:
            assert result.reasons, faults
        if is_permanent and faults.was_reached:
            assert result.verdict is not Verdict.PASS, faults
    assert passed >= 1  # the last run of the sweep meets no fault
