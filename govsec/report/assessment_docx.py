"""The assessment as a Word document, through a template: the user's own, or the shipped one to start from.

Offices have their forms, so the form is theirs: a .docx with Jinja expressions (docxtpl's syntax) that are filled with
the values of :func:`context`. A template is somebody's program; it is filled in a child process with limits
(:mod:`govsec.report.docxchild`) that sees these values and nothing else of the machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from govsec.clock import parse_time
from govsec.report import rectify
from govsec.report.assessment import VERDICTS, Category, Control, Reading, Requirement, telling
from govsec.report.assessment_docxtemplate import build_template
from govsec.report.catalog import Lang
from govsec.report.docxfill import CPU_S, fill_form

_FOUND_CHARS_MAX = 1_500
_NAMES_MAX = 12


def render_docx(record: Mapping[str, Any], lang: Lang, *, template: bytes | None = None, cpu_s: int = CPU_S) -> bytes:
    """The document on a record (``govsec.assessment.v1``); without ``template``, in the shipped form.

    Filling it may take ``cpu_s`` seconds of processor time. Same record, same template, same bytes.

    Raises:
        ConfigurationError: the extra ``office`` is not installed, or the template cannot be filled: no Word document,
            an expression that fails, something that is not allowed in it, or more memory or time than a form needs.
    """
    form = build_template(lang) if template is None else template
    return fill_form(form, context(Reading(record, lang)), parse_time(record["ended"]), cpu_s=cpu_s)


def template(lang: Lang) -> bytes:
    """The shipped form, to start one's own from. The same bytes every time.

    Raises:
        ConfigurationError: the extra ``office`` is not installed.
    """
    return build_template(lang)


def context(reading: Reading) -> dict[str, Any]:
    """What a template can print: texts in the reader's language, numbers, and lists of the two.

    ``docs/guides/report-template.md`` names every value; a template that names another fails.
    """
    record, text = reading.record, reading.words.text
    steps = rectify.plan(record)["steps"]
    numbers = {step["check"]: step["number"] for step in steps}
    categories = [_category(reading, part, numbers) for part in reading.categories]
    first = record["rates"][0]["conclusion_words"] if record["rates"] else None
    return {
        "title": text("title"),
        "disclaimer": text("disclaimer"),
        "organization": record["organization"],
        "system": reading.system(),
        "owner": record["system"]["owner"],
        "responsible": text("list_comma").join(record["system"]["responsible"]),
        "filing_number": record["system"]["filing_number"],
        "level": reading.level(),
        "scopes": reading.scopes(),
        "extent": reading.extent(),
        "number": record["id"],
        "time": reading.moment(record["ended"]),
        "operator": record["operator"],
        "version": record["version"],
        # Also where a form of somebody's own has no place for it: a part must not read as the whole.
        "conclusion": " ".join([reading.say(first) or text("no_value"), *reading.extent()]),
        "coverage": {**record["coverage"], "share": reading.share()},
        "rates": [_rate(reading, rate) for rate in record["rates"]],
        "counts": {**reading.counts, "total": len(reading.requirements)},
        "categories": categories,
        "items": [row for part in categories for row in part["rows"]],
        "cases": [_case(reading, case) for case in reading.cases()],
        "dangers": [_danger(reading, danger) for danger in record["dangers"]],
        "plan": [_step(reading, step) for step in steps],
        "changes": _changes(reading),
        "expiring": [
            {
                "kind": text("expiring_kind." + row["kind"]),
                "subject": row["subject"],
                "until": reading.day(row["until"]),
                "is_expired": row["is_expired"],
            }
            for row in record["expiring"]
        ],
        "objects": [_object(reading, thing) for thing in record["objects"].values()],
        "limits": list(reading.words.lines("limits")),
    }


def _rate(reading: Reading, rate: Mapping[str, Any]) -> dict[str, Any]:
    status = "label.confirmed_rate" if rate["is_confirmed"] else "label.unconfirmed_rate"
    return {
        "title": reading.say(rate["title"]),
        "value": reading.value(rate),
        "value_decided": reading.value(rate, "value_decided"),
        "value_best": reading.value(rate, "value_best"),
        "status": reading.words.text(status),
        "coverage": reading.share(),
        "formula": reading.say(rate["formula"]),
        "conclusion": reading.say(rate["conclusion_words"]),
        "notes": [reading.say(note) for note in rate["notes"]],
    }


def _category(reading: Reading, part: Category, steps: Mapping[str, int]) -> dict[str, Any]:
    rows = [_item(reading, part, control, one, steps) for control in part.controls for one in control.requirements]
    counts = {name: part.counts[name] for name in VERDICTS}
    return {"id": part.id, "name": part.name, **counts, "total": len(rows), "rows": rows}


def _item(
    reading: Reading, part: Category, control: Control, requirement: Requirement, steps: Mapping[str, int]
) -> dict[str, Any]:
    text, row = reading.words.text, requirement.row
    marks = [] if row["is_confirmed"] else [text("label.unconfirmed")]
    marks += [text("label.optional")] if row["is_optional"] else []
    if waiver := row["waiver"]:
        marks.append(text("label.waived", {"approver": waiver["approver"], "until": reading.day(waiver["until"])}))
    seen = [(look.object, output) for look in telling(requirement.looks) for output in look.outputs]
    commands = dict.fromkeys(output.command for _, output in seen)
    outputs = dict.fromkeys(f"[{name}] {output.excerpt.strip()}" for name, output in seen if output.excerpt)
    digests = [output.sha256 for _, output in seen if output.sha256]
    digests += [entry["digest"] for entry in requirement.evidence]
    return {
        "id": requirement.id,
        "category": part.name,
        "control": f"{control.id} {control.name}",
        "requirement": requirement.summary,
        "unit": row["assessment_unit"],
        "attribute": row["attribute"],
        "verdict": text(f"verdict.{requirement.verdict}"),
        "verdict_code": requirement.verdict,
        "basis": text(f"basis.{row['basis']}"),
        "found": _bounded(_found(reading, requirement)),
        "commands": _bounded(list(commands)),
        "outputs": _bounded(list(outputs)),
        "digests": _bounded(list(dict.fromkeys(digests))),
        "advice": _bounded([line for advice in requirement.advice for line in (advice.text, *advice.commands)]),
        "steps": _bounded([f"R-{steps[advice.check]} {advice.text}" for advice in requirement.advice]),
        "show": requirement.hint if requirement.verdict == "undecided" else "",
        "marks": text("list_comma").join(marks),
        "high_risk": text("list_comma").join(row["high_risk"]),
    }


def _found(reading: Reading, requirement: Requirement) -> list[str]:
    text = reading.words.text
    lines = list(requirement.reasons)
    lines += [reading.say(entry["title"]) for entry in requirement.evidence]
    if attestation := requirement.row["attestation"]:
        key = "label.attested_expired" if attestation["is_expired"] else "label.attested"
        days = {name: reading.day(attestation[name]) for name in ("made", "until")}
        lines.append(text(key, {"by": attestation["by"], **days}))
    for look in telling(requirement.looks):
        bad = [message for message, holds in look.expectations if holds is False]
        detail = text("colon") + "; ".join([look.reason, *bad] if look.reason else bad) if bad or look.reason else ""
        lines.append(f"[{look.object}] {look.title} {text('status.' + look.status)}{detail}")
    if silent := len(requirement.looks) - len(telling(requirement.looks)):
        lines.append(text("text.not_applicable", {"count": silent}))
    return lines


def _bounded(lines: list[str]) -> str:
    text = "\n".join(line for line in lines if line)
    return text if len(text) <= _FOUND_CHARS_MAX else text[: _FOUND_CHARS_MAX - 1] + "…"


def _case(reading: Reading, case: Mapping[str, Any]) -> dict[str, Any]:
    comma = reading.words.text("list_comma")
    mitigation = [reading.title_of(name) for name in case["mitigated_by"]]
    return {
        "case": case["case"],
        "title": "\n".join([reading.say(case["title"]), *map(reading.say, case["reasons"])]),
        "state": reading.words.text("case_state." + case["state"]),
        "mark": "" if case["is_confirmed"] else reading.words.text("label.unconfirmed"),
        "clauses": comma.join(case["items"]),
        "objects": _names(reading, case["objects"]),
        "mitigation": "\n".join(mitigation) or reading.words.text("label.mitigation_none"),
    }


def _danger(reading: Reading, danger: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "case": danger["case"],
        "title": reading.say(danger["title"]),
        "principle": reading.words.text("principle." + danger["principle"]),
        "reason": reading.say(danger["reason"]),
        "objects": _names(reading, danger["objects"]),
    }


def _step(reading: Reading, step: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "number": step["number"],
        "priority": reading.words.text("priority." + step["priority"]),
        "title": reading.say(step["title"]),
        "advice": reading.say(step["advice"]),
        "commands": "\n".join(step["commands"]),
        "objects": _names(reading, [thing["name"] for thing in step["objects"]]),
        "clauses": reading.words.text("list_comma").join(step["items"]),
        "risk": reading.say(step["risk"]),
        "rollback": reading.say(step["rollback"]),
        "reboot": reading.words.text("label.reboot") if step["needs_reboot"] else "",
    }


def _changes(reading: Reading) -> list[dict[str, Any]]:
    difference = reading.record["difference"]
    return [
        {
            "id": row["item"],
            "direction": reading.words.text("label." + row["direction"]),
            **{
                side: "–" if row[side] is None else reading.words.text("verdict." + row[side])
                for side in ("before", "after")
            },
        }
        for row in (difference["items"] if difference else [])
    ]


def _object(reading: Reading, thing: Mapping[str, Any]) -> dict[str, Any]:
    platform = (str(thing["platform"].get(key, "")) for key in ("os_id", "version", "kernel", "arch"))
    return {
        "name": thing["name"],
        "kind": reading.words.text("object_kind." + thing["kind"]),
        "address": thing["address"],
        "state": reading.words.text("object_state." + thing["state"]),
        "reason": reading.why(thing),
        "platform": " ".join(part for part in platform if part),
        "collected": reading.moment(thing["collected"]),
        "facts": thing["facts_sha256"],
    }


def _names(reading: Reading, names: list[str]) -> str:
    more = f" +{len(names) - _NAMES_MAX}" if len(names) > _NAMES_MAX else ""
    return reading.words.text("list_comma").join(names[:_NAMES_MAX]) + more
