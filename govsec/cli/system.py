"""``govsec system``: the register of systems (台账), their grading, what is due, and the gate before launch."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from govsec.cli import frame, texts
from govsec.cli.assesswords import heads, lang_of, words_of
from govsec.errors import RefusedError, UsageError

if TYPE_CHECKING:  # pydantic takes its time; `govsec system --help` does without it
    from govsec.register.grading import Harms
    from govsec.register.launch import Missing
    from govsec.register.register import Register, System

_EXIT_FINDINGS = 1
_OBJECTS = ("legal_rights", "social_order", "national_security")
_DEGREES = ("general", "serious", "extreme")


def register(parser: frame.Parser) -> None:
    """Add the verbs ``list``, ``show``, ``grade``, ``findings``, ``launch``, ``import`` and ``export``."""
    verbs = frame.verbs_of(parser)
    listed = frame.add_verb(
        verbs, "list", run_list, "every system with level, owner and filing", examples=["govsec system list --json"]
    )
    show = frame.add_verb(verbs, "show", run_show, "one system", examples=["govsec system show permits"])
    show.add_argument("system", nargs="?", help="its name (default: the only one)")
    grade = frame.add_verb(
        verbs,
        "grade",
        run_grade,
        "the preliminary level from whom a failure harms and how badly (GB/T 22240-2020)",
        examples=["govsec system grade --information social_order=serious --service legal_rights=general"],
    )
    for half, words in (("information", "the information leaks or is changed"), ("service", "the service stops")):
        grade.add_argument(
            f"--{half}",
            action="append",
            default=[],
            metavar="WHOM=DEGREE",
            help=f"whom it harms when {words}: {', '.join(_OBJECTS)}; how badly: {', '.join(_DEGREES)} (repeatable)",
        )
    findings = frame.add_verb(
        verbs,
        "findings",
        run_findings,
        "what is due or does not fit: certificates, assessments, training, plans, platforms, data without backup; "
        "1 when something is",
        examples=["govsec system findings", "govsec system findings --system permits --json"],
    )
    findings.add_argument("--system", help="only this system")
    launch = frame.add_verb(
        verbs,
        "launch",
        run_launch,
        "may this system go into service? 5 and what is missing when it may not",
        examples=["govsec system launch permits"],
    )
    launch.add_argument("system", nargs="?", help="its name (default: the only one)")
    bring = frame.add_verb(
        verbs,
        "import",
        run_import,
        "take a spreadsheet into a register file; without --output it says what would change",
        examples=["govsec system import register.xlsx", "govsec system import register.xlsx --output register.yaml"],
    )
    bring.add_argument("file", type=Path, help="a spreadsheet of `govsec system export`, filled in")
    bring.add_argument("--output", type=Path, metavar="FILE", help="where the register goes (YAML)")
    export = frame.add_verb(
        verbs,
        "export",
        run_export,
        "write the register as a spreadsheet, or as YAML",
        examples=["govsec system export --output register.xlsx"],
    )
    export.add_argument("--output", type=Path, required=True, metavar="FILE", help="ends with .xlsx or .yaml")
    for verb in (listed, show, findings, bring, export):
        verb.add_argument(
            "--register", type=Path, metavar="FILE", help="a register of its own (YAML), instead of the configuration"
        )


def _register(args: argparse.Namespace, io: frame.IO) -> Register:
    from govsec.register.register import load_register, register_of

    return load_register(args.register) if args.register is not None else register_of(io.config())


def _one(register: Register, name: str | None) -> System:
    if name is None and len(register.systems) == 1:
        return register.systems[0]
    if name is None:
        raise UsageError(f"name a system; there are: {', '.join(one.name for one in register.systems) or 'none'}")
    return register.system(name)


def run_list(args: argparse.Namespace, io: frame.IO) -> int:
    """List the systems."""
    register = _register(args, io)
    rows, words = [], words_of(io)
    for system in register.systems:
        entry = system.entry
        filing = entry.filing
        rows.append(
            [
                system.name,
                system.title or "-",
                f"S{entry.s or '?'}A{entry.a or '?'}G{entry.system_level or '?'}",
                words.text(f"stage.{entry.stage.value}"),
                entry.owner or "-",
                filing.number if filing and filing.number else "-",
                str(filing.valid_until) if filing and filing.valid_until else "-",
            ]
        )
    header = heads(words, "system", "title", "level", "stage", "owner", "filing", "valid_until")
    io.result(register.plain(), lambda: texts.table(header, rows) if rows else words.text("empty.register"))
    return 0


def run_show(args: argparse.Namespace, io: frame.IO) -> int:
    """Show one system."""
    system = _one(_register(args, io), args.system)
    plain = system.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    io.result({"system": plain}, lambda: "\n".join(_lines(plain, 0)))
    return 0


def _lines(value: object, depth: int) -> list[str]:
    """Plain values as indented lines; what they are called is what the configuration calls them."""
    pad = "  " * depth
    if isinstance(value, dict):
        lines = []
        for name, inner in value.items():
            if isinstance(inner, (dict, list)) and inner:
                lines += [f"{pad}{name}:", *_lines(inner, depth + 1)]
            else:
                lines.append(f"{pad}{name}: {inner}")
        return lines
    if isinstance(value, list):
        lines = []
        for inner in value:
            if isinstance(inner, dict):
                first, *rest = _lines(inner, depth + 1) or [""]
                lines += [f"{pad}- {first.strip()}", *rest]
            else:
                lines.append(f"{pad}- {inner}")
        return lines
    return [f"{pad}{value}"]


def run_grade(args: argparse.Namespace, io: frame.IO) -> int:
    """Grade."""
    from govsec.register.grading import grade

    found = grade(_harms(args.information), _harms(args.service))
    lang = lang_of(io)
    facts = {
        "s": found.s,
        "a": found.a,
        "level": found.level,
        "reasons": [{"zh": reason.zh, "en": reason.en} for reason in found.reasons],
    }
    io.result(facts, lambda: "\n".join([str(found), *(getattr(reason, lang) for reason in found.reasons)]))
    return 0


def _harms(given: list[str]) -> Harms:
    from govsec.register.grading import Degree, HarmedObject

    harms = {}
    for text in given:
        whom, _, degree = text.partition("=")
        if whom not in _OBJECTS or degree not in _DEGREES:
            raise UsageError(f"{text!r}: expected WHOM=DEGREE of {', '.join(_OBJECTS)} and {', '.join(_DEGREES)}")
        harms[HarmedObject(whom)] = Degree(degree)
    return harms


def run_findings(args: argparse.Namespace, io: frame.IO) -> int:
    """Say what is due."""
    from govsec.assemble.register import register_findings
    from govsec.assemble.systems import Site
    from govsec.register.words import say

    site = None if args.register is not None else Site(io.config(), io.clock)
    found = register_findings(_register(args, io), io.clock.now(), args.system, site=site)
    lang, words = lang_of(io), words_of(io)
    rows = [
        [
            words.text(f"severity.{one.severity.name.lower()}"),
            one.subject,
            one.kind,
            getattr(say(one.kind, one.facts), lang),
        ]
        for one in found
    ]
    header = heads(words, "severity", "system", "finding", "summary")
    io.result(
        {"findings": [one.canonical() for one in found]},
        lambda: texts.table(header, rows) if rows else words.text("empty.findings"),
    )
    return _EXIT_FINDINGS if found else 0


def run_launch(args: argparse.Namespace, io: frame.IO) -> int:
    """Decide whether a system may go into service."""
    from govsec.assemble.register import launch_decision
    from govsec.assemble.systems import Site

    site = Site(io.config(), io.clock)
    decision = launch_decision(site, site.system(args.system))
    lang, told = lang_of(io), words_of(io)

    def plain(reasons: Sequence[Missing]) -> list[dict[str, object]]:
        return [
            {"code": one.code, "facts": dict(one.facts), "text": {"zh": one.text.zh, "en": one.text.en}}
            for one in reasons
        ]

    words = [f"- {getattr(one.text, lang)}" for one in decision.missing]
    advice = [f"* {getattr(one.text, lang)}" for one in decision.advice]
    first = told.text("text.allowed" if decision.is_allowed else "text.refused", {"system": decision.system})
    io.result(
        {
            "system": decision.system,
            "is_allowed": decision.is_allowed,
            "missing": plain(decision.missing),
            "advice": plain(decision.advice),
        },
        lambda: "\n".join([first, *words, *advice]),
    )
    return 0 if decision.is_allowed else RefusedError.exit_code


def run_import(args: argparse.Namespace, io: frame.IO) -> int:
    """Take a spreadsheet in."""
    from govsec.assemble.register import read_spreadsheet, write_register
    from govsec.errors import ConfigurationError
    from govsec.register.register import Register, merge

    try:
        before = _register(args, io)
    except ConfigurationError:
        if args.register is not None or io.config_path.exists():
            raise
        before = Register()  # an office that starts its register with a spreadsheet
    after, changed = merge(before, read_spreadsheet(args.file))
    if args.output is not None:
        write_register(after, args.output)
    written = str(args.output) if args.output is not None else ""
    told = words_of(io)
    words = told.text("text.changed", {"count": len(changed), "names": ", ".join(changed) or "-"})
    io.result(
        {"changed": list(changed), "systems": len(after.systems), "file": written},
        f"{words}\n{written or told.text('text.unchanged')}",
    )
    return 0


def run_export(args: argparse.Namespace, io: frame.IO) -> int:
    """Write the register out."""
    from govsec.assemble.register import write_register, write_spreadsheet

    register = _register(args, io)
    ending = args.output.suffix.lower()
    if ending == ".xlsx":
        write_spreadsheet(register, args.output)
    elif ending in (".yaml", ".yml"):
        write_register(register, args.output)
    else:
        raise UsageError(f"{args.output}: expected a name that ends with .xlsx or .yaml")
    io.result({"systems": len(register.systems), "file": str(args.output)}, str(args.output))
    return 0
