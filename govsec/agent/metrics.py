"""An agent in numbers: Prometheus' text format, as a file or as the answer to ``GET /metrics``.

Names are ``govsec_…``; a counter ends in ``_total``, times are ``_seconds``, sizes ``_bytes``. What modules measure
themselves stands beside it, with the module as a label. Source: prometheus.io, exposition formats, text format 0.0.4.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from govsec.agent.life import Life, State
from govsec.agent.supervisor import Supervisor
from govsec.errors import GovsecError, TryAgainError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "govsec_"


@dataclass(frozen=True, slots=True)
class Sample:
    """One value."""

    name: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()
    help: str = ""


def samples_of(supervisor: Supervisor, now: float) -> Iterator[Sample]:
    """Everything an agent tells of itself and its modules. ``now``: monotonic time."""
    agent = (("agent", supervisor.name),)
    yield Sample("agent_uptime_seconds", now - supervisor.started_at, agent, "since the agent began")
    for name, text in (("findings", "findings taken from modules"), ("spooled", "entries put on the disk")):
        yield Sample(f"agent_{name}_total", supervisor.intake.counts[name], agent, text)
    for name, text in (
        ("lost", "entries that did not reach the spool"),
        ("spool_errors", "times that the spool did not take what waited"),
        ("spools_damaged", "spools that were set aside"),
    ):
        yield Sample(f"agent_{name}_total", supervisor.intake.counts[name], agent, text)
    yield Sample("agent_waiting_records", len(supervisor.intake), agent, "entries that wait for the disk")
    for name in ("configurations_applied", "configurations_rejected", "selftests_passed", "selftests_failed"):
        yield Sample(f"agent_{name}_total", supervisor.counts[name], agent, name.replace("_", " "))
    try:
        state = supervisor.intake.spool.state()
    except GovsecError:  # told as spool_errors; what is unknown is left out
        pass
    else:
        yield Sample("agent_spool_records", state.records_count, agent, "records that nobody has acknowledged")
        yield Sample("agent_spool_bytes", state.size_bytes, agent, "their size")
        yield Sample("agent_spool_bytes_max", state.size_max_bytes, agent, "what they may have")
        yield Sample("agent_spool_head_sequence", state.head_sequence, agent, "of the newest record")
        yield Sample("agent_spool_lost_total", state.lost_count, agent, "records pushed out or never kept")
    for life in supervisor.lives.values():
        yield from _module_samples(life, supervisor.name)


def _module_samples(life: Life, agent: str) -> Iterator[Sample]:
    labels = (("agent", agent), ("module", life.spec.name))
    for state in State:
        marked = (*labels, ("state", state.value))
        yield Sample("agent_module_state", float(life.state is state), marked, "1 for the state it is in")
    cpu_s = life.cpu_before_s + life.usage.cpu_s
    yield Sample("agent_module_cpu_seconds_total", cpu_s, labels, "processor time")
    yield Sample("agent_module_memory_bytes", life.pss_bytes, labels, "PSS, with what it started")
    yield Sample("agent_module_throttled_seconds_total", life.throttled_s, labels, "time it was paused")
    for name, text in (
        ("findings", "findings it sent"),
        ("lost", "records it lost, or that were refused"),
        ("packets_refused", "packets that were no frame"),
    ):
        yield Sample(f"agent_module_{name}_total", life.counts[name], labels, text)
    for reason, count in sorted(life.restarts.items()):
        yield Sample("agent_module_restarts_total", count, (*labels, ("reason", reason)), "times it was started again")
    for metric in life.metrics.values():
        yield Sample(metric.name, metric.value, (*labels, *sorted(metric.labels.items())))


def exposition(samples: Iterable[Sample]) -> bytes:
    """The text format: samples of one name together, each once."""
    by_name: dict[str, dict[tuple[tuple[str, str], ...], Sample]] = {}
    for sample in samples:
        by_name.setdefault(sample.name, {})[sample.labels] = sample
    lines = []
    for name, group in by_name.items():
        text = next((sample.help for sample in group.values() if sample.help), "")
        if text:
            lines.append(f"# HELP {_PREFIX}{name} {text}")
        lines.append(f"# TYPE {_PREFIX}{name} {'counter' if name.endswith('_total') else 'gauge'}")
        for sample in group.values():
            labels = ",".join(f'{label}="{_escaped(value)}"' for label, value in sample.labels)
            lines.append(f"{_PREFIX}{name}{{{labels}}} {_number(sample.value)}")
    return ("\n".join(lines) + "\n").encode()


def http_answer(request: bytes, body: bytes) -> bytes:
    """The answer to one HTTP request: ``body`` for ``GET /metrics``, an error for anything else."""
    words = request.split(b"\r\n", 1)[0].split()
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        status, body = "400 Bad Request", b""
    elif words[0] != b"GET":
        status, body = "405 Method Not Allowed", b""
    elif words[1].split(b"?", 1)[0] != b"/metrics":
        status, body = "404 Not Found", b""
    else:
        status = "200 OK"
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


def write_text_file(path: Path, data: bytes) -> None:
    """Put the file there wholly or not at all, readable for all. It need not survive a power cut.

    Raises:
        TryAgainError: it cannot be written now.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o644)
            file.write(data)
        temporary.replace(path)
    except OSError as error:
        raise TryAgainError(f"metrics file {path}: {error.strerror}") from error


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))
