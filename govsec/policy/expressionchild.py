"""The process in which expressions run: little memory, little time, nothing to reach. The only place that knows CEL.

Started by :mod:`govsec.policy.expressions` as a script of its own. It reads one request a line from standard input and
answers with lines on standard output, JSON both::

    {"load": [text, …]}              for each text one line: {"variables": […], "functions": […]} or {"error": why};
                                     the programs replace those that were kept
    {"is_careful": …, "groups": [     for each job one line: [true | false | [why], …]
        {"now": rfc3339, "variables": {name: value}, "jobs": [[number, …], …]}]}

Each text and each job has its own limit of processor time. A careful answer is written line by line, so when this
process is killed, the parent knows the culprit by counting; others are written at the end, which is much faster.
Expressions see no more than their variables. One that several jobs name is evaluated once a group.

It imports nothing of govsec: what it holds is what a pack could reach if CEL's implementation had a hole.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import types
from datetime import datetime
from typing import Any, TypeAlias

# The package would import its own command line with it (typer, rich, prompt_toolkit): 200 ms and 20 MB for nothing.
sys.modules.setdefault("cel.cli", types.ModuleType("cel.cli"))
import cel  # noqa: E402

#: Address space; a host's facts of 4 MB need a tenth of it.
MEMORY_MAX = 256 << 20
#: Processor time of one job (the expressions of one check). An honest one takes a thousandth of it.
JOB_CPU_S = 0.5
#: Seconds of processor time after which the kernel ends the process whatever the timer says.
_JOB_CPU_HARD_S = 3
_REASON_MAX = 200

Answer: TypeAlias = bool | list[str]
#: What the binding raises, by what it means; everything else ends the process, and the parent says which job it was.
_ERRORS = (ValueError, KeyError, IndexError, TypeError, ArithmeticError, RuntimeError)


def main() -> None:
    """Serve requests until standard input ends."""
    _limit()
    programs: list[Any] = []
    for line in sys.stdin.buffer:
        _start_timer()
        request = json.loads(line)
        if "load" in request:
            programs = [_load(text) for text in request["load"]]
        else:
            _evaluate(request, programs)
        sys.stdout.buffer.flush()


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
    for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC):
        resource.setrlimit(limit, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))


def _load(text: str) -> Any:
    _start_timer()
    try:
        program = cel.compile(text)
        names = program.references()
    except _ERRORS as error:
        _write({"error": _reason(error)})
        return None
    _write(names)
    sys.stdout.buffer.flush()
    return program


def _evaluate(request: dict[str, Any], programs: list[Any]) -> None:
    for group in request["groups"]:
        _start_timer()
        now = datetime.fromisoformat(group["now"])
        # The facts are converted once for all checks that call them by the same names: that is what takes the time.
        context = cel.Context(variables={**group["variables"], "now": now})
        context.add_function("keys", _keys)
        known: dict[int, Answer] = {}
        for job in group["jobs"]:
            _start_timer()
            answers = []
            for number in job:
                if number not in known:
                    known[number] = _answer(programs[number], context)
                answers.append(known[number])
            _write(answers)
            if request["is_careful"]:
                sys.stdout.buffer.flush()


def _answer(program: Any, context: Any) -> Answer:
    if program is None:
        return ["it does not compile"]
    try:
        value = program.execute(context)
    except _ERRORS as error:
        return [_reason(error)]
    return value if isinstance(value, bool) else [f"gives {type(value).__name__}, not true or false"]


def _keys(mapping: Any) -> list[str]:
    """``keys(x)`` in expressions: CEL's own loop over a mapping goes by the order of a hash with a random seed."""
    if not isinstance(mapping, dict):
        raise TypeError("keys() is of a mapping")
    return sorted(str(key) for key in mapping)


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"there is no {str(error.args[0])[:60]!r}"
    # The first line: the others repeat the expression with a caret below it.
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return text[:_REASON_MAX]


def _start_timer() -> None:
    """Give the next job its time. The signal has no handler, so the kernel ends the process at the limit."""
    signal.setitimer(signal.ITIMER_PROF, JOB_CPU_S)
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + _JOB_CPU_HARD_S
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def _write(answer: object) -> None:
    data = json.dumps(answer, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"
    sys.stdout.buffer.write(data)


if __name__ == "__main__":
    main()
