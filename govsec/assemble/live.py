"""A system's near centers and its repository, opened once and kept for days: what every continuous backup commits to.

A :class:`LiveSession` is a run of ``govsec backup`` that does not end. The key was derived, the index is in memory and
the lock is held; a window (:mod:`govsec.backup.live`) costs a few requests and no history.

What may happen in the meantime, and what becomes of it:

- a center goes and comes back: the mode decides, the receipt says ``degraded``, and :meth:`LiveSession.tend` gives it
  what it lacks when it answers again;
- another writer commits: what it added is known here before the next window;
- somebody wants the repository for itself (``repo prune``): the lock is given back, work waits, the index is read
  afresh, because packs may lie elsewhere by then;
- a commit is not taken as the mode asks: the snapshot waits, and :meth:`LiveSession.commit` of the next one, or
  ``tend``, commits it first;
- the production side is moved elsewhere (another epoch): ``RefusedError``, and nothing is written any more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self

from govsec.assemble.centers import adopt, attach_key, commit_result, open_near
from govsec.backup.live import LiveWriter
from govsec.centers.state import SyncState
from govsec.errors import LockedError, StoreError
from govsec.repo.keys import KeySearch
from govsec.repo.packer import PACK_SIZE_DEFAULT

if TYPE_CHECKING:
    from govsec.assemble.systems import Site
    from govsec.backup.archive import ArchiveResult
    from govsec.centers.near import Near, Receipt
    from govsec.config import SystemConfig
    from govsec.repo.lock import HeldLock
    from govsec.repo.repository import WritableRepository

log = logging.getLogger(__name__)


class LiveSession:
    """A context manager. Not for two threads at once.

    ``say`` is told, in words, what a person who looks at the log wants to know: that it waits for a lock, that a center
    is behind, that it is in step again.

    Raises (on entering):
        LockedError: somebody holds an exclusive lock.
        StoreError, ConfigurationError, WrongPasswordError: as a backup does.
    """

    def __init__(
        self,
        site: Site,
        system: SystemConfig,
        *,
        job: str,
        pack_size: int = PACK_SIZE_DEFAULT,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._site = site
        self._system = system
        self._job = job
        self._pack_size = pack_size
        self._say = say
        self._stack = ExitStack()
        self._lock: HeldLock | None = None
        #: Grows each time the index was read afresh: what was known to be stored before may lie elsewhere or be gone.
        self.generation = 0
        #: Snapshots that are stored and have no commit yet, oldest first.
        self._waiting: list[tuple[ArchiveResult, str | None]] = []
        self.near: Near
        self.repository: WritableRepository
        self._writer: LiveWriter

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.near = open_near(self._site, self._system)
            stack.callback(self.near.close)
            self.near.resync()
            search = KeySearch(self.near, self._site.password(self._system))
            from govsec.repo.repository import WritableRepository

            self.repository = WritableRepository.opened(search)
            # What an earlier run left without a commit gets one before anything is built on it.
            adopt(self.near, self.repository)
            self._acquire()
            stack.callback(self._release)
            self.near.epoch = self.near.survey().joint.epoch
            self.near.is_following = True
            self._writer = LiveWriter(self.repository, clock=self._site.clock, pack_size=self._pack_size)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def writer(self) -> LiveWriter:
        """What makes windows. Raises ``LockedError`` while somebody has the repository for himself."""
        if self._lock is None:
            self._acquire()
        return self._writer

    @property
    def waiting_count(self) -> int:
        """Snapshots that are stored and that no commit names yet."""
        return len(self._waiting)

    def commit(self, result: ArchiveResult, *, witness: str | None = None) -> Receipt:
        """Commit what a window gave; the receipt names the centers that hold it. Earlier ones that wait go first.

        Raises:
            StoreUnavailableError: the mode's demand is not met; the snapshot waits and is committed by the next call.
            RefusedError: another side took over production; nothing may be committed here any more.
            IntegrityError, TryAgainError: as :meth:`govsec.centers.near.Near.commit`.
        """
        self._waiting.append((result, witness))
        receipts = self.commit_waiting()
        return receipts[-1]

    def commit_waiting(self) -> list[Receipt]:
        """Commit what waits, oldest first; the receipts of what this call committed. Raises as :meth:`commit`."""
        receipts = []
        while self._waiting:
            result, witness = self._waiting[0]
            receipts.append(commit_result(self.near, result, job=self._job, witness=witness))
            del self._waiting[0]
        if receipts:
            # What earlier runs left without a commit was named by now. From here on the index knows nothing but what
            # commits name, until it is read afresh; asking for orphans before each snapshot would read all of the log.
            self.near.key_holder = None
        return receipts

    def compare(self, back_up: Callable[[WritableRepository], ArchiveResult]) -> ArchiveResult:
        """Make an ordinary backup within the session: it reads the index afresh, orphans of runs that died included.

        What it stored is known to the windows that follow. Raises what ``back_up`` raises.
        """
        from govsec.repo.indexfile import decode_index
        from govsec.repo.layout import Kind

        attach_key(self.near, self.repository)
        result = back_up(self.repository)
        stored = [info.name for info in result.objects if info.name.startswith(Kind.INDEX.prefix)]
        for name in stored:
            index = self.repository.load_unpacked(Kind.INDEX, name.removeprefix(Kind.INDEX.prefix))
            self.repository.grow_index(decode_index(index))
        return result

    def tend(self) -> list[Receipt]:
        """Between windows, at least once a minute: keep the lock, or give way; commit what waits; bring centers back.

        The receipts of what was committed by this call: who measures lag counts them.

        Raises:
            LockedError: somebody has the repository for himself; call again later.
            StoreError: a center that the mode needs does not answer; call again later.
            RefusedError: another side took over production.
        """
        if self._lock is None:
            self._acquire()
        else:
            self._keep_lock(self._lock)
        receipts = self.commit_waiting()
        states = {store.name: self.near.states.get(store.name) for store in self.near.centers}
        if any(
            state.state is not SyncState.SYNCED and self.near.states.is_usable(name) for name, state in states.items()
        ):
            self._bring_back()
        return receipts

    def exclusively(self, work: Callable[[], object]) -> None:
        """Do what needs the repository for itself: without the session's lock, and with the index read afresh after.

        Raises what ``work`` raises; the session goes on.
        """
        self.commit_waiting()
        self._release()
        try:
            work()
        finally:
            self._acquire()

    def _keep_lock(self, lock: HeldLock) -> None:
        from govsec.repo.lock import find_exclusive

        other = find_exclusive(self.near, self.repository.suite, self._site.clock, own_id=lock.id)
        if other is not None:
            self._release()
            raise LockedError(f"gives way, the repository is locked: {other.info}")
        try:
            lock.keep_alive()
        except LockedError as error:
            self._say(f"{error}; locking again and reading the index afresh")
            self._acquire()

    def _bring_back(self) -> None:
        """Give centers that are behind what they lack, so that a pause of the source does not leave them behind."""
        survey = self.near.survey(is_whole=True)
        for store in survey.current:
            if self.near.states.get(store.name).state is not SyncState.SYNCED:
                self.near.mark_in_step(store)
                self._say(f"{store.name} holds everything again")

    def _acquire(self) -> None:
        from govsec.repo.lock import acquire_lock

        def read() -> None:
            attach_key(self.near, self.repository)
            self.repository.load_index()
            self.generation += 1

        self._lock = acquire_lock(self.near, self.repository.suite, self._site.clock, exclusive=False, meanwhile=read)

    def _release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            try:
                lock.release()
            except StoreError as error:
                log.warning("lock not removed", extra={"lock": lock.id, "reason": str(error)})
