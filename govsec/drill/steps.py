"""The steps of a plan, one after the other: each timed, each with its limit, each with an outcome.

A probe that fails does not stop the others, so that one run tells all it can; any other step that fails does, and what
comes after it is recorded as not run. Addresses are switched after passed probes only, and in a drill never for real.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from govsec.backup.restore import RestoreReport
from govsec.backup.witness import Witness, find_witness
from govsec.drill.content import Extent, check_content
from govsec.drill.inside import exists_inside
from govsec.drill.judge import reason
from govsec.drill.mariadb import ask_mariadb, recover_mariadb
from govsec.drill.metadata import check_metadata
from govsec.drill.nonce import check_nonce, planted_size
from govsec.drill.plan import (
    CommandProbe,
    ConfigureStep,
    ContentProbe,
    MariadbQueryProbe,
    MariadbStep,
    NonceProbe,
    Plan,
    PostgresQueryProbe,
    PostgresStep,
    ProbeStep,
    RestoreStep,
    SqliteProbe,
    StartStep,
    Step,
    SwitchAddressStep,
)
from govsec.drill.postgres import ask_server, recover_server
from govsec.drill.probes import ask_command, ask_sqlite, command_answer
from govsec.drill.result import ContentResult, IsolationResult, MetadataResult, Outcome, Reason, StepResult, Verdict
from govsec.drill.sandbox import Sandbox, account_of
from govsec.drill.scratch import Scratch, write_config
from govsec.drill.watch import Note, StepFailedError, StepTimeoutError, Stopwatch
from govsec.errors import GovsecError
from govsec.mariadb.isolated import IsolatedServer as IsolatedMariadb
from govsec.postgres.isolated import IsolatedServer
from govsec.progress import Progress, ProgressSink
from govsec.repo.repository import Repository
from govsec.repo.snapshot import Snapshot
from govsec.store.api import ReadStore


@dataclass(frozen=True, slots=True)
class _Bound:
    """What the steps work on, known once a snapshot is chosen."""

    repository: Repository
    snapshot: Snapshot
    restorer: Callable[[Path, ProgressSink], RestoreReport]
    stores: tuple[ReadStore, ...]


class StepRunner:
    """Runs the steps of one plan."""

    def __init__(
        self,
        plan: Plan,
        scratch: Scratch,
        sandbox: Sandbox | None,
        watch: Stopwatch,
        isolation: IsolationResult,
        progress: ProgressSink,
    ) -> None:
        self.reasons: list[Reason] = []
        self.content: ContentResult | None = None
        self.metadata: MetadataResult | None = None
        self.restored = Extent(0, 0)
        self._plan = plan
        self._scratch = scratch
        self._sandbox = sandbox
        self._watch = watch
        self._is_isolated = isolation.is_isolated and sandbox is not None
        self._progress = progress
        self._bound: _Bound | None = None
        self._attempted: list[Step] = []
        self._witness: Witness | None = None
        self._has_looked = False
        self._postgres: IsolatedServer | None = None
        self._mariadb: IsolatedMariadb | None = None

    def bind(
        self,
        repository: Repository,
        snapshot: Snapshot,
        *,
        restorer: Callable[[Path, ProgressSink], RestoreReport],
        stores: tuple[ReadStore, ...],
    ) -> None:
        """Say what is restored, and how."""
        self._bound = _Bound(repository, snapshot, restorer, stores)

    def outcome(self, name: str) -> Outcome:
        """How a step of the plan ended."""
        return next((result.outcome for result in self._watch.results if result.name == name), Outcome.SKIPPED)

    def run_all(self) -> None:
        """Run every step of the plan."""
        for position, step in enumerate(self._plan.steps):
            if isinstance(step, SwitchAddressStep):
                probes = [other.name for other in self._plan.steps[:position] if isinstance(other, ProbeStep)]
                if any(self.outcome(name) is not Outcome.PASSED for name in probes) or step.rehearsal is None:
                    is_barred = step.rehearsal is not None
                    self._watch.skip(step.name, kind_of(step), Outcome.SKIPPED if is_barred else Outcome.NOT_REHEARSED)
                    continue
            try:
                self._run(step)
            except GovsecError:
                if not isinstance(step, ProbeStep):
                    self.skip_from(position + 1)
                    return

    def skip_from(self, position: int) -> None:
        """Record the steps from ``position`` on as not run."""
        for step in self._plan.steps[position:]:
            self._watch.skip(step.name, kind_of(step))

    def undo(self) -> Iterator[StepResult]:
        """Take back what was attempted, in reverse order; a failure does not keep the others from being taken back."""
        for step in reversed(self._attempted):
            if step.undo is None or self._sandbox is None:
                continue
            started, begun, note = self._watch.clock.now(), self._watch.clock.monotonic(), Note()
            note.take(command_answer(self._sandbox.run(self._argv(step.undo.argv, self._sandbox), step.undo.timeout_s)))
            if note.outcome is not Outcome.PASSED:
                self.reasons.append(reason("undo_failed", Verdict.PARTIAL, step=step.name, detail=note.detail))
            yield self._watch.aside(step.name, "undo", note, started, begun)

    def control(self, step: ProbeStep, sandbox: Sandbox, timeout_s: float) -> StepResult:
        """Ask a command probe in another sandbox, where it has to fail; ``passed`` says that it did."""
        assert isinstance(step.probe, CommandProbe)  # the caller picks these
        started, begun, note = self._watch.clock.now(), self._watch.clock.monotonic(), Note()
        outcome = sandbox.run(self._argv(step.probe.argv, sandbox), timeout_s)
        answer = command_answer(outcome, exit_code=step.probe.exit_code, output_contains=step.probe.output_contains)
        note.take(answer)
        note.outcome = Outcome.FAILED if answer.is_passed else Outcome.PASSED
        return self._watch.aside(step.name, "control", note, started, begun)

    def _run(self, step: Step) -> None:
        code = "probe_failed" if isinstance(step, ProbeStep) else "step_failed"
        reasons_count = len(self.reasons)
        try:
            with self._watch.step(step.name, kind_of(step)) as note:
                self._attempted.append(step)
                self._do(step, note, self._ticker(step.timeout_s))
                if note.outcome is not Outcome.PASSED:
                    raise StepFailedError(note.detail)
        except StepTimeoutError:
            self.reasons.append(reason("step_timeout", step=step.name, limit_s=step.timeout_s))
            raise
        except GovsecError as error:
            if len(self.reasons) == reasons_count:
                self.reasons.append(reason(code, step=step.name, detail=str(error)[:500]))
            raise
        if note.facts["duration_s"] > step.timeout_s:  # type: ignore[operator] # put there as a float by the watch
            self.reasons.append(reason("step_timeout", step=step.name, limit_s=step.timeout_s))
            raise StepTimeoutError(step.name)
        if isinstance(step, RestoreStep):
            self._expect()
            self._check_metadata(step)
            self._hand_over(step)

    def _do(self, step: Step, note: Note, tick: Callable[[], None]) -> None:
        match step:
            case RestoreStep():
                self._restore(note, tick)
            case ConfigureStep():
                self._configure(step, note)
            case StartStep():
                self._start(step, note)
            case PostgresStep():
                answer, self._postgres = recover_server(step, self._require_sandbox(), self._watch.clock)
                note.take(answer)
            case MariadbStep():
                answer, self._mariadb = recover_mariadb(step, self._require_sandbox(), self._watch.clock)
                note.take(answer)
            case SwitchAddressStep(rehearsal=rehearsal):
                assert rehearsal is not None  # run_all leaves out the others
                sandbox = self._require_sandbox()
                note.take(command_answer(sandbox.run(self._argv(rehearsal, sandbox), step.timeout_s)))
            case ProbeStep():
                self._probe(step, note, tick)

    def _restore(self, note: Note, tick: Callable[[], None]) -> None:
        bound = self._require_bound()

        def sink(moment: Progress) -> None:
            self._progress(moment)
            tick()

        report = bound.restorer(self._scratch.tree, sink)
        self.restored = Extent(report.files, report.size_bytes)
        note.facts |= {
            "files": report.files,
            "restored_bytes": report.size_bytes,
            "problems": report.problems_count,
            "fallbacks": report.fallbacks,
        }
        if report.problems_count:
            first = report.problems[0]
            shown = f"{first.path}: {first.what}".encode("utf-8", "backslashreplace").decode()[:300]
            self.reasons.append(reason("restore_problems", count=report.problems_count, first=shown))
            raise StepFailedError(f"{report.problems_count} objects could not be restored")

    def _expect(self) -> None:
        """The least that must be there; a nonce that was planted does not count as a file of the system."""
        expect = self._plan.expect
        with self._watch.step("expectations", "expect") as note:
            planted = planted_size(self._look_for_witness(), self._scratch.tree)
            files = self.restored.files - (planted is not None)
            size_bytes = self.restored.size_bytes - (planted or 0)
            note.facts |= {"paths": len(expect.paths), "files": files, "restored_bytes": size_bytes}
            missing = [path for path in expect.paths if not exists_inside(self._scratch.tree, path.encode())]
            self.reasons += [reason("expect_path", path=path) for path in missing[:10]]
            if files < expect.files_min:
                self.reasons.append(reason("expect_files", found=files, minimum=expect.files_min))
            if size_bytes < expect.bytes_min:
                self.reasons.append(reason("expect_bytes", found=size_bytes, minimum=expect.bytes_min))
            if missing or files < expect.files_min or size_bytes < expect.bytes_min:
                note.outcome = Outcome.FAILED

    def _check_metadata(self, step: RestoreStep) -> None:
        """Part of a plan's content probe, and done while the restored tree is still as it was restored."""
        if not any(
            isinstance(other, ProbeStep) and isinstance(other.probe, ContentProbe) for other in self._plan.steps
        ):
            return
        bound = self._require_bound()
        witness = self._look_for_witness()
        samples = witness.samples if witness is not None else None
        with self._watch.step("metadata", "metadata") as note:
            found = check_metadata(
                bound.repository, bound.snapshot, self._scratch.tree, samples, self._ticker(step.timeout_s)
            )
            self.metadata = found
            note.facts |= {"entries": found.entries, "mismatches": found.mismatches_count}
            if found.mismatches_count:
                first = found.mismatches[0]
                facts: dict[str, JsonValue] = {"count": found.mismatches_count, "path": first.path, "what": first.what}
                self.reasons.append(reason("metadata_mismatch", Verdict.FAIL, **facts))
                note.outcome, note.detail = Outcome.FAILED, "metadata_mismatch"
        left_out = sum(item.count for item in found.not_compared if item.why == "not_root")
        if left_out:
            self.reasons.append(reason("owners_not_compared", Verdict.PARTIAL, count=left_out))

    def _hand_over(self, step: RestoreStep) -> None:
        if not self._is_isolated:
            return
        try:
            with self._watch.step("hand-over", "hand_over") as note:
                uid, gid = account_of(self._plan.isolation)
                note.facts["entries"] = self._scratch.hand_over(uid, gid, self._ticker(step.timeout_s))
        except GovsecError as error:
            self.reasons.append(reason("step_failed", step="hand-over", detail=str(error)[:500]))
            raise

    def _configure(self, step: ConfigureStep, note: Note) -> None:
        owner = account_of(self._plan.isolation) if self._is_isolated else None
        for file in step.files:
            write_config(self._scratch.tree, file, self._fill(file.content, self._tree(self._sandbox)), owner)
        note.facts["files"] = len(step.files)

    def _start(self, step: StartStep, note: Note) -> None:
        sandbox = self._require_sandbox()
        argv = self._argv(step.argv, sandbox)
        if not step.background:
            note.take(command_answer(sandbox.run(argv, step.timeout_s)))
        elif why := sandbox.spawn(argv):
            note.outcome, note.detail = Outcome.FAILED, why

    def _probe(self, step: ProbeStep, note: Note, tick: Callable[[], None]) -> None:
        match step.probe:
            case ContentProbe():
                self._check_content(note, tick)
            case NonceProbe():
                code = check_nonce(self._look_for_witness(), self._scratch.tree)
                if code:
                    self.reasons.append(reason(code))
                    raise StepFailedError(code)
            case CommandProbe() as probe:
                sandbox = self._require_sandbox()
                argv = self._argv(probe.argv, sandbox)
                note.take(ask_command(probe, argv, sandbox, step.timeout_s, self._watch.clock))
            case SqliteProbe() as probe:
                note.take(ask_sqlite(probe, self._require_sandbox(), step.timeout_s))
            case PostgresQueryProbe() as probe:
                note.take(ask_server(probe, self._postgres, step.timeout_s))
            case MariadbQueryProbe() as probe:
                note.take(ask_mariadb(probe, self._mariadb, step.timeout_s))

    def _check_content(self, note: Note, tick: Callable[[], None]) -> None:
        bound = self._require_bound()
        witness = self._look_for_witness()
        samples = witness.samples if witness is not None else None
        content = check_content(bound.repository, bound.snapshot, self._scratch.tree, samples, tick)
        self.content = content
        note.facts |= {
            "files": content.files_checked,
            "samples": content.samples_checked,
            "mismatches": content.mismatches_count,
        }
        if content.mismatches_count:
            first = content.mismatches[0]
            facts: dict[str, JsonValue] = {"count": content.mismatches_count, "path": first.path, "what": first.what}
            self.reasons.append(reason("content_mismatch", Verdict.FAIL, **facts))
            raise StepFailedError(f"{content.mismatches_count} mismatches")
        if not content.files_checked:
            self.reasons.append(reason("content_empty"))
            raise StepFailedError("there was no file to verify")

    def _look_for_witness(self) -> Witness | None:
        if not self._has_looked:
            self._has_looked = True
            try:
                bound = self._require_bound()
                found = (find_witness(store, bound.repository.suite, bound.snapshot.id) for store in bound.stores)
                self._witness = next((witness for witness in found if witness is not None), None)
            except GovsecError as error:
                self.reasons.append(reason("witness_unreadable", detail=str(error)[:500]))
        return self._witness

    def _ticker(self, timeout_s: float) -> Callable[[], None]:
        deadline = self._watch.clock.monotonic() + timeout_s

        def tick() -> None:
            if self._watch.clock.monotonic() > deadline:
                raise StepTimeoutError(f"longer than {timeout_s:g} s")

        return tick

    def _argv(self, argv: tuple[str, ...], sandbox: Sandbox) -> list[str]:
        return [self._fill(part, sandbox.tree) for part in argv]

    def _fill(self, text: str, tree: str) -> str:
        snapshot = self._require_bound().snapshot.id
        return text.replace("{target}", tree).replace("{system}", self._plan.system).replace("{snapshot}", snapshot)

    def _tree(self, sandbox: Sandbox | None) -> str:
        return str(self._scratch.tree) if sandbox is None else sandbox.tree

    def _require_bound(self) -> _Bound:
        assert self._bound is not None  # steps run after a snapshot was chosen
        return self._bound

    def _require_sandbox(self) -> Sandbox:
        assert self._sandbox is not None  # needs_sandbox says yes for every plan that gets here
        return self._sandbox


def needs_sandbox(plan: Plan) -> bool:
    """True when something of the plan runs outside this process."""
    return any(
        isinstance(step, (StartStep, PostgresStep, MariadbStep, SwitchAddressStep))
        or step.undo is not None
        or (isinstance(step, ProbeStep) and isinstance(step.probe, (CommandProbe, SqliteProbe)))
        for step in plan.steps
    )


def kind_of(step: Step) -> str:
    """What records and reports call the kind of a step."""
    return step.probe.kind if isinstance(step, ProbeStep) else step.kind
