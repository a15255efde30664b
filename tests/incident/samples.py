"""Entries and lines that tests of cases write."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from govsec.incident.api import Summary
from govsec.incident.entries import Noted, Opened, Stage
from govsec.incident.levels import EventLevel

NOW = datetime(2026, 11, 22, 1, 41, tzinfo=UTC)


def opened(**more: object) -> Opened:
    """A case that begins at :data:`NOW`."""
    said = {"time": NOW, "by": "张三", "title": "门户网站打不开", "aware_at": NOW, "roles": ("other_operator",), **more}
    return Opened.model_validate(said)


def note(text: str) -> Noted:
    """Something that is noted at :data:`NOW`."""
    return Noted(time=NOW, by="李四", text=text)


def line(**more: object) -> Summary:
    """A line of the list."""
    plain = Summary("", "门户网站", "portal", Stage.FOUND, EventLevel.GENERAL, False, NOW, NOW, None, "", "", False)
    return replace(plain, **more)  # type: ignore[arg-type]  # fields of Summary, by name
