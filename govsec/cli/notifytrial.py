"""``govsec notify trial``, ``acknowledge``, ``trials``: follow a message from an agent's sensors to a person."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from govsec.cli import frame, texts

if TYPE_CHECKING:  # pydantic takes its time; `govsec notify --help` does without it
    from govsec.assemble.systems import Site
    from govsec.assemble.trialrecord import PastTrial

_EXIT_FINDINGS = 1


def register(verbs: frame.Verbs[frame.Parser]) -> None:
    """Add the verbs."""
    trial = frame.add_verb(
        verbs,
        "trial",
        run_trial,
        "have an agent test itself, tell people by the configured channels with a code, and sign what came of it into "
        "the ledger; 1 when something on the way failed",
        examples=["govsec notify trial host --system permits", "govsec notify trial network --host gate --limit 120"],
    )
    trial.add_argument("agent", choices=("host", "network"), metavar="AGENT", help="host or network")
    trial.add_argument(
        "--host", metavar="NAME", help="the registered host that this machine is (default: the local one)"
    )
    trial.add_argument("--limit", type=float, default=60, metavar="SECONDS", help="longest self-test (60)")
    taken = frame.add_verb(
        verbs,
        "acknowledge",
        run_acknowledge,
        "take a trial on: with the code that its notice carried, and your key; 5 when the code is not the one",
        examples=[
            "govsec notify acknowledge 20261122T080000Z-0a1b2c3d --code ABCD-EFGH-JKMN --by 'Zhang Wei' --key z.key",
        ],
    )
    taken.add_argument("trial", metavar="TRIAL", help="as the notice names it")
    taken.add_argument("--code", required=True, help="as the notice carried it")
    taken.add_argument("--by", required=True, metavar="NAME", help="the name that your key is pinned under")
    taken.add_argument("--key", required=True, type=Path, metavar="FILE", help="your key of `govsec assess key`")
    taken.add_argument("--case", metavar="CASE", help="the case that came of it, its level confirmed")
    past = frame.add_verb(
        verbs,
        "trials",
        run_trials,
        "trials on record, who took them on; 1 when one was taken on by nobody",
        examples=["govsec notify trials --system permits --json"],
    )
    for verb in (trial, taken, past):
        verb.add_argument("--system", help="a system of the configuration (default: the only one)")


def run_trial(args: argparse.Namespace, io: frame.IO) -> int:
    """Make a trial."""
    from govsec.assemble.trial import host_here, run_trial

    site = _site(io)
    system = site.system(args.system)
    host = host_here(site, system, args.host)
    run = run_trial(site, system, args.agent, host=host, limit_s=max(1.0, min(600.0, args.limit)))
    made = run.trial
    record = {"trial": made.canonical(), "entry": {"number": run.entry.number, "digest": run.entry.digest}}
    rows = [(one.channel, one.state, one.error or one.number or "-") for one in made.deliveries]
    failed = [f"!! {name}: {why}" for name, why in made.failed.items()]
    words = f"{made.id}  {made.agent} {made.host}: " + ("passed" if made.is_passed else "failed")
    io.result(record, lambda: "\n".join([words, *failed, texts.table(("CHANNEL", "STATE", "ANSWER"), rows)]))
    return 0 if made.is_passed and made.is_delivered else _EXIT_FINDINGS


def run_acknowledge(args: argparse.Namespace, io: frame.IO) -> int:
    """Take one on."""
    from govsec.assemble.trial import acknowledge

    site = _site(io)
    system = site.system(args.system)
    entry = acknowledge(site, system, args.trial, args.code, by=args.by, key_file=args.key, case_id=args.case)
    record = {"trial": args.trial, "by": args.by, "entry": {"number": entry.number, "digest": entry.digest}}
    io.result(record, f"{args.trial}: {args.by}, {entry.digest}")
    return 0


def run_trials(args: argparse.Namespace, io: frame.IO) -> int:
    """Show those on record."""
    from govsec.assemble.trialrecord import past_trials

    site = _site(io)
    past = past_trials(site, site.system(args.system))
    head = ("TRIAL", "AGENT", "HOST", "PASSED", "DELIVERED", "ACKNOWLEDGED")
    rows = [
        (
            one.trial.id,
            one.trial.agent,
            one.trial.host,
            one.trial.is_passed,
            one.trial.is_delivered,
            one.acknowledgement.by if one.acknowledgement is not None else one.refused or "-",
        )
        for one in past
    ]
    io.result({"trials": [_record(one) for one in past]}, lambda: texts.table(head, rows))
    return _EXIT_FINDINGS if any(one.acknowledgement is None for one in past) else 0


def _record(past: PastTrial) -> dict[str, Any]:
    said = past.acknowledgement
    return {
        **past.trial.canonical(),
        "entry": past.entry.digest,
        "acknowledgement": said.canonical() if said is not None else None,
        "refused": past.refused,
    }


def _site(io: frame.IO) -> Site:
    from govsec.assemble.systems import Site

    return Site(io.config(), io.clock)
