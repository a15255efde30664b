"""Geometry of the charts: pure numbers in, pure numbers out; the template draws them as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: A step of a few milliseconds must still be seen.
_BAR_WIDTH_MIN = 3.0
_TICKS_AIM = 6


@dataclass(frozen=True, slots=True)
class Bar:
    """One step on the timeline, in user units of the drawing."""

    x: float
    y: float
    width: float
    label: str
    outcome: str
    text: str
    #: Where the text goes: right of the bar, or left of it where there is no room.
    text_x: float
    text_anchor: str


@dataclass(frozen=True, slots=True)
class Tick:
    """One mark on the axis."""

    x: float
    text: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """A whole drawing."""

    width: float
    height: float
    left: float
    row_height: float
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    service_x: float | None
    objective_x: float | None


@dataclass(frozen=True, slots=True)
class Row:
    """What the timeline is made from."""

    label: str
    outcome: str
    offset_s: float
    duration_s: float
    text: str


def timeline(
    rows: Sequence[Row], *, service_s: float | None, objective_s: float, width: float = 960, left: float = 190
) -> Timeline:
    """Place ``rows`` on a common axis of seconds; the objective is drawn when it is not far outside."""
    row_height = 30.0
    top = 48.0
    end_s = max((row.offset_s + row.duration_s for row in rows), default=0.0)
    end_s = max(end_s, service_s or 0.0, 0.001)
    shows_objective = objective_s <= end_s * 1.6
    if shows_objective:
        end_s = max(end_s, objective_s)
    span = width - left - 30
    unit = _nice(end_s / _TICKS_AIM)
    end_s = math.ceil(end_s / unit - 1e-9) * unit

    def x_of(seconds: float) -> float:
        return round(left + span * seconds / end_s, 2)

    bars = []
    for position, row in enumerate(rows):
        x = x_of(row.offset_s)
        bar_width = max(_BAR_WIDTH_MIN, x_of(row.offset_s + row.duration_s) - x)
        is_far_right = x + bar_width > left + span * 0.82
        bars.append(
            Bar(
                x=x,
                y=top + position * row_height,
                width=round(bar_width, 2),
                label=row.label,
                outcome=row.outcome,
                text=row.text,
                text_x=round(x - 7 if is_far_right else x + bar_width + 7, 2),
                text_anchor="end" if is_far_right else "start",
            )
        )
    count = round(end_s / unit)
    ticks = tuple(Tick(x_of(number * unit), _number(number * unit)) for number in range(count + 1))
    return Timeline(
        width=width,
        height=top + len(rows) * row_height + 34,
        left=left,
        row_height=row_height,
        bars=tuple(bars),
        ticks=ticks,
        service_x=None if service_s is None else x_of(service_s),
        objective_x=x_of(objective_s) if shows_objective else None,
    )


def share(measured: float, target: float, width: float) -> tuple[float, float]:
    """Length of a bar for ``measured`` and place of the mark for ``target`` on a gauge of ``width``."""
    full = max(measured, target, 1e-9)
    return round(max(2.0, width * measured / full), 2), round(width * target / full, 2)


@dataclass(frozen=True, slots=True)
class Slice:
    """One part of a stacked bar; ``has_room`` says whether its number fits inside."""

    name: str
    count: int
    x: float
    width: float
    has_room: bool


def stack(counts: Mapping[str, int], *, width: float, full: int | None = None) -> tuple[Slice, ...]:
    """A bar of parts side by side, in the order of ``counts``; ``full`` parts fill ``width``, all of them by default.

    A part that is there is seen, however small: its share is taken from the largest.
    """
    total = max(full if full is not None else sum(counts.values()), 1)
    widths = {name: max(_BAR_WIDTH_MIN, width * count / total) for name, count in counts.items() if count}
    over = sum(widths.values()) - width * sum(counts.values()) / total
    if over > 0:
        largest = max(widths, key=lambda name: widths[name])
        widths[largest] = max(_BAR_WIDTH_MIN, widths[largest] - over)
    parts, x = [], 0.0
    for name, part in widths.items():
        has_room = part >= 9 + 8 * len(str(counts[name]))
        parts.append(Slice(name, counts[name], round(x, 2), round(part, 2), has_room))
        x += part
    return tuple(parts)


def _nice(step: float) -> float:
    """The next 1, 2 or 5 times a power of ten, or whole minutes and hours above a minute."""
    for candidate in (60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200):
        if 30 < step <= candidate:
            return float(candidate)
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))


def _number(seconds: float) -> str:
    return f"{seconds:.6f}".rstrip("0").rstrip(".") or "0"
