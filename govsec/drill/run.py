"""Running a drill: lose what the scenario says, follow the plan step by step, measure, judge, clean up.

Order of a run: choose and open a center through the scenario's wrappers · resolve the snapshot afresh · check the
room · the plan's steps · undo in reverse · negative controls · judge · wipe. Undo, wiping and the record happen also
when a step fails or the run is interrupted. Real centers are only read.

The two times run on the clock that was passed in: the recovery point's age from the snapshot to the declared disaster,
the restore time from the start of the run to the last probe of the service that passed.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from pydantic import JsonValue

from govsec.backup.restore import RestoreReport, restore
from govsec.clock import Clock
from govsec.config import Objectives, Role
from govsec.drill.capability import EDITIONS, Measured
from govsec.drill.centers import CenterChoice, Chosen, DrillCenter, OpenRepository
from govsec.drill.choice import choose_snapshot, disaster_at
from govsec.drill.content import Extent, measure
from govsec.drill.judge import (
    against_coverage,
    against_objectives,
    capabilities,
    history_facts,
    reason,
    restore_time,
)
from govsec.drill.plan import CommandProbe, Plan, ProbeStep
from govsec.drill.result import (
    SCHEMA,
    ContentResult,
    DrillResult,
    IsolationResult,
    Measures,
    Outcome,
    Reason,
    SnapshotRef,
    StepResult,
    Targets,
    Verdict,
    worst,
)
from govsec.drill.sandbox import Sandbox, account_of, open_sandbox
from govsec.drill.scratch import Scratch
from govsec.drill.steps import StepRunner, needs_sandbox
from govsec.drill.watch import StepFailedError, Stopwatch
from govsec.errors import GovsecError, StoreUnavailableError
from govsec.progress import ProgressSink, silent
from govsec.repo.repository import Repository
from govsec.repo.snapshot import Snapshot
from govsec.store.api import ReadStore

#: Restores a snapshot into an empty directory.
Restorer = Callable[[Repository, Snapshot, Path, ProgressSink], RestoreReport]
#: The ids of the snapshots at a center in the order of their commits.
CommittedOrder = Callable[[ReadStore], Sequence[str]]
#: A sandbox, its start included, ends well within this; controls are asked on an empty directory.
_CONTROL_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Desk:
    """Who runs the drill, where, for whom: what the record says besides the plan."""

    operator: str
    organization: str = ""
    system_title: str = ""
    objectives: Objectives = field(default_factory=Objectives)
    host: str = field(default_factory=socket.gethostname)


def run_drill(
    plan: Plan,
    centers: Sequence[DrillCenter],
    open_repository: OpenRepository,
    scratch: Path,
    *,
    desk: Desk,
    clock: Clock,
    restorer: Restorer | None = None,
    committed_order: CommittedOrder | None = None,
    is_kept: bool = False,
    record: Callable[[DrillResult], None] | None = None,
    progress: ProgressSink = silent,
) -> DrillResult:
    """Run ``plan`` and give its record. A drill that fails is a result, not an error.

    ``scratch`` is a directory with room for the restored data; a subdirectory is made in it and wiped, unless
    ``is_kept``. With ``committed_order`` the drill of a snapshot that was not the last to be committed is partial: a
    clock was wrong, and which data are the newest is for people to say. ``record`` is called once with the result, also
    when the run was interrupted, before the interrupt goes on.

    Raises:
        ConfigurationError: the scratch directory or the isolation user cannot be used; nothing was run.
        RefusedError: the plan's commands cannot be isolated here; nothing was run.
    """
    run = _Run(
        plan, centers, open_repository, scratch, desk, clock, restorer or _restore(clock), committed_order, progress
    )
    interrupt: BaseException | None = None
    try:
        run.go()
    except (KeyboardInterrupt, SystemExit) as error:
        interrupt = error
        run.reasons.append(reason("interrupted"))
    finally:
        run.clean_up(is_kept=is_kept, is_interrupted=interrupt is not None)
    result = run.result()
    if record is not None:
        record(result)
    if interrupt is not None:
        raise interrupt
    return result


class _Run:
    def __init__(
        self,
        plan: Plan,
        centers: Sequence[DrillCenter],
        open_repository: OpenRepository,
        scratch: Path,
        desk: Desk,
        clock: Clock,
        restorer: Restorer,
        committed_order: CommittedOrder | None,
        progress: ProgressSink,
    ) -> None:
        self.plan = plan
        self.desk = desk
        self.clock = clock
        self.started = clock.now()
        self.disaster_at = disaster_at(plan, self.started)
        self.id = f"{self.started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
        self.watch = Stopwatch(clock)
        self.reasons: list[Reason] = []
        self.centers = CenterChoice(plan, centers)
        self.chosen: Chosen | None = None
        self.snapshot: Snapshot | None = None
        self.reference: SnapshotRef | None = None
        self.times: tuple[datetime, ...] = ()
        self.extent = Extent(0, 0)
        self._open_repository = open_repository
        self._restorer = restorer
        self._committed_order = committed_order
        self._progress = progress
        self._kept = ""
        self._undo: tuple[StepResult, ...] = ()
        self._controls: tuple[StepResult, ...] = ()
        self.scratch = Scratch(scratch, self.id)
        self.sandbox: Sandbox | None = None
        self.isolation = IsolationResult(is_isolated=True)
        if needs_sandbox(plan):
            try:
                self._open_sandbox()
            except BaseException:
                self.scratch.wipe()
                raise
        self.runner = StepRunner(plan, self.scratch, self.sandbox, self.watch, self.isolation, progress)

    def go(self) -> None:
        """Everything up to and including the last step of the plan."""
        try:
            with self.watch.step("prepare", "prepare") as note:
                self._prepare(note.facts)
        except GovsecError:
            self.runner.skip_from(0)
            return
        assert self.chosen is not None and self.snapshot is not None  # _prepare raises otherwise
        repository, snapshot = self.chosen.repository, self.snapshot
        self.runner.bind(
            repository,
            snapshot,
            restorer=lambda target, sink: self._restorer(repository, snapshot, target, sink),
            stores=self.chosen.stores,
        )
        self.runner.run_all()

    def clean_up(self, *, is_kept: bool, is_interrupted: bool) -> None:
        """Undo, stop everything, ask the controls, wipe. Each happens whatever becomes of the one before."""
        try:
            self._undo = tuple(self.runner.undo())
        finally:
            try:
                if self.sandbox is not None:
                    self.sandbox.close()
                if not is_interrupted:
                    self._controls = tuple(self._ask_controls())
            finally:
                self._wipe(is_kept=is_kept)

    def result(self) -> DrillResult:
        """The record."""
        ended = self.clock.now()
        content = self.runner.content
        steps = tuple(self.watch.results)
        age_s = None
        if self.snapshot is not None:
            age_s = round((self.disaster_at - self.snapshot.time).total_seconds(), 3)
        timed = restore_time(self.plan, steps)
        targets = self.plan.objectives or self.desk.objectives
        unset = tuple(name for name in ("rpo_s", "rto_s") if name not in targets.model_fields_set)
        limits = Targets(rpo_s=targets.rpo_s, rto_s=targets.rto_s, defaults=unset)
        reasons = [*self.reasons, *self.runner.reasons]
        reasons += against_objectives(limits, age_s, timed[0] if timed else None)
        reasons += against_coverage(self.plan, content, steps, self.isolation)
        measured = self._measured(content, age_s, timed[0] if timed else None)
        is_restored = self.snapshot is not None
        return DrillResult(
            schema=SCHEMA,
            id=self.id,
            organization=self.desk.organization,
            system=self.plan.system,
            system_title=self.desk.system_title,
            plan=self.plan.name,
            plan_title=self.plan.title,
            plan_digest=self.plan.digest(),
            scenario=self.plan.scenario.model_dump(mode="json"),
            operator=self.desk.operator,
            host=self.desk.host,
            version=version("govsec"),
            started=self.started,
            ended=ended,
            disaster_at=self.disaster_at,
            verdict=worst(tuple(reasons)),
            reasons=tuple(reasons),
            centers=self.centers.references(),
            snapshot=self.reference,
            objectives=limits,
            measures=Measures(
                recovery_point_age_s=age_s,
                restore_time_s=timed[0] if timed else None,
                restore_time_until=timed[1] if timed else "",
                phases_s=self.watch.phases(),
                files_count=self.runner.restored.files,
                restored_bytes=self.runner.restored.size_bytes,
            ),
            content=content,
            metadata=self.runner.metadata,
            isolation=self.isolation,
            steps=steps,
            undo=self._undo,
            controls=self._controls,
            history=history_facts(self.times, self.disaster_at) if is_restored else None,
            capability=tuple(capabilities(measured, self.plan.attestations, EDITIONS)),
            scratch_kept=self._kept,
        )

    def _prepare(self, facts: dict[str, JsonValue]) -> None:
        try:
            self.chosen = self.centers.choose(self._open_repository)
        except StoreUnavailableError as error:
            raise self._against("no_center", detail=str(error)[:500]) from error
        except GovsecError as error:
            raise self._against("unusable", detail=str(error)[:500]) from error
        repository, role = self.chosen.repository, self.chosen.center.role
        # The drill went on at another center, but one that should have stood did not.
        for failed, why in self.centers.failures.items():
            self.reasons.append(reason("center_failed", Verdict.PARTIAL, center_role=failed.value, detail=why[:500]))
        if self.chosen.damaged is not None and not self.chosen.damaged.hits_count():
            self.reasons.append(reason("damage_not_met", Verdict.PARTIAL))
        try:
            # Read past the scenario's damage: it is about the data, this about the record's honesty.
            committed = self._committed_order(self.chosen.center.store) if self._committed_order is not None else ()
            choice = choose_snapshot(self.plan, repository.snapshots(), self.started, role.value, committed)
            self.reference, self.times = choice.reference, choice.times
            self.reasons += choice.reasons
            if choice.snapshot is None:
                raise StepFailedError(choice.reasons[-1].code)
            self.snapshot = choice.snapshot
            repository.load_index()
            self.extent = _extent(repository, self.snapshot)
        except StepFailedError:
            raise
        except GovsecError as error:
            raise self._against("unreadable", center_role=role.value, detail=str(error)[:500]) from error
        facts |= {
            "snapshot": self.snapshot.short_id,
            "files": self.extent.files,
            "restored_bytes": self.extent.size_bytes,
        }
        free = self.scratch.free_bytes()
        if self.extent.size_bytes > free:
            raise self._against("no_space", needed_bytes=self.extent.size_bytes, free_bytes=free)

    def _against(self, code: str, **facts: JsonValue) -> StepFailedError:
        self.reasons.append(reason(code, Verdict.FAIL, **facts))
        return StepFailedError(code)

    def _open_sandbox(self) -> None:
        isolation = self.plan.isolation
        self.sandbox = open_sandbox(isolation, self.scratch.tree, self.clock)
        why = self.sandbox.reason
        if not why:
            self.scratch.lend(*account_of(isolation))
        self.isolation = IsolationResult(
            is_isolated=not why,
            user="" if why else isolation.user,
            network="" if why else isolation.network,
            memory_bytes=isolation.memory_bytes,
            cpu_s=isolation.cpu_s,
            processes_max=isolation.processes_max,
            reason=why,
        )

    def _ask_controls(self) -> Iterator[StepResult]:
        """Ask every command probe on an empty directory, with nothing started: there it has to fail."""
        asked = [
            step for step in self.plan.steps if isinstance(step, ProbeStep) and isinstance(step.probe, CommandProbe)
        ]
        for step in asked:
            if self.runner.outcome(step.name) is not Outcome.PASSED:
                continue
            try:
                sandbox = open_sandbox(self.plan.isolation, self.scratch.control, self.clock)
            except GovsecError as error:
                self.reasons.append(reason("control_not_asked", step=step.name, detail=str(error)[:500]))
                continue
            try:
                control = self.runner.control(step, sandbox, min(step.timeout_s, _CONTROL_TIMEOUT_S))
            finally:
                sandbox.close()
            if control.outcome is not Outcome.PASSED:
                self.reasons.append(reason("probe_proves_nothing", step=step.name))
            yield control

    def _wipe(self, *, is_kept: bool) -> None:
        if is_kept:
            self._kept = str(self.scratch.path)
        elif why := self.scratch.wipe():
            self.reasons.append(reason("scratch_left", Verdict.PARTIAL, detail=why))

    def _measured(self, content: ContentResult | None, age_s: float | None, time_s: float | None) -> Measured:
        chosen, metadata = self.chosen, self.runner.metadata
        is_as_it_was = metadata is not None and not metadata.mismatches_count
        return Measured(
            is_verified=content is not None and content.is_verified and is_as_it_was,
            is_offsite=chosen is not None and chosen.center.role is Role.REMOTE,
            recovery_point_age_s=age_s,
            restore_time_s=time_s,
            snapshot_times=self.times,
            at=self.disaster_at,
        )


def _extent(repository: Repository, snapshot: Snapshot) -> Extent:
    """How much a restore will write: as the backup noted it, else counted in the trees."""
    if snapshot.summary is not None and snapshot.summary.total_bytes_processed:
        return Extent(snapshot.summary.total_files_processed, snapshot.summary.total_bytes_processed)
    return measure(repository, snapshot, lambda: None)


def _restore(clock: Clock) -> Restorer:
    def run(repository: Repository, snapshot: Snapshot, target: Path, progress: ProgressSink) -> RestoreReport:
        # Devices and set-id bits come back as well, or a tree that has them could not pass: the scratch directory is
        # its owner's alone, and the sandbox mounts it without either.
        return restore(
            repository, snapshot, target, allow_devices=True, allow_set_id=True, clock=clock, progress=progress
        )

    return run
