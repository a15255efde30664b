"""What people see of the centers, and how centers come to be."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import pytest

from govsec.centers import names
from govsec.centers.checkpoints import COMMITS_BETWEEN
from govsec.centers.init import holder, initialise, join, sync_keys
from govsec.centers.log import read_log
from govsec.centers.pause import pause
from govsec.centers.ship import ship
from govsec.centers.state import SyncState
from govsec.centers.status import Protection, Status, collect_status
from govsec.centers.statusform import as_json, as_prometheus
from govsec.cli.centerwords import status_words
from govsec.config import Role
from govsec.errors import ConfigurationError, IntegrityError, RefusedError, StoreError
from govsec.store.api import ObjectStore, ReadStore
from govsec.store.memory import MemoryStore
from govsec.testing.faults import FaultKind, Faults, FaultStore
from tests.centers.world import CONFIG, World

ROLES = {"production": Role.PRODUCTION, "same_city": Role.SAME_CITY, "remote": Role.REMOTE}


def status_of(
    world: World, rpo_s: int = 3600, replaced: dict[str, ReadStore] | None = None, jobs: Sequence[str] = ()
) -> Status:
    stores = {store.name: (replaced or {}).get(store.name, store) for store in world.stores}
    return collect_status(
        "hr",
        [(ROLES[name], store, name) for name, store in stores.items()],
        world.trusted,
        clock=world.clock,
        rpo_s=rpo_s,
        states=world.states.all(),
        protections={"production": Protection(False, "not protected from production: a directory")},
        jobs=jobs,
    )


def test_each_center_s_newest_snapshot_age_and_backlog_are_told() -> None:
    world = World()
    world.backup()
    ship(world.same_city, world.remote, world.trusted, clock=world.clock)
    world.clock.advance(1800)
    newest = world.backup()
    world.clock.advance(5)
    status = status_of(world)
    production, same_city, remote = status.centers
    assert (production.snapshot_id, production.recovery_point_age_s) == (newest.snapshot_id, 5)
    assert same_city.backlog_commits == 0
    assert (remote.backlog_commits, remote.backlog_objects, remote.recovery_point_age_s) == (1, 4, 1815)
    assert remote.backlog_bytes == sum(
        world.production.head(name).size_bytes
        for name in {info.name for info in world.production.list("")} - {info.name for info in world.remote.list("")}
        if names.is_committed_kind(name)
    )
    assert status.is_good
    assert not status_of(world, rpo_s=600).is_good, "the remote center missed its objective"


def test_a_degraded_center_says_since_when_and_why() -> None:
    world = World()
    world.backup()
    dead = Faults(1, FaultKind.TIMEOUT, is_permanent=True)
    began = world.clock.now()
    world.clock.advance(60)
    world.backup(world.near(wrap=lambda store: FaultStore(store, dead) if store is world.same_city else store))
    row = status_of(world).centers[1]
    assert row.state is not None
    assert (row.state.value, row.is_good) == ("degraded", False)
    assert row.state_since is not None
    assert row.state_since > began
    assert "timed out" in row.reason


@pytest.mark.parametrize("center", ["production", "same_city"])
@pytest.mark.parametrize("is_remembered", [True, False])
def test_a_center_that_lost_its_newest_commit_is_not_synced_whatever_was_remembered(
    center: str, is_remembered: bool
) -> None:
    world = World()
    world.backup()
    world.backup()
    store: MemoryStore = getattr(world, center)
    store.delete(max(info.name for info in store.list(names.COMMITS)))
    status = collect_status(
        "hr",
        [(ROLES[other.name], other, other.name) for other in world.stores],
        world.trusted,
        clock=world.clock,
        rpo_s=3600,
        states=world.states.all() if is_remembered else {},
        protections={},
        written_at_once=("production", "same_city"),
    )
    row = next(row for row in status.centers if row.center == center)
    assert row.state is SyncState.DEGRADED
    assert (row.backlog_commits, row.is_good) == (1, False)
    assert row.reason.endswith("it lacks: 1")
    assert [other.center for other in status.centers if other.is_good] == [
        name for name in ("production", "same_city") if name != center
    ]


def test_a_center_that_cannot_be_read_is_never_good_and_hides_no_other() -> None:
    world = World()
    world.backup()
    dead = FaultStore(world.same_city, Faults(1, FaultKind.ERROR, is_permanent=True))
    status = status_of(world, replaced={"same_city": dead})
    assert [bool(row.error) for row in status.centers] == [False, True, False]
    assert not status.is_good
    assert status.centers[0].is_good


def test_a_store_that_could_not_even_be_opened_has_its_row() -> None:
    world = World()
    world.backup()
    rows = [
        (Role.PRODUCTION, world.production, "production"),
        (Role.REMOTE, ConfigurationError("no credential"), "far"),
    ]
    status = collect_status("hr", rows, world.trusted, clock=world.clock, rpo_s=60, states={}, protections={})  # type: ignore[arg-type]
    assert status.centers[1].error == "no credential"


def test_no_centers_at_all_is_not_good() -> None:
    world = World()
    assert not collect_status("hr", [], world.trusted, clock=world.clock, rpo_s=1, states={}, protections={}).is_good


def test_the_json_is_plain_and_has_stable_names() -> None:
    world = World()
    world.backup()
    pause(world.remote, world.clock, by="li", reason="x", duration_s=60)
    value = json.loads(json.dumps(as_json(status_of(world))))
    assert value["system"] == "hr"
    assert set(value["centers"][0]) >= {
        "center",
        "role",
        "snapshot_id",
        "recovery_point_age_s",
        "rpo_s",
        "backlog_objects",
        "backlog_bytes",
        "state",
        "state_since",
        "is_protected",
        "protection",
        "error",
    }
    assert value["centers"][2]["paused_until"] is not None


def test_the_prometheus_text_is_well_formed_and_leaves_out_what_is_not_known() -> None:
    world = World()
    world.backup()
    dead = FaultStore(world.remote, Faults(1, FaultKind.ERROR, is_permanent=True))
    text = as_prometheus([status_of(world, replaced={"remote": dead})])
    sample = re.compile(r'[a-z_]+\{[a-z_]+="[^"\n]*"(,[a-z_]+="[^"\n]*")*\} [0-9.e+-]+')
    lines = text.splitlines()
    assert all(line.startswith("# ") or sample.fullmatch(line) for line in lines), lines
    assert 'govsec_center_up{system="hr",center="remote",role="remote"} 0' in lines
    assert not [line for line in lines if "recovery_point_age" in line and '"remote"' in line]
    assert 'govsec_center_protected{system="hr",center="production",role="production"} 0' in lines
    assert text.endswith("\n")
    typed = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(typed) == len(set(typed)), "one block a metric"


def test_a_job_that_broke_does_not_hide_behind_one_that_runs() -> None:
    world = World()
    broken = world.backup(job="database")
    world.clock.advance(7200)
    world.backup(job="files")
    row = status_of(world).centers[0]
    assert (row.snapshot_id, row.recovery_point_age_s) == (broken.snapshot_id, 7210)
    assert (row.is_within_rpo, row.is_good) == (False, False)
    assert [(point.job, point.age_s, point.is_within(row.rpo_s)) for point in row.points] == [
        ("database", 7210, False),
        ("files", 0, True),
    ]
    world.backup(job="database")
    assert status_of(world).centers[0].is_good


def test_a_job_that_never_made_a_snapshot_is_a_finding_and_one_that_is_configured_no_more_is_none() -> None:
    world = World()
    world.backup(job="old")
    world.backup()
    world.clock.advance(7200)
    world.backup(job="files")
    row = status_of(world, jobs=["files"]).centers[0]
    assert (row.recovery_point_age_s, row.is_good) == (0, True)
    assert [(point.job, point.counts) for point in row.points] == [("", False), ("files", True), ("old", False)]
    never = status_of(world, jobs=["files", "new"]).centers[0]
    assert (never.snapshot_id, never.recovery_point_age_s, never.is_good) == (None, None, False)


def test_a_checkpoint_forgets_no_job() -> None:
    world = World()
    world.backup(job="database")
    for _ in range(COMMITS_BETWEEN + 1):
        world.backup(job="files", packs_count=0)
    log = read_log(world.production, world.trusted, repository=world.repository)
    assert log.checkpoint is not None, "the commit of the job that broke is not read any more"
    assert all(entry.commit.snapshot and entry.commit.snapshot.job == "files" for entry in log.entries)
    assert [point.job for point in status_of(world).centers[0].points] == ["database", "files"]
    assert not status_of(world, rpo_s=60).is_good


def test_json_and_prometheus_tell_each_job() -> None:
    world = World()
    world.backup(job='da"ta')
    world.clock.advance(100)
    world.backup(job="files")
    status = status_of(world, jobs=["files", "never"])
    jobs = json.loads(json.dumps(as_json(status)))["centers"][0]["jobs"]
    assert [(job["job"], job["recovery_point_age_s"], job["counts"]) for job in jobs] == [
        ('da"ta', 110, False),
        ("files", 0, True),
        ("never", None, True),
    ]
    labels = 'system="hr",center="production",role="production"'
    lines = as_prometheus([status]).splitlines()
    assert f'govsec_center_job_recovery_point_age_seconds{{{labels},job="da\\"ta",counts="0"}} 110' in lines
    assert f'govsec_center_job_recovery_point_age_seconds{{{labels},job="files",counts="1"}} 0' in lines
    assert not [line for line in lines if "recovery_point_age_seconds" in line and 'job="never"' in line]


def test_the_table_fits_a_hundred_columns_and_names_each_job_that_is_late() -> None:
    world = World()
    for job in ("a-database-with-a-long-name", "files"):
        world.backup(job=job)
    dead = Faults(1, FaultKind.TIMEOUT, is_permanent=True)
    world.clock.advance(400 * 86400)
    world.backup(
        world.near(wrap=lambda store: FaultStore(store, dead) if store is world.same_city else store), job="files"
    )
    words = status_words(status_of(world, replaced={"remote": FaultStore(world.remote, Faults(1, is_permanent=True))}))
    table = words.splitlines()[:6]
    assert max(map(len, table)) <= 100, table
    assert [line.split()[0] for line in table] == ["hr:", "center", "production", "files", "same_city", "files"]
    assert "400 d 00:00 MISSED" in table[2]
    assert "production: no recent snapshot of a-database-with-a-long-name" in words
    assert "same_city: degraded since" in words
    assert "production: not protected from production: a directory" in words
    assert "(injected)" in words.splitlines()[-1]


def create(store: ObjectStore) -> None:
    store.put(names.KEYS + _digest(b"key"), b"key")
    store.put(names.CONFIG, CONFIG)


def _digest(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def fresh() -> list[MemoryStore]:
    return [MemoryStore(name) for name in ("production", "same_city", "remote")]


def test_init_makes_one_repository_and_gives_every_center_its_config_and_keys() -> None:
    production, *others = fresh()
    report = initialise(production, others, create)
    assert (report.is_new, report.reached, report.not_reached) == (True, ("same_city", "remote"), ())
    for store in others:
        assert {info.name for info in store.list("")} == {info.name for info in production.list("")}
    again = initialise(production, others, create)
    assert (again.is_new, again.reached) == (False, ())


def test_init_names_the_centers_that_it_could_not_reach_and_can_be_run_again() -> None:
    production, same_city, remote = fresh()
    dead = FaultStore(remote, Faults(1, FaultKind.TIMEOUT, is_permanent=True))
    report = initialise(production, [same_city, dead], create)
    assert [name for name, _ in report.not_reached] == ["remote"]
    assert initialise(production, [same_city, remote], create).reached == ("remote",)


def test_init_never_writes_over_another_repository() -> None:
    production, same_city, _ = fresh()
    same_city.put(names.CONFIG, b"another")
    with pytest.raises(RefusedError, match="production does not"):
        initialise(production, [same_city], create)
    assert not list(production.list(""))
    create(production)
    with pytest.raises(RefusedError, match="another repository"):
        initialise(production, [same_city], create)
    assert same_city.get(names.CONFIG, size_max=100) == b"another"
    assert len(list(same_city.list(""))) == 1


def test_a_center_joins_from_any_that_holds_the_repository() -> None:
    _, same_city, remote = fresh()
    create(same_city)
    assert holder([remote, same_city]) is same_city
    assert join(same_city, [remote]).reached == ("remote",)
    assert {info.name for info in remote.list("")} == {info.name for info in same_city.list("")}
    assert join(same_city, [remote]).reached == ()


def test_nothing_is_given_when_one_center_would_refuse_or_two_disagree() -> None:
    production, same_city, remote = fresh()
    create(production)
    remote.put(names.CONFIG, b"another")
    with pytest.raises(RefusedError, match="remote: holds another"):
        join(production, [same_city, remote])
    assert not list(same_city.list(""))
    with pytest.raises(RefusedError, match="different repositories"):
        holder([same_city, production, remote])


def test_who_holds_the_repository_is_not_known_while_a_center_is_silent() -> None:
    production, same_city, _ = fresh()
    dead = FaultStore(production, Faults(1, FaultKind.TIMEOUT, is_permanent=True))
    assert holder([same_city]) is None
    with pytest.raises(StoreError):
        holder([dead, same_city])
    create(same_city)
    assert holder([dead, same_city]) is same_city


def test_keys_are_synced_by_a_person_s_command_and_it_names_what_it_did_not_reach() -> None:
    production, same_city, remote = fresh()
    initialise(production, [same_city, remote], create)
    old = next(iter(production.list(names.KEYS))).name
    new = names.KEYS + _digest(b"new key")
    production.put(new, b"new key")
    production.delete(old)
    dead = FaultStore(remote, Faults(1, FaultKind.TIMEOUT, is_permanent=True))
    report = sync_keys(production, [same_city, dead])
    assert (report.added, report.removed) == ((("same_city", new),), (("same_city", old),))
    assert [name for name, _ in report.not_reached] == ["remote"]
    assert {info.name for info in remote.list(names.KEYS)} == {old}, "the removed password still opens it"


def test_a_production_without_keys_or_with_damaged_ones_takes_no_key_from_anybody() -> None:
    production, same_city, _ = fresh()
    initialise(production, [same_city], create)
    name = next(iter(production.list(names.KEYS))).name
    production.put(name, b"damaged")
    with pytest.raises(IntegrityError):
        sync_keys(production, [same_city])
    production.delete(name)
    with pytest.raises(RefusedError, match="has no keys"):
        sync_keys(production, [same_city])
    assert len(list(same_city.list(names.KEYS))) == 1
