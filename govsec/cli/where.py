"""What the verbs of ``govsec backup`` share: where they work, and how they tell what went wrong."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from govsec.cli import frame, texts
from govsec.errors import UsageError

if TYPE_CHECKING:  # numpy and pydantic take their time; `govsec backup --help` does without them
    from govsec.assemble.systems import Site
    from govsec.config import SystemConfig
    from govsec.repo.repository import Repository, WritableRepository


def site_of(args: argparse.Namespace, io: frame.IO) -> tuple[Site, SystemConfig]:
    """The configuration's site, and the system that is meant."""
    from govsec.assemble.systems import Site

    site = Site(io.config(), io.clock)
    return site, site.system(args.system)


def begin_reading(args: argparse.Namespace, io: frame.IO) -> Callable[[], Repository]:
    """What gives the repository to read; what takes long to import is imported before it is asked.

    Raises as :mod:`govsec.assemble.opening`.
    """
    from govsec.assemble.opening import begin_system

    if args.repo is not None:
        return begin_directory(args, io)
    site, system = site_of(args, io)
    return begin_system(site, system, args.center)


def begin_directory(
    args: argparse.Namespace, io: frame.IO, *, create: bool = False
) -> Callable[[], WritableRepository]:
    """What gives the repository of ``--repo``, to write. Raises as :mod:`govsec.assemble.opening`."""
    from govsec.assemble import opening

    if args.password_file is None:
        raise UsageError("--repo needs --password-file")
    return opening.begin_directory(args.repo, args.password_file, create=create, clock=io.clock)


def problem_lines(problems: Iterable[Any], count: int) -> list[str]:
    """The first of what went wrong, a line each, and how many there were."""
    shown = [f"  {texts.printable(problem.path)}: {problem.what}" for problem in list(problems)[:20]]
    if not count:
        return []
    more = [f"  … and {count - len(shown)} more"] if count > len(shown) else []
    return [f"problems: {count}", *shown, *more]
