"""``govsec demo``: the whole story on sample data, in a directory of its own."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from govsec.cli import frame

EXIT_FAILED = 1


def register(parser: frame.Parser) -> None:
    """``demo`` is a topic without verbs."""
    parser.description = (
        "Make a sample system and three centers in a directory, back up twice, ship, take production,\n"
        "same-city and the system itself away, restore from the remote center in a drill, and verify\n"
        "the signed evidence. Drop a table of a PostgreSQL, where there is one, and bring back the second\n"
        "before. Then find what was lost again, look for intruders in the traffic of the\n"
        "day, catch a program that encrypts a share, make a graded incident with a notice and a deadline\n"
        "of it, and look at this machine as an assessor of graded protection would (level 3), with the\n"
        "drill as evidence."
    )
    parser.epilog = (
        "exit codes: 0 the data came back and all of it is on record, 1 otherwise\n\n"
        "examples:\n  govsec demo\n  govsec demo --dir /tmp/demo --lang en\n"
        "  cd /tmp/demo && govsec backup list --config govsec.yaml --center far"
    )
    parser.add_argument("--dir", type=Path, metavar="DIR", help="an empty or new directory (default: a temporary one)")
    parser.set_defaults(run=run_demo)


def run_demo(args: argparse.Namespace, io: frame.IO) -> int:
    """Tell the story on standard error as it goes on, the result on standard output."""
    from govsec.assemble import demo
    from govsec.assemble.demoassess import assess_demo, find_directories
    from govsec.assemble.demodatabase import lose_table
    from govsec.assemble.demoguard import guard_demo
    from govsec.assemble.demoincident import respond_demo
    from govsec.assemble.demomonitor import watch_demo
    from govsec.report.catalog import Catalogue

    words = Catalogue("demo", "en" if io.lang == "en" else "zh")
    reasons = Catalogue("drill", words.lang)
    statuses = Catalogue("assessment", words.lang)

    def tell(key: str, facts: Mapping[str, object]) -> None:
        if key == "assessed":
            facts = {**facts, "status": statuses.text(f"status.{facts['status']}")}
        io.talk(f"[{io.clock.monotonic() - began:5.1f} s] {words.text(key, facts)}")

    began = io.clock.monotonic()
    directory = demo.make_directory(args.dir)
    tell("begin", {"directory": directory})
    source = directory / "system"
    source.mkdir()
    config_path = demo.write_site(directory, demo.local_centers(directory), source)
    result = demo.run_demo(
        config_path,
        source,
        io.clock,
        tell=tell,
        lose=lambda: demo.lose_directories(directory),
        progress=io.progress,
    )
    tell("found", {})
    find_directories(directory)
    database = lose_table(directory, io.clock, tell=tell)
    traffic = watch_demo(config_path, io.clock, tell=tell, progress=io.progress)
    guarded = guard_demo(config_path, io.clock, tell=tell)
    attack = (*guarded.findings, *traffic.findings)
    incident = respond_demo(config_path, attack, io.clock, tell=tell, lang=words.lang)
    assessment = assess_demo(config_path, io.clock, tell=tell, progress=io.progress)
    for reason in result.reasons:
        tell("reason", {"text": reasons.text(f"reason.{reason.code}", reason.facts)})
    tell("end", {"elapsed_s": io.clock.monotonic() - began, "directory": directory})
    io.result(
        {
            "directory": result.directory,
            "verdict": result.verdict,
            "reasons": result.reasons,
            "recovery_point_age_s": result.recovery_point_age_s,
            "restore_time_s": result.restore_time_s,
            "reports": [str(path) for path in result.reports],
            "ledger": {"is_clean": result.ledger_is_clean, "entries_count": result.ledger_entries_count},
            "seconds": result.seconds,
            "database": {"rows_count": database.rows_count, "recovery_s": database.recovery_s},
            "traffic": {
                "capture": str(traffic.capture),
                "findings": [finding.kind for finding in traffic.findings],
                "reports": [str(path) for path in traffic.reports],
            },
            "guard": {"findings": [finding.kind for finding in guarded.findings]},
            "incident": {
                "case": incident.case,
                "level": incident.level,
                "due_at": incident.due_at,
                "notices": [notice.kind for notice in incident.notices],
            },
            "assessment": {
                "run": assessment.run.assessment.id,
                "coverage": assessment.run.assessment.coverage,
                "drilled_status": assessment.drilled_status,
                "ledger_error": assessment.run.ledger_error,
                "reports": [str(path) for path in assessment.reports],
            },
        },
        "\n".join(
            words.text("report", {"path": path}) for path in (*result.reports, *traffic.reports, *assessment.reports)
        ),
    )
    # What the assessment finds is about this machine; that the demo worked is about the data and the evidence.
    return 0 if result.is_passed and database.is_passed and not assessment.run.ledger_error else EXIT_FAILED
