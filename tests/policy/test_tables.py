"""High-risk cases, indicators of cryptography, and the status of every figure that is shipped."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml

from govsec.datafile import FigureStatus
from govsec.drill.capability import EDITIONS, load_table
from govsec.errors import ConfigurationError
from govsec.policy.catalog import Catalog, Kind, Scope
from govsec.policy.cryptography import CryptographyCatalog
from govsec.policy.highrisk import HighRiskCatalog, Only
from govsec.policy.statuses import TABLES, unconfirmed_figures

POLICIES = Path(__file__).resolve().parents[2] / "policies"
CASES = HighRiskCatalog.load()
INDICATORS = CryptographyCatalog.load()


def test_there_are_81_cases_of_which_43_name_a_mitigation() -> None:
    assert len(CASES) == 81
    assert Counter(case.scope for case in CASES.cases) == {
        Scope.GENERAL: 42, Scope.CLOUD: 16, Scope.MOBILE: 10, Scope.IOT: 4, Scope.ICS: 9,
    }  # fmt: skip
    assert sum(case.mitigation is not None for case in CASES.cases) == 43


def test_every_case_is_brought_up_by_lines_of_its_own_scope_at_every_level_it_applies_to() -> None:
    catalog = Catalog.load()

    for case in CASES.cases:
        for key in case.keys:
            levels = {item.level: item.scope for item in catalog if item.key == key}
            assert set(levels.values()) == {case.scope}, case.id
            # From its lowest level up the line is there, or it was dropped at level 4.
            assert any(level >= case.min_level for level in levels), case.id


def test_cases_of_backup_and_drills_are_those_of_the_guide() -> None:
    assert CASES.case("6.4.6.1").keys == ("GEN-CES-9-a",) and CASES.case("6.4.6.1").min_level == 3
    assert CASES.case("6.4.6.2").only == (Only.HIGH_AVAILABILITY,) and CASES.case("6.4.6.2").mitigation is None
    assert CASES.case("6.4.6.3").min_level == 4
    assert CASES.case("6.10.1.2").keys == ("GEN-MMS-13-c",)
    assert CASES.case("7.4.3.1").keys == ("CLD-CES-6-a",) and CASES.case("7.4.3.1").mitigation is not None
    # No case asks for remote backup in real time any more.
    assert CASES.by_key("GEN-CES-9-b") == ()


def test_a_case_applies_by_level_availability_and_industry() -> None:
    redundancy, behaviour = CASES.case("6.4.6.2"), CASES.case("6.3.3.3")

    assert redundancy.applies(level=3, high_availability=True, key_industry=False)
    assert not redundancy.applies(level=3, high_availability=False, key_industry=True)
    assert not redundancy.applies(level=2, high_availability=True, key_industry=True)
    assert behaviour.applies(level=3, high_availability=False, key_industry=True)
    assert not behaviour.applies(level=3, high_availability=True, key_industry=False)


def test_applying_cases_grow_with_level_and_scope() -> None:
    def count(level: int, scopes: set[Scope]) -> int:
        return len(list(CASES.applying(level=level, high_availability=True, key_industry=True, scopes=scopes)))

    assert count(1, set(Scope)) == 0
    assert 0 < count(2, set(Scope)) < count(3, set(Scope)) < count(4, set(Scope)) == 81
    assert count(4, {Scope.CLOUD}) == 16


def test_an_unknown_case_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"no case '6\.4\.6\.9'"):
        CASES.case("6.4.6.9")


def test_there_are_41_indicators_and_they_meet_the_catalog_where_both_ask_for_the_same() -> None:
    assert len(INDICATORS.indicators()) == 41
    assert Counter({layer.kind: 0 for layer in INDICATORS.layers}) + Counter(
        layer.kind for layer in INDICATORS.layers for _ in layer.indicators
    ) == {Kind.TECHNICAL: 22, Kind.MANAGEMENT: 19}
    assert len({indicator.id for indicator in INDICATORS.indicators()}) == 41
    for clause in (
        "8.1.2.2.a",
        "8.1.2.2.b",
        "8.1.4.1.d",
        "8.1.4.7.a",
        "8.1.4.7.b",
        "8.1.4.8.a",
        "8.1.4.8.b",
        "8.1.10.9.a",
    ):
        assert INDICATORS.by_key(Catalog.load().item(clause).key), clause


def test_weights_of_the_layers_add_up_to_the_split() -> None:
    weights = INDICATORS.scoring.weights.of

    for kind, share in ((Kind.TECHNICAL, 70), (Kind.MANAGEMENT, 30)):
        assert sum(weights[layer.id] for layer in INDICATORS.layers if layer.kind is kind) == share
    assert INDICATORS.scoring.weights.status is FigureStatus.UNCONFIRMED
    assert INDICATORS.scoring.split.status is FigureStatus.CONFIRMED


def test_every_table_of_a_norm_is_among_those_whose_statuses_are_told() -> None:
    norms = {
        path.parent.name
        for path in POLICIES.glob("*/*.yaml")
        if "norm" in (yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader) or {})
    }

    # Tables of incidents are no part of an assessment; a case says the status of each figure that it rests on.
    assert norms - {"gbt22239-2019", "incidents"} <= set(TABLES)


def test_figures_that_are_not_confirmed_are_all_told() -> None:
    found = {(figure.table, figure.place, figure.aspect): figure.status for figure in unconfirmed_figures()}

    assert found["gbt22239-2019", "9.1.1.1.b", "status"] is FigureStatus.UNCONFIRMED
    assert found["high-risk-2025/cases.yaml", "", "wording_status"] is FigureStatus.INTERPRETATION
    assert found["gbt39786-2021/indicators.yaml", "scoring.weights", "status"] is FigureStatus.UNCONFIRMED
    assert found["gbt39786-2021/indicators.yaml", "layers.POL", "status"] is FigureStatus.UNCONFIRMED
    assert found["gbt22240-2020/grading.yaml", "assessment.2", "status"] is FigureStatus.UNCONFIRMED
    assert ("gbt39786-2021/indicators.yaml", "scoring.split", "status") not in found
    assert FigureStatus.CONFIRMED not in found.values()


@pytest.mark.parametrize("edition", EDITIONS)
def test_the_recovery_table_tells_the_same_statuses_as_the_drill_reads(edition: str) -> None:
    table = load_table(edition)
    told = {
        figure.place: figure.status for figure in unconfirmed_figures() if figure.table == f"gbt20988/{edition}.yaml"
    }

    for level in table.levels:
        for name, bound in (("rto", level.rto), ("rpo", level.rpo), ("data_backup", level.data_backup)):
            assert told.get(f"levels.{level.level}.{name}", FigureStatus.CONFIRMED) is bound.status
