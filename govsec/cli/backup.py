"""``govsec backup``: back up, look into snapshots, restore, forget.

Every verb works on a system of the configuration, or with ``--repo DIR --password-file FILE`` on one directory without
any configuration: what a person has who stands before a disk from a center.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from govsec.cli import frame, texts
from govsec.cli.choosing import add_choice, choose, fitting
from govsec.clock import format_time
from govsec.errors import CoverageError, GovsecError, UsageError

if TYPE_CHECKING:  # numpy and pydantic take their time; `govsec backup --help` does without them
    from govsec.assemble.backup import JobReport
    from govsec.centers.near import Receipt
    from govsec.repo.repository import Repository
    from govsec.repo.snapshot import Snapshot

_LISTED_MAX = 1_000_000


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


def run_run(args: argparse.Namespace, io: frame.IO) -> int:
    """Back up; 1 when a snapshot is incomplete.

    Jobs do not depend on each other: one that fails is named and the next is run. The exit code is then that of the
    failure, and 1 where there were several kinds. A receipt that meets the mode's demand ends with 0 also when a
    center is behind; that is said on both standard output and standard error.
    """
    from govsec.assemble.backup import jobs_of, open_directory, run_directory, run_job
    from govsec.backup.sources import FileSource

    if args.repo is not None:
        if not args.paths:
            raise UsageError("name at least one path to back up")
        source = FileSource(args.paths, exclude=args.exclude, one_file_system=args.one_file_system)
        repository = open_directory(args.repo, _password_file(args), create=args.create, clock=io.clock)
        reports = [
            run_directory(
                repository,
                source,
                clock=io.clock,
                tags=tuple(args.tag),
                workers=args.workers,
                is_rereading=args.reread,
                is_clock_accepted=args.accept_clock,
                progress=io.progress,
            )
        ]
    else:
        if args.paths:
            raise UsageError("paths are given with --repo; a system's paths are in the configuration")
        site, system = _site(args, io)
        jobs = jobs_of(system, tuple(args.job))
        reports, failures = [], {}
        for job in jobs:
            try:
                reports.append(
                    run_job(
                        site,
                        system,
                        job,
                        workers=args.workers,
                        is_rereading=args.reread,
                        is_clock_accepted=args.accept_clock,
                        progress=io.progress,
                    )
                )
            except GovsecError as error:
                if len(jobs) == 1:
                    raise
                failures[job.name] = error
        return _print_reports(reports, io, failures)
    return _print_reports(reports, io)


def run_stdin(args: argparse.Namespace, io: frame.IO) -> int:
    """Back up standard input."""
    import sys

    from govsec.assemble.backup import jobs_of, open_directory, run_directory, run_job
    from govsec.backup.sources import StreamSource

    source = StreamSource(sys.stdin.buffer, args.name)
    if args.repo is not None:
        repository = open_directory(args.repo, _password_file(args), create=False, clock=io.clock)
        report = run_directory(
            repository,
            source,
            clock=io.clock,
            tags=tuple(args.tag),
            is_clock_accepted=args.accept_clock,
            progress=io.progress,
        )
    else:
        site, system = _site(args, io)
        job = jobs_of(system, tuple(args.job))[0]
        report = run_job(site, system, job, source=source, is_clock_accepted=args.accept_clock, progress=io.progress)
    return _print_reports([report], io)


def run_list(args: argparse.Namespace, io: frame.IO) -> int:
    """List the snapshots, oldest first."""
    repository = _repository(args, io)
    found = fitting(args, io, repository)
    data = {
        "snapshots": [_snapshot_facts(snapshot) for snapshot in found],
        "unreadable": [item.name for item in repository.unreadable],
    }

    def words() -> str:
        rows = [
            (
                snapshot.short_id,
                snapshot.time.strftime("%Y-%m-%d %H:%M:%SZ"),
                snapshot.hostname,
                ",".join(snapshot.tags),
                "" if snapshot.summary is None else texts.size(snapshot.summary.total_bytes_processed),
                ", ".join(texts.printable(path) for path in snapshot.paths),
            )
            for snapshot in found
        ]
        return texts.table(("snapshot", "time", "host", "tags", "size", "paths"), rows)

    io.result(data, words)
    return 0


def run_ls(args: argparse.Namespace, io: frame.IO) -> int:
    """List entries of a snapshot."""
    import os

    from govsec.backup.listing import list_entries

    repository = _repository(args, io)
    snapshot = choose(args, io, repository, args.snapshot)
    entries = list_entries(repository, snapshot, os.fsencode(args.path), recursive=args.recursive)
    return _print_many(io, "entries", (_entry_facts(entry.path, entry.node) for entry in entries), _entry_line)


def run_find(args: argparse.Namespace, io: frame.IO) -> int:
    """Find paths; 1 when there are none."""
    from govsec.backup.listing import find
    from govsec.backup.patterns import Patterns

    repository = _repository(args, io)
    patterns = Patterns(args.pattern)
    snapshots = (
        fitting(args, io, repository) if args.snapshot is None else [choose(args, io, repository, args.snapshot)]
    )
    found = (
        {"snapshot": snapshot.id, **_entry_facts(entry.path, entry.node)}
        for snapshot in snapshots
        for entry in find(repository, snapshot, patterns)
    )
    count = 0

    def counted() -> Iterable[dict[str, Any]]:
        nonlocal count
        for item in found:
            count += 1
            yield item

    _print_many(io, "found", counted(), lambda item: f"{item['snapshot'][:8]}  {_entry_line(item)}")
    return 0 if count else 1


def run_diff(args: argparse.Namespace, io: frame.IO) -> int:
    """Compare two snapshots."""
    import os

    from govsec.backup.listing import diff

    repository = _repository(args, io)
    before, after = (choose(args, io, repository, selector) for selector in (args.before, args.after))
    changes = (
        {"change": change.kind.value, "path": os.fsdecode(change.path)} for change in diff(repository, before, after)
    )
    return _print_many(io, "changes", changes, lambda item: f"{item['change']}    {texts.printable(item['path'])}")


def run_dump(args: argparse.Namespace, io: frame.IO) -> int:
    """Write a file's content, or a directory as tar."""
    import os

    from govsec.backup.listing import dump_file, dump_tar, find_entry

    if io.is_json:
        raise UsageError("dump writes the content itself; it has no JSON")
    repository = _repository(args, io)
    snapshot = choose(args, io, repository, args.snapshot)
    path = os.fsencode(args.path)
    if path.strip(b"/") and (entry := find_entry(repository, snapshot, path)).node.type == "file":
        for piece in dump_file(repository, entry.node):
            io.raw(piece)
    else:
        dump_tar(repository, snapshot, path, _RawOutput(io))  # type: ignore[arg-type]  # write() is all that tar asks for
    return 0


