"""Lines on watching and telling, judged by trials on record and by the agent that answers now.

One idea: that people are told of an attack is seen when something that an agent raised reached a person who said so. So
each line asks for *trials*: the agent's self-test passed, the notice was delivered by a channel, a pinned person gave
back the code that it carried. They grow old like drills, and what is missing is never a pass. A system for which no
trial is on record is not judged here at all: others may watch it, and a person attests that.

Pure. Words and figures are in ``policies/watching/checks.yaml``; how the record is read, in ``govsec.assemble``. Lines:
GB/T 22239-2019, 8.1.3.3.d, 8.1.5.4.c and f, and what they are called at level 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from govsec.policy.continuity import ContinuityResult, check_result, check_rows, pack_row, why_not_known
from govsec.policy.continuityjudges import Fact, Seen
from govsec.policy.continuitytable import ContinuityCheck, table_sha256, watching_table
from govsec.policy.results import Status, Words
from govsec.policy.run import CheckRow, EvidenceRow, PackRow
from govsec.registerentry import HostRole

_NAMES_MAX = 10


@dataclass(frozen=True, slots=True)
class TrialFact:
    """One trial of the ledger."""

    id: str
    agent: Literal["host", "network"]
    #: The registered host that the agent ran on.
    host: str
    #: What that machine calls itself.
    machine: str
    began: datetime
    ended: datetime
    #: Every module's canary came back from the disk.
    is_passed: bool
    #: A far side said that it has the notice.
    is_delivered: bool
    #: Digest of the ledger's entry.
    digest: str
    #: When a pinned person gave back the code, by a signature; None: nobody did.
    acknowledged: datetime | None = None
    acknowledged_by: str = ""
    #: The sensor had a finding that names source, target, kind and time.
    has_specimen: bool = False
    #: The case that came of it, whose level a person confirmed; empty: none is known.
    case: str = ""


@dataclass(frozen=True, slots=True)
class WatchingFacts:
    """What is known of how a system is watched. None: it could not be looked at, and ``missing`` says why."""

    system: str
    now: datetime
    level: int
    #: The hosts of the register, and those of them that are borders.
    hosts: tuple[str, ...]
    borders: tuple[str, ...]
    trials: tuple[TrialFact, ...] | None = None
    #: The agent of this site answers now, and asks the services that it is to ask.
    is_watching: bool | None = None
    #: Hosts of the register that it asks.
    watched: frozenset[str] = frozenset()
    #: Digest of what the agent answered.
    status_digest: str = ""
    missing: Mapping[str, str] = field(default_factory=dict)


def judge_watching(facts: WatchingFacts) -> tuple[ContinuityResult, ...]:
    """What the record says to each check; nothing where it holds no trial, or the register no host to hold it against.

    A record that cannot be read may hold one that failed: then every check is an error.
    """
    if facts.trials is not None and not facts.trials:
        return ()
    found = []
    for check in watching_table().checks:
        if facts.borders if check.id == _INTRUSIONS else facts.hosts:
            view = _View(facts, check)
            result = check_result(check, _JUDGES[check.id](view), pack=watching_table().pack.id, system=facts.system)
            if result.status is Status.ERROR:
                result = replace(result, reason=why_not_known(facts.missing))
            found.append(ContinuityResult(result, view.evidence()))
    return tuple(found)


def watching_checks() -> dict[str, CheckRow]:
    """The checks as rows of an assessment."""
    return check_rows(watching_table())


def watching_roles() -> dict[str, HostRole]:
    """Of which hosts there may be more than the register names, by check: devices that no agent runs on."""
    roles = dict.fromkeys(_JUDGES, HostRole.SECURITY)
    return {**roles, _INTRUSIONS: HostRole.BORDER}


def watching_pack() -> PackRow:
    """The table as a pack of an assessment."""
    return pack_row(watching_table(), table_sha256("watching"))


def watching_evidence(facts: WatchingFacts) -> tuple[EvidenceRow, ...]:
    """The trials, and the agent's answer, that results may point at."""
    rows = [
        EvidenceRow(
            digest=trial.digest,
            kind="trial",
            title=Words(
                zh=f"告知试验 {trial.id}（{trial.host}，本机名 {trial.machine}，{_AGENT_ZH[trial.agent]}）",
                en=f"Trial {trial.id} ({trial.host}, machine {trial.machine}, {trial.agent} agent)",
            ),
            time=trial.began,
        )
        for trial in facts.trials or ()
    ]
    if facts.status_digest:
        title = Words(zh="主机代理此刻的应答", en="What the host agent answered now")
        rows.append(EvidenceRow(digest=facts.status_digest, kind="watch", title=title, time=facts.now))
    return tuple(rows)


_AGENT_ZH = {"host": "主机代理", "network": "网络代理"}
_INTRUSIONS = "watching.intrusions-told"
_RUNNING = "watching.running-state"


