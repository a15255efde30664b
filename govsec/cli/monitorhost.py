"""``govsec monitor host``: what runs, listens and is installed on this machine, as tables."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from govsec.cli import frame, texts
from govsec.cli.monitorreplay import has_configuration, tongue

if TYPE_CHECKING:  # pydantic takes its time; `govsec monitor --help` does without it
    from govsec.host.tables import HostSnapshot


def register(verbs: frame.Verbs[frame.Parser]) -> None:
    """Add the verb ``host``."""
    host = frame.add_verb(
        verbs,
        "host",
        run_host,
        "what runs, listens and is installed on this machine, and what could not be seen of it",
        examples=[
            "govsec monitor host",
            "govsec monitor host --table listeners --table accounts",
            "govsec monitor host --sweep --json | jq '.tables.privileged[].path'",
            "govsec monitor host --root /host --lang en",
            "govsec monitor host --sweep --html posture.html --data debian.json",
        ],
    )
    host.add_argument(
        "--table",
        action="append",
        metavar="NAME",
        help="print this table whole (again for more): processes, sockets, …",
    )
    host.add_argument("--count", type=int, default=100, metavar="N", help="rows of a table to print (default 100)")
    host.add_argument(
        "--sweep", action="store_true", help="search the disks for set-id programs and certificates too; takes a while"
    )
    host.add_argument(
        "--root",
        type=Path,
        default=Path("/"),
        metavar="DIR",
        help="a machine whose files are at DIR (default: this one)",
    )
    host.add_argument(
        "--html", type=Path, metavar="OUT", help="write the machine's posture to this file (self-contained)"
    )
    host.add_argument(
        "--data",
        type=Path,
        action="append",
        metavar="FILE",
        help="with --html: vulnerability data (OSV, Debian) to hold the packages against; again for more",
    )


def run_host(args: argparse.Namespace, io: frame.IO) -> int:
    """Print the machine."""
    from govsec.assemble.guard import sweeps_of
    from govsec.assemble.hostview import host_snapshot
    from govsec.errors import UsageError
    from govsec.host.record import host_record
    from govsec.host.snapshot import QUICK_TABLES, SWEPT_TABLES
    from govsec.host.tables import TableName
    from govsec.report.hostwords import overview, table_words

    if not 1 <= args.count <= 1_000_000:
        raise UsageError("--count: 1 to 1000000")
    unknown = sorted(set(args.table or ()) - set(TableName))
    if unknown:
        raise UsageError(f"--table {unknown[0]}: there are {', '.join(sorted(TableName))}")
    asked = set(args.table or (*QUICK_TABLES, TableName.PACKAGES)) | (SWEPT_TABLES if args.sweep else set())
    # Accounts give the names of users in every other table; what expires is one of the questions of the page.
    read = asked if io.is_json and not args.html else asked | {TableName.ACCOUNTS}
    if args.html:
        read |= {*QUICK_TABLES, TableName.PACKAGES, TableName.CERTIFICATES}
    if args.data and not args.html:
        raise UsageError("--data: goes with --html (govsec monitor vulnerabilities prints what is known)")
    # Where files are searched is configured; nothing else here needs a configuration.
    is_swept = not SWEPT_TABLES.isdisjoint(read)
    sweeps = sweeps_of(io.config()) if is_swept and has_configuration(io) else None
    snapshot = host_snapshot(read, root=args.root, sweeps=sweeps, clock=io.clock)
    if args.html:
        _write_page(args, io, snapshot)
    record = host_record(snapshot)

    def words() -> str:
        if not args.table:
            return overview(record, tongue(io))
        return "\n\n".join(table_words(record, name, args.count, tongue(io)) for name in dict.fromkeys(args.table))

    io.result(record, lambda: texts.printable_lines(words()))
    return 0


def _write_page(args: argparse.Namespace, io: frame.IO, snapshot: HostSnapshot) -> None:
    from govsec.assemble.posture import posture_record
    from govsec.errors import ConfigurationError
    from govsec.privatefile import write_private
    from govsec.report.posture import render_posture

    config = io.config() if has_configuration(io) else None
    record = posture_record(
        snapshot, io.clock, config=config, data=args.data or (), root=args.root, progress=io.progress
    )
    try:
        write_private(args.html, render_posture(record, tongue(io)).encode())
    except OSError as error:
        raise ConfigurationError(f"page {args.html}: {error.strerror}") from error
    io.talk(str(args.html))
