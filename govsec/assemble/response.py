"""Responses of this site: playbooks, the engine over its file of runs, and who does what it asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime, timedelta
from os import uname

from pydantic import JsonValue

from govsec.assemble.access import own_store, writable_centers
from govsec.assemble.evidence import open_evidence
from govsec.assemble.guard import trusted_keys
from govsec.assemble.incident import build_desk, open_cases
from govsec.assemble.recovery import RecoverActor
from govsec.assemble.systems import Site
from govsec.centers.freeze import freeze, read_freeze, thaw
from govsec.clock import Clock, format_time
from govsec.config import Config, SystemConfig
from govsec.errors import ConfigurationError, GovsecError, RefusedError, StoreDeniedError, TryAgainError
from govsec.incident.desk import Desk
from govsec.incident.entries import ActionTaken, Entry, EvidenceKept
from govsec.records import Notice, Severity
from govsec.response.api import Actor, Outcome
from govsec.response.asking import HelperActor
from govsec.response.engine import Engine
from govsec.response.order import Order
from govsec.response.playbook import Loaded, lint, load_playbook, shipped_playbooks
from govsec.response.runs import Deed, Runs, State
from govsec.response.verbs import VERBS, check_live
from govsec.store.api import ObjectStore

#: What a step of a deed is in a case.
_OUTCOMES = {
    "tried": "dry_run",
    "verified": "done",
    "gone": "expired",
    "undone": "undone",
    "expired": "expired",
    "failed": "failed",
    "refused": "failed",
}
_PROGRAM = "govsec response"
_NOTICES_MAX = 100
#: A deed in force that could not be looked at so often, some minutes, is told.
_TRIES_TOLD = 6


@contextmanager
def open_responses(config: Config, clock: Clock, *, is_attended: bool = False) -> Iterator[Engine]:
    """The engine of this site; its files are closed at the end.

    ``dr.recover`` is done only where a person watches (``is_attended``): it takes hours, and a daemon has other work.

    Raises:
        ConfigurationError: a verb or playbook of the configuration is not right, or no roots are pinned.
        IntegrityError: a playbook of the site was altered, or is signed by nobody who is pinned.
    """
    live, playbooks = check_live(config.response.live), load_playbooks(config)
    with ExitStack() as stack:
        runs = stack.enter_context(
            closing(Runs(config.response.runs or config.state_dir / "incidents" / "response.db"))
        )
        yield Engine(
            runs,
            playbooks,
            actors_of(config, clock, is_attended=is_attended),
            trusted_keys(config),
            clock,
            host=config.response.host or uname().nodename,
            live=live,
            recorder=stack.enter_context(open_evidence(config)),
            casebook=SiteCasebook(config, clock),
            complete={"dr.recover": RecoverActor(Site(config, clock)).complete},
        )


def load_playbooks(config: Config) -> tuple[Loaded, ...]:
    """Those that came with govsec and those of the site. Raises as :func:`open_responses`."""
    site = [load_playbook(path, trusted_keys(config)) for path in config.response.playbooks]
    found = (*shipped_playbooks(), *site)
    lint(found)
    return found


def actors_of(config: Config, clock: Clock, *, is_attended: bool) -> Mapping[str, Actor]:
    """Who does what, by verb."""
    helper = HelperActor(config.response.helper, clock)
    site = Site(config, clock)
    own: dict[str, Actor] = {"backup.freeze": FreezeActor(site)}
    if is_attended:
        own["dr.recover"] = RecoverActor(site)
    return {name: helper for name, kind in VERBS.items() if kind.is_privileged} | own


def waiting_notices(engine: Engine, now: datetime) -> list[Notice]:
    """What people are to be told of deeds: that one waits for their approval, or could not be done.

    The same again has the same key. Deeds that are only tried here wait for nobody.
    """
    found = []
    for deed in engine.runs.of_state(State.PROPOSED, _NOTICES_MAX):
        if deed.approvals_needed and engine.is_live(deed) and "tried" in deed.facts and now < deed.order.expires:
            count = len(engine.runs.approvals(deed.nonce))
            found.append(_notice(deed, "waiting", f"{deed.nonce}#{count}", now, approvals_count=count))
    for state in (State.FAILED, State.REFUSED, State.UNDONE):
        for deed in engine.runs.of_state(state, _NOTICES_MAX):
            # Told while it is news, which is counted from when it happened; the outbox forgets what it delivered.
            if now - deed.next_at < timedelta(days=1) and _is_news(engine, deed):
                found.append(_notice(deed, "failed", f"{deed.nonce}#{state.value}", now, error=deed.error))
    for state in (State.VERIFIED, State.UNDOING, State.EXPIRING):
        for deed in engine.runs.of_state(state, _NOTICES_MAX):
            if deed.tries >= _TRIES_TOLD:
                found.append(_notice(deed, "failed", f"{deed.nonce}#{state.value}", now, error=deed.error))
    return found


def _is_news(engine: Engine, deed: Deed) -> bool:
    """Not what a first look refused, and not what a person wanted undone."""
    is_agreed = not deed.approvals_needed or bool(engine.runs.approvals(deed.nonce))
    return is_agreed if deed.state is State.REFUSED else deed.state is State.FAILED or bool(deed.error)


def _notice(deed: Deed, what: str, key: str, now: datetime, **facts: JsonValue) -> Notice:
    arguments = " ".join(f"{name}={value}" for name, value in deed.order.arguments.items())
    said: dict[str, JsonValue] = {
        "deed": deed.nonce[:12],
        "verb": deed.order.verb,
        "arguments": arguments,
        "host": deed.order.host,
        "case": deed.order.case,
        "approvals_needed": deed.approvals_needed,
        "approve_until": format_time(deed.order.expires),
        "hits": dict(deed.facts),
    }
    return Notice(
        key=f"response#{key}",
        kind=f"response.{what}",
        severity=Severity.HIGH,
        time=now,
        subject=f"{deed.order.verb} {arguments}"[:500] or deed.order.verb,
        summary=f"{deed.order.verb} {arguments}: {what}"[:2000],
        facts=said | facts,
    )


class FreezeActor:
    """``backup.freeze``: nothing is let go at any center that this site may write to. No lock is touched."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def rehearse(self, order: Order) -> Mapping[str, JsonValue]:
        centers: list[JsonValue] = [*sorted({store.name for _, store in self._stores(order)})]
        return {"centers": centers, "systems": [each.name for each in self._of(order)]}

    def carry_out(self, order: Order, approvals: Sequence[bytes]) -> Outcome:
        outcome = self.check(order)
        if not outcome.holds:
            raise TryAgainError(f"backup.freeze: no center could be frozen: {outcome.facts['missed']}")
        return outcome

    def check(self, order: Order) -> Outcome:
        """How it stands. A center that was away when the others were frozen is frozen when it is looked at again."""
        until = order.made + timedelta(seconds=int(order.arguments["ttl_s"]))
        reason = f"{order.case or 'response'}: {order.verb}"
        frozen: list[JsonValue] = []
        missed: list[JsonValue] = []
        for system, store in self._stores(order, missed):
            try:
                if self._site.clock.now() < until:
                    freeze(store, self._site.clock, id=order.nonce, by=_PROGRAM, reason=reason, until=until)
                if read_freeze(store, self._site.clock) is not None:
                    frozen.append(f"{system}: {store.name}")
            except GovsecError as error:
                missed.append(f"{system}: {store.name}: {error}"[:300])
        if not frozen and missed:
            # Nobody has said that it does not hold.
            raise TryAgainError(f"backup.freeze: no center answers: {missed[0]}")
        return Outcome("done", bool(frozen), {"frozen": frozen, "missed": missed}, until)

    def take_back(self, order: Order) -> Outcome:
        """Removed where this site may remove; elsewhere it ends by itself, or the center's owner ends it."""
        left: list[JsonValue] = []
        for system, store in self._stores(order):
            try:
                thaw(store, self._site.clock, order.nonce)
            except StoreDeniedError:
                left.append(f"{system}: {store.name}")
        return Outcome("undone", False, {"still_frozen": left}, None)

    def _stores(self, order: Order, away: list[JsonValue] | None = None) -> list[tuple[str, ObjectStore]]:
        """The centers that this site may write to; those whose place is not there now are put into ``away``."""
        found: list[tuple[str, ObjectStore]] = []
        missing: list[JsonValue] = [] if away is None else away
        for system in self._of(order):
            for name in writable_centers(self._site):
                try:
                    store = own_store(self._site, system, name)
                except ConfigurationError as error:  # a directory that is not mounted, a credential that is not there
                    missing.append(f"{system.name}: {name}: {error}"[:300])
                    continue
                if store is not None:
                    found.append((system.name, store))
        if not found and not missing:
            raise RefusedError("backup.freeze: this site may write to no center, or knows no such system")
        return found

    def _of(self, order: Order) -> list[SystemConfig]:
        wanted = order.arguments["system"]
        return [each for each in self._site.config.systems if wanted in ("*", each.name)]


