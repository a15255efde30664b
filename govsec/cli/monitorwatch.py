"""``govsec monitor watch``: findings from an interface as they happen."""

from __future__ import annotations

import argparse
import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from govsec.cli import frame, texts
from govsec.cli.monitorreplay import has_configuration, monitor_config

if TYPE_CHECKING:  # numpy and pydantic take their time; `--help` does without them
    from govsec.assemble.monitorlive import Watch
    from govsec.records import Finding


def register(verbs: frame.Verbs[frame.Parser]) -> None:
    """Add the verb ``watch``."""
    watch = frame.add_verb(
        verbs,
        "watch",
        run_watch,
        "listen to an interface (Linux, CAP_NET_RAW) and print findings until stopped; 1 when something was found",
        examples=[
            "govsec monitor watch eth1",
            "govsec monitor watch eth1 --evidence /var/lib/govsec/evidence --json",
        ],
    )
    watch.add_argument("interface", metavar="INTERFACE", help="a network interface, of a mirror port say")
    watch.add_argument(
        "--evidence", type=Path, metavar="DIR", help="keep the packets of findings as pcapng in this folder"
    )


def run_watch(args: argparse.Namespace, io: frame.IO) -> int:
    """Listen."""
    from govsec.assemble.monitorlearned import live_folder, quiet_of
    from govsec.assemble.monitorlive import open_watch

    config = monitor_config(io)
    found = 0
    _words_of(None, io)  # what words need is loaded before rights are given up
    quiet = quiet_of(io.config()) if has_configuration(io) else None
    state = live_folder(io.config(), args.interface) if has_configuration(io) else None
    with open_watch(args.interface, config, io.clock, evidence=args.evidence, state=state, quiet=quiet) as watch:
        before = {number: signal.signal(number, lambda *_: watch.stop()) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            io.talk(f"{args.interface}: {watch.dropped.user}, Landlock {watch.dropped.landlock}")
            for finding in watch.findings():
                found += 1
                io.raw(_words_of(finding, io))
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        _say_end(watch, io)
    return 1 if found else 0


def _words_of(finding: Finding | None, io: frame.IO) -> bytes:
    from govsec.report.catalog import Catalogue
    from govsec.report.monitor import finding_words

    tongue: Literal["zh", "en"] = "en" if io.lang == "en" else "zh"
    if finding is None:
        Catalogue("monitor", tongue)
        return b""
    if io.is_json:
        return texts.printable_json(json.dumps(finding.canonical(), ensure_ascii=False)).encode() + b"\n"
    return texts.printable_lines(finding_words(finding, tongue)).encode() + b"\n\n"


def _say_end(watch: Watch, io: frame.IO) -> None:
    counters = watch.counters()
    for part in ("capture", "evidence", "baseline"):
        if part in counters:
            io.talk(f"{part}: " + ", ".join(f"{name} {count}" for name, count in counters[part].items()))
    for file in watch.evidence.files if watch.evidence is not None else ():
        io.talk(f"{file.path}  sha256 {file.sha256}")
