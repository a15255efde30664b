"""Figures that a service tells of itself: one number of a JSON answer or of a Prometheus page.

Source: the text exposition format of Prometheus, version 0.0.4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from govsec.clock import Clock, to_ns
from govsec.serviceentry import SignalConfig
from govsec.services.asking import Asker, Trace, Wanted
from govsec.services.memory import Reading, ServiceMemory
from govsec.services.values import at_path, fill, fill_url, parse_json
from govsec.web.connection import RequestError
from govsec.web.exchange import Answer

_LINES_MAX = 200_000
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class SignalResult:
    """One figure. ``value`` None: it could not be had (``reason``), or a counter was seen for the first time."""

    name: str
    kind: str
    value: float | None
    reason: str = ""


def read_signal(
    signal: SignalConfig, asker: Asker, secrets: Mapping[str, str], memory: ServiceMemory, clock: Clock
) -> SignalResult:
    """The figure as it is now; of a counter, its growth a second since the probe before."""
    headers = {name: fill(text, secrets) for name, text in signal.headers.items()}
    try:
        answer = asker.ask(Wanted(fill_url(signal.url, secrets), headers=headers, size_bytes_max=8 << 20), Trace())
    except RequestError as error:
        return SignalResult(signal.name, signal.kind, None, str(error))
    if answer.status != 200:
        return SignalResult(signal.name, signal.kind, None, f"status {answer.status}")
    value = _from_json(answer, signal.json_path) if signal.json_path else _from_page(answer, signal.metric or "")
    if value is None:
        return SignalResult(signal.name, signal.kind, None, "the answer has no such figure")
    if not signal.is_counter:
        return SignalResult(signal.name, signal.kind, value)
    now = to_ns(clock.now())
    before = memory.readings.get(signal.name)
    memory.readings[signal.name] = Reading(time_ns=now, value=value)
    # A counter that fell was started again; what it counted in between is not known.
    if before is None or value < before.value or now <= before.time_ns:
        return SignalResult(signal.name, signal.kind, None)
    return SignalResult(signal.name, signal.kind, (value - before.value) / ((now - before.time_ns) / _SECOND_NS))


def _from_json(answer: Answer, path: str) -> float | None:
    value = at_path(parse_json(answer), path)
    return _finite(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _from_page(answer: Answer, metric: str) -> float | None:
    """The figure of the line that begins with ``metric``, labels in the order and spacing of the page or written as
    Prometheus does it."""
    wanted = metric.replace(" ", "")
    for line in answer.text().split("\n", _LINES_MAX)[:_LINES_MAX]:
        if line.startswith("#"):
            continue
        name, brace, rest = line.partition("{")
        labels, end, tail = rest.partition("} ")
        series = f"{name}{{{labels}}}".replace(" ", "") if brace and end else line.partition(" ")[0]
        value = tail if brace and end else line.partition(" ")[2]
        if series == wanted:
            try:
                return _finite(float(value.split()[0]))
            except (ValueError, IndexError):
                return None
    return None


def _finite(value: float) -> float | None:
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
