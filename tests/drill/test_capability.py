from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from govsec.datafile import FigureStatus
from govsec.drill.capability import (
    EDITIONS,
    Measured,
    Replication,
    judge,
    load_table,
    longest_gap_s,
    read_table,
    transfers_per_day,
)
from govsec.drill.plan import Attestation, Element
from govsec.errors import ConfigurationError

AT = datetime(2026, 6, 1, tzinfo=UTC)
OTHERS = [element for element in Element if element is not Element.DATA_BACKUP]


def every(hours: float, days: int = 20) -> tuple[datetime, ...]:
    count = int(days * 24 / hours)
    return tuple(AT - timedelta(hours=hours * number) for number in range(count))


BEST = Measured(
    is_verified=True,
    is_offsite=True,
    recovery_point_age_s=0.0,
    restore_time_s=600.0,
    snapshot_times=every(4),
    at=AT,
    replication=Replication.ZERO_LOSS,
)


def attest(level: int, elements: list[Element] = OTHERS, days: int = 30) -> list[Attestation]:
    until = AT + timedelta(days=days)
    return [Attestation(element=item, level=level, by="who", reference="what", valid_until=until) for item in elements]


def limit(edition: str = "2007", **changes: Any) -> int:
    return judge(load_table(edition), replace(BEST, **changes), []).limit


@pytest.mark.parametrize("edition", EDITIONS)
def test_the_best_of_everything_allows_the_highest_level(edition: str) -> None:
    capability = judge(load_table(edition), BEST, [])

    assert (capability.limit, capability.blockers, capability.reached) == (6, (), None)


@pytest.mark.parametrize(
    ("changes", "expected", "code"),
    [
        ({"recovery_point_age_s": 1.0}, 5, "recovery_point_age"),
        ({"recovery_point_age_s": 1801.0}, 4, "recovery_point_age"),
        ({"recovery_point_age_s": 86_401.0}, 2, "recovery_point_age"),
        ({"recovery_point_age_s": 604_801.0}, 0, "recovery_point_age"),
        ({"recovery_point_age_s": None}, 0, "recovery_point_age"),
        ({"restore_time_s": 1801.0}, 5, "restore_time"),
        ({"restore_time_s": 172_801.0}, 3, "restore_time"),
        ({"restore_time_s": None}, 0, "restore_time"),
        ({"replication": Replication.REAL_TIME}, 5, "replication"),
        ({"replication": Replication.BATCH}, 4, "replication"),
        ({"snapshot_times": every(24)}, 2, "transfers_per_day"),
        ({"snapshot_times": every(72)}, 2, "full_interval"),
        ({"snapshot_times": every(24 * 8, 32)}, 0, "full_interval"),
        ({"snapshot_times": ()}, 0, "full_interval"),
        ({"is_offsite": False}, 0, "not_offsite"),
        ({"is_verified": False}, 0, "not_verified"),
    ],
)
def test_each_shortcoming_stops_at_its_level_and_says_why(changes: dict[str, Any], expected: int, code: str) -> None:
    capability = judge(load_table("2007"), replace(BEST, **changes), [])

    assert capability.limit == expected
    assert code in {blocker.code for blocker in capability.blockers}
    assert {blocker.level for blocker in capability.blockers} == {expected + 1}


def test_the_editions_differ_where_their_tables_do() -> None:
    assert limit("2007", restore_time_s=100_000.0, replication=Replication.BATCH) == 4
    assert limit("2025", restore_time_s=100_000.0, replication=Replication.BATCH) == 2


def test_a_level_is_reached_only_with_valid_attestations_for_all_six_other_elements() -> None:
    table = load_table("2007")

    assert judge(table, BEST, attest(5)).reached == 5
    assert judge(table, BEST, attest(5) + attest(3, [Element.PLAN])).reached == 5
    assert judge(table, BEST, attest(5, OTHERS[1:])).reached is None
    assert judge(table, BEST, attest(5, OTHERS[1:]) + attest(2, OTHERS[:1])).reached == 2
    assert judge(table, BEST, attest(5, OTHERS[1:]) + attest(5, OTHERS[:1], days=-1)).reached is None
    assert judge(table, replace(BEST, replication=Replication.BATCH), attest(6)).reached == 4
    assert judge(table, replace(BEST, is_verified=False), attest(6)).reached is None


def test_every_element_says_on_what_ground_it_stands() -> None:
    capability = judge(load_table("2007"), BEST, attest(4, [Element.SUPPORT]) + attest(4, [Element.PLAN], days=-1))

    bases = {result.element: (result.basis, result.level) for result in capability.elements}
    assert len(bases) == 7
    assert bases[Element.DATA_BACKUP] == ("measured", 6)
    assert bases[Element.SUPPORT] == ("attested", 4)
    assert bases[Element.PLAN] == ("expired", 0)
    assert bases[Element.OPERATIONS] == ("missing", 0)


def test_data_backup_cannot_be_attested() -> None:
    with pytest.raises(ValueError, match="measured, not attested"):
        attest(5, [Element.DATA_BACKUP])


def test_figures_of_the_edition_in_force_are_marked_as_not_compared_with_the_text() -> None:
    table = load_table("2025")

    assert table.status is FigureStatus.DRAFT
    trusted = {FigureStatus.CONFIRMED, FigureStatus.SECONDARY}
    assert not trusted & {status for level in table.levels for status in (level.rto.status, level.rpo.status)}


def test_bounds_never_loosen_with_the_level() -> None:
    for edition in EDITIONS:
        levels = load_table(edition).levels
        for lower, higher in pairwise(levels):
            assert higher.data_backup.full_interval_s_max <= lower.data_backup.full_interval_s_max
            assert higher.data_backup.transfers_per_day_min >= lower.data_backup.transfers_per_day_min
            for name in ("rto", "rpo"):
                low, high = getattr(lower, name).max_s, getattr(higher, name).max_s
                assert low is None or (high is not None and high <= low)


def test_gaps_and_transfers_are_counted_up_to_the_moment_of_the_disaster() -> None:
    times = [AT - timedelta(hours=hours) for hours in (50, 30, 26, 3, 2)]

    assert longest_gap_s(times, AT) == 23 * 3600
    assert longest_gap_s(times[:1], AT) == 50 * 3600
    assert longest_gap_s([AT + timedelta(hours=1)], AT) is None
    assert transfers_per_day(times, AT) == 2
    assert transfers_per_day([], AT) == 0


def test_a_table_that_is_incomplete_is_refused(tmp_path: Path) -> None:
    source = Path(__file__).parents[2] / "policies" / "gbt20988" / "2007.yaml"
    value = yaml.safe_load(source.read_text(encoding="utf-8"))
    value["levels"].pop()
    path = tmp_path / "table.yaml"
    path.write_text(yaml.safe_dump(value, allow_unicode=True), encoding="utf-8")

    with pytest.raises(ConfigurationError, match="1 to 6"):
        read_table(path)
    with pytest.raises(ConfigurationError, match="1999"):
        load_table("1999")
