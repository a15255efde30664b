"""``govsec center init``, ``rebuild`` and ``roots``: how centers begin, and how one that was lost comes back."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from govsec.cli import frame, texts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from govsec.assemble.rebuild import Rebuilt
    from govsec.assemble.systems import Site
    from govsec.config import SystemConfig
    from govsec.crypto.signing import PublicKey

EXIT_FINDINGS = 1


def run_init(args: argparse.Namespace, io: frame.IO) -> int:
    """Make what is not there yet; everything that is there is left alone."""
    from govsec.assemble.centers import init_centers

    site, system = _site(args, io)
    report, pinned = init_centers(site, system)
    facts = {
        "system": system.name,
        "repository": report.repository,
        "is_new": report.is_new,
        "reached": report.reached,
        "not_reached": dict(report.not_reached),
        "pinned": [{"purpose": key.purpose.value, "key": key.key_id, "name": key.name} for key in pinned],
    }
    lines = [f"{system.name}: repository {report.repository[:16]} " + ("made" if report.is_new else "found")]
    lines += [f"  {name}: config and keys copied" for name in report.reached]
    lines += [f"  {name}: NOT reached: {reason}" for name, reason in report.not_reached]
    lines += [f"  key {key.key_id} for {key.purpose.value} ({key.name})" for key in pinned]
    lines += [
        "Compare these key ids by telephone, then bring the roots file to the other sites: govsec center roots merge",
        "Next: govsec backup run, govsec center ship, govsec center status",
    ]
    io.result(facts, "\n".join(lines))
    return EXIT_FINDINGS if report.not_reached else 0


def run_rebuild(args: argparse.Namespace, io: frame.IO) -> int:
    """Fill a lost center; 1 when something is left to do."""
    from govsec.assemble.rebuild import rebuild_center

    site, system = _site(args, io)
    rebuilt = rebuild_center(
        site, system, args.center, source=args.source, is_dry_run=args.dry_run, progress=io.progress
    )
    words = _remains_words(rebuilt) if args.dry_run else _rebuilt_words(rebuilt)
    io.result(_rebuilt_facts(rebuilt), "\n".join(words))
    return 0 if args.dry_run or rebuilt.is_complete else EXIT_FINDINGS


def run_roots_merge(args: argparse.Namespace, io: frame.IO) -> int:
    """Show what another site's roots would add, and pin it once people have compared; 1 while they have not."""
    from govsec.centers.roots import plan_merge
    from govsec.errors import ConfigurationError

    path = io.config().signing.roots_file
    if path is None:
        raise ConfigurationError("signing.roots_file is not set; say where the pinned keys are to lie")
    merge = plan_merge(path, args.file)
    is_pinned = bool(merge.added) and args.compared
    if is_pinned:
        merge.result.save(path)
    facts = {
        "roots_file": path,
        "is_pinned": is_pinned,
        "added": _key_facts(merge.added),
        "shared_count": len(merge.shared),
        "ours_alone": _key_facts(merge.ours_alone),
    }
    lines = [f"{'pinned' if is_pinned else 'NEW'}: {_key_words(key)}" for key in merge.added]
    lines += [f"only here: {_key_words(key)}" for key in merge.ours_alone]
    if not merge.added:
        lines.append(f"{path} has every key of {args.file}")
    elif not is_pinned:
        lines.append("Nothing was changed. Compare the new ids with the other site by telephone, then add --compared.")
    if merge.ours_alone:
        lines.append(f"The other site needs the keys that are only here: bring {path} there and merge it.")
    io.result(facts, "\n".join(lines))
    return EXIT_FINDINGS if merge.added and not is_pinned else 0


def _site(args: argparse.Namespace, io: frame.IO) -> tuple[Site, SystemConfig]:
    from govsec.assemble.systems import Site

    site = Site(io.config(), io.clock)
    return site, site.system(args.system)


def _remains_words(rebuilt: Rebuilt) -> list[str]:
    remains = rebuilt.remains
    before = "holds no repository" if rebuilt.before is None else f"its log ends at {rebuilt.before.number}"
    lines = [f"{rebuilt.center}: {before}; nothing was changed"]
    lines += [f"  {store.name}: can give everything up to commit {head.number}" for store, head in remains.ranked]
    return [*lines, *(f"  {name}: cannot be asked: {reason}" for name, reason in remains.silent)]


def _rebuilt_words(rebuilt: Rebuilt) -> list[str]:
    report = rebuilt.report
    assert report is not None  # only a dry run has none
    lines = [f"{rebuilt.center}: holds everything up to commit {report.head.number}"]
    lines += [
        f"  from {one.source}: {one.commits_count} commits, {one.objects_count} objects, {texts.size(one.bytes_count)}"
        for one in report.rounds
    ]
    lines += [f"  {rebuilt.evidence_count} entries of evidence"] if rebuilt.evidence_count else []
    lines += [f"  what {name} alone has is NOT there: {reason}" for name, reason in report.missed]
    lines += [f"  LOCKS: {rebuilt.locking.problem}"] if rebuilt.locking and rebuilt.locking.problem else []
    lines += [f"  the near centers are NOT in step yet: {rebuilt.unsettled}"] if rebuilt.unsettled else []
    lines += [f"  key {_key_words(key)}" for key in rebuilt.keys]
    if rebuilt.keys:
        lines.append(
            "Keys that the other sites do not know yet: bring the roots file there (govsec center roots merge)."
        )
    return [*lines, f"Next: govsec center verify {rebuilt.center}, govsec repo check, govsec backup run"]


def _rebuilt_facts(rebuilt: Rebuilt) -> dict[str, Any]:
    report = rebuilt.report
    return {
        "center": rebuilt.center,
        "repository": rebuilt.remains.repository,
        "is_dry_run": report is None,
        "is_complete": rebuilt.is_complete,
        "left": [{"center": store.name, "head": head.number} for store, head in rebuilt.remains.ranked],
        "silent": dict(rebuilt.remains.silent),
        "head_before": None if rebuilt.before is None else rebuilt.before.number,
        "head": None if report is None else report.head.number,
        "rounds": []
        if report is None
        else [
            {
                "source": one.source,
                "commits_count": one.commits_count,
                "objects_count": one.objects_count,
                "bytes_count": one.bytes_count,
                "left_out_count": one.left_out_count,
            }
            for one in report.rounds
        ],
        "missed": {} if report is None else dict(report.missed),
        "evidence_count": rebuilt.evidence_count,
        "lock_problem": rebuilt.locking.problem if rebuilt.locking else None,
        "unsettled": rebuilt.unsettled,
        "pinned": _key_facts(rebuilt.keys),
    }


def _key_facts(keys: Iterable[PublicKey]) -> list[dict[str, str]]:
    return [{"purpose": key.purpose.value, "key": key.key_id, "name": key.name} for key in keys]


def _key_words(key: PublicKey) -> str:
    return f"{key.key_id} for {key.purpose.value} ({key.name})"
