"""A center as its genuine commits describe it: everything that no commit names is not there.

A hostile production can put junk with right digests into every store that it may write: an index that cannot be opened,
a snapshot that is none. Whoever reads through this view does not see it, and so restores every earlier commit as if
nothing had happened. ``until`` goes back to before a given commit.
"""

from __future__ import annotations

from collections.abc import Iterator

from govsec.centers import names
from govsec.centers.log import START, Log, named_objects, read_log
from govsec.centers.ship import repository_of
from govsec.crypto.signing import TrustedKeys
from govsec.errors import ObjectNotFoundError
from govsec.store.api import ObjectInfo, ReadStore

_NAMED_BY_COMMITS = (names.PACKS, names.INDEXES, names.SNAPSHOTS, names.WITNESSES)


class CommittedStore:
    """A ``ReadStore`` over ``store`` that shows what commits up to number ``until`` name, and what none need to."""

    def __init__(
        self,
        store: ReadStore,
        trusted: TrustedKeys,
        *,
        until: int | None = None,
        _visible: frozenset[str] | None = None,
    ) -> None:
        self._store = store
        self._trusted = trusted
        self._until = until
        self._visible = _visible if _visible is not None else _visible_names(store, trusted, until)

    @property
    def name(self) -> str:
        return self._store.name

    def get(self, name: str, *, offset: int = 0, length: int | None = None, size_max: int) -> bytes:
        self._check(name)
        return self._store.get(name, offset=offset, length=length, size_max=size_max)

    def head(self, name: str) -> ObjectInfo:
        self._check(name)
        return self._store.head(name)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return (info for info in self._store.list(prefix) if self._shows(info.name))

    def clone(self) -> CommittedStore:
        return CommittedStore(self._store.clone(), self._trusted, until=self._until, _visible=self._visible)

    def _check(self, name: str) -> None:
        if not self._shows(name):
            raise ObjectNotFoundError(f"{self.name}: no commit names {name}")

    def _shows(self, name: str) -> bool:
        return name in self._visible or not name.startswith(_NAMED_BY_COMMITS)


def _visible_names(store: ReadStore, trusted: TrustedKeys, until: int | None) -> frozenset[str]:
    log = read_log(store, trusted, repository=repository_of(store), after=None if until is None else START)
    if until is not None:
        entries = tuple(entry for entry in log.entries if entry.number <= until)
        log = Log(log.base, log.checkpoint, entries, log.flaws)
    return frozenset(named_objects(log, store).added)
