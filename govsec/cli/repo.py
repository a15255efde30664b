"""``govsec repo``: make, check, prune and repair a repository, and manage its passwords.

Every verb works on a system of the configuration (``--system``, at ``--center``), or with ``--repo DIR --password-file
FILE`` on one directory without any configuration.
"""

from __future__ import annotations

import argparse
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from govsec.cli import frame, repowords, texts
from govsec.errors import UsageError

if TYPE_CHECKING:  # numpy and pydantic take their time; `govsec repo --help` does without them
    from govsec.assemble.repo import Place
    from govsec.repo.check import Budget, Scope

_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_UNITS_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_MASTER_KEY = (
    "The master key is the same as before: who copied a key file and knows its password still opens what he can read."
)


def register(parser: frame.Parser) -> None:
    """Add the verbs."""
    verbs = frame.verbs_of(parser)
    _add(verbs, "init", run_init, "make a new repository", "govsec repo init --repo /mnt/disk --password-file key")
    _add_check(verbs)
    _add_keys(verbs)
    _add_prune(verbs)
    unlock = _add(verbs, "unlock", run_unlock, "remove stale locks", "govsec repo unlock --system hr")
    unlock.add_argument("--all", action="store_true", help="also those that somebody may still hold")
    adopt = _add(verbs, "adopt", run_adopt, "take over a repository of stock restic", "govsec repo adopt --system hr")
    adopt.add_argument("--structure-only", action="store_true", help="do not read all data")
    adopt.add_argument(
        "--released",
        action="store_true",
        help="what stock restic removed from production is let go of at the other centers too, under their retention",
    )
    rebuild = _add(
        verbs,
        "rebuild-index",
        run_rebuild_index,
        "make the index say what is in the packs",
        "govsec repo rebuild-index --system hr --dry-run",
    )
    rebuild.add_argument("--read-all", action="store_true", help="from the packs alone, whatever the index says")
    rebuild.add_argument("--dry-run", action="store_true", help="say what would be done")
    _add(verbs, "stats", run_stats, "count snapshots, packs, blobs and bytes", "govsec repo stats --system hr")


def run_init(args: argparse.Namespace, io: frame.IO) -> int:
    """Make a repository."""
    place = _place(args, io)
    repository = place.initialize()
    facts = {"repository": place.name, "id": repository.config.id, "key": repository.key_id}
    io.result(facts, f"{place.name}: repository {repository.config.id[:10]} made; without its password it is lost")
    return 0


def run_check(args: argparse.Namespace, io: frame.IO) -> int:
    """Check; 6 when something is damaged, 7 when nothing or not everything could be looked at."""
    from govsec.repo.check import Scope, check

    place = _place(args, io)
    scope = _scope(args)
    record_store = None if scope is Scope.STRUCTURE else place.record_store()
    report = check(
        place.repository(),
        clock=io.clock,
        scope=scope,
        workers=args.workers,
        record_store=record_store,
        center=place.record_name,
        progress=io.progress,
    )
    io.result(repowords.check_facts(report), lambda: repowords.check_words(report))
    return report.exit_code


def run_prune(args: argparse.Namespace, io: frame.IO) -> int:
    """Prune a directory or production."""
    from govsec.assemble.repo import prune_place
    from govsec.repo.pruneplan import PrunePolicy

    place = _place(args, io)
    grace = place.grace if args.grace is None else args.grace
    result = prune_place(
        place,
        grace=grace,
        policy=PrunePolicy(args.max_unused, args.max_repack),
        is_dry_run=args.dry_run,
        is_emptying_allowed=args.allow_empty,
        is_forgetting=not args.keep_snapshots,
        progress=io.progress,
    )
    facts = {name: getattr(result, name) for name in type(result).__dataclass_fields__}
    io.result(facts, lambda: repowords.prune_words(result, grace))
    return 0


def run_unlock(args: argparse.Namespace, io: frame.IO) -> int:
    """Remove locks."""
    from govsec.repo.lock import remove_locks

    repository = _place(args, io).writable()
    removed = remove_locks(repository.object_store, repository.suite, io.clock, everything=args.all)
    io.result({"removed": [item.name for item in removed]}, f"{len(removed)} locks removed")
    return 0


