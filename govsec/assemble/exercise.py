"""Exercises of this site: a scenario played over real rooms on paper, or a case for real people and its times.

A scene has a folder of its own for its case and its runs, and keys of its own for its people; nothing of the site is
touched but the ledger, which gets the result. With real people the case lies among the others, marked as an exercise.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from govsec import canonical
from govsec.assemble.evidence import open_evidence
from govsec.assemble.incident import build_desk, open_cases
from govsec.assemble.response import SiteCasebook, load_playbooks
from govsec.clock import Clock
from govsec.config import Config, explain
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import ConfigurationError, GovsecError, RefusedError
from govsec.incident.deadlines import DutyState
from govsec.incident.desk import Desk, View
from govsec.incident.entries import (
    ENTRY,
    Acknowledged,
    ActionTaken,
    Entry,
    FindingJoined,
    LevelConfirmed,
    Opened,
    ReceiptTaken,
    RecoveryProved,
)
from govsec.localfile import read_bounded
from govsec.records import Evidence, Finding
from govsec.response.engine import Engine
from govsec.response.exercise import (
    Goal,
    PaperActor,
    Scenario,
    SceneClock,
    SceneStep,
    exercise_record,
    read_scenario,
    score,
)
from govsec.response.order import approve
from govsec.response.runs import Runs, State
from govsec.response.verbs import VERBS
from govsec.shipped import shipped
from govsec.yamllines import SIZE_MAX

_CONTAINING = frozenset({"nft.block", "host.isolate", "account.disable", "process.suspend"})
_PROGRAM = "govsec exercise"


def load_scenario(wanted: str) -> tuple[Scenario, str]:
    """The scenario in that file, or the one of that name that came with govsec; and the SHA-256 of its bytes.

    Raises:
        ConfigurationError: there is none, or it is wrong, with file and line.
    """
    path = Path(wanted)
    came = shipped("exercises").joinpath(f"{wanted}.yaml")
    try:
        data = came.read_bytes() if "/" not in wanted and came.is_file() else read_bounded(path, SIZE_MAX)
    except OSError as error:
        raise ConfigurationError(f"scenario {wanted}: {error.strerror}") from error
    scenario = read_scenario(data, wanted)
    for position, step in enumerate(scenario.steps):
        if step.approve is not None and step.approve not in VERBS:
            raise ConfigurationError(f"{wanted}: steps.{position}: verb {step.approve}: there are {', '.join(VERBS)}")
        if step.entry is not None:
            try:
                _entry(step, scenario.begins, {"suggested": "general", "highest_possible": "general"})
            except ValidationError as error:
                raise ConfigurationError(f"{wanted}: steps.{position}.entry: {explain(error)}") from error
    return scenario, hashlib.sha256(data).hexdigest()


def play(config: Config, scenario: Scenario, sha256: str, clock: Clock) -> dict[str, Any]:
    """Play the scenario on its own clock; gives the result, which is in the ledger's queue then.

    Raises:
        ConfigurationError: a playbook of the site is not right, or the scenario names a role that no rule knows.
    """
    with tempfile.TemporaryDirectory(prefix="govsec-exercise-") as folder:
        scene = _Scene(config, scenario, Path(folder))
        with closing(scene):
            record = scene.play(sha256)
    _keep(config, record, clock)
    return record


def begin(config: Config, scenario: Scenario, clock: Clock, *, by: str) -> str:
    """Open a case for real people to act on, with the scenario's findings; gives its id."""
    with open_cases(config) as store:
        desk = build_desk(config, store, clock)
        case = desk.open(_opened(scenario, clock.now(), by)).case.id
        found = [step.finding.finding(clock.now()) for step in scenario.steps if step.finding is not None]
        desk.add(case, *(_joined(finding) for finding in found))
    return case


def take_times(config: Config, scenario: Scenario, sha256: str, case: str, clock: Clock) -> dict[str, Any]:
    """The result of an exercise that people acted on, up to now; in the ledger's queue then.

    Raises:
        RefusedError: no such case, or it is no exercise.
    """
    with open_cases(config) as store:
        view = build_desk(config, store, clock).view(case)
        entries = list(store.entries(case))
    if not view.case.opened.is_exercise:
        raise RefusedError(f"case {case} is no exercise; its times are its own")
    began = view.case.opened.aware_at
    record = exercise_record(
        scenario,
        sha256,
        mode="people",
        case=case,
        began=began,
        timed=score(began, _reached(entries), scenario.goals),
        deeds=(),
        late_reports=_late(view),
        problems=(),
    )
    _keep(config, record, clock)
    return record


