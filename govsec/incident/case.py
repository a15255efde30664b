"""A case: everything that was written into it, added up.

``Case`` is a value; :func:`add` gives the next one and refuses what contradicts what is there. Stages have guards:
:func:`open_questions` says what still keeps a case from a stage. Responding never waits for paper: from 研判 a case may
go straight to 响应, while the clocks of its reports run on; but it cannot be reviewed while a first report is owed, and
not closed while anything is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from govsec.errors import RefusedError
from govsec.incident import entries as e
from govsec.incident.deadlines import Duty, DutyState, LateReason, Receipt, Situation, counts_from
from govsec.incident.deadlinetable import Circumstance, ReportKind
from govsec.incident.entries import Entry, Stage
from govsec.incident.levels import EventLevel, WarningColor, level_of

#: What a person can read; more is refused and belongs into a file whose digest is kept. Findings have a limit of their
#: own, so that a flood of them leaves the room that people need to report and to close.
ENTRIES_MAX = 100_000
FINDINGS_MAX = 20_000
#: A moment said by hand may be ahead of this machine's clock by so much.
AHEAD_MAX = timedelta(minutes=5)
_STAGES = tuple(Stage)
_FORWARD: Mapping[Stage, frozenset[Stage]] = {
    Stage.FOUND: frozenset({Stage.ASSESSED}),
    Stage.ASSESSED: frozenset({Stage.NOTIFIED, Stage.RESPONDING}),
    Stage.NOTIFIED: frozenset({Stage.RESPONDING}),
    Stage.RESPONDING: frozenset({Stage.NOTIFIED, Stage.HANDLING}),
    Stage.HANDLING: frozenset({Stage.NOTIFIED, Stage.RECOVERING}),
    Stage.RECOVERING: frozenset({Stage.NOTIFIED, Stage.REVIEWED}),
    Stage.REVIEWED: frozenset({Stage.CLOSED}),
    Stage.CLOSED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Task:
    """Something to do. ``result`` is None while it is not done."""

    id: str
    title: str
    owner: str
    due_at: datetime | None
    result: str | None = None


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A piece of evidence and the hands it went through, first to last."""

    name: str
    digest: str
    size_bytes: int
    holders: tuple[tuple[datetime, str], ...]


