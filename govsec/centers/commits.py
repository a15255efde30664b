"""One commit of the log: what it says, how it is written down, who may have said it.

A commit is a signed document (:mod:`govsec.crypto.document`, purpose ``commit``) under the name
``govsec/commits/<number>-<sha256 of the document>``. It is signed, not sealed: centers without keys ship, verify, heal
and report by it. Names, sizes, times and counts are visible to whoever reads the store; contents are not.

::

    format      1
    repository  SHA-256 of the object ``config``: a commit of another system is no commit here
    number      1, 2, 3 …; previous + 1, or, for a merge, the largest parent + 1
    previous    digest of the commit before, "" for number 1
    merges      digests of the heads of other branches that end here (two sides wrote while they could not meet)
    epoch       grows with every change of the production side; never falls along the chain
    time        when the writer made the commit; order comes from the numbers, never from here
    snapshot    {id, time, job} or null (the first commit, a release); job is "" for what no configured job made
    witness     digest of the witness or null
    added       objects that this commit adds, see below
    released    objects that production no longer needs; each center lets go of them under its own retention
    mode        the protection mode that was configured
    reached     "synced", or "degraded" when a center that should have held everything did not
    held_by     centers that held every object of this commit, and of all before it, when it was written

``added`` and ``released`` are ``{"count", "size_bytes", "names": [[name, size] …], "lists": [{"digest", "count",
"size_bytes"} …]}``: short ones inline, long ones in lists of at most 10,000 entries under
``govsec/objects/<digest>``, one line ``<name> <size>\\n`` an entry. A backup that adds a million objects has a commit
of a few kilobytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from govsec.centers import names
from govsec.config import Mode, explain
from govsec.crypto.document import open_document, sign_document
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import FormatError, IntegrityError
from govsec.records import Moment
from govsec.store.api import ReadStore

#: More than an inline list and a few hundred list references need; a hostile store cannot fill memory.
COMMIT_SIZE_MAX = 1 << 20
LIST_SIZE_MAX = 4 << 20
LIST_ENTRIES_MAX = 10_000
INLINE_ENTRIES_MAX = 500
_LISTS_MAX = 4096
JOB_LENGTH_MAX = 200
#: Larger than any pack restic or rustic writes.
_OBJECT_SIZE_MAX = 1 << 40

_LINE = re.compile(r"([^ \n]{1,200}) ([0-9]{1,13})")
B = TypeVar("B", bound=BaseModel)
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Body(BaseModel):
    # Strict: JSON from outside is taken literally, "1" is no number. Tuples arrive as lists, which JSON mode allows.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ListRef(_Body):
    """A list of names that lies in an object of its own."""

    digest: Digest
    count: int = Field(gt=0, le=LIST_ENTRIES_MAX)
    size_bytes: int = Field(ge=0)

    @property
    def name(self) -> str:
        """The name of the object that holds the list."""
        return names.LISTS + self.digest


class NameSet(_Body):
    """Names of objects with their sizes: inline, in lists, or both."""

    count: int = Field(default=0, ge=0)
    size_bytes: int = Field(default=0, ge=0)
    names: tuple[tuple[str, Annotated[int, Field(ge=0, le=_OBJECT_SIZE_MAX)]], ...] = Field(
        default=(), max_length=INLINE_ENTRIES_MAX
    )
    lists: tuple[ListRef, ...] = Field(default=(), max_length=_LISTS_MAX)

    @model_validator(mode="after")
    def _consistent(self) -> NameSet:
        for name, _ in self.names:
            if not names.is_committed_kind(name):
                raise ValueError(f"{name[:100]!r} is not a name that a commit may list")
        count = len(self.names) + sum(ref.count for ref in self.lists)
        size_bytes = sum(size for _, size in self.names) + sum(ref.size_bytes for ref in self.lists)
        if (count, size_bytes) != (self.count, self.size_bytes):
            raise ValueError("count or size_bytes is not the sum of the parts")
        return self


class SnapshotRef(_Body):
    """A snapshot by id, with the time that it shows the source at and the configured job that made it."""

    id: Digest
    time: Moment
    job: str = Field(default="", max_length=JOB_LENGTH_MAX)

    @property
    def name(self) -> str:
        """The name of the snapshot's object."""
        return names.SNAPSHOTS + self.id


