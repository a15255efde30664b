"""``govsec assess attest``, ``waive``, ``approve``, ``expiring``, ``sign`` and ``key``: what people vouch for."""

from __future__ import annotations

import argparse
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from govsec.cli import frame, texts
from govsec.cli.assessrun import site_of
from govsec.cli.assesswords import heads, lang_of, words_of
from govsec.errors import ConfigurationError, UsageError

if TYPE_CHECKING:  # see govsec.cli.assessrun
    from govsec.assemble.systems import Site
    from govsec.policy.attest import Record

_EXIT_FINDINGS = 1
_VERDICTS = ("conform", "partial", "not_conform", "not_applicable")
_DAYS_MAX = 365


def register(verbs: frame.Verbs[frame.Parser]) -> None:
    """Add the verbs."""
    attest = frame.add_verb(
        verbs,
        "attest",
        run_attest,
        "vouch for a requirement that no program can decide; counts once another person has approved it",
        examples=[
            "govsec assess attest --item 8.1.7.2.a --verdict conform --evidence rota.pdf --by 'Zhang Wei' "
            "--key zhang.key --statement 'Three administrators are appointed, see the rota'",
        ],
    )
    attest.add_argument("--item", required=True, metavar="ID", help="the requirement, such as 8.1.7.2.a")
    attest.add_argument("--verdict", required=True, choices=_VERDICTS, help="what it comes to")
    attest.add_argument(
        "--statement", required=True, help="what was seen (10 letters or 4 Chinese characters at least)"
    )
    waive = frame.add_verb(
        verbs,
        "waive",
        run_waive,
        "let a failed check pass for a while, with what is done instead; the verdict stays visible and unchanged",
        examples=[
            "govsec assess waive --check sshd-root-login --days 60 --by 'Zhang Wei' --key zhang.key "
            "--reason 'The vendor needs it until the move' --compensation 'Reached through the bastion only'",
        ],
    )
    waive.add_argument("--check", required=True, metavar="ID", help="the check, as reports name it")
    waive.add_argument("--reason", required=True, help="why (10 letters or 4 Chinese characters at least)")
    waive.add_argument(
        "--compensation", required=True, help="what is done in its place (10 letters or 4 Chinese characters at least)"
    )
    waive.add_argument("--ticket", default="", help="where it is followed up")
    for verb in (attest, waive):
        add_statement(verb)
    approve = frame.add_verb(
        verbs,
        "approve",
        run_approve,
        "approve another person's statement",
        examples=["govsec assess approve 0a1b2c3d --by 'Li Na' --key li.key"],
    )
    approve.add_argument("record", help="its id or the first characters")
    _add_signature(approve)
    ending = frame.add_verb(
        verbs,
        "expiring",
        run_expiring,
        "statements that have ended, end soon, or wait for approval; 1 when there are any",
        examples=["govsec assess expiring --days 60"],
    )
    ending.add_argument("--days", type=int, default=30, help="how far ahead to look (default 30)")
    for verb in (approve, ending):
        verb.add_argument("--system", help="the system (default: the only one)")
    sign = frame.add_verb(
        verbs,
        "sign",
        run_sign,
        "sign facts or a script's output that you hand in; import tells who did, or that nobody has",
        examples=["govsec assess sign ./facts/web-1.json --by 'Zhang Wei' --key zhang.key"],
    )
    sign.add_argument("files", nargs="+", type=Path, metavar="FILE", help="what `assess import` will read")
    _add_signature(sign)
    key = frame.add_verb(
        verbs,
        "key",
        run_key,
        "make a person's key for attestations, approvals or packs, and pin it",
        examples=["govsec assess key --for attestation --name 'Zhang Wei' --output zhang.key --pin roots.yaml"],
    )
    key.add_argument(
        "--for", dest="purpose", required=True, choices=("attestation", "approval", "pack", "baseline", "response")
    )
    key.add_argument("--name", required=True, help="whose key it is; statements are signed under this name")
    key.add_argument("--output", required=True, type=Path, metavar="FILE", help="a new file, for its owner alone")
    key.add_argument("--pin", type=Path, metavar="FILE", help="add the public key to this roots file")


def add_statement(verb: frame.Parser) -> None:
    """Add what every statement has: what it is about, how long it holds, and who signs it."""
    verb.add_argument("--host", action="append", default=[], help="a host it is about (repeatable; default: all)")
    verb.add_argument(
        "--evidence",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="what was shown (repeatable; an attested conform needs one)",
    )
    verb.add_argument("--days", type=int, default=180, help=f"how long it holds, at most {_DAYS_MAX} (default 180)")
    verb.add_argument("--system", help="the system (default: the only one)")
    _add_signature(verb)


def _add_signature(verb: frame.Parser) -> None:
    verb.add_argument("--by", required=True, metavar="NAME", help="the name that your key is pinned under")
    verb.add_argument("--key", required=True, type=Path, metavar="FILE", help="your key of `govsec assess key`")


def run_attest(args: argparse.Namespace, io: frame.IO) -> int:
    """Vouch for a requirement."""
    from govsec.policy.attest import Attestation
    from govsec.policy.catalog import Catalog

    try:
        Catalog.load().item(args.item)  # a slip of the pen is told before it is signed
    except ConfigurationError as error:
        raise UsageError(f"{error}; see: govsec assess catalog") from error
    own = {"item": args.item, "verdict": args.verdict, "statement": args.statement}
    return keep(args, io, Attestation, own)


