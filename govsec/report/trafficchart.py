"""Geometry of a chart of traffic over time with findings above it: numbers in, numbers out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_LANES_MAX = 4
_LANE_HEIGHT = 22.0
_MARK_WIDTH = 20.0
_TICKS_AIM = 7
_GRID_AIM = 4
#: Steps between marks on the axis of time: those that people count in.
_STEPS_S = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800),
)


@dataclass(frozen=True, slots=True)
class Piece:
    """One part of a stacked bar, in units of the drawing; ``row``: which of the stacked rows."""

    x: float
    y: float
    width: float
    height: float
    row: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A finding above the traffic: its ``number`` in the list, at its time."""

    x: float
    y: float
    number: int
    row: int


@dataclass(frozen=True, slots=True)
class Label:
    """A mark on an axis: where, and which value."""

    at: float
    value: float


@dataclass(frozen=True, slots=True)
class TrafficChart:
    """A whole drawing. ``hidden_count``: findings for which there was no room above the traffic."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    pieces: tuple[Piece, ...]
    marks: tuple[Mark, ...]
    times: tuple[Label, ...]
    grid: tuple[Label, ...]
    hidden_count: int


def traffic_chart(
    rows: Sequence[Sequence[int]],
    *,
    width_s: float,
    marks: Sequence[tuple[float, int]] = (),
    width: float = 960,
    plot_height: float = 210,
) -> TrafficChart:
    """Stack ``rows`` (bytes by bin of ``width_s`` seconds) and put ``marks`` above: seconds, row.

    The marks' numbers follow their order, from 1. Nothing is drawn for a bin without traffic.
    """
    left, right = 84.0, width - 14.0
    bins = max((len(row) for row in rows), default=0)
    span_s = max(bins, 1) * width_s
    unit = (right - left) / max(bins, 1)
    placed, lanes, hidden = _place(marks, span_s, left, right)
    top = 14.0 + lanes * _LANE_HEIGHT
    bottom = top + plot_height
    sums = [sum(row[position] for row in rows) for position in range(bins)]
    step = _round(max(sums, default=0) / _GRID_AIM)
    full = step * max(1, math.ceil(max(sums, default=0) / step))
    pieces = []
    for position in range(bins):
        y = bottom
        for number, row in enumerate(rows):
            size = plot_height * row[position] / full
            if size <= 0:
                continue
            y -= size
            pieces.append(
                Piece(
                    round(left + position * unit, 2),
                    round(y, 2),
                    # A hair wider than its place, so that no white line shows between neighbours.
                    round(unit + (0.3 if bins > 1 else 0), 2),
                    round(size, 2),
                    number,
                )
            )
    every = next((step_s for step_s in _STEPS_S if step_s * _TICKS_AIM >= span_s), _STEPS_S[-1])
    times = tuple(
        Label(round(left + (right - left) * number * every / span_s, 2), number * every)
        for number in range(math.floor(span_s / every + 1e-9) + 1)
    )
    grid = tuple(
        Label(round(bottom - plot_height * number * step / full, 2), number * step)
        for number in range(round(full / step) + 1)
    )
    return TrafficChart(width, bottom + 34, left, right, top, bottom, tuple(pieces), tuple(placed), times, grid, hidden)


def _place(marks: Sequence[tuple[float, int]], span_s: float, left: float, right: float) -> tuple[list[Mark], int, int]:
    """Marks in lanes, so that no two cover each other; how many lanes that takes, and how many found no room."""
    ends = [-math.inf] * _LANES_MAX
    placed, hidden = [], 0
    for number, (offset_s, row) in sorted(enumerate(marks, start=1), key=lambda item: (item[1][0], item[0])):
        x = left + (right - left) * min(max(offset_s / span_s, 0.0), 1.0)
        x = min(max(x, left + _MARK_WIDTH / 2), right - _MARK_WIDTH / 2)
        lane = next((lane for lane, end in enumerate(ends) if end <= x), None)
        if lane is None:
            hidden += 1
            continue
        ends[lane] = x + _MARK_WIDTH + 2
        placed.append(Mark(round(x, 2), 12.0 + lane * _LANE_HEIGHT, number, row))
    return placed, sum(1 for end in ends if end > -math.inf), hidden


def _round(step: float) -> float:
    """The next round number of bytes, KiB, MiB …: 1, 2 or 5 times a power of ten of them; at least 1."""
    unit = 1.0
    while step > 1000 * unit:
        unit *= 1024
    candidates = (factor * power * unit for power in (1, 10, 100, 1000) for factor in (1, 2, 5))
    return next(candidate for candidate in candidates if candidate >= step * (1 - 1e-9))
