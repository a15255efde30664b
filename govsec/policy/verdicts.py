"""From results to verdicts: what the checks of all objects, govsec's own evidence and people's words say of each line.

GB/T 28448-2019 judges a line by its steps: all positive is conform, some partial, none not conform; so does this:

* Checks that **decide** a line: the worst over all objects counts. One fails: not conform; else one could not look:
  undecided, and nobody's word lifts that; else partial, else conform. A host that gave no result could not look.
* Checks that only **support** it never make it conform: some negative and some positive is partial, all negative is
  not conform, all positive stays undecided until somebody attests the rest. A negative one turns conform into partial.
* Checks that **inform** are shown beside it and move nothing: they look at something else than the line is about.
* A **decider that does not apply** says nothing: a host without nginx does not make a requirement not applicable. Only
  govsec's own evidence or an attestation can.
* An **attestation** speaks where no decider does, when it holds and covers all hosts; elsewhere it can only worsen.
* A **compensating** control lifts not conform to partial where it passes on every object that failed (整体测评).
* A **waiver** changes nothing; it is named beside the verdict.
* A check for hosts of a **role** (borders) speaks for the system only where the register says that they are all there
  are; else it can fail, and what it does not see is for a person to attest.
* A **part** of a system never speaks for all of it: where hosts were left out, or nobody wrote down which there are,
  a line that checks of hosts decide can fail, and stays undecided otherwise.

Pure: no clock, no files. High-risk cases and candidates for hidden dangers are :mod:`govsec.policy.cases`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from govsec.policy.attest import Attestation, Record, Standing, Waiver
from govsec.policy.catalog import Item
from govsec.policy.results import Basis, CheckResult, ItemVerdict, Role, Status, Verdict, Words

#: From worst to best. Undecided stands apart: it is no degree.
_ORDER = (Verdict.NOT_CONFORM, Verdict.PARTIAL, Verdict.CONFORM)
_BLIND = frozenset({Status.ERROR, Status.UNKNOWN})
_ATTESTED = {
    Verdict.CONFORM: ("符合", "conform"),
    Verdict.PARTIAL: ("部分符合", "conform in part"),
    Verdict.NOT_CONFORM: ("不符合", "not conform"),
    Verdict.NOT_APPLICABLE: ("不适用", "not applicable"),
}
_REASONS_MAX = 10
_NAMES_MAX = 5


@dataclass(slots=True)
class _Seen:
    """What one check said over all objects that it applies to."""

    check: str
    role: Role
    #: Positions of results, and of those by status.
    positions: list[int] = field(default_factory=list)
    by_status: dict[Status, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def worst(self) -> Status:
        """Fail, then could not look, then partial, then pass; not applicable where nothing else was said."""
        for status in (Status.FAIL, Status.ERROR, Status.UNKNOWN, Status.PARTIAL, Status.PASS):
            if self.by_status.get(status):
                return status
        return Status.NOT_APPLICABLE


@dataclass(slots=True)
class _Draft:
    """A verdict in the making."""

    verdict: Verdict
    basis: Basis
    #: True: a decider could not look, and nothing may lift that.
    is_blocked: bool = False
    #: True: deciders spoke.
    is_decided: bool = False
    original: Verdict | None = None
    reasons: list[Words] = field(default_factory=list)

    def change(self, verdict: Verdict, reason: Words) -> None:
        """Take another verdict, and keep the first one in sight."""
        if verdict is not self.verdict:
            self.original = self.original or self.verdict
            self.verdict = verdict
        self.reasons.append(reason)


def verdicts(
    items: Sequence[Item],
    results: Sequence[CheckResult],
    maps: Mapping[str, Mapping[str, Role]],
    *,
    hosts: Sequence[str],
    host_checks: Collection[str],
    attestations: Sequence[Record] = (),
    waivers: Sequence[Record] = (),
    evidence_checks: Collection[str] = (),
    gap: Words | None = None,
    others: Mapping[str, Words] | None = None,
    now: datetime,
) -> tuple[ItemVerdict, ...]:
    """One verdict for each item, in order.

    ``maps`` says of each check which keys it speaks to, and how. Every check of ``host_checks`` must have a result for
    each of ``hosts``: one that is missing counts as an error. ``evidence_checks`` are those of govsec's own evidence.
    ``gap`` says why ``hosts`` are not the whole system; None where they are. ``others`` says of a check why there may
    be objects of its kind that it cannot see; a person may speak for those.
    """
    seen = _by_key(results, maps, hosts, host_checks)
    helped = {(key, result.object) for result in results for key in result.compensates if result.status is Status.PASS}
    said: dict[str, list[Record]] = defaultdict(list)
    for record in attestations:
        if isinstance(record.statement, Attestation):
            said[record.statement.item].append(record)
    waived = [record for record in waivers if record.standing(now) is Standing.VALID]
    found = []
    for item in items:
        checks = seen.get(item.key, [])
        draft = _decide(checks, evidence_checks)
        if gap is not None and any(one.check in host_checks for one in checks if one.role is Role.DECIDES):
            _narrow(draft, gap)
        _leave_open(draft, checks, others or {})
        _compensate(draft, item.key, checks, helped)
        _support(draft, checks)
        # Words for single hosts cover a system only where its hosts are known, and were all asked.
        attestation = _attest(draft, said.get(item.id, ()), checks, hosts if gap is None else (), now)
        positions = [position for one in sorted(checks, key=_deciders_first) for position in one.positions]
        found.append(
            ItemVerdict(
                item=item.id,
                key=item.key,
                verdict=draft.verdict,
                basis=draft.basis,
                results=tuple(positions),
                reasons=tuple(draft.reasons[:_REASONS_MAX]),
                high_risk=_cases(results, positions),
                original=draft.original,
                attestation=attestation,
                waiver=_waiver(waived, [results[position] for position in positions]),
            )
        )
    return tuple(found)


def _by_key(
    results: Sequence[CheckResult],
    maps: Mapping[str, Mapping[str, Role]],
    hosts: Sequence[str],
    host_checks: Collection[str],
) -> dict[str, list[_Seen]]:
    missing = {check: set(hosts) for check in host_checks}
    by_check: dict[str, list[int]] = {check: [] for check in host_checks}
    for position, result in enumerate(results):
        by_check.setdefault(result.check, []).append(position)
        if result.check in missing:
            missing[result.check].discard(result.object)
    found: dict[str, list[_Seen]] = defaultdict(list)
    for check, positions in by_check.items():
        for key, role in maps.get(check, {}).items():
            one = _Seen(check, Role(role), positions)
            for position in positions:
                one.by_status[results[position].status].append(results[position].object)
            if absent := missing.get(check):
                one.by_status[Status.ERROR] += sorted(absent)
            found[key].append(one)
    return found


def _decide(checks: Sequence[_Seen], evidence_checks: Collection[str]) -> _Draft:
    """What the deciders say, each by its worst object."""
    deciders = [one for one in checks if one.role is Role.DECIDES]
    speaking = [one for one in deciders if one.worst is not Status.NOT_APPLICABLE]
    basis = Basis.EVIDENCE if speaking and all(one.check in evidence_checks for one in speaking) else Basis.CHECKS
    if not speaking:
        if any(one.check in evidence_checks for one in deciders):
            reason = Words(zh="依据自身证据判定不适用", en="not applicable by govsec's own evidence")
            return _Draft(Verdict.NOT_APPLICABLE, Basis.EVIDENCE, is_decided=True, reasons=[reason])
        reasons = []
        if deciders:
            reasons.append(Words(zh="判定性检查在所有对象上都不适用", en="no deciding check applies to any object"))
        return _Draft(Verdict.UNDECIDED, Basis.NONE, reasons=reasons)
    worst = {one.worst for one in speaking}
    if Status.FAIL in worst:
        return _Draft(Verdict.NOT_CONFORM, basis, is_decided=True, reasons=_told(speaking, Status.FAIL))
    if worst & _BLIND:
        reasons = [*_told(speaking, Status.ERROR), *_told(speaking, Status.UNKNOWN)]
        return _Draft(Verdict.UNDECIDED, Basis.NONE, is_blocked=True, is_decided=True, reasons=reasons)
    if Status.PARTIAL in worst:
        return _Draft(Verdict.PARTIAL, basis, is_decided=True, reasons=_told(speaking, Status.PARTIAL))
    return _Draft(Verdict.CONFORM, basis, is_decided=True)


def _narrow(draft: _Draft, gap: Words) -> None:
    """Take back what hosts that are not the whole system cannot say of it; that they fail, they can."""
    if draft.verdict in (Verdict.CONFORM, Verdict.PARTIAL):
        draft.verdict, draft.basis, draft.is_blocked = Verdict.UNDECIDED, Basis.NONE, True
        draft.reasons.append(gap)


def _leave_open(draft: _Draft, checks: Sequence[_Seen], others: Mapping[str, Words]) -> None:
    """Leave to a person what there may be beside the objects of a check; that those fail, they can."""
    speaking = (one for one in checks if one.role is Role.DECIDES and one.worst is not Status.NOT_APPLICABLE)
    reasons = list(dict.fromkeys(others[one.check] for one in speaking if one.check in others))
    if reasons and draft.verdict in (Verdict.CONFORM, Verdict.PARTIAL):
        draft.verdict, draft.basis, draft.is_decided = Verdict.UNDECIDED, Basis.NONE, False
        draft.reasons += reasons


def _compensate(draft: _Draft, key: str, checks: Sequence[_Seen], helped: Collection[tuple[str, str]]) -> None:
    if draft.verdict is not Verdict.NOT_CONFORM:
        return
    failed = {name for one in checks if one.role is Role.DECIDES for name in one.by_status.get(Status.FAIL, ())}
    if all((key, name) in helped for name in failed):
        reason = Words(zh="不符合的对象上都有补偿措施", en="a compensating control holds on every object that failed")
        draft.change(Verdict.PARTIAL, reason)


def _support(draft: _Draft, checks: Sequence[_Seen]) -> None:
    """What the supporting checks add. One that could not look adds nothing."""
    supporters = [one for one in checks if one.role is Role.SUPPORTS]
    negative = [one for one in supporters if one.worst in (Status.FAIL, Status.PARTIAL)]
    positive = [one for one in supporters if one.worst in (Status.PASS, Status.PARTIAL)]
    told = [*_told(supporters, Status.FAIL), *_told(supporters, Status.PARTIAL)]
    if draft.is_decided:
        if negative and draft.verdict is Verdict.CONFORM:
            draft.change(Verdict.PARTIAL, told[0])
            told = told[1:]
        draft.reasons += told
    elif negative:
        draft.verdict = Verdict.PARTIAL if positive else Verdict.NOT_CONFORM
        draft.basis = Basis.CHECKS
        draft.reasons += told
    elif positive:
        reason = Words(zh="有检查支持，仍需人工证明", en="checks support it; a person has to attest the rest")
        draft.reasons.append(reason)
    draft.reasons += _told(supporters, Status.ERROR)


def _attest(
    draft: _Draft, records: Iterable[Record], checks: Sequence[_Seen], hosts: Sequence[str], now: datetime
) -> str | None:
    """Let people's words count where they may. Gives the id of the one that was used, or that no longer holds."""
    valid: list[tuple[Record, Attestation]] = []
    other: str | None = None
    for record in records:
        statement, standing = record.statement, record.standing(now)
        assert isinstance(statement, Attestation)  # the caller has sorted them by item, which only these have
        if standing is Standing.VALID:
            valid.append((record, statement))
        elif standing is Standing.EXPIRED and record.approved is not None:
            other = record.id
            draft.reasons.append(Words(zh=f"证明 {record.id} 已过期", en=f"attestation {record.id} has expired"))
        else:
            text = Words(zh=f"证明 {record.id} 尚未生效", en=f"attestation {record.id} does not hold yet")
            draft.reasons.append(text)
    if not valid:
        return other
    by_degree = sorted(valid, key=lambda pair: (_rank(pair[1].verdict), pair[0].id))
    record, worst = by_degree[0]
    covered = {name for _, statement in valid for name in statement.objects}
    is_whole = any(not statement.objects for _, statement in valid) or (bool(hosts) and covered >= set(hosts))
    zh, en = _ATTESTED[worst.verdict]
    reason = Words(zh=f"证明 {record.id}：{zh}", en=f"attestation {record.id}: {en}")
    is_worse = worst.verdict is Verdict.NOT_CONFORM and draft.verdict is not Verdict.NOT_CONFORM
    if is_worse or (worst.verdict is Verdict.PARTIAL and draft.verdict is Verdict.CONFORM):
        # A person who says that something is wrong is believed for whatever objects it is said of.
        draft.change(worst.verdict, reason)
        draft.basis = Basis.ATTESTATION
        return record.id
    if draft.is_decided or not is_whole:
        return record.id
    return record.id if _lift(draft, worst.verdict, reason, checks) else other


