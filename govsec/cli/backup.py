"""The topic ``govsec backup``: back up, look into snapshots, restore, forget. Its verbs and their options.

Every verb works on a system of the configuration, or with ``--repo DIR --password-file FILE`` on one directory without
any configuration: what a person has who stands before a disk from a center.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from govsec.cli import frame
from govsec.cli.backupforget import POLICY_OPTIONS, run_forget
from govsec.cli.backupgroup import run_group
from govsec.cli.backupread import run_diff, run_dump, run_find, run_list, run_ls
from govsec.cli.backuprestore import run_restore
from govsec.cli.backuprun import run_run, run_stdin
from govsec.cli.backupwatch import run_watch
from govsec.cli.choosing import add_choice


def register(parser: frame.Parser) -> None:
    """Add the verbs."""
    verbs = frame.verbs_of(parser)
    run = _add(
        verbs,
        "run",
        run_run,
        "back up a system, or paths into one directory",
        "govsec backup run --system hr",
        "govsec backup run --repo /mnt/disk/repo --password-file key /srv/data",
    )
    run.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="with --repo: what to back up")
    run.add_argument("--job", action="append", default=[], help="only this job of the system (may be repeated)")
    run.add_argument("--exclude", action="append", default=[], metavar="PATTERN", help="with --repo: leave out")
    run.add_argument("--one-file-system", action="store_true", help="with --repo: stay on the paths' file systems")
    run.add_argument("--create", action="store_true", help="with --repo: make the repository when it is not there")
    run.add_argument("--tag", action="append", default=[], help="with --repo: a word to find the snapshot by")
    run.add_argument("--reread", action="store_true", help="read every file, also those that look unchanged")
    _add_accept_clock(run)
    run.add_argument("--workers", type=_count, help="worker processes (default: one a processor, at most 4)")
    stdin = _add(
        verbs,
        "stdin",
        run_stdin,
        "back up standard input as one file",
        "pg_dump hr | govsec backup stdin --name hr.sql --job dump",
    )
    stdin.add_argument("--name", required=True, help="the file's name in the snapshot")
    stdin.add_argument("--job", action="append", default=[], help="the job whose tags and pack size are taken")
    stdin.add_argument("--tag", action="append", default=[], help="with --repo: a word to find the snapshot by")
    _add_accept_clock(stdin)
    _add_watch(verbs)
    _add_group(verbs)
    listing = _add(verbs, "list", run_list, "list the snapshots", "govsec backup list --system hr --json")
    add_choice(listing)
    ls = _add(verbs, "ls", run_ls, "list what is in a snapshot", "govsec backup ls latest /srv/data")
    ls.add_argument("snapshot")
    ls.add_argument("path", nargs="?", default="/")
    ls.add_argument("--recursive", action="store_true", help="with everything below")
    add_choice(ls)
    find = _add(verbs, "find", run_find, "find paths in snapshots", "govsec backup find '*.docx'")
    find.add_argument("pattern", nargs="+")
    find.add_argument("--snapshot", help="only in this one (default: in all)")
    add_choice(find)
    diff = _add(verbs, "diff", run_diff, "compare two snapshots", "govsec backup diff 1f0c2a9b latest")
    diff.add_argument("before")
    diff.add_argument("after")
    add_choice(diff)
    dump = _add(
        verbs,
        "dump",
        run_dump,
        "write a file, or a directory as tar, to standard output",
        "govsec backup dump latest /srv/data/a.db > a.db",
    )
    dump.add_argument("snapshot")
    dump.add_argument("path")
    add_choice(dump)
    _add_restore(verbs)
    _add_forget(verbs)


def _add(verbs: frame.Verbs[frame.Parser], name: str, run: frame.Run, summary: str, *examples: str) -> frame.Parser:
    parser = frame.add_verb(verbs, name, run, summary, examples=examples)
    where = parser.add_argument_group("where")
    where.add_argument("--system", help="a system of the configuration (default: the only one)")
    where.add_argument("--center", help="read at this center (default: production)")
    where.add_argument("--repo", type=Path, metavar="DIR", help="a repository in a directory, without configuration")
    where.add_argument("--password-file", type=Path, metavar="FILE", help="with --repo: what opens it")
    return parser


def _add_accept_clock(parser: frame.Parser) -> None:
    parser.add_argument(
        "--accept-clock", action="store_true", help="this clock is right, though the last backup's was ahead of it"
    )


def _add_group(verbs: frame.Verbs[frame.Parser]) -> None:
    parser = frame.add_verb(
        verbs,
        "group",
        run_group,
        "make one recovery point of several jobs; list a group's recovery points, or bring all of it back",
        examples=(
            "govsec backup group office",
            "govsec backup group office --list --center remote",
            "govsec backup group office --restore /srv/recovered --center remote",
        ),
    )
    parser.add_argument("group", help="the group's name in the configuration")
    parser.add_argument("--system", help="the system (default: the only one)")
    parser.add_argument("--list", action="store_true", help="its recovery points, newest first")
    parser.add_argument("--restore", type=Path, metavar="DIR", help="bring every member back into a new folder")
    parser.add_argument("--center", help="where to look (default: the first that can be read)")
    parser.add_argument("--snapshot", help="with --restore: the recovery point (default: the newest)")


def _add_watch(verbs: frame.Verbs[frame.Parser]) -> None:
    parser = frame.add_verb(
        verbs,
        "watch",
        run_watch,
        "protect a job's files continuously",
        examples=("govsec backup watch files --system hr", "govsec backup watch files --status"),
    )
    parser.add_argument("job", nargs="?", help="a job that says how it is watched, watch: {} (default: the only one)")
    parser.add_argument("--status", action="store_true", help="how the watcher stands; 1 when a person is needed")
    parser.add_argument("--prometheus", action="store_true", help="the same in the Prometheus text format")
    parser.add_argument("--system", help="a system of the configuration (default: the only one)")
    parser.add_argument(
        "--accept-source",
        action="store_true",
        help="file systems that are gone since the last run, or a source that was emptied, are meant to be so",
    )
    parser.add_argument("--workers", type=_count, help="worker processes of a comparison (default: one a processor)")


def _add_restore(verbs: frame.Verbs[frame.Parser]) -> None:
    parser = _add(
        verbs,
        "restore",
        run_restore,
        "restore a snapshot or a part of it",
        "govsec backup restore latest --target /srv/restored",
        "govsec backup restore 1f0c2a9b --target / --include /srv/data/hr --overwrite if-changed --dry-run",
    )
    parser.add_argument("snapshot", help="latest, or the first digits of an id")
    add_choice(parser)
    parser.add_argument("--target", type=Path, required=True, help="entries are written at their paths below it")
    parser.add_argument("--include", action="append", default=[], metavar="PATTERN", help="only what is matched")
    parser.add_argument("--exclude", action="append", default=[], metavar="PATTERN", help="leave out")
    parser.add_argument("--overwrite", choices=("always", "if-changed", "if-newer", "never"), default="always")
    parser.add_argument("--delete", action="store_true", help="remove what is not in the snapshot")
    parser.add_argument("--dry-run", action="store_true", help="change nothing, say what would be done")
    parser.add_argument("--verify", action="store_true", help="read every file again and compare")
    parser.add_argument("--sync", action="store_true", help="return only when all is on the disk")
    parser.add_argument("--devices", action="store_true", help="restore device nodes (root)")
    parser.add_argument("--set-id", action="store_true", help="restore set-id bits and file capabilities")
    parser.add_argument("--workers", type=_count, help="worker processes (default: one a processor, at most 4)")


def _add_forget(verbs: frame.Verbs[frame.Parser]) -> None:
    parser = _add(
        verbs,
        "forget",
        run_forget,
        "remove snapshots that no rule keeps",
        "govsec backup forget --repo DIR --password-file FILE --keep-daily 7 --keep-within 30d --dry-run",
    )
    for name in POLICY_OPTIONS:
        option = "--" + name.replace("_", "-")
        if "within" in name:
            parser.add_argument(option, metavar="SPAN", help="such as 1y6m3d12h, back from the newest snapshot")
        else:
            parser.add_argument(option, type=int, default=0, metavar="N", help="so many; -1 keeps all")
    parser.add_argument("--keep-tag", action="append", default=[], metavar="TAG[,TAG…]", help="those with all of these")
    parser.add_argument("--dry-run", action="store_true", help="remove nothing, say what would be")


def _count(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 64:
        raise argparse.ArgumentTypeError("a number from 0 to 64")
    return number
