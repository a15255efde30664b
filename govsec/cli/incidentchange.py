"""Verbs of ``govsec incident`` that write into a case; ``incident`` registers them."""

from __future__ import annotations

import argparse
import getpass
import hashlib
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from govsec.cli import frame
from govsec.errors import UsageError

if TYPE_CHECKING:  # pydantic takes its time; `govsec incident --help` does without it
    from govsec.incident.desk import View


def run_new(args: argparse.Namespace, io: frame.IO) -> int:
    """Open a case."""
    from govsec.assemble.incident import build_desk, open_cases
    from govsec.incident.eventclasses import shipped_classes

    config = io.config()
    classes = shipped_classes().classes
    if args.event_class not in classes:
        raise UsageError(f"--class {args.event_class}: there are {', '.join(classes)}")
    said = {
        "title": args.title,
        "system": args.system,
        "aware_at": moment_of(args.aware, "--aware", io),
        "roles": tuple(args.role or config.incident.roles),
        "event_class": args.event_class,
        "protection_level": args.protection_level,
        "is_exercise": args.exercise,
    }
    facts = facts_of(args.fact)
    with open_cases(config) as store:
        desk = build_desk(config, store, io.clock)
        unknown = [role for role in said["roles"] if role not in desk.table.roles]
        if unknown:
            raise UsageError(f"--role {unknown[0]}: there are {', '.join(sorted(desk.table.roles))}")
        if facts:
            desk.check(facts)
        view = desk.open(entry_of("opened", args, io, **said))
        if facts:
            view = desk.add(view.case.id, entry_of("facts", args, io, facts=facts))
        tell(view, io)
    return 0


def run_fact(args: argparse.Namespace, io: frame.IO) -> int:
    """Write down facts."""
    return _change(args, io, "facts", facts=facts_of(args.fact), reason=args.reason)


def run_confirm(args: argparse.Namespace, io: frame.IO) -> int:
    """Settle the level."""
    from govsec.assemble.incident import build_desk, open_cases

    with open_cases(io.config()) as store:
        desk = build_desk(io.config(), store, io.clock)
        found = desk.view(args.case).classification
        said = {"level": args.level, "suggested": found.suggested.word, "highest_possible": found.highest_possible.word}
        tell(desk.add(args.case, entry_of("level", args, io, reason=args.reason, **said)), io)
    return 0


def run_circumstance(args: argparse.Namespace, io: frame.IO) -> int:
    """Say that something holds that brings duties of its own."""
    return _change(args, io, "circumstance", circumstance=args.circumstance, holds=args.holds, reason=args.reason)


def run_ack(args: argparse.Namespace, io: frame.IO) -> int:
    """Take a case on."""
    return _change(args, io, "acknowledged")


def run_assign(args: argparse.Namespace, io: frame.IO) -> int:
    """Give a case to somebody."""
    return _change(args, io, "assigned", to=args.to)


def run_move(args: argparse.Namespace, io: frame.IO) -> int:
    """Go to another stage."""
    return _change(args, io, "moved", to=args.to, reason=args.reason)


def run_receipt(args: argparse.Namespace, io: frame.IO) -> int:
    """Write down who took a report."""
    said = {"duty": args.duty, "taken_by": args.taken_by, "number": args.number, "channel": args.channel}
    if args.file is not None:
        said["digest"] = f"sha256:{_digest(args.file)}"
    return _change(args, io, "receipt", taken_at=moment_of(args.taken, "--taken", io), **said)


def run_late(args: argparse.Namespace, io: frame.IO) -> int:
    """Say why a report was late."""
    return _change(args, io, "late", duty=args.duty, reason=args.reason)


def run_received(args: argparse.Namespace, io: frame.IO) -> int:
    """Write down that a report from below came in."""
    said = {"sender": args.sender, "number": args.number}
    return _change(args, io, "received", received_at=moment_of(args.at, "--at", io), **said)


def run_ended(args: argparse.Namespace, io: frame.IO) -> int:
    """Say when handling ended."""
    return _change(args, io, "handling_ended", ended_at=moment_of(args.at, "--at", io))


def run_task(args: argparse.Namespace, io: frame.IO) -> int:
    """Give a task, or say that it is done."""
    if args.done is not None:
        return _change(args, io, "task_done", task=args.task, result=args.done)
    if not args.title or not args.owner:
        raise UsageError("a new task needs --title and --owner; one that is done needs --done")
    return _change(args, io, "task", task=args.task, title=args.title, owner=args.owner)


def run_text(args: argparse.Namespace, io: frame.IO) -> int:
    """Write something down."""
    return _change(args, io, args.entry, text=args.text)


def entry_of(kind: str, args: argparse.Namespace, io: frame.IO, **said: Any) -> Any:
    """An entry of this kind, now and in the name that was given.

    Raises:
        UsageError: what was said does not fit an entry.
    """
    from pydantic import ValidationError

    from govsec.incident.entries import ENTRY

    by = getattr(args, "by", None) or getpass.getuser()
    try:
        return ENTRY.validate_python({"kind": kind, "time": io.clock.now(), "by": by, **said})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"][1:])
        raise UsageError(f"{where or kind}: {first['msg']}") from error


def facts_of(lines: list[str]) -> dict[str, str]:
    """Facts as they are written, by field; the rules check them later.

    Raises:
        UsageError: a line is no ``FIELD=VALUE``, or a field is said twice.
    """
    facts: dict[str, str] = {}
    for line in lines:
        name, equals, text = line.partition("=")
        if not equals or not text or name in facts:
            raise UsageError(f"{line[:80]!r}: expected FIELD=VALUE, each field once")
        facts[name] = text
    return facts


def moment_of(text: str | None, option: str, io: frame.IO) -> datetime:
    """The moment that an option names; now when it is not given.

    Raises:
        UsageError: it is no time with a zone.
    """
    from govsec.clock import parse_time

    if text is None:
        return io.clock.now()
    try:
        return parse_time(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error


def tell(view: View, io: frame.IO) -> None:
    """Print a case after it was changed."""
    from govsec.incident.record import view_record
    from govsec.report.incident import case_words

    record = view_record(view)
    io.result(record, lambda: case_words(record, io.clock.now(), tongue(io)))


def tongue(io: frame.IO) -> Any:
    """The language of what is printed."""
    return "en" if io.lang == "en" else "zh"


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"--file {path}: {error.strerror}") from error


def _change(args: argparse.Namespace, io: frame.IO, kind: str, **said: Any) -> int:
    from govsec.assemble.incident import build_desk, open_cases

    with open_cases(io.config()) as store:
        desk = build_desk(io.config(), store, io.clock)
        tell(desk.add(args.case, entry_of(kind, args, io, **said)), io)
    return 0
