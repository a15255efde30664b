"""``govsec incident report``, ``state`` and ``bulletin``: what is handed in, from what cases know and people say."""

from __future__ import annotations

import argparse
import getpass
from pathlib import Path

from govsec.cli import frame
from govsec.cli.incidentchange import entry_of, tell, tongue
from govsec.errors import UsageError

_KINDS = ("first", "supplementary", "final")


def register(verbs: frame.Verbs[frame.Parser]) -> None:
    """Add the verbs."""
    report = frame.add_verb(
        verbs,
        "report",
        run_report,
        "the first, supplementary or final report on a case, with a meter of what is missing; with --output it is "
        "written as a file and into the case",
        examples=[
            "govsec incident report 20261122-0001",
            "govsec incident report 20261122-0001 --kind first --output 首报.docx --by 张三",
            "govsec incident report --write-template ours.docx        # then change it in Word",
            "govsec incident report 20261122-0001 --template ours.docx --output 首报.docx",
        ],
    )
    report.add_argument("case", metavar="CASE", nargs="?")
    report.add_argument("--kind", choices=_KINDS, help="default: final when handling has ended, else what comes next")
    report.add_argument("--output", type=Path, metavar="FILE", help="write it: .docx, .json or .txt")
    report.add_argument("--template", type=Path, metavar="FILE", help="a Word file of your own, for .docx")
    report.add_argument("--write-template", type=Path, metavar="FILE", help="write the shipped Word form, to change it")
    report.add_argument("--by", metavar="PERSON", help="in whose name (default: this system's user)")
    state = frame.add_verb(
        verbs,
        "state",
        run_state,
        "answer one part of a report; `report` names those that are missing",
        examples=["govsec incident state 20261122-0001 cause '后台弱口令被猜中，页面被替换' --by 张三"],
    )
    state.add_argument("case", metavar="CASE")
    state.add_argument("part", metavar="PART", help="place, impact, cause, traces, plan, support, scene, harm …")
    state.add_argument("text", metavar="TEXT")
    state.add_argument("--by", metavar="PERSON", help="in whose name (default: this system's user)")
    bulletin = frame.add_verb(
        verbs,
        "bulletin",
        run_bulletin,
        "the monthly bulletin (通报): events by class and level, times, drills, protection, with charts",
        examples=[
            "govsec incident bulletin",
            "govsec incident bulletin --month 2026-11 --output 通报.html",
        ],
    )
    bulletin.add_argument("--month", metavar="YYYY-MM", help="default: the month before this one")
    bulletin.add_argument("--output", type=Path, metavar="FILE", help="write it: .html, .json or .txt")


def run_report(args: argparse.Namespace, io: frame.IO) -> int:
    """Print or write a report."""
    from govsec.assemble.incident import build_desk, open_cases
    from govsec.assemble.incidentreport import build_report, made_entry, write_form, write_report
    from govsec.incident.reportform import Report
    from govsec.report.incidentreport import report_text

    if (args.case is None) == (args.write_template is None):
        raise UsageError("name a case, or a file for the form with --write-template")
    if args.write_template is not None:
        write_form(args.write_template, tongue(io))
        io.result({"file": str(args.write_template)}, str(args.write_template))
        return 0
    if args.template is not None and args.output is None:
        raise UsageError("--template goes with --output FILE.docx")
    by = args.by or getpass.getuser()
    with open_cases(io.config()) as store:
        desk = build_desk(io.config(), store, io.clock)
        kind = None if args.kind is None else Report(args.kind)
        record = build_report(io.config(), desk, args.case, kind, by)
        if args.output is not None:
            write_report(record, args.output, tongue(io), template=args.template)
            # After the file: what the case says was written is there.
            desk.add(args.case, made_entry(record, by, io.clock.now()))
    io.result(record, lambda: report_text(record, tongue(io)))
    if args.output is not None:
        io.talk(str(args.output))
    return 0


def run_state(args: argparse.Namespace, io: frame.IO) -> int:
    """Answer a part."""
    from govsec.assemble.incident import build_desk, open_cases
    from govsec.incident.reportform import shipped_form

    shipped_form().check_part(args.part)
    with open_cases(io.config()) as store:
        desk = build_desk(io.config(), store, io.clock)
        tell(desk.add(args.case, entry_of("statement", args, io, part=args.part, text=args.text)), io)
    return 0


def run_bulletin(args: argparse.Namespace, io: frame.IO) -> int:
    """Print or write the bulletin."""
    from govsec.assemble.bulletin import build_bulletin, write_bulletin
    from govsec.assemble.systems import Site
    from govsec.incident.bulletin import Month
    from govsec.report.bulletin import bulletin_text

    month = Month.of(io.clock.now()).back(1) if args.month is None else Month.parse(args.month)
    record = build_bulletin(Site(io.config(), io.clock), month)
    if args.output is not None:
        write_bulletin(record, args.output, tongue(io))
    io.result(record, lambda: bulletin_text(record, tongue(io)))
    if args.output is not None:
        io.talk(str(args.output))
    return 0
