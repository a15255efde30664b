"""``govsec monitor replay``: findings and flows of a capture file, and what can be written of it beside them."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from govsec.cli import frame, texts

if TYPE_CHECKING:  # numpy and pydantic take their time; `govsec monitor --help` does without them
    from govsec.assemble.monitor import Replay
    from govsec.config import MonitorConfig
    from govsec.detect.api import Sink


def register(verbs: frame.Verbs[frame.Parser]) -> None:
    """Add the verb ``replay``."""
    replay = frame.add_verb(
        verbs,
        "replay",
        run_replay,
        "read a capture file; print findings and a summary of its flows; 1 when something was found",
        examples=[
            "govsec monitor replay office.pcapng",
            "govsec monitor replay office.pcapng --report office.html --lang en",
            "govsec monitor replay office.pcapng --eve eve.json --ocsf ocsf.json",
            "govsec monitor replay office.pcapng --json | jq .findings",
        ],
    )
    replay.add_argument("file", type=Path, metavar="FILE", help="pcap or pcapng")
    for option, words in (
        ("--report", "write a page with charts to this file (HTML, self-contained)"),
        ("--eve", "write flows, DNS, TLS and findings to this file as Suricata's EVE JSON lines"),
        ("--ocsf", "write flows, DNS and findings to this file as OCSF JSON lines"),
    ):
        replay.add_argument(option, type=Path, metavar="OUT", help=words)
    replay.add_argument(
        "--evidence", type=Path, metavar="DIR", help="keep the packets of findings as pcapng in this folder"
    )
    replay.add_argument(
        "--baseline", type=Path, metavar="FILE", help="compare volumes with what this file knows, and add to it"
    )


def run_replay(args: argparse.Namespace, io: frame.IO) -> int:
    """Replay a capture."""
    from govsec.assemble.captureoutputs import Picture, capture_record, eve_file, ocsf_file
    from govsec.assemble.monitor import replay
    from govsec.assemble.monitorevidence import evidence_of
    from govsec.assemble.monitorlearned import open_baseline, quiet_of

    _refuse_collisions(args)
    config = monitor_config(io)
    picture = Picture()
    with ExitStack() as stack:
        sinks: list[Sink] = [picture] if args.report else []
        if args.eve:
            sinks.append(stack.enter_context(eve_file(args.eve)))
        if args.ocsf:
            sinks.append(stack.enter_context(ocsf_file(args.ocsf, config)))
        if args.evidence:
            sinks.append(stack.enter_context(evidence_of(args.evidence, config, args.file.name)))
        baseline = open_baseline(args.baseline) if args.baseline else None
        quiet = quiet_of(io.config()) if has_configuration(io) else None
        done = replay(args.file, config, sinks, baseline=baseline, quiet=quiet, progress=io.progress)
    if args.report:
        record = capture_record(args.file, done, picture, organization=_organization(io))
        _write_report(args.report, record, io)
    facts = {
        "findings": [finding.canonical() for finding in done.findings],
        "summary": done.summary,
        "counters": done.counters,
        "damage": done.damage or None,
    }
    io.result(facts, lambda: _words(done, io))
    for path in (args.report, args.eve, args.ocsf, args.evidence):
        if path:
            io.talk(str(path))
    if done.damage:
        from govsec.errors import FormatError

        io.talk(done.damage)
        return FormatError.exit_code
    return 1 if done.findings else 0


def _refuse_collisions(args: argparse.Namespace) -> None:
    """No output may be the capture, which is evidence, or another output."""
    from govsec.errors import UsageError

    seen = {args.file.resolve(): "the capture"}
    for option in ("report", "eve", "ocsf"):
        path = getattr(args, option)
        if path is None:
            continue
        place = path.resolve()
        if place in seen or (path.exists() and args.file.exists() and path.samefile(args.file)):
            raise UsageError(f"--{option} {path}: is {seen.get(place, 'the capture')}")
        seen[place] = f"--{option}"
        if not place.parent.is_dir():
            raise UsageError(f"--{option} {path}: there is no folder {place.parent}")


def monitor_config(io: frame.IO) -> MonitorConfig:
    """The site's settings where it has a configuration; a capture can be read without one."""
    from govsec.config import MonitorConfig

    return io.config().monitor if has_configuration(io) else MonitorConfig()


def has_configuration(io: frame.IO) -> bool:
    """True when the site has one, or the user named one."""
    return io.config_path != frame.CONFIG_DEFAULT or io.config_path.exists()


def _organization(io: frame.IO) -> str:
    return io.config().organization if has_configuration(io) else ""


def _write_report(path: Path, record: dict[str, object], io: frame.IO) -> None:
    from govsec.errors import ConfigurationError
    from govsec.privatefile import write_private
    from govsec.report.capture import render_capture

    try:
        write_private(path, render_capture(record, tongue(io)).encode())
    except OSError as error:
        raise ConfigurationError(f"report {path}: {error.strerror}") from error


def tongue(io: frame.IO) -> Literal["zh", "en"]:
    """The language of what is printed."""
    return "en" if io.lang == "en" else "zh"


def _words(done: Replay, io: frame.IO) -> str:
    from govsec.report.monitor import finding_words, loss_words, summary_words, suppressed_words

    parts = [finding_words(finding, tongue(io)) for finding in done.findings]
    summary = summary_words(done.summary, len(done.findings), tongue(io))
    suppressed = suppressed_words(done.counters["suppressed"], tongue(io))
    lines = [summary, loss_words(done.counters["capture"], tongue(io)), suppressed]
    return texts.printable_lines("\n\n".join([*parts, "\n".join(line for line in lines if line)]))
