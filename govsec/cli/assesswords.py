"""Stored assessments in words, for :mod:`govsec.cli.assessview`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # see govsec.cli.assessrun
    from govsec.assemble.runs import RunCheck
    from govsec.policy.runfolder import StoredRun


def percent(share: float | None) -> str:
    """A share as people read it."""
    return "-" if share is None else f"{100 * share:.1f} %"


def value(value: float | None, is_confirmed: bool) -> str:
    """A figure, never without its status."""
    return "-" if value is None else f"{value:.2f}{'' if is_confirmed else ' (unconfirmed)'}"


def verify_words(run: StoredRun, check: RunCheck) -> str:
    """What verifying came to."""
    lines = [f"{flaw.what}: {flaw.name}" for flaw in check.flaws]
    if check.is_contradicted:
        lines.append("the signed ledger has this run with another manifest: this folder is not what was put on record")
    if check.ledger_problems_count:
        lines.append(f"the ledger has {check.ledger_problems_count} problems; run: govsec ledger verify")
    if check.is_intact:
        lines.append(f"{len(run.manifest.files)} files are what the manifest says")
        if check.entry is None:
            lines.append("NOT on record: no signed ledger vouches for the manifest")
        else:
            lines.append(f"on record: entry {check.entry.number} of {check.entry.chain}, {check.entry.digest}")
    return "\n".join(lines)