class SiteCasebook:
    """Writes into the cases of this site. What a case has already is not written again."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._config = config
        self._clock = clock

    def note(self, case: str, verb: str, step: str, facts: Mapping[str, JsonValue], time: datetime) -> None:
        with open_cases(self._config) as store:
            known = {_mark(entry) for entry in store.entries(case)}
            fresh = [entry for entry in _entries(verb, step, facts, time) if _mark(entry) not in known]
            if fresh:
                desk: Desk = build_desk(self._config, store, self._clock)
                desk.add(case, *fresh)


def _entries(verb: str, step: str, facts: Mapping[str, JsonValue], time: datetime) -> list[Entry]:
    found: list[Entry] = []
    if step == "done" and facts.get("pack_sha256"):
        # The pack stays on its host, for root alone: the case has its digest and says who holds it.
        found.append(
            EvidenceKept(
                time=time,
                by=_PROGRAM,
                name=str(facts["pack"])[:200],
                digest=f"sha256:{facts['pack_sha256']}",
                size_bytes=int(str(facts["pack_bytes"])),
                holder=f"root@{facts['host']}"[:200],
            )
        )
    if step in _OUTCOMES:
        kept = {name: facts[name] for name in list(facts)[:50]}
        found.append(
            ActionTaken.model_validate(
                {"time": time, "by": _PROGRAM, "action": verb, "outcome": _OUTCOMES[step], "facts": kept}
            )
        )
    return found


def _mark(entry: Entry) -> tuple[str, ...]:
    if isinstance(entry, ActionTaken):
        return ("action", str(entry.facts.get("deed")), entry.outcome)
    return ("evidence", entry.digest) if isinstance(entry, EvidenceKept) else (entry.kind,)
