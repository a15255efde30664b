"""``govsec monitor``: what a capture file holds, in flows and findings."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from govsec.cli import frame, monitorexplain, texts

if TYPE_CHECKING:  # numpy and pydantic take their time; `govsec monitor --help` does without them
    from govsec.assemble.monitor import Replay
    from govsec.config import MonitorConfig


def register(parser: frame.Parser) -> None:
    """Add the verb ``replay``."""
    verbs = frame.verbs_of(parser)
    replay = frame.add_verb(
        verbs,
        "replay",
        run_replay,
        "read a capture file; print findings and a summary of its flows; 1 when something was found",
        examples=["govsec monitor replay office.pcapng", "govsec monitor replay office.pcapng --json | jq .findings"],
    )
    replay.add_argument("file", type=Path, metavar="FILE", help="pcap or pcapng")
    monitorexplain.register(verbs)


def run_replay(args: argparse.Namespace, io: frame.IO) -> int:
    """Replay a capture."""
    from govsec.assemble.monitor import replay

    done = replay(args.file, _config(io))
    facts = {
        "findings": [finding.canonical() for finding in done.findings],
        "summary": done.summary,
        "counters": done.counters,
    }
    io.result(facts, lambda: _words(done, io.lang))
    return 1 if done.findings else 0


def _config(io: frame.IO) -> MonitorConfig:
    """The site's settings where it has a configuration; a capture can be read without one."""
    from govsec.config import MonitorConfig

    if io.config_path == frame.CONFIG_DEFAULT and not io.config_path.exists():
        return MonitorConfig()
    return io.config().monitor


def _words(done: Replay, lang: str) -> str:
    from govsec.report.monitor import finding_words, summary_words

    tongue: Literal["zh", "en"] = "en" if lang == "en" else "zh"
    parts = [finding_words(finding, tongue) for finding in done.findings]
    return texts.printable_lines("\n\n".join([*parts, summary_words(done.summary, len(done.findings), tongue)]))