@dataclass(frozen=True, slots=True)
class _View:
    facts: WatchingFacts
    check: ContinuityCheck

    def figure(self, name: str) -> float:
        return self.check.parameters[name].at(self.facts.level)

    def newest(self, agent: str, host: str | None = None) -> TrialFact | None:
        """The newest trial that is young enough; none from the future."""
        since = self.facts.now - timedelta(days=self.figure("trial_age_days_max"))
        fitting = [
            trial
            for trial in self.facts.trials or ()
            if trial.agent == agent and since <= trial.began <= self.facts.now and host in (None, trial.host)
        ]
        return max(fitting, key=lambda trial: (trial.began, trial.id), default=None)

    def newest_of(self, agent: str, hosts: Sequence[str]) -> dict[str, TrialFact]:
        """The newest trial of each host that has one."""
        return {host: trial for host in hosts if (trial := self.newest(agent, host)) is not None}

    def had(self, name: str, hosts: Sequence[str], found: Mapping[str, TrialFact]) -> Seen:
        """Does every host have one? Not known when the ledger could not be read."""
        without = [host for host in hosts if host not in found]
        holds = None if self.facts.trials is None else bool(hosts) and not without
        return Seen(name, holds, facts={"without": _names(without), "days": int(self.figure("trial_age_days_max"))})

    def in_time(self, trials: Iterable[TrialFact]) -> Seen:
        limit = timedelta(minutes=self.figure("acknowledged_minutes_max"))
        late = [one.id for one in trials if one.acknowledged is not None and one.acknowledged - one.ended > limit]
        facts: dict[str, Fact] = {"late": _names(late), "minutes": int(limit / timedelta(minutes=1))}
        return Seen("in_time", not late, False, facts)

    def evidence(self) -> tuple[str, ...]:
        facts = self.facts
        if self.check.id == _RUNNING:
            newest = self.newest("host")
            return tuple(filter(None, (newest.digest if newest is not None else "", facts.status_digest)))
        trials = self.newest_of("network", facts.borders)
        if self.check.id == _INTRUSIONS:
            return tuple(trial.digest for trial in trials.values())
        anywhere = self.newest("network")
        network = list(trials.values()) or ([anywhere] if anywhere is not None else [])
        return tuple(trial.digest for trial in (*self.newest_of("host", facts.hosts).values(), *network))


def _intrusions(view: _View) -> list[Seen]:
    """Each border has a sensor that a trial followed to a person, and that records what the line asks for."""
    found = view.newest_of("network", view.facts.borders)
    seen = [view.had("trial", view.facts.borders, found)]
    trials = list(found.values())
    if not trials:
        return seen
    bare = [one.host for one in trials if not one.has_specimen]
    return [
        *seen,
        _passed(trials),
        _delivered(trials),
        _acknowledged(trials),
        view.in_time(trials),
        Seen("specimen", not bare, False, {"bare": _names(bare)}),
    ]


def _events(view: _View) -> list[Seen]:
    """Each host recognises, the network is heard, people are told, and somebody analysed a case that came of it."""
    facts = view.facts
    hosts = view.newest_of("host", facts.hosts)
    listening = view.newest_of("network", facts.borders) if facts.borders else {}
    anywhere = view.newest("network")
    seen = [
        view.had("host_trial", facts.hosts, hosts),
        view.had("network_trial", facts.borders, listening)
        if facts.borders
        else Seen("network_trial", None if facts.trials is None else anywhere is not None, facts={"without": "–"}),
    ]
    trials = [*hosts.values(), *(listening.values() or ([anywhere] if anywhere is not None else []))]
    if not trials:
        return seen
    # A person for every host would teach people to nod; one for each kind of agent, and the newest of it.
    told = [one for one in (view.newest("host"), anywhere) if one is not None]
    return [
        *seen,
        _passed(trials),
        _delivered(trials),
        _acknowledged(told),
        view.in_time(told),
        Seen("analysed", any(one.case and one.acknowledged is not None for one in trials), False),
    ]


def _running(view: _View) -> list[Seen]:
    """The agent of this site asks every host now, and a trial of it reached a person."""
    facts = view.facts
    unseen = [host for host in facts.hosts if host not in facts.watched]
    newest = view.newest("host")
    seen = [
        Seen("agent", facts.is_watching),
        Seen("watched", not unseen, len(unseen) == len(facts.hosts), {"unseen": _names(unseen)}),
        Seen(
            "trial",
            None if facts.trials is None else newest is not None,
            facts={"days": int(view.figure("trial_age_days_max"))},
        ),
    ]
    return seen if newest is None else [*seen, _passed([newest]), _delivered([newest]), _acknowledged([newest])]


def _passed(trials: Sequence[TrialFact]) -> Seen:
    return _all("passed", [one.id for one in trials if not one.is_passed])


def _delivered(trials: Sequence[TrialFact]) -> Seen:
    return _all("delivered", [one.id for one in trials if not one.is_delivered])


def _acknowledged(trials: Sequence[TrialFact]) -> Seen:
    return _all("acknowledged", [one.id for one in trials if one.acknowledged is None or not one.acknowledged_by])


def _all(name: str, without: Sequence[str]) -> Seen:
    return Seen(name, not without, facts={name: _names(without)})


def _names(names: Sequence[str]) -> str:
    more = f" +{len(names) - _NAMES_MAX}" if len(names) > _NAMES_MAX else ""
    return ", ".join(names[:_NAMES_MAX]) + more


_JUDGES: Mapping[str, Callable[[_View], list[Seen]]] = {
    _INTRUSIONS: _intrusions,
    "watching.events-handled": _events,
    _RUNNING: _running,
}
