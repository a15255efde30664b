"""What an agent has in its spool, in words for people: each finding by the catalogue of the room that it comes from."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from govsec.clock import format_time
from govsec.records import Finding
from govsec.report.catalog import Catalogue, Lang, plain
from govsec.report.findingwords import finding_said
from govsec.report.guard import guard_finding
from govsec.report.monitor import finding_words
from govsec.report.services import service_finding_words


def spooled_finding(finding: Finding, lang: Lang) -> str:
    """One finding, on a few lines: the agent's own, the guard's, the sensor's, or that of a service."""
    room = finding.kind.split(".", 1)[0]
    if room == "net":
        return finding_words(finding, lang)
    if room == "host":
        return guard_finding(finding, lang)
    if room in ("service", "page", "vulnerability"):
        return service_finding_words(finding, lang)
    return agent_finding(finding, lang)


def agent_finding(finding: Finding, lang: Lang) -> str:
    """What an agent says of itself."""
    words = Catalogue("agent", lang)
    key = f"finding.{finding.kind}"
    title = words.text(f"{key}.title" if words.has(f"{key}.title") else "unknown_title")
    advice = words.text(f"{key}.advice" if words.has(f"{key}.advice") else "unknown_advice", _named(finding))
    severity = words.text(f"severity.{finding.severity.name.lower()}")
    said = finding_said(finding, words)
    detail = plain(finding.summary)
    lines = [
        f"[{severity}] {title}  {plain(finding.subject)}  {finding.kind}",
        f"  {format_time(finding.time)}  {said}",
        # The program's own words: exit codes, the last line of a module, what is wrong with a configuration.
        f"  {detail}" if detail != said else "",
        f"  {words.text('label.advice')}: {plain(advice)}",
    ]
    return "\n".join(line for line in lines if line)


def lost_words(body: Mapping[str, JsonValue], lang: Lang) -> str:
    """A record of losses."""
    lost = body.get("lost")
    counts = ", ".join(f"{name} {count}" for name, count in lost.items()) if isinstance(lost, dict) else ""
    return Catalogue("agent", lang).text("lost", {"counts": plain(counts)})


def _named(finding: Finding) -> dict[str, str]:
    return {"module": str(finding.facts.get("module", ""))}