def run_adopt(args: argparse.Namespace, io: frame.IO) -> int:
    """Look at all of a repository; with other centers, commit its snapshots so that they are shipped."""
    from govsec.assemble.repo import commit_adopted
    from govsec.repo.adopt import adopt
    from govsec.repo.check import Scope

    place = _place(args, io)
    scope = Scope.STRUCTURE if args.structure_only else Scope.ALL_DATA
    adoption = adopt(place.repository(), clock=io.clock, scope=scope, progress=io.progress)
    report = adoption.check
    committed = commit_adopted(place, is_releasing=args.released) if adoption.is_adoptable else None
    adopted, released = committed or (None, None)
    facts: dict[str, Any] = {
        "repository": adoption.repository_id,
        "snapshots_count": adoption.snapshots_count,
        "first": adoption.first,
        "last": adoption.last,
        "hosts": adoption.hosts,
        "notes": adoption.notes,
        "check": repowords.check_facts(report),
        "committed_count": None if adopted is None else len(adopted.receipts),
        "refused": {} if adopted is None else dict(adopted.refused),
        "released_in_commit": None if released is None else released.number,
    }
    words = [repowords.check_words(report), "", *adoption.notes]
    if adopted is not None:
        words.append(f"{len(adopted.receipts)} snapshots committed, {len(adopted.refused)} refused")
    if released is not None:
        words.append(f"what stock restic removed was released in commit {released.number}")
    io.result(facts, "\n".join(words))
    return report.exit_code or (1 if adopted is not None and adopted.refused else 0)


def run_rebuild_index(args: argparse.Namespace, io: frame.IO) -> int:
    """Rebuild; 6 when packs cannot be read."""
    from govsec.errors import IntegrityError
    from govsec.repo.rebuild import rebuild_index

    place = _place(args, io)
    if place.has_near:
        io.talk("other centers get the new index files with the next backup; `govsec center verify` shows how they are")
    report = rebuild_index(
        place.writable(), io.clock, read_all=args.read_all, dry_run=args.dry_run, progress=io.progress
    )
    facts = {
        "dry_run": args.dry_run,
        "kept_files": report.kept_files,
        "written_files": report.written_files,
        "removed_files": report.removed_files,
        "packs_read": report.packs_read,
        "unreadable": [{"object": item.name, "reason": item.reason} for item in report.unreadable],
    }
    words = [
        f"{report.packs_read} packs read; index files: {report.kept_files} kept, {report.written_files} written, "
        f"{len(report.removed_files)} removed"
    ]
    words += [f"  {texts.printable(item.name)}: {texts.printable(item.reason)}" for item in report.unreadable]
    io.result(facts, "\n".join(words))
    return IntegrityError.exit_code if report.unreadable else 0


def run_stats(args: argparse.Namespace, io: frame.IO) -> int:
    """Count what there is; 6 when parts of it cannot be read."""
    from govsec.repo.stats import collect_stats

    stats = collect_stats(_place(args, io).repository(), progress=io.progress)
    facts = {name: getattr(stats, name) for name in type(stats).__dataclass_fields__}
    rows = [
        ("snapshots", stats.snapshots_count, ""),
        ("files in all trees", stats.files_count, texts.size(stats.files_bytes)),
        ("data blobs", stats.data_blobs_count, texts.size(stats.data_bytes)),
        ("tree blobs", stats.tree_blobs_count, texts.size(stats.tree_bytes)),
        ("  unused", stats.unused_blobs_count, texts.size(stats.unused_bytes)),
        ("packs", stats.packs_count, texts.size(stats.packs_bytes)),
        ("  in no index", stats.unindexed_count, texts.size(stats.unindexed_bytes)),
        ("index files", stats.index_files_count, f"{texts.size(stats.index_memory_bytes)} in memory"),
    ]
    words = texts.table(("", "count", "bytes"), rows) + f"\ncompressed to {stats.compression:.0%} of the plain bytes"
    io.result(facts, words)
    return 6 if stats.problems_count else 0


