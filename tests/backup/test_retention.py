"""Which snapshots are kept: restic's rules, its own answers where 0.14 has the same rules, and the edges by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govsec.backup.retention import Duration, apply_policy, parse_duration
from govsec.clock import format_time
from govsec.config import RetentionPolicy
from govsec.errors import ConfigurationError, RefusedError
from govsec.repo.repository import WritableRepository
from govsec.repo.snapshot import Snapshot
from govsec.store.local import LocalStore
from govsec.testing.clock import FakeClock
from tests.backup.conftest import CHEAP, PASSWORD
from tests.support.restic import local_restic

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def made(*moments: datetime, host: str = "h", tags: Sequence[str] = (), zone: str = "") -> list[Snapshot]:
    return [
        Snapshot(
            id=f"{number:064x}",
            time=moment,
            time_text=format_time(moment) if not zone else format_time(moment).replace("Z", zone),
            tree="0" * 64,
            paths=("/data",),
            hostname=host,
            tags=tuple(tags),
        )
        for number, moment in enumerate(moments)
    ]


def kept(snapshots: Sequence[Snapshot], now: datetime = NOW, **policy: object) -> list[datetime]:
    decisions = apply_policy(snapshots, RetentionPolicy.model_validate(policy), now=now)
    assert len(decisions) == len(snapshots)
    return sorted(decision.snapshot.time for decision in decisions if decision.is_kept)


def days_ago(*days: float) -> list[datetime]:
    return [NOW - timedelta(days=day) for day in days]


def test_the_newest_of_each_day_is_kept() -> None:
    snapshots = made(*days_ago(0.1, 0.2, 1.1, 1.2, 2.1, 2.2, 3.1))
    assert kept(snapshots, keep_daily=2) == sorted(days_ago(0.1, 1.1))


def test_the_oldest_is_kept_while_a_count_is_left() -> None:
    snapshots = made(*days_ago(1, 2, 40, 41))
    assert kept(snapshots, keep_yearly=3) == sorted(days_ago(1, 41))


def test_the_oldest_is_not_kept_when_the_count_is_used_up() -> None:
    assert kept(made(*days_ago(1, 2, 3)), keep_last=2) == sorted(days_ago(1, 2))


def test_minus_one_keeps_every_bucket() -> None:
    snapshots = made(*days_ago(0.1, 1.1, 2.1, 3.1))
    assert len(kept(snapshots, keep_daily=-1)) == 4


def test_spans_reach_back_from_the_newest_snapshot_and_not_from_now() -> None:
    snapshots = made(*days_ago(100, 105, 120))
    assert kept(snapshots, keep_within="10d") == sorted(days_ago(100, 105))


def test_a_snapshot_of_the_future_pushes_nothing_out() -> None:
    snapshots = made(NOW + timedelta(days=3000), *days_ago(1, 5, 20))
    assert kept(snapshots, keep_within="7d") == sorted([NOW + timedelta(days=3000), *days_ago(1, 5)])


def test_when_all_snapshots_lie_in_the_future_a_span_keeps_all() -> None:
    snapshots = made(NOW + timedelta(days=1), NOW + timedelta(days=400))
    assert len(kept(snapshots, keep_within="1d")) == 2


def test_one_rule_that_wants_a_snapshot_is_enough() -> None:
    snapshots = made(*days_ago(1, 2, 3, 40))
    assert kept(snapshots, keep_last=1, keep_monthly=2) == sorted(days_ago(1, 40))


def test_tags_keep_without_being_counted() -> None:
    tagged = made(NOW - timedelta(days=300), tags=["yearly", "audit"])
    snapshots = [*made(*days_ago(1, 2)), *tagged]
    assert kept(snapshots, keep_last=1, keep_tags=[["audit"]]) == sorted([*days_ago(1), tagged[0].time])
    assert kept(snapshots, keep_last=1, keep_tags=[["audit", "missing"]]) == days_ago(1)


def test_hosts_are_counted_apart() -> None:
    snapshots = [*made(*days_ago(1, 2), host="a"), *made(*days_ago(3, 4), host="b")]
    assert kept(snapshots, keep_last=1) == sorted(days_ago(1, 3))


def test_days_are_those_of_the_zone_that_a_snapshot_was_made_in() -> None:
    # 23:30 and 00:30 UTC are one day in +08:00.
    late, early = datetime(2026, 5, 1, 23, 30, tzinfo=UTC), datetime(2026, 5, 2, 0, 30, tzinfo=UTC)
    assert len(kept(made(early, late), keep_daily=2)) == 2
    assert kept([*made(early, late, zone="+08:00")], keep_daily=1) == [early]
    base = [*made(early, late, datetime(2026, 4, 1, tzinfo=UTC), zone="+08:00")]
    assert late not in kept(base, keep_daily=2)


def test_an_empty_policy_is_refused() -> None:
    with pytest.raises(RefusedError, match="empty"):
        apply_policy(made(*days_ago(1)), RetentionPolicy(), now=NOW)


@pytest.mark.parametrize("text", ["", "d", "3", "1w", "1d1y", "-1d", "1 d", "1d1d", "9999999d"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_duration(text)


def test_months_and_years_are_those_of_the_calendar() -> None:
    moment = datetime(2026, 3, 31, 10, tzinfo=UTC)
    assert parse_duration("1m").before(moment) == datetime(2026, 3, 3, 10, tzinfo=UTC)  # as Go's AddDate
    assert parse_duration("1y2m3d4h") == Duration(1, 2, 3, 4)
    assert parse_duration("1y2m3d4h").before(moment) == datetime(2025, 1, 28, 6, tzinfo=UTC)
    assert parse_duration("99999y").before(moment).year == 1


@given(st.lists(st.integers(min_value=0, max_value=5000), min_size=1, max_size=30, unique=True), st.integers(1, 9))
def test_keeping_more_never_removes_what_fewer_kept(hours: list[int], count: int) -> None:
    snapshots = made(*(NOW - timedelta(hours=hour) for hour in hours))
    # The oldest is kept only while a count is left, so it may come and go; all others only come.
    oldest = min(snapshot.time for snapshot in snapshots)
    fewer, more = (set(kept(snapshots, keep_daily=number)) - {oldest} for number in (count, count + 1))
    assert fewer <= more


POLICIES: list[dict[str, object]] = [
    {"keep_last": 3},
    {"keep_hourly": 4},
    {"keep_daily": 5},
    {"keep_weekly": 3},
    {"keep_monthly": 2},
    {"keep_last": 1, "keep_daily": 3, "keep_weekly": 2},
    {"keep_within": "20d"},
    {"keep_within": "1m5d3h"},
    {"keep_within_daily": "10d"},
    {"keep_within_weekly": "2m", "keep_hourly": 2},
    {"keep_tags": [["odd"]], "keep_last": 1},
]


def test_restic_decides_the_same_where_its_rules_are_the_same(tmp_path: Path) -> None:
    clock = FakeClock(NOW)
    restic = local_restic(tmp_path / "repo", PASSWORD.decode(), tmp_path)
    store = LocalStore(tmp_path / "repo", create=True)
    repository = WritableRepository.initialize(store, PASSWORD, clock, kdf=CHEAP)
    gaps_h = [1, 2, 3, 9, 11, 20, 26, 30, 49, 50, 75, 99, 120, 145, 170, 200, 260, 330, 400, 500, 620, 740, 900, 1100]
    # restic compares with its own clock, so the snapshots must lie in its past whatever day the test runs on.
    newest = datetime(2024, 5, 17, 9, 30, tzinfo=UTC)
    for number, gap_h in enumerate(gaps_h):
        moment = newest - timedelta(hours=gap_h)
        tags = ("odd",) if number % 7 == 3 else ()
        # The tree is looked at by nobody in a dry run.
        repository.save_snapshot(
            Snapshot(time=moment, tree="1" * 64, paths=("/data",), hostname="h", username="u", tags=tags)
        )
    snapshots = repository.snapshots()
    assert len(snapshots) == len(gaps_h)
    for policy in POLICIES:
        options: list[str] = []
        for name, value in policy.items():
            if name == "keep_tags":
                options += ["--keep-tag", "odd"]
            else:
                options += ["--" + name.replace("_", "-"), str(value)]
        printed = restic.ok("forget", "--dry-run", "--json", *options)
        theirs = {item["id"] for group in json.loads(printed.splitlines()[0]) for item in group["keep"]}
        decisions = apply_policy(snapshots, RetentionPolicy.model_validate(policy), now=NOW)
        ours = {decision.snapshot.id for decision in decisions if decision.is_kept}
        assert 0 < len(theirs) < len(gaps_h), policy
        # Since 0.16 the oldest is kept while a count is left; 0.14 does not know that.
        oldest = snapshots[0].id
        assert ours - {oldest} == theirs - {oldest}, policy


def test_what_was_committed_last_in_its_group_is_kept_whatever_its_time() -> None:
    snapshots = made(*days_ago(365, 1, 2))
    others = made(*days_ago(365, 1, 2, 400), host="other")[3:]
    committed = [snapshots[2].id, snapshots[1].id, others[0].id, snapshots[0].id]
    policy = RetentionPolicy(keep_within="30d")
    decisions = apply_policy([*snapshots, *others], policy, now=NOW, committed=committed)
    reasons = {decision.snapshot.id: decision.reasons for decision in decisions}
    assert reasons[snapshots[0].id] == ("committed last",)
    assert "committed last" in reasons[others[0].id]
    assert reasons[snapshots[1].id] == reasons[snapshots[2].id] == ("within 30d",)
