"""Counting in constant memory what a flood brings, when its flows are too many to keep."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SketchSummary:
    """What came in packets that belong to no kept flow, since the flood began."""

    since_ns: int
    packets: int
    bytes: int
    sources_estimate: int
    targets_estimate: int
    #: Heaviest first, at most 16: address, packets (never too low), distinct sources (estimate).
    targets: tuple[tuple[str, int, int], ...]
    #: Heaviest first, at most 16: prefix (/24 or /48), packets (never too low), distinct targets (estimate).
    source_prefixes: tuple[tuple[str, int, int], ...]