class Commit(_Body):
    """One entry of the commit log."""

    format: Literal[1] = 1
    repository: Digest
    number: int = Field(ge=1, lt=10**names.NUMBER_DIGITS)
    previous: Digest | Literal[""]
    merges: tuple[Digest, ...] = Field(default=(), max_length=16)
    epoch: int = Field(ge=1)
    time: Moment
    snapshot: SnapshotRef | None = None
    witness: Digest | None = None
    added: NameSet = NameSet()
    released: NameSet = NameSet()
    mode: Mode
    reached: Literal["synced", "degraded"]
    held_by: tuple[str, ...] = Field(min_length=1, max_length=16)

    @property
    def parents(self) -> tuple[str, ...]:
        """Digests of every commit that this one stands on."""
        return (self.previous, *self.merges) if self.previous else self.merges


@dataclass(frozen=True, slots=True)
class Entry:
    """A commit whose signature, digest and name were verified."""

    commit: Commit
    digest: str

    @property
    def number(self) -> int:
        return self.commit.number

    @property
    def name(self) -> str:
        """The name of the commit's object."""
        return names.numbered(names.COMMITS, self.commit.number, self.digest)


def sign_commit(signer: Signer, commit: Commit) -> tuple[Entry, bytes]:
    """The commit as an entry, and the bytes that are stored under the entry's name."""
    data = sign_document(signer, commit.model_dump(mode="json"))
    return Entry(commit, hashlib.sha256(data).hexdigest()), data


def open_commit(trusted: TrustedKeys, name: str, data: bytes) -> Entry:
    """The commit that lies under ``name``.

    Raises:
        IntegrityError: the bytes are not what the name says, or not signed by a key pinned for commits.
        FormatError: signed, but not a commit of a version that is known here.
    """
    parsed = names.parse_numbered(name)
    digest = hashlib.sha256(data).hexdigest()
    if parsed is None or not name.startswith(names.COMMITS) or digest != parsed[1]:
        raise IntegrityError(f"{name[:120]}: the bytes are not what the name says")
    commit = parse_body(Commit, name, open_document(trusted, Purpose.COMMIT, data, size_max=COMMIT_SIZE_MAX))
    if commit.number != parsed[0]:
        raise FormatError(f"{name}: the commit inside has number {commit.number}")
    return Entry(commit, digest)


def parse_body(model: type[B], name: str, body: dict[str, object]) -> B:
    """``body`` as ``model``. Raises ``FormatError`` with what is wrong with it."""
    try:
        return model.model_validate_json(json.dumps(body))
    except ValidationError as error:
        raise FormatError(f"{name}: {explain(error)}") from error


def split_names(entries: Iterable[tuple[str, int]]) -> tuple[NameSet, dict[str, bytes]]:
    """The set of names, in write order, and the lists that must be stored before it is signed."""
    ordered = sorted(set(entries), key=lambda entry: (names.write_rank(entry[0]), entry[0]))
    size_bytes = sum(size for _, size in ordered)
    if len(ordered) <= INLINE_ENTRIES_MAX:
        return NameSet(count=len(ordered), size_bytes=size_bytes, names=tuple(ordered)), {}
    objects: dict[str, bytes] = {}
    refs = []
    for start in range(0, len(ordered), LIST_ENTRIES_MAX):
        part = ordered[start : start + LIST_ENTRIES_MAX]
        data = "".join(f"{name} {size}\n" for name, size in part).encode("ascii")
        ref = ListRef(
            digest=hashlib.sha256(data).hexdigest(), count=len(part), size_bytes=sum(size for _, size in part)
        )
        objects[ref.name] = data
        refs.append(ref)
    return NameSet(count=len(ordered), size_bytes=size_bytes, lists=tuple(refs)), objects


def iterate_names(store: ReadStore, name_set: NameSet) -> Iterator[tuple[str, int]]:
    """Every name of the set with its size; lists are read from ``store`` one at a time.

    Raises:
        IntegrityError: a list is not what its digest says; ``FormatError``: it is not a list of names.
    """
    yield from name_set.names
    for ref in name_set.lists:
        yield from _parse_list(ref, store.get(ref.name, size_max=LIST_SIZE_MAX))


def _parse_list(ref: ListRef, data: bytes) -> list[tuple[str, int]]:
    if hashlib.sha256(data).hexdigest() != ref.digest:
        raise IntegrityError(f"{ref.name}: the bytes are not what the name says")
    entries = []
    for line in data.decode("ascii", "replace").splitlines():
        match = _LINE.fullmatch(line)
        if match is None or not names.is_committed_kind(match[1]):
            raise FormatError(f"{ref.name}: not a list of names: {line[:80]!r}")
        entries.append((match[1], int(match[2])))
    if (len(entries), sum(size for _, size in entries)) != (ref.count, ref.size_bytes):
        raise FormatError(f"{ref.name}: holds {len(entries)} names, the commit says {ref.count}")
    return entries
