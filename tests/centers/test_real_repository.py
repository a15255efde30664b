"""The whole story with a real repository: every center passes govsec's check and stock restic's at every stop."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from govsec.backup.archive import archive
from govsec.backup.sources import FileSource
from govsec.centers import names
from govsec.centers.adoption import adopt
from govsec.centers.closure import RepositoryKeyHolder
from govsec.centers.commits import SnapshotRef
from govsec.centers.init import initialise
from govsec.centers.log import START, read_log
from govsec.centers.near import Change, Near, Receipt
from govsec.centers.quarantine import find_junk, quarantine
from govsec.centers.ship import ship
from govsec.centers.state import States
from govsec.centers.view import CommittedStore
from govsec.config import Mode
from govsec.crypto.keyfile import KdfParameters
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import GovsecError
from govsec.repo.check import Scope, check
from govsec.repo.repository import Repository, WritableRepository
from govsec.store.api import ObjectStore, ReadStore
from govsec.store.memory import MemoryStore
from govsec.testing.clock import FakeClock
from govsec.testing.faults import FaultKind, Faults, FaultStore, Killed, Moment, sweep
from tests.centers.world import copy_store, pack
from tests.support.restic import Restic, local_restic

PASSWORD = "three centers"
FAST = KdfParameters(n=16, r=1, p=1)


@dataclass
class Story:
    """Three centers of one real repository, one backup shipped, and a source tree that has changed since."""

    stores: dict[str, MemoryStore]
    source: Path
    repository: WritableRepository
    clock: FakeClock
    signer: Signer
    trusted: TrustedKeys

    def copy(self) -> Story:
        stores = {name: copy_store(store, self.clock) for name, store in self.stores.items()}
        return Story(stores, self.source, self.repository, self.clock, self.signer, self.trusted)

    def near(self, faults: Faults | None = None) -> Near:
        def wrap(store: MemoryStore) -> ObjectStore:
            return store if faults is None else FaultStore(store, faults)

        return Near(
            wrap(self.stores["production"]),
            wrap(self.stores["same_city"]),
            Mode.MAXIMUM_AVAILABILITY,
            states=States(self.clock),
            signer=self.signer,
            trusted=self.trusted,
            clock=self.clock,
        )

    def over(self, store: ReadStore) -> Repository:
        return Repository(store, self.repository.suite.clone(), self.repository.config)

    def back_up(self, faults: Faults | None = None) -> Receipt:
        self.clock.advance(600)
        near = self.near(faults)
        near.resync()
        near.key_holder = RepositoryKeyHolder(self.over(near))
        adopt(near)
        repository = WritableRepository(near, self.repository.suite.clone(), self.repository.config)
        result = archive(repository, FileSource([self.source]), clock=self.clock, workers=0, pack_size=4 << 20)
        snapshot = SnapshotRef(id=result.snapshot_id, time=result.snapshot.time)
        return near.commit(Change(result.objects, snapshot))

    def ship(self, faults: Faults | None = None) -> None:
        source, target = self.stores["same_city"], self.stores["remote"]
        if faults is None:
            ship(source, target, self.trusted, clock=self.clock, threads=0)
        else:
            ship(FaultStore(source, faults), FaultStore(target, faults), self.trusted, clock=self.clock, threads=0)

    def assert_checked(self) -> None:
        for name, store in self.stores.items():
            report = check(self.over(store), clock=self.clock, scope=Scope.ALL_DATA, workers=0)
            assert report.errors_count == 0, (name, report.problems[:5])


def change_tree(root: Path, round_: int) -> None:
    root.mkdir(exist_ok=True)
    for number in range(4):
        (root / f"file-{number}").write_bytes(f"{number} {round_ if number < 2 else 0} ".encode() * 3000)
    (root / f"new-{round_}").mkdir()
    (root / f"new-{round_}" / "文件").write_bytes(bytes([round_]) * 70_000)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    clock = FakeClock()
    signer = Signer(Purpose.COMMIT, b"s" * 32)
    stores = {name: MemoryStore(name, clock=clock) for name in ("production", "same_city", "remote")}
    repository: list[WritableRepository] = []

    def create(store: ObjectStore) -> None:
        made = WritableRepository.initialize(
            store, PASSWORD.encode(), clock, hostname="host", username="user", kdf=FAST
        )
        repository.append(made)

    initialise(stores["production"], [stores["same_city"], stores["remote"]], create)
    source = tmp_path_factory.mktemp("source") / "tree"
    change_tree(source, 1)
    made = Story(stores, source, repository[0], clock, signer, TrustedKeys([signer.public()]))
    made.back_up()
    made.ship()
    change_tree(source, 2)
    return made


def run_to_the_fault(story: Story, faults: Faults) -> None:
    with contextlib.suppress(GovsecError, Killed):
        story.back_up(faults)
    with contextlib.suppress(GovsecError, Killed):
        story.ship(faults)


def assert_completed(story: Story) -> None:
    story.clock.advance(86400)
    story.back_up()
    story.ship()
    story.assert_checked()
    logs = [read_log(store, story.trusted, after=START) for store in story.stores.values()]
    assert len({log.head for log in logs}) == 1
    assert all(not log.flaws for log in logs)
    seen = [{info.name for info in store.list(names.SNAPSHOTS)} for store in story.stores.values()]
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize(
    ("kind", "moment", "step"),
    [
        (FaultKind.KILL, Moment.BEFORE, 5),
        (FaultKind.KILL, Moment.AFTER, 7),
        (FaultKind.ERROR, Moment.BEFORE, 7),
        (FaultKind.TIMEOUT, Moment.AFTER, 9),
    ],
)
def test_every_center_passes_the_check_at_every_stop_and_the_next_run_completes_it(
    story: Story, kind: FaultKind, moment: Moment, step: int
) -> None:
    reached_count = 0
    for faults in sweep(kind, moment, step=step):
        stopped = story.copy()
        run_to_the_fault(stopped, faults)
        reached_count += faults.injected_count > 0
        stopped.assert_checked()
        assert_completed(stopped)
    assert reached_count >= 8


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("kind", [FaultKind.KILL, FaultKind.ERROR, FaultKind.TIMEOUT, FaultKind.FULL])
@pytest.mark.parametrize("moment", list(Moment))
def test_stock_restic_passes_every_center_at_every_single_stop(
    story: Story, kind: FaultKind, moment: Moment, tmp_path: Path
) -> None:
    for faults in sweep(kind, moment):
        stopped = story.copy()
        run_to_the_fault(stopped, faults)
        assert_restic_clean(stopped, tmp_path / f"{kind.value}-{moment.value}-{faults.call}")
        assert_completed(stopped)


@pytest.mark.parametrize("call", [number * 18 // 5 + 3 for number in range(30)])
def test_stock_restic_passes_every_center_at_seeded_stops(story: Story, call: int, tmp_path: Path) -> None:
    stopped = story.copy()
    faults = Faults(call, FaultKind.KILL, Moment.AFTER if call % 2 else Moment.BEFORE)
    run_to_the_fault(stopped, faults)
    assert faults.was_reached, f"the story has only {faults.calls_count} calls"
    assert_restic_clean(stopped, tmp_path)


def test_a_union_of_centers_that_went_apart_is_clean_for_stock_restic(story: Story, tmp_path: Path) -> None:
    from govsec.centers.union import unite

    apart = story.copy()
    apart.back_up()
    other = story.copy()
    (story.source / "only-here").write_bytes(b"here" * 9000)
    other.back_up()
    (story.source / "only-here").unlink()
    joined = Story(
        {
            "production": apart.stores["production"],
            "same_city": other.stores["same_city"],
            "remote": story.copy().stores["remote"],
        },
        story.source,
        story.repository,
        story.clock,
        story.signer,
        story.trusted,
    )
    report = unite(list(joined.stores.values()), joined.trusted, clock=joined.clock, threads=0)
    assert report.heads_count == 2
    assert_restic_clean(joined, tmp_path)
    counts = [len(list(store.list(names.SNAPSHOTS))) for store in joined.stores.values()]
    assert counts == [3, 3, 3]


def test_junk_stops_stock_restic_not_govsec_and_quarantine_gets_restic_back(story: Story, tmp_path: Path) -> None:
    hostile = story.copy()
    store = hostile.stores["same_city"]
    for prefix in (names.INDEXES, names.SNAPSHOTS):
        name, data = pack(prefix)
        store.put(prefix + name[-64:], data)
    restic = as_directory(store, tmp_path / "hostile")
    assert not restic.check().is_clean
    view = hostile.over(CommittedStore(store, hostile.trusted))
    assert check(view, clock=hostile.clock, scope=Scope.ALL_DATA, workers=0).is_good
    assert hostile.over(store).resolve("latest").id == view.resolve("latest").id
    hostile.clock.advance(2 * 86400)
    junk = find_junk(store, hostile.trusted, clock=hostile.clock, others=[hostile.stores["production"]])
    assert len(quarantine(store, junk, clock=hostile.clock).moved) == 2
    as_directory(store, tmp_path / "healed").assert_clean()


def test_a_snapshot_of_stock_restic_is_adopted_shipped_and_restored_from_remote(story: Story, tmp_path: Path) -> None:
    mixed = story.copy()
    root = tmp_path / "production"
    restic = as_directory(mixed.stores["production"], root)
    (story.source / "by-restic").write_bytes(b"restic" * 5000)
    restic.ok("backup", "--host", "host", story.source)
    (story.source / "by-restic").unlink()
    for path in sorted((root / "repository").rglob("*")):
        name = path.relative_to(root / "repository").as_posix()
        if path.is_file() and not name.startswith((names.LOCKS, ".")):
            mixed.stores["production"].put(name, path.read_bytes())
    near = mixed.near()
    near.resync()
    near.key_holder = RepositoryKeyHolder(mixed.over(near))
    adopted = adopt(near)
    assert len(adopted.receipts) == 1
    assert adopted.receipts[0].held_by == ("production", "same_city")
    mixed.ship()
    far = as_directory(mixed.stores["remote"], tmp_path / "remote")
    far.assert_clean()
    far.ok("restore", adopted.receipts[0].snapshot_id or "", "--target", tmp_path / "out")
    assert (tmp_path / "out" / (story.source / "by-restic").relative_to("/")).read_bytes() == b"restic" * 5000


def as_directory(store: MemoryStore, scratch: Path) -> Restic:
    root = scratch / "repository"
    for info in store.list(""):
        path = root / info.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.get(info.name, size_max=1 << 30))
    for folder in ("data", "index", "snapshots", "locks", "keys"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    return local_restic(root, PASSWORD, scratch)


def assert_restic_clean(story: Story, scratch: Path) -> None:
    for name, store in story.stores.items():
        for info in list(store.list(names.LOCKS)):
            store.delete(info.name)  # of the process that was killed; restic would wait for it
        place = scratch / name
        place.mkdir(parents=True, exist_ok=True)
        done = as_directory(store, place).check()
        assert done.is_clean, (name, done.stderr)
