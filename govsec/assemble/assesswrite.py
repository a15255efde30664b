"""One assessment out of its parts: results become verdicts, verdicts rows, rows figures."""

from __future__ import annotations

import hashlib
import os
import pwd
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib.metadata import version

from govsec.assemble.assessscope import Scope
from govsec.assemble.attestations import Records, attestation_row, expiring_rows, waiver_row
from govsec.assemble.hosts import Collected
from govsec.assemble.systems import Site
from govsec.collect.probes import AnyProbe
from govsec.policy.cases import case_findings, danger_candidates
from govsec.policy.catalogfile import FOLDER
from govsec.policy.continuity import ContinuityResult, continuity_checks, continuity_evidence, continuity_pack
from govsec.policy.continuityfacts import ContinuityFacts
from govsec.policy.difference import dangers_rectified, difference
from govsec.policy.pack import Pack
from govsec.policy.rate import coverage, rates
from govsec.policy.results import CaseState, CheckResult, ItemVerdict, Role, Words
from govsec.policy.rows import (
    case_row,
    check_row,
    danger_row,
    evidence_by_key,
    item_row,
    object_row,
    pack_row,
    probe_rows,
    result_row,
    unreachable_row,
)
from govsec.policy.run import Assessment, CatalogRow, CheckRow, ExtentRow, ItemRow, ObjectRow
from govsec.policy.verdicts import verdicts
from govsec.policy.watching import WatchingFacts, watching_checks, watching_evidence, watching_pack, watching_roles
from govsec.registerentry import HostRole
from govsec.shipped import shipped

#: Beyond this the clock of a host makes the times in its logs doubtful as evidence.
_CLOCK_OFFSET_S_MAX = 60.0
_EXPIRING = timedelta(days=30)
_NAMES_MAX = 10


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that an assessment is made of."""

    scope: Scope
    packs: tuple[Pack, ...]
    probes: tuple[AnyProbe, ...]
    collected: tuple[Collected, ...]
    #: Of the hosts first, then of govsec's own record.
    results: tuple[CheckResult, ...]
    record: ContinuityFacts
    judged: tuple[ContinuityResult, ...]
    people: Records
    earlier: Assessment | None
    #: None where there is no system that anybody wrote down.
    watching: WatchingFacts | None = None
    #: Packs of the site that were not asked for.
    left_out: tuple[Pack, ...] = ()
    #: Why the run before is not compared with: it was altered.
    altered_run: str = ""
    #: People's records that a run before knew, and nobody finds any more: id and end.
    gone_records: Mapping[str, datetime] = field(default_factory=dict)


def write_assessment(site: Site, parts: Parts, *, operator: str, started: datetime) -> Assessment:
    """The assessment, with its difference to the earlier run where there is one."""
    scope, now = parts.scope, site.clock.now()
    checks = {check.id: check_row(pack, check) for pack in parts.packs for check in pack.checks} | _own_checks()
    found = _verdicts(parts, checks, now)
    levels = scope.levels
    findings = case_findings(
        parts.results,
        scope.items,
        level=levels.system,
        high_availability=scope.row.is_high_availability,
        key_industry=scope.row.is_key_industry,
        scopes=scope.scopes,
        verdicts=found,
    )
    items = _items(parts, checks, found, now, [finding.case for finding in findings])
    dangers = danger_candidates(findings)
    results = tuple(result_row(result, None) for result in parts.results)
    made = Assessment(
        id=f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}",
        organization=site.config.organization,
        operator=operator or pwd.getpwuid(os.getuid()).pw_name,
        controller=socket.gethostname(),
        version=version("govsec"),
        system=scope.row,
        extent=_extent(parts),
        level=levels.system,
        s=levels.s,
        a=levels.a,
        scopes=scope.scopes,
        started=started,
        ended=now,
        catalog=_catalog(),
        packs=(*(pack_row(pack) for pack in parts.packs), continuity_pack(), watching_pack()),
        parameters=site.config.assessment.parameters,
        objects=_objects(parts),
        checks={result.check: checks[result.check] for result in parts.results},
        probes=probe_rows([one.facts for one in parts.collected if one.facts is not None], parts.probes),
        results=results,
        items=items,
        coverage=coverage(items, results),
        rates=rates(
            items, dangers=len(dangers), high_risks=sum(finding.state is CaseState.OPEN for finding in findings)
        ),
        evidence=(
            *continuity_evidence(parts.record),
            *(watching_evidence(parts.watching) if parts.watching is not None else ()),
        ),
        cases=tuple(case_row(finding) for finding in findings),
        dangers=tuple(danger_row(danger) for danger in dangers),
        expiring=expiring_rows(parts.people, now, _EXPIRING),
        notes=_notes(parts),
        gone_records=parts.gone_records,
    )
    if parts.earlier is None:
        return made
    change = {
        "difference": difference(parts.earlier, made),
        "dangers_rectified": dangers_rectified(parts.earlier, made),
    }
    return made.model_copy(update=change)


def _own_checks() -> dict[str, CheckRow]:
    """The checks of govsec's own record."""
    return continuity_checks() | watching_checks()


