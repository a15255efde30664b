"""What to remove and what to pack anew, from the index, the listing and what is used. Pure: arrays in, a plan out.

Rules, as restic has them: a pack without a used blob goes. Packs that are only partly used are packed anew, worst
first, until what stays unused is at most ``unused_max`` of what is used; packs of both types, packs with trees that are
not compressed, and small packs when there are ten of them, are packed anew in any case. A blob with several copies is
used once: in the pack that is needed most anyway.

An index file is replaced when it names a pack that goes, or one that another file names as well, or when there are ten
or more small ones, as continuous backups leave them.

Source: restic ``internal/repository/prune.go``, ``decidePackAction``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from govsec.errors import IntegrityError
from govsec.repo.indexfile import BLOBS_A_FILE
from govsec.repo.inventory import Inventory, Numbers
from govsec.repo.layout import MIB

#: restic: 0.8 × the larger of 4 MiB and … ; so many packs of that type must be small before it is worth it.
_SMALL_PACK_SIZE = 8 * 4 * MIB // 10
_SMALL_COUNT_MIN = 10
_SMALL_FILE_BLOBS = BLOBS_A_FILE // 10


@dataclass(frozen=True, slots=True)
class PrunePolicy:
    """How far prune goes. ``repack_max_bytes`` bounds what one run packs anew."""

    unused_max: float = 0.05
    repack_max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """Numbers are positions in ``inventory.index.packs``."""

    #: Packs that hold nothing that is used. Those that are not in the store only leave the index.
    drop: Numbers
    #: Packs whose used blobs are written to new packs.
    repack: Numbers
    #: Packs that stay and whose index entries are written anew.
    relist: Numbers
    #: A byte for each row of the index: 1 for the one copy of each used blob that counts.
    wanted: NDArray[np.uint8]
    #: Index files that the new ones replace.
    index_files: tuple[str, ...]
    used_blobs_count: int
    used_bytes: int
    unused_blobs_count: int
    unused_bytes: int
    #: Unused bytes in packs that stay as they are.
    tolerated_bytes: int
    drop_bytes: int
    repack_bytes: int

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not len(self.drop) and not len(self.repack) and not self.index_files


def plan_prune(inventory: Inventory, used: NDArray[np.uint8], policy: PrunePolicy) -> PrunePlan:
    """The plan for a repository where ``used`` marks a row of each blob that snapshots need.

    Raises:
        IntegrityError: a used blob is in no pack that is there with its right size; heal the repository first.
    """
    index = inventory.index
    count = len(index.packs)
    packs = (index.places[:, 0] >> 1).astype(np.int64)
    lengths = index.places[:, 2].astype(np.int64)
    wanted = _one_copy(inventory, used, packs, lengths)
    is_wanted = wanted.astype(bool)
    used_bytes = np.bincount(packs[is_wanted], weights=lengths[is_wanted], minlength=count).astype(np.int64)
    all_bytes = np.bincount(packs, weights=lengths, minlength=count).astype(np.int64)
    unused_bytes = all_bytes - used_bytes
    is_needed = used_bytes > 0
    drop = np.nonzero(~is_needed)[0]
    repack = _choose_repack(inventory, packs, used_bytes, unused_bytes, policy)
    is_going = ~is_needed
    is_going[repack] = True
    files = _obsolete_files(inventory, is_going)
    named = (
        np.unique(np.concatenate([inventory.files[name].packs for name in files])) if files else np.empty(0, np.int64)
    )
    relist = named[~is_going[named]].astype(np.int64)
    stays = ~is_going
    return PrunePlan(
        drop=drop,
        repack=repack,
        relist=relist,
        wanted=wanted,
        index_files=files,
        used_blobs_count=int(wanted.sum(dtype=np.int64)),
        used_bytes=int(used_bytes.sum()),
        unused_blobs_count=len(index) - int(wanted.sum(dtype=np.int64)),
        unused_bytes=int(unused_bytes.sum()),
        tolerated_bytes=int(unused_bytes[stays].sum()),
        drop_bytes=int(inventory.sizes[drop].clip(min=0).sum()),
        repack_bytes=int(inventory.sizes[repack].sum()),
    )


def _one_copy(inventory: Inventory, used: NDArray[np.uint8], packs: Numbers, lengths: Numbers) -> NDArray[np.uint8]:
    """Of each used blob one row, in a pack that is there."""
    index, is_there = inventory.index, inventory.is_there
    wanted = used.copy()
    # Rows with equal ids lie side by side. Most blobs have one row, and for them nothing changes.
    words = index.ids.view("<u8")
    is_same = words[1:, 0] == words[:-1, 0]
    for column in range(1, 4):
        is_same &= words[1:, column] == words[:-1, column]
    is_shared = np.zeros(len(index), bool)
    is_shared[1:] |= is_same
    is_shared[:-1] |= is_same
    rows = np.nonzero(is_shared)[0]
    if len(rows):
        alone = used.astype(bool) & ~is_shared
        needed_anyway = np.bincount(packs[alone], weights=lengths[alone], minlength=len(index.packs))
        groups = np.concatenate(([0], np.cumsum(~is_same)))[rows] * 2 + (index.places[rows, 0] & 1)
        numbers = packs[rows]
        order = np.lexsort((numbers, -needed_anyway[numbers], ~is_there[numbers], groups))
        rows, groups = rows[order], groups[order]
        is_first = np.concatenate(([True], groups[1:] != groups[:-1]))
        is_used = np.maximum.reduceat(used[rows], np.nonzero(is_first)[0]) > 0
        wanted[rows] = 0
        wanted[rows[is_first][is_used]] = 1
    lost = np.nonzero(wanted.astype(bool) & ~is_there[packs])[0]
    if len(lost):
        first = index.location(int(lost[0]))
        raise IntegrityError(
            f"{len(lost)} blobs that snapshots need are in no pack that is there with its right size; "
            f"heal first, nothing was changed. The first: {first.blob_type.label} {first.blob_id.hex()} in pack "
            f"{first.pack.hex()}"
        )
    return wanted


def _choose_repack(
    inventory: Inventory, packs: Numbers, used_bytes: Numbers, unused_bytes: Numbers, policy: PrunePolicy
) -> Numbers:
    index = inventory.index
    count = len(index.packs)
    is_tree = (index.places[:, 0] & 1) == 1
    trees = np.bincount(packs[is_tree], minlength=count)
    blobs = np.bincount(packs, minlength=count)
    plain_trees = np.bincount(packs[is_tree & (index.places[:, 3] == 0)], minlength=count)
    is_needed = used_bytes > 0
    must = ((trees > 0) & (trees < blobs)) | (plain_trees > 0)
    for is_type in (trees > 0, trees == 0):
        small = is_needed & is_type & (inventory.sizes < _SMALL_PACK_SIZE)
        if np.count_nonzero(small) >= _SMALL_COUNT_MIN:
            must |= small
    candidates = np.nonzero(is_needed & (must | (unused_bytes > 0)))[0]
    ratios = unused_bytes[candidates] / (used_bytes[candidates] + unused_bytes[candidates])
    candidates = candidates[np.lexsort((-ratios, ~must[candidates]))]
    tolerated = policy.unused_max * float(used_bytes.sum())
    remaining = int(unused_bytes[is_needed].sum())
    chosen, spent = [], 0
    for number in candidates.tolist():
        size = int(inventory.sizes[number])
        if policy.repack_max_bytes is not None and spent + size > policy.repack_max_bytes:
            continue
        if must[number] or remaining > tolerated:
            chosen.append(number)
            spent += size
            remaining -= int(unused_bytes[number])
    return np.array(sorted(chosen), np.int64)


def _obsolete_files(inventory: Inventory, is_going: NDArray[np.bool_]) -> tuple[str, ...]:
    blobs = np.diff(inventory.starts)
    times = np.zeros(len(blobs), np.int64)
    for file in inventory.files.values():
        np.add.at(times, file.packs, 1)
    is_obsolete = is_going | (times > 1)
    small = [name for name, file in inventory.files.items() if blobs[file.packs].sum() < _SMALL_FILE_BLOBS]
    obsolete = set(small) if len(small) >= _SMALL_COUNT_MIN else set()
    obsolete.update(name for name, file in inventory.files.items() if is_obsolete[file.packs].any())
    return tuple(sorted(obsolete))
