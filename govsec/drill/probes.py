"""Probes that ask something: a command, a database. And the control that tells whether the question meant anything."""

from __future__ import annotations

from dataclasses import dataclass

from govsec.clock import Clock
from govsec.drill.plan import CommandProbe, SqliteProbe
from govsec.drill.process import CommandOutcome
from govsec.drill.result import OUTPUT_MAX
from govsec.drill.sandbox import Sandbox
from govsec.drill.sqlite import ask

_RETRY_PAUSE_S = 0.25
#: Control characters would take six bytes each in the record and steer whoever prints it.
_CONTROLS = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)), "�")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a probe or a command of the plan brought."""

    is_passed: bool
    detail: str
    facts: dict[str, int | float | str]
    output: str = ""
    dropped_bytes: int = 0


def command_answer(outcome: CommandOutcome, *, exit_code: int = 0, output_contains: str = "") -> Answer:
    """Judge how a command ended."""
    text = outcome.output.decode("utf-8", "backslashreplace")
    kept = text[-OUTPUT_MAX:].translate(_CONTROLS)
    dropped = outcome.dropped_bytes + len(text[:-OUTPUT_MAX].encode())
    facts: dict[str, int | float | str] = {}
    if outcome.exit_code is None:
        return Answer(False, outcome.note, facts, kept, dropped)
    facts["exit_code"] = outcome.exit_code
    if outcome.exit_code != exit_code:
        return Answer(False, f"exit code {outcome.exit_code}, expected {exit_code}", facts, kept, dropped)
    if output_contains not in text:
        return Answer(False, "the output lacks what is expected", facts, kept, dropped)
    return Answer(True, "", facts, kept, dropped)


def ask_command(probe: CommandProbe, argv: list[str], sandbox: Sandbox, timeout_s: float, clock: Clock) -> Answer:
    """Run a command probe, again while ``retry_s`` lasts and the service is still coming up."""
    started = clock.monotonic()
    while True:
        left_s = timeout_s - (clock.monotonic() - started)
        answer = command_answer(
            sandbox.run(argv, max(0.1, left_s)), exit_code=probe.exit_code, output_contains=probe.output_contains
        )
        waited_s = clock.monotonic() - started
        if answer.is_passed or waited_s + _RETRY_PAUSE_S >= min(probe.retry_s, timeout_s):
            return answer
        clock.sleep(_RETRY_PAUSE_S)


def ask_sqlite(probe: SqliteProbe, sandbox: Sandbox, timeout_s: float) -> Answer:
    """Open the database in a child of the sandbox and compare what the query gives."""
    path = f"{sandbox.tree}/{probe.path.lstrip('/')}"
    result = sandbox.call(lambda: ask(path, probe.query), timeout_s)
    if "error" in result:
        return Answer(False, str(result["error"]), {})
    value = result.get("value")
    if not isinstance(value, (int, float, str)) or isinstance(value, bool):
        return Answer(False, "the database gave no value", {})
    return compare(value, probe.expect, probe.minimum)


def compare(value: int | float | str, expect: int | float | str | None, minimum: int | float | None) -> Answer:
    """Judge the one value of a query."""
    shown: dict[str, int | float | str] = {"value": str(value)[:200]}
    if expect is not None and value != expect:
        return Answer(False, f"the query gives {str(value)[:200]!r}, expected {expect!r}", shown)
    # Written this way round so that no value at all (NaN) is below every minimum.
    if minimum is not None and (isinstance(value, str) or not value >= minimum):
        return Answer(False, f"the query gives {str(value)[:200]!r}, expected at least {minimum!r}", shown)
    return Answer(True, "", shown)
