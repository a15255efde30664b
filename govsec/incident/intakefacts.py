"""What a program may say of an event: since when something lasts, until when it lasted, what is configured.

One idea: whoever measured is named, and a person's word stands. An outage that comes back within :data:`REJOIN` went
on (the stricter reading); one that comes back later is another event.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from govsec.clock import format_time, parse_time
from govsec.errors import UsageError
from govsec.incident.case import AHEAD_MAX
from govsec.incident.desk import Desk, View
from govsec.incident.entries import Entry, FactsSaid, Noted, RecoveryProved
from govsec.incident.facts import Since, is_sound, parse_fact
from govsec.incident.placing import DRILL_PASSED, Place
from govsec.records import Finding

#: Who says what a program says in a case; with a blank, so that no account of a machine is called so.
MACHINE = "govsec duty"
#: No case for each flap of a service.
REJOIN = timedelta(minutes=30)
_REASON_MAX = 4000


class SaidFacts:
    """The facts of one case while findings are added to it. Not for two cases."""

    def __init__(self, desk: Desk, view: View) -> None:
        self._fields = desk.fields
        self._facts = dict(view.case.facts)
        self._by = dict(view.case.facts_by)
        self._recovered_at = view.case.recovered_at

    def is_another_event(self, where: Place, finding: Finding, now: datetime) -> bool:
        """True when the case's outage ended so long ago that this finding tells of another one."""
        if where.lasting is None or where.is_over or self._by.get(where.lasting) != MACHINE:
            return False
        lasted = self._lasting(where.lasting)
        return lasted is not None and lasted.end is not None and began_at(finding, now) - lasted.end > REJOIN

    def entries(self, where: Place, finding: Finding, now: datetime) -> Iterator[Entry]:
        """What the finding adds to what is known; nothing when it is known."""
        if finding.kind == DRILL_PASSED:
            yield from self._proved(finding, now)
            return
        if not where.is_over:
            told = {name: text for name, text in where.facts.items() if name not in self._by}
            if told:
                yield self._say(told, f"configuration of service {finding.facts.get('service')}", now)
        if where.lasting is None or self._by.get(where.lasting, MACHINE) != MACHINE:
            if where.is_over:
                yield Noted(time=now, by=MACHINE, text=finding.summary)
            return
        text = self._text(where.lasting, finding, now, is_over=where.is_over)
        if text is not None:
            yield self._say({where.lasting: text}, f"{finding.kind}: {finding.summary}", now)

    def _text(self, name: str, finding: Finding, now: datetime, *, is_over: bool) -> str | None:
        lasting = self._lasting(name)
        if is_over:
            if lasting is None or lasting.end is not None:
                return None
            end = max(_believed(finding.time, now), lasting.start)
            return f"since {format_time(lasting.start)} until {format_time(end)}"
        if lasting is None:
            return f"since {format_time(began_at(finding, now))}"
        return None if lasting.end is None else f"since {format_time(lasting.start)}"

    def _lasting(self, name: str) -> Since | None:
        field, text = self._fields.get(name), self._facts.get(name)
        if field is None or text is None:
            return None
        try:
            fact = parse_fact(field, text)
        except UsageError:  # written under other rules; what is measured now says it anew
            return None
        return fact if isinstance(fact, Since) else None

    def _say(self, facts: dict[str, str], reason: str, now: datetime) -> FactsSaid:
        self._facts |= facts
        self._by |= dict.fromkeys(facts, MACHINE)
        return FactsSaid(time=now, by=MACHINE, facts=facts, reason=reason[:_REASON_MAX])

    def _proved(self, finding: Finding, now: datetime) -> Iterator[Entry]:
        if self._recovered_at is not None and self._recovered_at >= finding.time:
            return
        self._recovered_at = now
        digest = finding.facts.get("digest")
        proof = f"sha256:{digest}" if isinstance(digest, str) else None
        yield RecoveryProved(time=now, by=MACHINE, text=finding.summary, digest=proof)


def began_at(finding: Finding, now: datetime) -> datetime:
    """Since when what a finding tells of lasts: what it says itself (``since``), else when it was found."""
    said = finding.facts.get("since")
    try:
        moment = parse_time(said) if isinstance(said, str) else finding.time
    except ValueError:
        moment = finding.time
    return _believed(moment, now)


def _believed(moment: datetime, now: datetime) -> datetime:
    # What agents hand in is not believed where it cannot be: a clock that was wrong must not make years of outage.
    return min(moment, now) if is_sound(moment) and moment <= now + AHEAD_MAX else now
