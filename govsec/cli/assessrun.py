"""``govsec assess run``, ``plan``, ``collect`` and ``import``: ask hosts, or write down what would be asked."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from govsec.cli import frame, texts
from govsec.cli.assesswords import heads, lang_of, words_of
from govsec.errors import CoverageError, IntegrityError, UsageError

if TYPE_CHECKING:  # pydantic and the catalog take their time; `govsec assess --help` does without them
    from govsec.assemble.assess import Assessor, AssessRun
    from govsec.assemble.assessscope import Request
    from govsec.assemble.hosts import Collected
    from govsec.assemble.systems import Site
    from govsec.register.levels import WrittenLevel

_EXIT_FINDINGS = 1
_EXIT_UNREACHABLE = 4
#: GB/T 22239-2019 leaves level 5 to rules of its own.
_LEVEL_MAX = 4


def register(verbs: frame.Verbs[frame.Parser]) -> None:
    """Add the verbs."""
    run = frame.add_verb(
        verbs,
        "run",
        run_run,
        "collect, judge and store; 1 when something does not conform, 4 when a host gave no answer, 7 when too little "
        "could be decided",
        examples=[
            "govsec assess run                       # this machine at level 3, without any configuration",
            "govsec assess run --system permits --walk      # once a week, say; other runs count what it found",
            "govsec assess run --host web-1 --host web-2 --level 2 --json",
        ],
    )
    _add_scope(run)
    run.add_argument("--operator", default="", help="who runs it, as reports say (default: the user's name)")
    run.add_argument("--compare", default="latest", metavar="RUN", help="an earlier run, or none (default: latest)")
    run.add_argument("--no-ledger", action="store_true", help="do not sign the run; such a run is not for filing")
    run.add_argument("--report", type=Path, metavar="FILE", help="write the HTML report to this file as well")
    run.add_argument("--coverage-min", type=float, metavar="SHARE", help="end with 7 below this share of decided items")
    plan = frame.add_verb(
        verbs,
        "plan",
        run_plan,
        "what would be asked of which host; nothing is run",
        examples=["govsec assess plan --system permits", "govsec assess plan --host web-1 --show-script > look.sh"],
    )
    _add_scope(plan)
    plan.add_argument("--show-script", action="store_true", help="print the script that the host would run, as it is")
    collect = frame.add_verb(
        verbs,
        "collect",
        run_collect,
        "collect facts and write them to files, without judging them; with --script the script for a host that cannot "
        "be reached",
        examples=[
            "govsec assess collect --host web-1 --output ./facts",
            "govsec assess collect --script --output ./usb      # then: sh look.sh > look.out, on the host",
        ],
    )
    _add_scope(collect)
    collect.add_argument("--output", type=Path, required=True, metavar="DIR", help="where the files go")
    collect.add_argument("--script", action="store_true", help="write the script instead of running it")
    bring = frame.add_verb(
        verbs,
        "import",
        run_import,
        "judge facts from files: of `assess collect`, or a script with its output",
        examples=[
            "govsec assess import --system permits ./facts/web-1.json",
            "govsec assess import --script ./usb/web-9.sh ./usb/web-9.out",
            "govsec assess sign ./usb/web-9.out --by 'Zhang Wei' --key zhang.key      # who hands it in, before that",
        ],
    )
    _add_scope(bring)
    bring.add_argument("files", nargs="+", type=Path, metavar="FILE", help="facts, or the output of --script")
    bring.add_argument("--script", type=Path, metavar="FILE", help="the script whose output the one FILE is")
    bring.add_argument("--operator", default="", help="who runs it, as reports say (default: the user's name)")
    bring.add_argument("--compare", default="latest", metavar="RUN", help="an earlier run, or none (default: latest)")
    bring.add_argument("--no-ledger", action="store_true", help="do not sign the run; such a run is not for filing")
    bring.add_argument("--report", type=Path, metavar="FILE", help="write the HTML report to this file as well")
    bring.add_argument("--coverage-min", type=float, metavar="SHARE", help="end with 7 below this share")


def _add_scope(parser: frame.Parser) -> None:
    scope = parser.add_argument_group("what is asked of whom")
    scope.add_argument("--system", help="a system of the configuration (default: the only one; without any, this host)")
    scope.add_argument("--host", action="append", default=[], help="a host of the configuration, or local (repeatable)")
    scope.add_argument("--level", type=level_of, help="3, S2A3, 第三级 (default: the system's; without one, 3)")
    scope.add_argument("--s", type=int, choices=(1, 2, 3, 4), help="level of information security (default: --level)")
    scope.add_argument("--a", type=int, choices=(1, 2, 3, 4), help="level of service assurance (default: --level)")
    scope.add_argument(
        "--scope",
        action="append",
        default=[],
        choices=("general", "cloud", "mobile", "iot", "ics"),
        help="general and the extensions that apply (repeatable)",
    )
    scope.add_argument(
        "--walk",
        action="store_true",
        help="walk over the hosts' whole file systems, which may take minutes (default: what the last walk found)",
    )
    scope.add_argument("--pack", action="append", default=[], metavar="ID", help="only this pack (repeatable)")


def level_of(text: str) -> WrittenLevel:
    """An argument that is a level, as people write it."""
    from govsec.register.levels import read_level

    try:
        written = read_level(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if written.level > _LEVEL_MAX:
        raise argparse.ArgumentTypeError(f"{text!r}: the catalog has levels 1 to {_LEVEL_MAX}")
    return written


def site_of(io: frame.IO) -> Site:
    """The site of the configuration; where none is in the usual place, one that knows nothing but this machine."""
    from govsec.assemble.bare import site_or_bare

    return site_or_bare(io.config_path, io.clock, load=io.config, is_default=io.config_path == frame.CONFIG_DEFAULT)


def _request(args: argparse.Namespace) -> Request:
    from govsec.assemble.assessscope import Request

    compare = getattr(args, "compare", "latest")
    return Request(
        system=args.system,
        hosts=tuple(args.host),
        level=None if args.level is None else args.level.level,
        s=args.s or (args.level.s if args.level is not None else None),
        a=args.a or (args.level.a if args.level is not None else None),
        scopes=tuple(dict.fromkeys(args.scope)),
        packs=tuple(args.pack),
        operator=getattr(args, "operator", ""),
        compare="" if compare == "none" else compare,
        is_recorded=not getattr(args, "no_ledger", False),
        is_walking=args.walk,
    )


def run_run(args: argparse.Namespace, io: frame.IO) -> int:
    """Run an assessment."""
    from govsec.assemble.assess import run_assessment

    site = site_of(io)
    run = run_assessment(site, _request(args), progress=io.progress)
    return _report(args, io, site, run)


def run_plan(args: argparse.Namespace, io: frame.IO) -> int:
    """Say what would be asked."""
    from govsec.assemble.assess import Assessor
    from govsec.assemble.hosts import script_for

    with Assessor(site_of(io), _request(args)) as assessor:
        targets = assessor.scope.targets
        if args.show_script:
            if len(targets) != 1:
                raise UsageError(f"--show-script prints the script of one host, not of {len(targets)}; name it: --host")
            script = script_for(targets[0], assessor.probes_of(targets[0].name)).text
            # As it is: a person reads it, or runs it on a host that cannot be reached.
            io.raw(script.encode()) if not io.is_json else io.result({"script": script})
            return 0
        io.result(_plan_facts(assessor), lambda: _plan_words(assessor, io))
    return 0


def run_collect(args: argparse.Namespace, io: frame.IO) -> int:
    """Collect without judging."""
    from govsec.assemble.assess import Assessor
    from govsec.assemble.hostfiles import write_facts, write_scripts

    with Assessor(site_of(io), _request(args)) as assessor:
        if args.script:
            files = write_scripts(args.output, assessor.scope.targets, assessor.probes_of)
            io.result({"scripts": [str(path) for path in files]}, "\n".join(str(path) for path in files))
            return 0
        collected = assessor.collect(io.progress)
    files = write_facts(args.output, collected)
    silent = {one.target.name: one.error for one in collected if one.facts is None}
    io.result({"facts": [str(path) for path in files], "unreachable": silent}, "\n".join(str(path) for path in files))
    for name, why in silent.items():
        io.warn(f"{name}: {why}")
    return _EXIT_UNREACHABLE if silent else 0


def run_import(args: argparse.Namespace, io: frame.IO) -> int:
    """Judge stored facts."""
    from govsec.assemble.assess import run_assessment
    from govsec.assemble.hostfiles import import_facts, import_script_output

    if args.script is not None and len(args.files) != 1:
        raise UsageError("--script goes with one file, its output")

    def stored(assessor: Assessor) -> Sequence[Collected]:
        if args.script is not None:
            return import_script_output(assessor.site, args.script, args.files[0], assessor.probes_of)
        return import_facts(assessor.site, args.files)

    site = site_of(io)
    return _report(args, io, site, run_assessment(site, _request(args), collected=stored, progress=io.progress))


def _report(args: argparse.Namespace, io: frame.IO, site: Site, run: AssessRun) -> int:
    from govsec.assemble.assessreport import write_report

    if args.report is not None:
        write_report(run.assessment, "html", lang_of(io), args.report, entry=run.entry)
        io.talk(f"report: {args.report}")
    made = run.assessment
    facts = {
        "run": made.id,
        "directory": str(run.stored.directory),
        "system": made.system.name,
        "level": f"S{made.s}A{made.a}G{made.level}",
        "verdicts": made.counts(),
        "coverage": made.coverage,
        "rates": [rate.model_dump(mode="json") for rate in made.rates],
        "cases": [row.model_dump(mode="json") for row in made.cases],
        "dangers": [row.model_dump(mode="json") for row in made.dangers],
        "objects": {name: {"state": row.state, "reason": row.reason} for name, row in made.objects.items()},
        "difference": made.difference,
        "ledger": None if run.entry is None else {"number": run.entry.number, "digest": run.entry.digest},
        "ledger_error": run.ledger_error,
        "refused_records": list(run.refused_records),
        "manifest": run.stored.manifest.digest,
    }
    io.result(facts, lambda: _run_words(run, io))
    for name, row in made.objects.items():
        if row.state == "unreachable":
            io.warn(f"{name}: {row.reason}")
    if run.altered_run:
        io.warn(f"not compared: {run.altered_run}")
    for refused in run.refused_records:
        io.warn(f"a record that was not believed: {refused}")
    if run.ledger_error:
        io.warn(f"not on record: {run.ledger_error}")
    least = site.config.assessment.coverage_min if args.coverage_min is None else args.coverage_min
    return exit_code(run, least)


def exit_code(run: AssessRun, coverage_min: float) -> int:
    """What a run ends with: 6, 4, 7, 1 in this order, since what was not looked at weighs more than what was found."""
    made = run.assessment
    # Somebody's word that this requirement is not met must not vanish by a changed byte.
    if run.broken_hosts or run.altered_run or run.refused_records:
        return IntegrityError.exit_code
    if any(row.state == "unreachable" for row in made.objects.values()):
        return _EXIT_UNREACHABLE
    if (made.coverage.share or 0.0) < coverage_min or not made.coverage.decided:
        return CoverageError.exit_code
    is_clean = not {"not_conform", "partial"} & made.counts().keys() and not made.cases
    # A run that should be on record and is not is no evidence, and must not look like success to a timer.
    return 0 if is_clean and not run.ledger_error else _EXIT_FINDINGS


def _run_words(run: AssessRun, io: frame.IO) -> str:
    from govsec.report.assessment_text import render_text

    words = render_text(run.assessment.canonical(), lang_of(io)).rstrip()
    lines = [words, "", str(run.stored.directory)]
    if run.entry is not None:
        lines.append(words_of(io).text("text.entry", {"number": run.entry.number, "digest": run.entry.digest}))
    return "\n".join(lines)


def _plan_facts(assessor: Assessor) -> dict[str, object]:
    scope = assessor.scope
    return {
        "system": scope.row.name,
        "level": str(scope.levels),
        "scopes": list(scope.scopes),
        "items": len(scope.items),
        "packs": [{"id": pack.id, "version": pack.head.version, "checks": len(pack.checks)} for pack in assessor.packs],
        "probes": _probes_most(assessor),
        "hosts": [{"name": one.name, "kind": one.kind, "address": one.address} for one in scope.targets],
    }


def _probes_most(assessor: Assessor) -> int:
    """Of what the hosts are asked: a border is asked more than others."""
    return max(len(assessor.probes_of(target.name)) for target in assessor.scope.targets)


def _plan_words(assessor: Assessor, io: frame.IO) -> str:
    from govsec.report.catalog import Catalogue

    scope, words, names = assessor.scope, words_of(io), Catalogue("assessment", lang_of(io))
    packs = [[pack.id, pack.head.version, len(pack.checks), pack.trust] for pack in assessor.packs]
    hosts = [[one.name, names.text(f"object_kind.{one.kind}"), one.address or "-"] for one in scope.targets]
    facts = {
        "system": scope.row.name,
        "level": str(scope.levels),
        "scopes": names.text("list_comma").join(names.text(f"scope.{name}") for name in scope.scopes),
        "items": len(scope.items),
        "probes": _probes_most(assessor),
    }
    return "\n\n".join(
        [
            words.text("text.plan", facts),
            texts.table(heads(words, "pack", "version", "checks", "trust"), packs),
            texts.table(heads(words, "host", "kind", "address"), hosts),
        ]
    )
