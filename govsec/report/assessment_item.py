"""One requirement of an assessment on a terminal, with every check, what was asked, what came and who stands for it;
and what changed between two runs. For somebody who doubts one line, not for filing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from govsec.report.assessment import Look, Reading, Requirement
from govsec.report.catalog import Catalogue, Lang, plain

_LINES_MAX = 20
_DIRECTIONS = ("worse", "better", "other")


def render_item(record: Mapping[str, Any], item: str, lang: Lang) -> str:
    """The item with that id (it must be one of the record's) in lines; outputs end after 20 lines."""
    reading = Reading(record, lang)
    requirement = reading.by_id[item]
    lines = [*_head(reading, requirement)]
    for look in requirement.looks:
        lines += ["", *_look(reading, look)]
    if requirement.hint:
        lines += ["", f"{reading.words.text('label.show')}{reading.words.text('colon')}{requirement.hint}"]
    return "\n".join(plain(line).replace("\t", " ").rstrip() for line in lines)


def render_difference(difference: Mapping[str, Any], later: str, lang: Lang) -> str:
    """What changed between two runs, what got worse first; ``later`` is the id of the later one."""
    words = Catalogue("assessment", lang)
    lines = [f"{difference['earlier']} -> {later}", *(note[lang] for note in difference["notes"])]
    for direction in _DIRECTIONS:
        rows = [row for row in difference["items"] if row["direction"] == direction]
        if rows:
            lines.append(f"{words.text('label.' + direction)}{words.text('colon')}{len(rows)}")
            lines += [
                f"  {row['item']}  {_verdict(words, row['before'])} -> {_verdict(words, row['after'])}" for row in rows
            ]
    for key in ("cases_new", "cases_gone"):
        lines += [f"{words.text('label.' + key)}{words.text('colon')}{case}" for case in difference[key]]
    if len(lines) == 1:
        lines.append(words.text("empty.difference_same"))
    lines.append(words.text("text.results_differ", {"count": len(difference["results"])}))
    return "\n".join(plain(line) for line in lines)


def _verdict(words: Catalogue, verdict: str | None) -> str:
    return "-" if verdict is None else words.text(f"verdict.{verdict}")


def _head(reading: Reading, requirement: Requirement) -> Iterator[str]:
    text, row = reading.words.text, requirement.row
    mark = "" if row["is_confirmed"] else f" [{text('label.unconfirmed_item')}]"
    yield f"{requirement.id}  {requirement.summary}{mark}"
    basis = f"{text('label.basis')}{text('colon')}{text('basis.' + row['basis'])}"
    yield f"{text('verdict.' + requirement.verdict)} ({basis})"
    if row["original"] is not None:
        yield f"  {text('label.original', {'verdict': text('verdict.' + row['original'])})}"
    yield from (f"  {reason}" for reason in requirement.reasons)
    if row["is_optional"]:
        yield f"  {text('label.optional')}"
    if row["waiver"] is not None:
        yield from _waiver(reading, row["waiver"])
    if (attestation := row["attestation"]) is not None:
        key = "label.attested_expired" if attestation["is_expired"] else "label.attested"
        days = {name: reading.day(attestation[name]) for name in ("made", "until")}
        reviewed = text("label.reviewed", {"reviewer": attestation["reviewer"]})
        yield f"  {text(key, {'by': attestation['by'], **days})} {reviewed}"
        yield f"    {attestation['statement']}"
        yield from (f"    {text('label.evidence')} {digest}" for digest in attestation["evidence"])
    for one in requirement.evidence:
        kind = text("evidence_kind." + one["kind"])
        yield f"  {kind}{text('colon')}{reading.say(one['title'])}, {reading.moment(one['time'])}, {one['digest']}"


def _look(reading: Reading, look: Look) -> Iterator[str]:
    text = reading.words.text
    yield f"{look.object}: {look.check} [{text('role.' + look.role)}] {text('status.' + look.status)}  {look.title}"
    if look.reason:
        yield f"  {look.reason}"
    yield from (f"  - {message}" for message, holds in look.expectations if not holds)
    if look.waiver is not None:
        yield from _waiver(reading, look.waiver)
    for output in look.outputs:
        state = text("outcome." + output.status)
        yield f"  {output.name}: {state} {output.reason}".rstrip() + f"  $ {output.command}"
        lines = output.excerpt.splitlines()
        yield from (f"    | {line}" for line in lines[:_LINES_MAX])
        if len(lines) > _LINES_MAX:
            yield f"    | {text('text.more_lines', {'count': len(lines) - _LINES_MAX})}"


def _waiver(reading: Reading, waiver: Mapping[str, Any]) -> Iterator[str]:
    text = reading.words.text
    yield f"  {text('label.waived', {'approver': waiver['approver'], 'until': reading.day(waiver['until'])})}"
    yield f"    {waiver['reason']}"
    if waiver["compensation"]:
        yield f"    {text('label.compensation')}{text('colon')}{waiver['compensation']}"
