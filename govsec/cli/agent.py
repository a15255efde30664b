"""``govsec agent``: run the agent of a host or of its network, ask how it is, have it test itself."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from govsec.cli import frame, texts

if TYPE_CHECKING:  # pydantic takes its time; `--help` does without it
    from govsec.agent.spoolrecord import Record

_NAMES = ("host", "network")
_POLL_S = 0.2


def register(parser: frame.Parser) -> None:
    """Add the verbs."""
    verbs = frame.verbs_of(parser)
    run = frame.add_verb(
        verbs,
        "run",
        run_run,
        "run an agent until SIGTERM; SIGHUP reads the configuration again (as root, usually by systemd)",
        examples=["govsec agent run host", "govsec agent run network --config ./govsec.yaml"],
    )
    status = frame.add_verb(
        verbs,
        "status",
        run_status,
        "how a running agent is: modules, budgets, spool, last findings; 1 when something is wrong, 4 when none runs",
        examples=["govsec agent status host", "govsec agent status network --json | jq .problems"],
    )
    selftest = frame.add_verb(
        verbs,
        "selftest",
        run_selftest,
        "send a canary finding through every module, queue and the spool; 1 when a stage fails, 4 when none runs",
        examples=["govsec agent selftest host", "govsec agent selftest host --limit 60 --json"],
    )
    selftest.add_argument("--limit", type=float, default=30, metavar="SECONDS", help="longest time for all (30)")
    reload = frame.add_verb(
        verbs,
        "reload",
        run_reload,
        "have a running agent read its configuration again; 3 when it was not good, and the one before is followed",
        examples=["govsec agent reload host"],
    )
    findings = frame.add_verb(
        verbs,
        "findings",
        run_findings,
        "what lies in an agent's spool, in words, also while none runs; 1 when there is something",
        examples=["govsec agent findings host --limit 20", "govsec agent findings host --after 118 --json"],
    )
    findings.add_argument(
        "--after", type=int, metavar="SEQUENCE", help="only what follows this record (default: newest)"
    )
    findings.add_argument("--limit", type=int, default=50, metavar="COUNT", help="at most so many (50)")
    for verb in (run, status, selftest, reload, findings):
        verb.add_argument("agent", choices=_NAMES, metavar="AGENT", help="host or network")


def run_run(args: argparse.Namespace, io: frame.IO) -> int:
    """Run until told to end."""
    from govsec.agent.program import run_agent
    from govsec.assemble.agent import plans_of
    from govsec.cli.logs import log_as_service

    # A service's words are its log; `-v` adds what is of interest when something is wrong.
    log_as_service()
    return run_agent(plans_of(args.agent, io.config_path), io.clock, talk=io.talk)


def run_status(args: argparse.Namespace, io: frame.IO) -> int:
    """Ask how it is."""
    answer = _ask(args, io, {"ask": "status"})
    io.result(answer, lambda: _status_words(answer))
    return 1 if answer.get("problems") else 0


def run_selftest(args: argparse.Namespace, io: frame.IO) -> int:
    """Begin, and wait for the end."""
    limit_s = max(1.0, min(600.0, args.limit))
    _ask(args, io, {"ask": "selftest", "limit_s": limit_s})
    until = io.clock.monotonic() + limit_s + 30
    while (report := _ask(args, io, {"ask": "selftest_report"})).get("running"):
        if io.clock.monotonic() > until:
            break
        io.clock.sleep(_POLL_S)
    io.result(report, lambda: _selftest_words(report))
    return 0 if report.get("passed") else 1


def run_reload(args: argparse.Namespace, io: frame.IO) -> int:
    """Ask for it."""
    from govsec.errors import ConfigurationError

    answer = _ask(args, io, {"ask": "reload"}, timeout_s=180)
    if not answer.get("applied"):
        raise ConfigurationError(f"agent {args.agent} did not take the configuration: {answer.get('error', '')}")
    io.result(answer, lambda: f"applied; modules that changed: {', '.join(answer['changed']) or 'none'}")
    return 0


def run_findings(args: argparse.Namespace, io: frame.IO) -> int:
    """Read the spool; nothing is acknowledged."""
    from govsec.assemble.agent import spooled

    records = spooled(args.agent, io.config(), io.clock, after=args.after, limit=args.limit)
    facts = [{"sequence": each.sequence, "digest": each.digest, **each.body} for each in records]
    io.result({"records": facts}, lambda: _records_words(records, io))
    return 1 if records else 0


def _records_words(records: Sequence[Record], io: frame.IO) -> str:
    from govsec.records import Finding
    from govsec.report.agent import lost_words, spooled_finding
    from govsec.report.catalog import Catalogue

    tongue: Literal["zh", "en"] = "en" if io.lang == "en" else "zh"
    parts = []
    for record in records:
        if "finding" in record.body:
            words = spooled_finding(Finding.model_validate(record.body["finding"]), tongue)
        else:
            words = lost_words(record.body, tongue)
        parts.append(f"{record.sequence}  {words}")
    return "\n\n".join(parts) or Catalogue("agent", tongue).text("none")


def _ask(args: argparse.Namespace, io: frame.IO, request: dict[str, Any], timeout_s: float = 60) -> dict[str, Any]:
    from govsec.agent.control import ask_agent
    from govsec.agent.plans import control_path
    from govsec.errors import ConfigurationError

    try:
        run_dir = io.config().agent.run_dir
    except ConfigurationError:
        from govsec.assemble.agent import plans_of

        # It goes on by its last good configuration; somebody who made a mistake in this one must reach it.
        plan = plans_of(args.agent, io.config_path).last_good()
        if plan is None:
            raise
        run_dir = plan.config.run_dir
    return dict(ask_agent(control_path(run_dir, args.agent), request, timeout_s))


def _status_words(answer: dict[str, Any]) -> str:
    rows = [
        (
            name,
            module["state"],
            f"{module['cpu_s']:.1f} s of {module['cpu_percent_max']:g} %",
            f"{module['memory_bytes'] >> 20} of {module['memory_max_bytes'] >> 20} MB",
            str(module["findings"]),
            str(module["lost"]),
            " ".join(f"{reason} {count}" for reason, count in module["restarts"].items()),
        )
        for name, module in answer["modules"].items()
    ]
    table = texts.table(("module", "state", "processor", "memory", "findings", "lost", "restarts"), rows)
    recent = [f"{one['time']}  {one['severity']:8}  {one['kind']}  {one['subject']}" for one in answer["recent"]]
    problems = [f"!! {problem}" for problem in answer["problems"]]
    left_out = [
        f"{name} left out: " + ", ".join(f"{what} {count}" for what, count in module["left_out"].items())
        for name, module in answer["modules"].items()
        if module["left_out"]
    ]
    return "\n".join([f"agent {answer['agent']}: {answer['words']}", table.rstrip(), *left_out, *problems, *recent])


def _selftest_words(report: dict[str, Any]) -> str:
    lines = []
    for name, passage in report["modules"].items():
        if passage["passed"]:
            lines.append(
                f"ok  {name}: " + ", ".join(f"{stage} {took:.3f} s" for stage, took in passage["took_s"].items())
            )
        else:
            lines.append(f"!!  {name}: failed at {passage['failed_stage']}: {passage['error']}")
    return "\n".join(lines or ["!!  no module"])