def run_waive(args: argparse.Namespace, io: frame.IO) -> int:
    """Waive a check."""
    from govsec.policy.attest import Waiver

    _refuse_unknown_check(args, io)
    own = {"check": args.check, "reason": args.reason, "compensation": args.compensation, "ticket": args.ticket}
    return keep(args, io, Waiver, own)


def _refuse_unknown_check(args: argparse.Namespace, io: frame.IO) -> None:
    """What no run asked cannot have failed: a waiver of it would be signed and never count."""
    from govsec.assemble.runs import runs_directory
    from govsec.policy.runfolder import newest_run, read_assessment

    site, system = _site_and_system(args, io)
    latest = newest_run(runs_directory(site.config.state_dir), system)
    if latest and args.check not in read_assessment(latest).checks:
        raise UsageError(f"run {latest.manifest.id} has no check {args.check!r}; see: govsec assess show --item ID")


def keep(args: argparse.Namespace, io: frame.IO, model: Any, own: dict[str, object]) -> int:
    """Sign a statement of ``model`` with the fields of its ``own``, and keep it."""
    from pydantic import ValidationError

    from govsec.assemble.attestations import keep_files, keep_statement
    from govsec.config import explain

    if not 1 <= args.days <= _DAYS_MAX:
        raise UsageError(f"--days {args.days}: from 1 to {_DAYS_MAX}")
    site, system = _site_and_system(args, io)
    now = io.clock.now()
    try:
        statement = model(
            system=system,
            objects=tuple(args.host),
            by=args.by,
            made=now,
            valid_until=now + timedelta(days=args.days),
            evidence=keep_files(site, system, args.evidence),
            **own,
        )
    except ValidationError as error:
        raise UsageError(explain(error)) from error
    record = keep_statement(site, statement, args.key)
    facts = {"record": record.id, "short": record.id[:8]}
    io.result(_facts(record, io), lambda: words_of(io).text("text.pending", facts))
    return 0


def run_approve(args: argparse.Namespace, io: frame.IO) -> int:
    """Approve a statement."""
    from govsec.assemble.attestations import approve_record

    site, system = _site_and_system(args, io)
    record = approve_record(site, system, args.record, args.key, by=args.by)
    facts = {"record": record.id, "approver": record.approver}
    io.result(_facts(record, io), lambda: words_of(io).text("text.approved", facts))
    return 0


def run_expiring(args: argparse.Namespace, io: frame.IO) -> int:
    """List what ends soon."""
    from govsec.assemble.attestations import read_records, subject_of
    from govsec.policy.attest import Standing, expiring

    site, system = _site_and_system(args, io)
    now = io.clock.now()
    people = read_records(site, system)
    pending = [record for record in people.records if record.standing(now) is Standing.PENDING]
    found = [*expiring(people.records, now, args.days), *pending]

    def told() -> str:
        from govsec.report.catalog import Catalogue

        words, kinds = words_of(io), Catalogue("assessment", lang_of(io))
        rows = [
            [
                record.id[:8],
                kinds.text(f"expiring_kind.{record.statement.kind}"),
                subject_of(record),
                f"{record.statement.valid_until:%Y-%m-%d}",
                words.text(f"standing.{record.standing(now).value}"),
            ]
            for record in found
        ]
        header = heads(words, "record", "kind", "subject", "until", "standing")
        return texts.table(header, rows) if rows else words.text("empty.expiring")

    io.result({"records": [_facts(record, io) for record in found], "refused": list(people.refused)}, told)
    for refused in people.refused:
        io.warn(f"not believed: {refused}")
    return _EXIT_FINDINGS if found or people.refused else 0


def run_sign(args: argparse.Namespace, io: frame.IO) -> int:
    """Sign files that are handed in."""
    from govsec.assemble.carried import sign_carried
    from govsec.assemble.hostfiles import read_carried

    made = [
        str(sign_carried(path, read_carried(path), args.key, by=args.by, time=io.clock.now())) for path in args.files
    ]
    io.result({"signatures": made}, "\n".join(made))
    return 0


def run_key(args: argparse.Namespace, io: frame.IO) -> int:
    """Make a key."""
    from govsec.crypto.signing import Purpose, Signer, TrustedKeys

    signer = Signer.generate(Purpose(args.purpose))
    public = signer.public(args.name)
    pinned = TrustedKeys.load(args.pin) if args.pin is not None and args.pin.exists() else TrustedKeys()
    signer.save(args.output)
    if args.pin is not None:
        pinned.with_key(public).save(args.pin)
    facts = {"key": signer.key_id, "purpose": args.purpose, "file": str(args.output), "pinned": str(args.pin or "")}
    io.result(facts, f"{signer.key_id}  {args.output}")
    return 0


def _site_and_system(args: argparse.Namespace, io: frame.IO) -> tuple[Site, str]:
    from govsec.assemble.hosts import targets_of

    site = site_of(io)
    if args.system is None and not site.config.systems:
        return site, targets_of(site.config, ())[0].name
    return site, site.system(args.system).name


def _facts(record: Record, io: frame.IO) -> dict[str, object]:
    return {
        "record": record.id,
        "statement": record.statement.model_dump(mode="json"),
        "approver": record.approver,
        "approved": record.approved,
        "standing": record.standing(io.clock.now()).value,
    }
