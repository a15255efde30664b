"""The whole story of a system on three centers in memory: init, back up, ship, change, back up, ship, let go, lose two
centers, restore from the third.

A :class:`Story` is what its operators and loops are in real life: steps, each of which opens everything anew, as a
program that is started does, and may fail or die at any call to a store. ``run`` goes on with the first step that is
not done, so calling it again is "the next run". Whoever tests chooses ``faults`` and then looks at what is left:
:meth:`Story.assert_valid`, :meth:`Story.assert_receipts_true`, :meth:`Story.assert_finished`.

One process, no threads, a clock that moves when told: a story makes the same calls each time, but for the nonces of
seals and the secrets of the repository. :meth:`Story.fork` copies a story at a moment, so that a sweep does not have to
tell its beginning again for every call.
"""

from __future__ import annotations

import copy
import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import numpy as np

from govsec.backup.archive import archive
from govsec.backup.restore import restore
from govsec.backup.sources import FileSource
from govsec.centers import names
from govsec.centers.commits import SnapshotRef
from govsec.centers.copying import Named
from govsec.centers.log import START, Log, named_objects, read_log, union
from govsec.centers.near import Change, Closure, Near, Receipt
from govsec.centers.release import release
from govsec.centers.releases import released_here
from govsec.centers.ship import ship
from govsec.centers.state import States
from govsec.config import Mode
from govsec.crypto.keyfile import KdfParameters
from govsec.crypto.restic import MasterKey, ResticSuite
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import GovsecError, IntegrityError
from govsec.repo.check import CheckReport, Scope, check
from govsec.repo.inventory import take_inventory
from govsec.repo.layout import Kind, object_name, pack_name
from govsec.repo.problems import Problems
from govsec.repo.prune import prune
from govsec.repo.reach import Walker
from govsec.repo.repository import Repository, WritableRepository
from govsec.store.api import ObjectStore, ReadStore
from govsec.store.memory import MemoryStore
from govsec.testing.clock import FakeClock
from govsec.testing.faults import Faults, FaultStore, Killed, no_faults

PASSWORD = b"story"
#: The cheapest there is: a story opens its repository a dozen times.
KDF = KdfParameters(n=2, r=1, p=1)
GRACE_S = 86400.0
_HOUR_S = 3600.0
CENTERS = ("production", "same_city", "remote")


def describe(root: Path) -> dict[bytes, tuple[object, ...]]:
    """Everything below ``root`` as plain system calls see it: types, modes, owners, times, links and contents."""
    top = os.fsencode(root)
    found: dict[bytes, tuple[object, ...]] = {}
    inodes: dict[int, bytes] = {}
    pending = [top]
    while pending:
        directory = pending.pop()
        for name in sorted(os.listdir(directory)):
            path = os.path.join(directory, name)
            status = os.lstat(path)
            kind = stat.S_IFMT(status.st_mode)
            what: object = None
            if kind == stat.S_IFDIR:
                pending.append(path)
            elif kind == stat.S_IFLNK:
                what = os.readlink(path)
            elif kind == stat.S_IFREG:
                with open(path, "rb") as file:
                    what = hashlib.sha256(file.read()).hexdigest()
            relative = path[len(top) + 1 :]
            first = inodes.setdefault(status.st_ino, relative) if status.st_nlink > 1 and what else relative
            owner = (status.st_uid, status.st_gid)
            found[relative] = (kind, stat.S_IMODE(status.st_mode), owner, status.st_mtime_ns, what, min(first, relative))
    return found


