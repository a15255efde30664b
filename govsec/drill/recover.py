"""A real recovery by the plan that the drills have rehearsed: the same steps, in place and for good.

What differs from a drill: the tree stays, owners and all; commands run as whoever runs this, without isolation; what
was started stays started; and when every probe has passed, the addresses are switched for real. A step that fails stops
it before anybody is sent to the new place, takes back what was done, and leaves the tree for people to look at.

A plan whose scenario only pretends damage (flipped bits, missing objects) is for drills and is refused. Snapshot and
center are chosen now, by the plan's own rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from govsec.backup.restore import RestoreReport, restore
from govsec.clock import Clock
from govsec.drill.centers import CenterChoice, Chosen, DrillCenter, OpenRepository
from govsec.drill.choice import choose_snapshot, disaster_at
from govsec.drill.plan import CorruptShare, Plan, RemoveShare, SwitchAddressStep
from govsec.drill.probes import command_answer
from govsec.drill.result import IsolationResult, Verdict
from govsec.drill.sandbox import OpenSandbox
from govsec.drill.scratch import Scratch, wipe_directory
from govsec.drill.steps import StepRunner
from govsec.drill.watch import Stopwatch
from govsec.errors import RefusedError
from govsec.progress import ProgressSink, silent
from govsec.repo.snapshot import Snapshot
from govsec.store.api import ReadStore

_WHY_OPEN = "a real recovery is not isolated"


@dataclass(frozen=True, slots=True)
class Recovered:
    """What became of a recovery. ``problems`` is empty when the service is where its users are sent now."""

    tree: Path
    center: str
    snapshot_id: str
    snapshot_time: datetime
    #: What has been lost, in time, and how long it took from the start to the last switch.
    recovery_point_age_s: float
    restore_time_s: float
    #: Names of steps with their outcomes, switches at the end.
    steps: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]


def recover(
    plan: Plan,
    centers: Sequence[DrillCenter],
    open_repository: OpenRepository,
    base: Path,
    recovery_id: str,
    *,
    clock: Clock,
    committed_order: Callable[[ReadStore], Sequence[str]] | None = None,
    progress: ProgressSink = silent,
) -> Recovered:
    """Recover by ``plan`` into a directory below ``base``; what an earlier try of the same id left there goes first.

    Raises:
        RefusedError: the plan is for drills only, or no snapshot is eligible.
        StoreUnavailableError: no center that survives can be opened.
        ConfigurationError: the directory cannot be used.
    """
    if isinstance(plan.scenario, (CorruptShare, RemoveShare)):
        raise RefusedError(f"plan {plan.name}: its damage is made up for drills; nothing is recovered by it")
    begun, started = clock.monotonic(), clock.now()
    chosen = CenterChoice(plan, centers).choose(open_repository)
    committed = committed_order(chosen.center.store) if committed_order is not None else ()
    choice = choose_snapshot(plan, chosen.repository.snapshots(), started, chosen.center.role.value, committed)
    if choice.snapshot is None:
        raise RefusedError(f"plan {plan.name}: {choice.reasons[-1].code}")
    chosen.repository.load_index()
    scratch = _fresh(base, recovery_id)
    run = _Run(plan, chosen, choice.snapshot, scratch, clock, progress)
    problems = run.go()
    return Recovered(
        tree=scratch.tree,
        center=chosen.center.name,
        snapshot_id=choice.snapshot.id,
        snapshot_time=choice.snapshot.time,
        recovery_point_age_s=round((disaster_at(plan, started) - choice.snapshot.time).total_seconds(), 3),
        restore_time_s=round(clock.monotonic() - begun, 3),
        steps=tuple(run.outcomes),
        problems=tuple(problems),
    )


def take_back(plan: Plan, base: Path, recovery_id: str, snapshot_id: str, clock: Clock) -> list[str]:
    """Undo the steps of a recovery in reverse order; the tree stays. Gives what could not be undone."""
    sandbox = OpenSandbox(plan.isolation, base / f"drill-{recovery_id}" / "tree", clock, _WHY_OPEN)
    problems = []
    for step in reversed(plan.steps):
        if step.undo is not None:
            argv = _filled(step.undo.argv, plan, sandbox.tree, snapshot_id)
            answer = command_answer(sandbox.run(argv, step.undo.timeout_s))
            if not answer.is_passed:
                problems.append(f"{step.name}: {answer.detail}")
    return problems


class _Run:
    def __init__(
        self,
        plan: Plan,
        chosen: Chosen,
        snapshot: Snapshot,
        scratch: Scratch,
        clock: Clock,
        progress: ProgressSink,
    ) -> None:
        self.outcomes: list[tuple[str, str]] = []
        self._plan = plan
        self._snapshot = snapshot
        self._watch = Stopwatch(clock)
        self._sandbox = OpenSandbox(plan.isolation, scratch.tree, clock, _WHY_OPEN)
        isolation = IsolationResult(is_isolated=False, reason=_WHY_OPEN)
        self._runner = StepRunner(plan, scratch, self._sandbox, self._watch, isolation, progress)

        def bring_back(target: Path, sink: ProgressSink) -> RestoreReport:
            return restore(
                chosen.repository,
                snapshot,
                target,
                allow_devices=True,
                allow_set_id=True,
                clock=clock,
                progress=sink,
            )

        self._runner.bind(chosen.repository, snapshot, restorer=bring_back, stores=chosen.stores)

    def go(self) -> list[str]:
        """Every step, then the switches; gives what is wrong."""
        self._runner.run_all()
        self.outcomes = [(result.name, result.outcome.value) for result in self._watch.results]
        problems = [
            f"{each.code} {' '.join(f'{name}={value}' for name, value in each.facts.items())}".strip()
            for each in self._runner.reasons
            if each.verdict is Verdict.FAIL
        ]
        if not problems:
            problems = self._switch()
        if problems:
            problems += [f"not undone: {each.name}" for each in self._runner.undo() if each.outcome.value != "passed"]
            self._sandbox.close()
        return problems

    def _switch(self) -> list[str]:
        """Send the users to the new place; the first that fails takes the ones before it back."""
        done: list[SwitchAddressStep] = []
        for step in self._plan.steps:
            if not isinstance(step, SwitchAddressStep):
                continue
            done.append(step)
            answer = command_answer(self._sandbox.run(self._argv(step.argv), step.timeout_s))
            self.outcomes.append((f"{step.name} (for real)", "passed" if answer.is_passed else "failed"))
            if not answer.is_passed:
                for other in reversed(done):
                    self._sandbox.run(self._argv(other.undo.argv), other.undo.timeout_s)
                return [f"{step.name}: {answer.detail}"]
        return []

    def _argv(self, argv: Sequence[str]) -> list[str]:
        return _filled(argv, self._plan, self._sandbox.tree, self._snapshot.id)


def _filled(argv: Sequence[str], plan: Plan, tree: str, snapshot_id: str) -> list[str]:
    return [
        part.replace("{target}", tree).replace("{system}", plan.system).replace("{snapshot}", snapshot_id)
        for part in argv
    ]


def _fresh(base: Path, recovery_id: str) -> Scratch:
    """The directory of this recovery. One that is there is of a try that did not end, and holds half a tree."""
    path = base / f"drill-{recovery_id}"
    if path.exists() and (why := wipe_directory(path)):
        raise RefusedError(f"{path}: what an earlier try left cannot be removed: {why}")
    return Scratch(base, recovery_id)
