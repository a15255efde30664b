"""Stored assessments in words, for :mod:`govsec.cli.assessview`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from govsec.cli import texts

if TYPE_CHECKING:  # see govsec.cli.assessrun
    from govsec.assemble.runs import RunCheck
    from govsec.policy.run import Assessment, DifferenceRow, ItemRow
    from govsec.policy.runfolder import StoredRun


def percent(share: float | None) -> str:
    """A share as people read it."""
    return "-" if share is None else f"{100 * share:.1f} %"


def value(value: float | None, is_confirmed: bool) -> str:
    """A figure, never without its status."""
    return "-" if value is None else f"{value:.2f}{'' if is_confirmed else ' (unconfirmed)'}"


def item_words(made: Assessment, item: ItemRow, lang: str) -> str:
    """One requirement: its verdict, every check with what was asked and what came, and what to show."""
    lines = [f"{item.id}  {getattr(item.summary, lang)}", f"{item.verdict.value} ({item.basis.value})"]
    lines += [f"  {getattr(reason, lang)}" for reason in item.reasons]
    for position in item.results:
        result = made.results[position]
        check = made.checks[result.check]
        lines += ["", f"{result.object}: {result.check} {result.status.value}  {getattr(check.title, lang)}"]
        if result.reason is not None:
            lines.append(f"  {getattr(result.reason, lang)}")
        lines += [f"  - {getattr(one.message, lang)}" for one in result.expectations if one.message is not None]
        for name, identity in result.probes.items():
            outcome = made.objects[result.object].outcomes.get(identity)
            if outcome is not None:
                lines.append(f"  {name}: {outcome.status} {outcome.reason}  $ {made.probes[identity].command}".rstrip())
                lines += [f"    | {line}" for line in outcome.excerpt.splitlines()[:20]]
    if item.evidence_hint is not None:
        lines += ["", getattr(item.evidence_hint, lang)]
    return "\n".join(lines)


def diff_words(later: Assessment, found: DifferenceRow, lang: str) -> str:
    """What changed, what got worse first."""
    lines = [f"{found.earlier} -> {later.id}", *(getattr(note, lang) for note in found.notes)]
    order = ("worse", "better", "other")
    rows = [
        [change.direction, change.item, change.before or "-", change.after or "-"]
        for change in sorted(found.items, key=lambda change: order.index(change.direction))
    ]
    if rows:
        lines.append(texts.table(["", "item", "before", "after"], rows))
    lines += [f"new high-risk case: {case}" for case in found.cases_new]
    lines += [f"high-risk case gone: {case}" for case in found.cases_gone]
    lines.append(f"{len(found.results)} single results differ")
    return "\n".join(lines)


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
