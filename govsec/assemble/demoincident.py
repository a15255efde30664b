"""The part of the demo in which the attack becomes an incident: taken from a spool, told, graded, counted down.

Nothing here is special to the demo but the person: findings go the way that an agent's go, through the duty daemon,
which tells by the site's only channel (a file), freezes the backups and signs all of it into the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from govsec.agent.spool import Spool
from govsec.agent.spoolrecord import Entry, Priority
from govsec.assemble.demo import Tell
from govsec.assemble.dutyrun import DutyRun
from govsec.assemble.dutysources import sources_of
from govsec.assemble.incident import build_desk
from govsec.clock import Clock
from govsec.config import Config, load_config
from govsec.errors import ConfigurationError
from govsec.incident.api import Query
from govsec.incident.deadlines import DutyState
from govsec.incident.desk import Desk, View
from govsec.incident.entries import ActionTaken, FactsSaid, LevelConfirmed
from govsec.notice.outbox import ItemState
from govsec.privatefile import make_private_directory
from govsec.records import Finding, Notice
from govsec.report.catalog import Catalogue, Lang
from govsec.report.notice import notice_words

_PERSON = "演示值班员"
_KEPT_MAX = 1000
_HOURS = 8


@dataclass(frozen=True, slots=True)
class DemoIncident:
    """The case of the attack; ``case`` is empty when nothing was found that opens one."""

    case: str
    level: str
    due_at: datetime | None
    notices: tuple[Notice, ...]
    evidence_waiting: int


def respond_demo(
    config_path: Path, findings: Sequence[Finding], clock: Clock, *, tell: Tell, lang: Lang
) -> DemoIncident:
    """Let the duty daemon take the findings, and a person grade what it opened.

    Raises:
        GovsecError: as the daemon's beginning, or a file cannot be written.
    """
    config = load_config(config_path)
    _spool(config, findings, clock)
    with DutyRun(config, clock) as run:
        run.settle()
        desk = build_desk(config, run.duty.store, clock)
        lines = run.duty.store.find(Query(is_open=True))
        # The worst is what somebody on duty looks at first: the encrypted share, where the guard could see it.
        worst = max(lines, key=lambda line: _severity(desk.view(line.id)), default=None)
        if worst is None:
            tell("incident_none", {})
            return DemoIncident("", "", None, (), 0)
        view = _grade(desk, worst.id, clock)
        run.duty.cases.look_soon([worst.id])
        run.settle()
        entries = run.duty.store.entries(worst.id)
        items = run.duty.outbox.items(ItemState.DONE, limit=_KEPT_MAX)
        waiting_count = run.duty.evidence.waiting_count()
    notices = tuple(item.notice for item in items)
    owed = next(duty for duty in view.duties if duty.is_certain and duty.state is DutyState.OPEN)
    recipient = owed.rule.to[owed.recipient]
    assert owed.due_at is not None  # its clock runs: it is open
    tell("incident", {"case": worst.id, "findings_count": view.case.findings_count, "cases_count": len(lines)})
    if any(isinstance(entry, ActionTaken) and entry.outcome == "done" for entry in entries):
        tell("frozen", {})
    graded: dict[str, object] = {"by": _PERSON, "duty": owed.id, "due": Catalogue.moment(owed.due_at, _HOURS)}
    graded["recipient"] = recipient.zh if lang == "zh" else recipient.en
    graded["left_s"] = (owed.due_at - clock.now()).total_seconds()
    tell("graded", graded)
    titles = [notice_words(notice, lang)[0] for notice in notices if notice.kind == "incident.level_reached"]
    file = config_path.parent / "notices.jsonl"
    tell("notified", {"notices_count": len(notices), "title": titles[0] if titles else "–", "file": file})
    level = view.case.level_now(view.classification.suggested).word
    return DemoIncident(worst.id, level, owed.due_at, notices, waiting_count)


def _spool(config: Config, findings: Sequence[Finding], clock: Clock) -> None:
    path = sources_of(config)[0].spool
    try:
        make_private_directory(path.parent)
    except OSError as error:
        raise ConfigurationError(f"{path.parent}: {error.strerror}") from error
    with Spool(path, clock) as spool:
        spool.append([Entry(Priority.FINDING, {"finding": finding.canonical()}) for finding in findings])


def _severity(view: View) -> int:
    ranks = ("info", "low", "medium", "high", "critical")
    return max((ranks.index(joined.severity) for joined in view.case.findings.values()), default=0)


def _grade(desk: Desk, case_id: str, clock: Clock) -> View:
    """What a person does after a look: the share is down, which is 较大, and says so by name."""
    said = FactsSaid(
        time=clock.now(), by=_PERSON, facts={"system_loss": "interrupted"}, reason="共享目录被加密，业务中断"
    )
    found = desk.add(case_id, said).classification
    judged = {"suggested": found.suggested.word, "highest_possible": found.highest_possible.word}
    entry = {"time": clock.now(), "by": _PERSON, "level": "relatively_major", "reason": "演示研判", **judged}
    return desk.add(case_id, LevelConfirmed.model_validate(entry))