class _Scene:
    """A case, an engine, a clock and people for one play."""

    def __init__(self, config: Config, scenario: Scenario, folder: Path) -> None:
        self._scenario = scenario
        self._clock = SceneClock(scenario.begins)
        self._config = config.model_copy(
            update={
                "state_dir": folder,
                "incident": config.incident.model_copy(update={"cases": None}),
            }
        )
        self._signers = {
            name: Signer.generate(Purpose.RESPONSE) for name in sorted({step.by for step in scenario.steps if step.by})
        }
        self._runs = Runs(folder / "response.db")
        self._engine = Engine(
            self._runs,
            load_playbooks(config),
            dict.fromkeys(VERBS, PaperActor(self._clock)),
            TrustedKeys(signer.public(name) for name, signer in self._signers.items()),
            self._clock,
            host="exercise",
            live=frozenset(VERBS),
            recorder=_Nowhere(),
            casebook=SiteCasebook(self._config, self._clock),
        )
        self._case = ""
        self._problems: list[str] = []

    def close(self) -> None:
        """Close its files."""
        self._runs.close()

    def play(self, sha256: str) -> dict[str, Any]:
        """Every step, then the result."""
        for step in self._scenario.steps:
            self._clock.go_to(step.at_s)
            try:
                self._take(step)
            except GovsecError as error:
                self._problems.append(f"{step.at_s} s: {step.by or 'finding'}: {error}")
            self._engine.step()
        with open_cases(self._config) as store:
            view = self._desk(store).view(self._case)
            entries = list(store.entries(self._case))
        begins = self._scenario.begins
        return exercise_record(
            self._scenario,
            sha256,
            mode="simulated",
            case=self._case,
            began=begins,
            timed=score(begins, _reached(entries), self._scenario.goals),
            deeds=[self._deed_record(deed) for run in self._runs.runs(1000) for deed in self._runs.deeds(run.id)],
            late_reports=_late(view),
            problems=self._problems,
        )

    def _take(self, step: SceneStep) -> None:
        now = self._clock.now()
        if step.finding is not None:
            finding = step.finding.finding(now)
            with open_cases(self._config) as store:
                desk = self._desk(store)
                if not self._case:
                    self._case = desk.open(_opened(self._scenario, now, _PROGRAM)).case.id
                desk.add(self._case, _joined(finding))
            self._engine.absorb(finding, self._case)
        elif step.approve is not None:
            self._approve(step.approve, str(step.by), now)
        else:
            with open_cases(self._config) as store:
                desk = self._desk(store)
                found = desk.view(self._case).classification
                words = {"suggested": found.suggested.word, "highest_possible": found.highest_possible.word}
                desk.add(self._case, _entry(step, now, words))

    def _approve(self, verb: str, person: str, now: datetime) -> None:
        deeds = [deed for run in self._runs.runs(1000) for deed in self._runs.deeds(run.id)]
        waiting = [deed for deed in deeds if deed.order.verb == verb and deed.state is State.PROPOSED]
        if not waiting:
            raise RefusedError(f"no deed {verb} waits for approval")
        for deed in waiting:
            self._engine.approve(approve(self._signers[person], deed.order, now))

    def _desk(self, store: Any) -> Desk:
        return build_desk(self._config, store, self._clock)

    def _deed_record(self, deed: Any) -> Mapping[str, Any]:
        return {
            "verb": deed.order.verb,
            "arguments": dict(deed.order.arguments),
            "state": deed.state.value,
            "approved_by": [name for name, _ in self._runs.approvals(deed.nonce)],
        }


class _Nowhere:
    """Takes the steps of a scene: its result is what is kept."""

    def record(self, evidence: Evidence) -> None:
        pass


def _opened(scenario: Scenario, now: datetime, by: str) -> Opened:
    return Opened(
        time=now,
        by=by,
        title=scenario.title.zh[:200],
        system=scenario.system,
        aware_at=now,
        roles=scenario.roles,
        event_class=scenario.event_class,
        protection_level=scenario.protection_level,
        is_exercise=True,
    )


def _joined(finding: Finding) -> FindingJoined:
    return FindingJoined.model_validate(
        {
            "time": finding.time,
            "by": _PROGRAM,
            "fingerprint": canonical.digest([finding.kind, finding.subject])[:32],
            "finding": finding.kind,
            "subject": finding.subject[:200],
            "severity": finding.severity.name.lower(),
            "summary": finding.summary,
        }
    )


def _entry(step: SceneStep, now: datetime, found: Mapping[str, str]) -> Entry:
    said: dict[str, Any] = {"time": now, "by": step.by, **(step.entry or {})}
    if said.get("kind") == "level":
        said = {**found, **said}
    for kind, field in (("receipt", "taken_at"), ("received", "received_at"), ("handling_ended", "ended_at")):
        if said.get("kind") == kind:
            said.setdefault(field, now)
    return ENTRY.validate_python(said)


def _reached(entries: Iterable[Entry]) -> dict[Goal, datetime]:
    """When each goal was reached first, by what was written into the case."""
    reached: dict[Goal, datetime] = {}
    for entry in entries:
        match entry:
            case FindingJoined():
                goal, at = Goal.DETECT, entry.time
            case Acknowledged():
                goal, at = Goal.ACKNOWLEDGE, entry.time
            case LevelConfirmed():
                goal, at = Goal.CONFIRM, entry.time
            case ReceiptTaken():
                goal, at = Goal.REPORT, entry.taken_at
            case ActionTaken(outcome="done", action=action) if action in _CONTAINING:
                goal, at = Goal.CONTAIN, entry.time
            case RecoveryProved():
                goal, at = Goal.RECOVER, entry.time
            case _:
                continue
        reached[goal] = min(at, reached.get(goal, at))
    return reached


def _late(view: View) -> Sequence[str]:
    return [duty.id for duty in view.duties if duty.state in (DutyState.LATE, DutyState.MET_LATE)]


def _keep(config: Config, record: Mapping[str, Any], clock: Clock) -> None:
    facts = {name: value for name, value in record.items() if name not in ("zh", "en")}
    evidence = Evidence(kind="exercise.done", time=clock.now(), subject=str(record["id"]), facts=facts)
    with open_evidence(config) as queue:
        queue.record(evidence)
