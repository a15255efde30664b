"""Raw answers of hosts, as text: one file a distribution, sections ``=== source``, the run's token written ``T``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from govsec.collect.kinds import parse, sources_of
from govsec.collect.probes import AnyProbe
from govsec.collect.shapes import fact_shapes
from govsec.collect.sources import Answer, Reading

RAW = Path(__file__).parent / "raw"
NOW = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
#: What a source without anything to show sends; a sample says ``[90]`` where a thing is not there at all.
_NOTHING = Answer(b"", 0)


def sample(name: str) -> dict[str, Answer]:
    """The answers of one distribution, by name of source."""
    text = (RAW / f"{name}.txt").read_text(encoding="utf-8")
    parts = re.split(r"(?m)^=== ([a-z_ 0-9]+?)(?: \[([0-9]+)\])?\n", text)[1:]
    answers = {
        source: Answer(body.encode(), int(code or 0))
        for source, code, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    }
    assert answers, f"no section in {name}"
    return answers


def reading(probe: AnyProbe, answers: Mapping[str, Answer], token: str = "T") -> Reading:
    """What ``probe`` reads out of ``answers``."""
    sources = {source.name: source for source in sources_of(probe)}
    return Reading(
        sources=sources,
        answers={name: answers.get(name, _NOTHING) for name in sources},
        token=token,
        now=NOW,
        collected=NOW,
    )


def fact(distribution: str, probe: AnyProbe) -> Any:
    """What the parser of ``probe`` makes of a distribution's answers; its docstring says so, too."""
    found = parse(probe, reading(probe, sample(distribution)))
    assert list(fact_shapes()[probe.kind].misfits(found)) == []
    return found
