"""``govsec response``: what playbooks propose, approving it, doing it, taking it back."""

from __future__ import annotations

import argparse
import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from govsec.cli import frame
from govsec.errors import ConfigurationError, UsageError

if TYPE_CHECKING:  # pydantic takes its time; `govsec response --help` does without it
    from govsec.report.catalog import Lang
    from govsec.response.engine import Engine
    from govsec.response.runs import Deed

_EXIT_FINDINGS = 1
_FINDING_MAX = 1 << 20
_DOCUMENT_MAX = 16 << 10


def register(parser: frame.Parser) -> None:
    """Add the verbs."""
    verbs = frame.verbs_of(parser)
    _register_looking(verbs)
    _register_planning(verbs)
    _register_approving(verbs)


def _register_looking(verbs: frame.Verbs[frame.Parser]) -> None:
    listed = frame.add_verb(
        verbs, "list", run_list, "runs of playbooks, newest first", examples=["govsec response list --json"]
    )
    listed.add_argument("--limit", type=int, default=50, metavar="N", help="at most so many (default 50)")
    status = frame.add_verb(
        verbs,
        "status",
        run_status,
        "one run with its deeds, or one deed with all that happened to it",
        examples=["govsec response status 20261122-1a2b3c4d", "govsec response status 7788adc374d3 --json"],
    )
    status.add_argument("name", metavar="RUN|DEED", help="a deed by the beginning of its number")
    frame.add_verb(
        verbs,
        "playbooks",
        run_playbooks,
        "read every playbook of this site and say what is wrong, or what they do",
        examples=["govsec response playbooks"],
    )


def _register_planning(verbs: frame.Verbs[frame.Parser]) -> None:
    plan = frame.add_verb(
        verbs,
        "plan",
        run_plan,
        "plan for a finding what playbooks propose, or one deed by hand; nothing is done yet",
        examples=[
            "govsec response plan --finding finding.json --case 20261122-0001",
            "govsec response plan --verb nft.block --argument address=192.0.2.66 --argument ttl_s=3600",
        ],
    )
    plan.add_argument("--finding", type=Path, metavar="FILE", help="a finding as JSON (- reads standard input)")
    plan.add_argument("--verb", help="one deed: nft.block, host.isolate, account.disable, …")
    plan.add_argument("--argument", action="append", default=[], metavar="NAME=VALUE", help="of the deed")
    plan.add_argument("--case", default="", help="the case that it belongs to")
    plan.add_argument("--by", metavar="PERSON", help="in whose name (default: this system's user)")
    frame.add_verb(
        verbs,
        "run",
        run_run,
        "do what is due now: try, do, verify, end; a daemon does this by itself, but for recoveries",
        examples=["govsec response run"],
    )
    undo = frame.add_verb(
        verbs,
        "undo",
        run_undo,
        "take a deed back, or decline a proposal",
        examples=["govsec response undo 7788adc374d3 --by 张三"],
    )
    _deed_argument(undo)
    undo.add_argument("--by", metavar="PERSON", help="in whose name (default: this system's user)")


def _register_approving(verbs: frame.Verbs[frame.Parser]) -> None:
    approve = frame.add_verb(
        verbs,
        "approve",
        run_approve,
        "approve a deed with a person's key, or hand in an approval that was signed elsewhere",
        examples=[
            "govsec response approve 7788adc374d3 --key zhang.key",
            "govsec response approve --document approval.json",
        ],
    )
    approve.add_argument("deed", metavar="DEED", nargs="?", help="by the beginning of its number")
    approve.add_argument("--key", type=Path, metavar="FILE", help="the person's key, of the purpose response")
    approve.add_argument("--document", type=Path, metavar="FILE", help="an approval, as `sign` wrote it")
    sign = frame.add_verb(
        verbs,
        "sign",
        run_sign,
        "on a person's own machine: sign an order, or a playbook, without asking anything else",
        examples=[
            "govsec response sign order.json --key zhang.key --output approval.json",
            "govsec response sign site.yaml --playbook --key pack.key --output site.yaml.signature",
        ],
    )
    sign.add_argument("file", type=Path, metavar="FILE", help="the order (`status DEED --json`), or the playbook")
    sign.add_argument("--playbook", action="store_true", help="it is a playbook")
    sign.add_argument("--key", type=Path, required=True, metavar="FILE")
    sign.add_argument("--output", type=Path, required=True, metavar="FILE")


