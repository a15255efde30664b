"""What is known of a machine's packages, as findings: one a source package that something can be done about today.

A machine of a year has hundreds; a person must get one list of packages to update, not hundreds of notices. What the
data cannot say (another release, old data, packages of a kind that is not compared) is a finding of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from pydantic import JsonValue

from govsec.clock import to_ns
from govsec.findings.judgement import Measure, judge, put_list
from govsec.host.tables import Package
from govsec.inventory.api import Known, Matches, Platform, State
from govsec.records import Finding, Severity

KINDS = ("vulnerability.known", "vulnerability.unfixed", "vulnerability.unmatched", "vulnerability.stale")
DETECTOR = "inventory"
#: Of a package's vulnerabilities so many are named; the count stands beside them.
_IDS_MAX = 50
_URGENT = frozenset({"critical", "high", "important"})
_UNIMPORTANT = frozenset({"unimportant", "negligible"})
_DAY_S = 86_400


def judge_packages(
    packages: Sequence[Package],
    matches: Matches,
    platform: Platform,
    *,
    host: str,
    time: datetime,
    age_max_days: float,
) -> Iterator[Finding]:
    """Findings, by source package; then what the data could not say."""
    binaries: dict[str, list[Package]] = {}
    for package in packages:
        binaries.setdefault(package.source, []).append(package)
    waiting: dict[str, tuple[Known, ...]] = {}
    for source in sorted(matches.known):
        known = matches.known[source]
        if any(one.state in (State.FIX, State.ENDED) and one.urgency not in _UNIMPORTANT for one in known):
            yield _known(source, known, binaries.get(source, []), host, to_ns(time))
        else:
            waiting[source] = known
    if waiting:
        yield _unfixed(waiting, host, to_ns(time))
    yield from _limits(packages, matches, platform, host, time, age_max_days)


def _known(source: str, known: Sequence[Known], binaries: Sequence[Package], host: str, time_ns: int) -> Finding:
    states = Counter(one.state for one in known)
    counted = [one for one in known if one.urgency not in _UNIMPORTANT]
    version = binaries[0].source_version if binaries else ""
    fixes = sorted({one.fixed_version for one in known if one.fixed_version})
    facts: dict[str, JsonValue] = {
        "package": source,
        "version": version,
        "fixed": ", ".join(fixes[-3:]),
        "is_ended": states[State.ENDED] > 0,
        "states": {state.value: count for state, count in sorted(states.items())},
        "unimportant": len(known) - len(counted),
    }
    put_list(facts, "binaries", sorted(one.name for one in binaries))
    ids: list[JsonValue] = [*_ordered(known)]
    facts["ids"] = ids[:_IDS_MAX]
    if len(ids) > _IDS_MAX:
        facts["ids_count"] = len(ids)
    return judge(
        kind="vulnerability.known",
        detector=DETECTOR,
        severity=_severity(counted),
        time_ns=time_ns,
        subject=host,
        summary=f"{source} {version}: {len(known)} known vulnerabilities, {states[State.FIX]} with a fix"
        + (f" ({facts['fixed']})." if fixes else "."),
        pattern=(host, source, version),
        measured={"count": Measure(len(known)), "fixed_count": Measure(states[State.FIX])},
        facts=facts,
    )


def _unfixed(known: Mapping[str, Sequence[Known]], host: str, time_ns: int) -> Finding:
    """Packages with nothing to install today, in one finding: they are looked at when their data change."""
    count = sum(map(len, known.values()))
    urgent = sorted(source for source, each in known.items() if any(one.urgency in _URGENT for one in each))
    facts: dict[str, JsonValue] = {}
    put_list(facts, "packages", [*urgent, *(source for source in known if source not in urgent)])
    return judge(
        kind="vulnerability.unfixed",
        detector=DETECTOR,
        severity=Severity.LOW,
        time_ns=time_ns,
        subject=host,
        summary=f"{count} vulnerabilities of {len(known)} packages have no fix that could be installed.",
        pattern=(host, "unfixed"),
        measured={"count": Measure(count), "urgent_count": Measure(len(urgent))},
        facts=facts,
    )


def _severity(known: Sequence[Known]) -> Severity:
    """High for what is urgent and mended."""
    is_urgent = any(one.state is State.FIX and one.urgency in _URGENT for one in known)
    return Severity.HIGH if is_urgent else Severity.MEDIUM


def _ordered(known: Iterable[Known]) -> Iterator[str]:
    """The ids, those that can be mended first."""
    for one in sorted(known, key=lambda one: (one.state is not State.FIX, one.urgency not in _URGENT, one.id)):
        yield one.id


def _limits(
    packages: Sequence[Package],
    matches: Matches,
    platform: Platform,
    host: str,
    time: datetime,
    age_max_days: float,
) -> Iterator[Finding]:
    other = [one.name for one in packages if one.manager not in ("dpkg", "rpm")]
    unseen = [one.name for one in packages] if not matches.has_release else other
    if unseen:
        ecosystem = f"{platform.id} {platform.version}".strip() or "this system"
        facts: dict[str, JsonValue] = {"ecosystem": ecosystem}
        put_list(facts, "packages", sorted(unseen))
        yield judge(
            kind="vulnerability.unmatched",
            detector=DETECTOR,
            severity=Severity.MEDIUM,
            time_ns=to_ns(time),
            subject=host,
            summary=f"The data say nothing about {len(unseen)} packages of {ecosystem}.",
            pattern=(host, ecosystem),
            measured={"count": Measure(len(unseen))},
            facts=facts,
        )
    if matches.newest is not None:
        age_s = max(0.0, (time - matches.newest).total_seconds())
        if age_s > age_max_days * _DAY_S:
            yield judge(
                kind="vulnerability.stale",
                detector=DETECTOR,
                severity=Severity.LOW,
                time_ns=to_ns(time),
                subject=host,
                summary=f"The vulnerability data are {age_s / _DAY_S:.0f} days old (at most {age_max_days:g}).",
                pattern=(host,),
                measured={"age": Measure(age_s / _DAY_S, age_max_days, "days")},
                facts={"is_file_date": matches.is_file_date},
            )
