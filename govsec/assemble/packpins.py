"""Versions of packs from elsewhere that were used here: none goes back unseen.

A signature says who wrote a pack, not that it is the newest. Whoever hands in last year's pack, truly signed, takes the
checks of this year away. So ``STATE_DIR/packs.json`` remembers, for each signed pack, the highest version that a run
used and its digest; a lower version, or the same one with other contents, is refused.

Going back on purpose is a person's act: take the pack out of that file. Runs on record name their packs either way.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from govsec import canonical
from govsec.config import Model
from govsec.errors import ConfigurationError, IntegrityError
from govsec.policy.pack import Pack
from govsec.policy.packload import SHIPPED
from govsec.privatefile import make_private_directory, write_private

_NAME = "packs.json"
_SIZE_MAX = 1 << 20


class _Pin(Model):
    version: str
    sha256: str


_PINS: TypeAdapter[Mapping[str, _Pin]] = TypeAdapter(Mapping[str, _Pin])


def check_versions(state_dir: Path, packs: Sequence[Pack]) -> None:
    """Hold packs against what was used here before. Packs that came with govsec change with it, and are not held.

    Raises:
        IntegrityError: one is older than, or not the same as, the one of its version that was used.
        ConfigurationError: the file of versions cannot be read.
    """
    pins = _read(state_dir / _NAME)
    for pack in _others(packs):
        pin = pins.get(pack.id)
        if pin is None:
            continue
        if _order(pack.head.version) < _order(pin.version):
            raise IntegrityError(
                f"pack {pack.id}: version {pack.head.version} is older than {pin.version}, which was used here before; "
                f"to go back on purpose, take it out of {state_dir / _NAME}"
            )
        if pack.head.version == pin.version and pack.sha256 != pin.sha256:
            raise IntegrityError(f"pack {pack.id}: version {pin.version} was used here before with other contents")


def remember_versions(state_dir: Path, packs: Sequence[Pack]) -> None:
    """Keep what a run has used; :func:`check_versions` was asked before.

    Raises:
        ConfigurationError: it cannot be written; what was kept before still is.
    """
    path = state_dir / _NAME
    pins = dict(_read(path))
    changed = {**pins, **{pack.id: _Pin(version=pack.head.version, sha256=pack.sha256) for pack in _others(packs)}}
    if changed == pins:
        return
    try:
        make_private_directory(state_dir)
        write_private(path, canonical.dumps({name: pin.model_dump() for name, pin in changed.items()}))
    except OSError as error:
        raise ConfigurationError(f"{error.filename or path}: {error.strerror}") from error


def _others(packs: Sequence[Pack]) -> list[Pack]:
    return [pack for pack in packs if pack.trust != SHIPPED]


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _read(path: Path) -> Mapping[str, _Pin]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(_SIZE_MAX + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    if len(data) > _SIZE_MAX:
        raise ConfigurationError(f"{path}: larger than {_SIZE_MAX} bytes")
    try:
        return _PINS.validate_json(data)
    except ValidationError as error:
        raise ConfigurationError(f"{path}: not the versions of packs that were used") from error
