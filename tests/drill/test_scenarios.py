"""What each scenario loses, where the data then come from, and that the centers' real objects stay as they were."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from govsec.config import Role
from govsec.drill.losses import Damage, DamagedStore
from govsec.drill.result import DrillResult, Verdict
from govsec.store.memory import MemoryStore
from tests.drill.conftest import ROLES, Rig, codes
from tests.support.require import require_root

pytestmark = pytest.mark.usefixtures("_as_root")


@pytest.fixture
def _as_root() -> None:
    require_root()


def fingerprint(rig: Rig) -> dict[str, str]:
    return {
        str(path.relative_to(rig.base)): hashlib.sha256(path.read_bytes()).hexdigest()
        for role in ROLES
        for path in rig.center(role).rglob("*")
        if path.is_file()
    }


def states(result: DrillResult) -> dict[str, str]:
    return {center.role: center.state for center in result.centers}


def test_without_production_the_data_come_from_same_city(shipped: Rig) -> None:
    before = fingerprint(shipped)

    result = shipped.drill(shipped.plan(scenario={"kind": "lose_production"}))

    assert result.verdict is Verdict.PASS
    assert states(result) == {"production": "lost", "same_city": "restored_from", "remote": "not_used"}
    assert fingerprint(shipped) == before


def test_a_center_that_should_have_stood_and_did_not_is_on_record(shipped: Rig) -> None:
    (shipped.center(Role.SAME_CITY) / "config").unlink()

    result = shipped.drill(shipped.plan(scenario={"kind": "lose_production"}))

    assert (result.verdict, codes(result)) == (Verdict.PARTIAL, {"center_failed"})
    assert states(result) == {"production": "lost", "same_city": "not_reached", "remote": "restored_from"}


def test_a_plan_may_choose_the_center(shipped: Rig) -> None:
    result = shipped.drill(shipped.plan(scenario={"kind": "lose_production"}, center="remote"))

    assert result.verdict is Verdict.PASS
    assert states(result)["remote"] == "restored_from"


def test_a_chosen_center_gives_everything_by_itself_or_the_drill_fails(shipped: Rig) -> None:
    for pack in shipped.objects(Role.REMOTE, "data/"):
        pack.unlink()

    assert shipped.drill(shipped.plan(scenario={"kind": "lose_production"}, center="remote")).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("kind", "prefix"),
    [
        ("corrupt_share", "data/"),
        ("corrupt_share", "index/"),
        ("corrupt_share", "snapshots/"),
        ("corrupt_share", ""),
        ("remove_share", "data/"),
        ("remove_share", "index/"),
    ],
)
def test_damage_in_one_center_is_made_good_from_the_others(kind: str, prefix: str, shipped: Rig) -> None:
    before = fingerprint(shipped)
    scenario = {"kind": kind, "center": "remote", "fraction": 1, "seed": 7, "prefix": prefix}

    result = shipped.drill(shipped.plan(scenario=scenario))

    assert (result.verdict, codes(result)) == (Verdict.PASS, set())
    assert states(result) == {"production": "fallback", "same_city": "fallback", "remote": "damaged"}
    assert fingerprint(shipped) == before


def test_a_center_that_does_not_even_list_its_snapshots_fails_the_drill(shipped: Rig) -> None:
    scenario = {"kind": "remove_share", "center": "remote", "fraction": 1, "seed": 7, "prefix": "snapshots/"}

    assert shipped.drill(shipped.plan(scenario=scenario)).verdict is Verdict.FAIL


@pytest.mark.parametrize("kind", ["corrupt_share", "remove_share"])
def test_damage_without_another_copy_fails_the_drill(kind: str, shipped: Rig) -> None:
    for role in ROLES[:2]:
        for pack in shipped.objects(role, "data/"):
            pack.unlink()
    scenario = {"kind": kind, "center": "remote", "fraction": 1, "seed": 7}

    assert shipped.drill(shipped.plan(scenario=scenario)).verdict is Verdict.FAIL


def test_a_scenario_that_damages_nothing_was_not_exercised(shipped: Rig) -> None:
    scenario = {"kind": "remove_share", "center": "remote", "fraction": 1e-6, "seed": 7}

    result = shipped.drill(shipped.plan(scenario=scenario))

    assert (result.verdict, codes(result)) == (Verdict.PARTIAL, {"damage_not_met"})


def test_a_rollback_takes_the_newest_snapshot_from_before(shipped: Rig) -> None:
    (good,) = shipped.repository.snapshots()
    attacked = shipped.clock.now()
    for path in shipped.source.rglob("*.txt"):
        path.write_bytes(b"ENCRYPTED")
    shipped.back_up()
    shipped.ship()
    scenario = {"kind": "rollback_before", "time": attacked}

    result = shipped.drill(shipped.plan(scenario=scenario))

    assert result.verdict is Verdict.PASS
    assert result.snapshot is not None
    assert (result.snapshot.id, result.snapshot.eligible_count) == (good.id, 1)
    assert result.disaster_at == attacked
    assert result.measures.recovery_point_age_s == round((attacked - good.time).total_seconds(), 3)
    assert states(result)["remote"] == "restored_from"


def test_a_rollback_to_before_the_first_backup_fails(shipped: Rig) -> None:
    (first,) = shipped.repository.snapshots()
    scenario = {"kind": "rollback_before", "time": first.time}

    assert "no_snapshot" in codes(shipped.drill(shipped.plan(scenario=scenario)))


def test_the_age_of_the_recovery_point_runs_to_the_declared_moment(shipped: Rig) -> None:
    (snapshot,) = shipped.repository.snapshots()
    declared = shipped.clock.now()
    shipped.back_up()
    shipped.ship()

    result = shipped.drill(shipped.plan(disaster_at=declared))

    assert result.snapshot is not None
    assert result.snapshot.id == snapshot.id
    assert result.measures.recovery_point_age_s == round((declared - snapshot.time).total_seconds(), 3)


def test_snapshots_of_other_hosts_and_tags_are_not_eligible(shipped: Rig) -> None:
    for select in ({"host": "elsewhere"}, {"tags": ["yearly"]}, {"paths": ["/other"]}):
        assert "no_snapshot" in codes(shipped.drill(shipped.plan(select=select)))


def test_a_recovery_point_older_than_its_objective_fails_the_drill(shipped: Rig) -> None:
    (snapshot,) = shipped.repository.snapshots()
    later = snapshot.time.replace(year=snapshot.time.year + 1)

    result = shipped.drill(shipped.plan(disaster_at=later))

    assert (result.verdict, codes(result)) == (Verdict.FAIL, {"objective_rpo"})


@pytest.mark.parametrize("damage", list(Damage))
@pytest.mark.parametrize("fraction", [0.1, 0.5, 1.0])
def test_damage_hits_the_share_that_was_asked_for_and_the_same_objects_each_time(
    damage: Damage, fraction: float
) -> None:
    store = MemoryStore()
    for number in range(1000):
        store.put(f"data/{number:04}", b"content")
    store.put("config", b"config")
    damaged, again = (DamagedStore(store, damage, fraction=fraction, seed=3, prefix="data/").clone() for _ in range(2))

    hit = {info.name for info in store.list("data/") if damaged.is_hit(info.name)}

    assert damaged.hits_count() == len(hit)
    assert abs(len(hit) - 1000 * fraction) < 60
    assert hit == {info.name for info in store.list("data/") if again.is_hit(info.name)}
    assert damaged.get("config", size_max=100) == b"config"
    if damage is Damage.REMOVED:
        assert len(list(damaged.list("data/"))) == 1000 - len(hit)
    else:
        assert all(damaged.get(name, size_max=100) != b"content" for name in hit)
    assert all(store.get(name, size_max=100) == b"content" for name in hit)


def test_no_scratch_is_left_in_any_scenario(shipped: Rig, tmp_path: Path) -> None:
    shipped.drill(shipped.plan(scenario={"kind": "lose_production"}))

    assert list(shipped.scratch.iterdir()) == []
