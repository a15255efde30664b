"""What every topic of the command line shares: options, output, progress, errors and exit codes.

A topic is a module ``govsec/cli/<topic>.py`` with one function ``register(parser)``, which adds verbs with
:func:`add_verb`; a verb is a function ``run(args, io) -> int`` that gives the exit code. Data goes to standard output
through :meth:`IO.result`, once as values and once as words; talk and progress go to standard error. What goes wrong is
raised as a ``GovsecError`` and printed here, as one line.

Exit codes beside those of :mod:`govsec.errors`: 130 interrupted, 141 nobody reads standard output, 143 terminated.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from govsec.cli import texts
from govsec.cli.progress import ProgressPrinter
from govsec.clock import Clock, SystemClock, format_time
from govsec.errors import GovsecError, TryAgainError, UsageError
from govsec.progress import Progress

if TYPE_CHECKING:  # pydantic takes a fifth of a second to import; `govsec --help` does without it
    from pydantic import BaseModel

    from govsec.config import Config

CONFIG_DEFAULT = Path("/etc/govsec/govsec.yaml")
EXIT_INTERNAL = 70
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
Run = Callable[[argparse.Namespace, "IO"], int]


class Parser(argparse.ArgumentParser):
    """An argument parser that has the common options at every level and raises ``UsageError``."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        options.setdefault("allow_abbrev", False)
        super().__init__(**options)
        # Without defaults, so that a level where an option is not given leaves alone what an outer level was given.
        common = self.add_argument_group("common options", argument_default=argparse.SUPPRESS)
        common.add_argument(
            "--config", type=Path, metavar="FILE", help=f"configuration (default: $GOVSEC_CONFIG or {CONFIG_DEFAULT})"
        )
        common.add_argument("--json", action="store_true", help="print results and errors as JSON on standard output")
        common.add_argument("--lang", choices=("zh", "en"), help="language of reports (default: the configuration's)")
        common.add_argument("-q", "--quiet", action="store_true", help="no talk and no progress on standard error")
        common.add_argument("-v", "--verbose", action="store_true", help="log to standard error")

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see: {self.prog} --help)")


Verbs = argparse._SubParsersAction  # the type argparse gives it; it has no public name


def verbs_of(parser: argparse.ArgumentParser, *, dest: str = "verb") -> Verbs[Parser]:
    """The place where a topic (or a verb that has verbs of its own, with another ``dest``) adds its verbs."""
    return parser.add_subparsers(dest=dest, required=True, metavar="VERB", parser_class=Parser)


def add_verb(verbs: Verbs[Parser], name: str, run: Run, summary: str, *, examples: Sequence[str] = ()) -> Parser:
    """A verb that calls ``run``; ``examples`` are whole command lines, printed under its help."""
    epilog = "examples:\n" + "\n".join(f"  {line}" for line in examples) if examples else None
    parser = verbs.add_parser(name, help=summary, description=summary[:1].upper() + summary[1:] + ".", epilog=epilog)
    parser.set_defaults(run=run)
    return parser


class IO:
    """Where a verb prints and what it is handed: streams, language, clock, and the configuration once it asks."""

    def __init__(
        self,
        *,
        stdout: TextIO,
        stderr: TextIO,
        clock: Clock,
        config_path: Path = CONFIG_DEFAULT,
        is_json: bool = False,
        is_quiet: bool = False,
        lang: str | None = None,
    ) -> None:
        self.clock = clock
        self.config_path = config_path
        self.is_json = is_json
        self.is_quiet = is_quiet
        self._stdout = stdout
        self._stderr = stderr
        self._lang = lang
        self._config: Config | None = None
        self._printer = ProgressPrinter(stderr, clock, is_terminal=stderr.isatty())

    def config(self) -> Config:
        """The configuration, read at the first call. Raises ``ConfigurationError``."""
        if self._config is None:
            from govsec.config import load_config

            self._config = load_config(self.config_path)
        return self._config

    @property
    def lang(self) -> str:
        """``zh`` or ``en``: what ``--lang`` says, else the configuration if it was read, else Chinese."""
        return self._lang or (self._config.lang if self._config else "zh")

    def result(self, data: Mapping[str, Any] | BaseModel, text: str | Callable[[], str] = "") -> None:
        """Print a result on standard output: ``data`` as one line of JSON, or ``text`` (or what it gives) as words."""
        self._printer.clear()
        if self.is_json:
            plain = data if isinstance(data, Mapping) else data.model_dump(mode="json")
            self._print(texts.printable_json(json.dumps(plain, ensure_ascii=False, default=_plain)) + "\n")
        else:
            words = text if isinstance(text, str) else text()
            if words:
                self._print(texts.printable_lines(words).rstrip("\n") + "\n")

    def raw(self, data: bytes) -> None:
        """Write bytes to standard output as they are (a dumped file)."""
        self._printer.clear()
        with _translated():
            self._stdout.flush()
            self._stdout.buffer.write(data)
            self._stdout.buffer.flush()

    def talk(self, line: str) -> None:
        """Say something to the person at the terminal; it is no part of the result."""
        if not self.is_quiet:
            self._printer.clear()
            self._stderr.write(texts.printable_lines(line) + "\n")
            self._stderr.flush()

    def warn(self, line: str) -> None:
        """Say on standard error what nobody may miss: unlike talk, ``--quiet`` does not silence it."""
        self._printer.clear()
        self._stderr.write(f"govsec: {texts.printable(line)}\n")
        self._stderr.flush()

    def progress(self, moment: Progress) -> None:
        """A ``govsec.progress.ProgressSink``."""
        if not self.is_quiet:
            self._printer(moment)

    def finish(self) -> None:
        """Leave the terminal as it should be found by whoever prints next."""
        self._printer.clear()

    def fail(self, kind: str, message: str, exit_code: int) -> int:
        """Print one line about a failure (and an error object with ``--json``); gives ``exit_code``."""
        self._printer.clear()
        if self.is_json:
            try:
                self.result({"error": {"kind": kind, "message": message, "exit_code": exit_code}})
            except TryAgainError:
                _abandon(self._stdout)  # what fails may be standard output itself; the line below tells
        self.warn(message)
        return exit_code

    def _print(self, text: str) -> None:
        with _translated():
            self._stdout.write(text)
            self._stdout.flush()


