"""Opening a repository while the rest of the program is loaded: the search for its key begins at once.

Deriving the key and loading the modules that read a repository take about as long, and need different processors. So
what begins an opening imports none of them, and gives a function that waits for the key and then gives the repository.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from govsec.clock import Clock
from govsec.crypto.passwords import refuse_weak
from govsec.errors import ConfigurationError
from govsec.repo.keys import KeySearch
from govsec.secretfile import read_secret
from govsec.store.local import LocalStore

if TYPE_CHECKING:  # see the module's docstring
    from govsec.assemble.systems import Site
    from govsec.config import SystemConfig
    from govsec.repo.repository import Repository, WritableRepository


def begin_directory(
    path: Path, password_file: Path, *, clock: Clock, create: bool = False
) -> Callable[[], WritableRepository]:
    """What gives the repository in a directory; with ``create`` it is made first when it is not there.

    Raises (at once, or from what is given):
        WrongPasswordError, ConfigurationError, StoreError: as opening a repository and reading a secret do.
    """
    password = read_secret(password_file)
    if create and not (path / "config").exists():
        refuse_weak(password, f"secret file {password_file}")
    store = LocalStore(path, create=create)
    is_new = create and next(iter(store.list("config")), None) is None
    search = None if is_new else KeySearch(store, password)

    def opened() -> WritableRepository:
        from govsec.repo.repository import WritableRepository

        if search is None:
            return WritableRepository.initialize(store, password, clock)
        return WritableRepository.opened(search)

    return opened


def begin_system(site: Site, system: SystemConfig, center: str | None) -> Callable[[], Repository]:
    """What gives a system's repository at a center (the first that has a role, when none is named), to read.

    The other centers are its fallbacks.

    Raises:
        ConfigurationError: there is no center.
    """
    from govsec.config import Role

    wanted = (Role.PRODUCTION, Role.SAME_CITY, Role.REMOTE)
    names = [name for role in wanted if (name := site.name_of(role)) is not None]
    if not names:
        raise ConfigurationError("centers: none is configured")
    first = names[0] if center is None else site.center(center)[0]
    others = [name for name in names if name != first and _is_readable(site, name)]
    search = site.begin_search(system, first, others=others)

    def opened() -> Repository:
        from govsec.repo.repository import Repository

        return Repository.opened(search)

    return opened


def _is_readable(site: Site, name: str) -> bool:
    center = site.center(name)[1]
    if center.store.kind == "local":
        return center.store.path.is_dir()
    return bool(center.read_credentials_file or center.credentials_file or center.owner_credentials_file)
