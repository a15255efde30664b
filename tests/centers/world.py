"""Three centers in memory with a repository that needs no key: what the tests of this room play with.

The repository is a stand-in with restic's names, write order and references, but with its contents in the open: an
index is padding and the JSON list of its packs, a snapshot is padding and the JSON list of the packs it needs. So a
test can ask at every moment whether a center is a valid repository (:func:`assert_valid`) without opening a seal.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from govsec.centers import names
from govsec.centers.commits import SnapshotRef
from govsec.centers.near import Change, Closure, Near, Receipt
from govsec.centers.state import States
from govsec.config import Mode
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import IntegrityError, StoreDeniedError
from govsec.store.api import ObjectInfo, ObjectStore, ReadStore
from govsec.store.memory import MemoryStore
from govsec.testing.clock import FakeClock

PADDING = b"\0" * 40
CONFIG = b"the one config of this system, sealed" + PADDING


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pack(seed: str, size: int = 200) -> tuple[str, bytes]:
    body = (hashlib.sha256(seed.encode()).digest() * (size // 32 + 4))[:size]
    data = body + b"h" * 69 + (69).to_bytes(4, "little")
    return f"data/{digest(data)[:2]}/{digest(data)}", data


def index(packs: Sequence[str]) -> tuple[str, bytes]:
    data = PADDING + json.dumps(sorted(packs)).encode()
    return names.INDEXES + digest(data), data


def snapshot(packs: Sequence[str], time: datetime, seed: str = "") -> tuple[str, bytes]:
    data = PADDING + json.dumps({"packs": sorted(packs), "time": time.isoformat(), "seed": seed}).encode()
    return names.SNAPSHOTS + digest(data), data


def content(store: ReadStore, name: str) -> bytes:
    return store.get(name, size_max=1 << 20)[len(PADDING) :]


def violations(store: ReadStore) -> list[str]:
    """What makes ``store`` no valid repository, as restic's check would see it; empty when it is one."""
    found = []
    infos = {info.name for info in store.list("")}
    for name in sorted(infos):
        expected = names.digest_of(name)
        if expected is not None and digest(store.get(name, size_max=1 << 24)) != expected:
            found.append(f"{name}: not what its name says")
    indexed: set[str] = set()
    for name in (name for name in infos if name.startswith(names.INDEXES)):
        packs = set(json.loads(content(store, name)))
        found += [f"{name}: names {pack}, which is not there" for pack in packs - infos]
        indexed |= packs
    for name in (name for name in infos if name.startswith(names.SNAPSHOTS)):
        needed = set(json.loads(content(store, name))["packs"])
        found += [f"{name}: needs {pack}, which no index names" for pack in needed - indexed]
    return found


def assert_valid(*stores: ReadStore) -> None:
    for store in stores:
        assert violations(store) == [], store.name


def copy_store(source: MemoryStore, clock: FakeClock | None = None) -> MemoryStore:
    """A second store with the same objects."""
    made = MemoryStore(source.name, clock=clock)
    for info in source.list(""):
        made.put(info.name, source.get(info.name, size_max=1 << 24))
    return made


def objects_of(store: ReadStore) -> dict[str, bytes]:
    return {info.name: store.get(info.name, size_max=1 << 24) for info in store.list("")}


def repository_part(store: ReadStore) -> dict[str, bytes]:
    """What stock restic would see."""
    return {name: data for name, data in objects_of(store).items() if not name.startswith(("govsec/", "locks/"))}


class LockedMemoryStore(MemoryStore):
    """Retention and legal holds, as a center's own credential sees them; deleting what is kept is refused."""

    def __init__(self, name: str, *, clock: FakeClock) -> None:
        super().__init__(name, clock=clock)
        self.wall = clock
        self.kept_until: dict[str, datetime] = {}
        self.held: set[str] = set()

    def retain(self, name: str, until: datetime) -> None:
        self.head(name)
        self.kept_until[name] = max(until, self.kept_until.get(name, until))

    def retention(self, name: str) -> datetime | None:
        self.head(name)
        return self.kept_until.get(name)

    def hold(self, name: str, *, is_held: bool) -> None:
        self.head(name)
        (self.held.add if is_held else self.held.discard)(name)

    def delete(self, name: str) -> None:
        if name in self.held or self.kept_until.get(name, self.wall.now()) > self.wall.now():
            raise StoreDeniedError(f"{self.name}: {name} is kept")
        super().delete(name)


