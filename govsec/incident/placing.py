"""What a finding means for cases: to which story it belongs, whether it begins one, and what it says of the event.

One idea: a story is one system and one class of rule; of a service that is asked from outside it is the service's
outage, or its altered pages; of a drill its plan. Nothing is looked up here and nothing is written.

Only what was measured becomes a fact: since when a service cannot be used, since when a page is not what people
accepted. Whether those pages show what the law calls illegal is for a person to say; until then the stricter holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from govsec.incident.triage import group_of
from govsec.records import Finding, Severity

#: Told by whoever asks services when one answers again, or a page is what was accepted again.
SERVICE_RECOVERED, PAGE_RESTORED = "service.recovered", "page.restored"
#: Told by whoever looks at drills.
DRILL_PASSED = "drill.passed"
_OVER = frozenset({SERVICE_RECOVERED, PAGE_RESTORED, DRILL_PASSED})
#: A drill that was never run, is too old or failed is a story of its own, however it is rated.
_DRILLS = frozenset({"drill.failing", "drill.never_run", "drill.stale"})
_HOME, _OTHER = "home_page_illegal_h", "other_page_illegal_h"


@dataclass(frozen=True, slots=True)
class ServiceRule:
    """A service: its system, the fact that its outage is, its home pages by name, what holds of it in any case."""

    system: str
    down_field: str | None = None
    home_pages: frozenset[str] = frozenset()
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlacingRules:
    """What the configuration says."""

    open_from: Severity = Severity.HIGH
    services: Mapping[str, ServiceRule] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a finding belongs. ``lasting``: the fact that begins (or ends) with it; ``facts``: what holds besides."""

    thread: str
    system: str
    is_opening: bool
    is_over: bool = False
    lasting: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


def system_of(finding: Finding, default: str, rules: PlacingRules) -> str:
    """The system that a finding is about: its service's, else its source's."""
    rule = rules.services.get(str(finding.facts.get("service", "")))
    return rule.system if rule is not None else default


def place(finding: Finding, system: str, rules: PlacingRules) -> Place:
    """Where a finding of a system belongs."""
    kind, is_over = finding.kind, finding.kind in _OVER
    is_opening = finding.severity >= rules.open_from and not is_over
    topic = kind.partition(".")[0]
    if topic == "drill":
        thread = f"{system}|drill|{finding.facts.get('plan', '')}"
        return Place(thread, system, kind in _DRILLS, is_over)
    service = str(finding.facts.get("service", ""))
    rule = rules.services.get(service)
    if rule is None or topic not in ("service", "page"):
        return Place(group_of(kind, system), system, is_opening)
    lasting = _lasting(finding, topic, rule, is_over=is_over)
    return Place(f"{system}|{topic}|{service}", system, is_opening, is_over, lasting, rule.facts)


def _lasting(finding: Finding, topic: str, rule: ServiceRule, *, is_over: bool) -> str | None:
    if topic == "service":
        # A service that works over one family can be used; that is told as milder.
        is_down = finding.kind == "service.down" and finding.severity >= Severity.HIGH
        return rule.down_field if is_down or is_over else None
    if not is_over and finding.severity < Severity.HIGH:
        return None
    is_home = str(finding.facts.get("page", "")) in rule.home_pages or _is_root(str(finding.facts.get("url", "")))
    return _HOME if is_home else _OTHER


def _is_root(url: str) -> bool:
    try:
        return bool(url) and urlsplit(url).path in ("", "/")
    except ValueError:
        return False
