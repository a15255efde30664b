"""What a host has that it did not have when people accepted it (ATT&CK T1136, T1543, T1053 …): table by table.

Idea: a server changes by decisions. Who comes in leaves an account, a listener, a service, a timer, a module or a
set-id program behind, and each is a row that the baseline has not. The finding has the row as it was and as it is. A
package that was brought to another version is an update and told as such, without alarm; set-id programs and units that
came with it are an update too when its new version vouches for them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from pydantic import Field, JsonValue

from govsec.findings.api import Settings
from govsec.findings.judgement import Measure
from govsec.guard.api import Explanation, Observation
from govsec.guard.drifttables import LOOPBACK, SPECS, Row, Spec, rows_of
from govsec.guard.forms import tell, text
from govsec.guard.hostbaseline import HostBaseline
from govsec.host.tables import HostSnapshot, TableName, Unavailable
from govsec.records import Finding, Severity

UPDATE = "host.update.package"
_RIGHTS = ("mode", "uid", "gid", "capabilities")
#: Tells whether a file came with a package that was updated since the baseline.
Explain = Callable[[str], Explanation | None]


class DriftTablesSettings(Settings):
    """Rows that are not as accepted."""

    cooldown_s: int = Field(default=86_400, ge=0, description="drift that stays is told once a day")
    rows_told_max: int = Field(
        default=40, ge=1, le=1000, description="rows of one table in one snapshot; of more, the worst and a count"
    )
    tables: tuple[TableName, ...] = Field(default=tuple(SPECS), description="tables that are compared")


class DriftTables:
    """Snapshots against the baseline. ``explain``: asked for files, whether an update brought them."""

    name = "drift_tables"

    def __init__(self, settings: DriftTablesSettings, baseline: HostBaseline, explain: Explain) -> None:
        self._settings = settings
        self._baseline = baseline
        self._explain = explain
        self._seen: dict[TableName, Counter[str]] = {}
        self._unavailable: Counter[str] = Counter()
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for record in observation.records:
            if isinstance(record, HostSnapshot):
                for table in self._settings.tables:
                    yield from self._compare(record, table, SPECS[table])

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {
            **{f"{table.value}_drifted": len(seen) for table, seen in self._seen.items()},
            **{f"{name}_unavailable": count for name, count in sorted(self._unavailable.items())},
        }

    def _compare(self, snapshot: HostSnapshot, table: TableName, spec: Spec) -> Iterator[Finding]:
        now = rows_of(snapshot, table)
        accepted = self._baseline.tables.get(table.value)
        if isinstance(now, Unavailable) or accepted is None:
            self._unavailable[table.value] += 1
            return
        differences = dict(_differences(accepted, now))
        seen = self._seen.get(table, Counter())
        self._seen[table] = Counter({key: seen[key] + 1 for key in differences})
        findings = [
            finding
            for key, (before, after) in differences.items()
            if self._seen[table][key] >= spec.snapshots_min
            and (finding := self._finding(snapshot, table, spec, key, before, after)) is not None
        ]
        if len(findings) > self._settings.rows_told_max:
            findings.sort(key=lambda finding: -finding.severity)
            kept = findings[: self._settings.rows_told_max]
            yield self._more(snapshot, table, spec, len(findings) - len(kept))
            findings = kept
        yield from findings

    def _finding(
        self, snapshot: HostSnapshot, table: TableName, spec: Spec, key: str, before: Row | None, after: Row | None
    ) -> Finding | None:
        severity = spec.added if before is None else spec.removed if after is None else spec.changed
        if severity is None:
            return None
        severity = _weighed(table, severity, key, before, after)
        how = "added" if before is None else "removed" if after is None else "changed"
        update = self._update(table, before, after, key)
        if table is TableName.PACKAGES and how == "changed":
            update = Explanation(key, str((before or {}).get("version")), str((after or {}).get("version")))
        if update is not None:
            return self._updated(snapshot, table, key, update)
        changed = sorted(
            name for name in {**(before or {}), **(after or {})} if _value(before, name) != _value(after, name)
        )
        return tell(
            kind=spec.kind,
            detector=self.name,
            severity=severity,
            time_ns=snapshot.time_ns,
            subject=key,
            summary=f"{_WORDS[table]} {text(key)} was {how} since the baseline of "
            f"{self._baseline.made:%Y-%m-%d %H:%M} ({self._baseline.made_by})"
            + (f": {', '.join(changed)}." if how == "changed" else "."),
            pattern=(key, how, _short(after)),
            attack=spec.attack,
            before=dict(before) if before is not None else None,
            after=dict(after) if after is not None else None,
            facts={"how": how, "table": table.value, "name": key, "changed": [*changed], "host": snapshot.name},
        )

    def _updated(self, snapshot: HostSnapshot, table: TableName, key: str, update: Explanation) -> Finding:
        return tell(
            kind=UPDATE,
            detector=self.name,
            severity=Severity.INFO,
            time_ns=snapshot.time_ns,
            subject=update.package,
            summary=f"The package {text(update.package)} went from {update.before} to {update.after}"
            + ("." if table is TableName.PACKAGES else f", and with it {_WORDS[table]} {text(key)}."),
            pattern=(update.package, update.after or "", key),
            before={"version": update.before or "none"},
            after={"version": update.after or "none"},
            facts={"package": update.package, "name": key, "table": table.value},
        )

    def _update(self, table: TableName, before: Row | None, after: Row | None, key: str) -> Explanation | None:
        """An updated package that vouches for the file behind the row: for its contents, and for no rights."""
        if table is TableName.PRIVILEGED and any(_value(before, name) != _value(after, name) for name in _RIGHTS):
            return None
        row = after or before or {}
        file = key if table is TableName.PRIVILEGED else row.get("file")
        return self._explain(file) if isinstance(file, str) and file else None

    def _more(self, snapshot: HostSnapshot, table: TableName, spec: Spec, count: int) -> Finding:
        return tell(
            kind=spec.kind,
            detector=self.name,
            severity=Severity.MEDIUM,
            time_ns=snapshot.time_ns,
            subject=table.value,
            summary=f"{count} more rows of {table.value} are not as accepted.",
            pattern=("more", table.value),
            attack=spec.attack,
            measured={"rows_more": Measure(count, self._settings.rows_told_max, "rows")},
            facts={"how": "more", "table": table.value, "name": table.value},
        )


_WORDS: Mapping[TableName, str] = {
    TableName.ACCOUNTS: "the account",
    TableName.LISTENERS: "the listener",
    TableName.SERVICES: "the service",
    TableName.MODULES: "the kernel module",
    TableName.TASKS: "the task",
    TableName.PRIVILEGED: "the privileged program",
    TableName.PACKAGES: "the package",
}


def _differences(
    accepted: Mapping[str, Row], now: Mapping[str, Row]
) -> Iterator[tuple[str, tuple[Row | None, Row | None]]]:
    for key in sorted(accepted.keys() | now.keys()):
        before, after = accepted.get(key), now.get(key)
        if before is None or after is None or any(_is_other(before.get(name), value) for name, value in after.items()):
            yield key, (before, after)


def _is_other(before: JsonValue, after: JsonValue) -> bool:
    """A value that could not be read, then or now, is no difference."""
    return before is not None and after is not None and before != after


def _weighed(table: TableName, severity: Severity, key: str, before: Row | None, after: Row | None) -> Severity:
    """Modules from outside the kernel's tree, and accounts that are root, are worse; who listens to itself alone is not
    as bad as who listens to others.
    """
    if after is None:
        return severity
    if table is TableName.MODULES and (after.get("signed") is False or set(str(after.get("taint", ""))) & set("OE")):
        return Severity.HIGH
    if table is TableName.ACCOUNTS and after.get("uid") == 0:
        return Severity.CRITICAL
    if table is TableName.LISTENERS and before is None and key.endswith(LOOPBACK):
        return Severity.LOW
    return severity


def _value(row: Row | None, name: str) -> JsonValue:
    return row.get(name) if row is not None else None


def _short(row: Row | None) -> str:
    """What tells two changes of one row apart in a pattern."""
    return json.dumps(row, sort_keys=True, ensure_ascii=False)[:200] if row is not None else ""