@dataclass
class World:
    """Production, same-city and remote of one system, their keys, and a clock."""

    mode: Mode = Mode.MAXIMUM_AVAILABILITY
    wrap: Callable[[MemoryStore], ObjectStore] = field(default=lambda store: store)
    clock: FakeClock = field(default_factory=FakeClock)
    commit_signer: Signer = field(default_factory=lambda: Signer(Purpose.COMMIT, b"c" * 32))
    release_signer: Signer = field(default_factory=lambda: Signer(Purpose.RELEASE, b"r" * 32))
    backups_count: int = 0
    live_packs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.trusted = TrustedKeys([self.commit_signer.public("production"), self.release_signer.public("remote")])
        self.production = MemoryStore("production", clock=self.clock)
        self.same_city = MemoryStore("same_city", clock=self.clock)
        self.remote = MemoryStore("remote", clock=self.clock)
        for store in self.stores:
            store.put(names.CONFIG, CONFIG)
            store.put(*_key_file())
        self.states = States(self.clock)
        self.repository = digest(CONFIG)

    @property
    def stores(self) -> tuple[MemoryStore, MemoryStore, MemoryStore]:
        return self.production, self.same_city, self.remote

    def near(self, *, wrap: Callable[[MemoryStore], ObjectStore] | None = None, mode: Mode | None = None) -> Near:
        wrap = wrap or self.wrap
        return Near(
            wrap(self.production),
            wrap(self.same_city),
            mode or self.mode,
            states=self.states,
            signer=self.commit_signer,
            trusted=self.trusted,
            clock=self.clock,
            key_holder=self,
        )

    def packs_of(self, index_id: str) -> list[tuple[str, int]]:
        """What a key holder would read in an index; ``IntegrityError`` when it is none."""
        near = self.near(wrap=lambda store: store)
        try:
            packs = json.loads(content(near, names.INDEXES + index_id))
        except ValueError as error:
            raise IntegrityError(f"{index_id}: not an index") from error
        return [(name, near.head(name).size_bytes) for name in packs]

    def store_backup(self, near: Near, *, packs_count: int = 2, seed: str = "", job: str = "") -> Change:
        """Put packs, an index and a snapshot that also needs every live pack; no commit yet."""
        self.backups_count += 1
        self.clock.advance(10)
        made: list[ObjectInfo] = []
        new = [pack(f"{seed}-{self.backups_count}-{number}") for number in range(packs_count)]
        made += [near.put(name, data) for name, data in new]
        if new:
            made.append(near.put(*index([name for name, _ in new])))
        packs = [*self.live_packs, *(name for name, _ in new)]
        time = self.clock.now()
        name, data = snapshot(packs, time, f"{seed}{self.backups_count}")
        made.append(near.put(name, data))
        self.live_packs = packs
        return Change(made, SnapshotRef(id=name.removeprefix(names.SNAPSHOTS), time=time, job=job))

    def backup(self, near: Near | None = None, *, packs_count: int = 2, seed: str = "", job: str = "") -> Receipt:
        near = near or self.near()
        return near.commit(self.store_backup(near, packs_count=packs_count, seed=seed, job=job))

    def closure(self, snapshot_id: str) -> Closure:
        """What a key holder would find: packs, every index that names one, the packs of these, the snapshot."""
        near = self.near(wrap=lambda store: store)
        name = names.SNAPSHOTS + snapshot_id
        fields = json.loads(content(near, name))
        wanted = set(fields["packs"])
        indexes = []
        for info in near.list(names.INDEXES):
            packs = set(json.loads(content(near, info.name)))
            if packs & wanted:
                indexes.append(info.name)
                wanted |= packs
        objects = [(item, near.head(item).size_bytes) for item in (*sorted(wanted), *indexes, name)]
        return Closure(SnapshotRef(id=snapshot_id, time=datetime.fromisoformat(fields["time"])), objects)


def _key_file() -> tuple[str, bytes]:
    data = b'{"kdf":"scrypt"}'
    return names.KEYS + digest(data), data
