"""What a snapshot needs, seen with the repository's key: the ground for giving commits to snapshots that have none.

A center is valid only if every index there names packs that are there. So the closure of a snapshot is: the packs of
all blobs that its trees reach, every index that names one of these packs, all packs of these indexes, and itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from govsec.centers import names
from govsec.centers.commits import SnapshotRef
from govsec.centers.near import Closure
from govsec.errors import IntegrityError
from govsec.repo.layout import pack_name
from govsec.repo.pack import BlobType
from govsec.repo.repository import Repository


def closures_of(repository: Repository) -> Callable[[str], Closure]:
    """A function that gives the closure of a snapshot by id.

    It raises ``IntegrityError`` or ``ObjectNotFoundError`` when the snapshot is not whole.
    """
    indexes = {index_id: [pack_id for pack_id, _ in packs] for index_id, packs in repository.index_files()}
    sizes = {info.name: info.size_bytes for info in repository.store.list(names.PACKS)}
    repository.load_index()

    def closure(snapshot_id: str) -> Closure:
        snapshot = repository.load_snapshot(snapshot_id)
        packs = _packs_of_trees(repository, [snapshot.tree])
        named_by = [index_id for index_id, members in indexes.items() if not packs.isdisjoint(members)]
        for index_id in named_by:
            packs.update(indexes[index_id])
        lost = [pack_name(pack_id) for pack_id in packs if pack_name(pack_id) not in sizes]
        if lost:
            raise IntegrityError(f"snapshot {snapshot_id}: {len(lost)} packs are not there, first {lost[0]}")
        objects = [(pack_name(pack_id), sizes[pack_name(pack_id)]) for pack_id in packs]
        others = [names.INDEXES + index_id for index_id in named_by] + [names.SNAPSHOTS + snapshot_id]
        objects += [(name, repository.store.head(name).size_bytes) for name in others]
        return Closure(SnapshotRef(id=snapshot_id, time=snapshot.time), objects)

    return closure


def needed_names(closure: Callable[[str], Closure], snapshot_ids: Iterable[str]) -> frozenset[str]:
    """Everything that any of the snapshots needs; what ``release`` may not let go."""
    return frozenset(name for snapshot_id in snapshot_ids for name, _ in closure(snapshot_id).objects)


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
