"""The steps of a benchmark that are calls of the library: make a repository, check all of its data."""

from __future__ import annotations

import sys
from pathlib import Path

from govsec.clock import SystemClock
from govsec.config import read_secret
from govsec.repo.check import Scope, check
from govsec.repo.repository import Repository, WritableRepository
from govsec.store.local import LocalStore


def main(arguments: list[str]) -> int:
    """``[--init] DIR PASSWORD_FILE``; the exit code."""
    clock = SystemClock()
    *flags, directory, password_file = arguments
    password = read_secret(Path(password_file))
    if flags == ["--init"]:
        WritableRepository.initialize(LocalStore(Path(directory), create=True), password, clock)
        return 0
    repository = Repository.open(LocalStore(Path(directory)), password)
    return 0 if check(repository, clock=clock, scope=Scope.ALL_DATA).is_good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
