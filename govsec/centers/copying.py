"""Copying objects between centers, every byte checked against the digest that the object's name promises.

Nothing is written that was not hashed first, so a flipped bit at the source, on the line or in a proxy never reaches
the target. Copying needs no key.

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
from govsec.store.api import ObjectInfo, ObjectStore, ReadStore

#: Initialisation vector and authenticator around whatever is sealed.
_SEAL_OVERHEAD = 32
_PACK_ENTRY_MIN = 37
#: The largest header that restic reads (16 MiB) with its length field.
_PACK_HEADER_MAX = 16 << 20
#: Below this many objects, asking for each is cheaper than listing their folders.
_HEADS_MAX = 64
Named = tuple[str, int]


def fetch(sources: Sequence[ReadStore], name: str, size_bytes: int) -> bytes:
    """The bytes of ``name`` from the first source that has them right.

    Raises:
        IntegrityError: found, but nowhere with the bytes its name promises.
        StoreError: what the last source said, when none had it.
    """
    wrong: list[str] = []
    last: Exception | None = None
    for source in sources:
        try:
            data = source.get(name, size_max=size_bytes)
        except IntegrityError as error:
            wrong.append(str(error))
            continue
        except StoreError as error:
            last = error
            continue
        if len(data) == size_bytes and hashlib.sha256(data).hexdigest() == names.digest_of(name):
            return data
        wrong.append(f"{source.name}: {name} is not what its name says")
    if wrong:
        raise IntegrityError("; ".join(wrong))
    raise last or ObjectNotFoundError(f"no center has {name}")


def check_shape(name: str, data: bytes) -> None:
    """Return when ``data`` may be what ``name`` says it is, as far as one can see without a key.

    Raises:
        FormatError: it cannot be.
    """
    if name.startswith(names.PACKS):
        header_size = int.from_bytes(data[-4:], "little")
        smallest = _SEAL_OVERHEAD + _PACK_ENTRY_MIN
        if not smallest <= header_size <= min(_PACK_HEADER_MAX, len(data) - 4 - _SEAL_OVERHEAD):
            raise FormatError(f"{name}: cannot be a pack: {len(data)} bytes with a header of {header_size}")
    elif name.startswith((names.INDEXES, names.SNAPSHOTS)) and len(data) <= _SEAL_OVERHEAD:
        raise FormatError(f"{name}: cannot be sealed: {len(data)} bytes")


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
) -> Copied:
    """Copy objects, in any order. Raises at the first that cannot be copied; those before it are there."""

    def prepare() -> Callable[[Named], int]:
        own_sources = [source.clone() for source in sources]
        own_target = target.clone()

        def copy(entry: Named) -> int:
            name, size_bytes = entry
            data = fetch(own_sources, name, size_bytes)
            check_shape(name, data)
            own_target.put(name, data)
            meter.add(size_bytes, name)
            return size_bytes

        return copy

    sizes = list(for_each(entries, prepare, threads=threads))
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
