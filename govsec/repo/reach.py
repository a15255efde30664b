"""What snapshots reach: every tree read once, every entry looked at, every blob that is used marked in the index.

One idea: the walk goes level by level. All trees of a level are known at once, so they are read in order of their packs
and offsets, neighbours in one request, and ids are looked up in the index by the ten thousand. A tree that many
directories share is read once, however many paths lead to it: a graph of trees that unfolds to 2^64 paths costs as
many reads as it has trees. A tree cannot contain itself, because its id is the digest of what it lists; should a
suite's digest be broken, the walk still ends, since no tree is read twice.

What is used is a byte a row of the index, in memory that forked workers share. Of a blob with several rows only the
first is marked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from govsec.crypto.api import Suite
from govsec.errors import FormatError, IntegrityError, LimitError, ObjectNotFoundError
from govsec.repo.codec import Codec
from govsec.repo.index import Index, ids_from_hex
from govsec.repo.layout import MIB, TREE_BLOB_SIZE_MAX, pack_name
from govsec.repo.memory import shared_memory
from govsec.repo.pack import BlobType, open_blob
from govsec.repo.problems import ProblemKind, Problems
from govsec.repo.tree import Tree, decode_tree
from govsec.store.api import ReadStore

#: Deeper than any path that Linux opens (PATH_MAX is 4096 bytes: 2048 levels).
DEPTH_MAX = 2048
#: Neighbours no further apart than this are read in one request; reading the gap costs less than asking again.
_GAP_MAX = 128 << 10
_SPAN_MAX = 8 * MIB
#: Content ids that are looked up at once.
_BATCH_IDS = 20_000

RowNumbers = NDArray[np.int64]


@dataclass(slots=True)
class Reached:
    """What a walk came to. ``used`` has a byte for each row of the index, 1 where a snapshot needs the blob."""

    used: NDArray[np.uint8]
    trees_count: int = 0
    entries_count: int = 0
    files_count: int = 0
    #: Sum of the sizes of all files in all trees that were read, each tree counted once.
    files_bytes: int = 0
    #: Trees that could not be read: what lies below them is not known.
    unread_count: int = 0


def used_table(index: Index) -> NDArray[np.uint8]:
    """A byte for each row, zero, in memory that is shared with children forked later."""
    return np.frombuffer(shared_memory(len(index)), np.uint8, len(index))


class Walker:
    """Walks all trees below given roots. ``report`` hears the number of trees read, now and then."""

    def __init__(
        self,
        store: ReadStore,
        suite: Suite,
        index: Index,
        problems: Problems,
        *,
        used: NDArray[np.uint8] | None = None,
        report: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._store = store
        self._suite = suite
        self._codec = Codec()
        self._index = index
        self._problems = problems
        self._report = report
        self._reached = Reached(used_table(index) if used is None else used)
        self._files = _Files()
        self._subtrees = _Subtrees()

    def walk(self, roots: Iterable[tuple[str, str]]) -> Reached:
        """Everything below ``roots``: pairs of a snapshot's object name and its tree id in hex."""
        level = self._start(roots)
        for _ in range(DEPTH_MAX):
            if not len(level):
                return self._reached
            level = self._visit(level)
        if len(level):
            name = self._name(int(level[0]))
            detail = f"lies deeper than {DEPTH_MAX} directories, as do {len(level) - 1} others; not read"
            self._problems.add(ProblemKind.TREE_TOO_DEEP, name, detail)
            self._reached.unread_count += len(level)
        return self._reached

    def _start(self, roots: Iterable[tuple[str, str]]) -> RowNumbers:
        level: list[int] = []
        for owner, tree_id in roots:
            row = int(self._index.find_many(BlobType.TREE, bytes.fromhex(tree_id))[0])
            if row < 0:
                self._missing_tree(tree_id, owner)
            elif not self._reached.used[row]:
                self._reached.used[row] = 1
                level.append(row)
        return np.array(level, np.int64)

    def _visit(self, level: RowNumbers) -> RowNumbers:
        """Read all trees of a level; the rows of the next."""
        below: list[RowNumbers] = []
        for row, plain in self._read(level):
            tree = self._decode(row, plain)
            if tree is None:
                continue
            self._reached.trees_count += 1
            self._reached.entries_count += len(tree.nodes)
            if self._reached.trees_count % 1000 == 0:
                self._report(self._reached.trees_count)
            self._look_at(row, tree)
            if self._files.ids_count >= _BATCH_IDS:
                self._match_files()
            if len(self._subtrees.ids) >= _BATCH_IDS:
                below.append(self._match_subtrees())
        self._match_files()
        below.append(self._match_subtrees())
        # Two batches of one level cannot name the same row: the first has marked it.
        return np.concatenate(below)

    def _look_at(self, row: int, tree: Tree) -> None:
        """Take note of a tree's files and subtrees."""
        for node in tree.nodes:
            if node.type == "dir":
                assert node.subtree is not None  # decode_tree refused the tree otherwise
                self._subtrees.ids.append(node.subtree)
                self._subtrees.owners.append(row)
            elif node.type == "file":
                assert node.content is not None  # the same
                self._files.add(row, node.name, node.size, node.content)

    def _match_subtrees(self) -> RowNumbers:
        """The rows of the subtrees that were noted, without those that were seen before."""
        subtrees, self._subtrees = self._subtrees, _Subtrees()
        rows = self._index.find_many(BlobType.TREE, ids_from_hex(subtrees.ids))
        for position in np.nonzero(rows < 0)[0].tolist():
            self._missing_tree(subtrees.ids[position], self._name(subtrees.owners[position]))
        found: RowNumbers = np.unique(rows[rows >= 0])
        found = found[self._reached.used[found] == 0]
        self._reached.used[found] = 1
        return found

    def _match_files(self) -> None:
        """Look up the contents of the files that were noted, and compare their sizes."""
        files = self._files
        self._files = _Files()
        self._reached.files_count += len(files.sizes)
        self._reached.files_bytes += sum(files.sizes)
        rows = self._index.find_many(BlobType.DATA, ids_from_hex(files.ids))
        found = rows >= 0
        self._reached.used[rows[found]] = 1
        places = self._index.places[np.maximum(rows, 0)]
        plain = np.where(places[:, 3] > 0, places[:, 3], places[:, 2].astype(np.int64) - self._suite.overhead_bytes)
        plain[~found] = 0
        sums = np.concatenate(([0], np.cumsum(plain)))
        missing = np.concatenate(([0], np.cumsum(~found)))
        ends = np.array(files.ends, np.int64)
        starts = np.concatenate(([0], ends[:-1])) if len(ends) else ends
        sizes = np.array(files.sizes, np.float64)  # sizes up to 2^64 come from trees; a float holds their order
        lost = missing[ends] - missing[starts]
        lengths = sums[ends] - sums[starts]
        for position in np.nonzero((lost > 0) | (lengths != sizes))[0].tolist():
            row, name = files.owners[position], files.names[position]
            if lost[position]:
                first = next(at for at in range(int(starts[position]), int(ends[position])) if not found[at])
                detail = (
                    f"file {name!r}: {lost[position]} of its blobs are in no index, the first is {files.ids[first]}"
                )
                self._problems.add(ProblemKind.BLOB_MISSING, self._name(row), detail)
            else:
                detail = f"file {name!r}: its blobs have {lengths[position]} bytes, it says {files.sizes[position]}"
                self._problems.add(ProblemKind.FILE_SIZE, self._name(row), detail)

    def _decode(self, row: int, plain: bytes) -> Tree | None:
        try:
            return decode_tree(plain)
        except (FormatError, LimitError) as error:
            self._problems.add(ProblemKind.TREE_REFUSED, self._name(row), str(error))
            self._reached.unread_count += 1
            return None

    def _read(self, rows: RowNumbers) -> Iterator[tuple[int, bytes]]:
        """The plaintexts of tree blobs, pack by pack."""
        places = self._index.places[rows]
        order = np.lexsort((places[:, 1], places[:, 0]))
        for span in _spans(rows[order], places[order]):
            data = self._read_span(span)
            for row in span.rows:
                plain = self._open(row, data, span.offset)
                if plain is not None:
                    yield row, plain

    def _read_span(self, span: _Span) -> memoryview | None:
        size = span.end - span.offset
        try:
            return memoryview(
                self._store.get(pack_name(self._index.packs[span.pack]), offset=span.offset, length=size, size_max=size)
            )
        except (ObjectNotFoundError, IntegrityError):
            return None  # each blob is then read by itself, from wherever else it lies

    def _open(self, row: int, data: memoryview | None, offset: int) -> bytes | None:
        try:
            if data is not None:
                _, start, length, raw = (int(value) for value in self._index.places[row])
                sealed = data[start - offset : start - offset + length]
                return self._open_sealed(sealed, self._index.ids[row].tobytes(), raw)
        except IntegrityError:
            pass  # another pack may hold a good copy
        return self._open_elsewhere(row)

    def _open_elsewhere(self, row: int) -> bytes | None:
        blob_id = self._index.ids[row].tobytes()
        reasons = []
        for place in self._index.find(BlobType.TREE, blob_id):
            name = pack_name(place.pack)
            try:
                if place.length > TREE_BLOB_SIZE_MAX:
                    raise LimitError(f"{name}: a tree of {place.length} bytes")
                sealed = self._store.get(name, offset=place.offset, length=place.length, size_max=place.length)
                return self._open_sealed(sealed, blob_id, place.raw)
            except (IntegrityError, ObjectNotFoundError) as error:
                reasons.append(str(error))
        self._problems.add(ProblemKind.TREE_DAMAGED, self._name(row), "; ".join(reasons))
        self._reached.unread_count += 1
        return None

    def _open_sealed(self, sealed: bytes | memoryview, blob_id: bytes, raw: int) -> bytes:
        return open_blob(self._suite, self._codec, sealed, blob_id=blob_id, raw=raw, size_max=TREE_BLOB_SIZE_MAX)

    def _missing_tree(self, tree_id: str, owner: str) -> None:
        self._problems.add(ProblemKind.TREE_MISSING, f"tree {tree_id}", f"in no index; {owner} needs it")
        self._reached.unread_count += 1

    def _name(self, row: int) -> str:
        return f"tree {self._index.ids[row].tobytes().hex()}"