def run_restore(args: argparse.Namespace, io: frame.IO) -> int:
    """Restore; 1 when something could not be restored as it was, 7 when nothing is what was asked for."""
    from govsec.backup.restore import Overwrite, restore

    if args.delete and args.target == Path("/") and not args.include:
        raise UsageError("--delete into / needs --include: it would remove what the snapshot never saw")
    repository = _repository(args, io)
    snapshot = choose(args, io, repository, args.snapshot)
    report = restore(
        repository,
        snapshot,
        args.target,
        include=args.include,
        exclude=args.exclude,
        overwrite=Overwrite(args.overwrite),
        is_deleting=args.delete,
        is_dry_run=args.dry_run,
        is_verifying=args.verify,
        is_durable=args.sync,
        allow_devices=args.devices,
        allow_set_id=args.set_id,
        workers=args.workers,
        clock=io.clock,
        progress=io.progress,
    )
    verb = "would restore" if args.dry_run else "restored"
    lines = [
        f"{verb} {report.files} files ({texts.size(report.size_bytes)}), {report.directories} directories, "
        f"{report.others} others of snapshot {snapshot.short_id} to {args.target}"
    ]
    if report.skipped or report.deleted:
        lines.append(f"left as they were: {report.skipped}, removed: {report.deleted}")
    if report.fallbacks:
        lines.append(f"read from another place than asked first: {report.fallbacks} blobs")
    lines += _problem_lines(report.problems, report.problems_count)
    io.result({"restore": report}, "\n".join(lines))
    # A directory is made only on the way to what is matched, so none means that nothing was.
    if args.include and not (report.directories or report.files or report.others or report.problems_count):
        asked = ", ".join(texts.printable(pattern) for pattern in args.include)
        raise CoverageError(f"snapshot {snapshot.short_id}: no entry matches --include {asked}; nothing was restored")
    return 0 if report.is_complete else 1


