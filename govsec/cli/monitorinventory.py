"""``govsec monitor vulnerabilities`` and ``sbom``: what this machine has installed, and what is known of it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from govsec.cli import frame, texts
from govsec.cli.monitorreplay import has_configuration, tongue

if TYPE_CHECKING:  # pydantic takes its time; `govsec monitor --help` does without it
    from govsec.assemble.inventory import Inventory


def register(verbs: frame.Verbs[frame.Parser]) -> None:
    """Add the verbs ``vulnerabilities`` and ``sbom``."""
    vulnerabilities = frame.add_verb(
        verbs,
        "vulnerabilities",
        run_vulnerabilities,
        "hold the packages of this machine against OSV or Debian tracker data in a file; 1 when something is known",
        examples=[
            "govsec monitor vulnerabilities --data tracker.json",
            "govsec monitor vulnerabilities --data all.zip --ecosystem openEuler:24.03-LTS --json",
        ],
    )
    vulnerabilities.add_argument(
        "--data", type=Path, metavar="FILE", action="append", required=True, help="zip or JSON of OSV, or the tracker's"
    )
    vulnerabilities.add_argument(
        "--ecosystem", default="", help="OSV's name of this system, where its own files do not say it"
    )
    vulnerabilities.add_argument(
        "--age-max-days", type=float, default=14.0, metavar="DAYS", help="older data are told (default: 14)"
    )
    sbom = frame.add_verb(
        verbs,
        "sbom",
        run_sbom,
        "write the packages of this machine down as CycloneDX (JSON)",
        examples=["govsec monitor sbom", "govsec monitor sbom -o bom.json --data tracker.json"],
    )
    sbom.add_argument("-o", "--output", type=Path, metavar="FILE", help="instead of standard output")
    sbom.add_argument("--spec", choices=("1.5", "1.6"), default="1.6", help="version of CycloneDX (default: 1.6)")
    sbom.add_argument(
        "--data", type=Path, metavar="FILE", action="append", help="write what these data know into it as well"
    )


def run_vulnerabilities(args: argparse.Namespace, io: frame.IO) -> int:
    """Match."""
    from govsec.assemble.inventory import match_packages, read_inventory
    from govsec.assemble.monitorlearned import dismissals_of
    from govsec.findings.quiet import Quiet

    quiet = Quiet(dismissals_of(io.config()).read()) if has_configuration(io) else None
    done = match_packages(
        read_inventory(io.clock), args.data, ecosystem=args.ecosystem, age_max_days=args.age_max_days, quiet=quiet
    )
    facts = {
        "packages": len(done.packages),
        "newest": done.matches.newest,
        "is_file_date": done.matches.is_file_date,
        "has_release": done.matches.has_release,
        "counters": dict(done.matches.counters),
        "gaps": list(done.gaps),
        "known": {
            source: [
                {"id": one.id, "aliases": one.aliases, "state": one.state.value, "fixed": one.fixed_version}
                for one in known
            ]
            for source, known in sorted(done.matches.known.items())
        },
        "findings": [finding.canonical() for finding in done.findings],
    }
    io.result(facts, lambda: texts.printable_lines(_words(done, io)))
    return 1 if done.findings else 0


def run_sbom(args: argparse.Namespace, io: frame.IO) -> int:
    """Write the bill."""
    from govsec.assemble.inventory import match_packages, read_inventory, sbom_of
    from govsec.errors import ConfigurationError
    from govsec.privatefile import write_private

    snapshot = read_inventory(io.clock)
    matches = match_packages(snapshot, args.data).matches if args.data else None
    data = sbom_of(snapshot, version=args.spec, matches=matches)
    if args.output is None:
        io.raw(data)
        return 0
    try:
        write_private(args.output, data)
    except OSError as error:
        raise ConfigurationError(f"{args.output}: {error.strerror}") from error
    io.result({"output": str(args.output), "size_bytes": len(data)}, str(args.output))
    return 0


def _words(done: Inventory, io: frame.IO) -> str:
    from govsec.report.services import inventory_words

    counts = {state: 0 for known in done.matches.known.values() for state in {one.state.value for one in known}}
    for known in done.matches.known.values():
        for one in known:
            counts[one.state.value] += 1
    return inventory_words(
        done.findings, len(done.packages), counts, done.matches.newest, done.matches.is_file_date, tongue(io)
    )
