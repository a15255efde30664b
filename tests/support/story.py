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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from govsec.assemble.centers import adopt, commit_result
from govsec.backup.archive import archive
from govsec.backup.restore import restore
from govsec.backup.sources import FileSource
from govsec.backup.witness import PREFIX, observe, save_witness
from govsec.centers import names
from govsec.centers.init import initialise
from govsec.centers.log import START, Log, named_objects, read_log, union
from govsec.centers.near import Change, Near, Receipt
from govsec.centers.release import release
from govsec.centers.releases import released_here
from govsec.centers.ship import ship
from govsec.centers.state import States
from govsec.config import Mode
from govsec.crypto.api import Suite
from govsec.crypto.keyfile import KdfParameters
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import GovsecError, IntegrityError, StoreUnavailableError
from govsec.repo.check import CheckReport, Scope, check
from govsec.repo.prune import prune
from govsec.repo.pruneplan import PrunePolicy
from govsec.repo.repository import Repository, WritableRepository
from govsec.store.api import ObjectInfo, ObjectStore, ReadStore
from govsec.store.memory import MemoryStore
from govsec.testing.clock import FakeClock
from govsec.testing.faults import Faults, FaultStore, Killed, no_faults

PASSWORD = b"story"
#: The cheapest there is: a story opens its repository a dozen times.
KDF = KdfParameters(n=2, r=1, p=1)
GRACE_S = 86400.0
_HOUR_S = 3600.0
_REMEMBERED = 12
_COMMITTED = (names.PACKS, names.INDEXES, names.SNAPSHOTS, names.WITNESSES)
R = TypeVar("R")
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
            found[relative] = (
                kind,
                stat.S_IMODE(status.st_mode),
                owner,
                status.st_mtime_ns,
                what,
                min(first, relative),
            )
    return found


def write_tree(root: Path, *, day: int) -> None:
    """A small tree with odd names, a hard link, symlinks, a hole and an empty directory, as it is on the first or a
    later day. Contents and times do not depend on what was there before; a nonce that was planted is left.
    """
    top = os.fsencode(root)
    contents = {
        b"plain": b"one\n",
        b"a/b/deep": b"two" * 5000,
        "文件夹/证照.txt".encode(): "电子证照\n".encode() * 40,
        b"bytes-\xff\xfe": bytes(range(256)),
        b'new\nline and "quote"': b"odd",
        b"gone tomorrow": b"",
        b"dense": _DENSE,
        b"a/same-as-dense": _DENSE,
    }
    if day > 1:
        del contents[b"gone tomorrow"]
        contents |= {b"a/b/deep": b"changed" * 3000, b"new": b"new" * 1000, b"a/b/new": os.fsencode("新")}
    for directory in (b"", b"a", b"a/b", "文件夹".encode(), b"empty"):
        os.makedirs(os.path.join(top, directory), exist_ok=True)
    for name in (b"gone tomorrow", b"new", b"a/b/new", b"a/link-to-plain", b"dangling"):
        path = os.path.join(top, name)
        if os.path.lexists(path):
            os.unlink(path)
    for name, data in contents.items():
        with open(os.path.join(top, name), "wb") as file:
            file.write(data)
    with open(os.path.join(top, b"sparse"), "wb") as file:
        file.truncate(200_000)
    os.link(os.path.join(top, b"plain"), os.path.join(top, b"a/link-to-plain"))
    os.symlink(b"a/nowhere", os.path.join(top, b"dangling"))
    os.chmod(os.path.join(top, b"a/b/deep"), 0o640)
    for position, path in enumerate([*contents, b"sparse", b"dangling", b"a/b", b"a", "文件夹".encode(), b"empty"]):
        moment = 1_700_000_000_000_000_007 + position * 1_000_000_000 + (day > 1) * (path == b"a/b/deep")
        os.utime(os.path.join(top, path), ns=(moment, moment), follow_symlinks=False)


