"""Until a person takes it on: who is called now, who next, and when again.

A matter (a case, say; this room knows none) is called level by level along the chain that fits how bad it is: whoever
is on duty at that moment, again after some minutes, and the next level when nobody has taken it on. The last level goes
on until somebody does, or the matter is over. When it becomes worse, somebody is looked for anew, also when it had been
taken on: who took on something small has not taken on this.

It is never silent: a level at which nobody can be reached (an empty rota, a person without a channel) is passed over at
once, the call says so, and when nobody is left every channel of the site is used. :meth:`Escalation.step` gives the
calls that are due; :meth:`Escalation.told` notes them once an outbox has them. Time is handed in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta, timezone

from pydantic import JsonValue

from govsec.clock import to_ns
from govsec.notice.escalationfile import EscalationFile, Held, MatterState
from govsec.notice.rota import Rota
from govsec.records import Notice, Severity
from govsec.rotaentry import LEVELS, ChainConfig, PersonConfig, StepConfig

_MINUTE_NS = 60_000_000_000
#: No wait is longer than a day, and hours begin within one: what is to be called later was written by a wrong clock.
_AHEAD_MAX_NS = 2 * 86_400 * 1_000_000_000
#: More matters than this for the same people at once are told in one call.
_CALLS_MAX = 3
_LOOKED_AT_AGAIN_NS = 10 * _MINUTE_NS
_LISTED_MAX = 10
_DUE_MAX = 2000
_SUMMARY_MAX = 2000


@dataclass(frozen=True, slots=True)
class Matter:
    """What somebody is to take on. ``level``: 0 none, 1 一般 … 4 特别重大; ``mark`` changes when anything else does."""

    key: str
    mark: str
    severity: Severity
    level: int
    system: str
    subject: str
    summary: str
    is_exercise: bool = False
    #: How often a person has taken it on, and who did last. Counted: moments are of clocks that may be set back.
    acknowledged_count: int = 0
    acknowledged_by: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """A notice, the channels it goes to, and what to write down once it is on its way."""

    notice: Notice
    channels: tuple[str, ...]
    lines: tuple[tuple[Held, Held], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Whom a level reaches: people, their channels, and who was passed over on the way and why."""

    step: int
    people: tuple[str, ...]
    channels: tuple[str, ...]
    gaps: tuple[JsonValue, ...]


