"""Bytes that are wrong, stores that lie, a production that turned hostile, two centers gone, clocks that jump.

On a real repository, judged by stock restic where it can judge.
"""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pytest

from govsec.backup.restore import restore
from govsec.centers import names
from govsec.centers.commits import COMMIT_SIZE_MAX, open_commit, sign_commit, split_names
from govsec.centers.heal import heal
from govsec.centers.log import FlawKind
from govsec.centers.quarantine import find_junk, quarantine
from govsec.centers.state import States
from govsec.centers.status import CenterStatus, collect_status
from govsec.centers.verify import VerifyReport, verify
from govsec.centers.view import CommittedStore
from govsec.config import Role
from govsec.crypto.keyfile import create_key_file
from govsec.crypto.restic import MasterKey
from govsec.crypto.signing import Purpose, Signer
from govsec.repo.check import Scope, check
from govsec.repo.repository import Repository
from govsec.testing.faults import FaultKind, Faults
from tests.support.restic import Restic, local_restic
from tests.support.story import CENTERS, PASSWORD, Story, describe, dump

_SECOND_SHIPPED = 5
_DAY_S = 86400.0
_KINDS = {
    "pack": names.PACKS,
    "index": names.INDEXES,
    "snapshot": names.SNAPSHOTS,
    "commit": names.COMMITS,
    "witness": names.WITNESSES,
    "key": names.KEYS,
    "config": names.CONFIG,
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Two backups, both shipped."""
    directory = tmp_path_factory.mktemp("told")
    story = Story(directory / "source", directory / "target")
    story.run(until=_SECOND_SHIPPED)
    return story


@pytest.fixture
def story(told: Story, tmp_path: Path) -> Story:
    made = told.fork()
    made.scratch = tmp_path / "restored"
    return made


def verified(story: Story, center: str) -> VerifyReport:
    others = [story.stores[name] for name in CENTERS if name != center]
    store = story.stores[center]
    return verify(
        store, story.trusted, clock=story.clock, others=others, record_to=store, threads=0, lag_max_s=10 * _DAY_S
    )


def healed(story: Story, center: str) -> set[str]:
    """Verify and heal until nothing is found; what was found. What only a lost commit names shows in a second round."""
    others = [story.stores[name] for name in CENTERS if name != center]
    found: set[str] = set()
    for _ in range(2):
        report = verified(story, center)
        damaged = [damage.name for damage in report.damaged]
        found |= set(damaged)
        outcome = heal(story.stores[center], others, damaged, repository=report.repository)
        assert outcome.is_whole, outcome
    after = verified(story, center)
    assert not after.damaged_count, after.damaged
    return found


def restic_on(story: Story, center: str, directory: Path) -> Restic:
    return local_restic(dump(story.stores[center], directory / center), PASSWORD.decode(), directory)


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def status_of(story: Story, center: str) -> CenterStatus:
    status = collect_status(
        "system",
        [(Role(name), story.stores[name], name) for name in CENTERS],
        story.trusted,
        clock=story.clock,
        rpo_s=3600,
        states={},
        protections={},
    )
    return next(row for row in status.centers if row.center == center)


def damage_one(story: Story, center: str, prefix: str, how: str) -> None:
    store = story.stores[center]
    chosen = [info.name for info in store.list(prefix)]
    name = chosen[0]
    data = store.get(name, size_max=1 << 30)
    if how == "flipped":
        store.put(name, flipped(data))
    elif how == "truncated":
        store.put(name, data[:-1])
    elif how == "missing":
        store.delete(name)
    elif how == "swapped":
        # Another object's bytes, sealed with the same key: authentic, and not what the name says.
        pool = chosen[1:] or [next(info.name for info in store.list(names.PACKS))]
        store.put(name, store.get(pool[-1], size_max=1 << 30))


@pytest.mark.parametrize("how", ["flipped", "truncated", "missing", "swapped"])
@pytest.mark.parametrize("center", CENTERS)
def test_damage_of_every_kind_of_object_is_found_healed_and_clean_for_stock_restic(
    story: Story, tmp_path: Path, center: str, how: str
) -> None:
    before = story.objects(center, *_KINDS.values())
    # Key files are in no commit: what is missing of them is for `repo keys sync` to find.
    kinds = [prefix for kind, prefix in _KINDS.items() if not (kind == "key" and how == "missing")]
    for prefix in kinds:
        damage_one(story, center, prefix, how)
    hurt = {name for name, data in before.items() if story.stores[center]._objects.get(name) is None}
    now = story.objects(center, *_KINDS.values())
    hurt |= {name for name, data in now.items() if before.get(name) != data}
    assert not verified(story, center).is_clean
    assert hurt <= healed(story, center), "not all of it was found"
    assert story.objects(center, *_KINDS.values()) == before
    restic_on(story, center, tmp_path).assert_clean()


def test_a_store_that_acknowledges_and_stores_nothing_is_found_and_named_by_later_receipts(story: Story) -> None:
    story.clock.advance(3600)
    lies_told = 0
    for call in range(1, 40):
        lied = story.fork()
        lied.scratch = story.scratch
        faults = Faults(call, FaultKind.LIE)
        lied.run_with(faults, until=_SECOND_SHIPPED)  # nothing to do: the steps are done
        lied.faults = faults
        lied.check_receipts = False
        try:
            lied.back_up_third()
        finally:
            lied.faults = Faults(0)
        if not faults.injected_count:
            break
        lies_told += 1
        liar = faults.injected[0].split(":")[0]
        name = faults.injected[0].rpartition(" ")[2]
        if name.startswith((names.LOCKS, names.CLAIMS)):
            continue  # nothing that a receipt names
        is_there = name in lied.objects(liar, "")
        report = verified(lied, liar)
        assert is_there or report.damaged_count or report.behind[liar], f"a lie about {name} was not found"
        if report.damaged_count:
            lied.check_receipts = False
            lied.back_up_third()
            assert liar not in lied.receipts[-1].held_by, f"a receipt names {liar}, which lacks {name}"
        healed(lied, liar)
        lied.clock.advance(_DAY_S)
        lied.check_receipts = True
        lied.near().resync()
        lied.back_up_third()
        assert lied.receipts[-1].held_by == ("production", "same_city")
        lied.assert_receipts_true()
    assert lies_told > 10


def junk_bytes(rng: random.Random) -> bytes:
    data = rng.randbytes(300) + (69).to_bytes(4, "little")
    return data


def put_junk(story: Story, center: str, rng: random.Random) -> list[str]:
    """What a thief of production's credential puts, with digests that are right."""
    store = story.stores[center]
    made = []
    for prefix in (names.PACKS, names.INDEXES, names.SNAPSHOTS):
        data = junk_bytes(rng)
        digest = hashlib.sha256(data).hexdigest()
        name = f"{prefix}{digest[:2]}/{digest}" if prefix == names.PACKS else prefix + digest
        store.put(name, data)
        made.append(name)
    foreign = create_key_file(
        MasterKey.generate(), b"thief", hostname="thief", username="thief", created=story.clock.now()
    )
    costly = json.loads(foreign) | {"N": 1 << 30}
    for data in (foreign, json.dumps(costly).encode()):
        name = names.KEYS + hashlib.sha256(data).hexdigest()
        store.put(name, data)
        made.append(name)
    return made


def test_every_earlier_commit_stays_restorable_at_remote_whatever_production_does(story: Story, tmp_path: Path) -> None:
    rng = random.Random(7)
    before = set(story.objects("remote", *_KINDS.values()))
    head = story.log("same_city").head
    for center in ("production", "same_city"):
        put_junk(story, center, rng)
    production = story.stores["production"]
    for info in list(production.list("")):
        if rng.random() < 0.5:
            production.delete(info.name)
        else:
            production.put(info.name, b"ransom")
    # Old commits again under new names, commits of a key that nobody pinned, and one that is genuinely signed.
    city = story.stores["same_city"]
    newest = next(iter(reversed([info.name for info in city.list(names.COMMITS)])))
    data = city.get(newest, size_max=COMMIT_SIZE_MAX)
    entry = open_commit(story.trusted, newest, data)
    city.put(names.numbered(names.COMMITS, entry.number + 7, entry.digest), data)
    junk = [name for name in story.objects("same_city", names.INDEXES) if name not in before]
    added, _ = split_names((name, len(city.get(name, size_max=1 << 20))) for name in junk)
    body = entry.commit.model_copy(
        update={"number": entry.number + 1, "previous": head.digest, "merges": (), "snapshot": None, "added": added}
    )
    for signer in (Signer(Purpose.COMMIT, b"x" * 32), story.commit_signer):
        forged, bytes_ = sign_commit(signer, body)
        city.put(forged.name, bytes_)

    story.clock.advance(3600)
    story.ship_first()  # remote pulls from same-city once more

    assert before <= set(story.objects("remote", *_KINDS.values())), "something is gone from remote"
    kinds = {flaw.kind for flaw in story.log("same_city").flaws}
    assert FlawKind.FORGED in kinds
    remote = story.stores["remote"]
    for number in (1, 2):
        view = CommittedStore(remote, story.trusted, until=number)
        repository = Repository.open(view, PASSWORD)
        assert check(repository, clock=story.clock, scope=Scope.ALL_DATA, workers=0).is_good
        target = tmp_path / str(number)
        report = restore(repository, repository.resolve("latest"), target, workers=0, clock=story.clock)
        assert report.is_complete
    assert describe(tmp_path / "2" / story.source.relative_to("/")) == story.expected
    # And through no view at all: junk that a stolen commit key named is passed over.
    plain = Repository.open(remote, PASSWORD)
    assert plain.resolve("latest").id == repository.resolve("latest").id


@pytest.mark.parametrize("center", ["same_city", "remote"])
def test_quarantine_gives_stock_restic_back_a_center_that_was_filled_with_junk(
    story: Story, tmp_path: Path, center: str
) -> None:
    made = put_junk(story, center, random.Random(8))
    assert not restic_on(story, center, tmp_path / "hostile").check().is_clean
    story.clock.advance(2 * _DAY_S)
    trusted_center = "production" if center == "remote" else "remote"
    known = story.objects(trusted_center, names.KEYS)
    others = [story.stores[name] for name in CENTERS if name != center]
    junk = find_junk(story.stores[center], story.trusted, clock=story.clock, others=others, known_keys=set(known))
    assert set(junk) == set(made)
    assert set(quarantine(story.stores[center], junk, clock=story.clock).moved) == set(made)
    restic_on(story, center, tmp_path / "quiet").assert_clean()


@pytest.mark.parametrize("survivor", CENTERS)
def test_whichever_center_is_left_restores_the_newest_it_has_and_states_its_age(story: Story, survivor: str) -> None:
    story.clock.advance(7200)
    for center in CENTERS:
        if center != survivor:
            story.stores[center]._objects.clear()
    repository = Repository.open(story.stores[survivor], PASSWORD)
    report = restore(repository, repository.resolve("latest"), story.scratch, workers=0, clock=story.clock)
    assert report.is_complete
    assert describe(story.scratch / story.source.relative_to("/")) == story.expected
    row = status_of(story, survivor)
    taken = repository.resolve("latest").time
    assert row.recovery_point_age_s == (story.clock.now() - taken).total_seconds()
    assert row.recovery_point_age_s > 7200


@pytest.mark.parametrize("jump_s", [-366 * _DAY_S, 366 * _DAY_S])
def test_a_clock_that_jumps_by_a_year_ends_no_grace_and_loses_no_backup(
    told: Story, tmp_path: Path, jump_s: float
) -> None:
    story = told.fork()
    story.scratch = tmp_path / "restored"
    story.run(until=Story.STEPS.index(Story.let_go_marks) + 1)
    packs = {center: set(story.objects(center, names.PACKS, names.SNAPSHOTS)) for center in ("same_city", "remote")}
    story.clock.jump(jump_s)
    story.let_go()
    story.ship_third()
    for center, held in packs.items():
        assert held <= set(story.objects(center, names.PACKS, names.SNAPSHOTS)), f"{center} let go too early"
    story.back_up_third()
    story.ship_third()
    story.states = States(story.clock)
    story.clock.jump(-jump_s)
    story.clock.advance(3600)
    story.back_up_third()
    story.ship_third()
    story.assert_valid()
    row = status_of(story, "remote")
    assert (row.error, row.recovery_point_age_s, row.is_good) == ("", 0.0, True)
    # "latest" is restic's: by the time in the snapshot, which was wrong. The log knows which one came last.
    repository = Repository.open(story.stores["remote"], PASSWORD)
    newest = repository.load_snapshot(story.receipts[-1].snapshot_id or "")
    assert restore(repository, newest, story.scratch, workers=0, clock=story.clock).is_complete
    assert describe(story.scratch / story.source.relative_to("/")) == story.expected


def test_a_backup_from_the_future_never_passes_for_a_young_recovery_point(told: Story, tmp_path: Path) -> None:
    story = told.fork()
    story.scratch = tmp_path / "restored"
    story.clock.jump(366 * _DAY_S)
    story.back_up_third()
    story.ship_third()
    story.clock.jump(-366 * _DAY_S)
    story.clock.advance(10 * _DAY_S)
    for center in CENTERS:
        row = status_of(story, center)
        assert "a clock" in row.error and not row.is_good
        assert (row.recovery_point_age_s or 0) >= 10 * _DAY_S, "the age of the newest that can be believed"