def run(parser: Parser, argv: Sequence[str], *, stdout: TextIO, stderr: TextIO, clock: Clock | None = None) -> int:
    """Parse ``argv``, run the verb, and turn whatever happens into output and an exit code."""
    clock = clock or SystemClock()
    io = IO(stdout=stdout, stderr=stderr, clock=clock, is_json="--json" in argv)
    try:
        args = parser.parse_args(argv)
        io = _io_for(args, stdout=stdout, stderr=stderr, clock=clock)
        with _logging(stderr, is_wanted=getattr(args, "verbose", False)):
            code: int = args.run(args, io)
        io.finish()
        return code
    except SystemExit as leaving:  # argparse after --help, and SIGTERM
        io.finish()
        return leaving.code if isinstance(leaving.code, int) else 0
    except BrokenPipeError:  # govsec … | head
        _abandon(stdout)
        return EXIT_BROKEN_PIPE
    except KeyboardInterrupt:
        return io.fail("interrupted", "interrupted", EXIT_INTERRUPTED)
    except GovsecError as error:
        _debug(stderr)
        return io.fail(kind_of(error), str(error), error.exit_code)
    except Exception as error:  # noqa: BLE001 - the outermost loop
        _debug(stderr)
        message = f"internal error: {type(error).__name__}: {error} (GOVSEC_DEBUG=1 shows where)"
        return io.fail("internal", message, EXIT_INTERNAL)


def kind_of(error: GovsecError) -> str:
    """The stable word for an error in JSON: ``wrong_password`` for ``WrongPasswordError``."""
    name = type(error).__name__.removesuffix("Error")
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _io_for(args: argparse.Namespace, *, stdout: TextIO, stderr: TextIO, clock: Clock) -> IO:
    given = vars(args)
    return IO(
        stdout=stdout,
        stderr=stderr,
        clock=clock,
        config_path=given.get("config") or Path(os.environ.get("GOVSEC_CONFIG") or CONFIG_DEFAULT),
        is_json=given.get("json", False),
        is_quiet=given.get("quiet", False),
        lang=given.get("lang"),
    )


def _plain(value: object) -> object:
    """JSON for the values that results hold besides JSON's own."""
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Path):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dump(mode="json")
    raise TypeError(f"{type(value).__name__} has no place in a JSON result")


@contextmanager
def _translated() -> Iterator[None]:
    """A full disk under standard output is no internal error. Nobody reading is another matter, see :func:`run`."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise TryAgainError(f"standard output: {error.strerror}") from error


def _abandon(stream: TextIO) -> None:
    # Python flushes what is left when it exits, and would complain again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def _logging(stream: TextIO, *, is_wanted: bool) -> Iterator[None]:
    if not is_wanted:
        yield
        return
    import logging

    from govsec.cli.logs import FieldFormatter

    handler = logging.StreamHandler(stream)
    handler.setFormatter(FieldFormatter())
    logger = logging.getLogger("govsec")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def _debug(stderr: TextIO) -> None:
    if os.environ.get("GOVSEC_DEBUG") == "1":
        traceback.print_exc(file=stderr)
