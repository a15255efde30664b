"""Key files in a repository: open it, add a password, change one, remove one.

Key files come from the store, and whoever may write there may put junk beside them. So files whose digest is not their
name, other formats and costs without measure are passed over, cheap files are tried before dear ones, and trying ends
when it has cost as much as twenty ordinary files (restic tries twenty). A ``key_hint`` (an id, remembered from the last
time) is tried first of all.

Removing a password does not change the master key: who copied a key file before and knows its password still opens
every center that he can read.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from govsec.clock import Clock
from govsec.crypto.keyfile import (
    KEY_FILE_SIZE_MAX,
    KdfParameters,
    KeyFileInfo,
    create_key_file,
    open_key_file,
    read_key_file_info,
)
from govsec.crypto.restic import MasterKey
from govsec.errors import (
    FormatError,
    IntegrityError,
    LimitError,
    ObjectNotFoundError,
    RefusedError,
    UsageError,
    WrongPasswordError,
)
from govsec.repo.layout import Kind, id_in_name, object_name
from govsec.repo.sources import Sources
from govsec.runtime.begun import Begun
from govsec.store.api import ObjectStore, ReadStore

#: Twenty files of the usual cost (N·r·p): about a quarter of a minute.
_WORK_MAX = 20 * 32768 * 8
_FILES_MAX = 1000
#: Shortest start of an id that people may type.
_PREFIX_MIN = 4


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """One key file of a repository; ``info`` is None when it is none that govsec reads."""

    id: str
    info: KeyFileInfo | None


class KeySearch:
    """The search for the key file that a password opens, begun at once and in a thread.

    Deriving a key takes a fifth of a second in which the processor's other cores are free: a program begins it first of
    all, loads the rest of itself meanwhile, and hands it to ``Repository.opened``. Until then nobody else may use
    ``store`` and ``fallbacks``.
    """

    def __init__(
        self, store: ReadStore, password: bytes, *, key_hint: str | None = None, fallbacks: Sequence[ReadStore] = ()
    ) -> None:
        self.store = store
        self.fallbacks = tuple(fallbacks)
        self._found = Begun(lambda: find_key(store, password, key_hint=key_hint, fallbacks=fallbacks))

    def result(self) -> tuple[MasterKey, str]:
        """Waits for the end of the search; as :func:`find_key`."""
        return self._found.result()


def find_key(
    store: ReadStore, password: bytes, *, key_hint: str | None = None, fallbacks: Sequence[ReadStore] = ()
) -> tuple[MasterKey, str]:
    """As :func:`find_master_key`, in the first of several stores that gives one."""
    sources = Sources([store, *fallbacks])
    return sources.first_good(lambda one: find_master_key(one, password, key_hint=key_hint))


def find_master_key(store: ReadStore, password: bytes, *, key_hint: str | None = None) -> tuple[MasterKey, str]:
    """The master key and the id of the key file that gave it.

    Raises:
        ObjectNotFoundError: there are no key files: no repository here.
        WrongPasswordError: no file opens with this password; not all are tried when there is junk.
    """
    found = [(key_id, data, _cost(data)) for key_id, data in _key_files(store)]
    if not found:
        raise ObjectNotFoundError(f"{store.name}: no key files; there is no repository here")
    tries_count = spent = 0
    for key_id, data, cost in sorted(found, key=lambda key: (key[0] != key_hint, key[2], key[0])):
        if tries_count and spent + cost > _WORK_MAX:
            break
        try:
            return open_key_file(data, password), key_id
        except (FormatError, LimitError):
            continue
        except WrongPasswordError:
            tries_count += 1
            spent += cost
    raise WrongPasswordError(f"{store.name}: no key file opens with this password ({tries_count} tried)")


def list_keys(store: ReadStore) -> list[KeyInfo]:
    """All key files and what they say in the clear."""
    keys = []
    for key_id, data in _key_files(store):
        try:
            keys.append(KeyInfo(key_id, read_key_file_info(data)))
        except IntegrityError:
            keys.append(KeyInfo(key_id, None))
    return keys


def resolve_key(store: ReadStore, digits: str) -> str:
    """The whole id of the key file that begins with ``digits``. Raises ``UsageError`` unless exactly one does."""
    found = [key.id for key in list_keys(store) if key.id.startswith(digits)]
    if len(digits) < _PREFIX_MIN or len(found) != 1:
        raise UsageError(
            f"key {digits[:64]!r}: {len(found)} key files begin so; exactly one must, and {_PREFIX_MIN} digits at least"
        )
    return found[0]


def add_key(
    store: ObjectStore,
    master: MasterKey,
    password: bytes,
    clock: Clock,
    *,
    hostname: str | None = None,
    username: str | None = None,
    kdf: KdfParameters | None = None,
) -> str:
    """Wrap the master key under one more password; the id of the new key file."""
    data = create_key_file(
        master,
        password,
        hostname=socket.gethostname() if hostname is None else hostname,
        username=user_name() if username is None else username,
        created=clock.now(),
        kdf=kdf,
    )
    key_id = hashlib.sha256(data).hexdigest()
    store.put(object_name(Kind.KEY, key_id), data)
    return key_id


def remove_key(store: ObjectStore, key_id: str, *, used_key_id: str) -> None:
    """Remove one password's key file.

    Raises:
        RefusedError: it is the one that opened the repository, or there is none of this id.
    """
    if key_id == used_key_id:
        raise RefusedError(f"key {key_id[:8]} opened this repository and cannot be removed with itself")
    if key_id not in {key.id for key in list_keys(store)}:
        raise RefusedError(f"{store.name}: no key file {key_id[:64]!r}")
    store.delete(object_name(Kind.KEY, key_id))


def change_password(
    store: ObjectStore,
    master: MasterKey,
    password: bytes,
    clock: Clock,
    *,
    used_key_id: str,
    kdf: KdfParameters | None = None,
) -> str:
    """Put a new password in the place of the one in use; the id of its file.

    The new file is read back and opened before the old one goes; when this raises, the old password still opens.
    """
    key_id = add_key(store, master, password, clock, kdf=kdf)
    written = store.get(object_name(Kind.KEY, key_id), size_max=KEY_FILE_SIZE_MAX)
    if open_key_file(written, password) != master:
        raise IntegrityError(f"key {key_id[:8]}: {store.name} does not give back what was written; nothing was removed")
    store.delete(object_name(Kind.KEY, used_key_id))
    return key_id


def user_name() -> str:
    """The name of the user that runs this, or the number where the system knows no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _cost(data: bytes) -> int:
    """The work that trying a password takes, in N·r·p; 0 for a file that will not be tried."""
    try:
        kdf = read_key_file_info(data).kdf
        kdf.check()
    except IntegrityError:
        return 0
    return kdf.n * kdf.r * kdf.p


def _key_files(store: ReadStore) -> Iterator[tuple[str, bytes]]:
    """Key files whose digest is their name."""
    count = 0
    for item in store.list(Kind.KEY.prefix):
        key_id = id_in_name(Kind.KEY, item.name)
        if key_id is None or item.size_bytes > KEY_FILE_SIZE_MAX:
            continue
        data = store.get(item.name, size_max=KEY_FILE_SIZE_MAX)
        if hashlib.sha256(data).hexdigest() == key_id:
            yield key_id, data
        count += 1
        if count == _FILES_MAX:
            break