_DENSE = b"".join(hashlib.sha256(bytes([n % 256, n // 256])).digest() for n in range(2500))


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


class _Memory:
    """Remembers what was found out about a few sets of objects, each the same to the byte when it is met again."""

    def __init__(self) -> None:
        self._known: dict[str, list[tuple[dict[str, bytes], object]]] = {}

    def recall(self, key: str, objects: dict[str, bytes], find_out: Callable[[], R]) -> R:
        known = self._known.setdefault(key, [])
        for position, (seen, outcome) in enumerate(known):
            if seen == objects:
                known.insert(0, known.pop(position))
                return outcome  # type: ignore[return-value]  # what is kept under a key was made by the same function
        made = find_out()
        known.insert(0, (objects, made))
        del known[_REMEMBERED:]
        return made


@dataclass
class Story:
    """One system, its three centers, its operators. Steps change ``source`` and restore into ``scratch``."""

    source: Path
    scratch: Path
    mode: Mode = Mode.MAXIMUM_AVAILABILITY
    clock: FakeClock = field(default_factory=FakeClock)
    faults: Faults = field(default_factory=no_faults)
    done_count: int = 0
    receipts: list[Receipt] = field(default_factory=list)
    #: What the newest backup saw.
    expected: dict[bytes, tuple[object, ...]] = field(default_factory=dict)
    is_restored: bool = False
    #: Whether each receipt is compared with the stores when it is given; a store that lies makes it wrong.
    check_receipts: bool = True

    def __post_init__(self) -> None:
        self.commit_signer = Signer(Purpose.COMMIT, b"c" * 32)
        self.release_signers = {name: Signer(Purpose.RELEASE, name[:1].encode() * 32) for name in CENTERS}
        keys = [self.commit_signer.public("production")]
        self.trusted = TrustedKeys([*keys, *(signer.public(name) for name, signer in self.release_signers.items())])
        self.stores = {name: MemoryStore(name, clock=self.clock) for name in CENTERS}
        self.states = States(self.clock)
        self._suite: Suite | None = None
        self._memory = _Memory()

    # The steps. Each may be cut off at any call and is then begun again from its first line.

    def initialize(self) -> None:
        """The repository at production; what commits do not carry (config, keys) given to the other two."""

        def create(store: ObjectStore) -> None:
            WritableRepository.initialize(store, PASSWORD, self.clock, kdf=KDF, hostname="host", username="root")

        report = initialise(self.store("production"), [self.store("same_city"), self.store("remote")], create)
        if report.not_reached:
            raise StoreUnavailableError(f"init: {report.not_reached}")

    def back_up_first(self) -> None:
        write_tree(self.source, day=1)
        self._back_up()

    def ship_first(self) -> None:
        self._ship()

    def back_up_second(self) -> None:
        write_tree(self.source, day=2)
        self._back_up()

    def ship_second(self) -> None:
        self._ship()

    def forget(self) -> None:
        """Production lets go of everything but the newest snapshot: said in a commit first, then removed."""
        near = self.near()
        near.resync()
        repository = self.open(near)
        *old, _ = repository.snapshots(strict=True)
        named = [
            (names.SNAPSHOTS + snapshot.id, near.head(names.SNAPSHOTS + snapshot.id).size_bytes) for snapshot in old
        ]
        if named:
            self._commit(near, Change(released=named))
            for name, _ in named:
                near.delete(name)

    def prune(self) -> None:
        """Phase one at production, and phase two of what an earlier run let go when its grace is over."""
        near = self.near()
        near.resync()

        def commit(added: Sequence[ObjectInfo], released: Sequence[ObjectInfo]) -> None:
            self._commit(near, Change(objects=added, released=[(info.name, info.size_bytes) for info in released]))

        grace = timedelta(seconds=GRACE_S)
        policy = PrunePolicy(unused_max=0)
        prune(self.open(near), clock=self.clock, grace=grace, policy=policy, own=near.production, commit=commit)

    def back_up_third(self) -> None:
        """Nothing changed. Its commit comes after the release, so it needs nothing of what was released."""
        write_tree(self.source, day=2)
        self._back_up()

    def forget_again(self) -> None:
        self.forget()

    def ship_third(self) -> None:
        self._ship()

    def let_go_marks(self) -> None:
        """Same-city and remote mark what their own retention no longer keeps."""
        self._let_go()

    def back_up_after_grace(self) -> None:
        self.clock.advance(2 * GRACE_S)
        write_tree(self.source, day=2)
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
        assert describe(target) == self.expected, "restored from remote, and not what was backed up"
        self.is_restored = True

    STEPS = (
        initialize,
        back_up_first,
        ship_first,
        back_up_second,
        ship_second,
        forget,
        prune,
        back_up_third,
        forget_again,
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

    def run_with(self, faults: Faults, until: int | None = None) -> BaseException | None:
        """Run until ``until`` or until a fault ends it; what ended it. What is neither ours nor a kill is raised."""
        self.faults = faults
        try:
            self.run(until)
        except (GovsecError, Killed) as error:
            return error
        finally:
            self.faults = no_faults()
        return None

    def run_next(self) -> None:
        """The next run, an hour later, on stores that work: all that is left of the story, and one round more."""
        self.clock.advance(_HOUR_S)
        self.run()
        self.near().resync()
        self._ship()

    def run_short_end(self, step: int, *, restores: bool = True) -> None:
        """The next run of one step, a round of shipping, and the loss of two centers."""
        self.clock.advance(_HOUR_S)
        self.run(until=step)
        if self.done_count > 1:
            self.near().resync()
            self._ship()
            if restores:
                self.restore_from_remote()

    def fork(self) -> Story:
        """The same story at the same moment, to be told on differently."""
        other = copy.copy(self)
        other.clock = FakeClock(self.clock.now())
        other.receipts = list(self.receipts)
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
        adopted = adopt(near, repository)
        for receipt in adopted.receipts:
            self._take(receipt)
        assert not adopted.refused, adopted.refused
        source = FileSource([self.source])
        seen = observe(source, clock=self.clock, samples_count=2, choose=lambda below: below - 1)
        result = archive(repository, source, clock=self.clock, hostname="host", workers=0)
        assert result.is_complete, result.problems
        self.expected = describe(self.source)
        witness = save_witness(near, repository.suite, seen.confirm(result.snapshot_id))
        self._take(commit_result(near, result, witness=witness.name.removeprefix(PREFIX)))

    def _commit(self, near: Near, change: Change) -> None:
        self._take(near.commit(change))

    def _take(self, receipt: Receipt) -> None:
        self.receipts.append(receipt)
        if self.check_receipts:
            self.assert_receipt_true(receipt)

    def _ship(self) -> None:
        if self.mode is Mode.MAXIMUM_PERFORMANCE:
            # Production alone acknowledges; same-city follows by pulling, as remote does.
            ship(self.store("production"), self.store("same_city"), self.trusted, clock=self.clock, threads=0)
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

    def log(self, center: str) -> Log:
        """Every commit that a center has."""
        commits = self.objects(center, names.COMMITS)
        return self._memory.recall(
            f"log {center}", commits, lambda: read_log(self.stores[center], self.trusted, after=START)
        )

    def objects(self, center: str, *prefixes: str) -> dict[str, bytes]:
        """What is in a center now, below some prefixes."""
        stored = self.stores[center]._objects
        return {name: found.data for name, found in stored.items() if name.startswith(prefixes)}

    def state_of(self, center: str, *prefixes: str) -> str:
        """The digest of what is in a center below some prefixes, names and bytes."""
        found = sorted((name, _digest(data)) for name, data in self.objects(center, *prefixes).items())
        return hashlib.sha256(repr(found).encode()).hexdigest()

    def state(self) -> str:
        """The digest of all that the next run goes on from. Reasons of failures are words, and decide nothing."""
        known = {name: state.model_copy(update={"reason": ""}) for name, state in self.states.all().items()}
        receipts = [(receipt.digest, receipt.held_by) for receipt in self.receipts]
        parts = (self.done_count, self.clock.now(), sorted(known.items()), receipts)
        return hashlib.sha256(repr((parts, [self.state_of(center, "") for center in CENTERS])).encode()).hexdigest()

    def check(self, center: str, scope: Scope = Scope.STRUCTURE) -> CheckReport:
        """Our own checker on one center."""
        if self._suite is None:
            self._suite = Repository.open(self.stores[center], PASSWORD).suite
        repository = Repository(self.stores[center], self._suite.clone())
        seen = self.objects(center, "config", "data/", "index/", "snapshots/")
        return self._memory.recall(
            f"{scope}", seen, lambda: check(repository, clock=self.clock, scope=scope, workers=0)
        )

    def assert_valid(self, centers: Iterable[str] = CENTERS, scope: Scope = Scope.STRUCTURE) -> None:
        """Each center is a valid repository, and remote is older than the others or equal, and nothing else."""
        for center in centers:
            if not any(self.stores[center].list(names.CONFIG)):
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
        """What each receipt names is in the centers it names: the commit, and all that it and those before it added.

        What a later commit released may be gone: at production at once, elsewhere when that center itself said so.
        """
        for receipt in self.receipts:
            self.assert_receipt_true(receipt)

    def assert_receipt_true(self, receipt: Receipt) -> None:
        """The same of one receipt."""
        assert receipt.held_by, receipt
        for center in receipt.held_by:
            log = self.log(center)
            assert receipt.digest in log.digests, f"{center} has no commit {receipt.number}"
            gone = self._gone(center)
            held = self.objects(center, *_COMMITTED)
            for entry in log.entries:
                for name, size_bytes in entry.commit.added.names:
                    if entry.number > receipt.number or name in gone:
                        continue
                    assert name in held, f"{center}: receipt {receipt.number} names {name}, which is not there"
                    assert len(held[name]) == size_bytes, f"{center}: {name} has another size"
                    assert _digest(held[name]) == names.digest_of(name), f"{center}: {name} is not what its name says"

    def _gone(self, center: str) -> frozenset[str]:
        store = self.stores[center]
        if center == "production":
            # A release may have reached same-city alone; production is told by the next run.
            logs = [(self.stores[name], self.log(name)) for name in ("production", "same_city")]
            return frozenset().union(*(named_objects(log, store).released for store, log in logs))
        releases = self.objects(center, names.RELEASED)
        repository = _digest(self.objects(center, names.CONFIG)[names.CONFIG])
        return self._memory.recall(f"gone {center}", releases, lambda: released_here(store, self.trusted, repository))

    def assert_finished(self) -> None:
        """The story is over and nothing is missing: logs alike, data whole, restored, and the old packs are gone."""
        assert self.done_count == len(self.STEPS)
        assert self.is_restored
        self.assert_valid(scope=Scope.ALL_DATA)
        self.assert_receipts_true()
        logs = [self.log(center) for center in CENTERS]
        for log in logs:
            assert not log.flaws, log.flaws
            assert log.digests == logs[0].digests
        released = named_objects(logs[0], self.stores["production"]).released
        assert any(name.startswith(names.PACKS) for name in released)
        for center in CENTERS:
            left = {name for name in released if name.startswith(names.PACKS)} & self.objects(center).keys()
            assert not left, f"{center} still has {left}"


@lru_cache(maxsize=4096)
def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _copied(store: MemoryStore, clock: FakeClock) -> MemoryStore:
    made = MemoryStore(store.name, clock=clock)
    made._objects = dict(store._objects)
    return made
