"""Reading the commit log of a center: which commits are genuine, how they hang together, where they end.

The log is a graph in which every commit names its parents by digest; normally it is one chain. Nothing is believed
that is not signed by a pinned key and does not hang, commit by commit, on the first one (or on a signed checkpoint, or
on a commit that the reader already holds). What does not fit becomes a :class:`Flaw`, never an exception: a hostile
production may write what it likes beside the log and must not stop its reading.

Not found here: that the newest commits were removed. That shows when the heads of several centers are compared
(:func:`compare`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from govsec.centers import names
from govsec.centers.checkpoints import Checkpoint, newest_checkpoint
from govsec.centers.commits import COMMIT_SIZE_MAX, Entry, NameSet, SnapshotRef, iterate_names, open_commit
from govsec.crypto.signing import TrustedKeys
from govsec.errors import GovsecError, IntegrityError, LimitError, ObjectNotFoundError, StoreError
from govsec.runtime.lanes import for_each
from govsec.store.api import ReadStore

#: Beyond this many objects that are no commits something fills the folder on purpose.
_FLAWS_MAX = 10_000
#: Up to here one listing of the whole folder is cheaper than several of its parts.
_LIST_WHOLE_MAX = 2_000


class FlawKind(StrEnum):
    """What is wrong with an object under ``govsec/commits/``, or with what should be there."""

    FORGED = "forged"
    FOREIGN = "foreign"
    GAP = "gap"
    FORK = "fork"
    MISPLACED = "misplaced"


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing that is wrong with a log."""

    kind: FlawKind
    name: str
    message: str


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the log: after the commit of this number and digest."""

    number: int
    digest: str


START = Position(0, "")


@dataclass(frozen=True, slots=True)
class Log:
    """What was read. ``entries`` are the genuine commits after ``base``, parents before children."""

    base: Position
    checkpoint: Checkpoint | None
    entries: tuple[Entry, ...]
    flaws: tuple[Flaw, ...]

    @property
    def heads(self) -> tuple[Entry, ...]:
        """Commits that no other stands on, newest last; several mean that two sides wrote apart."""
        parents = {digest for entry in self.entries for digest in entry.commit.parents}
        return tuple(entry for entry in self.entries if entry.digest not in parents)

    @property
    def head(self) -> Position:
        """Where the log ends; of several heads the one with the largest epoch, number and digest."""
        heads = self.heads
        if not heads:
            return self.base
        best = max(heads, key=lambda entry: (entry.commit.epoch, entry.number, entry.digest))
        return Position(best.number, best.digest)

    @property
    def epoch(self) -> int:
        """The epoch that the head was written in; 1 before the first commit."""
        found = [entry.commit.epoch for entry in self.entries]
        return max([*found, self.checkpoint.epoch if self.checkpoint else 1])

    @property
    def digests(self) -> frozenset[str]:
        """The digests of all entries."""
        return frozenset(entry.digest for entry in self.entries)


def read_log(
    store: ReadStore,
    trusted: TrustedKeys,
    *,
    repository: str | None = None,
    after: Position | None = None,
    threads: int = 0,
) -> Log:
    """The log of a center, from its newest checkpoint, or from ``after``, on; ``START`` reads all of it.

    ``repository`` is the digest of the system's ``config``: commits of another one are flaws. Only the store's own
    errors leave here.
    """
    stored = newest_checkpoint(store, trusted, repository) if after is None else None
    checkpoint = stored.checkpoint if stored else None
    base = after or (Position(checkpoint.number, checkpoint.commit) if checkpoint else START)
    entries: dict[str, Entry] = {}
    flaws: list[Flaw] = []
    for found in for_each(
        _names_after(store, base, flaws), lambda: _reader(store, trusted, repository), threads=threads
    ):
        if isinstance(found, Flaw):
            _note(flaws, found)
        else:
            entries[found.digest] = found
    return _assemble(base, checkpoint, entries, flaws)


def read_next(store: ReadStore, trusted: TrustedKeys, last: Entry, *, repository: str | None = None) -> Log:
    """What follows ``last``, which ``store`` holds and whose only parent is the one before it: asked for by number.

    The cost is one listing and what is new, whatever the log's length; ``last`` itself is the first entry. A branch
    that began before ``last`` is not seen this way. Only the store's own errors leave here.
    """
    assert not last.commit.merges  # a merge hangs on more than the place where this log begins
    read = _reader(store, trusted, repository)
    entries = {last.digest: last}
    flaws: list[Flaw] = []
    number = last.number + 1
    while True:
        found = [read(info.name) for info in store.list(names.numbered(names.COMMITS, number))]
        fresh = {entry.digest: entry for entry in found if isinstance(entry, Entry)}
        for flaw in found:
            if isinstance(flaw, Flaw):
                _note(flaws, flaw)
        if not fresh:
            return _assemble(Position(last.number - 1, last.commit.previous), None, entries, flaws)
        entries.update(fresh)
        number += 1


def union(logs: Iterable[Log]) -> Log:
    """One log of what several centers hold. All must have been read from the same base."""
    logs = list(logs)
    entries = {entry.digest: entry for log in logs for entry in log.entries}
    base = logs[0].base if logs else START
    if any(log.base != base for log in logs):
        raise ValueError("logs that begin at different places have no union")
    return _assemble(base, logs[0].checkpoint if logs else None, entries, [])


def snapshots_in_order(log: Log) -> list[SnapshotRef]:
    """The snapshots that ``log`` names, in the order of their commits: which came last, whatever the clocks said."""
    named = [entry.commit.snapshot for entry in log.entries if entry.commit.snapshot is not None]
    if log.checkpoint is not None and log.checkpoint.newest is not None:
        named.insert(0, log.checkpoint.newest)
    return named


def compare(logs: Mapping[str, Log]) -> dict[str, tuple[Entry, ...]]:
    """For each center the commits that another center has and it lacks. All read from the same base."""
    everything = union(logs.values())
    return {
        center: tuple(entry for entry in everything.entries if entry.digest not in log.digests)
        for center, log in logs.items()
    }


@dataclass(frozen=True, slots=True)
class NamedObjects:
    """Every object that a log names, with sizes; about 200 bytes of memory a name."""

    added: Mapping[str, int]
    released: frozenset[str]

    @property
    def live(self) -> dict[str, int]:
        """What production still has."""
        return {name: size for name, size in self.added.items() if name not in self.released}


def named_objects(log: Log, *stores: ReadStore) -> NamedObjects:
    """Every object named up to the end of ``log``, which was read from a checkpoint or from the start.

    Lists are read from the first store that has them whole.
    """
    added: dict[str, int] = {}
    released: set[str] = set()
    if log.checkpoint is not None:
        added.update(names_from(stores, log.checkpoint.added))
        released.update(name for name, _ in names_from(stores, log.checkpoint.released))
    for entry in log.entries:
        added.update(names_from(stores, entry.commit.added))
        released.update(name for name, _ in names_from(stores, entry.commit.released))
    return NamedObjects(added, frozenset(released))


def names_from(stores: Sequence[ReadStore], name_set: NameSet) -> list[tuple[str, int]]:
    """The names of a set, its lists read from the first store that has them whole. Raises what the first one raised."""
    errors: list[GovsecError] = []
    for store in stores:
        try:
            return list(iterate_names(store, name_set))
        except (StoreError, IntegrityError) as error:
            errors.append(error)
    raise errors[0]


def _reader(store: ReadStore, trusted: TrustedKeys, repository: str | None) -> Callable[[str], Entry | Flaw]:
    own = store.clone()

    def read(name: str) -> Entry | Flaw:
        try:
            entry = open_commit(trusted, name, own.get(name, size_max=COMMIT_SIZE_MAX))
        except ObjectNotFoundError:
            return Flaw(FlawKind.GAP, name, f"{name}: listed, and gone when it was read")
        except IntegrityError as error:
            return Flaw(FlawKind.FORGED, name, str(error))
        if repository is not None and entry.commit.repository != repository:
            return Flaw(FlawKind.FOREIGN, name, f"{name}: a commit of another system")
        return entry

    return read


def _names_after(store: ReadStore, base: Position, flaws: list[Flaw]) -> Iterator[str]:
    for prefix in covering_prefixes(base.number):
        for info in store.list(prefix):
            parsed = names.parse_numbered(info.name)
            if parsed is None:
                _note(flaws, Flaw(FlawKind.MISPLACED, info.name, f"{info.name[:120]}: not the name of a commit"))
            elif parsed[0] > base.number:
                yield info.name


def commit_names(store: ReadStore, after: int) -> Iterator[tuple[int, str]]:
    """Number and name of everything after number ``after`` that is called like a commit."""
    for prefix in covering_prefixes(after):
        for info in store.list(prefix):
            parsed = names.parse_numbered(info.name)
            if parsed is not None and parsed[0] > after:
                yield parsed[0], info.name


def covering_prefixes(number: int) -> list[str]:
    """Prefixes whose listings hold every commit after ``number`` and few before it.

    A log grows for years, and a listing begins only at a prefix. For 12345 these are 1234 with its last digit 5…9
    (nine digits: the rest of the ten), 124…129, 13…19, and so on up to one digit more than the number has: a log
    cannot have grown tenfold behind the back of whoever holds its head.
    """
    if number < _LIST_WHOLE_MAX:
        return [names.COMMITS]
    digits = f"{number:0{names.NUMBER_DIGITS}d}"
    prefixes = [names.COMMITS + digits]
    first = len(digits) - len(str(number)) - 1
    for position in range(names.NUMBER_DIGITS - 1, first - 1, -1):
        prefixes += [f"{names.COMMITS}{digits[:position]}{digit}" for digit in range(int(digits[position]) + 1, 10)]
    return prefixes


def _assemble(base: Position, checkpoint: Checkpoint | None, entries: dict[str, Entry], flaws: list[Flaw]) -> Log:
    # Parents have smaller numbers, so one pass in order of number decides about each commit.
    attached: dict[str, Entry] = {}
    for entry in sorted(entries.values(), key=lambda entry: (entry.number, entry.digest)):
        message = _refusal(entry, base, attached)
        if message is None:
            attached[entry.digest] = entry
        else:
            _note(flaws, Flaw(FlawKind.GAP, entry.name, message))
    log = Log(base, checkpoint, tuple(attached.values()), ())
    if len(log.heads) > 1:
        ends = ", ".join(f"{entry.number}-{entry.digest[:8]}" for entry in log.heads)
        _note(flaws, Flaw(FlawKind.FORK, log.heads[-1].name, f"the log has several ends: {ends}"))
    return Log(base, checkpoint, log.entries, tuple(flaws))


def _refusal(entry: Entry, base: Position, attached: Mapping[str, Entry]) -> str | None:
    commit = entry.commit
    numbers = []
    epochs = [1]
    for parent in commit.parents:
        if parent == base.digest:
            numbers.append(base.number)
        elif parent in attached:
            numbers.append(attached[parent].number)
            epochs.append(attached[parent].commit.epoch)
        else:
            return f"{entry.name}: its parent {parent[:16]}… is missing"
    expected = max(numbers, default=0) + 1
    if commit.number != expected or (not commit.parents and base != START):
        return f"{entry.name}: number {commit.number} where {expected} follows"
    if commit.epoch < max(epochs):
        return f"{entry.name}: epoch {commit.epoch} after {max(epochs)}"
    return None


def _note(flaws: list[Flaw], flaw: Flaw) -> None:
    flaws.append(flaw)
    if len(flaws) > _FLAWS_MAX:
        raise LimitError(f"more than {_FLAWS_MAX} objects under {names.COMMITS} are no commits of this log")
