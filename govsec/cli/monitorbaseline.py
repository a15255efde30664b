"""``govsec monitor baseline``: what this machine was accepted to be, and what is not so any more."""

from __future__ import annotations

import argparse
import getpass
from collections.abc import Mapping
from typing import TYPE_CHECKING

from govsec.cli import frame
from govsec.cli.monitorreplay import tongue
from govsec.clock import format_time

if TYPE_CHECKING:
    from govsec.guard.hostbaseline import HostBaseline
    from govsec.report.catalog import Catalogue

_EXIT_FINDINGS = 1


def register(verbs: frame.Verbs[frame.Parser]) -> None:
    """Add the verb ``baseline`` with its own verbs."""
    baseline = verbs.add_parser("baseline", help="what this machine was accepted to be, and what is not so any more")
    inner = frame.verbs_of(baseline, dest="baseline_verb")
    accept = frame.add_verb(
        inner,
        "accept",
        run_accept,
        "take this machine as it is now for what it should be: files, accounts, listeners, services, modules, timers, "
        "set-id programs, packages, keys; signed with signing.baseline_key_file",
        examples=[
            "govsec assess key --for baseline --name 'ops team' --output baseline.key --pin roots.yaml",
            "govsec monitor baseline accept --by 'Zhang Wei'",
        ],
    )
    accept.add_argument("--by", default="", help="who accepts it (default: the user's name)")
    frame.add_verb(
        inner,
        "show",
        run_show,
        "when the baseline was accepted, by whom, and how much is in it; 6 when it was altered",
        examples=["govsec monitor baseline show --json"],
    )
    frame.add_verb(
        inner,
        "drift",
        run_drift,
        "compare this machine with its baseline; 1 when something is not as accepted, 6 when the baseline was altered",
        examples=["govsec monitor baseline drift", "govsec monitor baseline drift --json | jq '.findings[].subject'"],
    )


def run_accept(args: argparse.Namespace, io: frame.IO) -> int:
    """Accept the machine."""
    from govsec.assemble.guard import accept_baseline
    from govsec.report.catalog import Catalogue

    accepted = accept_baseline(io.config(), io.clock, by=args.by or getpass.getuser(), progress=io.progress)
    baseline = accepted.baseline
    facts = {**_facts(baseline), "digest": accepted.digest, "left_out": dict(accepted.left_out)}
    words = Catalogue("guard", tongue(io))
    lines = [
        words.text(
            "baseline.accepted",
            {
                "number": baseline.number,
                "host": baseline.host,
                "files": baseline.files.count,
                "rows": sum(len(rows) for rows in baseline.tables.values()),
                "keys": sum(len(keys) for keys in baseline.keys.values()),
                "by": baseline.made_by,
                "digest": accepted.digest,
            },
        ),
        *_unavailable(baseline, words),
        *_left_out(accepted.left_out, words),
    ]
    io.result(facts, "\n".join(lines))
    return 0


def run_show(args: argparse.Namespace, io: frame.IO) -> int:
    """Show the baseline."""
    from govsec.assemble.guard import baseline_store, trusted_keys
    from govsec.report.catalog import Catalogue

    config = io.config()
    store = baseline_store(config)
    baseline = store.load(trusted_keys(config))
    store.load_files(baseline)  # a table of files that was altered is told here too
    words = Catalogue("guard", tongue(io))
    lines = [
        words.text(
            "baseline.shown",
            {
                "number": baseline.number,
                "host": baseline.host,
                "made": format_time(baseline.made),
                "by": baseline.made_by,
                "files": baseline.files.count,
                "roots": ", ".join(baseline.scope.roots),
            },
        ),
        *(
            words.text("baseline.table", {"table": _table(name, words), "rows": len(rows)})
            for name, rows in baseline.tables.items()
        ),
        *_unavailable(baseline, words),
    ]
    io.result({**_facts(baseline), "digest": store.digest()}, "\n".join(lines))
    return 0


def run_drift(args: argparse.Namespace, io: frame.IO) -> int:
    """Compare with the baseline."""
    from govsec.assemble.guard import drift
    from govsec.records import Severity
    from govsec.report.catalog import Catalogue
    from govsec.report.guard import guard_finding, guard_suppressed

    baseline, findings, counters = drift(io.config(), io.clock, progress=io.progress)
    drifted = [finding for finding in findings if finding.severity > Severity.INFO]
    lang = tongue(io)
    words = Catalogue("guard", lang)
    facts = {
        "baseline": _facts(baseline),
        "findings": [finding.canonical() for finding in findings],
        "counters": counters,
    }
    said = {
        "made": format_time(baseline.made),
        "by": baseline.made_by,
        "number": baseline.number,
        "files": counters["integrity"]["files"],
        "findings": len(drifted),
        "updates": len(findings) - len(drifted),
    }

    def text() -> str:
        parts = [guard_finding(finding, lang) for finding in findings]
        if suppressed := guard_suppressed(counters["suppressed"], lang):
            parts.append(suppressed)
        return "\n\n".join([*parts, words.text("baseline.drifted" if findings else "baseline.nothing", said)])

    io.result(facts, text)
    return _EXIT_FINDINGS if drifted else 0


def _facts(baseline: HostBaseline) -> dict[str, object]:
    return {
        "host": baseline.host,
        "number": baseline.number,
        "made": format_time(baseline.made),
        "made_by": baseline.made_by,
        "previous": baseline.previous,
        "roots": list(baseline.scope.roots),
        "files_count": baseline.files.count,
        "tables": {name: len(rows) for name, rows in baseline.tables.items()},
        "unavailable": baseline.unavailable,
        "keys_count": sum(len(keys) for keys in baseline.keys.values()),
        "packages_count": len(baseline.packages),
    }


def _unavailable(baseline: HostBaseline, words: Catalogue) -> list[str]:
    return [
        words.text("baseline.unavailable", {"table": _table(name, words), "reason": reason})
        for name, reason in baseline.unavailable.items()
    ]


def _left_out(counts: Mapping[str, int], words: Catalogue) -> list[str]:
    what = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    return [words.text("baseline.left_out", {"what": what})] if what else []


def _table(name: str, words: Catalogue) -> str:
    key = f"value.table.{name}"
    return words.text(key) if words.has(key) else name