def run_keys_list(args: argparse.Namespace, io: frame.IO) -> int:
    """List the key files."""
    from govsec.repo.keys import list_keys

    repository = _place(args, io).repository()
    keys = list_keys(repository.store)
    facts = [{"id": key.id, "is_used": key.id == repository.key_id, **repowords.key_facts(key.info)} for key in keys]
    rows = [
        (
            ("*" if key.id == repository.key_id else " ") + key.id[:10],
            key.info.username if key.info else "(unreadable)",
            key.info.hostname if key.info else "",
            key.info.created[:19] if key.info else "",
        )
        for key in keys
    ]
    io.result({"keys": facts}, lambda: texts.table(("id", "user", "host", "created"), rows))
    return 0


def run_keys_add(args: argparse.Namespace, io: frame.IO) -> int:
    """Add a password."""
    from govsec.assemble.repo import master_of
    from govsec.config import read_secret
    from govsec.crypto.passwords import refuse_weak
    from govsec.repo.keys import add_key

    place = _place(args, io)
    repository = place.writable()
    password = read_secret(args.new_password_file)
    refuse_weak(password, f"secret file {args.new_password_file}")
    with repository.lock(io.clock):
        key_id = add_key(
            repository.object_store, master_of(repository), password, io.clock, hostname=args.host, username=args.user
        )
    io.result({"id": key_id}, f"key {key_id[:10]} added" + _sync_hint(place))
    return 0


def run_keys_remove(args: argparse.Namespace, io: frame.IO) -> int:
    """Remove a password."""
    from govsec.repo.keys import remove_key, resolve_key

    place = _place(args, io)
    repository = place.writable()
    with repository.lock(io.clock, exclusive=True):
        key_id = resolve_key(repository.object_store, args.key)
        remove_key(repository.object_store, key_id, used_key_id=repository.key_id)
    io.result({"id": key_id, "note": _MASTER_KEY}, f"key {key_id[:10]} removed{_sync_hint(place)}\n{_MASTER_KEY}")
    return 0


def run_keys_passwd(args: argparse.Namespace, io: frame.IO) -> int:
    """Put a new password in the place of the one in use."""
    from govsec.assemble.repo import master_of
    from govsec.config import read_secret
    from govsec.crypto.passwords import refuse_weak
    from govsec.repo.keys import change_password

    place = _place(args, io)
    repository = place.writable()
    password = read_secret(args.new_password_file)
    refuse_weak(password, f"secret file {args.new_password_file}")
    with repository.lock(io.clock, exclusive=True):
        key_id = change_password(
            repository.object_store, master_of(repository), password, io.clock, used_key_id=repository.key_id
        )
    words = f"password changed: key {key_id[:10]} in the place of {repository.key_id[:10]}{_sync_hint(place)}"
    if place.system is not None:
        words += f"\nPut the new password into {place.system.password_file} at every site that holds it."
    facts = {"id": key_id, "replaced": repository.key_id, "note": _MASTER_KEY}
    io.result(facts, f"{words}\n{_MASTER_KEY}")
    return 0


def run_keys_sync(args: argparse.Namespace, io: frame.IO) -> int:
    """Give all centers production's key files; 1 when one was not reached."""
    from govsec.assemble.repo import sync_keys_of

    report = sync_keys_of(_place(args, io))
    facts = {"added": report.added, "removed": report.removed, "not_reached": dict(report.not_reached)}
    lines = [f"{len(report.added)} key files added, {len(report.removed)} removed"]
    lines += [f"NOT REACHED, a removed password still opens it: {name}: {why}" for name, why in report.not_reached]
    io.result(facts, "\n".join(lines))
    return 1 if report.not_reached else 0


def _place(args: argparse.Namespace, io: frame.IO) -> Place:
    from govsec.assemble.repo import directory_place, system_place

    if args.repo is None:
        if args.password_file is not None:
            raise UsageError("--password-file goes with --repo; a system's is in the configuration")
        return system_place(io.config(), io.clock, args.system, args.center)
    if args.system is not None or args.center is not None:
        raise UsageError("--repo is one directory; it does not go with --system or --center")
    return directory_place(args.repo, args.password_file, io.clock)


def _scope(args: argparse.Namespace) -> Scope | Budget:
    from govsec.repo.check import Budget, Scope

    if args.all and (args.budget is not None or args.time is not None):
        raise UsageError("--all reads everything; it does not go with --budget or --time")
    if args.budget is not None or args.time is not None:
        return Budget(args.budget, None if args.time is None else args.time.total_seconds())
    return Scope.ALL_DATA if args.all else Scope.STRUCTURE


