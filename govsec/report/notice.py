"""A notice in the words of a language: a title and lines, plain text for every channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from govsec.clock import parse_time
from govsec.records import Notice
from govsec.report.catalog import Catalogue, Lang
from govsec.report.responsewords import hit_words, why_words

_HOURS = 8
_LISTED_MAX = 10
_HITS_MAX = 8
#: Facts that are moments; people read them on their own clocks.
_MOMENTS = ("approve_until",)


def notice_words(notice: Notice, lang: Lang) -> tuple[str, tuple[str, ...]]:
    """Title and lines."""
    words = Catalogue("notice", lang)
    severity = words.text(f"severity.{notice.severity.name.lower()}")
    facts: dict[str, Any] = {
        "kind": notice.kind,
        **notice.facts,
        "severity": severity,
        "subject": notice.subject,
        "system": f"{notice.system} " if notice.system else "",
    }
    if "level" in facts and words.has(f"level.{facts['level']}"):
        facts["level"] = words.text(f"level.{facts['level']}")
    facts |= {name: _moment(facts[name], words) for name in _MOMENTS if name in facts}
    facts |= _case_facts(notice.facts, words)
    facts |= _deed_facts(notice, lang)
    key, detail = f"title.{notice.kind}", f"detail.{notice.kind}"
    title = words.text(key if words.has(key) else "other", facts)
    lines = [
        words.text(detail, facts) if words.has(detail) else words.text("line.summary", {"summary": notice.summary}),
        words.text("line.severity", {"severity": severity}),
    ]
    if notice.system:
        lines.append(words.text("line.system", {"system": notice.system}))
    lines += _listed(words, notice.facts.get("incidents"), "incident")
    lines += _listed(words, notice.facts.get("listed"), "listed")
    lines += _listed(words, notice.facts.get("matters"), "matter")
    lines += _gaps(words, notice.facts.get("gaps"))
    lines += _flaws(words, notice.facts.get("flaws"))
    lines += [words.text("line.attachment", each.model_dump()) for each in notice.attachments]
    lines.append(words.text("line.time", {"moment": words.moment(notice.time, _HOURS)}))
    return title, tuple(lines)


def _moment(value: object, words: Catalogue) -> str:
    try:
        return words.moment(parse_time(str(value)), _HOURS)
    except ValueError:
        return str(value)


def _case_facts(facts: Mapping[str, Any], words: Catalogue) -> dict[str, Any]:
    """What notices of cases and their limits say with words of their own."""
    if "case" not in facts:
        return {}
    due = facts.get("due_at")
    return {
        "due": words.moment(parse_time(due), _HOURS) if isinstance(due, str) else "-",
        "recipient": facts.get(f"recipient_{words.lang}", ""),
        "exercise": words.text("exercise") if facts.get("is_exercise") else "",
        "settled": words.text("settled" if facts.get("is_confirmed") else "suggested"),
        "possible": "" if facts.get("is_certain", True) else words.text("possible"),
    }


def _deed_facts(notice: Notice, lang: Lang) -> dict[str, Any]:
    """What a deed would hit, and why one could not be done."""
    if not notice.kind.startswith("response."):
        return {}
    hits, why = notice.facts.get("hits"), notice.facts.get("error")
    return {
        **({"hits": hit_words(hits, lang, _HITS_MAX)} if isinstance(hits, Mapping) else {}),
        **({"error": why_words(why, lang)} if isinstance(why, str) else {}),
    }


def _listed(words: Catalogue, entries: object, key: str) -> list[str]:
    if not isinstance(entries, list):
        return []
    return [words.text(f"line.{key}", entry) for entry in entries[:_LISTED_MAX] if isinstance(entry, Mapping)]


def _gaps(words: Catalogue, gaps: object) -> list[str]:
    """Who should have been called and could not be."""
    if not isinstance(gaps, list):
        return []
    known = [gap for gap in gaps if isinstance(gap, Mapping) and words.has(f"line.gap.{gap.get('why')}")]
    return [words.text(f"line.gap.{gap['why']}", gap) for gap in known[:_LISTED_MAX]]


def flaw_words(what: str, where: str, when: str, lang: Lang) -> str:
    """One flaw in the plan of who is called."""
    return Catalogue("notice", lang).text(f"line.flaw.{what}", {"where": where, "when": when})


def _flaws(words: Catalogue, flaws: object) -> list[str]:
    if not isinstance(flaws, list):
        return []
    known = [flaw for flaw in flaws if isinstance(flaw, Mapping) and words.has(f"line.flaw.{flaw.get('what')}")]
    return [words.text(f"line.flaw.{flaw['what']}", flaw) for flaw in known]
