"""The frame of the command line: output, errors, exit codes and what a terminal is shown."""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from govsec import errors
from govsec.cli import frame, texts
from govsec.cli.main import main
from govsec.errors import GovsecError, IntegrityError, WrongPasswordError
from govsec.progress import Progress
from govsec.testing.clock import FakeClock

Verb = Callable[[argparse.Namespace, frame.IO], int]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _run(verb: Verb, *argv: str, stderr: io.StringIO | None = None) -> tuple[int, str, str]:
    parser = frame.Parser(prog="govsec")
    frame.add_verb(frame.verbs_of(parser), "go", verb, "go there", examples=["govsec go"])
    stdout, stderr = io.StringIO(), stderr or io.StringIO()
    code = frame.run(parser, ["go", *argv], stdout=stdout, stderr=stderr, clock=FakeClock())
    return code, stdout.getvalue(), stderr.getvalue()


def _raise(error: BaseException) -> Verb:
    def verb(args: argparse.Namespace, out: frame.IO) -> int:
        raise error

    return verb


def test_a_result_is_words_or_one_line_of_json() -> None:
    def verb(args: argparse.Namespace, out: frame.IO) -> int:
        when = datetime(2026, 1, 1, tzinfo=UTC)
        out.result({"name": "人事", "when": when, "id": b"\x01\xff", "at": Path("/a"), "set": {2, 1}}, "done\nwell")
        return 0

    assert _run(verb) == (0, "done\nwell\n", "")
    code, stdout, _ = _run(verb, "--json")
    assert code == 0
    assert stdout.count("\n") == 1
    assert json.loads(stdout) == {
        "name": "人事",
        "when": "2026-01-01T00:00:00Z",
        "id": "01ff",
        "at": "/a",
        "set": [1, 2],
    }


def _all_errors() -> list[type[GovsecError]]:
    return [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, GovsecError)]


@pytest.mark.parametrize("kind", _all_errors(), ids=lambda kind: kind.__name__)
def test_every_error_ends_with_its_exit_code_and_one_line(kind: type[GovsecError]) -> None:
    code, stdout, stderr = _run(_raise(kind("center near: 12\nlines \x1b[31mfound")))

    assert code == kind.exit_code
    assert stdout == ""
    assert stderr == "govsec: center near: 12\\x0alines \\x1b[31mfound\n"


def test_an_error_is_an_object_on_standard_output_with_json() -> None:
    code, stdout, stderr = _run(_raise(WrongPasswordError("system hr: no key opens")), "--json")

    assert code == 3
    assert json.loads(stdout) == {
        "error": {"kind": "wrong_password", "message": "system hr: no key opens", "exit_code": 3}
    }
    assert stderr == "govsec: system hr: no key opens\n"


def test_quiet_silences_talk_and_progress_but_no_failure() -> None:
    def verb(args: argparse.Namespace, out: frame.IO) -> int:
        out.talk("by the way")
        out.progress(Progress("read", done_items=1))
        raise IntegrityError("pack is damaged")

    assert _run(verb, "-q") == (6, "", "govsec: pack is damaged\n")
    assert "by the way" in _run(verb)[2]


def test_a_failure_that_nobody_foresaw_is_70_and_hides_its_traceback() -> None:
    code, _, stderr = _run(_raise(ZeroDivisionError("oops")))

    assert code == 70
    assert stderr == "govsec: internal error: ZeroDivisionError: oops (GOVSEC_DEBUG=1 shows where)\n"


def test_the_traceback_is_there_for_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOVSEC_DEBUG", "1")  # the environment is the interface

    assert "Traceback" in _run(_raise(ZeroDivisionError("oops")))[2]


def test_an_interrupt_runs_the_cleanup_and_ends_with_130() -> None:
    cleaned = []

    def verb(args: argparse.Namespace, out: frame.IO) -> int:
        try:
            raise KeyboardInterrupt
        finally:
            cleaned.append(True)

    assert _run(verb)[0] == 130
    assert cleaned == [True]


@pytest.mark.parametrize("argv", [["--bogus"], ["--lang", "fr"], ["stray"], ["--config"]])
def test_a_command_line_that_cannot_be_understood_is_2(argv: list[str]) -> None:
    code, stdout, stderr = _run(_raise(AssertionError("never called")), *argv)

    assert code == 2
    assert stdout == ""
    assert stderr.startswith("govsec: ")
    assert stderr.count("\n") == 1


def test_an_option_counts_before_the_verb_and_after_it(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["--json", "config", "schema"], ["config", "--json", "schema"], ["config", "schema", "--json"]):
        assert main(argv) == 0
        assert json.loads(capsys.readouterr().out)["title"] == "Config"


def test_names_of_files_cannot_steer_the_terminal() -> None:
    assert (
        texts.printable("a\x1b]0;owned\x07\n人事\u202egnp.exe\udcff")
        == "a\\x1b]0;owned\\x07\\x0a人事\\u202egnp.exe\\xff"
    )
    assert texts.printable_lines("a\tb\nc\r") == "a\tb\nc\\x0d"


