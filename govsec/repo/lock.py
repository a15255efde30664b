"""Locks as restic has them, honoured both ways: many may share, one may exclude.

::

    {"time": …, "exclusive": bool, "hostname": …, "username": …, "pid": int, "uid": int, "gid": int}

A lock is an object under ``locks/``. It is created, 200 ms pass, the locks are listed again: of two processes that came
at the same moment at least one sees the other. Whoever has something to read first reads it in that time; what was
read counts when the second look found nobody. A holder writes a fresh one every five minutes; one that is older than
thirty minutes, or whose process on this host is gone, is stale and counts for nothing.

Locks are advisory, and the time in them is the writer's. A lock that cannot be read (junk, or being written) does not
stop a shared lock, or anybody who may write could stop backups for good; it does stop an exclusive one.

Source: restic ``doc/design.rst``, section "Locks"; ``internal/restic/lock.go`` for the times.
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from govsec.clock import Clock, format_time, parse_time
from govsec.crypto.api import Suite
from govsec.errors import (
    FormatError,
    IntegrityError,
    LockedError,
    ObjectNotFoundError,
    StoreError,
    StoreUnavailableError,
)
from govsec.repo.codec import Codec
from govsec.repo.keys import user_name
from govsec.repo.layout import LOCK_SIZE_MAX, Kind, id_in_name, object_name
from govsec.store.api import ObjectInfo, ObjectStore, ReadStore

log = logging.getLogger(__name__)

REFRESH_AFTER_S = 5 * 60
STALE_AFTER_S = 30 * 60
_SETTLE_S = 0.2
_ASK_EVERY_S = 1.0
_ATTEMPTS = 4
_LOCKS_MAX = 10_000


class LockInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a lock says."""

    time: str
    exclusive: bool = msgspec.field(default_factory=lambda: False)
    hostname: str = msgspec.field(default_factory=str)
    username: str = msgspec.field(default_factory=str)
    pid: int = msgspec.field(default_factory=lambda: 0)
    uid: int = 0
    gid: int = 0

    def __str__(self) -> str:
        kind = "exclusive" if self.exclusive else "shared"
        return f"{kind} lock of PID {self.pid} on {self.hostname[:80]} by {self.username[:80]} since {self.time[:40]}"


@dataclass(frozen=True, slots=True)
class StoredLock:
    """A lock in the store; ``info`` is None when it cannot be read."""

    id: str
    info: LockInfo | None
    moment: datetime | None


class HeldLock:
    """A lock that this process holds. Long work calls :meth:`keep_alive` now and then."""

    def __init__(self, store: ObjectStore, suite: Suite, clock: Clock, lock_id: str, *, exclusive: bool) -> None:
        self._store = store
        self._suite = suite
        self._clock = clock
        self._id = lock_id
        self._is_exclusive = exclusive
        self._written = clock.monotonic()

    @property
    def id(self) -> str:
        """The id of the object that stands for the lock now."""
        return self._id

    def keep_alive(self) -> None:
        """Write the lock afresh when five minutes have passed; cheap to call otherwise.

        A store that is unavailable just now is no reason to stop while the old lock still stands.

        Raises:
            LockedError: somebody removed the lock, or it went stale; what was done under it may meet others' work.
        """
        age_s = self._clock.monotonic() - self._written
        if age_s < REFRESH_AFTER_S:
            return
        if age_s >= STALE_AFTER_S:
            raise LockedError(f"lock {self._id[:8]}: not refreshed for {age_s:.0f} s; others may count it as stale")
        try:
            self._store.head(object_name(Kind.LOCK, self._id))
            fresh = _write(self._store, self._suite, self._clock, exclusive=self._is_exclusive)
            old, self._id, self._written = self._id, fresh, self._clock.monotonic()
            self._store.delete(object_name(Kind.LOCK, old))
        except ObjectNotFoundError as error:
            raise LockedError(f"lock {self._id[:8]} was removed by somebody else") from error
        except StoreUnavailableError:
            return

    def release(self) -> None:
        """Remove the lock."""
        self._store.delete(object_name(Kind.LOCK, self._id))


@contextmanager
def hold_lock(
    store: ObjectStore,
    suite: Suite,
    clock: Clock,
    *,
    exclusive: bool,
    meanwhile: Callable[[], None] | None = None,
    wait_s: float = 0,
) -> Iterator[HeldLock]:
    """Hold a lock of the repository for the length of a ``with`` block.

    ``meanwhile`` is called while the lock settles, at each attempt anew. It may read; nothing may be written before
    the block is entered, and what was read before the last attempt is void.

    ``wait_s`` is for an exclusive one: see :func:`wait_for_lock`.

    A lock that cannot be removed at the end goes stale by itself and is logged: the work in the block is what counts.

    Raises:
        LockedError: somebody holds a lock that excludes this one; four attempts were made.
    """
    if wait_s:
        lock = wait_for_lock(store, suite, clock, wait_s=wait_s)
    else:
        lock = acquire_lock(store, suite, clock, exclusive=exclusive, meanwhile=meanwhile)
    try:
        yield lock
    finally:
        _release(lock)


def acquire_lock(
    store: ObjectStore, suite: Suite, clock: Clock, *, exclusive: bool, meanwhile: Callable[[], None] | None = None
) -> HeldLock:
    """Create a lock; see :func:`hold_lock`."""
    for attempt in range(1, _ATTEMPTS + 1):
        _refuse_conflicts(store, suite, clock, own_id="", exclusive=exclusive)
        own_id = _write(store, suite, clock, exclusive=exclusive)
        lock = HeldLock(store, suite, clock, own_id, exclusive=exclusive)
        settled_at = clock.monotonic() + _SETTLE_S
        try:
            if meanwhile is not None:
                meanwhile()
            clock.sleep(max(0.0, settled_at - clock.monotonic()))
            _refuse_conflicts(store, suite, clock, own_id=own_id, exclusive=exclusive)
        except BaseException as error:  # Ctrl-C too: reading takes minutes at worst, a lock stands for half an hour
            _release(lock)
            if attempt == _ATTEMPTS or not isinstance(error, LockedError):
                raise
        else:
            return lock
    raise AssertionError("the last attempt returns or raises")


