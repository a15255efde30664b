"""``govsec assess list``, ``show``, ``report``, ``diff``, ``verify``, ``fix`` and ``catalog``: no host is touched."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from govsec.cli import frame, texts
from govsec.cli.assessrun import level_of, site_of
from govsec.cli.assesswords import heads, lang_of, percent, value, verify_words, words_of
from govsec.errors import IntegrityError, UsageError

if TYPE_CHECKING:  # see govsec.cli.assessrun
    from govsec.assemble.systems import Site
    from govsec.policy.catalog import Item
    from govsec.policy.run import Assessment
    from govsec.policy.runfolder import StoredRun

_RUN_HELP = "the run's id or its first characters, its folder, latest, or previous"
_FORMATS = ("text", "json", "html", "xlsx", "docx", "oscal")
_FORMAT_OF_ENDING = {"": "html", "htm": "html", "txt": "text", **{name: name for name in _FORMATS}}


def register(verbs: frame.Verbs[frame.Parser]) -> None:
    """Add the verbs."""
    runs = frame.add_verb(verbs, "list", run_list, "the stored runs", examples=["govsec assess list --json"])
    show = frame.add_verb(
        verbs,
        "show",
        run_show,
        "one run on a screen; with --item one requirement with what was asked and what came",
        examples=["govsec assess show", "govsec assess show latest --item 8.1.4.1.a --lang en"],
    )
    show.add_argument("--item", metavar="ID", help="one requirement, such as 8.1.4.9.a")
    report = frame.add_verb(
        verbs,
        "report",
        run_report,
        "write a run as a file: " + ", ".join(_FORMATS),
        examples=[
            "govsec assess report --output report.html",
            "govsec assess report --write-template ours.docx     # then change it in Word",
            "govsec assess report latest --format docx --template ours.docx --output report.docx",
        ],
    )
    report.add_argument("--format", choices=_FORMATS, help="default: by the file's ending")
    report.add_argument("--output", type=Path, metavar="FILE", help="where to write it")
    report.add_argument("--write-template", type=Path, metavar="FILE", help="write the shipped Word form, to change it")
    report.add_argument("--template", type=Path, metavar="FILE", help="a Word file of your own, for docx")
    diff = frame.add_verb(
        verbs,
        "diff",
        run_diff,
        "what changed between two runs of a system; 1 when something got worse",
        examples=["govsec assess diff", "govsec assess diff 20261101 latest"],
    )
    diff.add_argument("earlier", nargs="?", default="previous", help=_RUN_HELP)
    diff.add_argument("later", nargs="?", default="latest", help=_RUN_HELP)
    verify = frame.add_verb(
        verbs,
        "verify",
        run_verify,
        "find out whether a stored run was changed since; 6 when it was, 1 when no signed ledger vouches for it",
        examples=[
            "govsec assess verify",
            "govsec assess verify ./20261122T080000Z-0a1b2c3d --ledger ledger.jsonl --roots roots.yaml   # offline",
        ],
    )
    verify.add_argument("--ledger", type=Path, metavar="FILE", help="an exported ledger, instead of the centers")
    verify.add_argument("--roots", type=Path, metavar="FILE", help="pinned public keys (default: the configuration's)")
    fix = frame.add_verb(
        verbs,
        "fix",
        run_fix,
        "the plan of what to repair, as text with commands, risk and rollback; nothing is ever changed on a host",
        examples=["govsec assess fix --dry-run", "govsec assess fix --dry-run --output plan.md"],
    )
    fix.add_argument("--dry-run", action="store_true", help="needed: govsec prints a plan and carries out none")
    fix.add_argument("--output", type=Path, metavar="FILE", help="write the plan to this file")
    for verb in (show, report, verify, fix):
        verb.add_argument("run_id", nargs="?", default="latest", metavar="RUN", help=_RUN_HELP)
    for verb in (runs, show, report, diff, verify, fix):
        verb.add_argument("--system", help="only runs of this system")
    catalog = frame.add_verb(
        verbs,
        "catalog",
        run_catalog,
        "the requirements that a system is held to, by S, A and G",
        examples=["govsec assess catalog --level 3", "govsec assess catalog --s 2 --a 3 --scope general --scope cloud"],
    )
    catalog.add_argument("--level", type=level_of, default="3", help="3, S2A3, 第三级 (default: 3)")
    catalog.add_argument("--s", type=int, choices=(1, 2, 3, 4), help="default: --level")
    catalog.add_argument("--a", type=int, choices=(1, 2, 3, 4), help="default: --level")
    catalog.add_argument("--scope", action="append", default=[], choices=("general", "cloud", "mobile", "iot", "ics"))
    catalog.add_argument("--item", metavar="TEXT", help="only items whose id, key or words contain this")


def _find(args: argparse.Namespace, io: frame.IO, wanted: str) -> tuple[Site, StoredRun]:
    from govsec.assemble.runs import runs_directory
    from govsec.policy.runfolder import find_run

    site = site_of(io)
    return site, find_run(runs_directory(site.config.state_dir), wanted, args.system)


def _load(args: argparse.Namespace, io: frame.IO, wanted: str) -> Assessment:
    from govsec.policy.runfolder import read_assessment

    return read_assessment(_find(args, io, wanted)[1])


def run_list(args: argparse.Namespace, io: frame.IO) -> int:
    """List the runs."""
    from govsec.assemble.runs import runs_directory
    from govsec.policy.runfolder import stored_runs

    damaged: dict[str, IntegrityError] = {}
    runs = stored_runs(runs_directory(site_of(io).config.state_dir), args.system, damaged=damaged)
    for error in damaged.values():
        io.warn(f"not listed: {error}")
    values = [
        {
            "run": run.manifest.id,
            "system": run.manifest.system,
            "level": f"S{run.manifest.s}A{run.manifest.a}G{run.manifest.level}",
            "started": run.manifest.started,
            "extent": run.manifest.extent,
            "coverage": run.manifest.coverage.share,
            "rates": [rate.model_dump(mode="json") for rate in run.manifest.rates],
            "open_cases": list(run.manifest.open_cases),
            "directory": str(run.directory),
        }
        for run in runs
    ]
    io.result({"runs": values, "damaged": sorted(damaged)}, lambda: _list_words(runs, io))
    return IntegrityError.exit_code if damaged else 0


def _list_words(runs: list[StoredRun], io: frame.IO) -> str:
    from govsec.report.assessment import extent_words
    from govsec.report.catalog import Catalogue

    words, extents = words_of(io), Catalogue("assessment", lang_of(io))
    rows = []
    for run in runs:
        made = run.manifest
        extent = None if made.extent is None else made.extent.model_dump(mode="json")
        rates = [value(words, rate.value, rate.is_confirmed) for rate in made.rates[:1]]
        level = f"S{made.s}A{made.a}G{made.level}"
        share = percent(made.coverage.share)
        cases = len(made.open_cases)
        rows.append([made.id, made.system, level, extent_words(extents, extent), share, *rates, cases])
    header = heads(words, "run", "system", "level", "extent", "coverage", "rate", "cases")
    return texts.table(header, rows) if rows else words.text("empty.runs")


def run_show(args: argparse.Namespace, io: frame.IO) -> int:
    """Show one run, or one item of it."""
    made = _load(args, io, args.run_id)
    if args.item is None:
        from govsec.report.assessment_text import render_text

        io.result(made.canonical(), lambda: render_text(made.canonical(), "en" if io.lang == "en" else "zh"))
        return 0
    item = next((item for item in made.items if args.item in (item.id, item.key)), None)
    if item is None:
        raise UsageError(f"run {made.id} has no requirement {args.item!r}; see: govsec assess catalog")
    results = [made.results[position].model_dump(mode="json") for position in item.results]
    from govsec.report.assessment_item import render_item

    io.result({"item": item, "results": results}, lambda: render_item(made.canonical(), item.id, lang_of(io)))
    return 0


def run_report(args: argparse.Namespace, io: frame.IO) -> int:
    """Write a report."""
    from govsec.assemble.assessreport import write_report, write_template
    from govsec.assemble.runs import entry_of
    from govsec.policy.runfolder import read_assessment

    if (args.output is None) == (args.write_template is None):
        raise UsageError("name the report's file with --output, or the form's with --write-template")
    if args.write_template is not None:
        write_template(lang_of(io), args.write_template)
        io.result({"file": str(args.write_template)}, str(args.write_template))
        return 0
    format = args.format or _FORMAT_OF_ENDING.get(args.output.suffix.removeprefix(".").lower())
    if format is None:
        raise UsageError(f"{args.output}: its ending names no format; use --format with one of {', '.join(_FORMATS)}")
    if args.template is not None and format != "docx":
        raise UsageError("--template goes with --format docx")
    site, run = _find(args, io, args.run_id)
    made = read_assessment(run)
    entry, why = entry_of(site, run)
    if why:
        io.warn(f"not on record: {why}")
    write_report(made, format, lang_of(io), args.output, entry=entry, template=args.template)
    io.result({"run": made.id, "format": format, "file": str(args.output)}, str(args.output))
    return 0


def run_diff(args: argparse.Namespace, io: frame.IO) -> int:
    """Compare two runs."""
    from govsec.policy.difference import difference
    from govsec.report.assessment_item import render_difference

    earlier, later = _load(args, io, args.earlier), _load(args, io, args.later)
    if earlier.system.name != later.system.name:
        raise UsageError(f"{earlier.id} is of {earlier.system.name}, {later.id} of {later.system.name}")
    found = difference(earlier, later)
    facts = found.model_dump(mode="json")
    io.result({"later": later.id, **facts}, lambda: render_difference(facts, later.id, lang_of(io)))
    return 1 if found.cases_new or any(change.direction == "worse" for change in found.items) else 0


def run_verify(args: argparse.Namespace, io: frame.IO) -> int:
    """Verify a stored run."""
    from govsec.assemble.ledger import ledger_stores, readable_centers
    from govsec.assemble.runs import kept_runs, runs_directory, verify_run
    from govsec.crypto.signing import TrustedKeys
    from govsec.ledger.export import ExportFile
    from govsec.store.api import ReadStore

    site, run = _find(args, io, args.run_id)
    stores: list[ReadStore] = []
    trusted = TrustedKeys() if args.roots is None else TrustedKeys.load(args.roots)
    if args.ledger is not None:
        stores = [ExportFile(args.ledger)]
        trusted = trusted if args.roots is not None else site.trusted()
    elif readable_centers(site) and run.manifest.system in {system.name for system in site.config.systems}:
        stores = ledger_stores(site, site.system(run.manifest.system))
        trusted = trusted if args.roots is not None else site.trusted()
    # A copy of a run that lies elsewhere says nothing of the others.
    is_here = run.directory.parent.resolve() == runs_directory(site.config.state_dir).resolve()
    check = verify_run(run, stores, trusted, kept=kept_runs(site.config.state_dir) if is_here else None)
    facts = {
        "run": run.manifest.id,
        "is_intact": check.is_intact,
        "is_on_record": check.is_on_record,
        "is_ledger_asked": bool(stores),
        "flaws": list(check.flaws),
        "is_contradicted": check.is_contradicted,
        "ledger_problems_count": check.ledger_problems_count,
        "vanished": list(check.vanished),
        "entry": None if check.entry is None else {"number": check.entry.number, "digest": check.entry.digest},
        "manifest": run.manifest.digest,
        "files": len(run.manifest.files),
    }
    io.result(facts, lambda: verify_words(words_of(io), run, check, is_asked=bool(stores)))
    if not check.is_intact:
        return IntegrityError.exit_code
    return 0 if check.is_on_record else 1


def run_fix(args: argparse.Namespace, io: frame.IO) -> int:
    """Print what to repair."""
    from govsec.errors import ConfigurationError
    from govsec.privatefile import write_private
    from govsec.report.rectify import plan, plan_markdown

    if not args.dry_run:
        raise UsageError("govsec changes nothing on a host; print the plan with --dry-run")
    made = _load(args, io, args.run_id)
    steps = plan(made.canonical())
    words = plan_markdown(steps, "en" if io.lang == "en" else "zh")
    if args.output is not None:
        try:
            write_private(args.output, words.encode())
        except OSError as error:
            raise ConfigurationError(f"{args.output}: {error.strerror}") from error
    io.result(steps, str(args.output) if args.output is not None else words)
    return 0


def run_catalog(args: argparse.Namespace, io: frame.IO) -> int:
    """List requirements."""
    from govsec.policy.catalog import Catalog

    s, a = args.s or args.level.s or args.level.level, args.a or args.level.a or args.level.level
    items = Catalog.load().select(s, a, max(s, a), args.scope or ["general"])
    if args.item:
        items = tuple(item for item in items if _mentions(item, args.item))
    values = [
        {
            "id": item.id,
            "key": item.key,
            "attribute": item.attribute.value,
            "level": item.level,
            "scope": item.scope.value,
            "control": {"zh": item.control_zh, "en": item.control_en},
            "summary": {"zh": item.summary_zh, "en": item.summary_en},
            "automatable": item.automatable.value,
            "is_confirmed": item.confirmed,
            "is_optional": item.optional,
        }
        for item in items
    ]
    rows = [
        [
            item.id,
            item.key,
            item.attribute.value,
            item.automatable.value,
            (item.summary_en if io.lang == "en" else item.summary_zh) + ("" if item.confirmed else " (?)"),
        ]
        for item in items
    ]
    header = heads(words_of(io), "item", "key", "", "automatable", "summary")
    io.result({"items": values}, lambda: texts.table(header, rows))
    return 0


def _mentions(item: Item, text: str) -> bool:
    words = (item.id, item.key, item.summary_zh, item.summary_en, item.control_zh, item.control_en)
    return any(text.casefold() in word.casefold() for word in words)
