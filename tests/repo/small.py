"""Small repositories, written blob by blob: what the tests of check, prune and keys work on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import timedelta

from govsec.clock import Clock
from govsec.crypto.keyfile import KdfParameters
from govsec.repo.layout import Kind, object_name
from govsec.repo.pack import BlobType
from govsec.repo.packer import FinishedPack, Packer
from govsec.repo.repository import WritableRepository
from govsec.repo.snapshot import Snapshot
from govsec.repo.tree import Node, encode_tree, go_mode, quote
from govsec.store.api import ObjectStore
from govsec.store.memory import MemoryStore
from govsec.testing.clock import FakeClock

PASSWORD = b"correct horse battery staple"
FAST_KDF = KdfParameters(n=16, r=1, p=1)
_TIME = "2026-01-01T00:00:00Z"

Files = Mapping[str, "bytes | Files"]


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def new_repository(
    store: ObjectStore | None = None, clock: Clock | None = None, *, kdf: KdfParameters = FAST_KDF
) -> WritableRepository:
    return WritableRepository.initialize(
        MemoryStore() if store is None else store,
        PASSWORD,
        clock or FakeClock(),
        hostname="host",
        username="user",
        kdf=kdf,
    )


def reopened(repository: WritableRepository, store: ObjectStore) -> WritableRepository:
    """The same repository over another store: a copy, or one that fails."""
    return WritableRepository(store, repository.suite.clone(), repository.config, key_id=repository.key_id)


def copied(store: MemoryStore) -> MemoryStore:
    other = MemoryStore(store.name)
    for item in store.list(""):
        other.put(item.name, store.get(item.name, size_max=1 << 30))
    return other


def file_node(name: bytes, blobs: list[bytes], size: int) -> Node:
    return Node(
        name=quote(name),
        type="file",
        mode=0o644,
        mtime=_TIME,
        atime=_TIME,
        ctime=_TIME,
        uid=0,
        gid=0,
        size=size,
        links=1,
        content=[blob.hex() for blob in blobs],
    )


def dir_node(name: bytes, subtree: bytes) -> Node:
    return Node(
        name=quote(name),
        type="dir",
        mode=go_mode(0o40755),
        mtime=_TIME,
        atime=_TIME,
        ctime=_TIME,
        uid=0,
        gid=0,
        subtree=subtree.hex(),
    )


class Writer:
    """Adds blobs, packs, index files and snapshots; blobs that are there already are not stored again."""

    def __init__(self, repository: WritableRepository, *, pack_size: int = 1 << 20, chunk: int = 64 << 10) -> None:
        self.repository = repository
        self._chunk = chunk
        self._known = {(place.blob_type, place.blob_id) for place in repository.load_index().locations()}
        self._packer = Packer(repository.suite, pack_size=pack_size)
        self._finished: list[FinishedPack] = []

    def blob(self, blob_type: BlobType, plain: bytes) -> bytes:
        blob_id = digest(plain)
        if (blob_type, blob_id) not in self._known:
            self._known.add((blob_type, blob_id))
            pack = self._packer.add(blob_type, blob_id, plain)
            self._finished += [pack] if pack else []
        return blob_id

    def tree(self, files: Files) -> bytes:
        nodes = []
        for name in sorted(files, key=lambda text: text.encode()):
            content = files[name]
            if isinstance(content, bytes):
                pieces = [content[at : at + self._chunk] for at in range(0, len(content), self._chunk)]
                nodes.append(file_node(name.encode(), [self.blob(BlobType.DATA, p) for p in pieces], len(content)))
            else:
                nodes.append(dir_node(name.encode(), self.tree(content)))
        return self.blob(BlobType.TREE, encode_tree(nodes))

    def flush(self) -> list[FinishedPack]:
        """Store the packs and one index file."""
        packs = self._finished + self._packer.flush()
        self._finished = []
        for pack in packs:
            self.repository.save_pack(pack)
        self.repository.save_index([(pack.id, pack.rows) for pack in packs])
        return packs

    def snapshot(self, tree: bytes, clock: Clock, **fields: object) -> Snapshot:
        self.flush()
        snapshot = Snapshot(time=clock.now(), tree=tree.hex(), paths=("/data",), hostname="host", **fields)  # type: ignore[arg-type]
        return self.repository.save_snapshot(snapshot)[0]


def back_up(
    repository: WritableRepository, files: Files, clock: Clock, *, pack_size: int = 1 << 20, **fields: object
) -> Snapshot:
    """One snapshot of ``files``: names to contents, or to directories."""
    writer = Writer(repository, pack_size=pack_size)
    return writer.snapshot(writer.tree(files), clock, **fields)


def forget(repository: WritableRepository, snapshot: Snapshot) -> None:
    repository.object_store.delete(object_name(Kind.SNAPSHOT, snapshot.id))


def read_all(repository: WritableRepository, tree: bytes) -> Files:
    """What :func:`back_up` was given, read back blob by blob."""
    found: dict[str, bytes | Files] = {}
    for node in repository.load_tree(tree).nodes:
        if node.subtree is not None:
            found[node.name] = read_all(repository, bytes.fromhex(node.subtree))
        else:
            blobs = [repository.load_blob(BlobType.DATA, bytes.fromhex(blob)) for blob in node.content or []]
            found[node.name] = b"".join(blobs)
    return found


def contents(repository: WritableRepository) -> dict[str, Files]:
    """Every snapshot's files, by its id."""
    repository.load_index()
    return {item.id: read_all(repository, bytes.fromhex(item.tree)) for item in repository.snapshots(strict=True)}


def mutate(store: ObjectStore, name: str, change: Callable[[bytearray], object]) -> None:
    """Damage an object in place."""
    data = bytearray(store.get(name, size_max=1 << 30))
    change(data)
    store.put(name, bytes(data))


def flip(store: ObjectStore, name: str, position: int) -> None:
    """Flip a bit of an object; twice is not at all."""
    mutate(store, name, lambda data: data.__setitem__(position, data[position] ^ 0x10))


def names(store: ObjectStore, prefix: str) -> list[str]:
    return [item.name for item in store.list(prefix)]


GRACE = timedelta(days=7)
