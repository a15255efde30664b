"""What ``govsec repo`` prints: reports as facts for ``--json`` and as lines for people."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from govsec.cli import texts

if TYPE_CHECKING:  # see govsec.cli.repo
    from govsec.crypto.keyfile import KeyFileInfo
    from govsec.repo.check import CheckReport
    from govsec.repo.prune import PruneResult

#: Problems that are printed as words; all that were kept are in the JSON.
_PRINTED_MAX = 50


def check_facts(report: CheckReport) -> dict[str, Any]:
    """The whole report."""
    facts = {name: getattr(report, name) for name in type(report).__dataclass_fields__}
    problems = [
        {"kind": item.kind.value, "severity": item.severity.name.lower(), "object": item.object, "detail": item.detail}
        for item in report.problems
    ]
    return {**facts, "problems": problems, "is_good": report.is_good}


def check_words(report: CheckReport) -> str:
    """What was looked at, the first problems, and the verdict in the last line."""
    lines = [
        f"{report.store}: {report.snapshots_count} snapshots, {report.trees_count} trees, {report.files_count} files, "
        f"{report.blobs_count} blobs in {report.packs_count} packs ({texts.size(report.packs_bytes)})"
    ]
    if report.scope != "structure":
        lines.append(
            f"read: {report.packs_read_count} packs, {report.blobs_read_count} blobs, {texts.size(report.bytes_read)} "
            f"in {texts.duration(report.seconds['total'])}"
        )
    if report.never_verified_count is not None:
        age = report.oldest_verified_age_s
        oldest = "" if age is None else f", the oldest reading is {texts.duration(age)} ago"
        lines.append(f"verification record: {report.never_verified_count} packs were never read{oldest}")
    if report.record_error:
        lines.append(f"verification record NOT written: {texts.printable(report.record_error)}")
    for item in report.problems[:_PRINTED_MAX]:
        word = "hint" if item.is_hint else "ERROR"
        lines.append(f"{word} {item.kind.value}: {texts.printable(item.object)}: {texts.printable(item.detail)}")
    more = report.dropped_count + max(0, len(report.problems) - _PRINTED_MAX)
    if more:
        lines.append(f"and {more} more problems")
    lines += [f"NOT COVERED: {gap}" for gap in report.gaps]
    lines.append(_verdict(report))
    return "\n".join(lines)


def _verdict(report: CheckReport) -> str:
    if report.errors_count:
        return f"{report.errors_count} errors"
    if report.gaps:
        return "no errors were found in what could be looked at"
    return "no errors were found" if report.scope == "all_data" else f"no errors were found ({report.scope} only)"


def prune_words(result: PruneResult, grace: timedelta) -> str:
    """What was or would be released and removed."""
    will = "would be " if result.is_dry_run else ""
    released = result.dropped_packs_count + result.repacked_packs_count
    lines = [
        f"{len(result.forgotten)} snapshots {will}released, {result.snapshots_count} stay",
        f"used: {result.used_blobs_count} blobs, {texts.size(result.used_bytes)}",
        f"unused: {result.unused_blobs_count} blobs, {texts.size(result.unused_bytes)}, of which "
        f"{texts.size(result.tolerated_bytes)} stay",
        f"{released} packs {will}released, {result.repacked_packs_count} of them ({texts.size(result.repacked_bytes)}) "
        "packed anew",
    ]
    if not result.is_dry_run:
        size = sum(item.size_bytes for item in result.removed)
        lines.append(f"{len(result.removed)} objects removed, {texts.size(size)}")
    wait = texts.duration(grace.total_seconds())
    lines.append(f"{result.waiting_count} packs ({texts.size(result.waiting_bytes)}) wait for the end of {wait}")
    return "\n".join(lines)


def key_facts(info: KeyFileInfo | None) -> dict[str, Any]:
    """What a key file says in the clear."""
    if info is None:
        return {"is_readable": False}
    kdf = {"n": info.kdf.n, "r": info.kdf.r, "p": info.kdf.p}
    return {"is_readable": True, "user": info.username, "host": info.hostname, "created": info.created, "scrypt": kdf}