def run_forget(args: argparse.Namespace, io: frame.IO) -> int:
    """Apply a retention policy to the snapshots of one directory, or show what a system's policy decides."""
    from govsec.assemble.backup import forget, open_directory, with_policy
    from govsec.assemble.order import committed_order
    from govsec.backup.retention import apply_policy
    from govsec.config import RetentionPolicy

    changes = {name: getattr(args, name) for name in _POLICY_OPTIONS}
    changes["keep_tags"] = tuple(tuple(tags.split(",")) for tags in args.keep_tag)
    if args.repo is not None:
        policy = with_policy(RetentionPolicy(), changes)
        repository = open_directory(args.repo, _password_file(args), create=False, clock=io.clock)
        decisions = forget(repository, policy, clock=io.clock, is_dry_run=args.dry_run)
    else:
        if not args.dry_run:
            raise UsageError(
                "a system's snapshots are released by `govsec repo prune` and `govsec center release`; add --dry-run"
            )
        site, system = _site(args, io)
        policy = with_policy(system.retention, changes)
        read = _repository(args, io)
        committed = committed_order(site, read.store)
        decisions = apply_policy(read.snapshots(strict=True), policy, now=io.clock.now(), committed=committed)
    removed = sum(not decision.is_kept for decision in decisions)
    data = {
        "dry_run": args.dry_run,
        "removed": removed,
        "decisions": [
            {"snapshot": item.snapshot.id, "time": item.snapshot.time, "keep": item.is_kept, "reasons": item.reasons}
            for item in decisions
        ],
    }

    def words() -> str:
        rows = [
            (
                "keep" if item.is_kept else "remove",
                item.snapshot.short_id,
                item.snapshot.time.strftime("%Y-%m-%d %H:%M:%SZ"),
                item.snapshot.hostname,
                "; ".join(item.reasons),
            )
            for item in decisions
        ]
        return texts.table(("", "snapshot", "time", "host", "reasons"), rows)

    io.result(data, words)
    return 0


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


_POLICY_OPTIONS = (
    *(f"keep_{name}" for name in ("last", "hourly", "daily", "weekly", "monthly", "yearly")),
    *(f"keep_within{name}" for name in ("", "_hourly", "_daily", "_weekly", "_monthly", "_yearly")),
)


def _add_forget(verbs: frame.Verbs[frame.Parser]) -> None:
    parser = _add(
        verbs,
        "forget",
        run_forget,
        "remove snapshots that no rule keeps",
        "govsec backup forget --repo DIR --password-file FILE --keep-daily 7 --keep-within 30d --dry-run",
    )
    for name in _POLICY_OPTIONS:
        option = "--" + name.replace("_", "-")
        if "within" in name:
            parser.add_argument(option, metavar="SPAN", help="such as 1y6m3d12h, back from the newest snapshot")
        else:
            parser.add_argument(option, type=int, default=0, metavar="N", help="so many; -1 keeps all")
    parser.add_argument("--keep-tag", action="append", default=[], metavar="TAG[,TAG…]", help="those with all of these")
    parser.add_argument("--dry-run", action="store_true", help="remove nothing, say what would be")


def _site(args: argparse.Namespace, io: frame.IO) -> Any:
    from govsec.assemble.systems import Site

    site = Site(io.config(), io.clock)
    return site, site.system(args.system)


def _repository(args: argparse.Namespace, io: frame.IO) -> Repository:
    from govsec.assemble.backup import open_directory, open_for_reading

    if args.repo is not None:
        return open_directory(args.repo, _password_file(args), create=False, clock=io.clock)
    site, system = _site(args, io)
    return open_for_reading(site, system, args.center)


def _password_file(args: argparse.Namespace) -> Path:
    if args.password_file is None:
        raise UsageError("--repo needs --password-file")
    path: Path = args.password_file
    return path


