"""``govsec incident``: open and keep cases, see how bad they are by the law and who must be told by when."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from govsec.cli import frame, incidentchange, incidentduty, incidentexercise, incidentreport, incidentsilence
from govsec.cli.incidentchange import facts_of, tongue
from govsec.errors import IntegrityError, RefusedError, UsageError

if TYPE_CHECKING:  # pydantic takes its time; `govsec incident --help` does without it
    from govsec.incident.desk import Desk

_EXIT_LATE = 1
_STAGES = ("found", "assessed", "notified", "responding", "handling", "recovering", "reviewed", "closed")
_LEVELS = ("general", "relatively_major", "major", "particularly_major")


def register(parser: frame.Parser) -> None:
    """Add the verbs."""
    verbs = frame.verbs_of(parser)
    _register_looking(verbs)
    _register_judging(verbs)
    _register_working(verbs)
    incidentreport.register(verbs)
    incidentduty.register(verbs)
    incidentsilence.register(verbs)
    incidentexercise.register(verbs)


def _register_looking(verbs: frame.Verbs[frame.Parser]) -> None:
    found = frame.add_verb(
        verbs,
        "list",
        run_list,
        "cases that are not closed, newest first",
        examples=[
            "govsec incident list",
            "govsec incident list --by-due --level relatively_major",
            "govsec incident list --all --json",
        ],
    )
    found.add_argument("--all", action="store_true", help="closed ones as well")
    found.add_argument("--level", choices=_LEVELS, default="general", help="this level and worse")
    found.add_argument("--system", help="of this system only")
    found.add_argument("--by-due", action="store_true", help="what must be reported soonest first")
    found.add_argument("--unacknowledged", action="store_true", help="only what nobody has taken on")
    found.add_argument("--limit", type=int, default=100, metavar="N", help="at most so many (default 100)")
    show = frame.add_verb(
        verbs,
        "show",
        run_show,
        "one case: its level and why, reports owed, tasks, evidence, timeline",
        examples=["govsec incident show 20261122-0001", "govsec incident show 20261122-0001 --json"],
    )
    show.add_argument("case", metavar="CASE")
    show.add_argument("--no-timeline", action="store_true", help="without the timeline")
    frame.add_verb(
        verbs, "board", run_board, "how many cases are open, late, taken by nobody", examples=["govsec incident board"]
    )
    due = frame.add_verb(
        verbs,
        "deadlines",
        run_deadlines,
        "reports owed and how much time is left; 1 when one is late",
        examples=["govsec incident deadlines 20261122-0001", "govsec incident deadlines"],
    )
    due.add_argument("case", metavar="CASE", nargs="?", help="(default: every open case)")


def _register_judging(verbs: frame.Verbs[frame.Parser]) -> None:
    new = frame.add_verb(
        verbs,
        "new",
        incidentchange.run_new,
        "open a case; the law's clock runs from when it was found or told of",
        examples=[
            "govsec incident new '门户网站打不开' --fact 'portal_down_h=since 2026-11-22T09:40:00+08:00'",
            "govsec incident new '疑似泄露' --aware 2026-11-22T09:41:00+08:00 --fact personal_records=200000..1500000",
        ],
    )
    _name(new)
    new.add_argument("title", metavar="TITLE")
    new.add_argument("--system", default="", help="the system it is about")
    new.add_argument("--aware", metavar="TIME", help="when it was found or told of (RFC 3339; default: now)")
    new.add_argument(
        "--role", action="append", metavar="ROLE", help="report as this (again for more; default: the configuration's)"
    )
    new.add_argument("--class", dest="event_class", default="other", metavar="CLASS", help="class by GB/T 20986")
    new.add_argument("--protection-level", type=int, choices=(1, 2, 3, 4, 5), help="level of the system by GB/T 22240")
    new.add_argument("--exercise", action="store_true", help="an exercise; it is marked everywhere")
    _facts(new)
    classify = frame.add_verb(
        verbs,
        "classify",
        run_classify,
        "what the rules make of facts: level, what is missing, when it gets worse",
        examples=[
            "govsec incident classify --fact cii_total_min=12",
            "govsec incident classify 20261122-0001 --fact portal_kind=enterprise",
            "govsec incident classify --fields",
        ],
    )
    classify.add_argument("case", metavar="CASE", nargs="?", help="with the facts of this case; nothing is written")
    classify.add_argument("--fields", action="store_true", help="list the facts that the rules ask for")
    _facts(classify)
    fact = _changing(
        verbs,
        "fact",
        incidentchange.run_fact,
        "write down what is known by now",
        ["govsec incident fact 20261122-0001 portal_kind=enterprise personal_records=unknown"],
    )
    fact.add_argument("fact", nargs="+", metavar="FIELD=VALUE")
    fact.add_argument("--reason", default="", help="why it is known now")
    confirm = _changing(
        verbs,
        "confirm",
        incidentchange.run_confirm,
        "settle the level, as the rules suggest or otherwise, by name and with a reason",
        ["govsec incident confirm 20261122-0001 relatively_major --by 张三 --reason '研判会议纪要 2026-17 号'"],
    )
    confirm.add_argument("level", choices=_LEVELS)
    confirm.add_argument("--reason", required=True)
    hold = _changing(
        verbs,
        "circumstance",
        incidentchange.run_circumstance,
        "say that something holds that brings duties of its own",
        ["govsec incident circumstance 20261122-0001 is_crime_suspected --reason '发现勒索信'"],
    )
    hold.add_argument("circumstance", choices=("is_crime_suspected", "is_product_risk", "is_personal_data_leaked"))
    hold.add_argument("--not", dest="holds", action="store_false", help="it does not hold any more")
    hold.add_argument("--reason", required=True)


def _register_working(verbs: frame.Verbs[frame.Parser]) -> None:
    _changing(verbs, "ack", incidentchange.run_ack, "take a case on", ["govsec incident ack 20261122-0001 --by 张三"])
    assign = _changing(
        verbs,
        "assign",
        incidentchange.run_assign,
        "give a case to somebody",
        ["govsec incident assign 20261122-0001 王五"],
    )
    assign.add_argument("to", metavar="PERSON")
    move = _changing(
        verbs,
        "move",
        incidentchange.run_move,
        "go to another stage; says what is missing for it",
        ["govsec incident move 20261122-0001 assessed", "govsec incident move 20261122-0001 found --reason '新的事实'"],
    )
    move.add_argument("to", choices=_STAGES, metavar="STAGE", help=", ".join(_STAGES))
    move.add_argument("--reason", default="", help="needed to go back")
    close = _changing(
        verbs,
        "close",
        incidentchange.run_move,
        "close a case; refused while a report is owed or a task is open",
        ["govsec incident close 20261122-0001"],
    )
    close.set_defaults(to="closed", reason="")
    receipt = _changing(
        verbs,
        "receipt",
        incidentchange.run_receipt,
        "write down who took a report, when, and the number they gave",
        ["govsec incident receipt 20261122-0001 R5/provincial_cyberspace --taken-by 李四 --channel 12387"],
    )
    receipt.add_argument("duty", metavar="DUTY", help="as `deadlines` names it")
    receipt.add_argument("--taken-by", required=True, metavar="PERSON")
    receipt.add_argument("--taken", metavar="TIME", help="when (RFC 3339; default: now)")
    receipt.add_argument("--number", default="")
    receipt.add_argument("--channel", required=True, help="telephone, site, fax …")
    receipt.add_argument("--file", type=Path, metavar="FILE", help="what was handed in; its digest is written down")
    received = _changing(
        verbs,
        "received",
        incidentchange.run_received,
        "a report from below came in; the time for passing it on runs from then",
        ["govsec incident received 20261122-0001 --from '某县网信办' --number 2026-17"],
    )
    received.add_argument("--from", dest="sender", required=True, metavar="SENDER", help="who handed it in")
    received.add_argument("--number", default="", help="the number that the sender gave it")
    received.add_argument("--at", metavar="TIME", help="when (RFC 3339; default: now)")
    late = _changing(
        verbs,
        "late",
        incidentchange.run_late,
        "say why a report was late",
        ["govsec incident late 20261122-0001 R5/provincial_cyberspace --reason '电话占线，09:50 起改传真'"],
    )
    late.add_argument("duty", metavar="DUTY")
    late.add_argument("--reason", required=True)
    ended = _changing(
        verbs,
        "ended",
        incidentchange.run_ended,
        "say when handling ended; the final report is due thirty days later",
        ["govsec incident ended 20261122-0001"],
    )
    ended.add_argument("--at", metavar="TIME", help="when (RFC 3339; default: now)")
    task = _changing(
        verbs,
        "task",
        incidentchange.run_task,
        "give a task, or say that it is done",
        [
            "govsec incident task 20261122-0001 t1 --title '换下被改的页面' --owner 王五",
            "govsec incident task 20261122-0001 t1 --done '已恢复'",
        ],
    )
    task.add_argument("task", metavar="TASK")
    task.add_argument("--title", default="")
    task.add_argument("--owner", default="")
    task.add_argument("--done", metavar="RESULT")
    for name, summary, example in (
        ("note", "write something down", "联系了运营商"),
        ("lesson", "write down what is to be done better; a case is not closed without one", "发布系统改为双人复核"),
        ("recovered", "write down that somebody checked the service and found it whole", "逐页核对无误"),
        ("news", "important new facts turned up: a supplementary report is owed", "另有两个子站被改"),
    ):
        verb = _changing(
            verbs, name, incidentchange.run_text, summary, [f"govsec incident {name} 20261122-0001 '{example}'"]
        )
        verb.add_argument("text", metavar="TEXT")
        verb.set_defaults(entry="new_facts" if name == "news" else name)


def _changing(
    verbs: frame.Verbs[frame.Parser], name: str, run: frame.Run, summary: str, examples: list[str]
) -> frame.Parser:
    parser = frame.add_verb(verbs, name, run, summary, examples=examples)
    parser.add_argument("case", metavar="CASE")
    _name(parser)
    return parser


def _name(parser: frame.Parser) -> None:
    parser.add_argument("--by", metavar="PERSON", help="in whose name (default: this system's user)")


def _facts(parser: frame.Parser) -> None:
    parser.add_argument(
        "--fact",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="3, 2..6, 2.., since TIME, a word, a|b, unknown; `govsec incident classify --fields` lists the fields",
    )


def run_list(args: argparse.Namespace, io: frame.IO) -> int:
    """Print the list."""
    from govsec.assemble.incident import build_desk, open_cases
    from govsec.incident.api import Query
    from govsec.incident.levels import level_of
    from govsec.incident.record import summary_record
    from govsec.report.incident import case_list

    if not 1 <= args.limit <= 1000:
        raise UsageError("--limit: 1 to 1000")
    query = Query(
        is_open=None if args.all else True,
        level_min=level_of(args.level),
        system=args.system,
        is_acknowledged=False if args.unacknowledged else None,
        by_due=args.by_due,
        limit=args.limit,
    )
    with open_cases(io.config()) as store:
        _refresh(build_desk(io.config(), store, io.clock), io)
        lines = [summary_record(line) for line in store.find(query)]
    io.result({"cases": lines}, lambda: case_list(lines, tongue(io)))
    return 0


def _refresh(desk: Desk, io: frame.IO) -> None:
    for words in desk.refresh().unreadable.values():
        io.warn(words)


def run_show(args: argparse.Namespace, io: frame.IO) -> int:
    """Print one case."""
    from govsec.assemble.incident import build_desk, open_cases
    from govsec.incident.record import view_record
    from govsec.report.incident import case_words

    with open_cases(io.config()) as store:
        desk = build_desk(io.config(), store, io.clock)
        view = desk.view(args.case)
        record = view_record(view, () if args.no_timeline else store.entries(args.case))
        questions = desk.questions(view)
    record["open_questions"] = list(questions)
    io.result(record, lambda: case_words(record, io.clock.now(), tongue(io), questions=questions))
    return 0


def run_board(_: argparse.Namespace, io: frame.IO) -> int:
    """Print how things stand."""
    from govsec.assemble.incident import build_desk, open_cases
    from govsec.incident.record import board_record
    from govsec.report.incident import board_words

    with open_cases(io.config()) as store:
        _refresh(build_desk(io.config(), store, io.clock), io)
        record = board_record(store.board(io.clock.now()), io.clock.now())
    io.result(record, lambda: board_words(record, tongue(io)))
    return 0


def run_deadlines(args: argparse.Namespace, io: frame.IO) -> int:
    """Print what is owed; 1 when something is late."""
    from govsec.assemble.incident import build_desk, open_cases
    from govsec.incident.api import Query
    from govsec.incident.record import duty_record
    from govsec.report.incident import duty_words

    found: list[dict[str, Any]] = []
    with open_cases(io.config()) as store:
        desk = build_desk(io.config(), store, io.clock)
        lines = store.find(Query(is_open=True, by_due=True, limit=1000))
        for case_id in [args.case] if args.case else [line.id for line in lines]:
            try:
                view = desk.view(case_id)
            except (IntegrityError, RefusedError, UsageError) as error:
                if args.case:
                    raise
                io.warn(str(error))
                continue
            found.append({"case": case_id, "duties": [duty_record(duty) for duty in view.duties]})

    def words() -> str:
        parts = [f"{entry['case']}\n{duty_words(entry['duties'], io.clock.now(), tongue(io))}" for entry in found]
        return "\n\n".join(parts)

    io.result({"cases": found}, words)
    is_late = any(duty["state"] == "late" and duty["is_certain"] for entry in found for duty in entry["duties"])
    return _EXIT_LATE if is_late else 0


def run_classify(args: argparse.Namespace, io: frame.IO) -> int:
    """Print what the rules make of facts."""
    from govsec.assemble.incident import build_desk, open_cases
    from govsec.incident.classify import classify
    from govsec.incident.facts import parse_facts
    from govsec.incident.record import classification_record, fields_record
    from govsec.incident.rulepack import fields_of, shipped_packs
    from govsec.report.incident import classification_words, field_words

    packs = shipped_packs()
    if args.fields:
        fields = fields_record(packs)
        io.result({"fields": fields}, lambda: field_words(fields, tongue(io)))
        return 0
    facts = facts_of(args.fact)
    if args.case:
        with open_cases(io.config()) as store:
            facts = {**build_desk(io.config(), store, io.clock).view(args.case).case.facts, **facts}
    sheet = parse_facts([f"{name}={text}" for name, text in facts.items()], fields_of(packs))
    record = classification_record(classify(packs, sheet, io.clock.now()))
    io.result(record, lambda: classification_words(record, tongue(io)))
    return 0