def _verdicts(parts: Parts, checks: Mapping[str, CheckRow], now: datetime) -> tuple[ItemVerdict, ...]:
    # What a check decides is open as long as it was not run, also when nobody asked for its pack.
    open_roles = {
        check.id: {key: role for key, role in check.roles().items() if role is Role.DECIDES}
        for pack in parts.left_out
        for check in pack.checks
    }
    return verdicts(
        parts.scope.items,
        parts.results,
        {check: row.maps for check, row in checks.items()} | open_roles,
        hosts=[one.target.name for one in parts.collected],
        host_checks=[*(check.id for pack in parts.packs for check in pack.checks), *open_roles],
        attestations=parts.people.attestations,
        waivers=parts.people.waivers,
        evidence_checks=frozenset(_own_checks()),
        gap=_gap(parts.scope.extent),
        others=_others(parts),
        now=now,
    )


#: Why there may be more hosts of a role than the register names.
_MORE = {
    HostRole.BORDER: Words(
        zh="台账没有写明已登记的边界主机就是全部边界（register.borders_are_all），其余边界须人工证明",
        en="the register does not say that its borders are all (register.borders_are_all); others are to be attested",
    ),
    HostRole.SECURITY: Words(
        zh="台账没有写明已登记的安全设备就是全部（register.security_are_all），其余设备须人工证明",
        en="the register does not say that its security hosts are all (register.security_are_all); "
        "others are to be attested",
    ),
}


def _others(parts: Parts) -> dict[str, Words]:
    """By check, why hosts of its role may be missing."""
    checks = [check for pack in parts.packs for check in pack.checks]
    entry = parts.scope.entry
    roles = {check.id: check.hosts for check in checks if check.hosts is not None} | watching_roles()
    return {check: _MORE[role] for check, role in roles.items() if not entry.are_all(role)}


def _extent(parts: Parts) -> ExtentRow:
    return parts.scope.extent.model_copy(update={"packs_left_out": tuple(pack.id for pack in parts.left_out)})


def _gap(extent: ExtentRow) -> Words | None:
    """Why the hosts that were asked are not the whole system."""
    if extent.kind == "unlisted":
        return Words(
            zh="台账没有登记主机，所查主机不能代表整个系统",
            en="the register names no hosts, so those that were asked do not stand for the whole system",
        )
    if extent.kind != "part":
        return None
    names = ", ".join(extent.left_out[:_NAMES_MAX])
    more = f" +{len(extent.left_out) - _NAMES_MAX}" if len(extent.left_out) > _NAMES_MAX else ""
    return Words(zh=f"本次未评估：{names}{more}，不能代表整个系统", en=f"a part of the system: {names}{more} not asked")


def _items(
    parts: Parts,
    checks: Mapping[str, CheckRow],
    found: tuple[ItemVerdict, ...],
    now: datetime,
    cases: Sequence[str],
) -> tuple[ItemRow, ...]:
    by_key = evidence_by_key(
        {check: tuple(row.maps) for check, row in checks.items()},
        {one.result.check: one.evidence for one in parts.judged},
    )
    attested = {record.id: attestation_row(record, now) for record in parts.people.attestations}
    waived = {record.id: waiver_row(record) for record in parts.people.waivers}
    return tuple(
        item_row(
            item,
            verdict,
            evidence=tuple(by_key.get(item.key, ())),
            waiver=waived[verdict.waiver] if verdict.waiver else None,
            attestation=attested[verdict.attestation] if verdict.attestation else None,
            cases=cases,
        )
        for item, verdict in zip(parts.scope.items, found, strict=True)
    )


def _objects(parts: Parts) -> dict[str, ObjectRow]:
    rows: dict[str, ObjectRow] = {}
    for one in parts.collected:
        target = one.target
        if one.facts is None:
            row = unreachable_row(target.name, kind=target.kind, address=target.address, reason=one.error)
        else:
            kind = "file" if one.is_carried else target.kind
            row = object_row(one.facts, kind=kind, address=target.address, data=one.data, signed_by=one.signed_by)
        rows[target.name] = row
    system = parts.record.system
    if system not in rows:
        rows[system] = ObjectRow(name=system, kind="system", state="partial" if parts.record.missing else "collected")
    return rows


def _notes(parts: Parts) -> tuple[Words, ...]:
    notes = [Words(zh="自查结果，不代替等级测评", en="A self-check that takes the place of no assessment")]
    for one in parts.collected:
        offset = one.facts.clock_offset_s if one.facts is not None else None
        if offset is not None and abs(offset) > _CLOCK_OFFSET_S_MAX:
            name = one.target.name
            notes.append(
                Words(zh=f"{name} 的时钟偏差 {offset:.0f} 秒", en=f"The clock of {name} is off by {offset:.0f} s")
            )
    notes += [_handed_in(one) for one in parts.collected if one.is_carried and one.facts is not None]
    if parts.altered_run:
        words = parts.altered_run
        notes.append(
            Words(zh=f"上一次结果已被改动，未作比较：{words}", en=f"Not compared, the run before was altered: {words}")
        )
    for refused in parts.people.refused:
        notes.append(Words(zh=f"未采信的证明：{refused}", en=f"A record that was not believed: {refused}"))
    return tuple(notes)


def _handed_in(one: Collected) -> Words:
    name, who = one.target.name, one.signed_by
    if who:
        return Words(
            zh=f"{name} 的事实来自文件，由 {who} 签名交来", en=f"The facts of {name} came in a file that {who} signed"
        )
    return Words(zh=f"{name} 的事实来自文件，无人签名", en=f"The facts of {name} came in a file that nobody signed")


def _catalog() -> CatalogRow:
    """The catalog with the digest over its files, so that a run says by which summaries it was made."""
    whole = hashlib.sha256()
    for file in sorted(shipped(FOLDER).iterdir(), key=lambda file: file.name):
        whole.update(f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return CatalogRow(id=FOLDER, edition="2019", sha256=whole.hexdigest())
