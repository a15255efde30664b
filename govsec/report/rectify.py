"""The rectification plan: what to do, in the order of risk, from the record of an assessment alone.

A plan is advice. Commands are the text of the pack that judged; nothing here can run one, and no caller may: who runs
them is a person with a maintenance window. What could not be looked at comes apart from what was found bad, because
the first thing to repair there is the looking; what only a person can show is listed with what to show.

Order: candidates for major hidden dangers, open high-risk cases, checks of items that are not conform, that are partly
conform, and last what weakens an item that nobody has decided; within a class the more objects, the earlier.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from govsec.clock import parse_time
from govsec.report.assessment import BEIJING_OFFSET_HOURS
from govsec.report.catalog import Catalogue, Lang, plain

PRIORITIES = ("danger", "high_risk", "not_conform", "partial", "supporting")
SCHEMA = "govsec.rectification.v1"
_BAD = ("fail", "partial")
_UNSEEN = ("error", "unknown")


def plan(record: Mapping[str, Any]) -> dict[str, Any]:
    """The plan for a record (``govsec.assessment.v1``), as plain JSON values (``govsec.rectification.v1``)."""
    by_check: dict[str, list[Mapping[str, Any]]] = {}
    for result in record["results"]:
        if result["status"] in _BAD:
            by_check.setdefault(result["check"], []).append(result)
    steps = [_step(record, check, results) for check, results in by_check.items()]
    steps.sort(key=lambda step: (PRIORITIES.index(step["priority"]), -len(step["objects"]), step["check"]))
    return {
        "schema": SCHEMA,
        "assessment": record["id"],
        "system": record["system"]["name"],
        "time": record["ended"],
        "steps": [{"number": number, **step} for number, step in enumerate(steps, 1)],
        "unseen": [
            {key: result[key] for key in ("check", "object", "status", "reason")}
            for result in record["results"]
            if result["status"] in _UNSEEN
        ],
        "to_attest": [
            {key: item[key] for key in ("id", "summary", "evidence_hint")}
            for item in record["items"]
            if item["verdict"] == "undecided" and not item["results"]
        ],
    }


def _step(record: Mapping[str, Any], name: str, results: list[Mapping[str, Any]]) -> dict[str, Any]:
    check = record["checks"][name]
    items = [item for item in record["items"] if item["key"] in check["maps"]]
    cases = {case["case"] for case in record["cases"] if case["state"] == "open" and name in case["checks"]}
    return {
        "check": name,
        "title": check["title"],
        "guards": check["guards"],
        "priority": _priority(record, items, cases),
        "cases": sorted(cases),
        "items": [item["id"] for item in items],
        "objects": [
            {
                "name": result["object"],
                "status": result["status"],
                "failed": [
                    row["message"] or {"zh": row["name"], "en": row["name"]}
                    for row in result["expectations"]
                    if row["holds"] is False
                ],
                "waiver": result["waiver"],
            }
            for result in results
        ],
        "advice": check["advice"],
        "commands": list(check["commands"]),
        "risk": check["risk"],
        "rollback": check["rollback"],
        "needs_reboot": check["needs_reboot"],
    }


def _priority(record: Mapping[str, Any], items: list[Mapping[str, Any]], cases: set[str]) -> str:
    if any(danger["case"] in cases for danger in record["dangers"]):
        return "danger"
    if cases:
        return "high_risk"
    verdicts = {item["verdict"] for item in items}
    return next((verdict for verdict in ("not_conform", "partial") if verdict in verdicts), "supporting")


def plan_markdown(value: Mapping[str, Any], lang: Lang) -> str:
    """A plan for people, as Markdown that also reads as plain text. No text of a host can become markup."""
    words = Catalogue("assessment", lang)
    head = [f"# {words.text('plan.title')} {_text(value['system'])} {value['assessment']}", words.text("plan.notice")]
    lines = [*head, f"## {words.text('plan.steps')}"]
    if not value["steps"]:
        lines.append(words.text("plan.nothing"))
    for step in value["steps"]:
        lines += _step_lines(step, words, lang)
    if value["unseen"]:
        rows = [
            f"- {_text(row['object'])}: {_text(row['check'])}, {words.text('status.' + row['status'])}"
            + (f": {_text(row['reason'][lang])}" if row["reason"] else "")
            for row in value["unseen"]
        ]
        lines += [f"## {words.text('plan.unseen')}", "\n".join(rows)]
    if value["to_attest"]:
        rows = [
            f"- {row['id']} {_text(row['summary'][lang])}"
            + (f" ({_text(row['evidence_hint'][lang])})" if row["evidence_hint"] else "")
            for row in value["to_attest"]
        ]
        lines += [f"## {words.text('plan.to_attest')}", "\n".join(rows)]
    return "\n\n".join(lines) + "\n"


def _step_lines(step: Mapping[str, Any], words: Catalogue, lang: Lang) -> list[str]:
    title = words.text("plan.step", {"number": step["number"], "title": _text(step["title"][lang])})
    comma = words.text("list_comma")
    rows = [
        (words.text("plan.priority"), words.text("priority." + step["priority"])),
        (words.text("plan.cases"), comma.join(step["cases"])),
        (words.text("plan.items"), comma.join(step["items"])),
        (words.text("label.guards"), _text(step["guards"][lang])),
    ]
    rows += [(words.text("plan.objects"), _object_words(row, words, lang)) for row in step["objects"]]
    rows += [(words.text(f"plan.{key}"), _text(step[key][lang])) for key in ("advice", "risk", "rollback") if step[key]]
    facts = [f"- {name}{words.text('colon')}{text}" for name, text in rows if text]
    if step["needs_reboot"]:
        facts.append(f"- {words.text('plan.reboot')}")
    lines = [f"### {title}", "\n".join(facts)]
    lines.append(fenced("\n".join(step["commands"])) if step["commands"] else words.text("plan.no_commands"))
    return lines


def _object_words(row: Mapping[str, Any], words: Catalogue, lang: Lang) -> str:
    parts = [words.text("status." + row["status"]), *(_text(message[lang]) for message in row["failed"])]
    if row["waiver"]:
        until = words.moment(parse_time(row["waiver"]["until"]), BEIJING_OFFSET_HOURS)[:10]
        parts.append(words.text("plan.waived", {"until": until, "approver": _text(row["waiver"]["approver"])}))
    return f"{_text(row['name'])} ({'; '.join(parts)})"


def fenced(text: str) -> str:
    """``text`` as a code block that nothing in it can close."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{plain(text)}\n{fence}"


def _text(text: str) -> str:
    """One line of text in which no character means anything to Markdown or HTML."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|~&])", r"\\\1", " ".join(plain(text).split()))
