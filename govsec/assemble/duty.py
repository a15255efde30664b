"""The duty daemon: from what agents found to notices, cases, deadlines and evidence, by itself and for years.

::

    agents' spools ── triage ── outbox ── channels          a finding is told
                         └───── cases ─── evidence ── ledger   and kept, judged, counted down, proved

One idea: a record leaves an agent's spool when triage, the outbox and the cases have it on the disk, and each of them
remembers how far it came. So the daemon may die at any moment: what it does again leaves no trace, and nothing is left
out. A part that fails is told and tried again; the others go on.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import datetime
from typing import Self

from govsec.assemble.dutycases import CaseWatch
from govsec.assemble.dutyrules import placing_rules, title_of
from govsec.assemble.dutysources import Batch, Found, Source, sources_of
from govsec.assemble.evidence import open_evidence
from govsec.assemble.incident import build_desk, open_cases
from govsec.assemble.notify import channels_of, open_outbox
from govsec.assemble.response import open_responses
from govsec.assemble.triage import build_triage, open_triage_file
from govsec.clock import Clock, to_ns
from govsec.config import Config
from govsec.errors import GovsecError
from govsec.incident.intake import Intake, IntakeSettings, Taken
from govsec.incident.intakefile import IntakeFile
from govsec.incident.placing import system_of
from govsec.incident.triagebatch import Position
from govsec.records import Notice

log = logging.getLogger(__name__)

_BATCH = 500
#: Findings that wait for playbooks while their file cannot be used.
_UNANSWERED_MAX = 10_000
_TOLD_KEPT_NS = 400 * 86_400 * 10**9
#: A spool is looked at so often; it costs two looks at names.
_LOOK_S = 0.005


class Duty:
    """Everything of the daemon but its loop and what runs beside it. Not for two threads."""

    def __init__(self, config: Config, clock: Clock, *, has_ledger: bool) -> None:
        """Open what it works with. ``has_ledger``: evidence of cases and notices is kept for the ledger.

        Raises:
            ConfigurationError: a place cannot be used, or the configuration says what no rule knows.
            IntegrityError, TryAgainError: a file is damaged, or held by somebody.
        """
        self.config = config
        self.counts: Counter[str] = Counter()
        #: Findings that playbooks were not asked about yet; the oldest go when it is full.
        self._unanswered: deque[tuple[Found, str]] = deque(maxlen=_UNANSWERED_MAX)
        #: What is wrong now, by part.
        self.troubles: dict[str, str] = {}
        self._clock = clock
        self._stack = ExitStack()
        with contextlib.ExitStack() as stack:
            folder = config.state_dir / "incidents"
            self.outbox = stack.enter_context(open_outbox(config))
            self.store = stack.enter_context(open_cases(config))
            self.evidence = stack.enter_context(open_evidence(config))
            self._triage_file = stack.enter_context(open_triage_file(config))
            self._intake_file = stack.enter_context(closing(IntakeFile(folder / "intake.db")))
            desk = build_desk(config, self.store, clock)
            self._rules = placing_rules(config, desk)
            self._triage = build_triage(config, self._triage_file, level_of=lambda mark: self.cases.level_of(mark))
            settings = IntakeSettings(config.incident.roles, config.incident.duty.cases_per_hour)
            self._intake = Intake(desk, self._intake_file, self._rules, settings, clock, title_of=title_of(config.lang))
            self.cases = CaseWatch(
                desk,
                self._intake_file,
                self._triage,
                clock,
                put=self.put,
                evidence=self.evidence if has_ledger else None,
            )
            self._responses = stack.enter_context(open_responses(config, clock)) if has_responses(config) else None
            self.sources = [stack.enter_context(closing(Source(entry, clock))) for entry in sources_of(config)]
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give all files back; what was acknowledged is on the disk."""
        self._stack.close()

    def carry_on(self, before: Duty) -> None:
        """Go on for one that was closed: its counts, and the findings that playbooks were not asked about yet."""
        self.counts = before.counts
        self._unanswered = before._unanswered

    def step(self, wait_s: float = 0.0) -> bool:
        """One turn: what lies in the spools becomes notices and cases. Waits up to ``wait_s`` for something to do.

        Gives True when it did something. Raises nothing of ours: what fails is in :attr:`troubles`, and tried again.
        """
        self._wait(wait_s)
        is_busy = False
        for source in self.sources:
            with self.part(f"source {source.name}"):
                batch = source.read(_BATCH)
                if batch is not None:
                    self._take(source, batch)
                    is_busy = True
        if self._unanswered:
            self._ask_playbooks()
        with self.part("triage"):
            self._tell(self._clock.now())
        with self.part("cases"):
            is_busy |= self.cases.step(self._is_news) > 0
        return is_busy

    def inject(self, taken: Sequence[Taken]) -> None:
        """Findings that come from no spool: of drills, of the demo. All is on the disk when it returns.

        Raises:
            As triage, the outbox and the store; told again, nothing is counted twice but in triage.
        """
        now = self._clock.now()
        self._triage.absorb_all([(one.system, one.finding) for one in taken], now)
        self._tell(now)
        result = self._intake.take(taken)
        self.cases.look_soon((*result.opened, *result.changed))
        self.counts["cases_opened"] += len(result.opened)

    def put(self, notices: Sequence[Notice]) -> None:
        """Notices into the outbox, each for the channels of its routes; what no route takes is counted and logged.

        Raises:
            As ``govsec.database.Database``.
        """
        now = self._clock.now()
        by_channels: dict[tuple[str, ...], list[Notice]] = {}
        for notice in notices:
            by_channels.setdefault(channels_of(notice, self.config.notify), []).append(notice)
        for channels, group in by_channels.items():
            if channels:
                self.counts["notices_kept"] += self.outbox.put(group, channels, now)
            else:
                self.counts["notices_for_nobody"] += len(group)
                log.warning("no route takes notices", extra={"count": len(group), "key": group[0].key})

    def tell_once(self, notices: Sequence[Notice]) -> None:
        """Notices that somebody makes again and again, put when they are new. Raises as :meth:`put`."""
        news = [notice for notice in notices if not self._intake_file.is_told(notice.key)]
        if news:
            self.put(news)
            keys = [notice.key for notice in news]
            self._intake_file.mark_told(keys, to_ns(self._clock.now()), kept_ns=_TOLD_KEPT_NS)

    def is_told(self, key: str) -> bool:
        """True when this was told before; see :meth:`mark_told`."""
        return self._intake_file.is_told(key)

    def mark_told(self, key: str, now_ns: int, kept_ns: int) -> None:
        """Remember that this was told."""
        self._intake_file.mark_told([key], now_ns, kept_ns=kept_ns)

    def counters(self) -> dict[str, int]:
        """What happened since the start, and how full triage is."""
        return {**self.counts, **{f"triage_{name}": count for name, count in self._triage_file.counters().items()}}

    def beyond(self) -> dict[str, int]:
        """Findings that were only counted, because their case is full; by case."""
        return self._intake_file.beyond()

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What fails within is counted and told in :attr:`troubles`; what works takes it off again."""
        try:
            yield
        except GovsecError as error:
            if name not in self.troubles:
                log.error("duty part failed", extra={"part": name, "error": str(error)})
            self.troubles[name] = str(error)
            self.counts["failures"] += 1
        else:
            self.troubles.pop(name, None)

    def _is_news(self) -> bool:
        return any(source.has_changed() for source in self.sources)

    def _wait(self, wait_s: float) -> None:
        end = self._clock.monotonic() + wait_s
        while not self._is_news():
            left = end - self._clock.monotonic()
            if left <= 0:
                return
            self._clock.sleep(min(_LOOK_S, left))
            if any(source.is_unsettled() for source in self.sources):
                return

    def _take(self, source: Source, batch: Batch) -> None:
        now, position = self._clock.now(), Position(source.name, batch.epoch, batch.last)
        # People first: the notice is durable before anybody thinks about cases.
        new = _after(batch, self._triage_file.position(source.name))
        systems = [system_of(one.finding, source.system, self._rules) for one in new]
        self._triage.absorb_all(
            [(system, one.finding) for system, one in zip(systems, new, strict=True)], now, position
        )
        self._tell(now)
        new = _after(batch, self._intake_file.position(source.name))
        taken = [Taken(one.finding, system_of(one.finding, source.system, self._rules), one.origin) for one in new]
        result = self._intake.take(taken, position)
        # All of the batch, not the new alone: playbooks know what they were asked before, and may lack the last of it.
        self._unanswered += [(one, source.system) for one in batch.found]
        # Before the batch is acknowledged, but what keeps playbooks from it keeps no later finding from people.
        self._ask_playbooks()
        source.go_on(batch)
        self.cases.look_soon((*result.opened, *result.changed))
        self.counts["findings"] += len(new)
        self.counts["records_unreadable"] += batch.unreadable_count
        self.counts["cases_opened"] += len(result.opened)

    def _ask_playbooks(self) -> None:
        with self.part("responses"):
            self._respond()

    def _respond(self) -> None:
        """Ask playbooks. What they cannot take now is asked again, and keeps no finding from people meanwhile."""
        if self._responses is None:
            self._unanswered.clear()
        while self._unanswered and self._responses is not None:
            one, default = self._unanswered[0]
            taken = Taken(one.finding, system_of(one.finding, default, self._rules), one.origin)
            self.counts["responses_planned"] += len(self._responses.absorb(one.finding, self._intake.case_of(taken)))
            self._unanswered.popleft()

    def _tell(self, now: datetime) -> None:
        notices = self._triage.due(now)
        if notices:
            self.put(notices)
            self._triage.told(notices, now)


def has_responses(config: Config) -> bool:
    """True when playbooks can be followed here: nobody approves anything where no roots are pinned."""
    return config.signing.roots_file is not None


def _after(batch: Batch, position: Position | None) -> tuple[Found, ...]:
    if position is None or position.epoch != batch.epoch:
        return batch.found
    return tuple(one for one in batch.found if one.sequence > position.sequence)
