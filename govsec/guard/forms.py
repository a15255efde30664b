"""The form of a host's finding: who did it (the process tree), what was before and after, which lines prove it.

``facts`` beside those of every finding (:mod:`govsec.findings.judgement`)::

    processes     the process that did it and those it came from, nearest first: pid, name, executable, command, uid …
    before, after what was and what is
    lines         of logs, as they stood there
    paths         files that it is about

Everything from the machine is made text that JSON can hold, and bounded; passwords in command lines and log lines are
cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pydantic import JsonValue

from govsec.clock import format_time, from_ns
from govsec.findings.judgement import Measure, clean, judge, put_list
from govsec.guard.api import Actor
from govsec.host.tables import Process
from govsec.records import Finding, Severity
from govsec.redact import redact

_COMMAND_MAX = 400
_TEXT_MAX = 400
_TREE_MAX = 12


def tell(
    *,
    kind: str,
    detector: str,
    severity: Severity,
    time_ns: int,
    subject: str,
    summary: str,
    pattern: Sequence[str | int],
    attack: Sequence[str] = (),
    measured: Mapping[str, Measure] | None = None,
    actor: Actor | None = None,
    before: JsonValue = None,
    after: JsonValue = None,
    lines: Iterable[str] = (),
    paths: Iterable[str] = (),
    facts: Mapping[str, JsonValue] | None = None,
) -> Finding:
    """A finding in the common form, with the evidence that a host has."""
    told: dict[str, JsonValue] = {}
    if actor is not None:
        told["processes"] = tree_facts(actor)
    if before is not None:
        told["before"] = tidy(before)
    if after is not None:
        told["after"] = tidy(after)
    put_list(told, "lines", (redact(text(line)) for line in lines))
    put_list(told, "paths", (text(path) for path in paths))
    return judge(
        kind=kind,
        detector=detector,
        severity=severity,
        time_ns=time_ns,
        subject=subject,
        summary=summary,
        pattern=pattern,
        attack=attack,
        measured=measured,
        facts=told | {name: tidy(value) for name, value in (facts or {}).items()},
    )


def tree_facts(actor: Actor) -> list[JsonValue]:
    """The process and its ancestors, nearest first."""
    return [_process_facts(process) for process in (actor.process, *actor.ancestors)[:_TREE_MAX]]


def who(actor: Actor | None) -> str:
    """The process in a few words, for a summary."""
    if actor is None:
        return "a process that was not seen"
    process = actor.process
    return f"{text(process.executable or process.name)} (pid {process.key.pid}, user {process.uid})"


def culprit(actor: Actor | None) -> str:
    """The same as a fact, for words in any language: ``unknown`` when nobody saw it."""
    return who(actor) if actor is not None else "unknown"


def text(value: str) -> str:
    """A text of the machine, bounded and such that JSON can hold it."""
    # Escapes make it longer, so it is cut twice.
    written = clean(value[: _TEXT_MAX + 1])
    return written if len(written) <= _TEXT_MAX else written[: _TEXT_MAX - 1] + "…"


def tidy(value: JsonValue) -> JsonValue:
    """The value with every text in it made so."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, list):
        return [tidy(item) for item in value]
    if isinstance(value, dict):
        return {text(name): tidy(item) for name, item in value.items()}
    return value


def _process_facts(process: Process) -> JsonValue:
    command = redact(clean(" ".join(process.command)))
    facts: dict[str, JsonValue] = {
        "pid": process.key.pid,
        "name": text(process.name),
        "command": command if len(command) <= _COMMAND_MAX else command[: _COMMAND_MAX - 1] + "…",
        "uid": process.uid,
        "started": format_time(from_ns(process.started_ns)),
        # With the pid it names this process and no later one.
        "start_ticks": process.key.start_ticks,
    }
    if process.executable is not None:
        facts["executable"] = text(process.executable)
    if process.executable_deleted:
        facts["executable_deleted"] = True
    if process.login_uid is not None:
        facts["login_uid"] = process.login_uid
    return facts
