"""``govsec center``: make, watch, fill, verify and heal the three centers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from govsec.cli import centerbegin, frame, texts
from govsec.errors import UsageError

if TYPE_CHECKING:
    from govsec.assemble.care import Healed
    from govsec.assemble.centers import Shipped
    from govsec.assemble.systems import Site
    from govsec.centers.ship import ShipReport
    from govsec.centers.verify import VerifyReport
    from govsec.config import SystemConfig

EXIT_FINDINGS = 1
EXIT_DAMAGED = 6
_SHOWN_MAX = 20


def register(parser: frame.Parser) -> None:
    """Add the verbs of the topic."""
    verbs = frame.verbs_of(parser)
    _add(verbs, "init", centerbegin.run_init, "make the repository, the signing keys and the roots file", None)
    rebuild = _add(verbs, "rebuild", centerbegin.run_rebuild, "fill a lost center from what is left", "production")
    rebuild.add_argument("--from", dest="source", metavar="CENTER", help="from this one only (default: from all)")
    rebuild.add_argument("--dry-run", action="store_true", help="only say what is left")
    _add_roots(verbs)
    status = _add(verbs, "status", run_status, "newest snapshot, its age, backlog, protection and state", None)
    status.add_argument("--prometheus", action="store_true", help="print the Prometheus text format")
    _add(verbs, "probe", run_probe, "try with this site's credential what would erase data at a center", None)
    ship = _add(verbs, "ship", run_ship, "pull to a center what commits name and it lacks", "remote")
    ship.add_argument("--from", dest="source", metavar="CENTER", help="where to pull from (default: the nearest)")
    ship.add_argument("--loop", action="store_true", help="go on until stopped, one round an interval")
    ship.add_argument("--interval", type=_positive, default=300.0, metavar="SECONDS", help="between rounds (300)")
    verify = _add(verbs, "verify", run_verify, "compare every byte of a center with the digest in its name", None)
    verify.add_argument("--budget", type=_size, metavar="SIZE", help="read at most this much, e.g. 50G; oldest first")
    _add(verbs, "heal", run_heal, "replace what is damaged at a center from the others", None)
    quarantine = _add(verbs, "quarantine", run_quarantine, "move junk aside that no commit names", None)
    quarantine.add_argument("--older-than", type=_positive, default=24.0, metavar="HOURS", help="in flight until (24)")
    quarantine.add_argument("--undo", metavar="ID", help="put one quarantine back")
    quarantine.add_argument("--dry-run", action="store_true", help="only say what is junk")
    pause = _add(verbs, "pause", run_pause, "make shipping, releasing and locking wait at a center", None)
    pause.add_argument("--reason", required=True, help="why; status shows it")
    pause.add_argument("--hours", type=_positive, default=4.0, help="how long (4; at most 336)")
    pause.add_argument("--by", required=True, help="who")
    _add(verbs, "resume", run_resume, "end the pause of a center", None)
    ended = _add(
        verbs, "thaw", run_thaw, "end what is frozen at a center, as its owner; written to the ledger first", None
    )
    ended.add_argument("--reason", required=True, help="why; the ledger keeps it")
    ended.add_argument("--by", required=True, help="who")
    release = _add(verbs, "release", run_release, "let go at a center of what nobody needs any more", None)
    release.add_argument("--dry-run", action="store_true", help="only say what would be marked")
    lock = _add(verbs, "lock", run_lock, "extend the object locks of all that a center keeps", None)
    lock.add_argument("--trust-clock", action="store_true", help="the clock is right, though commits are old")
    hold = _add(verbs, "hold", run_hold, "set a legal hold on all that a center keeps, or lift it", None)
    hold.add_argument("--lift", action="store_true", help="lift it")
    frame_union = frame.add_verb(
        verbs, "union", run_union, "bring every center as far as all of them", examples=["govsec center union"]
    )
    _system(frame_union)


def _add(verbs: frame.Verbs[frame.Parser], name: str, run: frame.Run, summary: str, center: str | None) -> frame.Parser:
    takes_center = name not in ("init", "status")
    is_optional = name in ("ship", "verify", "heal")
    example = f"govsec center {name}" + (f" {center or 'same_city'}" if takes_center else "")
    if name == "pause":
        example += " --by 'Li Na' --reason 'disks are exchanged'"
    if name == "thaw":
        example += " --by 'Li Na' --reason 'a false alarm, case 20261122-0001'"
    parser = frame.add_verb(verbs, name, run, summary, examples=[example])
    if is_optional:
        parser.add_argument("center", metavar="CENTER", nargs="?", help="name or role (default: each that it fits)")
    elif takes_center:
        parser.add_argument("center", metavar="CENTER", help="name or role of the center")
    _system(parser)
    return parser


def _add_roots(verbs: frame.Verbs[frame.Parser]) -> None:
    parser = verbs.add_parser("roots", help="the keys that are pinned at this site")
    merge = frame.add_verb(
        frame.verbs_of(parser, dest="roots_verb"),
        "merge",
        centerbegin.run_roots_merge,
        "add the keys of another site's roots file to those pinned here",
        examples=[
            "govsec center roots merge remote-roots.yaml",
            "govsec center roots merge remote-roots.yaml --compared",
        ],
    )
    merge.add_argument("file", metavar="FILE", type=Path, help="the other site's roots file")
    merge.add_argument("--compared", action="store_true", help="two people compared the new ids: pin them")


def _system(parser: frame.Parser) -> None:
    parser.add_argument("--system", metavar="NAME", help="the system (default: the only one)")


def run_status(args: argparse.Namespace, io: frame.IO) -> int:
    """Print the status; 1 when a person is needed."""
    from govsec.assemble.centers import status_of
    from govsec.assemble.systems import Site
    from govsec.centers.statusform import as_json, as_prometheus
    from govsec.cli.centerwords import status_words

    site = Site(io.config(), io.clock)
    systems = [site.system(args.system)] if args.system else list(site.config.systems)
    statuses = [status_of(site, system) for system in systems]
    if args.prometheus:
        io.raw(as_prometheus(statuses).encode())
        return 0
    io.result({"systems": [as_json(status) for status in statuses]}, lambda: "\n\n".join(map(status_words, statuses)))
    return 0 if statuses and all(status.is_good for status in statuses) else EXIT_FINDINGS


def run_probe(args: argparse.Namespace, io: frame.IO) -> int:
    """Probe a center with the credential that this site writes with; 1 when that could erase something."""
    from govsec.assemble.probes import probe_center

    site, system = _site(args, io)
    record = probe_center(site, system, args.center)
    facts = {**record.model_dump(mode="json"), "is_protected": record.is_protected, "weaknesses": record.weaknesses()}
    lines = [f"{record.store}: {'protected' if record.is_protected else 'NOT protected'} from this credential"]
    lines += [f"  {weakness}" for weakness in record.weaknesses()]
    io.result(facts, "\n".join(lines))
    return 0 if record.is_protected else EXIT_FINDINGS


def run_ship(args: argparse.Namespace, io: frame.IO) -> int:
    """One round to one center, or to each that this site fills; with ``--loop`` rounds until stopped."""
    from govsec.assemble.access import centers_to_ship
    from govsec.assemble.centers import ship_to
    from govsec.assemble.shipping import ShipTask, run_loop

    site, system = _site(args, io)
    targets = [site.center(args.center)[0]] if args.center else centers_to_ship(site)
    if not targets:
        raise UsageError("this site may write to no center besides production; name one")
    if args.loop:
        tasks = [ShipTask(system.name, target, args.source) for target in targets]
        return run_loop(site, tasks, interval_s=args.interval, talk=io.talk)
    facts, lines, is_odd = [], [], False
    for target in targets:
        shipped = ship_to(site, system, target, source=args.source, progress=io.progress)
        report, problem = shipped.report, shipped.lock_problem
        facts.append({**_ship_facts(report, len(shipped.evidence.copied)), **_locking_facts(shipped)})
        lines += [*_ship_words(report), *([f"LOCKS: {problem}"] if problem else [])]
        is_odd = is_odd or bool(report.flaws) or report.source_is_behind or problem is not None
    io.result({"shipped": facts}, "\n".join(lines))
    return EXIT_FINDINGS if is_odd else 0


def run_verify(args: argparse.Namespace, io: frame.IO) -> int:
    """Verify one center, or each that can be read; 6 when something is damaged, 1 for other findings."""
    from govsec.assemble.access import readable_centers
    from govsec.assemble.care import verify_center

    site, system = _site(args, io)
    chosen = [args.center] if args.center else readable_centers(site)
    if not chosen:
        raise UsageError("this site has no credential for any center")
    reports = [verify_center(site, system, center, budget_bytes=args.budget, progress=io.progress) for center in chosen]
    io.result(
        {"centers": [_verify_facts(report) for report in reports]}, lambda: "\n".join(map(_verify_words, reports))
    )
    return max(_verify_code(report) for report in reports)


def run_heal(args: argparse.Namespace, io: frame.IO) -> int:
    """Heal one center, or each that this site may write to; 6 when something stays damaged."""
    from govsec.assemble.access import writable_centers
    from govsec.assemble.care import heal_center

    site, system = _site(args, io)
    chosen = [args.center] if args.center else writable_centers(site)
    if not chosen:
        raise UsageError("this site may write to no center")
    facts, lines, codes = [], [], []
    for center in chosen:
        healed = heal_center(site, system, center, progress=io.progress)
        facts.append(
            {
                "center": healed.healing.center,
                "uncovered": healed.uncovered,
                "before": _verify_facts(healed.before),
                "healed": healed.healing.healed,
                "not_found": healed.healing.not_found,
                "failed": dict(healed.healing.failed),
                "after": _verify_facts(healed.after),
            }
        )
        lines += _heal_words(healed)
        codes.append(_verify_code(healed.after) if healed.healing.is_whole else EXIT_DAMAGED)
    io.result({"centers": facts}, "\n".join(lines))
    return max(codes)


def run_quarantine(args: argparse.Namespace, io: frame.IO) -> int:
    """Move junk aside, or back."""
    from govsec.assemble.access import owning_store
    from govsec.assemble.care import junk_at
    from govsec.centers.quarantine import put_back, quarantine

    site, system = _site(args, io)
    if args.undo:
        report = put_back(owning_store(site, system, args.center), args.undo)
    else:
        junk = junk_at(site, system, args.center, in_flight_s=args.older_than * 3600)
        if args.dry_run:
            io.result({"junk": junk}, "\n".join(junk) or "no junk")
            return EXIT_FINDINGS if junk else 0
        report = quarantine(owning_store(site, system, args.center), junk, clock=io.clock)
    facts = {
        "center": report.center,
        "quarantine": report.quarantine_id,
        "moved": report.moved,
        "remaining_count": report.remaining_count,
        "failed": dict(report.failed),
    }
    lines = [f"{report.center}: {len(report.moved)} objects moved"]
    if report.quarantine_id and not args.undo:
        lines.append(f"undo: govsec center quarantine {report.center} --undo {report.quarantine_id}")
    lines += [f"  not moved: {name}: {reason}" for name, reason in report.failed[:_SHOWN_MAX]]
    if report.remaining_count:
        lines.append(f"  {report.remaining_count} more; run again")
    io.result(facts, "\n".join(lines))
    return EXIT_FINDINGS if report.failed or report.remaining_count else 0


def run_pause(args: argparse.Namespace, io: frame.IO) -> int:
    """Pause a center."""
    from govsec.assemble.access import owning_store
    from govsec.centers.pause import pause

    site, system = _site(args, io)
    store = owning_store(site, system, args.center)
    made = pause(store, io.clock, by=args.by, reason=args.reason, duration_s=args.hours * 3600)
    io.result(made, f"{store.name}: paused until {made.until:%Y-%m-%dT%H:%M:%SZ}")
    return 0


def run_resume(args: argparse.Namespace, io: frame.IO) -> int:
    """End a pause."""
    from govsec.assemble.access import owning_store
    from govsec.centers.pause import resume

    site, system = _site(args, io)
    store = owning_store(site, system, args.center)
    resume(store)
    io.result({"center": store.name, "paused": False}, f"{store.name}: not paused")
    return 0


def run_thaw(args: argparse.Namespace, io: frame.IO) -> int:
    """End the freezes of a center."""
    from govsec.assemble.thaw import thaw_center

    if not 1 <= len(args.by) <= 200 or not 1 <= len(args.reason) <= 500:
        raise UsageError("thaw: --by has 1 to 200 characters, --reason 1 to 500")
    site, system = _site(args, io)
    ended = thaw_center(site, system, args.center, by=args.by, reason=args.reason)
    lines = [f"{args.center}: freeze {each.id} of {each.by} ended ({each.reason})" for each in ended]
    lines.append("a response that is in force freezes again: govsec response undo takes it back")
    io.result({"center": args.center, "ended": ended}, "\n".join(map(texts.printable, lines)))
    return 0


def run_release(args: argparse.Namespace, io: frame.IO) -> int:
    """Mark and remove."""
    from govsec.assemble.care import release_at

    site, system = _site(args, io)
    report = release_at(site, system, args.center, is_dry_run=args.dry_run)
    verb = "would be marked" if args.dry_run else "marked"
    facts = {
        "center": report.center,
        "marked_count": report.marked_count,
        "marked_bytes": report.marked_bytes,
        "removed": report.removed,
        "waiting_count": report.waiting_count,
        "held_count": report.held_count,
        "is_dry_run": args.dry_run,
    }
    io.result(
        facts,
        f"{report.center}: {report.marked_count} objects {verb} ({texts.size(report.marked_bytes)}), "
        f"{len(report.removed)} removed, {report.waiting_count} wait for their grace, {report.held_count} held",
    )
    return 0


def run_lock(args: argparse.Namespace, io: frame.IO) -> int:
    """Extend locks."""
    from govsec.assemble.care import lock_at

    site, system = _site(args, io)
    report = lock_at(site, system, args.center, is_clock_trusted=args.trust_clock, progress=io.progress)
    facts = {
        "center": report.center,
        "until": report.until,
        "extended_count": report.extended_count,
        "enough_count": report.enough_count,
        "missing": report.missing,
        "failed": dict(report.failed),
    }
    until = f"{report.until:%Y-%m-%d}"
    lines = [f"{report.center}: {report.extended_count} extended to {until}, {report.enough_count} had enough"]
    lines += [f"  missing: {name}" for name in report.missing[:_SHOWN_MAX]]
    lines += [f"  {name}: {reason}" for name, reason in report.failed[:_SHOWN_MAX]]
    io.result(facts, "\n".join(lines))
    return EXIT_FINDINGS if report.failed or report.missing else 0


def run_hold(args: argparse.Namespace, io: frame.IO) -> int:
    """Set or lift legal holds."""
    from govsec.assemble.care import hold_at

    site, system = _site(args, io)
    changed_count, failed = hold_at(site, system, args.center, is_held=not args.lift)
    verb = "lifted from" if args.lift else "set on"
    io.result(
        {"center": args.center, "changed_count": changed_count, "is_held": not args.lift, "failed": dict(failed)},
        f"{args.center}: legal hold {verb} {changed_count} objects, {len(failed)} failed",
    )
    return EXIT_FINDINGS if failed else 0


def run_union(args: argparse.Namespace, io: frame.IO) -> int:
    """Unite what went apart."""
    from govsec.assemble.care import unite_centers

    site, system = _site(args, io)
    report = unite_centers(site, system, progress=io.progress)
    lines = [f"{center}: {count} commits received" for center, count in report.commits_by_center.items()]
    if report.heads_count > 1:
        lines.append(f"the log has {report.heads_count} ends; the next backup joins them")
    io.result({"received": dict(report.commits_by_center), "heads_count": report.heads_count}, "\n".join(lines))
    return 0


def _site(args: argparse.Namespace, io: frame.IO) -> tuple[Site, SystemConfig]:
    from govsec.assemble.systems import Site

    site = Site(io.config(), io.clock)
    return site, site.system(args.system)


def _ship_facts(report: ShipReport, evidence_count: int) -> dict[str, Any]:
    return {
        "source": report.source,
        "target": report.target,
        "commits_count": report.commits_count,
        "objects_count": report.objects_count,
        "bytes_count": report.bytes_count,
        "left_out_count": report.left_out_count,
        "head": report.head.number,
        "source_is_behind": report.source_is_behind,
        "flaws": [flaw.message for flaw in report.flaws],
        "evidence_count": evidence_count,
        "seconds": report.seconds,
    }


def _locking_facts(shipped: Shipped) -> dict[str, Any]:
    report = shipped.locking.report if shipped.locking else None
    return {"locked_count": report.extended_count if report else 0, "lock_problem": shipped.lock_problem}


def _ship_words(report: ShipReport) -> list[str]:
    lines = [
        f"{report.source} → {report.target}: {report.commits_count} commits, {report.objects_count} objects, "
        f"{texts.size(report.bytes_count)}; head {report.head.number}"
    ]
    if report.source_is_behind:
        lines.append(f"warning: {report.source} lacks commits that {report.target} has (rolled back, or behind)")
    return [*lines, *(f"flaw: {flaw.message}" for flaw in report.flaws[:_SHOWN_MAX])]


def _heal_words(healed: Healed) -> list[str]:
    healing = healed.healing
    lines = [f"{healing.center}: {len(healing.healed)} healed of {healed.before.damaged_count} damaged"]
    if healed.uncovered:
        lines.append(f"  {len(healed.uncovered)} true versions lay under others and were laid open")
    lines += [f"  no center has good bytes for {name}" for name in healing.not_found[:_SHOWN_MAX]]
    lines += [f"  {name}: {reason}" for name, reason in healing.failed[:_SHOWN_MAX]]
    return [*lines, _verify_words(healed.after)]


def _verify_code(report: VerifyReport) -> int:
    if report.damaged_count or report.flaws:
        return EXIT_DAMAGED
    return 0 if report.is_clean else EXIT_FINDINGS


def _verify_facts(report: VerifyReport) -> dict[str, Any]:
    return {
        "center": report.center,
        "time": report.time,
        "is_clean": report.is_clean,
        "checked_count": report.checked_count,
        "checked_bytes": report.checked_bytes,
        "expected_count": report.expected_count,
        "damaged_count": report.damaged_count,
        "damaged": [{"kind": item.kind.value, "name": item.name} for item in report.damaged],
        "unnamed": report.unnamed[:1000],
        "unnamed_count": len(report.unnamed),
        "in_flight_count": report.in_flight_count,
        "absent_released_count": report.absent_released_count,
        "unshared_keys": report.unshared_keys,
        "flaws": [
            {"kind": flaw.kind.value, "name": flaw.name, "message": flaw.message} for flaw in report.flaws[:1000]
        ],
        "behind": dict(report.behind),
        "behind_since": report.behind_since,
        "is_late": report.is_late,
        "unseen": dict(report.unseen),
        "oldest_verified": report.oldest_verified,
        "seconds": report.seconds,
    }


def _verify_words(report: VerifyReport) -> str:
    oldest = report.oldest_verified
    since = (
        "some objects were never read" if oldest is None else f"every object was read since {oldest:%Y-%m-%d %H:%M}Z"
    )
    lines = [
        f"{report.center}: {'clean' if report.is_clean else 'NOT clean'}; read {report.checked_count} objects, "
        f"{texts.size(report.checked_bytes)}, of {report.expected_count}; {since}"
    ]
    lines += [f"  {item.kind.value}: {item.message}" for item in report.damaged[:_SHOWN_MAX]]
    if report.damaged_count > _SHOWN_MAX:
        lines.append(f"  … {report.damaged_count} damaged in all")
    lines += [f"  log: {flaw.message}" for flaw in report.flaws[:_SHOWN_MAX]]
    if report.unnamed:
        lines.append(f"  {len(report.unnamed)} objects that no commit names; see: govsec center quarantine")
    lines += [f"  every other center has {name}; see: govsec repo keys sync" for name in report.unshared_keys]
    lines += [f"  {center} lacks {count} commits" for center, count in report.behind.items() if count]
    lines += [f"  {center} could not be compared: {reason}" for center, reason in report.unseen.items()]
    return "\n".join(lines)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not a number: {text!r}") from error
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"not a positive number: {text!r}")
    return value


def _size(text: str) -> int:
    units = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].upper() in tuple("KMGT") else (text, "")
    if not number.isascii() or not number.isdigit() or int(number) < 1:
        raise argparse.ArgumentTypeError(f"not a size: {text!r} (write 500M or 50G)")
    return int(number) * units[unit]
