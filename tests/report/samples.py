"""Drill records for the report's tests: one that passed, one that failed in every way, one in between."""

from __future__ import annotations

from typing import Any

from govsec.drill.capability import EDITIONS, load_table


def passed() -> dict[str, Any]:
    offsets = [0.0]

    def step(
        name: str, kind: str, duration_s: float, detail: str = "", outcome: str = "passed", **facts: Any
    ) -> dict[str, Any]:
        started = offsets[-1]
        offsets.append(started + duration_s)
        return {
            "name": name,
            "kind": kind,
            "outcome": outcome,
            "started": "2026-11-20T01:00:00Z",
            "offset_s": round(started, 3),
            "duration_s": duration_s,
            "detail": detail,
            "output": "",
            "output_dropped_bytes": 0,
            "facts": facts or {},
        }

    return {
        "schema": "govsec.drill.v1",
        "id": "20261120T010000Z-0a1b2c3d",
        "organization": "某市大数据管理局",
        "system": "oa",
        "system_title": "协同办公平台",
        "plan": "remote-restore",
        "plan_title": "异地恢复预案（2026 版）",
        "plan_digest": "9f" * 32,
        "scenario": {"kind": "lose_production_and_same_city"},
        "operator": "张伟",
        "host": "dr-desk-01",
        "version": "0.1.0",
        "started": "2026-11-20T01:00:00Z",
        "ended": "2026-11-20T01:00:41.5Z",
        "disaster_at": "2026-11-20T01:00:00Z",
        "verdict": "pass",
        "reasons": [],
        "centers": [
            {"name": "production", "role": "production", "site": "市政务云 A 机房", "state": "lost"},
            {"name": "same-city", "role": "same_city", "site": "市政务云 B 机房", "state": "lost"},
            {"name": "remote", "role": "remote", "site": "省灾备中心", "state": "restored_from"},
        ],
        "snapshot": {
            "id": "4be1" * 16,
            "time": "2026-11-20T00:30:12Z",
            "hostname": "oa-app-01",
            "paths": ["/srv/oa"],
            "tags": ["daily"],
            "eligible_count": 30,
            "is_newest": True,
        },
        "objectives": {"rpo_s": 7200, "rto_s": 14400},
        "measures": {
            "recovery_point_age_s": 1788.0,
            "restore_time_s": 38.42,
            "restore_time_until": "ask-application",
            "phases_s": {},
            "excluded": ["detection", "decision"],
            "files_count": 4211,
            "restored_bytes": 1_402_113_024,
        },
        "content": {
            "files_checked": 4211,
            "bytes_checked": 1_402_113_024,
            "samples_checked": 32,
            "has_witness": True,
            "mismatches_count": 0,
            "mismatches": [],
        },
        "metadata": {
            "entries": 4480,
            "compared": {
                "acl": 3,
                "attribute": 12,
                "device": 1,
                "hard_link": 4,
                "mode": 4471,
                "owner": 4480,
                "sample": 32,
                "time": 4480,
            },
            "not_compared": [{"what": "entry", "why": "socket", "count": 2}],
            "mismatches_count": 0,
            "mismatches": [],
        },
        "isolation": {
            "is_isolated": True,
            "user": "govsec-drill",
            "network": "none",
            "memory_bytes": 2 << 30,
            "cpu_s": 3600,
            "processes_max": 256,
            "reason": "",
        },
        "steps": [
            step("prepare", "prepare", 0.61, snapshot="4be14be1", files=4211, restored_bytes=1_402_113_024),
            step("restore", "restore", 21.37, files=4211, restored_bytes=1_402_113_024),
            step("expectations", "expect", 0.02, paths=3, files=4210, restored_bytes=1_402_112_959),
            step("metadata", "metadata", 0.4, entries=4480, mismatches=0),
            step("all-content", "content", 9.8, files=4211, samples=32),
            step("planted-nonce", "nonce", 0.01),
            step("new-address", "configure", 0.03, files=1),
            step("database", "sqlite", 0.55, value="18302"),
            step("start-service", "start", 1.5),
            step("ask-application", "command", 4.53, exit_code=0),
            step("switch-dns", "switch_address", 0.9, exit_code=0),
        ],
        "undo": [step("start-service", "undo", 0.2)],
        "controls": [step("ask-application", "control", 0.2, "exit code 7")],
        "history": {"snapshots_count": 30, "span_s": 2505600.0, "longest_gap_s": 86400.0, "transfers_per_day": 3.0},
        "capability": [_capability(edition) for edition in EDITIONS],
        "scratch_kept": "",
    }


