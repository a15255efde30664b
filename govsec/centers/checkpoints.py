"""Checkpoints keep the cost of reading the log bounded: the state after a commit, signed by whoever wrote the commit.

``govsec/checkpoints/<number>-<sha256>``, a signed document of purpose ``commit``::

    format      1
    repository  as in commits
    number      of the commit that it follows
    commit      digest of that commit
    epoch       of that commit
    time        when it was written
    added       every object named up to here: the lists of the checkpoint before, and new ones
    released    those of them that were released
    newest      the newest snapshot named up to here, or null
    jobs        the newest snapshot of each job up to here, in the order of their commits

Lists are shared with the checkpoint before: only what came since is written, and the last list again when it was not
full. Nothing ever leaves the sets, because each center lets go of released objects in its own time and must know them
until then; a released name never comes back.

A checkpoint is only a shortcut. Commits are never removed, and a full verification reads them all from the first on
and compares.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from govsec.centers import names
from govsec.centers.commits import (
    COMMIT_SIZE_MAX,
    LIST_ENTRIES_MAX,
    Digest,
    Entry,
    NameSet,
    SnapshotRef,
    iterate_names,
    parse_body,
    split_names,
)
from govsec.crypto.document import open_document, sign_document
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import FormatError, IntegrityError, ObjectNotFoundError
from govsec.records import Moment
from govsec.store.api import ObjectStore, ReadStore

#: A checkpoint is due when this many commits follow the one before.
COMMITS_BETWEEN = 64
#: Jobs come and go over the years; of more than this the ones that ran last are kept.
_JOBS_MAX = 256


class Checkpoint(BaseModel):
    """The state of the log after one commit."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal[1] = 1
    # A document of the same key and purpose as a commit: this word keeps one from being read as the other.
    kind: Literal["checkpoint"] = "checkpoint"
    repository: Digest
    number: int = Field(ge=1, lt=10**names.NUMBER_DIGITS)
    commit: Digest
    epoch: int = Field(ge=1)
    time: Moment
    added: NameSet
    released: NameSet
    newest: SnapshotRef | None = None
    jobs: tuple[SnapshotRef, ...] = Field(default=(), max_length=_JOBS_MAX)

    @property
    def newest_by_job(self) -> tuple[SnapshotRef, ...]:
        """The newest snapshot of each job, in the order of their commits."""
        return self.jobs or (() if self.newest is None else (self.newest,))


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A checkpoint that was verified, and the object it lies in."""

    checkpoint: Checkpoint
    name: str
    size_bytes: int


def sign_checkpoint(signer: Signer, checkpoint: Checkpoint) -> tuple[str, bytes]:
    """The name and the bytes of the checkpoint's object."""
    data = sign_document(signer, checkpoint.model_dump(mode="json"))
    digest = hashlib.sha256(data).hexdigest()
    return names.numbered(names.CHECKPOINTS, checkpoint.number, digest), data


def open_checkpoint(trusted: TrustedKeys, name: str, data: bytes) -> Checkpoint:
    """The checkpoint that lies under ``name``.

    Raises:
        IntegrityError: the bytes are not what the name says, or not signed by a key pinned for commits.
        FormatError: signed, but not a checkpoint of a version that is known here.
    """
    parsed = names.parse_numbered(name)
    if parsed is None or hashlib.sha256(data).hexdigest() != parsed[1]:
        raise IntegrityError(f"{name[:120]}: the bytes are not what the name says")
    body = open_document(trusted, Purpose.COMMIT, data, size_max=COMMIT_SIZE_MAX)
    checkpoint = parse_body(Checkpoint, name, body)
    if checkpoint.number != parsed[0]:
        raise FormatError(f"{name}: the checkpoint inside has number {checkpoint.number}")
    return checkpoint


def newest_checkpoint(store: ReadStore, trusted: TrustedKeys, repository: str | None) -> StoredCheckpoint | None:
    """The newest genuine checkpoint whose commit is there, or None."""
    for name in sorted((info.name for info in store.list(names.CHECKPOINTS)), reverse=True):
        try:
            data = store.get(name, size_max=COMMIT_SIZE_MAX)
            checkpoint = open_checkpoint(trusted, name, data)
            store.head(names.numbered(names.COMMITS, checkpoint.number, checkpoint.commit))
        except (IntegrityError, ObjectNotFoundError):
            continue  # an older one, or the whole log, says the same; verification reports the damage
        if repository is None or checkpoint.repository == repository:
            return StoredCheckpoint(checkpoint, name, len(data))
    return None


def write_checkpoint(
    store: ReadStore,
    holders: Sequence[ObjectStore],
    previous: Checkpoint | None,
    entries: Sequence[Entry],
    *,
    signer: Signer,
    time: datetime,
) -> None:
    """Store at ``holders`` the checkpoint after ``entries``, all since ``previous``; ``store`` has their lists."""
    last = entries[-1]
    checkpoint, lists = next_checkpoint(
        store,
        previous,
        ((entry.commit.added, entry.commit.released, entry.commit.snapshot) for entry in entries),
        repository=last.commit.repository,
        number=last.number,
        commit=last.digest,
        epoch=last.commit.epoch,
        time=time,
    )
    name, data = sign_checkpoint(signer, checkpoint)
    for holder in holders:
        for list_name, list_data in lists.items():
            holder.put(list_name, list_data)
        holder.put(name, data)


def next_checkpoint(
    store: ReadStore,
    previous: Checkpoint | None,
    commits: Iterable[tuple[NameSet, NameSet, SnapshotRef | None]],
    *,
    repository: str,
    number: int,
    commit: str,
    epoch: int,
    time: datetime,
) -> tuple[Checkpoint, dict[str, bytes]]:
    """The checkpoint after ``commits`` (added, released and snapshot of each since ``previous``), and its new lists."""
    added: dict[str, int] = {}
    released: dict[str, int] = {}
    newest = previous.newest if previous else None
    by_job = {snapshot.job: snapshot for snapshot in (previous.newest_by_job if previous else ())}
    for commit_added, commit_released, snapshot in commits:
        added.update(iterate_names(store, commit_added))
        released.update(iterate_names(store, commit_released))
        newest = snapshot or newest
        if snapshot is not None:
            by_job.pop(snapshot.job, None)  # so that the order stays that of the commits
            by_job[snapshot.job] = snapshot
    added_set, objects = _extended(store, previous.added if previous else NameSet(), added)
    released_set, more = _extended(store, previous.released if previous else NameSet(), released)
    checkpoint = Checkpoint(
        repository=repository,
        number=number,
        commit=commit,
        epoch=epoch,
        time=time,
        added=added_set,
        released=released_set,
        newest=newest,
        jobs=tuple(by_job.values())[-_JOBS_MAX:],
    )
    return checkpoint, {**objects, **more}


def _extended(store: ReadStore, before: NameSet, new: dict[str, int]) -> tuple[NameSet, dict[str, bytes]]:
    kept, joined = before.lists, {**dict(before.names), **new}
    if kept and kept[-1].count < LIST_ENTRIES_MAX // 2:
        last = NameSet(count=kept[-1].count, size_bytes=kept[-1].size_bytes, lists=kept[-1:])
        joined.update(iterate_names(store, last))
        kept = kept[:-1]
    part, objects = split_names(joined.items())
    extended = NameSet(
        count=part.count + sum(ref.count for ref in kept),
        size_bytes=part.size_bytes + sum(ref.size_bytes for ref in kept),
        names=part.names,
        lists=(*kept, *part.lists),
    )
    return extended, objects
