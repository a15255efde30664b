"""What lasts: since when a service cannot be used or a page is not what was accepted, and when that is over.

One idea: the law counts hours, so whoever asks says since when and until when. The end is told as a finding of its own
(``service.recovered``, ``page.restored``) and only when it was seen: a service that could not be asked has not
recovered.
"""

from __future__ import annotations

from collections.abc import Sequence

from govsec.clock import format_time, from_ns
from govsec.records import Finding, Severity
from govsec.services.findings import Judge
from govsec.services.memory import ServiceMemory
from govsec.services.probe import Seen
from govsec.services.steps import RunState

_DOWN = "down"
_PAGE = "page "


def follow(
    memory: ServiceMemory, seen: Seen, findings: Sequence[Finding], judge: Judge
) -> tuple[tuple[Finding, ...], bool]:
    """The findings with their begin (fact ``since``), and those of what ended; True when something began or ended.

    ``findings`` are those of this probe that are told; ``memory`` is changed.
    """
    lasting = {
        key: [finding for finding in findings if _key_of(finding) == key] for key in map(_key_of, findings) if key
    }
    begun = [key for key in lasting if key not in memory.lasting]
    memory.lasting |= dict.fromkeys(begun, judge.time_ns)
    told = [finding if not (key := _key_of(finding)) else _dated(finding, memory.lasting[key]) for finding in findings]
    ended = [key for key in memory.lasting if key not in lasting and _is_over(key, seen)]
    told += [_end(key, memory.lasting.pop(key), judge) for key in ended]
    return tuple(told), bool(begun or ended)


def _key_of(finding: Finding) -> str:
    """What lasts with this finding; empty when nothing does."""
    if finding.severity < Severity.HIGH:
        return ""
    if finding.kind == "service.down":
        return _DOWN
    return f"{_PAGE}{finding.facts.get('page', '')}" if finding.kind.startswith("page.") else ""


def _is_over(key: str, seen: Seen) -> bool:
    if key == _DOWN:
        return any(run.state is RunState.PASSED for run in seen.runs)
    pages = [page for page in seen.pages if f"{_PAGE}{page.name}" == key]
    return any(page.accepted is not None and page.facts is not None and not page.reason for page in pages)


def _dated(finding: Finding, since_ns: int) -> Finding:
    return finding.model_copy(update={"facts": {**finding.facts, "since": format_time(from_ns(since_ns))}})


def _end(key: str, since_ns: int, judge: Judge) -> Finding:
    return judge.recovered(since_ns) if key == _DOWN else judge.restored(key.removeprefix(_PAGE), since_ns)
