"""Risk assessment: every number is explained, nothing unknown lowers a risk, acceptance ends."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govsec import canonical
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import ConfigurationError, UsageError
from govsec.policy.attest import Acceptance, Record, approve, attest, open_record
from govsec.policy.catalog import Catalog
from govsec.policy.results import Verdict
from govsec.policy.risk import JudgedItem, PastIncident, RiskInput, Vulnerability, assess_risk
from govsec.policy.riskmethod import load_method
from govsec.policy.riskreport import RiskReport, RiskRow, risk_difference
from tests.register.registers import NOW, system

METHOD = load_method()
ITEMS = tuple(
    JudgedItem(item.id, item.key, Verdict.CONFORM) for item in Catalog.load().select(2, 3, scopes=["general"])
)
BASE = RiskInput(system(), NOW, ITEMS)
WANG, LI = Signer(Purpose.ATTESTATION, b"w" * 32), Signer(Purpose.APPROVAL, b"l" * 32)
TRUSTED = TrustedKeys([WANG.public("Wang"), LI.public("Li")])


def row(known: RiskInput, threat: str) -> RiskRow:
    return next(row for row in assess_risk(known, METHOD).rows if row.threat == threat)


def judged(verdicts: dict[str, Verdict], high_risk: dict[str, tuple[str, ...]] | None = None) -> tuple[JudgedItem, ...]:
    """The items with other verdicts for some keys."""
    cases = high_risk or {}
    return tuple(
        replace(item, verdict=verdicts.get(item.key, item.verdict), high_risk=cases.get(item.key, ())) for item in ITEMS
    )


def acceptance(level_max: int = 5, days: int = 90, threat: str = "ransomware", *, approved: bool = True) -> Record:
    statement = Acceptance(
        system="portal",
        risk=threat,
        level_max=level_max,
        reason="The new storage arrives in January; until then copies are watched daily.",
        by="Wang",
        made=NOW - timedelta(days=30),
        valid_until=NOW - timedelta(days=30) + timedelta(days=days),
    )
    data = attest(WANG, statement)
    if approved:
        data = approve(LI, TRUSTED, data, by="Li", time=NOW - timedelta(days=29))
    return open_record(TRUSTED, data)


def test_the_numbers_of_a_risk_can_be_counted_again_by_hand() -> None:
    known = replace(BASE, items=judged({"GEN-CES-9-a": Verdict.NOT_CONFORM, "GEN-CES-5": Verdict.PARTIAL}))

    found = row(known, "ransomware")

    # S2A3: system of level 3 is worth 4, data of 1200 persons 3, important data 4.
    assert (found.asset, found.frequency, found.weakness) == (4, 3, 3)  # 4 for not conform, 1 off for 80 % and more
    assert found.likelihood == round(math.sqrt(3 * 3), 2) and found.loss == round(math.sqrt(4 * 3), 2)
    assert found.value == round(math.sqrt(9) * math.sqrt(12), 2) and found.level == 2
    assert [(reason.code, reason.value, reason.decides) for reason in found.reasons] == [
        ("asset.system_level", 4, True),
        ("asset.data_level", 4, True),
        ("asset.personal_count", 3, False),
        ("threat.frequency", 3, True),
        ("weakness.not_conform", 4, True),
        ("weakness.partial", 3, False),
        ("measures.share", 1, True),
    ]
    texts = {reason.code: reason.text for reason in found.reasons}
    assert texts["weakness.not_conform"].en == "not conform: 8.1.4.9.a"
    assert texts["asset.personal_count"].zh == "涉及个人信息 1200 人"


def test_every_threat_is_a_row_and_the_highest_stands_first() -> None:
    report = assess_risk(BASE, METHOD)

    assert {row.threat for row in report.rows} == {threat.id for threat in METHOD.threats}
    values = [row.value for row in report.rows]
    assert values == sorted(values, reverse=True)
    assert (report.method_sha256, report.method_status.value) == (METHOD.sha256, "unconfirmed")


def test_the_highest_value_there_is_has_the_highest_level() -> None:
    worst = RiskInput(
        system(internet=True, critical_infrastructure=True),
        NOW,
        judged({"GEN-CES-1-a": Verdict.NOT_CONFORM}, {"GEN-CES-1-a": ("6.4.1.1",)}),
        incidents=tuple(PastIncident("login.brute_force", NOW) for _ in range(12)),
    )

    found = row(worst, "credentials")

    assert (found.value, found.level, found.level_title.en) == (25.0, 5, "very high")


def test_an_open_high_risk_case_is_not_made_good_by_other_lines() -> None:
    found = row(
        replace(BASE, items=judged({"GEN-CES-9-a": Verdict.NOT_CONFORM}, {"GEN-CES-9-a": ("6.4.6.1",)})), "failure"
    )

    assert found.weakness == 5
    measures = next(reason for reason in found.reasons if reason.term == "measures")
    assert (measures.value, measures.decides) == (0, False)


def test_what_nobody_looked_at_is_assumed_weak_and_marked() -> None:
    nothing = RiskInput(system(level=None, s=None, a=None, data=[]), NOW)

    for found in assess_risk(nothing, METHOD).rows:
        assert found.is_assumed
        assert (found.asset, found.weakness) == (METHOD.asset.unknown, METHOD.weakness.undecided)
        assert {"asset.unknown", "weakness.nothing_asked"} <= {reason.code for reason in found.reasons}
    assert not any(found.is_assumed for found in assess_risk(BASE, METHOD).rows)
    assert row(replace(BASE, items=judged({"GEN-CES-9-a": Verdict.UNDECIDED})), "ransomware").is_assumed


def test_vulnerabilities_and_incidents_of_the_last_year_count() -> None:
    flaws = (Vulnerability("CVE-2026-1", "low"), Vulnerability("CVE-2026-2", "critical", "web1"))
    old = PastIncident("malware.found", NOW - timedelta(days=366))
    new = PastIncident("malware.found", NOW - timedelta(days=365))

    assert row(replace(BASE, vulnerabilities=flaws), "intrusion").weakness == 5
    assert row(replace(BASE, vulnerabilities=flaws), "disaster").weakness == 1
    assert row(replace(BASE, incidents=(old, new)), "ransomware").frequency == 3
    assert row(replace(BASE, incidents=(new,) * 4), "ransomware").frequency == 4
    assert row(replace(BASE, incidents=(old,) * 12), "ransomware").frequency == 3
    assert (
        row(
            replace(BASE, incidents=(PastIncident("malware.found", NOW + timedelta(days=1)),) * 12), "ransomware"
        ).frequency
        == 3
    )


def test_a_risk_is_accepted_by_two_persons_up_to_a_level_until_an_end() -> None:
    weak = replace(BASE, items=judged(dict.fromkeys([item.key for item in ITEMS], Verdict.NOT_CONFORM)))
    level = row(weak, "ransomware").level
    assert level >= METHOD.treated_from_level and row(weak, "ransomware").is_open

    def accepted(*records: Record) -> RiskRow:
        return row(replace(weak, acceptances=records), "ransomware")

    found = accepted(acceptance(level))
    assert found.acceptance is not None and not found.is_open
    assert (found.acceptance.owner, found.acceptance.approver, found.acceptance.level_max) == ("Wang", "Li", level)
    assert accepted(acceptance(level - 1)).is_open
    assert accepted(acceptance(days=30)).is_open  # it ended today
    assert accepted(acceptance(approved=False)).is_open
    assert accepted(acceptance(threat="intrusion")).is_open
    assert row(replace(weak, acceptances=(acceptance(),), system=system("other")), "ransomware").is_open


def test_the_difference_names_the_number_that_changed() -> None:
    before = assess_risk(BASE, METHOD)
    after = assess_risk(
        replace(BASE, items=judged({"GEN-CES-9-a": Verdict.NOT_CONFORM}), acceptances=(acceptance(),)), METHOD
    )

    difference = risk_difference(before, after)

    changes = {change.threat: change for change in difference.changes}
    assert set(changes) == {"ransomware", "failure", "disaster"}  # what GEN-CES-9 lets in
    assert (changes["failure"].direction, changes["failure"].numbers) == ("higher", ("weakness",))
    assert changes["ransomware"].is_acceptance_changed and not changes["failure"].is_acceptance_changed
    assert {change.direction for change in risk_difference(after, before).changes} == {"lower"}
    assert risk_difference(before, before).changes == ()
    assert not difference.is_method_changed


def test_another_system_or_method_is_told() -> None:
    before = assess_risk(BASE, METHOD)
    fewer = METHOD.model_copy(update={"threats": METHOD.threats[1:], "sha256": "0" * 64})

    difference = risk_difference(before, assess_risk(BASE, fewer))

    assert difference.is_method_changed
    assert [(change.threat, change.direction) for change in difference.changes] == [("ransomware", "removed")]
    with pytest.raises(UsageError, match="do not compare"):
        risk_difference(before, assess_risk(replace(BASE, system=system("other")), METHOD))


def test_a_report_is_kept_and_read_back() -> None:
    report = assess_risk(replace(BASE, acceptances=(acceptance(),)), METHOD)

    stored = canonical.dumps(report.canonical())

    assert RiskReport.model_validate(json.loads(stored)) == report


def test_every_sentence_of_the_method_is_there() -> None:
    sources = (Path(__file__).resolve().parents[2] / "govsec" / "policy" / "risk.py").read_text()
    codes = {code for code in METHOD.words if f'"{code}"' in sources or code.startswith("weakness.")}

    assert codes == set(METHOD.words)


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("exploits: [GEN-CES-5,", "exploits: [GEN-XYZ-5,", "no requirement begins with 'GEN-XYZ-5'"),
        ("value_max: 25", "value_max: 24", "the highest ends at 25"),
        ("{level: 2, value_max: 10", "{level: 2, value_max: 16", "rising value_max"),
        ("id: intrusion", "id: ransomware", "twice"),
        ("frequency: 3\n    internet: 1", "frequency: 6\n    internet: 1", "less than or equal to 5"),
        ("treated_from_level: 3", "treated_from: 3", "treated_from"),
    ],
)
def test_a_method_of_ones_own_that_is_wrong_is_refused(tmp_path: Path, before: str, after: str, complaint: str) -> None:
    text = (Path(__file__).resolve().parents[2] / "policies" / "risk-20984" / "method.yaml").read_text()
    assert before in text
    path = tmp_path / "method.yaml"
    path.write_text(text.replace(before, after, 1))

    with pytest.raises(ConfigurationError, match=f"{path}.*{complaint}"):
        load_method(path)


def test_a_method_of_ones_own_is_named_by_its_digest(tmp_path: Path) -> None:
    text = (Path(__file__).resolve().parents[2] / "policies" / "risk-20984" / "method.yaml").read_text()
    path = tmp_path / "method.yaml"
    path.write_text(text + "# ours\n")

    own = load_method(path)

    assert own.sha256 != METHOD.sha256
    assert own.model_copy(update={"sha256": METHOD.sha256}) == METHOD


_ORDER = (Verdict.CONFORM, Verdict.PARTIAL, Verdict.UNDECIDED, Verdict.NOT_CONFORM)
_KEYS = [item.key for item in ITEMS]


@settings(max_examples=30)
@given(
    st.dictionaries(st.sampled_from(_KEYS), st.sampled_from(_ORDER), max_size=12),
    st.sampled_from(_KEYS),
    st.sampled_from(_ORDER),
    st.booleans(),
)
def test_a_worse_verdict_or_a_new_case_never_lowers_a_risk(
    verdicts: dict[str, Verdict], key: str, worse: Verdict, has_case: bool
) -> None:
    current = verdicts.get(key, Verdict.CONFORM)
    worse = max(current, worse, key=_ORDER.index)
    before = {row.threat: row.value for row in assess_risk(replace(BASE, items=judged(verdicts)), METHOD).rows}

    cases: dict[str, Any] = {key: ("6.4.1.1",)} if has_case else {}
    after = assess_risk(replace(BASE, items=judged({**verdicts, key: worse}, cases)), METHOD)

    for found in after.rows:
        assert found.value >= before[found.threat], found.threat
        assert METHOD.level_of(found.value).level == found.level