def _count(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 64:
        raise argparse.ArgumentTypeError("a number from 0 to 64")
    return number


def _print_reports(reports: list[JobReport], io: frame.IO, failures: Mapping[str, GovsecError] | None = None) -> int:
    failures = failures or {}
    lines = []
    behind = []
    for report in reports:
        result = report.result
        title = f"{report.job}: " if report.job else ""
        seconds = sum(result.seconds.values())
        lines.append(
            f"{title}snapshot {result.snapshot.short_id}: {result.files} files, {texts.size(result.size_bytes)}, "
            f"{texts.size(result.summary.data_added_packed)} new, in {texts.duration(seconds)}"
        )
        if report.receipt is not None:
            lines.append(f"  held by {', '.join(report.receipt.held_by)} (commit {report.receipt.number})")
            missing = [f"{title}{line}" for line in _missing_lines(report.receipt)]
            lines += [f"  {line}" for line in missing]
            behind += missing
        lines += _problem_lines(result.problems, result.problems_count)
    lines += [f"{job}: FAILED: {texts.printable(str(error))}" for job, error in failures.items()]
    errors = [
        {"job": job, "kind": frame.kind_of(error), "message": str(error), "exit_code": error.exit_code}
        for job, error in failures.items()
    ]
    io.result({"backups": [_report_facts(report) for report in reports], "errors": errors}, "\n".join(lines))
    for line in [*behind, *(f"{job}: {error}" for job, error in failures.items())]:
        io.warn(line)
    codes = {error.exit_code for error in failures.values()}
    if not all(report.result.is_complete for report in reports):
        codes.add(1)
    return 0 if not codes else codes.pop() if len(codes) == 1 else 1


def _missing_lines(receipt: Receipt) -> list[str]:
    """A line for each center that should hold the commit and does not."""
    if receipt.reached != "degraded":
        return []
    lines = []
    for name, state in receipt.states.items():
        if name not in receipt.held_by:
            since = "" if state.since is None else f", {state.state.value} since {format_time(state.since)}"
            lines.append(f"NOT at {name}: {state.reason or 'it did not take everything'}{since}")
    return lines


def _report_facts(report: JobReport) -> dict[str, Any]:
    result = report.result
    return {
        "job": report.job,
        "snapshot": result.snapshot_id,
        "time": result.snapshot.time,
        "files": result.files,
        "bytes": result.size_bytes,
        "summary": {name: getattr(result.summary, name) for name in result.summary.__struct_fields__},
        "objects": len(result.objects),
        "seconds": result.seconds,
        "problems": result.problems,
        "problems_count": result.problems_count,
        "receipt": report.receipt,
        "witness": {"nonce": report.has_nonce, "samples": report.samples_count},
    }


def _problem_lines(problems: Iterable[Any], count: int) -> list[str]:
    shown = [f"  {texts.printable(problem.path)}: {problem.what}" for problem in list(problems)[:20]]
    if not count:
        return []
    more = [f"  … and {count - len(shown)} more"] if count > len(shown) else []
    return [f"problems: {count}", *shown, *more]


def _snapshot_facts(snapshot: Snapshot) -> dict[str, Any]:
    summary = snapshot.summary
    return {
        "id": snapshot.id,
        "time": snapshot.time,
        "tree": snapshot.tree,
        "parent": snapshot.parent,
        "paths": snapshot.paths,
        "hostname": snapshot.hostname,
        "username": snapshot.username,
        "tags": snapshot.tags,
        "program_version": snapshot.program_version,
        "files": None if summary is None else summary.total_files_processed,
        "bytes": None if summary is None else summary.total_bytes_processed,
    }


def _entry_facts(path: bytes, node: Any) -> dict[str, Any]:
    import os

    return {
        "path": os.fsdecode(path),
        "type": node.type,
        "mode": node.mode,
        "uid": node.uid,
        "gid": node.gid,
        "size": node.size,
        "mtime": node.mtime,
    }


def _entry_line(item: dict[str, Any]) -> str:
    return f"{item['type']:8} {item['size']:>12} {item['mtime'][:19]} {texts.printable(item['path'])}"


def _print_many(io: frame.IO, name: str, items: Iterable[dict[str, Any]], line: Callable[[dict[str, Any]], str]) -> int:
    """Print as many lines as there are, as they come; as JSON one object, which is bounded."""
    if not io.is_json:
        for item in items:
            io.result({}, line(item))
        return 0
    kept: list[dict[str, Any]] = []
    for item in items:
        if len(kept) == _LISTED_MAX:
            raise UsageError(f"more than {_LISTED_MAX} {name}; narrow it down or leave out --json")
        kept.append(item)
    io.result({name: kept})
    return 0


class _RawOutput:
    """Standard output as the file that a tar stream is written to."""

    def __init__(self, io: frame.IO) -> None:
        self._io = io

    def write(self, data: bytes) -> int:
        self._io.raw(data)
        return len(data)
