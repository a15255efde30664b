"""The program ``govsec``: topics, each loaded only when it is asked for.

``TOPICS`` is the whole list. A topic's module is imported when its name stands on the command line, so that
``govsec --help`` answers at once and ``govsec center status`` does not load what only drills need.
"""

from __future__ import annotations

import argparse
import atexit
import importlib
import io as streams
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any, TextIO

from govsec.cli import frame
from govsec.runtime.signals import Interrupts

TOPICS = {
    "demo": "back up, ship, lose two centers and restore, on sample data in a directory",
    "doctor": "look at this machine and its configuration for what would go wrong",
    "config": "print the schema, check the configuration, show what is in force",
    "repo": "make and check a system's repository, its keys and locks",
    "backup": "back up, list, restore, forget and prune",
    "pg": "base backups and write-ahead log of PostgreSQL servers, brought back to a moment",
    "mariadb": "base backups and binary log of MariaDB servers, brought back to a moment",
    "center": "set up, watch, ship to, verify and heal the three centers",
    "drill": "lose a center on purpose and prove that its data comes back",
    "assess": "look at hosts as an assessor of graded protection would, store, compare and report",
    "system": "the register of systems: levels, what is due, and the gate before launch",
    "monitor": "look at network traffic, this machine, services, pages and packages, and say what is wrong",
    "agent": "run the agent of this host or its network, ask how it is, have it test itself",
    "incident": "cases: what happened, how bad it is by the law, who must be told by when",
    "response": "playbooks: what they propose, approving it, doing it, taking it back",
    "notify": "try a channel for real, look into the outbox, send what waits",
    "ledger": "verify, show and export the signed chain of evidence",
}
_EXIT_TERMINATED = 143
_STANDARD_ERROR = 2
_EPILOG = """\
govsec TOPIC --help tells more.

examples:
  govsec demo                         # see the whole story in a minute
  govsec doctor                       # what is missing on this machine
  govsec backup run --system hr       # back up one system to production and same-city
  govsec center status --json         # the state of every center
  govsec drill run --plan lose-city   # prove that the data comes back
  govsec assess run                   # what an assessor of level 3 would find on this machine

exit codes:
  0 done   1 findings or a failed drill   2 usage   3 configuration   4 unreachable   5 refused
  6 integrity failure   7 coverage too low   70 internal error   75 try again   130 interrupted
"""


class _TopicParser(frame.Parser):
    """Loads its topic when the command line gets to it."""

    def __init__(self, *, topic: str, **options: Any) -> None:
        super().__init__(**options)
        self._topic = topic

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        importlib.import_module(f"govsec.cli.{self._topic}").register(self)
        return super().parse_known_args(args, namespace)


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        sys.stdout.write(f"govsec {version('govsec')}\n")
        parser.exit()


def build_parser() -> frame.Parser:
    """The parser of the whole program; topics fill themselves in when they are asked for."""
    parser = frame.Parser(
        prog="govsec",
        description="Encrypted backup over two sites and three centers, drills, sensors, graded protection, incidents.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    topics = parser.add_subparsers(
        title="topics", dest="topic", required=True, metavar="TOPIC", parser_class=_TopicParser
    )
    for name, summary in TOPICS.items():
        topics.add_parser(name, topic=name, help=summary, description=summary[:1].upper() + summary[1:] + ".")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; gives its exit code. Without ``argv`` it is the process's own, and ends the process."""
    if argv is None:
        # Nothing here computes with matrices: the threads that numpy would start for it cost a command a twentieth
        # of a second.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    arguments = sys.argv[1:] if argv is None else list(argv)
    _make_printable(sys.stdout, is_json="--json" in arguments)
    _make_printable(sys.stderr, is_json=False)
    signal.signal(signal.SIGTERM, _terminate)
    interrupts = Interrupts(_say)
    before = signal.signal(signal.SIGINT, interrupts)
    code = frame.run(build_parser(), arguments, stdout=sys.stdout, stderr=sys.stderr)
    if interrupts.count > 1:
        # Python would wait for every thread whose request is still running.
        os._exit(code)
    signal.signal(signal.SIGINT, before)
    if argv is None:
        _end(code)
    return code


def _end(code: int) -> None:
    """End the process without taking it apart object by object, which takes longer than many a command.

    Where a thread still runs, or the last words cannot be written, the interpreter ends in its own way.
    """
    if threading.active_count() > 1:
        return
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        return
    atexit._run_exitfuncs()
    os._exit(code)


def _say(words: str) -> None:
    # Not through the stream: the signal may have come in the middle of a line of progress that it is writing.
    os.write(_STANDARD_ERROR, f"\ngovsec: {words}\n".encode())


def _make_printable(stream: TextIO, *, is_json: bool) -> None:
    # A name that the terminal's encoding lacks is written as an escape, never a crash. JSON is UTF-8 everywhere, and
    # there `backslashreplace` writes a lone surrogate exactly as JSON spells it.
    if isinstance(stream, streams.TextIOWrapper):
        stream.reconfigure(encoding="utf-8" if is_json else None, errors="backslashreplace")


def _terminate(_number: int, _frame: FrameType | None) -> None:
    # An exception, so that locks are released and workers are stopped on the way out.
    raise SystemExit(_EXIT_TERMINATED)
