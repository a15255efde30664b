"""A hand-made assessment of a level-3 system for the report's tests: every verdict, basis and status occurs in it.

The 211 items are those of the shipped catalog; what was found on the four objects is told in the tables below.
"""

from __future__ import annotations

import copy
import hashlib
import json
from functools import cache
from typing import Any

from govsec.policy.rate import coverage, rates
from govsec.policy.run import Assessment, ItemRow, ResultRow
from tests.report.assessment_checks import CHECKS, EVIDENCE_CHECKS, LOOKS, OUTPUTS
from tests.report.assessment_items import items_of_level_3

HOSTS = ("oa-web-01", "oa-db-01", "oa-app-01", "oa-old-01")
PLATFORMS = {
    "oa-app-01": {"os_id": "kylin", "version": "V10", "kernel": "4.19.90-52.22.v2207.ky10", "arch": "aarch64"},
    "oa-db-01": {"os_id": "openEuler", "version": "22.03", "kernel": "5.10.0-182.0.0.95", "arch": "aarch64"},
    "oa-web-01": {"os_id": "debian", "version": "12", "kernel": "6.1.0-28-amd64", "arch": "x86_64"},
}
_WORST = ("pass", "partial", "fail")
#: Of every five lines that no machine can look at, three are attested as conform and one as partial.
_BY_HAND = [row for row in items_of_level_3() if row["automatable"] == "manual"]
_ATTESTED = {
    row["id"]: ("conform", "conform", "conform", "partial")[position % 5]
    for position, row in enumerate(_BY_HAND)
    if position % 5 < 4 and row["id"] not in ("8.1.7.3.c", "8.1.3.6", "8.1.9.5.a")
}
_VERDICT = {"pass": "conform", "partial": "partial", "fail": "not_conform"}


def words(zh: str, en: str) -> dict[str, str]:
    return {"zh": zh, "en": en}


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def assessment() -> dict[str, Any]:
    """A fresh copy of the sample."""
    return copy.deepcopy(_sample())


def short() -> dict[str, Any]:
    """The sample with nine items only: every verdict, a waiver, a case, evidence of operation."""
    record = assessment()
    record["items"] = [
        item
        for item in record["items"]
        if item["control_id"] in ("8.1.4.1", "8.1.4.9") or item["id"] in ("8.1.3.6", "8.1.6.1")
    ]
    return record


#: Markup, marks that turn text around, controls that XML forbids, a terminal's escape, a template, an escaped "=".
BOMB = "<b onclick=x>&\"'\u202e\x1b[31m\x00\ufffe{{7*7}}{% raw %}_x003D_```"
#: A name that a host chose: a formula and an element.
HOSTILE_NAME = "=cmd|' /C calc'!A1<img src=x onerror=alert(1)>"
_FREE = {
    "zh",
    "en",
    "title",
    "owner",
    "organization",
    "operator",
    "controller",
    "address",
    "reason",
    "excerpt",
    "kernel",
}
_FREE |= {"command", "statement", "by", "reviewer", "approver", "compensation", "commands", "references", "responsible"}


def hostile() -> dict[str, Any]:
    """The sample with a bomb in every text that somebody else chose, and a name for a host that is one."""
    text = json.dumps(_infected(assessment(), ""))
    record: dict[str, Any] = json.loads(text.replace('"oa-db-01', '"' + json.dumps(HOSTILE_NAME)[1:-1]))
    return record