def wait_for_lock(store: ObjectStore, suite: Suite, clock: Clock, *, wait_s: float) -> HeldLock:
    """An exclusive lock, which stands while the holders of others are waited for: who works for days gives way to it.

    Nobody new gets a lock in the meantime, and of two who wait neither gets it.

    Raises:
        LockedError: somebody still holds one after ``wait_s``.
    """
    lock = HeldLock(store, suite, clock, _write(store, suite, clock, exclusive=True), exclusive=True)
    deadline = clock.monotonic() + wait_s
    try:
        while True:
            clock.sleep(_SETTLE_S)
            try:
                _refuse_conflicts(store, suite, clock, own_id=lock.id, exclusive=True)
            except LockedError:
                if clock.monotonic() >= deadline:
                    raise
                clock.sleep(_ASK_EVERY_S)
            else:
                return lock
    except BaseException:
        _release(lock)
        raise


def find_exclusive(store: ReadStore, suite: Suite, clock: Clock, *, own_id: str) -> StoredLock | None:
    """An exclusive lock that somebody else holds, or waits with; None when there is none."""
    now = clock.now()
    for lock in list_locks(store, suite):
        if lock.id != own_id and lock.info is not None and lock.info.exclusive and not is_stale(lock, now):
            return lock
    return None


def list_locks(store: ReadStore, suite: Suite) -> list[StoredLock]:
    """All locks, also stale ones and those that cannot be read."""
    codec = Codec()
    locks: list[StoredLock] = []
    for item in store.list(Kind.LOCK.prefix):
        lock_id = id_in_name(Kind.LOCK, item.name)
        # An empty object is a lock that another writer is just creating, or never finished; restic skips it as well.
        if lock_id is None or not item.size_bytes:
            continue
        if len(locks) == _LOCKS_MAX:
            raise LockedError(f"more than {_LOCKS_MAX} locks; see `repo unlock`")
        try:
            info = _read(store, suite, codec, lock_id)
        except ObjectNotFoundError:
            continue
        except IntegrityError:
            locks.append(StoredLock(lock_id, None, None))
            continue
        locks.append(StoredLock(lock_id, info, parse_time(info.time)))
    return locks


def is_stale(lock: StoredLock, now: datetime) -> bool:
    """Whether a lock counts for nothing: too old, or its process on this host is gone. Never true of an unreadable."""
    if lock.info is None or lock.moment is None:
        return False
    if now - lock.moment > timedelta(seconds=STALE_AFTER_S):
        return True
    return lock.info.hostname == socket.gethostname() and not _is_alive(lock.info.pid)


def remove_locks(store: ObjectStore, suite: Suite, clock: Clock, *, everything: bool = False) -> list[ObjectInfo]:
    """Remove stale locks, or all of them; what was removed."""
    now = clock.now()
    removed = []
    for lock in list_locks(store, suite):
        if everything or is_stale(lock, now):
            name = object_name(Kind.LOCK, lock.id)
            store.delete(name)
            removed.append(ObjectInfo(name, 0))
    return removed


def _release(lock: HeldLock) -> None:
    try:
        lock.release()
    except StoreError as error:
        log.warning("lock not removed", extra={"lock": lock.id, "reason": str(error)})


def _refuse_conflicts(store: ReadStore, suite: Suite, clock: Clock, *, own_id: str, exclusive: bool) -> None:
    now = clock.now()
    for lock in list_locks(store, suite):
        if lock.id == own_id or is_stale(lock, now):
            continue
        if lock.info is None:
            if exclusive:
                raise LockedError(f"repository: lock {lock.id[:8]} cannot be read; remove it with `repo unlock --all`")
            continue
        if exclusive or lock.info.exclusive:
            raise LockedError(f"repository is locked: {lock.info}")


def _write(store: ObjectStore, suite: Suite, clock: Clock, *, exclusive: bool) -> str:
    info = LockInfo(
        time=format_time(clock.now()),
        exclusive=exclusive,
        hostname=socket.gethostname(),
        username=user_name(),
        pid=os.getpid(),
        uid=os.getuid(),
        gid=os.getgid(),
    )
    sealed = suite.seal(Codec().pack_json(msgspec.json.encode(info)))
    lock_id = hashlib.sha256(sealed).hexdigest()
    store.put(object_name(Kind.LOCK, lock_id), sealed)
    return lock_id


def _read(store: ReadStore, suite: Suite, codec: Codec, lock_id: str) -> LockInfo:
    data = store.get(object_name(Kind.LOCK, lock_id), size_max=LOCK_SIZE_MAX)
    if hashlib.sha256(data).hexdigest() != lock_id:
        raise IntegrityError(f"lock {lock_id[:8]}: its content has another digest")
    try:
        info = msgspec.json.decode(codec.unpack_json(suite.open(data), LOCK_SIZE_MAX), type=LockInfo)
        parse_time(info.time).astimezone(UTC)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, ValueError, OverflowError) as error:
        raise FormatError(f"lock {lock_id[:8]}: {error}") from error
    return info


def _is_alive(pid: int) -> bool:
    if pid < 1:
        # No process, but groups of them; who wrote this cannot be asked after, so age alone decides.
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
