"""Reading a repository, with nothing but a ``ReadStore`` in hand.

Reading goes against the order of writing: snapshots are listed before the index is loaded, or a snapshot may name blobs
that the index does not know yet.

*Nothing is taken on trust.* Every object's SHA-256 is compared with its name, every blob's with its id, on every read;
sizes are bounded by kind. An object that is missing, damaged or not reachable is looked for in the ``fallbacks`` (other
centers; see :mod:`govsec.repo.sources`), a blob also in other packs that hold it.

*Junk does not stop a reader.* Index files and snapshots that cannot be read are passed over and listed in
``unreadable``: somebody who may write objects must not be able to make the good ones unreachable. Who is about to
remove something asks for ``strict`` reading instead.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Self

from govsec.crypto.api import Suite
from govsec.crypto.restic import ResticSuite
from govsec.errors import (
    FormatError,
    GovsecError,
    IntegrityError,
    LimitError,
    ObjectNotFoundError,
    StoreError,
    TryAgainError,
)
from govsec.repo.codec import Codec
from govsec.repo.index import Index, Location
from govsec.repo.indexbuild import IndexBuilder
from govsec.repo.indexfile import PackRows, decode_index
from govsec.repo.keys import KeySearch, find_key
from govsec.repo.layout import (
    CONFIG,
    CONFIG_SIZE_MAX,
    INDEX_SIZE_MAX,
    LOCK_SIZE_MAX,
    PACK_SIZE_MAX,
    SNAPSHOT_SIZE_MAX,
    Kind,
    id_in_name,
    object_name,
    pack_name,
)
from govsec.repo.pack import (
    ID_SIZE,
    LENGTH,
    PACK_SIZE_MIN,
    BlobType,
    Rows,
    check_extent,
    header_size,
    open_blob,
    parse_header,
)
from govsec.repo.settings import RepositoryConfig, decode_config
from govsec.repo.snapshot import Snapshot, decode_snapshot, select
from govsec.repo.sources import Sources
from govsec.repo.tree import Tree, decode_tree
from govsec.runtime.lanes import for_each
from govsec.store.api import ReadStore

log = logging.getLogger(__name__)

_SIZE_MAX = {Kind.INDEX: INDEX_SIZE_MAX, Kind.SNAPSHOT: SNAPSHOT_SIZE_MAX, Kind.LOCK: LOCK_SIZE_MAX}
#: Many small objects are read by this many threads: they wait for the store, not for the processor.
_THREADS = 4
_UNREADABLE_MAX = 1000
#: How often index files are listed anew because some were gone when they were to be read.
_LISTINGS_MAX = 4
#: Snapshots are kept in memory together; a flood of them is refused. A hundred thousand is 270 a day for a year.
_SNAPSHOTS_MAX = 100_000
_SNAPSHOTS_SIZE_MAX = 256 << 20
#: Holds the header of a pack of 1500 blobs; larger ones take a second request.
_TAIL_SIZE = 64 << 10
#: Neighbouring blobs are read in one request while it stays below this.
_RANGE_MAX = 16 << 20
#: Blobs no further apart than this are neighbours; reading the gap costs less than asking again.
_GAP_MAX = 128 << 10
_PLAIN_MAX = tuple(blob_type.size_max for blob_type in BlobType)
#: A blob in its pack: offset, length, raw length, type and id.
_Entry = tuple[int, int, int, BlobType, bytes]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An object that was passed over, and why."""

    name: str
    reason: str