def _infected(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        return {name: _infected(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_infected(item, key) for item in value]
    return value + BOMB if isinstance(value, str) and key in _FREE and value else value


@cache
def _sample() -> dict[str, Any]:
    results = _results()
    record: dict[str, Any] = {
        "schema": "govsec.assessment.v1",
        "id": "20261122T010000Z-0a1b2c3d",
        "organization": "某市大数据管理局",
        "operator": "李敏",
        "controller": "ops-desk-02",
        "version": "0.1.0",
        "catalog": {"id": "gbt22239-2019", "edition": "GB/T 22239-2019", "sha256": digest("catalog")},
        "system": {
            "name": "oa",
            "title": "协同办公平台",
            "kind": "portal",
            "owner": "某市大数据管理局 应用处",
            "responsible": ["王建国", "李敏"],
            "filing_number": "31010543210-26001",
            "is_high_availability": True,
            "is_key_industry": False,
            "is_registered": True,
        },
        "extent": {"kind": "whole", "left_out": [], "packs_left_out": []},
        "level": 3,
        "s": 3,
        "a": 3,
        "scopes": ["general"],
        "started": "2026-11-22T01:00:00Z",
        "ended": "2026-11-22T01:00:02.4Z",
        "packs": [
            {"id": pack, "version": "1.0.0", "sha256": digest(pack), "checks_count": 12, "trust": trust}
            for pack, trust in (("linux-host", "shipped"), ("sshd", "shipped"), ("city-rules", "ab12" * 8))
        ],
        "parameters": {"linux.accounts.password-age": {"max_days": 60}},
        "objects": _objects(),
        "checks": {name: _check(name) for name in CHECKS},
        "probes": {
            digest(name): {"id": digest(name), "kind": "command", "command": check["command"]}
            for name, check in CHECKS.items()
        },
        "results": results,
        "items": _items(results),
        "evidence": [
            {
                "digest": digest(name),
                "kind": kind,
                "title": words(zh, en),
                "time": "2026-11-20T01:00:41Z",
            }
            for name, kind, zh, en in (
                ("drill", "drill", "异地恢复演练 20261120T010000Z-0a1b2c3d：通过", "Remote restore drill: passed"),
                (
                    "job",
                    "job",
                    "作业 files 近 30 天 30 次备份，策略要求 30 次",
                    "Job files: 30 of 30 backups in 30 days",
                ),
                (
                    "lag",
                    "lag",
                    "异地复制延迟 p95 22 分，最长 1 小时 4 分",
                    "Lag of the remote center: p95 22 min, max 64 min",
                ),
            )
        ],
        "cases": _cases(),
        "dangers": [
            {
                "principle": "severity",
                "case": "6.4.1.1",
                "title": words("存在空口令、弱口令或相同口令", "Empty, weak or shared passwords"),
                "reason": words(
                    "核心数据库主机可不经口令登录", "The core database host can be entered without a password"
                ),
                "objects": ["oa-db-01"],
            }
        ],
        "dangers_rectified": 1,
        "difference": {
            "earlier": "20261022T010000Z-11112222",
            "earlier_time": "2026-10-22T01:00:02Z",
            "notes": [words("策略包 sshd 由 0.9.0 升级到 1.0.0。", "Pack sshd went from 0.9.0 to 1.0.0.")],
            "items": [
                {"item": "8.1.4.9.a", "before": "not_conform", "after": "conform", "direction": "better"},
                {"item": "8.1.4.1.a", "before": "partial", "after": "not_conform", "direction": "worse"},
                {"item": "8.1.5.4.d", "before": "undecided", "after": "partial", "direction": "other"},
            ],
            "results": [
                {"check": "linux.accounts.empty-password", "object": "oa-db-01", "before": "pass", "after": "fail"}
            ],
            "cases_new": ["6.4.1.1"],
            "cases_gone": ["6.4.6.1"],
        },
        "expiring": [
            {"kind": "certificate", "subject": "oa", "until": "2026-12-15T16:00:00Z", "is_expired": False},
            {"kind": "attestation", "subject": "8.1.1.9.a", "until": "2026-12-01T00:00:00Z", "is_expired": False},
            {"kind": "waiver", "subject": "8.1.4.1.b", "until": "2026-12-10T00:00:00Z", "is_expired": False},
            {"kind": "training", "subject": "oa", "until": "2026-11-01T00:00:00Z", "is_expired": True},
        ],
        "files": [{"name": "facts/oa-app-01.json", "sha256": digest("facts"), "size_bytes": 48213}],
        "notes": [
            words(
                "主机 oa-old-01 未能连接，其结果不在本次判定之内。",
                "Host oa-old-01 was out of reach; nothing is said of it.",
            )
        ],
    }
    items = [ItemRow.model_validate(item) for item in record["items"]]
    counted = coverage(items, [ResultRow.model_validate(result) for result in results])
    record["coverage"] = counted.model_dump(mode="json")
    record["rates"] = [rate.model_dump(mode="json") for rate in rates(items, dangers=1, high_risks=1)]
    return Assessment.model_validate(record).canonical()


def _objects() -> dict[str, Any]:
    objects: dict[str, Any] = {}
    for position, name in enumerate(HOSTS):
        is_lost = name == "oa-old-01"
        outcomes = {
            digest(check): {
                "status": "denied" if status == "error" else "ok",
                "reason": "sudo: a password is required" if status == "error" else "",
                "duration_ms": 3.2,
                "excerpt": "" if status == "error" else OUTPUTS.get((check, name), ""),
                "is_truncated": check == "linux.audit.rules",
                "raw_sha256": digest(check + name),
            }
            for check, by_host in LOOKS.items()
            for host, status in by_host.items()
            if host == name and ((check, name) in OUTPUTS or status == "error")
        }
        objects[name] = {
            "name": name,
            "kind": "host",
            "address": f"10.20.3.{11 + position}",
            "state": "unreachable" if is_lost else "partial" if name == "oa-web-01" else "collected",
            "reason": "connection timed out after 10 s" if is_lost else "",
            "platform": PLATFORMS.get(name, {}),
            "collected": None if is_lost else "2026-11-22T01:00:01Z",
            "clock_offset_s": None if is_lost else 0.012 * position,
            "facts_sha256": "" if is_lost else digest("facts" + name),
            "outcomes": outcomes,
        }
    objects["oa"] = objects["oa-web-01"] | {
        "name": "oa",
        "kind": "system",
        "address": "",
        "state": "collected",
        "platform": {},
        "facts_sha256": "",
        "outcomes": {},
    }
    return objects


def _check(name: str) -> dict[str, Any]:
    check = CHECKS[name]
    return {
        "id": name,
        "pack": "govsec.continuity" if name in EVIDENCE_CHECKS else name.split(".")[0] + "-host",
        "title": words(*check["title"]),
        "guards": words(*check["guards"]),
        "maps": check["maps"],
        "advice": words(*check["advice"]) if "advice" in check else None,
        "commands": check.get("commands", []),
        "risk": words(*check["risk"]) if "risk" in check else None,
        "rollback": words(*check["rollback"]) if "rollback" in check else None,
        "needs_reboot": check.get("reboot", False),
        "references": ["CIS Debian 12 v1.1.0 5.2"],
    }


def _results() -> list[dict[str, Any]]:
    results = []
    for name, by_object in LOOKS.items():
        for target, status in by_object.items():
            reason = {
                "notapplicable": words("主机上没有该服务。", "The service is not on this host."),
                "error": words("探测被拒绝：需要 sudo。", "The probe was denied: it needs sudo."),
                "unknown": words("没有足够的历史可以判断。", "There is not enough history to judge."),
            }.get(status)
            expectations = [
                {"name": expected, "holds": _holds(status, position), "message": words(zh, en)}
                for position, (expected, zh, en) in enumerate(CHECKS[name]["expect"])
            ]
            is_waived = name == "sshd.idle-timeout" and status == "fail"
            results.append(
                {
                    "check": name,
                    "object": target,
                    "status": status,
                    "reason": reason,
                    "expectations": [] if status == "notapplicable" else expectations,
                    "probes": {"main": digest(name)} if name not in EVIDENCE_CHECKS else {},
                    "high_risk": ["6.4.1.1"] if name == "linux.accounts.empty-password" and status == "fail" else [],
                    "waiver": _waiver() if is_waived else None,
                }
            )
    return results


def _holds(status: str, position: int) -> bool | None:
    if status in ("error", "unknown"):
        return None
    return status == "pass" or (status == "partial" and position > 0)


def _waiver() -> dict[str, Any]:
    return {
        "id": "w-2026-017",
        "reason": "旧版运维平台不支持会话超时，计划 12 月替换。",
        "approver": "王建国",
        "until": "2026-12-10T00:00:00Z",
        "compensation": "堡垒机侧 10 分钟无操作断开。",
    }


def _items(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for row in items_of_level_3():
        positions = [n for n, result in enumerate(results) if row["key"] in CHECKS[result["check"]]["maps"]]
        found.append(row | _judged(row, [results[n] for n in positions]) | {"results": positions})
    return found


def _judged(row: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, Any]:
    deciding = [
        result
        for result in results
        if CHECKS[result["check"]]["maps"][row["key"]] == "decides" and result["status"] != "notapplicable"
    ]
    base: dict[str, Any] = {
        "verdict": "undecided",
        "basis": "none",
        "reasons": [],
        "evidence": [],
        "high_risk": sorted({case for result in results for case in result["high_risk"]}),
        "original": None,
        "waiver": None,
        "attestation": None,
    }
    statuses = {result["status"] for result in deciding}
    if statuses & {"error", "unknown"} and "fail" not in statuses:
        return base | {"reasons": [words("有对象未能查看，不能判为符合。", "An object could not be looked at.")]}
    if deciding:
        worst = max((result["status"] for result in deciding), key=_WORST.index)
        is_own = all(result["check"] in EVIDENCE_CHECKS for result in deciding)
        base |= {"verdict": _VERDICT[worst], "basis": "evidence" if is_own else "checks"}
        if is_own:
            base["evidence"] = [digest("drill"), digest("job"), digest("lag")]
        if any(result["waiver"] for result in deciding):
            base["waiver"] = _waiver()
        return base
    if row["id"] in _ATTESTED:
        return base | {
            "verdict": _ATTESTED[row["id"]],
            "basis": "attestation",
            "attestation": _attestation(row["id"]),
        }
    if row["id"] == "8.1.7.3.c":
        return base | {"basis": "attestation", "attestation": _attestation(row["id"]) | {"is_expired": True}}
    if row["id"] in ("8.1.3.6", "8.1.9.5.a"):
        return base | {
            "verdict": "not_applicable",
            "basis": "attestation",
            "attestation": _attestation(row["id"]),
            "reasons": [words("本系统没有该类对象。", "The system has no object of this kind.")],
        }
    return base


def _attestation(item: str) -> dict[str, Any]:
    return {
        "id": "a-" + digest(item)[:8],
        "statement": "已查看原件，与要求一致。",
        "by": "李敏",
        "made": "2026-06-01T02:00:00Z",
        "until": "2026-12-01T00:00:00Z",
        "reviewer": "王建国",
        "evidence": [digest("file" + item)],
        "is_expired": False,
    }


def _cases() -> list[dict[str, Any]]:
    return [
        {
            "case": "6.4.1.1",
            "title": words("存在空口令、弱口令或相同口令", "Empty, weak or shared passwords"),
            "state": "open",
            "is_confirmed": True,
            "items": ["8.1.4.1.a"],
            "objects": ["oa-db-01"],
            "checks": ["linux.accounts.empty-password"],
            "mitigated_by": [],
            "reasons": [],
        },
        {
            "case": "6.4.1.2",
            "title": words("鉴别信息明文传输", "Credentials travel in clear"),
            "state": "mitigated",
            "is_confirmed": False,
            "items": ["8.1.4.1.c"],
            "objects": ["oa-web-01"],
            "checks": ["linux.services.telnet"],
            "mitigated_by": ["linux.firewall.default-deny"],
            "reasons": [
                words(
                    "telnet 只对本机开放，且防火墙缺省拒绝。",
                    "telnet listens on loopback only, behind a closed firewall.",
                )
            ],
        },
    ]
