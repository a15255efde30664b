"""A repository: read it with :class:`Repository`, which holds a ``ReadStore`` only; add to it with the writing one.

Order is what makes it safe without transactions. Writing goes packs, index, snapshot; reading
(:mod:`govsec.repo.reader`) the other way; removing (:mod:`govsec.repo.prune`) takes things out of the index first.

Nothing is stored that was not opened again: packs see to it themselves (:mod:`govsec.repo.packer`), indexes and
snapshots here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Self

from govsec.clock import Clock
from govsec.crypto.api import Suite
from govsec.crypto.keyfile import KdfParameters
from govsec.crypto.restic import MasterKey, ResticSuite
from govsec.errors import IntegrityError, ObjectExistsError, RefusedError
from govsec.repo.codec import LEVEL_DEFAULT, Codec
from govsec.repo.indexfile import PackRows, encode_index, split_for_files
from govsec.repo.indexlayers import grown
from govsec.repo.keys import add_key, find_master_key
from govsec.repo.layout import CONFIG, Kind, object_name, pack_name
from govsec.repo.lock import HeldLock, hold_lock
from govsec.repo.packer import FinishedPack
from govsec.repo.reader import Repository, Unreadable
from govsec.repo.settings import RepositoryConfig, encode_config, new_config
from govsec.repo.snapshot import Snapshot, encode_snapshot
from govsec.store.api import ObjectInfo, ObjectStore, ReadStore

__all__ = ["Repository", "Unreadable", "WritableRepository"]

#: What no store holds in which an initialisation was cut off.
_CONTENT = (Kind.PACK.prefix, Kind.INDEX.prefix, Kind.SNAPSHOT.prefix)


class WritableRepository(Repository):
    """Reads a repository and adds to it. Nothing here removes anything but locks."""

    def __init__(
        self,
        store: ObjectStore,
        suite: Suite,
        config: RepositoryConfig | None = None,
        *,
        key_id: str = "",
        fallbacks: Sequence[ReadStore] = (),
        level: int = LEVEL_DEFAULT,
    ) -> None:
        super().__init__(store, suite, config, key_id=key_id, fallbacks=fallbacks)
        if self.config.version == 1:
            raise RefusedError(f"{store.name}: a repository of version 1 is read only; `restic migrate` makes it 2")
        self._object_store = store
        self._codec = Codec(level)

    @classmethod
    def initialize(
        cls,
        store: ObjectStore,
        password: bytes,
        clock: Clock,
        *,
        hostname: str | None = None,
        username: str | None = None,
        kdf: KdfParameters | None = None,
    ) -> Self:
        """A new repository in an empty store. One that was cut off is taken up: its key is there, its config is not.

        Raises:
            ObjectExistsError: there is a repository already, or the rest of one.
            WrongPasswordError: it was cut off, and was begun with another password.
        """
        if any(True for kind in (CONFIG, *_CONTENT) for _ in store.list(kind)):
            raise ObjectExistsError(f"{store.name}: there is a repository already")
        if any(True for _ in store.list(Kind.KEY.prefix)):
            # Not removed: it may be the last key of a repository that lost its config.
            master, key_id = find_master_key(store, password)
            suite = ResticSuite(master)
        else:
            suite = ResticSuite(MasterKey.generate())
            # The key goes first: a repository is there when its config is, and then somebody can open it.
            key_id = add_key(store, suite.master, password, clock, hostname=hostname, username=username, kdf=kdf)
        config = new_config()
        store.put(CONFIG, _sealed(suite, encode_config(config)), if_absent=True)
        return cls(store, suite, config, key_id=key_id)

    @property
    def object_store(self) -> ObjectStore:
        """The store, for writing."""
        return self._object_store

    def _index_ids(self) -> list[str]:
        # A writer must not count on blobs that only another center holds.
        return self.object_ids(Kind.INDEX)

    def save_pack(self, pack: FinishedPack) -> ObjectInfo:
        """Store a pack. Its blobs count for nothing until an index names them."""
        return self._object_store.put(pack_name(pack.id), pack.data)

    def save_index(self, packs: Iterable[PackRows]) -> list[ObjectInfo]:
        """Store index files that name these packs, each pack wholly in one of them. The packs are stored before."""
        return [self.save_unpacked(Kind.INDEX, encode_index(group)) for group in split_for_files(packs)]

    def grow_index(self, packs: Sequence[PackRows]) -> None:
        """Know the blobs of packs that an index in the store names, without reading the index files again.

        Clones that were made before keep the index they have. Raises ``LimitError`` as :meth:`load_index`.
        """
        self._index = grown(self.index, packs)

    def save_snapshot(self, snapshot: Snapshot) -> tuple[Snapshot, ObjectInfo]:
        """Store a snapshot, with its id then; its packs and index are stored before."""
        info = self.save_unpacked(Kind.SNAPSHOT, encode_snapshot(snapshot))
        return replace(snapshot, id=info.name.rpartition("/")[2]), info

    def save_unpacked(self, kind: Kind, json: bytes) -> ObjectInfo:
        """Seal, open again, compare, and store the JSON of an index or a snapshot."""
        packed = self._codec.pack_json(json)
        sealed = _sealed(self._suite, packed)
        if self._codec.unpack_json(packed, len(json)) != json:
            raise IntegrityError(f"{kind.value}: compressing changed the content; it was not stored")
        return self._object_store.put(object_name(kind, hashlib.sha256(sealed).hexdigest()), sealed)

    def lock(
        self,
        clock: Clock,
        *,
        exclusive: bool = False,
        meanwhile: Callable[[], None] | None = None,
        wait_s: float = 0,
    ) -> AbstractContextManager[HeldLock]:
        """Hold a lock for a ``with`` block; ``meanwhile`` reads while it settles. See :mod:`govsec.repo.lock`."""
        return hold_lock(
            self._object_store, self._suite, clock, exclusive=exclusive, meanwhile=meanwhile, wait_s=wait_s
        )


def _sealed(suite: Suite, plain: bytes) -> bytes:
    sealed = suite.seal(plain)
    if suite.open(sealed) != plain:
        raise IntegrityError("sealing changed the content; it was not stored")
    return sealed