class Repository:
    """Reads a repository. Not for two threads or processes at once; see :meth:`clone`."""

    def __init__(
        self,
        store: ReadStore,
        suite: Suite,
        config: RepositoryConfig | None = None,
        *,
        key_id: str = "",
        fallbacks: Sequence[ReadStore] = (),
    ) -> None:
        self._store = store
        self._suite = suite
        self._sources = Sources([store, *fallbacks])
        self._codec = Codec()
        self._index: Index | None = None
        self._unreadable: dict[str, Unreadable] = {}
        #: The key file that opened the repository.
        self.key_id = key_id
        self._config = config or self._sources.get(
            CONFIG, CONFIG_SIZE_MAX, lambda data: decode_config(suite.open(data))
        )

    @classmethod
    def open(
        cls, store: ReadStore, password: bytes, *, key_hint: str | None = None, fallbacks: Sequence[ReadStore] = ()
    ) -> Self:
        """The repository in ``store``.

        Raises:
            ObjectNotFoundError: there is no repository.
            WrongPasswordError: no key file opens with the password.
            IntegrityError: ``config`` or the key is damaged, or of a version that govsec does not know.
        """
        master, key_id = find_key(store, password, key_hint=key_hint, fallbacks=fallbacks)
        return cls(store, ResticSuite(master), key_id=key_id, fallbacks=fallbacks)

    @classmethod
    def opened(cls, search: KeySearch) -> Self:
        """The repository whose key ``search`` finds; waits for it. Raises as :meth:`open`."""
        master, key_id = search.result()
        return cls(search.store, ResticSuite(master), key_id=key_id, fallbacks=search.fallbacks)

    @property
    def store(self) -> ReadStore:
        """The store that is asked first."""
        return self._store

    @property
    def suite(self) -> Suite:
        """What seals and opens."""
        return self._suite

    @property
    def config(self) -> RepositoryConfig:
        """Version, id and the chunker's secret."""
        return self._config

    @property
    def unreadable(self) -> tuple[Unreadable, ...]:
        """Objects that were passed over so far (the first thousand)."""
        return tuple(self._unreadable.values())

    @property
    def fallback_count(self) -> int:
        """How often something was not read from where it was looked for first."""
        return self._sources.fallback_count

    @property
    def index(self) -> Index:
        """The index, loaded when first asked for."""
        return self._index if self._index is not None else self.load_index()

    def clone(self) -> Self:
        """The same repository for another thread or process: connections and contexts of its own, the same index."""
        sources = self._sources.clone()
        first, *rest = sources.stores
        other = type(self)(first, self._suite.clone(), self._config, key_id=self.key_id, fallbacks=rest)
        other._sources = sources
        other._codec = Codec(self._codec.level)
        other._index = self._index
        return other

    def load_index(self, *, strict: bool = False) -> Index:
        """Read all index files. Snapshots that are to be read with it are listed before.

        Raises:
            LimitError: more blobs than govsec takes into memory.
            IntegrityError: with ``strict``, an index file that cannot be read.
        """
        builder = IndexBuilder()
        for _, packs in self.index_files(strict=strict):
            builder.add_packs(packs)
        self._index = builder.finish()
        return self._index

    def index_files(self, *, strict: bool = False) -> Iterator[tuple[str, list[PackRows]]]:
        """The id and the content of every index file, in no order.

        Without a lock an index file may be replaced by another while they are read; so what was listed and is gone is
        looked for under new names.
        """
        seen: set[str] = set()
        gone: dict[str, GovsecError] = {}
        for _ in range(_LISTINGS_MAX):
            ids = self._index_ids()
            for index_id in gone.keys() & set(ids):
                self._pass_over(object_name(Kind.INDEX, index_id), gone[index_id], strict=strict)
            gone = {}
            fresh = [index_id for index_id in ids if index_id not in seen]
            seen.update(fresh)
            for index_id, outcome in for_each(fresh, self._index_reader, threads=_threads(fresh)):
                if isinstance(outcome, ObjectNotFoundError):
                    gone[index_id] = outcome
                elif isinstance(outcome, GovsecError):
                    self._pass_over(object_name(Kind.INDEX, index_id), outcome, strict=strict)
                else:
                    yield index_id, outcome
            if not gone:
                return
        raise TryAgainError(f"{self._store.name}: index files change faster than they can be read")

    def snapshots(self, *, strict: bool = False) -> list[Snapshot]:
        """All snapshots, oldest first.

        Raises:
            LimitError: more than a hundred thousand, or together larger than 256 MiB.
            IntegrityError: with ``strict``, a snapshot that cannot be read.
        """
        ids = self.object_ids(Kind.SNAPSHOT)
        if len(ids) > _SNAPSHOTS_MAX:
            raise LimitError(f"{self._store.name}: more than {_SNAPSHOTS_MAX} snapshots")
        found: list[Snapshot] = []
        size = 0
        for snapshot_id, outcome in for_each(ids, self._snapshot_reader, threads=_threads(ids)):
            if isinstance(outcome, GovsecError):
                self._pass_over(object_name(Kind.SNAPSHOT, snapshot_id), outcome, strict=strict)
                continue
            size += len(outcome)
            if size > _SNAPSHOTS_SIZE_MAX:
                raise LimitError(f"{self._store.name}: snapshots take more than {_SNAPSHOTS_SIZE_MAX} bytes")
            try:
                found.append(decode_snapshot(snapshot_id, outcome))
            except IntegrityError as error:
                self._pass_over(object_name(Kind.SNAPSHOT, snapshot_id), error, strict=strict)
        return sorted(found, key=lambda snapshot: (snapshot.time, snapshot.id))

    def resolve(
        self,
        selector: str = "latest",
        *,
        before: datetime | None = None,
        hostname: str | None = None,
        tags: Sequence[str] = (),
        paths: Sequence[str] = (),
    ) -> Snapshot:
        """The snapshot that ``selector`` names: ``latest``, or the first digits of an id.

        The other arguments narrow the choice: made before a moment, on a host, with all tags, of all paths.

        Raises:
            UsageError: none fits, or the digits fit several.
        """
        return select(self.snapshots(), selector, before=before, hostname=hostname, tags=tags, paths=paths)

    def load_snapshot(self, snapshot_id: str) -> Snapshot:
        """One snapshot by its whole id. Raises ``IntegrityError`` or ``ObjectNotFoundError``."""
        return decode_snapshot(snapshot_id, self.load_unpacked(Kind.SNAPSHOT, snapshot_id))

    def load_blob(self, blob_type: BlobType, blob_id: bytes) -> bytes:
        """The plaintext of a blob, from whichever pack and store gives it whole.

        Raises:
            ObjectNotFoundError: no index names it, or no store has a pack that holds it.
            IntegrityError: what was found is not what the id names.
            StoreUnavailableError: no store that answers has it.
        """
        places = self.index.find(blob_type, blob_id)
        if not places:
            raise ObjectNotFoundError(f"{blob_type.label} blob {blob_id.hex()}: no index file names it")
        failure: GovsecError | None = None
        for place in places:
            try:
                plain = self._sources.first_good(partial(self._read_blob, place))
            except (IntegrityError, StoreError) as error:
                failure = failure or error
                continue
            return plain
        assert failure is not None  # there is a place, so something failed
        raise failure

    def load_tree(self, tree_id: bytes) -> Tree:
        """The directory with this id. Raises as :meth:`load_blob`, and ``FormatError`` for what is no honest tree."""
        return decode_tree(self.load_blob(BlobType.TREE, tree_id))

    def load_pack_blobs(self, places: Sequence[Location]) -> Iterator[tuple[Location, bytes]]:
        """The plaintexts of several blobs of one pack, in the order of ``places``, with few requests.

        ``places`` ascend by offset. A range that cannot be had or a blob that does not open is read again on its own,
        from wherever it can be. Raises as :meth:`load_blob` when that fails too.
        """
        entries = [(place.offset, place.length, place.raw, place.blob_type, place.blob_id) for place in places]
        pack = places[0].pack if places else b""
        yield from zip(places, self._load_entries(pack, entries), strict=True)

    def load_rows(self, rows: Sequence[int]) -> Iterator[bytes]:
        """As :meth:`load_pack_blobs`, by the rows of the index: nothing is made of a blob but its plaintext."""
        index = self.index
        places, ids = index.places[rows].tolist(), index.ids[rows].tobytes()
        entries = [
            (offset, length, raw, BlobType.TREE if pack & 1 else BlobType.DATA, ids[at * ID_SIZE : (at + 1) * ID_SIZE])
            for at, (pack, offset, length, raw) in enumerate(places)
        ]
        return self._load_entries(index.packs[places[0][0] >> 1] if places else b"", entries)

    def _load_entries(self, pack: bytes, entries: Sequence[_Entry]) -> Iterator[bytes]:
        suite, codec, name = self._suite, self._codec, pack_name(pack)
        for first, last in _ranges(entries):
            start = entries[first][0]
            length = entries[last - 1][0] + entries[last - 1][1] - start
            sealed: memoryview | None = None
            try:
                sealed = memoryview(self._sources.get_range(name, start, length))
            except (IntegrityError, StoreError) as error:
                log.info("range not read", extra={"pack": pack.hex(), "reason": str(error)})
            for offset, length, raw, blob_type, blob_id in entries[first:last]:
                plain = None
                if sealed is not None:
                    part = sealed[offset - start : offset - start + length]
                    try:
                        plain = open_blob(suite, codec, part, blob_id=blob_id, raw=raw, size_max=_PLAIN_MAX[blob_type])
                    except IntegrityError as error:
                        log.warning("blob is damaged", extra={"blob": blob_id.hex(), "reason": str(error)})
                yield self.load_blob(blob_type, blob_id) if plain is None else plain

    def load_unpacked(self, kind: Kind, object_id: str) -> bytes:
        """The JSON of an index, a snapshot or a lock, digest and seal checked."""
        size_max = _SIZE_MAX[kind]
        return self._sources.get(
            object_name(kind, object_id),
            size_max,
            lambda data: self._codec.unpack_json(self._suite.open(_matching(data, object_id)), size_max),
        )

    def load_pack(self, pack_id: bytes) -> bytes:
        """All bytes of a pack, digest checked."""
        text = pack_id.hex()
        return self._sources.get(pack_name(pack_id), PACK_SIZE_MAX, lambda data: _matching(data, text))

    def load_pack_header(self, pack_id: bytes, size_bytes: int) -> Rows:
        """What the header of a pack of this size lists; only the pack's end is read. Raises as :meth:`load_pack`."""
        name = pack_name(pack_id)
        if size_bytes < PACK_SIZE_MIN:
            raise FormatError(f"pack {pack_id.hex()}: {size_bytes} bytes, fewer than one blob and a header take")

        def read(store: ReadStore) -> Rows:
            tail_size = min(size_bytes, _TAIL_SIZE)
            tail = store.get(name, offset=size_bytes - tail_size, length=tail_size, size_max=tail_size)
            needed = header_size(tail, size_bytes) + LENGTH.size
            if needed > tail_size:
                tail = store.get(name, offset=size_bytes - needed, length=needed, size_max=needed)
            rows = parse_header(self._suite.open(memoryview(tail)[len(tail) - needed : -LENGTH.size]))
            check_extent(rows, size_bytes - needed)
            return rows

        return self._sources.first_good(read)

    def object_ids(self, kind: Kind) -> list[str]:
        """The ids of all objects of a kind, ascending; foreign names are skipped."""
        return self._sources.first_good(lambda store: _ids(store, kind))

    def _index_ids(self) -> list[str]:
        """Index files of all stores that answer: the union of replicas is a valid repository."""
        answers = self._sources.every(lambda store: _ids(store, Kind.INDEX))
        return sorted(set().union(*answers))

    def _open(self, place: Location, sealed: bytes | memoryview) -> bytes:
        return open_blob(
            self._suite,
            self._codec,
            sealed,
            blob_id=place.blob_id,
            raw=place.raw,
            size_max=place.blob_type.size_max,
        )

    def _read_blob(self, place: Location, store: ReadStore) -> bytes:
        sealed = store.get(pack_name(place.pack), offset=place.offset, length=place.length, size_max=place.length)
        return self._open(place, sealed)

    def _index_reader(self) -> Callable[[str], tuple[str, list[PackRows] | GovsecError]]:
        own = self.clone()

        def read(index_id: str) -> tuple[str, list[PackRows] | GovsecError]:
            try:
                return index_id, decode_index(own.load_unpacked(Kind.INDEX, index_id))
            except (IntegrityError, ObjectNotFoundError) as error:
                return index_id, error

        return read

    def _snapshot_reader(self) -> Callable[[str], tuple[str, bytes | GovsecError]]:
        own = self.clone()

        def read(snapshot_id: str) -> tuple[str, bytes | GovsecError]:
            try:
                return snapshot_id, own.load_unpacked(Kind.SNAPSHOT, snapshot_id)
            except (IntegrityError, ObjectNotFoundError) as error:
                return snapshot_id, error

        return read

    def _pass_over(self, name: str, error: GovsecError, *, strict: bool) -> None:
        if strict:
            raise error
        if name not in self._unreadable and len(self._unreadable) < _UNREADABLE_MAX:
            log.warning("object passed over", extra={"object": name, "reason": str(error)})
            self._unreadable[name] = Unreadable(name, str(error))


def _ids(store: ReadStore, kind: Kind) -> list[str]:
    return [found for item in store.list(kind.prefix) if (found := id_in_name(kind, item.name)) is not None]


def _threads(ids: Sequence[str]) -> int:
    return min(_THREADS, len(ids)) if len(ids) > 1 else 0


def _matching(data: bytes, object_id: str) -> bytes:
    if hashlib.sha256(data).hexdigest() != object_id:
        raise IntegrityError(f"object {object_id}: its content has another digest")
    return data


def _ranges(entries: Sequence[_Entry]) -> Iterator[tuple[int, int]]:
    """Runs of blobs of one pack, ascending by offset, that are worth one request."""
    first = start = end = 0
    for position, (offset, length, *_) in enumerate(entries):
        # Blobs that lie over each other are no honest index; they get requests of their own.
        is_near = end <= offset <= end + _GAP_MAX
        if position > first and not (is_near and offset + length - start <= _RANGE_MAX):
            yield first, position
            first = position
        if position == first:
            start = offset
        end = offset + length
    if entries:
        yield first, len(entries)