def _deed_argument(parser: frame.Parser) -> None:
    parser.add_argument("deed", metavar="DEED", help="by the beginning of its number")


def run_list(args: argparse.Namespace, io: frame.IO) -> int:
    """Print the list."""
    from govsec.assemble.response import open_responses
    from govsec.report.response import run_list as words
    from govsec.response.record import run_record

    if not 1 <= args.limit <= 1000:
        raise UsageError("--limit: 1 to 1000")
    with open_responses(io.config(), io.clock) as engine:
        records = [run_record(run, engine.runs.deeds(run.id)) for run in engine.runs.runs(args.limit)]
    io.result({"runs": records}, lambda: words(records, _tongue(io)))
    return 0


def run_status(args: argparse.Namespace, io: frame.IO) -> int:
    """Print one run or one deed."""
    from govsec.assemble.response import open_responses
    from govsec.report.response import deed_words, run_words
    from govsec.response.record import detail_record, run_record

    with open_responses(io.config(), io.clock) as engine:
        run = engine.runs.run(args.name)
        if run is not None:
            record = run_record(run, engine.runs.deeds(run.id))
            io.result(record, lambda: run_words(record, _tongue(io)))
            return 0
        record = detail_record(engine.runs, _deed(engine, args.name))
    io.result(record, lambda: deed_words(record, _tongue(io)))
    return 0


def run_playbooks(_: argparse.Namespace, io: frame.IO) -> int:
    """Read and print them."""
    from govsec.assemble.response import load_playbooks
    from govsec.report.response import playbook_words
    from govsec.response.record import playbook_record

    records = [playbook_record(loaded) for loaded in load_playbooks(io.config())]
    io.result({"playbooks": records}, lambda: playbook_words(records, _tongue(io)))
    return 0


def run_plan(args: argparse.Namespace, io: frame.IO) -> int:
    """Plan; 1 when a finding makes no playbook propose anything."""
    from govsec.assemble.response import open_responses
    from govsec.report.response import run_words
    from govsec.report.responsewords import why_words
    from govsec.response.record import run_record

    if (args.finding is None) == (args.verb is None):
        raise UsageError("plan: --finding FILE, or --verb VERB")
    with open_responses(io.config(), io.clock) as engine:
        if args.finding is not None:
            made = engine.absorb(_finding(args.finding), args.case)
            for why in engine.unfit:
                io.warn(why_words(why, _tongue(io)))
        else:
            arguments, by = _arguments(args.argument), args.by or getpass.getuser()
            made = [engine.plan(args.verb, arguments, by=by, case=args.case)]
        records = []
        for run_id in made:
            run = engine.runs.run(run_id)
            assert run is not None  # it was just made
            records.append(run_record(run, engine.runs.deeds(run_id)))
    io.result({"runs": records}, lambda: "\n".join(run_words(record, _tongue(io)) for record in records))
    return 0 if made else _EXIT_FINDINGS


def run_run(_: argparse.Namespace, io: frame.IO) -> int:
    """Do what is due; 1 when something could not be put on record yet."""
    from govsec.assemble.response import open_responses
    from govsec.report.response import stepped_words

    with open_responses(io.config(), io.clock, is_attended=True) as engine:
        stepped = engine.step()
    record = {
        "moved": stepped.moved_count,
        "told": stepped.told_count,
        "dropped": stepped.dropped_count,
        "problems": list(stepped.problems),
    }
    io.result(record, lambda: stepped_words(record, _tongue(io)))
    return _EXIT_FINDINGS if stepped.problems else 0