def _sync_hint(place: Place) -> str:
    return "; other centers hear of it by `govsec repo keys sync`" if place.has_near else ""


def _add(verbs: frame.Verbs[frame.Parser], name: str, run: frame.Run, summary: str, *examples: str) -> frame.Parser:
    parser = frame.add_verb(verbs, name, run, summary, examples=examples)
    parser.add_argument("--system", metavar="NAME", help="a system of the configuration (default: the only one)")
    parser.add_argument("--center", metavar="NAME", help="a center, by name or role (default: production)")
    parser.add_argument("--repo", type=Path, metavar="DIR", help="a directory, instead of the configuration")
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="with --repo: the file of its password")
    return parser


def _add_check(verbs: frame.Verbs[frame.Parser]) -> None:
    check = _add(
        verbs,
        "check",
        run_check,
        "check the structure, all data, or as much data as a budget allows",
        "govsec repo check --system hr --center remote --all",
        "govsec repo check --system hr --budget 20G --time 2h      # every night; gets round, oldest first",
    )
    check.add_argument("--all", action="store_true", help="read and open all data")
    check.add_argument("--budget", type=_size, metavar="SIZE", help="read so much, longest unverified first (20G)")
    check.add_argument("--time", type=_time, metavar="TIME", help="stop reading after so long (30m, 2h)")
    check.add_argument("--workers", type=_count, help="worker processes (default: one a processor, at most 4)")


def _add_keys(verbs: frame.Verbs[frame.Parser]) -> None:
    keys = verbs.add_parser("keys", help="list, add, remove and change passwords", description="Manage passwords.")
    inner = frame.verbs_of(keys, dest="keys_verb")
    _add(inner, "list", run_keys_list, "list the key files; * opened the repository", "govsec repo keys list")
    add = _add(inner, "add", run_keys_add, "add a password", "govsec repo keys add --new-password-file key2")
    remove = _add(inner, "remove", run_keys_remove, "remove a password", "govsec repo keys remove 1f0c2a9b")
    remove.add_argument("key", metavar="ID", help="the first digits of the key file's id")
    passwd = _add(
        inner,
        "passwd",
        run_keys_passwd,
        "put a new password in the place of the one in use",
        "govsec repo keys passwd --new-password-file key2",
    )
    for parser in (add, passwd):
        parser.add_argument("--new-password-file", type=Path, metavar="FILE", required=True)
    add.add_argument("--host", help="the host that is written into the key file (default: this one)")
    add.add_argument("--user", help="the user that is written into the key file (default: you)")
    _add(inner, "sync", run_keys_sync, "give all centers production's key files", "govsec repo keys sync --system hr")


def _add_prune(verbs: frame.Verbs[frame.Parser]) -> None:
    prune = _add(
        verbs,
        "prune",
        run_prune,
        "release what no snapshot needs, and remove it after a grace",
        "govsec repo prune --system hr --dry-run",
        "govsec repo prune --repo /mnt/disk --password-file key --grace 7d",
    )
    prune.add_argument("--dry-run", action="store_true", help="say what would be done")
    prune.add_argument(
        "--grace", type=_time, metavar="TIME", help="between release and removal (default: the system's)"
    )
    prune.add_argument("--max-unused", type=_share, default=0.05, metavar="PERCENT", help="what may stay unused (5)")
    prune.add_argument("--max-repack", type=_size, metavar="SIZE", help="pack at most so much anew")
    prune.add_argument("--keep-snapshots", action="store_true", help="do not apply the system's retention first")
    prune.add_argument("--allow-empty", action="store_true", help="go on although there are no snapshots")


def _size(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,12})([KMGT]?)(?:i?B)?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 500M or 20G")
    return int(match[1]) * _UNITS_BYTES[match[2]]


def _time(text: str) -> timedelta:
    match = re.fullmatch(r"([0-9]{1,9})([smhdw]?)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 30m, 2h or 7d")
    return timedelta(seconds=int(match[1]) * _UNITS_S[match[2]])


def _share(text: str) -> float:
    match = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,3})?)%?", text)
    if match is None or float(match[1]) > 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no share such as 5 or 0.5 (percent)")
    return float(match[1]) / 100


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,2}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of processes")
    return int(text)