@dataclass(frozen=True, slots=True)
class Case:
    """What a case is after ``number`` entries."""

    id: str
    number: int
    opened: e.Opened
    stage: Stage
    updated_at: datetime
    #: Settled by a person; None while only the rules have spoken.
    level: EventLevel | None = None
    confirmed_by: str = ""
    #: What the rules said when it was settled: the worst that was certain, and the worst that nothing excluded.
    suggested_then: EventLevel | None = None
    possible_then: EventLevel | None = None
    #: When each level was settled first.
    level_reached_at: Mapping[EventLevel, datetime] = field(default_factory=dict)
    color: WarningColor | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    #: Who said each of them last; a program leaves alone what a person said.
    facts_by: Mapping[str, str] = field(default_factory=dict)
    circumstances: frozenset[Circumstance] = frozenset()
    #: Fingerprint and last summary of each finding.
    findings: Mapping[str, e.FindingJoined] = field(default_factory=dict)
    findings_count: int = 0
    acknowledged_by: str = ""
    acknowledged_at: datetime | None = None
    assigned_to: str = ""
    received_at: datetime | None = None
    handling_ended_at: datetime | None = None
    new_facts_at: tuple[datetime, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    reasons: tuple[LateReason, ...] = ()
    observables: frozenset[tuple[str, str]] = frozenset()
    exhibits: Mapping[str, Exhibit] = field(default_factory=dict)
    tasks: Mapping[str, Task] = field(default_factory=dict)
    actions_count: int = 0
    recovered_at: datetime | None = None
    lessons: tuple[str, ...] = ()
    #: What people answered for reports, by part; the last answer counts.
    statements: Mapping[str, e.Stated] = field(default_factory=dict)
    reports: tuple[e.ReportMade, ...] = ()
    #: When each stage was reached first.
    reached: Mapping[Stage, datetime] = field(default_factory=dict)

    def is_overtaken(self, suggested: EventLevel) -> bool:
        """True when the rules now suggest worse than the settled level and than what its person had before them.

        An outage that grows and a leak that turns out larger must not hide behind a level that was settled early.
        """
        return (
            self.level is not None
            and suggested > self.level
            and (self.suggested_then is None or suggested > self.suggested_then)
        )

    def level_now(self, suggested: EventLevel) -> EventLevel:
        """The level that counts: the person's, unless facts have overtaken it; while there is none, the rules'."""
        if self.level is None or self.is_overtaken(suggested):
            return suggested
        return self.level

    def situation(self, suggested: EventLevel, highest_possible: EventLevel) -> Situation:
        """What the deadlines are computed from: the level that counts, and what else is possible."""
        level = self.level_now(suggested)
        # A person who has settled the level has weighed what was possible then, and nothing that came after.
        is_weighed = self.possible_then is not None and highest_possible <= self.possible_then
        return Situation(
            roles=frozenset(self.opened.roles),
            level=level,
            highest_possible=level if is_weighed else max(level, highest_possible),
            aware_at=self.opened.aware_at,
            received_at=self.received_at,
            handling_ended_at=self.handling_ended_at,
            new_facts_at=self.new_facts_at,
            circumstances=self.circumstances,
            level_reached_at=self.level_reached_at,
        )


def open_case(case_id: str, entry: e.Opened) -> Case:
    """The case that begins with this entry.

    Raises:
        RefusedError: it says that somebody knew of the event before it will have happened.
    """
    _not_ahead(entry, entry.aware_at, "aware_at")
    return Case(case_id, 1, entry, Stage.FOUND, entry.time, reached={Stage.FOUND: entry.time})


def add(case: Case, entry: Entry, found: Sequence[Duty] = (), *, suggested: EventLevel = EventLevel.GENERAL) -> Case:
    """The case after ``entry``; ``found`` are its duties at that time, which guard the later stages, and ``suggested``
    is what the rules make of its facts then.

    Raises:
        RefusedError: says what does not fit: a guard that is not met, a task or evidence that is not there, a case
            that is closed.
    """
    if isinstance(entry, e.FindingJoined):
        if case.findings_count >= FINDINGS_MAX:
            raise RefusedError(f"case {case.id}: holds {FINDINGS_MAX} findings; no more are joined")
    elif case.number - case.findings_count >= ENTRIES_MAX:
        raise RefusedError(f"case {case.id}: holds {ENTRIES_MAX} entries; keep more in a file and its digest here")
    if case.stage is Stage.CLOSED and not isinstance(entry, e.Moved | e.Noted):
        raise RefusedError(f"case {case.id}: is closed; move it back with a reason first")
    changed = _move(case, entry, found, suggested) if isinstance(entry, e.Moved) else _apply(case, entry)
    if isinstance(entry, e.ReceiptTaken | e.LateExplained):
        _fits(case, entry, found)
    return replace(changed, number=case.number + 1, updated_at=max(case.updated_at, entry.time))


def replay(case_id: str, written: Sequence[Entry]) -> Case:
    """The case that these entries add up to; guards were asked when they were written and are not asked again.

    Raises:
        RefusedError: the first entry opens no case, or another contradicts those before it.
    """
    if not written or not isinstance(written[0], e.Opened):
        raise RefusedError(f"case {case_id}: its first entry opens no case")
    case = open_case(case_id, written[0])
    # Thousands of findings may have joined: they are gathered in place, and no other entry looks at them.
    findings: dict[str, e.FindingJoined] = {}
    findings_count = 0
    for entry in written[1:]:
        changed = case
        if isinstance(entry, e.FindingJoined):
            findings[entry.fingerprint] = entry
            findings_count += 1
        else:
            changed = _apply(case, entry)
        case = replace(changed, number=case.number + 1, updated_at=max(case.updated_at, entry.time))
    return replace(case, findings=findings, findings_count=findings_count)


def _fits(case: Case, entry: e.ReceiptTaken | e.LateExplained, found: Sequence[Duty]) -> None:
    running = {duty.id: duty for duty in found if duty.started_at is not None}
    duty = running.get(entry.duty)
    if duty is None:
        named = ", ".join(running) or "none"
        raise RefusedError(f"case {case.id}: {entry.duty}: no duty whose time runs; there are {named}")
    since = counts_from(duty.rule, duty.started_at, case.opened.aware_at)
    if isinstance(entry, e.ReceiptTaken) and (since is None or entry.taken_at < since):
        raise RefusedError(f"case {case.id}: {entry.duty}: was taken before its time began to run")


def open_questions(
    case: Case, to: Stage, found: Sequence[Duty], suggested: EventLevel = EventLevel.GENERAL
) -> tuple[str, ...]:
    """What keeps the case from this stage, in words; empty when nothing does. Going back is always possible."""
    if _is_back(case, to):
        return ()
    if to not in _FORWARD[case.stage]:
        return (f"from {case.stage} a case goes to {', '.join(sorted(_FORWARD[case.stage])) or 'no other stage'}",)
    questions: list[str] = []
    if to is Stage.ASSESSED and case.level is None:
        questions.append("nobody has confirmed the level")
    if to in (Stage.REVIEWED, Stage.CLOSED) and case.is_overtaken(suggested):
        questions.append(
            f"the facts have overtaken the confirmed level: {suggested.word} is to be confirmed or declined"
        )
    if to is Stage.NOTIFIED:
        questions += _owed(found, ReportKind.FIRST, ReportKind.RELAY, ReportKind.NOTICE)
    if to is Stage.RESPONDING and not case.assigned_to:
        questions.append("nobody is assigned")
    if to is Stage.RECOVERING and not (case.actions_count or any(task.result for task in case.tasks.values())):
        questions.append("no task is done and no action was taken")
    if to is Stage.REVIEWED:
        questions += _owed(found, ReportKind.FIRST, ReportKind.RELAY, ReportKind.NOTICE, ReportKind.SUPPLEMENTARY)
        if case.recovered_at is None:
            questions.append("nobody has checked that the service is whole again")
        if case.handling_ended_at is None:
            questions.append("the end of handling is not said")
    if to is Stage.CLOSED:
        questions += _owed(found, *ReportKind)
        questions += [f"late without a reason: {duty.id}" for duty in found if duty.needs_reason]
        questions += [f"task not done: {task.id}" for task in case.tasks.values() if task.result is None]
        if not case.lessons:
            questions.append("no lesson is written down")
    return tuple(questions)


def _owed(found: Sequence[Duty], *kinds: ReportKind) -> list[str]:
    owed = [duty for duty in found if duty.is_certain and duty.rule.report in kinds]
    # What is to be passed on waits for the report from below: while none came in, nobody has passed anything on.
    waiting = [duty for duty in owed if duty.state is DutyState.WAITING and duty.rule.report is ReportKind.RELAY]
    return [
        *(f"report owed: {duty.id}" for duty in owed if duty.is_open),
        *(f"report to be passed on: {duty.id}, its report from below has not been received" for duty in waiting),
    ]


def _is_back(case: Case, to: Stage) -> bool:
    return _STAGES.index(to) < _STAGES.index(case.stage) and to not in _FORWARD[case.stage]


def _move(case: Case, entry: e.Moved, found: Sequence[Duty], suggested: EventLevel) -> Case:
    if entry.to is case.stage:
        raise RefusedError(f"case {case.id}: is at {entry.to} already")
    if _is_back(case, entry.to) and not entry.reason:
        raise RefusedError(f"case {case.id}: going back from {case.stage} to {entry.to} needs a reason")
    questions = open_questions(case, entry.to, found, suggested)
    if questions:
        raise RefusedError(f"case {case.id}: cannot go to {entry.to}: {'; '.join(questions)}")
    return _reach(case, entry)


def _reach(case: Case, entry: e.Moved) -> Case:
    # Reporting beside the work marks the stage as reached and does not take the case back to it.
    is_beside = entry.to is Stage.NOTIFIED and _STAGES.index(case.stage) > _STAGES.index(Stage.NOTIFIED)
    stage = case.stage if is_beside and not entry.reason else entry.to
    if _STAGES.index(stage) < _STAGES.index(case.stage) and _STAGES.index(stage) <= _STAGES.index(Stage.HANDLING):
        # Handled again: what was over and found whole is neither now.
        case = replace(case, handling_ended_at=None, recovered_at=None)
    return replace(case, stage=stage, reached={entry.to: entry.time, **case.reached})


def _apply(case: Case, entry: Entry) -> Case:
    match entry:
        case e.Opened():
            raise RefusedError(f"case {case.id}: is open already")
        case e.Moved():
            return _reach(case, entry)
        case e.FindingJoined():
            findings = {**case.findings, entry.fingerprint: entry}
            return replace(case, findings=findings, findings_count=case.findings_count + 1)
        case e.FactsSaid():
            said_by = dict.fromkeys(entry.facts, entry.by)
            return replace(case, facts={**case.facts, **entry.facts}, facts_by={**case.facts_by, **said_by})
        case e.LevelConfirmed():
            level = level_of(entry.level)
            reached = {level: entry.time, **case.level_reached_at}
            return replace(
                case,
                level=level,
                confirmed_by=entry.by,
                level_reached_at=reached,
                suggested_then=level_of(entry.suggested),
                possible_then=level_of(entry.highest_possible),
            )
        case e.ColorIssued():
            return replace(case, color=entry.color)
        case e.CircumstanceSaid():
            held = (
                case.circumstances | {entry.circumstance} if entry.holds else case.circumstances - {entry.circumstance}
            )
            return replace(case, circumstances=held)
        case e.Acknowledged():
            first = case.acknowledged_at or entry.time
            return replace(case, acknowledged_by=case.acknowledged_by or entry.by, acknowledged_at=first)
        case e.Assigned():
            return replace(case, assigned_to=entry.to)
        case e.LessonLearnt():
            return replace(case, lessons=(*case.lessons, entry.text))
        case e.Stated():
            return replace(case, statements={**case.statements, entry.part: entry})
        case e.ReportMade():
            return replace(case, reports=(*case.reports, entry))
        case e.ActionTaken():
            return replace(case, actions_count=case.actions_count + (entry.outcome == "done"))
        case e.RecoveryProved():
            return replace(case, recovered_at=entry.time)
        case e.ObservableSeen():
            return replace(case, observables=case.observables | {(entry.what, entry.value)})
        case e.Noted():
            return case
        case e.NewFacts() | e.Received() | e.ReceiptTaken() | e.LateExplained() | e.HandlingEnded():
            return _report(case, entry)
        case e.EvidenceKept() | e.CustodyPassed() | e.TaskGiven() | e.TaskDone():
            return _keep(case, entry)


def _report(case: Case, entry: e.NewFacts | e.Received | e.ReceiptTaken | e.LateExplained | e.HandlingEnded) -> Case:
    match entry:
        case e.NewFacts():
            return replace(case, new_facts_at=(*case.new_facts_at, entry.time))
        case e.Received():
            _not_ahead(entry, entry.received_at, "received_at")
            return replace(case, received_at=min(case.received_at or entry.received_at, entry.received_at))
        case e.ReceiptTaken():
            _not_ahead(entry, entry.taken_at, "taken_at")
            receipt = Receipt(entry.duty, entry.taken_at, entry.taken_by, entry.number, entry.by, entry.channel)
            return replace(case, receipts=(*case.receipts, receipt))
        case e.LateExplained():
            reason = LateReason(entry.duty, entry.time, entry.by, entry.reason)
            return replace(case, reasons=(*case.reasons, reason))
        case e.HandlingEnded():
            _not_ahead(entry, entry.ended_at, "ended_at")
            if entry.ended_at < case.opened.aware_at:
                raise RefusedError(f"case {case.id}: handling cannot have ended before anybody knew of the event")
            # Said again, it does not give another thirty days; what gives them is going back, with a reason.
            return replace(case, handling_ended_at=min(case.handling_ended_at or entry.ended_at, entry.ended_at))


def _keep(case: Case, entry: e.EvidenceKept | e.CustodyPassed | e.TaskGiven | e.TaskDone) -> Case:
    match entry:
        case e.EvidenceKept():
            if entry.digest in case.exhibits:
                raise RefusedError(f"case {case.id}: evidence {entry.digest} is kept already")
            exhibit = Exhibit(entry.name, entry.digest, entry.size_bytes, ((entry.time, entry.holder),))
            return replace(case, exhibits={**case.exhibits, entry.digest: exhibit})
        case e.CustodyPassed():
            held = case.exhibits.get(entry.digest)
            if held is None:
                raise RefusedError(f"case {case.id}: holds no evidence {entry.digest}")
            passed = replace(held, holders=(*held.holders, (entry.time, entry.holder)))
            return replace(case, exhibits={**case.exhibits, entry.digest: passed})
        case e.TaskGiven():
            if entry.task in case.tasks:
                raise RefusedError(f"case {case.id}: task {entry.task} is there already")
            task = Task(entry.task, entry.title, entry.owner, entry.due_at)
            return replace(case, tasks={**case.tasks, entry.task: task})
        case e.TaskDone():
            given = case.tasks.get(entry.task)
            if given is None or given.result is not None:
                raise RefusedError(f"case {case.id}: no open task {entry.task}")
            return replace(case, tasks={**case.tasks, entry.task: replace(given, result=entry.result)})


def _not_ahead(entry: Entry, moment: datetime, name: str) -> None:
    if moment > entry.time + AHEAD_MAX:
        raise RefusedError(f"{entry.kind}: {name} lies in the future of the entry that says so")
