"""The posture page of a machine: what runs, listens, changed, is vulnerable and expires, as one self-contained file.

The record (``govsec.posture.v1``) is plain JSON: the machine's tables (``govsec.host.v1``), the findings of comparing
it with its baseline, and those of its packages in vulnerability data. What nobody looked at is
``{"unavailable": reason}``, and the page says so where the answer would stand: a page without a comparison never looks
like one without changes. The same record gives the same bytes. Names and paths are hostile text: :mod:`page` escapes
them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from govsec import canonical
from govsec.records import Finding, Severity
from govsec.report import hostwords
from govsec.report.catalog import Catalogue, Lang
from govsec.report.findingwords import finding_said
from govsec.report.page import render_page
from govsec.report.posturecells import count, listed, measure, password, style, values

FORMAT = "govsec.posture.v1"
_BEIJING_OFFSET_HOURS = 8
#: Rows of a table that are written out; the record has all of them, and the page says how many more there are.
_ROWS_MAX = 40
_DAY_S = 86_400
#: A certificate that ends sooner is a headline; a month is what ordering a new one takes in an office.
EXPIRES_SOON_DAYS = 30
#: A disk that is fuller is a headline.
_FULL = 0.9
_HEADLINES_MAX = 8
#: Findings on the vulnerability data themselves: packages that they do not have, data that are old.
_LIMITS = ("vulnerability.unmatched", "vulnerability.stale")
_Row = Mapping[str, Any]


def render_posture(record: Mapping[str, Any], lang: Lang) -> str:
    """The page on a posture record, in Chinese or English."""
    words = Catalogue("posture", lang)
    return render_page(
        "posture",
        r=record,
        lang=lang,
        t=words.text,
        lines=words.lines,
        view=_View(record, words, lang),
        record_digest=canonical.digest(record),
    )


class _View:
    """What the template prints, put into words; all the decisions of the page are here."""

    def __init__(self, record: Mapping[str, Any], words: Catalogue, lang: Lang) -> None:
        self._record = record
        self._host: _Row = record["host"]
        self._tables: _Row = self._host["tables"]
        self._words = words
        self._host_words = Catalogue("host", lang)
        self._finding_words = {name: Catalogue(name, lang) for name in ("guard", "services")}
        self._names = hostwords.user_names(self._tables)
        self._now = datetime.fromisoformat(self._host["time"])

    # What stands on top.

    def outcome(self) -> str:
        """The style of the conclusion; a page on which something was not looked at is never a pass."""
        worst = max((severity for severity, _ in self._remarks()), default=0)
        if worst >= Severity.HIGH:
            return "fail"
        if worst:
            return "partial"
        return "partial" if self.blind_spots() else "pass"

    def headlines(self) -> list[str]:
        """The worst in one line each, for a reader who stops here."""
        remarks = sorted(self._remarks(), key=lambda remark: -remark[0])
        lines = [line for _, line in remarks[:_HEADLINES_MAX]]
        if len(remarks) > _HEADLINES_MAX:
            lines.append(self._words.text("more", {"count": len(remarks) - _HEADLINES_MAX}))
        return lines

    def blind_spots(self) -> list[str]:
        """What the page is about and nobody looked at, by name."""
        spots = [
            self._words.text(f"section.{name}") for name in ("changes", "vulnerabilities") if not self._is_there(name)
        ]
        if self.limits_of_data():
            spots.append(self._words.text("section.vulnerabilities"))
        for name in ("listeners", "processes", "certificates"):
            if self._rows(name) is None:
                spots.append(self._host_words.text(f"table.{name}"))
        return spots

    def cards(self) -> list[dict[str, str]]:
        """Five figures, one for each question."""
        processes, listeners = self._rows("processes"), self._rows("listeners")
        services, certificates = self._rows("services"), self._rows("certificates")
        active = sum(row["state"] == "active" for row in services or ())
        exposed = sum(hostwords.is_exposed(row) for row in listeners or ())
        changes, vulnerable = self._findings("changes"), self._vulnerable()
        mended = sum(bool(finding.facts.get("fixed")) for finding in vulnerable)
        soon = sum(self._days_left(row) <= EXPIRES_SOON_DAYS for row in certificates or ())
        serious = sum(finding.severity >= Severity.HIGH for finding in changes)
        is_compared, is_matched = self._is_there("changes"), self._is_there("vulnerabilities")
        return [
            self._card("runs", count(processes), {"active": active}),
            self._card("listens", count(listeners), {"exposed": exposed}, "partial" if exposed else ""),
            self._card(
                "changes",
                str(len(changes)) if is_compared else "–",
                {"serious": serious} if is_compared else None,
                style(changes),
            ),
            self._card(
                "vulnerabilities",
                str(len(vulnerable)) if is_matched else "–",
                {"mended": mended} if is_matched else None,
                style(vulnerable),
            ),
            self._card(
                "expires",
                str(soon) if certificates is not None else "–",
                {"days": EXPIRES_SOON_DAYS, "count": len(certificates or ())} if certificates is not None else None,
                "fail" if soon else "",
            ),
        ]

    # The machine.

    def facts(self) -> list[tuple[str, str]]:
        """What machine this is."""
        machine = self._host["machine"]
        rows = [
            ("system", machine["os_name"]),
            ("kernel", f"{machine['kernel']} {machine['architecture']}".strip()),
            ("booted", self.moment(machine["booted"]) if machine["booted"] else ""),
            ("container", machine["container"] or ""),
        ]
        for load in self._rows("load") or ():
            averages = " ".join(f"{load[f'average_{minutes}m']:.2f}" for minutes in (1, 5, 15))
            rows.append(("load", self._words.text("load", {"averages": averages, "cores": load["cores"]})))
        pressure = self._rows("pressure") or []
        rows.append(("pressure", ", ".join(f"{row['resource']} {row['some_60s']:.1f} %" for row in pressure)))
        return [(self._words.text(f"label.{name}"), value) for name, value in rows if value]

    def gauges(self) -> list[dict[str, Any]]:
        """Memory and every disk as bars."""
        bars = []
        for memory in self._rows("memory") or ():
            used = memory["total_bytes"] - memory["available_bytes"]
            bars.append(self._gauge(self._words.text("label.memory"), used, memory["total_bytes"]))
            if memory["swap_total_bytes"]:
                swapped = memory["swap_total_bytes"] - memory["swap_free_bytes"]
                bars.append(self._gauge(self._words.text("label.swap"), swapped, memory["swap_total_bytes"]))
        for disk in self._disks():
            used = disk["total_bytes"] - disk["available_bytes"]
            bars.append(self._gauge(f"{disk['mount']} ({disk['kind']})", used, disk["total_bytes"]))
        return bars[:_ROWS_MAX]

    # What runs and listens.

    def listeners(self) -> list[dict[str, Any]]:
        rows = sorted(self._rows("listeners") or (), key=lambda row: (not hostwords.is_exposed(row), row["port"]))
        return [
            {
                "end": hostwords.end_words(row["address"], row["port"]),
                "protocol": row["protocol"],
                "is_exposed": hostwords.is_exposed(row),
                "process": row["name"] or self._words.text("unknown_holder"),
                "pid": row["process"]["pid"] if row["process"] else "",
                "user": self._user(row["uid"]),
                "executable": row["executable"] or "–",
            }
            for row in rows[:_ROWS_MAX]
        ]

    def programs(self) -> list[dict[str, Any]]:
        """Processes by program, those with most memory first."""
        groups: dict[tuple[str, bool], list[_Row]] = {}
        for row in self._rows("processes") or ():
            if not row["is_kernel_thread"]:
                key = (row["executable"] or f"[{row['name']}]", row["executable_deleted"])
                groups.setdefault(key, []).append(row)
        ranked = sorted(groups.items(), key=lambda group: (-sum(row["rss_bytes"] for row in group[1]), group[0]))
        return [
            {
                "program": program,
                "is_deleted": is_deleted,
                "count": len(rows),
                "users": ", ".join(sorted({self._user(row["uid"]) for row in rows})),
                "memory": self._words.size(sum(row["rss_bytes"] for row in rows)),
                "processor": self._words.duration(sum(row["cpu_s"] for row in rows)),
                "since": self.moment(min(row["started"] or self._host["time"] for row in rows)),
            }
            for (program, is_deleted), rows in ranked[:_ROWS_MAX]
        ]

    def programs_count(self) -> int:
        rows = self._rows("processes") or ()
        return len(
            {
                (row["executable"] or row["name"], row["executable_deleted"])
                for row in rows
                if not row["is_kernel_thread"]
            }
        )

    def services(self) -> list[dict[str, str]]:
        """Services that failed, then those that run."""
        ranks = {"failed": 0, "activating": 1, "deactivating": 1, "active": 2}
        rows = [row for row in self._rows("services") or () if row["state"] in ranks]
        rows.sort(key=lambda row: (ranks[row["state"]], row["name"]))
        return [
            {"name": row["name"], "state": row["state"], "enabled": row["enabled"] or "–", "file": row["file"] or "–"}
            for row in rows[:_ROWS_MAX]
        ]

    # What changed, is vulnerable, expires.

    def changes(self) -> list[dict[str, Any]]:
        findings = sorted(self._findings("changes"), key=lambda one: (-one.severity, one.kind, one.subject))
        return [self._change(finding) for finding in findings[:_ROWS_MAX]]

    def vulnerable(self) -> list[dict[str, Any]]:
        findings = sorted(self._vulnerable(), key=lambda one: (-one.severity, str(one.facts.get("package"))))
        return [
            {
                "severity": finding.severity.name.lower(),
                "severity_words": self._severity(finding),
                "package": str(finding.facts.get("package", finding.subject)),
                "version": str(finding.facts.get("version", "")),
                "fixed": str(finding.facts.get("fixed") or "–"),
                "ids": listed(finding.facts.get("ids"), finding.facts.get("ids_count"), 4),
                "count": measure(finding, "count"),
            }
            for finding in findings[:_ROWS_MAX]
        ]

    def limits_of_data(self) -> list[str]:
        """What the vulnerability data could not say, or are too old to."""
        return [self._said_of_data(finding) for finding in self._findings("vulnerabilities") if finding.kind in _LIMITS]

    def notes_of_data(self) -> list[str]:
        """What they say besides packages that can be mended."""
        kinds = {"vulnerability.known", *_LIMITS}
        return [self._said_of_data(one) for one in self._findings("vulnerabilities") if one.kind not in kinds]

    def certificates(self) -> list[dict[str, Any]]:
        rows = sorted(self._rows("certificates") or (), key=lambda row: str(row["not_after"]))
        return [
            {
                "subject": row["subject"],
                "names": listed(row["names"], None, 3),
                "path": row["path"],
                "key": row["key"],
                "ends": str(row["not_after"])[:10],
                "days": self._words.text("days", {"count": self._days_left(row)}),
                "style": "fail" if self._days_left(row) <= EXPIRES_SOON_DAYS else "",
            }
            for row in rows[:_ROWS_MAX]
        ]

    # People, and what runs by itself.

    def accounts(self) -> list[dict[str, Any]]:
        """Accounts that can log in or have the rights of root."""
        rows = [row for row in self._rows("accounts") or () if row["uid"] == 0 or hostwords.can_log_in(row)]
        return [
            {
                "name": row["name"],
                "uid": row["uid"],
                "groups": listed(row["groups"], None, 6),
                "shell": row["shell"],
                "password": self._words.text(f"password.{password(row)}"),
                "style": "fail" if password(row) == "open" else "",
            }
            for row in rows[:_ROWS_MAX]
        ]

    def logins(self) -> list[dict[str, str]]:
        return [
            {
                "user": row["user"],
                "terminal": row["terminal"],
                "source": row["source"] or "–",
                "since": self.moment(row["started"]),
            }
            for row in (self._rows("logins") or [])[:_ROWS_MAX]
        ]

    def tasks(self) -> list[_Row]:
        return (self._rows("tasks") or [])[:_ROWS_MAX]

    def privileged(self) -> list[dict[str, str]]:
        return [
            {
                "path": row["path"],
                "mode": f"{row['mode']:04o}",
                "user": self._user(row["uid"]),
                "rights": ", ".join(row["capabilities"]) or "set-id",
            }
            for row in (self._rows("privileged") or [])[:_ROWS_MAX]
        ]

    def modules(self) -> list[str]:
        """Kernel modules that nobody signed."""
        return [row["name"] for row in self._rows("modules") or () if row["is_signed"] is False][:_ROWS_MAX]

    # What is missing.

    def missing(self) -> list[str]:
        return hostwords.missing_lines(self._host, self._host_words)

    def reason(self, name: str) -> str:
        """Why a part has no answer; empty when it has one."""
        part = self._record[name] if name in self._record else self._tables[name]
        if isinstance(part, Mapping) and "unavailable" in part:
            why = str(part["unavailable"])
            key = f"unavailable.{why.replace(' ', '_')}"
            said = self._words.text(key) if self._words.has(key) else hostwords.reason_words(why, self._host_words)
            return self._words.text("not_looked", {"reason": said})
        return ""

    def count(self, name: str) -> int:
        return len(self._rows(name) or ())

    def hidden(self, shown: Sequence[object], count: int) -> str:
        """How many rows the record has beside those on the page; empty when none."""
        return self._words.text("more", {"count": count - len(shown)}) if count > len(shown) else ""

    def changes_count(self) -> int:
        return len(self._findings("changes"))

    def vulnerable_count(self) -> int:
        return len(self._vulnerable())

    def baseline(self) -> str:
        """Which baseline was compared with; empty when none was."""
        baseline = self._record.get("baseline")
        if not baseline:
            return ""
        made = self._words.moment(datetime.fromisoformat(baseline["made"]), _BEIJING_OFFSET_HOURS)
        return self._words.text("baseline", {"number": baseline["number"], "made": made, "by": baseline["made_by"]})

    def moment(self, time: str) -> str:
        return self._words.moment(datetime.fromisoformat(time), _BEIJING_OFFSET_HOURS)

    # Parts.

    def _remarks(self) -> list[tuple[int, str]]:
        """What deserves a look, each with how much."""
        found: list[tuple[int, str]] = []

        def add(severity: Severity, key: str, **facts: object) -> None:
            found.append((severity, self._words.text(f"remark.{key}", facts)))

        for finding in self._findings("changes"):
            if finding.severity >= Severity.MEDIUM:
                title = self._title(finding)
                found.append(
                    (finding.severity, self._words.text("remark.change", {"title": title, "subject": finding.subject}))
                )
        urgent = [one for one in self._vulnerable() if one.severity >= Severity.HIGH]
        if urgent:
            add(
                Severity.HIGH,
                "vulnerable",
                count=len(urgent),
                names=listed([one.facts.get("package") for one in urgent], None, 4),
            )
        for row in self._rows("certificates") or ():
            days = self._days_left(row)
            if days <= EXPIRES_SOON_DAYS and not row["is_authority"]:
                severity = Severity.HIGH if days <= 7 else Severity.MEDIUM
                add(
                    severity,
                    "expired" if days < 0 else "expires",
                    subject=row["subject"],
                    days=abs(days),
                    path=row["path"],
                )
        roots = [row["name"] for row in self._rows("accounts") or () if row["uid"] == 0]
        if len(roots) > 1:
            add(Severity.HIGH, "roots", names=", ".join(roots))
        for row in self._rows("accounts") or ():
            if password(row) == "open" and hostwords.can_log_in(row):
                add(Severity.HIGH, "no_password", name=row["name"])
        for name in self.modules():
            add(Severity.MEDIUM, "unsigned", name=name)
        gone: dict[str, list[_Row]] = {}
        for row in self._rows("processes") or ():
            if row["executable_deleted"]:
                gone.setdefault(row["executable"], []).append(row)
        for path, rows in sorted(gone.items()):
            add(Severity.LOW, "deleted", name=rows[0]["name"], count=len(rows), path=path)
        for row in self._rows("services") or ():
            if row["state"] == "failed":
                add(Severity.MEDIUM, "failed", name=row["name"])
        for disk in self._disks():
            if (
                disk["total_bytes"]
                and not disk["is_read_only"]
                and disk["available_bytes"] / disk["total_bytes"] < 1 - _FULL
            ):
                share = f"{1 - disk['available_bytes'] / disk['total_bytes']:.0%}"
                add(Severity.MEDIUM, "full", mount=disk["mount"], share=share)
        return found

    def _change(self, finding: Finding) -> dict[str, Any]:
        before, after = finding.facts.get("before"), finding.facts.get("after")
        return {
            "severity": finding.severity.name.lower(),
            "severity_words": self._severity(finding),
            "title": self._title(finding),
            "subject": finding.subject,
            "said": finding_said(finding, self._finding_words["guard"]),
            "kind": finding.kind,
            "attack": listed(finding.facts.get("attack"), None, 6),
            "before": values(before),
            "after": values(after),
            "has_values": before is not None or after is not None,
        }

    def _title(self, finding: Finding) -> str:
        words = self._finding_words["guard"]
        key = f"finding.{finding.kind}.title"
        return words.text(key if words.has(key) else "unknown_title")

    def _severity(self, finding: Finding) -> str:
        return self._finding_words["guard"].text(f"severity.{finding.severity.name.lower()}")

    def _said_of_data(self, finding: Finding) -> str:
        return finding_said(finding, self._finding_words["services"])

    def _vulnerable(self) -> list[Finding]:
        return [finding for finding in self._findings("vulnerabilities") if finding.kind == "vulnerability.known"]

    def _findings(self, name: str) -> list[Finding]:
        part = self._record[name]
        return [Finding.model_validate(item) for item in part] if isinstance(part, list) else []

    def _is_there(self, name: str) -> bool:
        return isinstance(self._record[name], list)

    def _rows(self, name: str) -> list[Any] | None:
        return hostwords.rows_of(self._tables, name)

    def _disks(self) -> list[_Row]:
        # What a package is mounted from is full by nature.
        return [disk for disk in self._rows("disks") or () if disk["kind"] not in ("squashfs", "iso9660")]

    def _days_left(self, certificate: _Row) -> int:
        return int((datetime.fromisoformat(certificate["not_after"]) - self._now).total_seconds() // _DAY_S)

    def _user(self, uid: int) -> str:
        return self._names.get(uid, str(uid))

    def _card(self, name: str, value: str, facts: Mapping[str, object] | None, style: str = "") -> dict[str, str]:
        against = self._words.text(f"card.{name}_against", facts) if facts is not None else ""
        if name == "runs" and not any(row["state"] == "active" for row in self._rows("services") or ()):
            against = self._words.text("card.runs_alone")
        if value == "–":
            against = self._words.text("card.not_looked")
        return {"name": self._words.text(f"card.{name}"), "value": value, "against": against, "style": style}

    def _gauge(self, name: str, used: int, total: int) -> dict[str, Any]:
        share = min(1.0, used / total) if total else 0.0
        words = self._words.text("used", {"used_bytes": used, "total_bytes": total})
        return {
            "name": name,
            "width": round(200 * share, 1),
            "share": f"{share:.0%}",
            "words": words,
            "is_full": share > _FULL,
        }
