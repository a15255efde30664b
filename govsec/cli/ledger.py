"""``govsec ledger``: verify, show and export the signed chain of evidence."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from govsec.cli import frame, texts
from govsec.errors import UsageError

if TYPE_CHECKING:  # pydantic and cryptography take their time; `govsec ledger --help` does without them
    from govsec.crypto.signing import TrustedKeys
    from govsec.ledger.entry import Entry, Head
    from govsec.ledger.verify import LedgerReport
    from govsec.store.api import ReadStore

_EXIT_UNREACHABLE = 4
_EXIT_INTEGRITY = 6
_EXIT_COVERAGE = 7
_SHOWN_PROBLEMS_MAX = 20
_HEAD = re.compile(r"([A-Za-z0-9_=-]{1,128}):([0-9]{1,12}):([0-9a-f]{64})")


def register(parser: frame.Parser) -> None:
    """Add the verbs ``verify``, ``show`` and ``export``."""
    verbs = frame.verbs_of(parser)
    verify = frame.add_verb(
        verbs,
        "verify",
        run_verify,
        "check every copy of every entry; 6 when something is wrong, 4 when a center did not answer, 7 when empty",
        examples=[
            "govsec ledger verify",
            "govsec ledger verify --file ledger.jsonl --roots roots.yaml --head CHAIN:17:DIGEST   # offline",
        ],
    )
    verify.add_argument(
        "--head",
        action="append",
        default=[],
        metavar="CHAIN:NUMBER:DIGEST",
        help=("a head that was written down (reports print one): finds what was cut from all centers"),
    )
    show = frame.add_verb(
        verbs,
        "show",
        run_show,
        "print entries, the newest last",
        examples=["govsec ledger show --kind drill. --limit 5", "govsec ledger show --number 17 --json"],
    )
    show.add_argument("--kind", default="", help="only kinds that start so")
    show.add_argument("--subject", help="only this subject")
    show.add_argument("--chain", default="", help="only chains (keys) that start so")
    show.add_argument("--number", type=int, help="only entries of this number")
    show.add_argument("--since", metavar="TIME", help="only entries written at or after this time (RFC 3339)")
    show.add_argument("--limit", type=int, default=50, help="at most so many, the newest (default 50)")
    export = frame.add_verb(
        verbs,
        "export",
        run_export,
        "write the whole ledger to one file that verifies offline",
        examples=["govsec ledger export --output ledger.jsonl"],
    )
    export.add_argument("--output", type=Path, required=True, metavar="FILE", help="a new file")
    for verb in (verify, show):
        verb.add_argument("--file", type=Path, help="an exported ledger, instead of the centers")
        verb.add_argument("--roots", type=Path, help="pinned public keys (default: the configuration's)")
    for verb in (verify, show, export):
        verb.add_argument("--system", help="the system (default: the only one)")


def run_verify(args: argparse.Namespace, io: frame.IO) -> int:
    """Verify."""
    from govsec.ledger.verify import verify

    heads = [_head(text) for text in args.head]
    stores, trusted, claimed = _place(args, io)
    report = verify(stores, trusted, pinned_heads=[*heads, *claimed])
    facts = {
        "is_clean": report.is_clean,
        "entries_count": report.entries_count,
        "copies_count": report.copies_count,
        "centers": list(report.centers),
        "unreachable": report.unreachable,
        "not_held": [{"center": center, "chain": chain} for center, chain in report.not_held],
        "heads": list(report.heads),
        "problems_count": report.problems_count,
        "problems": [
            {"fault": item.fault.value, "center": item.center, "name": item.name, "detail": item.detail}
            for item in report.problems
        ],
    }
    io.result(facts, lambda: _verify_words(report))
    if report.problems_count:
        return _EXIT_INTEGRITY
    if report.unreachable:
        return _EXIT_UNREACHABLE
    return 0 if report.is_clean else _EXIT_COVERAGE


def run_show(args: argparse.Namespace, io: frame.IO) -> int:
    """Show entries."""
    from collections import deque

    from govsec.clock import parse_time
    from govsec.ledger.verify import LedgerReport, walk

    if not 1 <= args.limit <= 10_000:
        raise UsageError(f"--limit {args.limit}: from 1 to 10000")
    try:
        since = None if args.since is None else parse_time(args.since)
    except ValueError as error:
        raise UsageError(f"--since: {error}") from error
    stores, trusted, _ = _place(args, io)
    report = LedgerReport()
    kept: deque[Entry] = deque(maxlen=args.limit)
    for entry in walk(stores, trusted, report):
        if (
            entry.evidence.kind.startswith(args.kind)
            and args.subject in (None, entry.evidence.subject)
            and entry.chain.startswith(args.chain)
            and args.number in (None, entry.number)
            and (since is None or entry.written >= since)
        ):
            kept.append(entry)
    entries = sorted(kept, key=lambda entry: (entry.written, entry.chain, entry.number))
    io.result(
        {"entries": [_entry_facts(entry) for entry in entries], "problems_count": report.problems_count},
        lambda: texts.table(
            ["written", "kind", "subject", "number", "chain"],
            [
                [f"{e.written:%Y-%m-%d %H:%M:%S}", e.evidence.kind, e.evidence.subject, e.number, e.chain[:12]]
                for e in entries
            ],
        ),
    )
    if report.problems_count:
        io.talk(f"warning: the ledger has {report.problems_count} problems; run `govsec ledger verify`")
        return _EXIT_INTEGRITY
    return 0


def run_export(args: argparse.Namespace, io: frame.IO) -> int:
    """Export."""
    from govsec.assemble.ledger import ledger_stores
    from govsec.assemble.systems import Site
    from govsec.errors import ConfigurationError
    from govsec.ledger.export import export

    site = Site(io.config(), io.clock)
    stores = ledger_stores(site, site.system(args.system))
    trusted = site.trusted()
    temporary = args.output.with_name(f".{args.output.name}.new")
    try:
        if args.output.exists():
            raise UsageError(f"{args.output}: is there already")
        with temporary.open("xb") as file:
            try:
                report = export(stores, trusted, file, io.clock.now())
            except BaseException:
                temporary.unlink()
                raise
        temporary.rename(args.output)
    except OSError as error:
        raise ConfigurationError(f"{args.output}: {error.strerror}") from error
    facts = {"file": str(args.output), "entries_count": report.entries_count, "heads": list(report.heads)}
    io.result(facts, lambda: f"{args.output}: {report.entries_count} entries\n{_head_words(report)}")
    return 0


def _place(args: argparse.Namespace, io: frame.IO) -> tuple[list[ReadStore], TrustedKeys, tuple[Head, ...]]:
    """Where to look, whom to trust, and the heads that an exported file claims to have."""
    from govsec.assemble.ledger import ledger_stores
    from govsec.assemble.systems import Site
    from govsec.crypto.signing import TrustedKeys

    if args.file is not None:
        from govsec.ledger.export import ExportFile

        exported = ExportFile(args.file)
        # An assessor's machine has the file, the roots and no configuration.
        trusted = TrustedKeys.load(args.roots) if args.roots else Site(io.config(), io.clock).trusted()
        return [exported], trusted, exported.heads
    site = Site(io.config(), io.clock)
    trusted = TrustedKeys.load(args.roots) if args.roots else site.trusted()
    return ledger_stores(site, site.system(args.system)), trusted, ()


def _head(text: str) -> Head:
    from govsec.ledger.entry import Head

    match = _HEAD.fullmatch(text)
    if match is None:
        raise UsageError(f"--head {text[:80]!r}: expected CHAIN:NUMBER:DIGEST, as reports and `verify` print it")
    return Head(match[1], int(match[2]), match[3])


def _entry_facts(entry: Entry) -> dict[str, object]:
    return {
        "chain": entry.chain,
        "number": entry.number,
        "digest": entry.digest,
        "previous": entry.previous,
        "written": entry.written,
        "evidence": entry.evidence.canonical(),
    }


def _verify_words(report: LedgerReport) -> str:
    if report.problems_count:
        state = f"{report.problems_count} PROBLEMS"
    elif not report.entries_count:
        state = "empty: nothing was verified"
    else:
        state = "clean as far as it could be reached" if report.unreachable else "clean"
    lines = [f"{state}: {report.entries_count} entries, {report.copies_count} copies at {', '.join(report.centers)}"]
    if report.unreachable:
        lines += [f"not reachable: {center}: {why}" for center, why in report.unreachable.items()]
    for center, chain in report.not_held:
        lines.append(f"hint: {center} holds nothing of chain {chain}; right where its writer may not write, else wiped")
    for item in report.problems[:_SHOWN_PROBLEMS_MAX]:
        where = f" at {item.center}" if item.center else ""
        lines.append(f"{item.fault.value}{where}: {item.name}: {item.detail}")
    if report.problems_count > _SHOWN_PROBLEMS_MAX:
        lines.append(f"… and {report.problems_count - _SHOWN_PROBLEMS_MAX} more (--json has them)")
    return "\n".join(lines) + "\n" + _head_words(report)


def _head_words(report: LedgerReport) -> str:
    return "\n".join(f"head {head.chain}:{head.number}:{head.digest}" for head in report.heads)
