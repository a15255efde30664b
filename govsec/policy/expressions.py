"""Expressions of packs, run where they can do no harm: a child process with limits on time, memory and reach.

A pack is somebody's data, and so are the facts; an expression may loop over lists in lists, build long texts or meet a
hole in CEL's implementation. So expressions are compiled and evaluated in :mod:`govsec.policy.expressionchild`, one
child for many hosts, each expression compiled once. What goes over a limit is cut and *named*: its answer is a text
that says why, never true. The child is started anew and goes on behind it.

Not here: what an answer means (:mod:`govsec.policy.judge`).
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from pathlib import Path
from typing import TypeAlias

from pydantic import JsonValue

from govsec.clock import Clock
from govsec.errors import ConfigurationError, WorkerError

#: True, false, or why there is no answer.
Answer: TypeAlias = bool | str
#: How the answer of an expression begins that was cut.
CUT = "cut: "
#: For one job or one compilation, whatever else the machine does; processor time is limited by the child itself.
ANSWER_WALL_S = 20.0
#: How often a child is started anew for one request; what is left then is answered as cut.
_RESTARTS_MAX = 3
_GIVEN_UP = "not evaluated: too many expressions of this host were cut before"
_NESTING_MAX = 40
_ANSWER_SIZE_MAX = 64 << 10
_READ_SIZE = 64 << 10
#: Stands where a wrong expression stood, so that the others keep their numbers.
_NOTHING = "false"
_CHILD = Path(__file__).with_name("expressionchild.py")
_FUNCTIONS = frozenset(
    {
        "size",
        "matches",
        "startsWith",
        "endsWith",
        "contains",
        "int",
        "double",
        "string",
        "timestamp",
        "duration",
        "keys",
    }
)
_STRING = re.compile(r"""[rR]?("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')""")
_SYNTAX = re.compile(r"<input>:1:([0-9]+): (.*?)(?: expecting|$)")
_BINDING = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter)\s*\(\s*([A-Za-z_][A-Za-z0-9_]*)\s*,")
_PARAMETER = re.compile(r"(?<![A-Za-z0-9_.])params\s*\.\s*([A-Za-z_][A-Za-z0-9_]*)")
_MEMBER = re.compile(r"(?<![A-Za-z0-9_.])([a-z][a-z0-9_]*)\b(?:\s*\.\s*([A-Za-z_][A-Za-z0-9_]*))?")


@dataclass(frozen=True, slots=True)
class Names:
    """What an expression reads, or what is wrong with it."""

    variables: frozenset[str] = frozenset()
    #: Names that its loops bind.
    bound: frozenset[str] = frozenset()
    #: Of each variable the first fields that are read; "" where the variable is taken whole.
    members: Mapping[str, frozenset[str]] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """Expressions (by number) that are evaluated together, and those of the group's variables that they may read."""

    programs: Sequence[int]
    reads: frozenset[str]


@dataclass(frozen=True, slots=True)
class Group:
    """Jobs that call the same facts by the same names; the facts as JSON."""

    variables: Mapping[str, str]
    jobs: Sequence[Job]
    #: What ``now`` is for these facts; empty: as for the others of the request.
    now: str = ""


class Expressions:
    """Children that hold compiled expressions. A context manager; the children start when they are first needed."""

    def __init__(self, clock: Clock, *, children_count: int = 1, answer_wall_s: float = ANSWER_WALL_S) -> None:
        self._clock = clock
        self._answer_wall_s = answer_wall_s
        self._children: list[_Child | None] = [None] * children_count
        self._texts: list[str] = []
        #: How often something was cut, in this object's life.
        self.cuts_count = 0

    def __enter__(self) -> Expressions:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the children. The object can be used again."""
        for number in range(len(self._children)):
            self._end(number)

    def load(self, texts: Sequence[str]) -> list[Names]:
        """Compile ``texts``; their positions are the numbers that jobs name from now on. Wrong ones carry ``error``.

        Raises:
            ConfigurationError: too many of them had to be cut.
            WorkerError: no child can be started.
        """
        found = [Names(error=_shape_error(text)) for text in texts]
        self._texts = [_NOTHING if names.error else text for text, names in zip(texts, found, strict=True)]
        for number in range(1, len(self._children)):
            self._end(number)  # it is started again, with these texts, when there is something to evaluate
        for _ in range(_RESTARTS_MAX):
            child = self._children[0] = self._children[0] or _Child(self._clock, self._answer_wall_s)
            try:
                child.send(_load_request(self._texts))
                for position, answer in enumerate(child.receive(len(texts))):
                    if not found[position].error:
                        found[position] = _names(texts[position], answer)
                return found
            except _CutError as cut:
                # The first without an answer is the culprit: answers come in order, each written at once.
                position = child.answered_count
                found[position] = Names(error=f"cut while it was compiled: {cut}")
                self._texts[position] = _NOTHING
                self._end(0)
                self.cuts_count += 1
        raise ConfigurationError(f"more than {_RESTARTS_MAX} expressions had to be cut while they were compiled")

    def evaluate(
        self, groups: Sequence[Group], now: str, *, meanwhile: Callable[[], None] = lambda: None
    ) -> list[list[Answer]]:
        """One list of answers for each job, in order. A job that was cut says so in each of its answers.

        ``meanwhile`` is called once while the children work.

        Raises:
            WorkerError: no child can be started.
        """
        jobs = [(group, job) for group in groups for job in group.jobs]
        count = len(self._children)
        found: list[list[Answer]] = []
        # Neighbours read the same facts, so each child takes a stretch: facts are converted where they are read. All
        # have their work before the first answer is waited for.
        cuts = [len(jobs) * number // count for number in range(count + 1)]
        shares = [jobs[start:end] for start, end in pairwise(cuts)]
        is_sent = [bool(share) and self._send(number, share, now) for number, share in enumerate(shares)]
        meanwhile()
        for number, share in enumerate(shares):
            answers = self._receive(number, share) if is_sent[number] else None
            if answers is None:
                answers = self._evaluate_carefully(number, share, now)
            found += answers
        return found

    def _send(self, number: int, jobs: Sequence[tuple[Group, Job]], now: str) -> bool:
        try:
            self._ready(number).send(_evaluate_request(jobs, now, is_careful=False))
        except _CutError:
            self._end(number)
            return False
        return True

    def _receive(self, number: int, jobs: Sequence[tuple[Group, Job]]) -> list[list[Answer]] | None:
        """The answers to what was sent; None when the child had to be cut somewhere."""
        try:
            lines = self._ready(number).receive(len(jobs))
            return [_answers(line, job) for line, (_, job) in zip(lines, jobs, strict=True)]
        except _CutError as cut:
            self._end(number)
            if len(jobs) > 1:
                return None
            self.cuts_count += 1
            return [_cut_answers(cut, jobs[0][1])]

    def _evaluate_carefully(self, number: int, jobs: Sequence[tuple[Group, Job]], now: str) -> list[list[Answer]]:
        """Once more, and slower, so that what has to be cut is known by its place."""
        found: list[list[Answer]] = []
        cuts_count = 0
        while len(found) < len(jobs):
            left = jobs[len(found) :]
            try:
                child = self._ready(number)
                child.send(_evaluate_request(left, now, is_careful=True))
                for line in child.receive(len(left)):
                    found.append(_answers(line, jobs[len(found)][1]))
            except _CutError as cut:
                self._end(number)
                self.cuts_count += 1
                cuts_count += 1
                found.append(_cut_answers(cut, jobs[len(found)][1]))
                if cuts_count > _RESTARTS_MAX:
                    found += [[_GIVEN_UP] * len(job.programs) for _, job in jobs[len(found) :]]
        return found

    def _ready(self, number: int) -> _Child:
        child = self._children[number]
        if child is None:
            child = self._children[number] = _Child(self._clock, self._answer_wall_s)
            try:
                child.send(_load_request(self._texts))
                for _ in child.receive(len(self._texts)):
                    pass
            except _CutError as cut:  # they were all compiled before, one by one
                self._end(number)
                raise WorkerError(f"expressions that compiled before cannot be compiled again: {cut}") from cut
        return child

    def _end(self, number: int) -> None:
        child = self._children[number]
        if child is not None:
            child.kill()
            self._children[number] = None


def with_parameters(text: str, params: Mapping[str, JsonValue]) -> str:
    """The expression with the values of its parameters in the place of ``params.<name>``.

    Values of JSON are literals of CEL. A parameter is known long before the facts are, and each variable that differs
    between checks would make the evaluator convert all facts once more.
    """
    parts: list[str] = []
    end = 0
    for found in _STRING.finditer(text):
        parts += [_PARAMETER.sub(lambda one: _literal(one, params), text[end : found.start()]), found[0]]
        end = found.end()
    return "".join([*parts, _PARAMETER.sub(lambda one: _literal(one, params), text[end:])])


def _literal(found: re.Match[str], params: Mapping[str, JsonValue]) -> str:
    return f"({json.dumps(params[found[1]])})" if found[1] in params else found[0]


class _CutError(Exception):
    """The child ended, or was ended, before it answered. The text says why."""


class _Child:
    def __init__(self, clock: Clock, answer_wall_s: float) -> None:
        self._clock = clock
        self._answer_wall_s = answer_wall_s
        self._buffer = b""
        self.answered_count = 0
        try:
            # Isolated: neither this directory nor the environment adds anything to what it imports, or can be read.
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(_CHILD)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={},
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise WorkerError(f"expressions: no child process can be started: {error.strerror}") from error
        assert self._process.stdin is not None and self._process.stdout is not None  # both asked for above
        self._stdin, self._stdout = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._stdin, False)

    def receive(self, answers_count: int) -> Iterator[JsonValue]:
        """The answers, as they come. Raises ``_CutError`` in place of the first that does not."""
        self.answered_count = 0
        while self.answered_count < answers_count:
            line = self._line()
            self.answered_count += 1
            yield line

    def kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._process.wait()

    def send(self, request: bytes) -> None:
        """Hand over one request. Raises ``_CutError`` when the child does not take it."""
        deadline = self._clock.monotonic() + self._answer_wall_s
        view = memoryview(request + b"\n")
        while view:
            if not select.select([], [self._stdin], [], max(0.0, deadline - self._clock.monotonic()))[1]:
                raise self._cut()
            try:
                view = view[os.write(self._stdin, view) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._cut() from error

    def _line(self) -> JsonValue:
        deadline = self._clock.monotonic() + self._answer_wall_s
        while b"\n" not in self._buffer:
            left_s = max(0.0, deadline - self._clock.monotonic())
            if not select.select([self._stdout], [], [], left_s)[0] or len(self._buffer) > _ANSWER_SIZE_MAX:
                raise self._cut()
            data = os.read(self._stdout, _READ_SIZE)
            if not data:
                raise self._cut()
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            value: JsonValue = json.loads(line)
        except ValueError as error:
            raise _CutError("its answer was garbage") from error
        return value

    def _cut(self) -> _CutError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(0.2)
        code = self._process.poll()
        self.kill()
        if code is None:
            return _CutError(f"no answer within {self._answer_wall_s:g} s")
        if code in (-signal.SIGPROF, -signal.SIGXCPU):
            return _CutError("it took more processor time than a check may")
        return _CutError(f"it needed more memory than a check may, or broke the evaluator (ended with {code})")


def _load_request(texts: Sequence[str]) -> bytes:
    return json.dumps({"load": list(texts)}).encode("ascii")


def _evaluate_request(jobs: Sequence[tuple[Group, Job]], now: str, *, is_careful: bool) -> bytes:
    """The facts are JSON already, so that each is written once for a host however many checks look at it."""
    parts: list[str] = []
    for _, pairs in groupby(jobs, key=lambda pair: id(pair[0])):
        listed = list(pairs)
        read = frozenset().union(*(job.reads for _, job in listed))
        group_variables = listed[0][0].variables
        variables = ",".join(f"{json.dumps(name)}:{value}" for name, value in group_variables.items() if name in read)
        texts = ",".join(str(list(job.programs)) for _, job in listed)
        group_now = json.dumps(listed[0][0].now or now)
        parts.append(f'{{"now":{group_now},"variables":{{{variables}}},"jobs":[{texts}]}}')
    head = f'"is_careful":{json.dumps(is_careful)}'
    return f'{{{head},"groups":[{",".join(parts)}]}}'.encode("ascii")


def _cut_answers(cut: _CutError, job: Job) -> list[Answer]:
    return [f"{CUT}{cut}"] * len(job.programs)


def _answers(line: JsonValue, job: Job) -> list[Answer]:
    """What the child said, believed only as far as it has the form that was asked for."""
    if not isinstance(line, list) or len(line) != len(job.programs):
        raise _CutError("its answer was garbage")
    return [one if isinstance(one, bool) else str(one[0] if isinstance(one, list) and one else one) for one in line]


def _shape_error(text: str) -> str:
    """What is wrong with ``text`` that no parser needs to be asked about."""
    depth = deepest = 0
    for sign in _STRING.sub("", text):
        depth += (sign in "([{") - (sign in ")]}")
        deepest = max(deepest, depth)
    return f"nested deeper than {_NESTING_MAX} brackets" if deepest > _NESTING_MAX else ""


def _names(text: str, answer: JsonValue) -> Names:
    if not isinstance(answer, dict) or "error" in answer:
        return Names(error=_plain(str(answer["error"])) if isinstance(answer, dict) else "the answer was garbage")
    bare = _STRING.sub('""', text)
    bound = frozenset(_BINDING.findall(bare))
    # A loop's variable that this page's eyes miss stays among the variables, where nobody knows it: refused.
    variables = frozenset(_texts(answer.get("variables"))) - bound
    unknown = [name for name in _texts(answer.get("functions")) if name[:1].isalpha() and name not in _FUNCTIONS]
    error = f"unknown function {', '.join(unknown)}" if unknown else ""
    members: dict[str, set[str]] = {name: set() for name in variables}
    for name, member in _MEMBER.findall(bare):
        if name in members:
            members[name].add(member)
    return Names(variables, bound, {name: frozenset(found) for name, found in members.items()}, error)


def _plain(error: str) -> str:
    """The evaluator's message without the expression, which stands in the pack, and without a list of all tokens."""
    found = _SYNTAX.search(error)
    return f"column {found[1]}: {found[2]}" if found else error


def _texts(value: JsonValue) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []
