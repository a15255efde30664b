"""Findings become cases: they join the case of their story, or open it, and what they measured becomes its facts.

:meth:`Intake.take` may be told of the same findings again, after a crash at any moment: a case is opened once for
one record (``origin``), a finding that the case has is not joined again, and a fact that stands is not said again. A
finding joins once, and again when it is worse than before; how often it came is triage's count.

What a person said of a fact stands: a program says nothing more of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from govsec.clock import Clock, to_ns
from govsec.errors import IntegrityError, RefusedError
from govsec.incident.case import AHEAD_MAX, FINDINGS_MAX
from govsec.incident.desk import Desk
from govsec.incident.entries import Entry, FindingJoined, Opened
from govsec.incident.eventclasses import EventClasses, shipped_classes
from govsec.incident.facts import is_sound
from govsec.incident.intakefacts import MACHINE, SaidFacts
from govsec.incident.intakefile import IntakeFile, Thread
from govsec.incident.placing import Place, PlacingRules, place
from govsec.incident.triage import fingerprint
from govsec.incident.triagebatch import Position
from govsec.records import Finding, Severity

log = logging.getLogger(__name__)

_HOUR = timedelta(hours=1)
_TITLE_MAX, _SUBJECT_MAX, _ORIGIN_MAX = 200, 200, 500
#: Findings that one case is told of at a time.
_ENTRIES_MAX = 500
_KNOWN_CASES_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Taken:
    """A finding of a system. ``origin`` names its record for ever, so that it opens one case and no second."""

    finding: Finding
    system: str
    origin: str


@dataclass(frozen=True, slots=True)
class IntakeSettings:
    """Roles as whom cases are opened; beyond ``cases_per_hour`` findings of a system share one case."""

    roles: tuple[str, ...]
    cases_per_hour: int = 30


@dataclass(frozen=True, slots=True)
class TakenIn:
    """What became of findings. ``beyond_count``: counted only, their cases hold as many as they may."""

    opened: tuple[str, ...]
    changed: tuple[str, ...]
    beyond_count: int


class Intake:
    """Over one desk and one file."""

    def __init__(
        self,
        desk: Desk,
        file: IntakeFile,
        rules: PlacingRules,
        settings: IntakeSettings,
        clock: Clock,
        *,
        title_of: Callable[[Finding], str],
        classes: EventClasses | None = None,
    ) -> None:
        """``title_of``: a finding in a few words of people's language."""
        self._desk = desk
        self._file = file
        self._rules = rules
        self._settings = settings
        self._clock = clock
        self._title_of = title_of
        self._classes = classes or shipped_classes()
        #: What a case is known to hold, by fingerprint: findings that only come again ask no file.
        self._known: dict[str, dict[str, Severity]] = {}
        self._full: set[str] = set()

    def take(self, taken: Sequence[Taken], position: Position | None = None) -> TakenIn:
        """Let findings join or open cases; all of it, and ``position``, is on the disk when it returns.

        Raises:
            As the store and ``Database``; what was done so far is done again by the next call, without a trace.
        """
        work = _Batch()
        by_thread: dict[str, list[tuple[Taken, Place]]] = {}
        for one in taken:
            where = place(one.finding, one.system, self._rules)
            by_thread.setdefault(where.thread, []).append((one, where))
        for thread, found in by_thread.items():
            for start in range(0, len(found), _ENTRIES_MAX):
                part = found[start : start + _ENTRIES_MAX]
                try:
                    self._tell(thread, part, self._case_of(thread, work), work)
                except (IntegrityError, RefusedError) as error:
                    # A case that is damaged, full, or was closed a moment ago: the story goes on in another one.
                    log.warning("case not added to", extra={"story": thread[:200], "error": str(error)})
                    self._tell(thread, part, None, work)
        self._file.keep(work.threads, work.beyond, position)
        return TakenIn(tuple(work.opened), tuple(work.changed), sum(work.beyond.values()))

    def case_of(self, one: Taken) -> str:
        """The case that a finding's story has, open or closed; empty when it has none."""
        thread = self._file.thread(place(one.finding, one.system, self._rules).thread)
        return "" if thread is None else thread.case_id

    def _tell(self, name: str, found: Sequence[tuple[Taken, Place]], case_id: str | None, work: _Batch) -> None:
        """Findings of one story, in order; where an outage is another one than the case has, a case begins anew."""
        rest = list(found)
        is_fresh = False
        while rest:
            if case_id is None:
                begin = next((number for number, (_, where) in enumerate(rest) if where.is_opening), None)
                if begin is None:
                    return
                rest = rest[begin:]
                case_id = self._open(name, *rest[0], work)
                is_fresh = True
            rest = self._join(case_id, rest, work, is_fresh=is_fresh)
            case_id = None

    def _case_of(self, name: str, work: _Batch) -> str | None:
        thread = work.threads.get(name) or self._file.thread(name)
        try:
            is_open = thread is not None and self._desk.store.line(thread.case_id).is_open
        except RefusedError:  # the file of cases is another one than before
            return None
        return thread.case_id if thread is not None and is_open else None

    def _open(self, name: str, one: Taken, where: Place, work: _Batch) -> str:
        now = self._clock.now()
        since_ns = to_ns(now - _HOUR)
        count = self._file.opened_count(since_ns) + sum(held.opened_ns >= since_ns for held in work.threads.values())
        shared, is_flood = f"{where.system}|*", count >= self._settings.cases_per_hour
        case_id = self._case_of(shared, work) if is_flood else None
        if case_id is None:
            seen = one.finding.time
            entry = Opened(
                time=now,
                by=MACHINE,
                title=self._title_of(one.finding)[:_TITLE_MAX],
                system=where.system,
                # The organization knows from when its sensor knew; a moment that cannot be is not believed.
                aware_at=seen if is_sound(seen) and seen <= now + AHEAD_MAX else now,
                roles=self._settings.roles,
                event_class=self._classes.suggest([one.finding.kind]),
            )
            case_id = self._desk.open(entry, origin=f"{name}#{one.origin}"[:_ORIGIN_MAX]).case.id
            work.opened.append(case_id)
        if is_flood:
            work.threads[shared] = Thread(case_id, 0)
        work.threads[name] = Thread(case_id, 0 if is_flood else to_ns(now))
        return case_id

    def _join(
        self, case_id: str, found: Sequence[tuple[Taken, Place]], work: _Batch, *, is_fresh: bool
    ) -> list[tuple[Taken, Place]]:
        """Write into the case what is new to it; gives what belongs into another case, if there is such."""
        known = self._known.get(case_id)
        if known is not None and not any(_says_more(where) for _, where in found):
            new_count = sum(_is_new(one, where, _mark(one), known) for one, where in found)
            if not new_count:
                return []
            if case_id in self._full:
                # It would be read whole for each batch of a flood, to be added nothing to.
                work.beyond[case_id] = work.beyond.get(case_id, 0) + new_count
                return []
        view = self._desk.view(case_id)
        known = {mark: Severity[joined.severity.upper()] for mark, joined in view.case.findings.items()}
        room = FINDINGS_MAX - view.case.findings_count
        facts, entries, now = SaidFacts(self._desk, view), list[Entry](), self._clock.now()
        rest: list[tuple[Taken, Place]] = []
        beyond_count = 0
        for number, (one, where) in enumerate(found):
            if not is_fresh and facts.is_another_event(where, one.finding, now):
                rest = list(found[number:])
                break
            mark = _mark(one)
            if _is_new(one, where, mark, known) and room <= 0:
                beyond_count += 1
            elif _is_new(one, where, mark, known):
                known[mark] = one.finding.severity
                entries.append(self._joined(one.finding, mark))
                room -= 1
            entries += facts.entries(where, one.finding, now)
        if entries:
            self._desk.add(case_id, *entries)
            work.changed.append(case_id)
        if beyond_count:
            work.beyond[case_id] = work.beyond.get(case_id, 0) + beyond_count
        if len(self._known) >= _KNOWN_CASES_MAX:
            self._known.clear()
            self._full.clear()
        self._known[case_id] = known
        if room <= 0:
            self._full.add(case_id)
        return rest

    def _joined(self, finding: Finding, mark: str) -> FindingJoined:
        return FindingJoined(
            time=self._clock.now(),
            by=MACHINE,
            fingerprint=mark,
            finding=finding.kind,
            subject=finding.subject[:_SUBJECT_MAX],
            severity=finding.severity.name.lower(),  # type: ignore[arg-type]  # the names of Severity, in a Literal
            summary=finding.summary,
        )


def _mark(one: Taken) -> str:
    return fingerprint(one.finding.kind, one.finding.subject, one.system)


def _says_more(where: Place) -> bool:
    return where.is_over or where.lasting is not None


def _is_new(one: Taken, where: Place, mark: str, known: Mapping[str, Severity]) -> bool:
    worst = known.get(mark)
    return not where.is_over and (worst is None or worst < one.finding.severity)


@dataclass(slots=True)
class _Batch:
    """What a batch came to so far."""

    opened: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    threads: dict[str, Thread] = field(default_factory=dict)
    beyond: dict[str, int] = field(default_factory=dict)
