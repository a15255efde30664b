"""``center init`` and ``repo keys sync``: the only two ways by which ``config`` and ``keys/`` travel.

A key file opens the whole history, so it must never travel on the word of whoever can write into a store: a person runs
this, with credentials for the centers that are named. Everything here can be run again; what is there is left alone or
refused, never overwritten.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from govsec.centers import names
from govsec.centers.ship import absent_name
from govsec.crypto.signing import PublicKey, Purpose, Signer, TrustedKeys
from govsec.errors import ConfigurationError, IntegrityError, ObjectNotFoundError, RefusedError, StoreError
from govsec.secretfile import credential_path
from govsec.store.api import ObjectStore, ReadStore

_CONFIG_SIZE_MAX = 64 << 10
_KEY_SIZE_MAX = 64 << 10
#: restic looks at the first twenty keys only; more than this is no honest repository.
_KEYS_MAX = 100


@dataclass(frozen=True, slots=True)
class InitReport:
    """What was made at which center."""

    repository: str
    is_new: bool
    #: Centers that got ``config`` or a key now.
    reached: tuple[str, ...]
    #: Centers that could not be written, with the reason. Run again when they can.
    not_reached: tuple[tuple[str, str], ...]


def initialise(
    production: ObjectStore, others: Sequence[ObjectStore], create: Callable[[ObjectStore], object]
) -> InitReport:
    """Make the repository at production when there is none (``create``), and give the others its config and keys.

    Raises:
        RefusedError: another center holds a different repository already.
        StoreError: production cannot be written. Others that cannot are in the report.
    """
    is_new = absent_name(production, names.CONFIG)
    if is_new:
        for other in others:
            refuse_orphan(other)
        create(production)
    return _share(production, others, is_new=is_new)


def join(source: ReadStore, others: Sequence[ObjectStore]) -> InitReport:
    """Give ``others`` config and keys of ``source``: how a site begins that cannot write to production.

    Raises:
        RefusedError: one of them holds a different repository already; nothing was written.
        StoreError: ``source`` cannot be read. Others that cannot be written are in the report.
    """
    return _share(source, others, is_new=False)


def holder(stores: Sequence[ReadStore]) -> ReadStore | None:
    """The first of ``stores`` that holds a repository; None when all answer that they hold none.

    Raises:
        RefusedError: two of them hold different ones.
        StoreError: none is known to hold one, and this store did not answer.
    """
    held: list[tuple[ReadStore, bytes]] = []
    errors: list[StoreError] = []
    for store in stores:
        try:
            config = _config(store)
        except StoreError as error:
            errors.append(error)
            continue
        if config is not None:
            held.append((store, config))
    for store, config in held[1:]:
        if config != held[0][1]:
            raise RefusedError(f"{held[0][0].name} and {store.name} hold different repositories; nothing was changed")
    if held:
        return held[0][0]
    if errors:
        raise errors[0]
    return None


def _share(source: ReadStore, others: Sequence[ObjectStore], *, is_new: bool) -> InitReport:
    config = source.get(names.CONFIG, size_max=_CONFIG_SIZE_MAX)
    keys = _keys(source)
    missed: list[tuple[str, str]] = []
    wanting: list[ObjectStore] = []
    for other in others:
        try:
            if _config(other) not in (None, config):
                raise RefusedError(f"{other.name}: holds another repository; nothing was changed there")
            wanting.append(other)
        except StoreError as error:
            missed.append((other.name, str(error)))
    reached: list[str] = []
    for other in wanting:
        try:
            if _give(other, config, keys):
                reached.append(other.name)
        except StoreError as error:
            missed.append((other.name, str(error)))
    return InitReport(hashlib.sha256(config).hexdigest(), is_new, tuple(reached), tuple(missed))


def _config(store: ReadStore) -> bytes | None:
    try:
        return store.get(names.CONFIG, size_max=_CONFIG_SIZE_MAX)
    except ObjectNotFoundError:
        return None


def refuse_orphan(store: ReadStore) -> None:
    """Raise ``RefusedError`` when ``store`` holds a repository, which production does not."""
    try:
        has_config = not absent_name(store, names.CONFIG)
    except StoreError:
        return  # not reachable now: it is looked at again before anything is written to it
    if has_config:
        raise RefusedError(
            f"{store.name} holds a repository and production does not: it is lost, or its disk is not mounted; "
            "what is left fills it with: govsec center rebuild production"
        )


def _give(store: ObjectStore, config: bytes, keys: dict[str, bytes]) -> bool:
    is_changed = False
    found = _config(store)
    if found is not None and found != config:
        raise RefusedError(f"{store.name}: holds another repository; nothing was changed there")
    for name, data in keys.items():
        if absent_name(store, name):
            store.put(name, data)
            is_changed = True
    if found is None:
        # Last, because a config is what makes a store a repository.
        store.put(names.CONFIG, config)
        is_changed = True
    return is_changed


def _keys(store: ReadStore) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for info in store.list(names.KEYS):
        data = store.get(info.name, size_max=_KEY_SIZE_MAX)
        if hashlib.sha256(data).hexdigest() != names.digest_of(info.name):
            raise IntegrityError(f"{store.name}: {info.name} is not what its name says; it does not travel")
        found[info.name] = data
        if len(found) > _KEYS_MAX:
            raise RefusedError(f"{store.name}: more than {_KEYS_MAX} keys")
    return found


@dataclass(frozen=True, slots=True)
class KeySyncReport:
    """Which key files went where. While ``not_reached`` is not empty, a removed password still opens those centers."""

    added: tuple[tuple[str, str], ...]
    removed: tuple[tuple[str, str], ...]
    not_reached: tuple[tuple[str, str], ...]


def sync_keys(production: ReadStore, others: Sequence[ObjectStore]) -> KeySyncReport:
    """Make the key files of ``others`` those of production: add first, then remove.

    Removing a password does not change the master key: whoever opened the repository once can open what he copied.
    """
    wanted = _keys(production)
    if not wanted:
        raise RefusedError(f"{production.name}: has no keys; nothing is removed elsewhere on its word")
    added: list[tuple[str, str]] = []
    removed: list[tuple[str, str]] = []
    missed: list[tuple[str, str]] = []
    for other in others:
        try:
            present = {info.name for info in other.list(names.KEYS)}
            for name in sorted(wanted.keys() - present):
                other.put(name, wanted[name])
                added.append((other.name, name))
            for name in sorted(present - wanted.keys()):
                other.delete(name)
                if not absent_name(other, name):
                    raise StoreError(f"{other.name}: {name} is still there")
                removed.append((other.name, name))
        except StoreError as error:
            missed.append((other.name, str(error)))
    return KeySyncReport(tuple(added), tuple(removed), tuple(missed))


def make_signing_keys(wanted: Sequence[tuple[Purpose, Path, str]]) -> list[PublicKey]:
    """Make the key of each purpose at its path, under a name that people will know; keys that exist are kept.

    Raises:
        ConfigurationError: a file cannot be written, or is no key for its purpose.
    """
    made = []
    for purpose, configured, name in wanted:
        path = credential_path(configured)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            is_there = os.path.lexists(path)
        except OSError as error:
            raise ConfigurationError(f"{path.parent}: {error.strerror}") from error
        if is_there:
            signer = Signer.load(path, purpose)
        else:
            signer = Signer.generate(purpose)
            signer.save(path)
        made.append(signer.public(name))
    return made


def pin(path: Path, keys: Sequence[PublicKey]) -> TrustedKeys:
    """Add ``keys`` to the roots file at ``path``, which people compare and copy to the other sites.

    Raises:
        ConfigurationError: there is a roots file that cannot be read.
    """
    trusted = TrustedKeys.load(path) if path.exists() else TrustedKeys()
    for key in keys:
        trusted = trusted.with_key(key)
    trusted.save(path)
    return trusted
