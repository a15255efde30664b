"""A thin service: every night each system is assessed, stored, compared with the night before, and what is new is told.

    python examples/nightly_assessment.py --config /etc/govsec/govsec.yaml [--once] [--walk]

One line of JSON on standard output for each finding, ready for a log shipper. Runs and findings go to the ledger of the
system, so that an assessor can follow them years later. What is judged and how is the library's; this file only wires.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from govsec.assemble.assess import AssessRun, run_assessment
from govsec.assemble.assessscope import Request
from govsec.assemble.ledger import open_ledger
from govsec.assemble.systems import Site
from govsec.clock import Clock, SystemClock
from govsec.config import SystemConfig, load_config
from govsec.errors import GovsecError
from govsec.policy.findings import assessment_findings
from govsec.records import Finding, as_evidence

NIGHT_S = 24 * 3600.0


def assess_system(
    site: Site, system: SystemConfig, *, is_walking: bool = False
) -> tuple[AssessRun, tuple[Finding, ...]]:
    """One run of one system, on disk and on record, with what is new in it."""
    run = run_assessment(site, Request(system=system.name, operator="nightly", is_walking=is_walking))
    findings = assessment_findings(run.assessment, coverage_min=site.config.assessment.coverage_min)
    if run.entry is not None and findings:
        ledger = open_ledger(site, system)
        for finding in findings:
            ledger.append(as_evidence(finding))
    return run, findings


def one_night(config: Path, clock: Clock, *, is_walking: bool = False) -> int:
    """Every system once; gives how many could not be assessed."""
    site = Site(load_config(config), clock)
    failures = 0
    for system in site.config.systems:
        try:
            run, findings = assess_system(site, system, is_walking=is_walking)
        except GovsecError as error:
            failures += 1
            print(json.dumps({"system": system.name, "error": str(error)}), flush=True)
            continue
        for finding in findings:
            print(json.dumps(finding.canonical(), ensure_ascii=False), flush=True)
        failures += bool(run.ledger_error)
        print(
            json.dumps(
                {
                    "system": system.name,
                    "run": run.assessment.id,
                    "coverage": run.assessment.coverage.share,
                    "findings": len(findings),
                    "ledger_error": run.ledger_error,
                }
            ),
            flush=True,
        )
    return failures


def main() -> int:
    """Run for ever, or once; 1 when a system could not be assessed or recorded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--once", action="store_true", help="one night, then leave (a systemd timer is as good)")
    parser.add_argument("--walk", action="store_true", help="walk over the hosts' whole file systems as well")
    arguments = parser.parse_args()
    clock = SystemClock()
    while True:
        failures = one_night(arguments.config, clock, is_walking=arguments.walk)
        if arguments.once:
            return 1 if failures else 0
        clock.sleep(NIGHT_S)


if __name__ == "__main__":
    sys.exit(main())