def test_columns_line_up_under_chinese_names() -> None:
    shown = texts.table(["name", "files"], [["人事", 7], ["ab", 12]])

    assert shown.splitlines() == ["name  files", "人事      7", "ab       12"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (12.4, "12 s"), (59.9, "1:00"), (200, "3:20"), (7400, "2:03:20"), (266580, "3 d 02:03")],
)
def test_durations_are_written_for_people(seconds: float, words: str) -> None:
    assert texts.duration(seconds) == words


def test_progress_rewrites_one_line_on_a_terminal_and_clears_it_before_a_result() -> None:
    def verb(args: argparse.Namespace, out: frame.IO) -> int:
        assert isinstance(out.clock, FakeClock)
        out.progress(Progress("read", done_bytes=0, total_bytes=10 << 20))
        out.clock.advance(0.05)
        out.progress(Progress("read", done_bytes=1 << 20, total_bytes=10 << 20))  # too soon: not drawn
        out.clock.advance(1.95)
        out.progress(Progress("read", done_bytes=5 << 20, total_bytes=10 << 20, current="a\x1b[2Jb"))
        out.result({}, "done")
        return 0

    _, stdout, stderr = _run(verb, stderr=Terminal())

    assert stderr == (
        "\rread: 0 B of 10.0 MiB\x1b[K\rread: 5.0 MiB of 10.0 MiB, 2.5 MiB/s, 2.0 s left, a\\x1b[2Jb\x1b[K\r\x1b[K"
    )
    assert stdout == "done\n"


def test_progress_is_a_plain_line_now_and_then_in_a_log() -> None:
    def verb(args: argparse.Namespace, out: frame.IO) -> int:
        assert isinstance(out.clock, FakeClock)
        for count in range(1, 26):
            out.progress(Progress("ship", done_items=count, total_items=25))
            out.clock.advance(1)
        return 0

    assert _run(verb)[2].splitlines() == [
        "ship: 11 of 25 items, 14 s left",
        "ship: 21 of 25 items, 4.0 s left",
    ]


def test_help_needs_neither_pydantic_nor_any_room() -> None:
    code = (
        "import sys; from govsec.cli.main import main; main(['--help']);"
        "heavy = {'pydantic', 'numpy', 'boto3', 'yaml', 'govsec.repo', 'govsec.config'} & set(sys.modules);"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_nobody_reading_standard_output_is_no_crash() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "govsec.cli", "config", "schema"], stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)

    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_no_space_under_standard_output_is_one_line_and_75(options: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "govsec.cli", "config", "schema", *options],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert (done.returncode, done.stderr) == (75, "govsec: standard output: No space left on device\n")


def test_a_warning_in_the_log_is_not_printed_unless_asked_for() -> None:
    code = "import govsec, logging; logging.getLogger('govsec.store').warning('store call is tried again')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("", "")


def test_the_log_goes_to_standard_error_when_asked_for() -> None:
    def verb(args: argparse.Namespace, out: frame.IO) -> int:
        logging.getLogger("govsec.store").info("pack shipped", extra={"pack": "ab\x1b", "center": "near"})
        return 0

    assert _run(verb) == (0, "", "")
    assert _run(verb, "-v") == (0, "", "info govsec.store: pack shipped pack=ab\\x1b center=near\n")
    assert _run(verb) == (0, "", "")


@pytest.mark.parametrize("locale", ["C", "POSIX", "en_US.ISO-8859-1"])
def test_chinese_and_undecodable_names_print_in_any_locale(tmp_path: Path, locale: str) -> None:
    path = tmp_path / "政务.yaml"
    environment = {"LC_ALL": locale, "PATH": os.environ["PATH"], "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "govsec.cli", "config", "check", "--json", "--config", os.fsencode(path) + b"\xff"],
        capture_output=True,
        check=False,
        env=environment,
    )

    assert done.returncode == 3
    assert "No such file" in json.loads(done.stdout)["error"]["message"]


def test_termination_runs_the_cleanup_and_ends_with_143(tmp_path: Path) -> None:
    script = tmp_path / "wait.py"
    script.write_text(
        "import sys, signal\nfrom govsec.cli import frame, main\n"
        "def wait(args, out):\n"
        "    try:\n        sys.stdout.write('ready\\n'); sys.stdout.flush(); signal.pause()\n"
        "    finally:\n        sys.stdout.write('cleaned\\n')\n"
        "def build():\n    parser = frame.Parser(prog='x')\n"
        "    frame.add_verb(frame.verbs_of(parser), 'wait', wait, 'wait')\n    return parser\n"
        "main.build_parser = build\nsys.exit(main.main(['wait']))\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()

    assert (process.returncode, rest) == (143, "cleaned\n")


def test_json_for_a_terminal_steers_nothing_and_means_the_same() -> None:
    value = {"name": "a\x9b31m\u202eb\u2028c\x7f 中文\n\t"}
    line = texts.printable_json(json.dumps(value, ensure_ascii=False))

    assert json.loads(line) == value
    assert "中文" in line
    assert all(character.isprintable() for character in line)
