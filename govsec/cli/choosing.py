"""Which snapshot a verb of ``govsec backup`` means, where one repository holds the snapshots of several jobs.

``latest`` alone is the newest of all, whatever it is of; so the person is told which one that was when there were
others to mean, and ``--job``, ``--path``, ``--tag`` and ``--host`` say which.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from govsec.cli import frame, texts
from govsec.errors import UsageError

if TYPE_CHECKING:  # see govsec.cli.backup
    from govsec.repo.repository import Repository
    from govsec.repo.snapshot import Snapshot


def add_choice(parser: frame.Parser) -> None:
    """Add the options that narrow down which snapshots are meant."""
    choice = parser.add_argument_group("which snapshots")
    choice.add_argument("--job", metavar="NAME", help="those with just the paths of this backup job of the system")
    # Its own destination: some verbs have a positional argument of this name.
    choice.add_argument(
        "--path", dest="of_paths", action="append", default=[], help="those of this path (may be repeated: of all)"
    )
    choice.add_argument("--tag", action="append", default=[], help="those with this tag (may be repeated: with all)")
    choice.add_argument("--host", help="those made on this host")


def fitting(args: argparse.Namespace, io: frame.IO, repository: Repository) -> list[Snapshot]:
    """The snapshots that the options leave, oldest first.

    Raises:
        UsageError: there is no such job, or no configuration that could have one.
    """
    wanted = None if args.job is None else _paths_by_job(args, io, (args.job,))[args.job]
    return [
        snapshot
        for snapshot in repository.snapshots()
        if (wanted is None or wanted == set(snapshot.paths))
        and set(args.of_paths) <= set(snapshot.paths)
        and set(args.tag) <= set(snapshot.tags)
        and args.host in (None, snapshot.hostname)
    ]


def choose(args: argparse.Namespace, io: frame.IO, repository: Repository, selector: str) -> Snapshot:
    """The snapshot that ``selector`` and the options name; what ``latest`` left to chance is said on standard error.

    Raises:
        UsageError: none fits, or the digits fit several.
    """
    from govsec.repo.snapshot import select

    snapshots = fitting(args, io, repository)
    chosen = select(snapshots, selector)
    if selector == "latest" and len({frozenset(snapshot.paths) for snapshot in snapshots}) > 1:
        jobs = {} if args.repo is not None else _paths_by_job(args, io, ())
        names = [f"job {name}: " for name, paths in jobs.items() if paths == set(chosen.paths)][:1]
        io.talk(
            f"latest is snapshot {chosen.short_id} of {''.join(names)}{texts.printable(', '.join(chosen.paths))}; "
            "there are others of other paths, see --job and --path"
        )
    return chosen


def _paths_by_job(args: argparse.Namespace, io: frame.IO, names: tuple[str, ...]) -> dict[str, set[str]]:
    from govsec.assemble.backup import jobs_of, source_of
    from govsec.assemble.systems import Site
    from govsec.backup.archive import paths_of

    if args.repo is not None:
        raise UsageError("--job names a job of the configuration; with --repo use --path")
    system = Site(io.config(), io.clock).system(args.system)
    # A site without jobs, such as the remote one, still restores; it only has no names for what it finds.
    jobs = jobs_of(system, names) if names else list(system.backups)
    # The newest recovery point of a database holds its base backups and its log.
    return {
        job.name: {f"/{job.source.kind}/{job.name}"}
        if job.source.kind in ("postgres", "mariadb")
        else set(paths_of(source_of(job)))
        for job in jobs
    }
