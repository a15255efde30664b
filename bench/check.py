"""The steps of a benchmark that are calls of the library: make a repository, check all of its data."""

from __future__ import annotations

import sys
from pathlib import Path

from govsec.config import read_secret
from govsec.repo.keys import KeySearch
from govsec.store.local import LocalStore


def main(arguments: list[str]) -> int:
    """``[--init] DIR PASSWORD_FILE``; the exit code."""
    *flags, directory, password_file = arguments
    password = read_secret(Path(password_file))
    if flags == ["--init"]:
        return _make(Path(directory), password)
    search = KeySearch(LocalStore(Path(directory)), password)
    # As the commands do: the key is derived while the rest of the program loads.
    from govsec.clock import SystemClock
    from govsec.repo.check import Scope, check
    from govsec.repo.repository import Repository

    repository = Repository.opened(search)
    return 0 if check(repository, clock=SystemClock(), scope=Scope.ALL_DATA).is_good else 1


def _make(directory: Path, password: bytes) -> int:
    from govsec.clock import SystemClock
    from govsec.repo.repository import WritableRepository

    WritableRepository.initialize(LocalStore(directory, create=True), password, SystemClock())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