def run_approve(args: argparse.Namespace, io: frame.IO) -> int:
    """Take an approval."""
    from govsec.assemble.response import open_responses
    from govsec.crypto.signing import Purpose, Signer
    from govsec.response.order import approve

    if (args.document is None) != (args.deed is not None and args.key is not None) or (args.document and args.deed):
        raise UsageError("approve: DEED with --key FILE, or --document FILE")
    with open_responses(io.config(), io.clock) as engine:
        if args.document is not None:
            document = _read(args.document, _DOCUMENT_MAX).rstrip(b"\n")
        else:
            deed = _deed(engine, args.deed)
            document = approve(Signer.load(args.key, Purpose.RESPONSE), deed.order, io.clock.now())
        _show(engine, engine.approve(document), io)
    return 0


def run_undo(args: argparse.Namespace, io: frame.IO) -> int:
    """Take a deed back; it is undone by the next step."""
    from govsec.assemble.response import open_responses

    with open_responses(io.config(), io.clock, is_attended=True) as engine:
        deed = engine.take_back(_deed(engine, args.deed), args.by or getpass.getuser())
        engine.step()
        _show(engine, deed, io)
    return 0


def run_sign(args: argparse.Namespace, io: frame.IO) -> int:
    """Sign an order or a playbook."""
    import json

    from govsec.crypto.signing import Purpose, Signer
    from govsec.privatefile import write_private
    from govsec.response.order import approve, read_order
    from govsec.response.playbook import sign_playbook

    data = _read(args.file, _FINDING_MAX)
    if args.playbook:
        signed = sign_playbook(data, str(args.file), Signer.load(args.key, Purpose.PACK))
        said = {"signed": str(args.file)}
    else:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"{args.file}: not JSON") from error
        order = read_order(value.get("order", value) if isinstance(value, dict) else value)
        signed = approve(Signer.load(args.key, Purpose.RESPONSE), order, io.clock.now())
        said = {
            "signed": order.nonce,
            "verb": order.verb,
            **{name: str(each) for name, each in order.arguments.items()},
        }
    try:
        write_private(args.output, signed)
    except OSError as error:
        raise ConfigurationError(f"{args.output}: {error.strerror}") from error
    io.result(said, " ".join(f"{name}={value}" for name, value in said.items()))
    return 0


def _show(engine: Engine, deed: Deed, io: frame.IO) -> None:
    from govsec.report.response import deed_words
    from govsec.response.record import detail_record

    record = detail_record(engine.runs, _deed(engine, deed.nonce))
    io.result(record, lambda: deed_words(record, _tongue(io)))


def _deed(engine: Engine, name: str) -> Deed:
    found = engine.runs.deed(name)
    if found is None:
        raise UsageError(f"there is no deed, or more than one, whose number begins with {name[:64]!r}")
    return found


def _finding(path: Path) -> Any:
    from pydantic import ValidationError

    from govsec.config import explain
    from govsec.records import Finding

    data = sys.stdin.buffer.read(_FINDING_MAX) if str(path) == "-" else _read(path, _FINDING_MAX)
    try:
        return Finding.model_validate_json(data)
    except ValidationError as error:
        raise ConfigurationError(f"{path}: not a finding: {explain(error)}") from error


def _arguments(given: list[str]) -> dict[str, str | int]:
    found: dict[str, str | int] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name or name in found:
            raise UsageError(f"--argument {text[:60]!r}: NAME=VALUE, each name once")
        found[name] = int(value) if value.isascii() and value.isdigit() and len(value) < 16 else value
    return found


def _read(path: Path, size_max: int) -> bytes:
    from govsec.localfile import read_bounded

    try:
        return read_bounded(path, size_max)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error


def _tongue(io: frame.IO) -> Lang:
    return "en" if io.lang == "en" else "zh"
