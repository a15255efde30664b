"""What a repository holds, in numbers. Reads index files, snapshots and trees, and lists the packs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from govsec.progress import Progress, ProgressSink, silent
from govsec.repo.inventory import take_inventory
from govsec.repo.layout import Kind, object_name
from govsec.repo.problems import Problems
from govsec.repo.reach import Walker
from govsec.repo.repository import Repository


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts and bytes. Bytes of blobs are plain, bytes of packs as stored."""

    snapshots_count: int
    #: In trees that snapshots need, each tree counted once, however many snapshots share it.
    files_count: int
    files_bytes: int
    data_blobs_count: int
    data_bytes: int
    tree_blobs_count: int
    tree_bytes: int
    unused_blobs_count: int
    #: As stored.
    unused_bytes: int
    packs_count: int
    packs_bytes: int
    unindexed_count: int
    unindexed_bytes: int
    index_files_count: int
    index_memory_bytes: int
    #: Stored bytes of blobs for each plain byte.
    compression: float
    #: Damage that was met on the way; `check` names it.
    problems_count: int


def collect_stats(repository: Repository, *, progress: ProgressSink = silent) -> Stats:
    """The numbers of the repository."""
    problems = Problems()
    snapshots = repository.snapshots()
    inventory = take_inventory(repository, problems)
    walker = Walker(
        repository.store,
        repository.suite,
        inventory.index,
        problems,
        report=lambda count: progress(Progress("trees", done_items=count)),
    )
    reached = walker.walk((object_name(Kind.SNAPSHOT, item.id), item.tree) for item in snapshots)
    places = inventory.index.places
    stored = places[:, 2].astype(np.int64)
    plain = np.where(places[:, 3] > 0, places[:, 3].astype(np.int64), stored - repository.suite.overhead_bytes)
    is_tree = (places[:, 0] & 1) == 1
    is_unused = reached.used == 0
    return Stats(
        snapshots_count=len(snapshots),
        files_count=reached.files_count,
        files_bytes=reached.files_bytes,
        data_blobs_count=int(np.count_nonzero(~is_tree)),
        data_bytes=int(plain[~is_tree].sum()),
        tree_blobs_count=int(np.count_nonzero(is_tree)),
        tree_bytes=int(plain[is_tree].sum()),
        unused_blobs_count=int(np.count_nonzero(is_unused)),
        unused_bytes=int(stored[is_unused].sum()),
        packs_count=len(inventory.index.packs),
        packs_bytes=int(inventory.sizes[inventory.sizes > 0].sum()),
        unindexed_count=len(inventory.unindexed),
        unindexed_bytes=sum(item.size_bytes for item in inventory.unindexed),
        index_files_count=len(inventory.files),
        index_memory_bytes=inventory.index.size_bytes,
        compression=float(stored.sum()) / float(plain.sum()) if len(plain) else 1.0,
        problems_count=problems.errors_count,
    )