def _lift(draft: _Draft, attested: Verdict, reason: Words, checks: Sequence[_Seen]) -> bool:
    """Take the attested verdict for what no decider saw, as far as the supporting checks leave it standing."""
    is_contradicted = any(one.role is Role.SUPPORTS and one.worst in (Status.FAIL, Status.PARTIAL) for one in checks)
    if not is_contradicted:
        draft.change(attested, reason)
    elif attested in (Verdict.CONFORM, Verdict.PARTIAL):
        draft.change(Verdict.PARTIAL, reason)
    else:
        draft.reasons.append(reason)
        return False
    draft.basis = Basis.ATTESTATION
    return True


def _rank(verdict: Verdict) -> int:
    """Worse is lower; what is no degree stands above all."""
    return _ORDER.index(verdict) if verdict in _ORDER else len(_ORDER)


def _deciders_first(one: _Seen) -> bool:
    return one.role is not Role.DECIDES


_SAYS = {
    Status.FAIL: ("不通过", "fails"),
    Status.ERROR: ("无法判定", "cannot be judged"),
    Status.UNKNOWN: ("看不全", "did not see all"),
    Status.PARTIAL: ("部分通过", "holds in part"),
}


def _told(checks: Iterable[_Seen], status: Status) -> list[Words]:
    """For each check whose worst is ``status``: on which objects."""
    zh, en = _SAYS[status]
    found = []
    for one in checks:
        if one.worst is status:
            names = one.by_status[status]
            more = f" +{len(names) - _NAMES_MAX}" if len(names) > _NAMES_MAX else ""
            listed = f"{', '.join(names[:_NAMES_MAX])}{more}"
            found.append(Words(zh=f"{one.check} {zh}：{listed}", en=f"{one.check} {en}: {listed}"))
    return found


def _cases(results: Sequence[CheckResult], positions: Iterable[int]) -> tuple[str, ...]:
    found = {hit.case for position in positions for hit in results[position].high_risk}
    return tuple(sorted(found, key=lambda case: [int(part) for part in case.split(".")]))


def _waiver(records: Sequence[Record], results: Sequence[CheckResult]) -> str | None:
    """The first waiver that lets one of these results pass."""
    for record in records:
        statement = record.statement
        if isinstance(statement, Waiver) and any(
            result.check == statement.check
            and result.status in (Status.FAIL, Status.PARTIAL)
            and (not statement.objects or result.object in statement.objects)
            for result in results
        ):
            return record.id
    return None