def write_first_tree(root: Path) -> None:
    """A small tree with odd names, a hard link, symlinks, a hole and an empty directory."""
    top = os.fsencode(root)
    for directory in (b"", b"a", b"a/b", "文件夹".encode(), b"empty"):
        os.makedirs(os.path.join(top, directory), exist_ok=True)
    contents = {
        b"plain": b"one\n",
        b"a/b/deep": b"two" * 5000,
        "文件夹/证照.txt".encode(): "电子证照\n".encode() * 40,
        b"bytes-\xff\xfe": bytes(range(256)),
        b'new\nline and "quote"': b"odd",
        b"zero": b"",
        b"dense": b"".join(hashlib.sha256(bytes([n % 256, n // 256])).digest() for n in range(2500)),
        b"a/same-as-dense": b"".join(hashlib.sha256(bytes([n % 256, n // 256])).digest() for n in range(2500)),
    }
    for name, data in contents.items():
        with open(os.path.join(top, name), "wb") as file:
            file.write(data)
    with open(os.path.join(top, b"sparse"), "wb") as file:
        file.truncate(200_000)
    for link in (b"a/link-to-plain", b"dangling"):
        _remove(os.path.join(top, link))
    os.link(os.path.join(top, b"plain"), os.path.join(top, b"a/link-to-plain"))
    os.symlink(b"a/nowhere", os.path.join(top, b"dangling"))
    for name in (b"grown", b"a/b/new"):
        _remove(os.path.join(top, name))
    os.chmod(os.path.join(top, b"a/b/deep"), 0o640)
    os.utime(os.path.join(top, b"zero"), ns=(1, 1_000_000_007))


def write_second_tree(root: Path) -> None:
    """The same after a day: a file changed, one grew, one new, one gone."""
    top = os.fsencode(root)
    with open(os.path.join(top, b"a/b/deep"), "wb") as file:
        file.write(b"changed" * 3000)
    for name, data in ((b"grown", b"new" * 1000), (b"a/b/new", os.fsencode("新"))):
        with open(os.path.join(top, name), "wb") as file:
            file.write(data)
    _remove(os.path.join(top, b"zero"))


def _remove(path: bytes) -> None:
    if os.path.lexists(path):
        os.unlink(path)


def closure_of(repository: Repository, snapshot_id: str) -> Closure:
    """What a snapshot needs, found with the key: packs, indexes that name one, packs of these, itself.

    Raises:
        IntegrityError: something is missing or damaged.
    """
    snapshot = repository.load_snapshot(snapshot_id)
    problems = Problems()
    inventory = take_inventory(repository, problems)
    walker = Walker(repository.store, repository.suite, inventory.index, problems)
    reached = walker.walk([(object_name(Kind.SNAPSHOT, snapshot_id), snapshot.tree)])
    packs = set(np.unique(inventory.index.places[reached.used > 0, 0] >> 1).tolist())
    indexes = [index_id for index_id, numbers in inventory.files.items() if packs & set(numbers.tolist())]
    for index_id in indexes:
        packs |= set(inventory.files[index_id].tolist())
    if reached.unread_count or any(inventory.sizes[number] < 0 for number in packs):
        raise IntegrityError(f"snapshot {snapshot_id}: not whole")
    objects: list[Named] = [(pack_name(inventory.index.packs[n]), int(inventory.sizes[n])) for n in packs]
    for name in (*(object_name(Kind.INDEX, i) for i in indexes), object_name(Kind.SNAPSHOT, snapshot_id)):
        objects.append((name, repository.store.head(name).size_bytes))
    return Closure(SnapshotRef(id=snapshot_id, time=snapshot.time), objects)


def contents_of(store: ReadStore) -> dict[str, bytes]:
    """Every object of a store."""
    return {info.name: store.get(info.name, size_max=1 << 30) for info in store.list("")}


def dump(store: ReadStore, directory: Path) -> Path:
    """The repository in ``store`` as a directory that stock restic opens."""
    for name, data in contents_of(store).items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    for folder in ("data", "index", "keys", "locks", "snapshots"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    return directory


@dataclass
class Story:
    """One system, its three centers, its operators. ``source`` is changed by the steps; ``scratch`` is restored into."""

    source: Path
    scratch: Path
    mode: Mode = Mode.MAXIMUM_AVAILABILITY
    clock: FakeClock = field(default_factory=FakeClock)
    faults: Faults = field(default_factory=no_faults)
    done_count: int = 0
    receipts: list[Receipt] = field(default_factory=list)
    #: Snapshots that their commit says anybody may let go of.
    forgotten: set[str] = field(default_factory=set)
    restored: bool = False

    def __post_init__(self) -> None:
        self.commit_signer = Signer(Purpose.COMMIT, b"c" * 32)
        self.release_signers = {name: Signer(Purpose.RELEASE, name[:1].encode() * 32) for name in CENTERS}
        keys = [self.commit_signer.public("production")]
        self.trusted = TrustedKeys([*keys, *(signer.public(name) for name, signer in self.release_signers.items())])
        self.stores = {name: MemoryStore(name, clock=self.clock) for name in CENTERS}
        self.states = States(self.clock)
        self.suite: ResticSuite | None = None

    # The steps. Each may be cut off at any call and is then begun again from its first line.

    def initialize(self) -> None:
        """The repository at production; what commits do not carry (config, keys) brought to the other two."""
        production = self.store("production")
        if not any(production.list(names.CONFIG)):
            for info in list(production.list(names.KEYS)):
                production.delete(info.name)  # the rest of an initialisation that was cut off
            made = WritableRepository.initialize(production, PASSWORD, self.clock, kdf=KDF, hostname="host")
            self.suite = made.suite  # type: ignore[assignment]
        for center in ("same_city", "remote"):
            target = self.store(center)
            for prefix in (names.KEYS, names.CONFIG):
                for info in list(production.list(prefix)):
                    target.put(info.name, production.get(info.name, size_max=1 << 20))

    def back_up_first(self) -> None:
        write_first_tree(self.source)
        self._back_up()

    def ship_first(self) -> None:
        self._ship()

    def back_up_second(self) -> None:
        write_second_tree(self.source)
        self._back_up()

    def ship_second(self) -> None:
        self._ship()

    def forget(self) -> None:
        """Production lets go of everything but the newest snapshot: said in a commit first, then removed."""
        near = self.near()
        near.resync()
        repository = self.open(near)
        *old, _ = repository.snapshots(strict=True)
        named = [(names.SNAPSHOTS + snapshot.id, near.head(names.SNAPSHOTS + snapshot.id).size_bytes) for snapshot in old]
        if named:
            self._commit(near, Change(released=named))
            for name, _ in named:
                near.delete(name)

    def prune(self) -> None:
        """Phase one at production, and phase two when its grace is over."""
        near = self.near()
        near.resync()
        result = prune(self.open(near), clock=self.clock, grace=timedelta(seconds=GRACE_S), remover=near.production)
        released = [(info.name, info.size_bytes) for info in result.released]
        if result.added or released:
            self._commit(near, Change(objects=result.added, released=released))

    def ship_third(self) -> None:
        self._ship()

    def let_go_marks(self) -> None:
        """Same-city and remote mark what their own retention no longer keeps."""
        self._let_go()

    def back_up_after_grace(self) -> None:
        self.clock.advance(2 * GRACE_S)
        self._back_up()

    def prune_second_phase(self) -> None:
        self.prune()

    def ship_fourth(self) -> None:
        self._ship()

    def let_go(self) -> None:
        """The grace is over, and a commit of another machine agrees."""
        self._let_go()

    def restore_from_remote(self) -> None:
        """Production and same-city are gone. What remote has is restored and compared with the source."""
        repository = Repository.open(self.store("remote"), PASSWORD)
        report = restore(repository, repository.resolve("latest"), self.scratch, workers=0, clock=self.clock)
        if report.problems_count:
            raise IntegrityError(f"restore: {report.problems[0]}")
        target = self.scratch / self.source.relative_to("/")
        assert describe(target) == describe(self.source), "restored from remote, and not what was backed up"
        self.restored = True

    STEPS = (
        initialize,
        back_up_first,
        ship_first,
        back_up_second,
        ship_second,
        forget,
        prune,
        ship_third,
        let_go_marks,
        back_up_after_grace,
        prune_second_phase,
        ship_fourth,
        let_go,
        restore_from_remote,
    )

    def run(self, until: int | None = None) -> None:
        """Every step that is not done, in order, up to position ``until``; raises what a step raises."""
        steps = self.STEPS[:until]
        while self.done_count < len(steps):
            steps[self.done_count](self)
            self.done_count += 1
            self.clock.advance(_HOUR_S)

    def run_with_faults(self, faults: Faults) -> BaseException | None:
        """Run until the end or until a fault ends it; what ended it. Whatever is not ours or a kill is raised."""
        self.faults = faults
        try:
            self.run()
        except (GovsecError, Killed) as error:
            return error
        finally:
            self.faults = no_faults()
        return None

    def run_next(self) -> None:
        """The next run, an hour later, on stores that work."""
        self.faults = no_faults()
        self.clock.advance(_HOUR_S)
        self.run()

    def fork(self) -> Story:
        """The same story at the same moment, to be told on differently."""
        other = copy.copy(self)
        other.clock = FakeClock(self.clock.now())
        other.clock.advance(0)
        other.receipts, other.forgotten = list(self.receipts), set(self.forgotten)
        other.stores = {name: _copied(store, other.clock) for name, store in self.stores.items()}
        other.states = copy.copy(self.states)
        other.states._clock = other.clock
        other.faults = no_faults()
        return other

    # What the steps are made of.

    def store(self, center: str) -> ObjectStore:
        """A center as the programs see it."""
        return FaultStore(self.stores[center], self.faults)

    def near(self) -> Near:
        """Both near centers, as a program that starts opens them."""
        return Near(
            self.store("production"),
            self.store("same_city"),
            self.mode,
            states=self.states,
            signer=self.commit_signer,
            trusted=self.trusted,
            clock=self.clock,
        )

    def open(self, near: Near) -> WritableRepository:
        return WritableRepository.open(near, PASSWORD)

    def _back_up(self) -> None:
        near = self.near()
        near.resync()
        repository = self.open(near)
        adopted = near.adopt(lambda snapshot_id: closure_of(repository, snapshot_id))
        for receipt in adopted.receipts:
            self._take(receipt)
        assert not adopted.refused, adopted.refused
        result = archive(repository, FileSource([self.source]), clock=self.clock, hostname="host", workers=0)
        assert result.is_complete, result.problems
        snapshot = SnapshotRef(id=result.snapshot_id, time=result.snapshot.time)
        self._commit(near, Change(objects=result.objects, snapshot=snapshot))

    def _commit(self, near: Near, change: Change) -> None:
        self._take(near.commit(change))

    def _take(self, receipt: Receipt) -> None:
        self.receipts.append(receipt)
        self.assert_receipt_true(receipt)

    def _ship(self) -> None:
        ship(self.store("same_city"), self.store("remote"), self.trusted, clock=self.clock, threads=0)

    def _let_go(self) -> None:
        for center in ("same_city", "remote"):
            release(
                self.store(center),
                self.trusted,
                self.release_signers[center],
                lambda found: [found[-1].id] if found else [],
                clock=self.clock,
                grace_s=GRACE_S,
            )

    # What must hold, seen in the bare stores.

    @property
    def repository(self) -> str:
        """The digest of config."""
        return hashlib.sha256(self.stores["production"].get(names.CONFIG, size_max=1 << 20)).hexdigest()

    def log(self, center: str) -> Log:
        """Every commit that a center has."""
        return read_log(self.stores[center], self.trusted, after=START)

    def check(self, center: str, scope: Scope = Scope.STRUCTURE) -> CheckReport:
        """Our own checker on one center."""
        assert self.suite is not None
        suite = self.suite.clone()
        return check(Repository(self.stores[center], suite), clock=self.clock, scope=scope, workers=0)

    def assert_valid(self, centers: Iterable[str] = CENTERS, scope: Scope = Scope.STRUCTURE) -> None:
        """Each center is a valid repository, and remote is older than the others or equal, and nothing else."""
        for center in centers:
            if self.suite is None or not any(self.stores[center].list(names.CONFIG)):
                continue
            report = self.check(center, scope)
            assert not report.errors_count, f"{center}: {report.problems[:3]}"
            has_snapshots = any(self.stores[center].list(names.SNAPSHOTS))
            assert not has_snapshots or not report.gaps, f"{center}: {report.gaps}"
        self.assert_remote_older()

    def assert_remote_older(self) -> None:
        """What remote shows was committed near, and its log is a beginning of theirs."""
        joint = union([self.log("production"), self.log("same_city")])
        remote = self.log("remote")
        assert not remote.flaws, remote.flaws
        assert remote.digests <= joint.digests
        committed = {entry.commit.snapshot.name for entry in joint.entries if entry.commit.snapshot}
        shown = {info.name for info in self.stores["remote"].list(names.SNAPSHOTS)}
        assert shown <= committed, f"remote shows {shown - committed}"

    def assert_receipts_true(self) -> None:
        for receipt in self.receipts:
            self.assert_receipt_true(receipt)

    def assert_receipt_true(self, receipt: Receipt) -> None:
        """What the receipt names is in the centers it names: the commit, and all that it and those before it added.

        What was released by a later commit may be gone, at production at once and elsewhere when that center said so.
        """
        assert receipt.held_by, receipt
        for center in receipt.held_by:
            store = self.stores[center]
            log = self.log(center)
            assert receipt.digest in log.digests, f"{center} has no commit {receipt.number}"
            named = named_objects(store, log)
            gone = named.released if center == "production" else released_here(store, self.trusted, self.repository)
            objects = store._objects
            for entry in log.entries:
                if entry.number > receipt.number:
                    continue
                for name, size_bytes in entry.commit.added.names:
                    if name in gone:
                        continue
                    assert name in objects, f"{center}: receipt {receipt.number} names {name}, which is not there"
                    data = objects[name].data
                    assert len(data) == size_bytes and hashlib.sha256(data).hexdigest() == names.digest_of(name)

    def assert_finished(self) -> None:
        """The story is over and nothing is missing: logs alike, data whole, restored."""
        assert self.done_count == len(self.STEPS)
        assert self.restored
        self.assert_valid(scope=Scope.ALL_DATA)
        self.assert_receipts_true()
        logs = {center: self.log(center) for center in CENTERS}
        for center, log in logs.items():
            assert not log.flaws, f"{center}: {log.flaws}"
        assert logs["production"].digests == logs["same_city"].digests == logs["remote"].digests


def _copied(store: MemoryStore, clock: FakeClock) -> MemoryStore:
    made = MemoryStore(store.name, clock=clock)
    made._objects = dict(store._objects)
    return made
