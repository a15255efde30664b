"""Repositories whose password is cheap to try: commands open them hundreds of times, a tenth of a second each."""

from __future__ import annotations

from pathlib import Path

from govsec.assemble.systems import Site
from govsec.clock import SystemClock
from govsec.config import Role, load_config
from govsec.crypto.keyfile import KdfParameters
from govsec.repo.repository import WritableRepository

CHEAP = KdfParameters(n=16, r=1, p=1)


def begin_cheaply(config: Path) -> None:
    """Make the repository at production, with a cheap key; ``center init`` then finds it and gives it to the others."""
    site = Site(load_config(config), SystemClock())
    system, production = site.system(), site.name_of(Role.PRODUCTION)
    assert production is not None
    store = site.store(system, production, create=True)
    WritableRepository.initialize(store, site.password(system), site.clock, kdf=CHEAP)