class Escalation:
    """Over one file. ``rotas``: by name, as they are at a moment; ``fallback``: channels for when nobody is left."""

    def __init__(
        self,
        file: EscalationFile,
        chains: Sequence[ChainConfig],
        people: Mapping[str, PersonConfig],
        rotas: Callable[[datetime], Mapping[str, Rota]],
        fallback: Sequence[str],
        zone: timezone,
    ) -> None:
        self._file = file
        self._chains = tuple(chains)
        self._people = people
        self._rotas = rotas
        self._fallback = tuple(fallback)
        self._zone = zone

    def rotas(self, moment: datetime) -> Mapping[str, Rota]:
        """The rotas, as they are at a moment."""
        return self._rotas(moment)

    def marks(self) -> dict[str, str]:
        """The marks of what is remembered, by key."""
        return self._file.marks()

    def waiting_count(self) -> int:
        """How many matters wait for a person."""
        return self._file.waiting_count()

    def watch(self, matters: Sequence[Matter], now: datetime) -> None:
        """Look for somebody for each of these, or note how they are by now."""
        known, now_ns = self._file.matters([matter.key for matter in matters]), to_ns(now)
        seen = [(matter, self._seen(matter, known.get(matter.key), now_ns)) for matter in matters]
        # Written down together: a death between a mark and what it stands for would lose an acknowledgement.
        self._file.keep([_acknowledged(held, matter) for matter, held in seen])

    def _seen(self, matter: Matter, old: Held | None, now_ns: int) -> Held:
        fresh = Held(
            matter.key, matter.mark, MatterState.CALLING, int(matter.severity), matter.level, matter.system,
            matter.subject, matter.summary, matter.is_exercise, now_ns, 0, -1, now_ns, now_ns, "",
        )  # fmt: skip
        if old is None:
            return fresh
        if old.state is MatterState.ENDED:
            # It was over and is not: what somebody said before it ended does not count for what comes now.
            return replace(fresh, calls_count=old.calls_count, old_words_count=matter.acknowledged_count)
        chain, before = self._chain(fresh), self._chain(old)
        if matter.level > old.level or (chain is not before and int(matter.severity) > old.severity):
            # Calls are counted on, so that their keys stay apart.
            return replace(fresh, calls_count=old.calls_count, old_words_count=matter.acknowledged_count)
        kept = replace(
            old, mark=fresh.mark, severity=fresh.severity, level=fresh.level, system=fresh.system,
            subject=fresh.subject, summary=fresh.summary, is_exercise=fresh.is_exercise,
        )  # fmt: skip
        return kept if chain is before else replace(kept, step=-1, step_ns=now_ns, next_ns=now_ns)

    def ended(self, keys: Sequence[str]) -> None:
        """These are over."""
        self._file.end(keys)

    def step(self, now: datetime) -> tuple[Call, ...]:
        """The calls that are due, the worst first. Each time the same until :meth:`told` has them."""
        rotas = self._rotas(now)
        calls: dict[tuple[object, ...], list[tuple[Held, Plan, ChainConfig]]] = {}
        for held in self._file.due(to_ns(now), _AHEAD_MAX_NS, _DUE_MAX):
            chain = self._chain(held)
            if chain is None:
                # Nobody is to be called for it; the configuration may say otherwise tomorrow.
                self._file.called([(held, replace(held, next_ns=to_ns(now) + _LOOKED_AT_AGAIN_NS))])
            elif not self._opens_at(chain, held, now):
                plan = self._plan_for(held, chain, now, rotas)
                calls.setdefault((plan.channels, held.is_exercise), []).append((held, plan, chain))
        found: list[Call] = []
        for group in calls.values():
            if len(group) > _CALLS_MAX:
                found.append(self._together(group, now))
            else:
                found += [self._call(held, plan, chain, now) for held, plan, chain in group]
        return tuple(found)

    def unreached(self, is_undeliverable: Callable[[str], bool], now: datetime) -> int:
        """Bring forward what no channel took: the next level is called within a minute; gives how many.

        At the last level the next call goes by every channel that there is.
        """
        now_ns = to_ns(now)
        found = []
        lost = [key for key in self._file.last_calls() if is_undeliverable(key)]
        for held in self._file.called_by(lost) if lost else ():
            chain = self._chain(held)
            wait_min = chain.steps[min(held.step, len(chain.steps) - 1)].wait_min if chain else 0
            next_ns = min(held.next_ns, now_ns + _MINUTE_NS)
            over_ns = now_ns - wait_min * _MINUTE_NS
            found.append((held, replace(held, step_ns=over_ns, next_ns=next_ns, call_key="", is_unreached=True)))
        self._file.called(found)
        return len(found)

    def told(self, calls: Sequence[Call]) -> None:
        """These calls are in an outbox."""
        self._file.called([line for call in calls for line in call.lines])

    def plan(self, chain: ChainConfig, step: int, now: datetime, rotas: Mapping[str, Rota] | None = None) -> Plan:
        """Whom a call at that level reaches now: the level's people, or those of the next one where somebody is."""
        rotas = self._rotas(now) if rotas is None else rotas
        gaps: list[JsonValue] = []
        # The levels after it, then those before it; the last resort is every channel there is.
        for number in (*range(step, len(chain.steps)), *range(step - 1, -1, -1)):
            people = self._called_by(chain.steps[number], now, rotas, gaps)
            channels = tuple(dict.fromkeys(name for person in people for name in self._people[person].channels))
            if channels:
                return Plan(max(step, number), people, channels, tuple(gaps))
        return Plan(len(chain.steps) - 1, (), self._fallback, tuple(gaps))

    def _plan_for(self, held: Held, chain: ChainConfig, now: datetime, rotas: Mapping[str, Rota]) -> Plan:
        plan = self.plan(chain, self._step_due(chain, held, now), now, rotas)
        if not held.is_unreached:
            return plan
        gap: JsonValue = {"who": str(max(held.step, 0) + 1), "why": "undelivered"}
        is_last = held.step >= len(chain.steps) - 1
        return replace(plan, channels=self._fallback if is_last else plan.channels, gaps=(gap, *plan.gaps))

    def chain_for(self, severity: Severity, level: int, system: str) -> ChainConfig | None:
        """The chain for what is this bad: the one that asks for most of those that fit; None when none does."""
        fitting = [
            (LEVELS.index(chain.level_min) + 1, Severity[chain.severity_min.upper()], bool(chain.systems), -place)
            for place, chain in enumerate(self._chains)
            if (chain.level_min == "general" or level >= LEVELS.index(chain.level_min) + 1)
            and severity >= Severity[chain.severity_min.upper()]
            and (not chain.systems or system in chain.systems)
        ]
        return self._chains[-max(fitting)[3]] if fitting else None

    def _chain(self, held: Held) -> ChainConfig | None:
        return self.chain_for(Severity(held.severity), held.level, held.system)

    def _opens_at(self, chain: ChainConfig, held: Held, now: datetime) -> bool:
        """True when its hours have not begun; it is called again when they have."""
        if chain.hours is None:
            return False
        start, end = (time.fromisoformat(text) for text in chain.hours)
        local = now.astimezone(self._zone)
        moment = local.time().replace(microsecond=0)
        is_open = start <= moment < end if start < end else moment >= start or moment < end
        if is_open:
            return False
        opens = datetime.combine(local.date(), start, self._zone)
        opens = opens if opens > now else opens + timedelta(days=1)
        self._file.called([(held, replace(held, next_ns=to_ns(opens)))])
        return True

    @staticmethod
    def _step_due(chain: ChainConfig, held: Held, now: datetime) -> int:
        last = len(chain.steps) - 1
        if held.step < 0 or held.step > last:
            return min(max(held.step, 0), last)
        waited_ns = to_ns(now) - held.step_ns
        is_over = waited_ns >= chain.steps[held.step].wait_min * _MINUTE_NS
        return min(held.step + is_over, last)

    def _called_by(
        self, step: StepConfig, now: datetime, rotas: Mapping[str, Rota], gaps: list[JsonValue]
    ) -> tuple[str, ...]:
        people = list(step.people)
        if step.rota is not None:
            on_duty = rotas[step.rota].on_duty(now) if step.rota in rotas else ()
            if not on_duty:
                gaps.append({"who": step.rota, "why": "empty"})
            people = [*on_duty, *people]
        reached = []
        for person in dict.fromkeys(people):
            if person in self._people and self._people[person].channels:
                reached.append(person)
            else:
                gaps.append({"who": self._name(person), "why": "no_channel"})
        return tuple(reached)

    def _name(self, person: str) -> str:
        return self._people[person].name if person in self._people else person

    def _after(self, held: Held, plan: Plan, chain: ChainConfig, key: str, now_ns: int) -> Held:
        """How the matter is once the call of that key is on its way."""
        is_new = plan.step != held.step
        # A clock that was set back must not make a level last for ever.
        began_ns = now_ns if is_new or held.step_ns > now_ns else held.step_ns
        step = chain.steps[plan.step]
        next_ns = now_ns + step.repeat_min * _MINUTE_NS
        if plan.step < len(chain.steps) - 1:
            next_ns = min(next_ns, max(began_ns + step.wait_min * _MINUTE_NS, now_ns + _MINUTE_NS))
        return replace(
            held, calls_count=held.calls_count + 1, step=plan.step, step_ns=began_ns, next_ns=next_ns, call_key=key,
            is_unreached=False,
        )  # fmt: skip

    def _call(self, held: Held, plan: Plan, chain: ChainConfig, now: datetime) -> Call:
        number, names = held.calls_count + 1, "、".join(map(self._name, plan.people)) or "-"
        waited_s = max(0, to_ns(now) - held.opened_ns) // 1_000_000_000
        summary = (
            f"{held.key}: {held.summary}; taken on by nobody for {waited_s // 60} min; call {number}, level "
            f"{plan.step + 1} of {len(chain.steps)}: {names}"
        )
        notice = Notice(
            key=f"escalation#{held.key}#{number}",
            kind="escalation.exercise" if held.is_exercise else "escalation.call",
            severity=Severity(held.severity),
            time=now,
            system=held.system,
            subject=held.subject,
            summary=summary[:_SUMMARY_MAX],
            facts={
                "matter": held.key,
                "text": held.summary,
                "level": (LEVELS[held.level - 1] if held.level else "none"),
                "step": plan.step + 1,
                "steps_count": len(chain.steps),
                "number": number,
                "names": names,
                "waited_s": waited_s,
                "gaps": list(plan.gaps),
            },
        )
        return Call(notice, plan.channels, ((held, self._after(held, plan, chain, notice.key, to_ns(now))),))

    def _together(self, group: Sequence[tuple[Held, Plan, ChainConfig]], now: datetime) -> Call:
        """One call for many matters: whoever gets a hundred calls at once reads none."""
        worst, plan, _ = group[0]
        marks = "\n".join(f"{held.key}#{held.calls_count}" for held, _, _ in group)
        names = "、".join(map(self._name, plan.people)) or "-"
        oldest_s = max(0, to_ns(now) - min(held.opened_ns for held, _, _ in group)) // 1_000_000_000
        listed: list[JsonValue] = [
            {"matter": held.key, "text": held.summary, "system": held.system} for held, _, _ in group[:_LISTED_MAX]
        ]
        notice = Notice(
            key=f"escalation##{hashlib.sha256(marks.encode('utf-8', 'surrogatepass')).hexdigest()[:40]}",
            kind="escalation.exercises" if worst.is_exercise else "escalation.calls",
            severity=Severity(max(held.severity for held, _, _ in group)),
            time=now,
            subject=worst.subject,
            summary=f"{len(group)} matters are taken on by nobody, the oldest for {oldest_s // 60} min: {names}",
            facts={
                "matters_count": len(group),
                "matters": listed,
                "names": names,
                "waited_s": oldest_s,
                "gaps": list(plan.gaps),
            },
        )
        after = [(held, self._after(held, each, chain, notice.key, to_ns(now))) for held, each, chain in group]
        return Call(notice, plan.channels, tuple(after))


def _acknowledged(held: Held, matter: Matter) -> Held:
    """The matter, acknowledged when a person has taken it on since it became what it is."""
    if matter.acknowledged_count <= held.old_words_count:
        return held
    return replace(held, state=MatterState.ACKNOWLEDGED, acknowledged_by=matter.acknowledged_by)