@dataclass(slots=True)
class _Subtrees:
    """Subtrees that are to be looked up together, and the rows of the trees that name them."""

    ids: list[str] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Files:
    """Files whose contents are to be looked up together: the ids of file i end before ``ends[i]``."""

    ids: list[str] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    @property
    def ids_count(self) -> int:
        # A file without content weighs as well, or a directory of a million empty files would never be looked at.
        return len(self.ids) + len(self.ends)

    def add(self, owner: int, name: str, size: int, content: list[str]) -> None:
        self.ids += content
        self.ends.append(len(self.ids))
        self.owners.append(owner)
        self.names.append(name)
        self.sizes.append(size)


@dataclass(slots=True)
class _Span:
    """Neighbouring blobs of one pack that are read in one request."""

    pack: int
    offset: int
    end: int
    rows: list[int]


def _spans(rows: RowNumbers, places: NDArray[np.uint32]) -> Iterator[_Span]:
    """Rows that ascend by pack and offset, grouped into requests."""
    span: _Span | None = None
    for row, (pack, offset, length, _) in zip(rows.tolist(), places.tolist(), strict=True):
        end = offset + length
        if (
            span is not None
            and span.pack == pack >> 1
            and offset <= span.end + _GAP_MAX
            and end - span.offset <= _SPAN_MAX
        ):
            span.rows.append(row)
            span.end = max(span.end, end)
            continue
        if span is not None:
            yield span
        span = _Span(pack >> 1, offset, end, [row])
    if span is not None:
        yield span
