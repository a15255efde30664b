"""What a snapshot needs, seen with the repository's key: the ground for giving commits to snapshots that have none.

A center is valid only if every index there names packs that are there. So the closure of a snapshot is: the packs of
all blobs that its trees reach, every index that names one of these packs, all packs of these indexes, and itself.
"""

from __future__ import annotations

from collections.abc import Iterable

from govsec.centers import names
from govsec.centers.commits import SnapshotRef
from govsec.centers.copying import Named
from govsec.centers.near import Closure
from govsec.errors import IntegrityError
from govsec.repo.indexfile import decode_index
from govsec.repo.layout import Kind, pack_name
from govsec.repo.pack import BlobType
from govsec.repo.repository import Repository


class RepositoryKeyHolder:
    """A ``KeyHolder`` (see ``near``) over an open repository. Its own index is loaded at the first closure."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._members: dict[str, list[bytes]] | None = None

    def closure(self, snapshot_id: str) -> Closure:
        """What the snapshot needs."""
        repository = self._repository
        if self._members is None:
            found = repository.index_files()
            self._members = {index_id: [pack_id for pack_id, _ in packs] for index_id, packs in found}
            repository.load_index()
        snapshot = repository.load_snapshot(snapshot_id)
        packs = _packs_of_trees(repository, [snapshot.tree])
        named_by = [index_id for index_id, members in self._members.items() if not packs.isdisjoint(members)]
        for index_id in named_by:
            packs.update(self._members[index_id])
        wanted = [pack_name(pack_id) for pack_id in packs]
        wanted += [names.INDEXES + index_id for index_id in named_by]
        wanted.append(names.SNAPSHOTS + snapshot_id)
        return Closure(SnapshotRef(id=snapshot_id, time=snapshot.time), self._sized(wanted))

    def packs_of(self, index_id: str) -> list[Named]:
        """The packs that the index names."""
        packs = decode_index(self._repository.load_unpacked(Kind.INDEX, index_id))
        return self._sized(pack_name(pack_id) for pack_id, _ in packs)

    def _sized(self, wanted: Iterable[str]) -> list[Named]:
        return [(name, self._repository.store.head(name).size_bytes) for name in wanted]


def needed_names(key_holder: RepositoryKeyHolder, snapshot_ids: Iterable[str]) -> frozenset[str]:
    """Everything that any of the snapshots needs; what ``release`` may not let go."""
    return frozenset(name for snapshot_id in snapshot_ids for name, _ in key_holder.closure(snapshot_id).objects)


def _packs_of_trees(repository: Repository, roots: Iterable[str]) -> set[bytes]:
    packs: set[bytes] = set()
    seen: set[str] = set()
    queue = list(roots)
    while queue:
        tree_id = queue.pop()
        if tree_id in seen:
            continue
        seen.add(tree_id)
        packs.add(_pack_of(repository, BlobType.TREE, tree_id))
        for node in repository.load_tree(bytes.fromhex(tree_id)).nodes:
            if node.subtree is not None:
                queue.append(node.subtree)
            packs.update(_pack_of(repository, BlobType.DATA, blob_id) for blob_id in node.content or ())
    return packs


def _pack_of(repository: Repository, blob_type: BlobType, blob_id: str) -> bytes:
    try:
        places = repository.index.find(blob_type, bytes.fromhex(blob_id))
    except ValueError as error:
        raise IntegrityError(f"not the id of a blob: {blob_id[:80]!r}") from error
    if not places:
        raise IntegrityError(f"{blob_type.label} blob {blob_id}: no index names it")
    return places[0].pack
