"""Writing stops anywhere: what was there before is there still, and the same work can be done again."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable

import pytest

from govsec.clock import Clock
from govsec.crypto.keyfile import KdfParameters
from govsec.errors import GovsecError, ObjectExistsError
from govsec.repo.pack import BlobType
from govsec.repo.packer import Packer
from govsec.repo.repository import Repository, WritableRepository
from govsec.repo.snapshot import Snapshot
from govsec.repo.tree import Node, encode_tree
from govsec.store.api import ObjectStore
from govsec.store.memory import MemoryStore
from govsec.testing.clock import FakeClock
from govsec.testing.faults import FaultKind, Faults, FaultStore, Killed, Moment, sweep

CHEAP = KdfParameters(n=2)
WHEN = "2026-01-01T00:00:00Z"
KINDS = [
    pytest.param(kind, moment, id=f"{kind.value}-{moment.value}")
    for kind in (FaultKind.ERROR, FaultKind.FULL, FaultKind.KILL)
    for moment in Moment
]


def back_up(repository: WritableRepository, clock: Clock, text: bytes) -> None:
    """The whole write path: lock, packs, index, snapshot."""
    with repository.lock(clock):
        packer = Packer(repository.suite)
        blob = hashlib.sha256(text).digest()
        packer.add(BlobType.DATA, blob, text)
        times = {"mtime": WHEN, "atime": WHEN, "ctime": WHEN, "uid": 0, "gid": 0}
        tree = encode_tree([Node(name="f", type="file", size=len(text), content=[blob.hex()], **times)])
        packer.add(BlobType.TREE, hashlib.sha256(tree).digest(), tree)
        packs = packer.flush()
        for pack in packs:
            repository.save_pack(pack)
        repository.save_index([(pack.id, pack.rows) for pack in packs])
        tree_id = hashlib.sha256(tree).hexdigest()
        repository.save_snapshot(Snapshot(time=clock.now(), tree=tree_id, paths=(text.decode(),)))


def texts(store: MemoryStore) -> set[bytes]:
    """The content of every snapshot; each of them must be whole."""
    repository = Repository.open(store, b"right")
    found = set()
    for snapshot in repository.snapshots(strict=True):
        (node,) = repository.load_tree(bytes.fromhex(snapshot.tree)).nodes
        assert node.content is not None
        found.add(b"".join(repository.load_blob(BlobType.DATA, bytes.fromhex(blob)) for blob in node.content))
    repository.load_index(strict=True)
    return found


def run(story: Callable[[ObjectStore], None], store: ObjectStore) -> bool:
    """Whether the story came to its end."""
    with contextlib.suppress(GovsecError, Killed):
        story(store)
        return True
    return False


@pytest.mark.parametrize("is_permanent", [False, True], ids=["once", "for-ever"])
@pytest.mark.parametrize(("kind", "moment"), KINDS)
def test_a_backup_that_stops_anywhere_leaves_a_whole_repository(
    kind: FaultKind, moment: Moment, is_permanent: bool, clock: FakeClock
) -> None:
    stops = 0
    for faults in sweep(kind, moment, is_permanent=is_permanent):
        store = MemoryStore()
        back_up(WritableRepository.initialize(store, b"right", clock, kdf=CHEAP), clock, b"old")
        master = WritableRepository.open(store, b"right")
        faulty = FaultStore(store, faults)
        is_done = run(lambda s, m=master: back_up(WritableRepository(s, m.suite, m.config), clock, b"new"), faulty)
        assert texts(store) - {b"new"} == {b"old"}
        assert not is_done or b"new" in texts(store)
        # The next run goes on; a lock that a killed process left is its own host's and process's, or goes stale.
        clock.advance(31 * 60)
        back_up(master, clock, b"new")
        assert texts(store) == {b"old", b"new"}
        stops += faults.was_reached
    assert stops >= 7


@pytest.mark.parametrize(("kind", "moment"), KINDS)
def test_an_initialisation_that_stops_anywhere_can_be_taken_up(
    kind: FaultKind, moment: Moment, clock: FakeClock
) -> None:
    stops = 0
    for faults in sweep(kind, moment, is_permanent=True):
        store = MemoryStore()

        def begin(target: ObjectStore) -> None:
            WritableRepository.initialize(target, b"right", clock, kdf=CHEAP)

        run(begin, FaultStore(store, faults))
        # Stopped after its last effect, it is there already.
        with contextlib.suppress(ObjectExistsError):
            begin(store)
        back_up(WritableRepository.open(store, b"right"), clock, b"new")
        assert texts(store) == {b"new"}
        stops += faults.was_reached
    assert stops >= 3


def test_a_store_that_lies_about_a_pack_is_found_out_on_reading(clock: FakeClock) -> None:
    store = MemoryStore()
    repository = WritableRepository.initialize(store, b"right", clock, kdf=CHEAP)
    # Puts: the lock, then the two packs.
    faults = Faults(2, FaultKind.LIE)
    back_up(WritableRepository(FaultStore(store, faults), repository.suite, repository.config), clock, b"new")
    faults.assert_injected()
    with pytest.raises(GovsecError, match="data/"):
        texts(store)