def failed() -> dict[str, Any]:
    record = passed()
    record["verdict"] = "fail"
    record["reasons"] = [
        {
            "code": "content_mismatch",
            "verdict": "fail",
            "facts": {
                "count": 214,
                "path": "srv/oa/合同/2026/<img src=x onerror=alert(1)>.pdf",
                "what": "missing",
            },
        },
        {
            "code": "probe_failed",
            "verdict": "fail",
            "facts": {"step": "database", "detail": "database disk image is malformed"},
        },
        {"code": "probe_proves_nothing", "verdict": "fail", "facts": {"step": "ask-application"}},
        {"code": "objective_rpo", "verdict": "fail", "facts": {"measured_s": 96_120, "target_s": 7200}},
        {"code": "no_witness", "verdict": "partial", "facts": {}},
    ]
    record["measures"]["recovery_point_age_s"] = 96_120.0
    record["measures"]["restore_time_s"] = None
    record["measures"]["restore_time_until"] = ""
    record["content"] |= {
        "samples_checked": 0,
        "has_witness": False,
        "mismatches_count": 214,
        "mismatches": [
            {"path": "/srv/oa/合同/2026/<img src=x onerror=alert(1)>.pdf", "what": "missing"},
            {"path": "/srv/oa/附件/\u202efdp.exe", "what": "content"},
        ],
    }
    record["metadata"] |= {
        "not_compared": [
            {"what": "owner", "why": "not_root", "count": 17},
            {"what": "time", "why": "no_time", "count": 1},
            {"what": "sample", "why": "not_recorded", "count": 3},
        ],
        "mismatches_count": 60,
        "mismatches": [
            {"path": "/srv/oa/bin/<b>run</b>", "what": "mode", "expected": "0750", "found": "0640"},
            {"path": "/srv/oa/附件/a.pdf", "what": "attribute", "expected": "user.<i>", "found": "absent"},
        ],
    }
    for position, step in enumerate(record["steps"]):
        if step["name"] in ("all-content", "database"):
            step |= {"outcome": "failed", "facts": {}}
        if position > 7:
            step |= {"outcome": "skipped", "duration_s": 0.0, "facts": {}}
    record["steps"][7]["detail"] = "integrity check: *** in database main ***"
    record["steps"][7]["output"] = "*** in database main ***\nPage 41: btreeInitPage() returns error code 11"
    record["controls"][0]["outcome"] = "failed"
    for capability in record["capability"]:
        capability |= {"limit": 0, "limit_title": {}}
        capability["blockers"] = [
            {
                "level": 1,
                "code": "not_verified",
                "required": "verified content",
                "found": "not verified",
                "status": "confirmed",
            },
            {"level": 1, "code": "restore_time", "required": "measured", "found": None, "status": "confirmed"},
        ]
        capability["elements"][0]["level"] = 0
    return record


def _capability(edition: str) -> dict[str, Any]:
    table = load_table(edition)
    bases = ["measured", "attested", "attested", "attested", "expired", "missing", "attested"]
    elements = [
        {
            "element": element.value,
            "level": 4 if basis in ("measured", "attested") else 0,
            "basis": basis,
            "detail": "省大数据中心：灾备机房验收报告 2026-014" if basis == "attested" else "",
        }
        for element, basis in zip(table.elements, bases, strict=True)
    ]
    return {
        "edition": edition,
        "norm": table.norm,
        "norm_title": table.title.model_dump(),
        "note": table.in_force.note.model_dump(),
        "status": table.status.value,
        "limit": 4,
        "limit_title": table.levels[3].title.model_dump(),
        "reached": None,
        "blockers": [
            {"level": 5, "code": "replication", "required": "real_time", "found": "batch", "status": "unconfirmed"}
        ],
        "elements": elements,
        "element_titles": {element.value: text.model_dump() for element, text in table.elements.items()},
    }
