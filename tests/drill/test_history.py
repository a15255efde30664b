from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.drill.history import History, drill_findings, read_history
from govsec.drill.plan import Plan
from govsec.drill.result import parse_result
from govsec.ledger.entry import entry_name
from govsec.ledger.ledger import Ledger
from govsec.records import Evidence, Severity
from govsec.store.memory import MemoryStore
from govsec.testing.clock import FakeClock
from tests.report import samples

SIGNER = Signer(Purpose.EVIDENCE, bytes(range(32)))
TRUSTED = TrustedKeys([SIGNER.public()])
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def plan(**changes: Any) -> Plan:
    value: dict[str, Any] = {
        "name": "remote-restore",
        "system": "oa",
        "scenario": {"kind": "lose_production"},
        "expect": {"paths": ["/srv/oa"]},
        "stale_after_days": 30,
        "steps": [
            {"kind": "restore", "name": "restore", "timeout_s": 60},
            {"kind": "probe", "name": "content", "timeout_s": 60, "probe": {"kind": "content"}},
        ],
    }
    return Plan.model_validate(value | changes)


class Office:
    """A ledger with drills of different ages and outcomes."""

    def __init__(self) -> None:
        self.store = MemoryStore("remote")
        self.clock = FakeClock(NOW)
        self.ledger = Ledger(self.store, SIGNER, self.clock, trusted=TRUSTED)
        self._count = 0

    def drill(self, *, days_ago: int, verdict: str = "pass", digest: str | None = None, **changes: Any) -> str:
        self._count += 1
        started = NOW - timedelta(days=days_ago)
        record = samples.passed() | {
            "id": f"{started:%Y%m%dT%H%M%SZ}-{self._count:08x}",
            "started": started,
            "ended": started,
            "verdict": verdict,
            "plan_digest": plan().digest() if digest is None else digest,
            **changes,
        }
        self.ledger.append(parse_result(record).evidence())
        return str(record["id"])

    def history(self, system: str | None = None) -> History:
        return read_history([self.store], TRUSTED, system=system)

    def findings(self, *plans: Plan) -> dict[str, Severity]:
        return {item.kind: item.severity for item in drill_findings(plans or [plan()], self.history(), NOW)}


def test_history_is_read_from_the_ledger_oldest_first_by_system() -> None:
    office = Office()
    newer, older = office.drill(days_ago=1), office.drill(days_ago=9)
    office.drill(days_ago=2, system="hr")
    office.ledger.append(Evidence(kind="backup.done", time=NOW, subject="oa", facts={}))

    history = office.history("oa")

    assert [past.result.id for past in history.drills] == [older, newer]
    assert [past.entry.number for past in history.drills] == [2, 1]
    assert history.ledger.is_clean
    newest = history.newest("oa", "remote-restore")
    assert newest is not None
    assert newest.result.id == newer
    assert len(office.history().drills) == 3


def test_a_plan_that_was_drilled_lately_and_passed_has_no_finding() -> None:
    office = Office()
    office.drill(days_ago=30)

    assert office.findings() == {}


def test_a_plan_that_was_never_drilled_is_a_finding() -> None:
    office = Office()
    office.drill(days_ago=1, plan="another-plan")
    office.drill(days_ago=1, system="hr")

    assert office.findings() == {"drill.never_run": Severity.HIGH}


def test_a_drill_that_is_too_old_is_a_finding_with_its_age() -> None:
    office = Office()
    office.drill(days_ago=31)

    (finding,) = drill_findings([plan()], office.history(), NOW)
    assert (finding.kind, finding.facts["age_days"], finding.subject) == ("drill.stale", 31, "oa")


def test_the_newest_drill_decides_whether_a_plan_is_failing() -> None:
    office = Office()
    office.drill(days_ago=5, verdict="fail")
    assert office.findings() == {"drill.failing": Severity.HIGH}
    office.drill(days_ago=4, verdict="partial")
    assert office.findings() == {"drill.failing": Severity.MEDIUM}
    office.drill(days_ago=3)
    assert office.findings() == {}


def test_a_plan_that_changed_since_its_drill_is_a_finding() -> None:
    office = Office()
    office.drill(days_ago=1, digest="00" * 32)

    assert office.findings() == {"drill.plan_changed": Severity.LOW}


def test_a_drill_result_of_an_unknown_version_is_counted_and_harms_nothing() -> None:
    office = Office()
    kept = office.drill(days_ago=1)
    office.ledger.append(Evidence(kind="drill.result", time=NOW, subject="oa", facts={"schema": "govsec.drill.v9"}))

    history = office.history()

    assert ([past.result.id for past in history.drills], history.unreadable_count) == ([kept], 1)


def test_a_forged_pass_does_not_enter_the_history() -> None:
    office = Office()
    office.drill(days_ago=1, verdict="fail")
    name = entry_name(SIGNER.key_id, 1)
    office.store.put(name, office.store.get(name, size_max=1 << 20).replace(b'"verdict":"fail"', b'"verdict":"pass"'))

    history = office.history()

    assert history.drills == ()
    assert history.ledger.problems_count
    assert office.findings() == {"drill.never_run": Severity.HIGH}
