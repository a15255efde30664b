"""Copying objects between centers, every byte checked against the digest that the object's name promises.

What is written is what was hashed, in the same buffer, and nothing of an object shows at the target before all of it
was found right; so a flipped bit at the source, on the line or in a proxy never gets there. Copying needs no key.

What a digest cannot say is whether the bytes are a pack. :func:`check_shape` refuses what cannot be one, by the little
that is visible from outside: the length field at the end of a pack and the overhead of every seal. What a key holder's
check would find beyond that (an index that lies, a tree that is missing) stays hidden here.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from govsec.centers import names
from govsec.errors import FormatError, IntegrityError, ObjectNotFoundError, StoreError
from govsec.progress import Progress, ProgressSink
from govsec.runtime.lanes import for_each
from govsec.runtime.pace import Pace
from govsec.store.api import ObjectInfo, ObjectStore, Piece, ReadStore
from govsec.store.pieces import pieces_of, put_pieces

#: Initialisation vector and authenticator around whatever is sealed.
_SEAL_OVERHEAD = 32
_PACK_ENTRY_MIN = 37
#: The length field of its header, at the end of a pack.
_TAIL_SIZE = 4
#: The largest header that restic reads (16 MiB) with its length field.
_PACK_HEADER_MAX = 16 << 20
#: Below this many objects, asking for each is cheaper than listing the folders of a repository that has grown for years
#: (a page of a listing has a thousand names).
_HEADS_MAX = 512
#: More at once than this is no use to any line that a person would call one.
LANES_MAX = 32
#: What may be on its way at once: an object is held whole where a store cannot move it in pieces.
_IN_FLIGHT_BYTES = 256 << 20
#: What an object costs beside its bytes (requests, checks), in bytes of a usual line: small ones count as well.
_OBJECT_WEIGHT = 64 << 10
Named = tuple[str, int]


def copy_object(sources: Sequence[ReadStore], target: ObjectStore, name: str, size_bytes: int) -> None:
    """Copy ``name`` from the first source that has it right.

    Raises:
        IntegrityError: found, but nowhere with the bytes its name promises; nothing was stored.
        FormatError: it has them, and cannot be what its name says (see :func:`check_shape`); nothing was stored.
        StoreError: what the last source said, when none had it; or what the target said.
    """
    wrong: list[str] = []
    last: StoreError | None = None
    for source in sources:
        origin = _Origin(source, name, size_bytes)
        try:
            put_pieces(target, name, origin.checked())
            return
        except (IntegrityError, StoreError) as error:
            if error is not origin.failure:
                raise  # the target's
            if isinstance(error, StoreError):
                last = error
            else:
                wrong.append(str(error))
    if wrong:
        raise IntegrityError("; ".join(wrong))
    raise last or ObjectNotFoundError(f"no center has {name}")


class _Origin:
    """One object at one source; ``failure`` is why it could not be had from there."""

    def __init__(self, source: ReadStore, name: str, size_bytes: int) -> None:
        self._source = source
        self._name = name
        self._size_bytes = size_bytes
        self.failure: IntegrityError | StoreError | None = None

    def checked(self) -> Iterator[Piece]:
        """The pieces; raises in place of the end unless they are what the name promises."""
        digest, size_bytes, tail = hashlib.sha256(), 0, b""
        try:
            for piece in pieces_of(self._source, self._name, size_max=self._size_bytes):
                digest.update(piece)
                size_bytes += len(piece)
                tail = (tail + bytes(piece[-_TAIL_SIZE:]))[-_TAIL_SIZE:]
                yield piece
            if size_bytes != self._size_bytes or digest.hexdigest() != names.digest_of(self._name):
                raise IntegrityError(f"{self._source.name}: {self._name} is not what its name says")
        except (IntegrityError, StoreError) as error:
            self.failure = error
            raise
        check_shape(self._name, size_bytes, tail)


def check_shape(name: str, size_bytes: int, tail: bytes) -> None:
    """Return when an object that ends with ``tail`` may be what ``name`` says, as far as one can see without a key.

    Raises:
        FormatError: it cannot be.
    """
    if name.startswith(names.PACKS):
        header_size = int.from_bytes(tail, "little")
        smallest = _SEAL_OVERHEAD + _PACK_ENTRY_MIN
        if not smallest <= header_size <= min(_PACK_HEADER_MAX, size_bytes - _TAIL_SIZE - _SEAL_OVERHEAD):
            raise FormatError(f"{name}: cannot be a pack: {size_bytes} bytes with a header of {header_size}")
    elif name.startswith((names.INDEXES, names.SNAPSHOTS)) and size_bytes <= _SEAL_OVERHEAD:
        raise FormatError(f"{name}: cannot be sealed: {size_bytes} bytes")


@dataclass(frozen=True, slots=True)
class Copied:
    """What one copy did."""

    objects_count: int
    bytes_count: int


class Meter:
    """Counts what was copied and tells the progress sink; threads may share it."""

    def __init__(self, progress: ProgressSink, phase: str, total_bytes: int | None, total_items: int | None) -> None:
        self._progress = progress
        self._phase = phase
        self._totals = total_bytes, total_items
        self._lock = threading.Lock()
        self.bytes_count = 0
        self.objects_count = 0

    def add(self, size_bytes: int, name: str) -> None:
        """One more object is there."""
        with self._lock:
            self.bytes_count += size_bytes
            self.objects_count += 1
            moment = Progress(self._phase, self.bytes_count, self._totals[0], self.objects_count, self._totals[1], name)
            self._progress(moment)


def copy_objects(
    sources: Sequence[ReadStore],
    target: ObjectStore,
    entries: Iterable[Named],
    *,
    threads: int,
    meter: Meter,
    pace: Pace | None = None,
) -> Copied:
    """Copy objects, in any order. Raises at the first that cannot be copied; those before it are there.

    ``pace`` says how many at once, and learns from it; without one it is ``threads``.
    """
    entries = [*entries]
    lanes = threads
    if pace is not None and threads > 0:
        largest = max((size for _, size in entries), default=0)
        lanes = max(1, min(LANES_MAX, _IN_FLIGHT_BYTES // max(largest, 1)))
        pace.pause()

    def prepare() -> Callable[[Named], int]:
        own_sources = [source.clone() for source in sources]
        own_target = target.clone()

        def copy(entry: Named) -> int:
            name, size_bytes = entry
            copy_object(own_sources, own_target, name, size_bytes)
            meter.add(size_bytes, name)
            if pace is not None:
                pace.done(size_bytes + _OBJECT_WEIGHT)
            return size_bytes

        return copy

    limit = None if pace is None else lambda: min(pace.limit, lanes)
    sizes = list(for_each(entries, prepare, threads=lanes, limit=limit))
    return Copied(len(sizes), sum(sizes))


def absent(store: ReadStore, entries: Sequence[Named], *, threads: int) -> list[Named]:
    """Those of ``entries`` that ``store`` does not hold with that size, in the same order."""
    if len(entries) > _HEADS_MAX:
        found = {info.name: info.size_bytes for info in _listed(store, entries)}
        return [entry for entry in entries if found.get(entry[0]) != entry[1]]

    def prepare() -> Callable[[Named], tuple[Named, bool]]:
        own = store.clone()
        return lambda entry: (entry, _is_there(own, entry))

    there = {entry for entry, is_there in for_each(entries, prepare, threads=threads) if is_there}
    return [entry for entry in entries if entry not in there]


def _is_there(store: ReadStore, entry: Named) -> bool:
    try:
        return store.head(entry[0]).size_bytes == entry[1]
    except ObjectNotFoundError:
        return False


def _listed(store: ReadStore, entries: Sequence[Named]) -> Iterator[ObjectInfo]:
    wanted = {name for name, _ in entries}
    for prefix in (names.PACKS, names.WITNESSES, names.LISTS, names.INDEXES, names.SNAPSHOTS):
        if any(name.startswith(prefix) for name in wanted):
            yield from (info for info in store.list(prefix) if info.name in wanted)
