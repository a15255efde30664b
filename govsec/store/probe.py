"""What a store really enforces, tried with the credential that is at hand: a promise nobody tested is none.

Run with production's credential against another center, :func:`probe` answers the one question that matters: could a
thief of this credential erase what lies there? It tries, on objects of its own under ``govsec/probe/``, everything that
would: overwrite, delete, delete a version, shorten or bypass retention, and whether it may change the bucket's
versioning or policy (asked in ways that change nothing when they are allowed). What it may clean up it removes.

It also finds out what the store only pretends: conditional puts, refusal of damaged bodies, reading what was written.
"""

from __future__ import annotations

from govsec.clock import Clock
from govsec.errors import ObjectExistsError, ObjectNotFoundError, StoreDeniedError
from govsec.store.api import ObjectStore
from govsec.store.capabilities import Answer, StoreCapabilities, probe_name
from govsec.store.limit import LimitStore
from govsec.store.meter import MeterStore
from govsec.store.retry import RetryStore


def probe(store: ObjectStore, clock: Clock) -> StoreCapabilities:
    """Try ``store`` with the credential it carries.

    Leaves nothing behind but what it may not remove: a few small objects under ``govsec/probe/``.

    Raises:
        StoreError: the store cannot be reached, or may not even be written; then there is no record.
    """
    # Imported here: a site without S3 need not load botocore.
    from govsec.store.s3 import S3Store
    from govsec.store.s3probe import probe_s3

    bare = unwrapped(store)
    return probe_s3(bare, clock) if isinstance(bare, S3Store) else _probe_plain(bare, clock)


def unwrapped(store: ObjectStore) -> ObjectStore:
    """The store below the wrappers that retry, limit and count: a probe must see the server's own answers."""
    inner: ObjectStore = store
    while isinstance(inner, (RetryStore, LimitStore, MeterStore)):
        inner = inner.store
    return inner


def _probe_plain(store: ObjectStore, clock: Clock) -> StoreCapabilities:
    """A store without versions: directories, memory."""
    name = probe_name()
    store.put(name, b"first", if_absent=True)
    reads_after_writes = store.get(name, size_max=100) == b"first"
    try:
        store.put(name, b"other", if_absent=True)
        has_conditional_put = False
    except ObjectExistsError:
        has_conditional_put = True
    overwrite, delete = _try_overwrite(store, name), _try_delete(store, name)
    return StoreCapabilities(
        store=store.name,
        time=clock.now(),
        is_versioned=False,
        has_object_lock=False,
        has_conditional_put=has_conditional_put,
        checks_content_md5=None,
        reads_after_writes=reads_after_writes,
        overwrite=overwrite,
        delete=delete,
        delete_version=Answer.NOTHING,
        bypass_governance=Answer.NOTHING,
        set_retention=Answer.NOTHING,
        shorten_retention=Answer.NOTHING,
        change_versioning=Answer.NOTHING,
        change_policy=Answer.NOTHING,
    )


def _try_overwrite(store: ObjectStore, name: str) -> Answer:
    try:
        store.put(name, b"second")
    except StoreDeniedError:
        return Answer.DENIED
    return Answer.ERASES if store.get(name, size_max=100) == b"second" else Answer.UNKNOWN


def _try_delete(store: ObjectStore, name: str) -> Answer:
    try:
        store.delete(name)
        store.head(name)
    except StoreDeniedError:
        return Answer.DENIED
    except ObjectNotFoundError:
        return Answer.ERASES
    return Answer.UNKNOWN
