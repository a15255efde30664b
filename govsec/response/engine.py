"""The engine: from a finding to deeds that were planned, approved, done, verified and taken back, whatever dies when.

    proposed → approved → doing → done → verified → undoing → undone
                                                  → expiring → expired

Each arrow is one transaction that also holds the step it tells of. A deed is written down as begun before anybody is
asked to do it, and an order is one deed however often it is asked for; so after a crash the engine asks again and
nothing happens twice. ``step()`` does what is due and is called again and again, by a daemon or by ``govsec response
run``; two may do so at once.

Verbs that are not live here are only tried: they say what they would hit, and that is the end of it.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from govsec import canonical
from govsec.clock import Clock, format_time
from govsec.config import explain
from govsec.crypto.signing import TrustedKeys
from govsec.errors import GovsecError, IntegrityError, RefusedError, TryAgainError
from govsec.records import Evidence, Finding
from govsec.response.api import Actor, Casebook, Outcome, Recorder
from govsec.response.order import Order, open_approvals
from govsec.response.playbook import Loaded, PlannedAction, Proposal, propose
from govsec.response.runs import OPEN, Deed, Run, Runs, State, Step
from govsec.response.verbs import verb_of

log = logging.getLogger(__name__)
Complete = Callable[[Mapping[str, str | int]], Mapping[str, str | int]]
#: Deeds of one playbook that wait for approval; what is beyond is not proposed, and counted.
WAITING_MAX = 200
#: Deeds that nobody approved last no longer than this in all, of one verb in thirty days; then a person is asked. An
#: attacker who provokes them must not keep retention from ever working again.
UNAPPROVED_MAX_S = 14 * 86_400
_UNAPPROVED_SPAN = timedelta(days=30)
#: How often a deed in force is looked at, at least.
CHECK_EVERY = timedelta(minutes=1)
#: Runs that ended are forgotten after this; ledger and cases keep what happened.
KEPT = timedelta(days=400)
_FORGET_EVERY = timedelta(hours=1)
FIRST_WAIT_S, WAIT_MAX_S = 2.0, 300.0
#: With waits that double to five minutes, about two hours.
TRIES_MAX = 30
_STEP_MAX = 500
_TELL_MAX = 1000
#: What a case is told; the rest stands in the ledger.
_FOR_CASES = frozenset({"tried", "done", "verified", "gone", "undone", "expired", "failed", "refused"})


@dataclass(frozen=True, slots=True)
class Stepped:
    """What one call of ``step`` moved, and what could not be handed on yet."""

    moved_count: int
    told_count: int
    problems: tuple[str, ...]
    #: Proposals that were not made since this engine began, because too many waited.
    dropped_count: int = 0


class Engine:
    """Carries out playbooks. ``actors`` by verb; ``live`` are the verbs that are really done."""

    def __init__(
        self,
        runs: Runs,
        playbooks: Sequence[Loaded],
        actors: Mapping[str, Actor],
        trusted: TrustedKeys,
        clock: Clock,
        *,
        host: str,
        live: frozenset[str],
        recorder: Recorder,
        casebook: Casebook,
        complete: Mapping[str, Complete] | None = None,
    ) -> None:
        self.runs = runs
        self.dropped_count = 0
        #: What the last finding did not say as a playbook needs it.
        self.unfit: tuple[str, ...] = ()
        self._forgot_at: datetime | None = None
        self._playbooks = tuple(playbooks)
        self._actors = dict(actors)
        self._trusted = trusted
        self._clock = clock
        self._host = host
        self._live = live
        self._recorder = recorder
        self._casebook = casebook
        #: By verb: what an order says beside its arguments, as it is when it is proposed.
        self._complete = dict(complete or {})

    def absorb(self, finding: Finding, case: str = "") -> list[str]:
        """Plan what the playbooks propose for a finding; gives the ids of new runs. The same finding plans once.

        Raises as :class:`govsec.database.Database`.
        """
        made = []
        self.unfit = ()
        for loaded in self._playbooks:
            if not loaded.playbook.fits(finding) or self._is_repeated(loaded, finding):
                continue
            run_id = self._plan(loaded, finding, case)
            if run_id is not None:
                made.append(run_id)
        return made

    def plan(self, verb: str, arguments: Mapping[str, Any], *, by: str, case: str = "", within_s: int = 3600) -> str:
        """A deed that a person planned; gives the id of its run.

        Raises:
            RefusedError: no such verb, or not with these arguments.
        """
        kind = verb_of(verb)
        try:
            checked = kind.arguments.model_validate(dict(arguments)).model_dump()
        except ValidationError as error:
            raise RefusedError(f"{verb} takes {', '.join(kind.arguments.model_fields)}: {explain(error)}") from error
        run = self._run("", "", "response.planned", verb, case, by, {}, ())
        completed = self._completed(verb, checked)
        self.runs.begin(run.id, run, [self._deed(run, verb, completed, kind.approvals_min, within_s)])
        return run.id

    def approve(self, document: bytes) -> Deed:
        """Take a person's approval; gives the deed as it is then.

        Raises:
            IntegrityError: not signed by a pinned person, or altered.
            RefusedError: for no deed that waits for it here.
        """
        order, names = open_approvals(self._trusted, [document])
        deed = self.runs.deed(order.nonce)
        if deed is None or deed.order.digest() != order.digest():
            raise RefusedError(f"approval: there is no such deed here ({order.nonce})")
        now = self._clock.now()
        if deed.state is not State.PROPOSED or now >= order.expires:
            raise RefusedError(f"approval: deed {order.nonce} is {deed.state.value}, and waits for none")
        count = self.runs.approve(deed, names[0], document, now)
        if count >= deed.approvals_needed:
            self._settle(deed)
        return self._again(deed)

    def is_live(self, deed: Deed) -> bool:
        """Whether it is really done here, once it is approved."""
        return deed.order.verb in self._live

    def take_back(self, deed: Deed, by: str) -> Deed:
        """A person wants a deed undone, or not done at all.

        Raises:
            RefusedError: it has ended already.
        """
        if deed.state not in OPEN:
            raise RefusedError(f"deed {deed.nonce} has ended: {deed.state.value}")
        is_begun = deed.state not in (State.PROPOSED, State.APPROVED)
        after = State.UNDOING if is_begun else State.LAPSED
        if not self.runs.move(deed, after, "undo_asked" if is_begun else "declined", self._clock.now(), by):
            raise TryAgainError(f"deed {deed.nonce} has changed just now; look at it again")
        return self._again(deed)

    def step(self) -> Stepped:
        """Do what is due now, and hand on what happened. What fails for now is tried again later, by itself.

        Raises as :class:`govsec.database.Database`.
        """
        moved = 0
        now = self._clock.now()
        if self._forgot_at is None or not timedelta(0) <= now - self._forgot_at < _FORGET_EVERY:
            self._forgot_at = now
            self.runs.forget(now - KEPT)
        # Several rounds, so that a deed goes as far as it can; the bound is on rounds, not on deeds.
        for _ in range(6):
            due = self.runs.due(self._clock.now(), _STEP_MAX)
            progress = [self._advance(deed) for deed in due]
            moved += sum(progress)
            if not any(progress):
                break
        told, problems = self._tell()
        return Stepped(moved, told, tuple(problems), self.dropped_count)

    def _advance(self, deed: Deed) -> bool:
        if deed.order.verb not in self._actors:
            # A daemon has nobody for a recovery: it takes hours, and a person runs and watches it.
            self.runs.put_off(deed, self._clock.now() + CHECK_EVERY, "")
            return False
        try:
            return self._move(deed)
        except GovsecError as error:
            now = self._clock.now()
            # What may be in force is followed for as long as it takes: it must be ended, or found to have ended.
            is_begun = deed.state in (State.DONE, State.VERIFIED, State.UNDOING, State.EXPIRING)
            if error.is_retryable and (is_begun or deed.tries < TRIES_MAX):
                wait_s = min(WAIT_MAX_S, FIRST_WAIT_S * 2.0 ** min(deed.tries, 20))
                self.runs.put_off(deed, now + timedelta(seconds=wait_s), str(error))
                return False
            if deed.state is State.PROPOSED and error.is_retryable:
                self.runs.put_off(deed, now + CHECK_EVERY, str(error))
                return False
            end = State.REFUSED if isinstance(error, RefusedError) else State.FAILED
            self.runs.move(deed, end, end.value, now, "", error=str(error))
            return True

    def _move(self, deed: Deed) -> bool:
        actor, now, order = self._actors[deed.order.verb], self._clock.now(), deed.order
        match deed.state:
            case State.PROPOSED:
                return self._consider(deed, actor, now)
            case State.APPROVED:
                if now >= order.expires:
                    self.runs.move(deed, State.LAPSED, "lapsed", now, "")
                else:
                    self.runs.move(deed, State.DOING, "begun", now, "")
            case State.DOING:
                documents = [document for _, document in self.runs.approvals(deed.nonce)]
                outcome = actor.carry_out(order, documents)
                self.runs.move(deed, State.DONE, "done", now, "", outcome.facts, ends=outcome.ends)
            case State.DONE | State.VERIFIED:
                return self._verify(deed, actor.check(order), now)
            case State.UNDOING | State.EXPIRING:
                outcome = actor.take_back(order)
                is_asked = deed.state is State.UNDOING
                after = State.UNDONE if is_asked else State.EXPIRED
                self.runs.move(deed, after, after.value, now, "", outcome.facts)
            case _:  # the others have ended, and are never due
                return False
        return True

    def _consider(self, deed: Deed, actor: Actor, now: datetime) -> bool:
        """A proposal: what it would hit, and whether it may go on."""
        if now >= deed.order.expires:
            self.runs.move(deed, State.LAPSED, "lapsed", now, "")
            return True
        if "tried" not in deed.facts:
            facts = {**actor.rehearse(deed.order), "tried": format_time(now)}
            if not self.is_live(deed):
                self.runs.move(deed, State.TRIED, "tried", now, "", facts)
                return True
            self.runs.note(deed, "tried", facts, now, deed.order.expires)
        self._settle(self._again(deed))
        return self._again(deed).state is not State.PROPOSED

    def _settle(self, deed: Deed) -> None:
        """Approved, when enough persons have said so and it is known what it would hit."""
        if deed.state is not State.PROPOSED:  # another engine was faster
            return
        names = [name for name, _ in self.runs.approvals(deed.nonce)]
        if len(names) < deed.approvals_needed or "tried" not in deed.facts:
            # An approval may come before the first look: then the look comes next.
            self.runs.note(deed, "", {}, self._clock.now(), self._next_look(deed))
        else:
            self.runs.move(deed, State.APPROVED, "agreed", self._clock.now(), ", ".join(names))

    def _next_look(self, deed: Deed) -> datetime:
        return deed.order.expires if "tried" in deed.facts else self._clock.now()

    def _verify(self, deed: Deed, outcome: Outcome, now: datetime) -> bool:
        ends = outcome.ends or deed.ends
        is_over = ends is not None and now >= ends
        if is_over or outcome.state == "expired":
            self.runs.move(deed, State.EXPIRING, "over", now, "", outcome.facts)
        elif deed.state is State.DONE and not outcome.holds:
            self.runs.move(deed, State.FAILED, "failed", now, "", error="done, and not in force when it was looked at")
        elif deed.state is State.DONE:
            later = now + CHECK_EVERY if ends is None else min(ends, now + CHECK_EVERY)
            self.runs.move(deed, State.VERIFIED, "verified", now, "", next_at=later)
        elif not outcome.holds:
            self.runs.move(deed, State.UNDONE, "gone", now, "", error="not in force any more; somebody else ended it")
        elif ends is None:
            return self._rest(deed, now)
        else:
            self.runs.note(deed, "", {}, now, min(ends, now + CHECK_EVERY))
            return False
        return True

    def _rest(self, deed: Deed, now: datetime) -> bool:
        """It does not end by itself: nothing is left to do unless a person asks."""
        self.runs.note(deed, "", {}, now, now + timedelta(days=1))
        return False

    def _tell(self) -> tuple[int, list[str]]:
        told, problems = 0, []
        for step in self.runs.untold(_TELL_MAX):
            try:
                self._hand_on(step)
            except GovsecError as error:
                # In order: a later step must not stand in the ledger before an earlier one.
                problems.append(f"step {step.id} ({step.step}): {error}")
                break
            self.runs.mark_told(step)
            told += 1
        return told, problems

    def _hand_on(self, step: Step) -> None:
        deed = self.runs.deed(step.nonce)
        run = None if deed is None else self.runs.run(deed.run)
        assert deed is not None and run is not None  # a step belongs to a deed, and a deed to a run
        order = deed.order
        facts: dict[str, Any] = {
            "deed": order.nonce,
            "run": run.id,
            "step_number": step.id,
            "verb": order.verb,
            "arguments": dict(order.arguments),
            "host": order.host,
            "playbook": run.playbook,
            "by": step.by,
            **{name: value for name, value in step.facts.items() if name not in ("deed", "run")},
        }
        kind = f"response.{step.step}"
        self._recorder.record(Evidence(kind=kind, time=step.time, subject=run.case or order.host, facts=facts))
        # A first look is no news where the deed itself may follow.
        is_news = step.step in _FOR_CASES and not (step.step == "tried" and self.is_live(deed))
        if run.case and is_news:
            try:
                self._casebook.note(run.case, order.verb, step.step, facts, step.time)
            except (RefusedError, IntegrityError) as error:
                # A case that is closed or damaged must not keep what comes after it from the ledger.
                log.warning("case not told", extra={"case": run.case, "step": step.id, "reason": str(error)})

    def _is_repeated(self, loaded: Loaded, finding: Finding) -> bool:
        last = self.runs.newest_at(loaded.playbook.id, finding.kind, finding.subject)
        return last is not None and self._clock.now() - last < timedelta(seconds=loaded.playbook.repeat_after_s)

    def _plan(self, loaded: Loaded, finding: Finding, case: str) -> str | None:
        proposals = [self._checked(each) for each in propose(loaded.playbook, finding)]
        left_out = tuple(f"{each.action.verb}: {each.problem}" for each in proposals if each.problem)
        body = finding.canonical()
        key = f"{loaded.playbook.id}#{loaded.sha256}#{canonical.digest(body)}"
        run = self._run(
            loaded.playbook.id, loaded.sha256, finding.kind, finding.subject, case, "govsec", body, left_out
        )
        fresh = [each for each in proposals if not each.problem and not self._is_open(each)]
        if self.runs.count_waiting(loaded.playbook.id) >= WAITING_MAX:
            # A flood that makes one playbook propose holds up no other, and nothing that waits for nobody.
            kept = [each for each in fresh if not self._needed(each.action, each.arguments)]
            self.dropped_count += len(fresh) - len(kept)
            log.warning("proposals dropped", extra={"playbook": loaded.playbook.id, "count": self.dropped_count})
            fresh = kept
            if not fresh:
                return None
        self.unfit += left_out
        if not fresh:
            # One attack makes many findings: what is proposed or in force already is not proposed once more. And what
            # a finding does not say proposes nothing: a run of nothing would only fill the file.
            return None
        deeds = [
            self._deed(run, action.verb, each.arguments, self._needed(action, each.arguments), action.approve_within_s)
            for each in fresh
            for action in (each.action,)
        ]
        return run.id if self.runs.begin(key, run, deeds) else None

    def _needed(self, action: PlannedAction, arguments: Mapping[str, str | int]) -> int:
        """How many persons must approve it now."""
        if action.approvals_needed:
            return action.approvals_needed
        used_s = self.runs.unapproved_s(action.verb, self._clock.now() - _UNAPPROVED_SPAN)
        return 1 if used_s + int(arguments.get("ttl_s", 0)) > UNAPPROVED_MAX_S else 0

    def _completed(self, verb: str, arguments: Mapping[str, str | int]) -> Mapping[str, str | int]:
        complete = self._complete.get(verb)
        return arguments if complete is None else complete(arguments)

    def _checked(self, proposal: Proposal) -> Proposal:
        """The proposal with all that its order will say, or with the reason why there is none."""
        if proposal.problem:
            return proposal
        try:
            return replace(proposal, arguments=self._completed(proposal.action.verb, proposal.arguments))
        except GovsecError as error:
            return replace(proposal, problem=str(error)[:300])

    def _is_open(self, proposal: Proposal) -> bool:
        return self.runs.has_open(proposal.action.verb, proposal.arguments)

    def _run(
        self,
        playbook: str,
        sha256: str,
        kind: str,
        subject: str,
        case: str,
        by: str,
        finding: Mapping[str, Any],
        left_out: tuple[str, ...],
    ) -> Run:
        now = self._clock.now()
        run_id = f"{now:%Y%m%d}-{secrets.token_hex(4)}"
        return Run(run_id, playbook, sha256, kind, subject, case, by, finding, left_out, now)

    def _deed(self, run: Run, verb: str, arguments: Mapping[str, str | int], needed: int, within_s: int) -> Deed:
        expires = run.created + timedelta(seconds=within_s)
        order = Order(secrets.token_hex(16), verb, dict(arguments), self._host, run.case, run.created, expires)
        return Deed(order, run.id, needed, State.PROPOSED, 0, run.created, None, {}, "")

    def _again(self, deed: Deed) -> Deed:
        found = self.runs.deed(deed.nonce)
        assert found is not None  # deeds are never removed
        return found
