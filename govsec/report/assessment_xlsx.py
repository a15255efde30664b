"""The assessment as a workbook: one row an item and object with command, raw output, decision, digest and advice.

Sheets for the summary, the rows, high-risk cases, rectification and objects; frozen headers and filters, so that an
office can sort and hand on. :mod:`govsec.report.sheets` keeps what hosts chose from becoming formulas.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from govsec.clock import parse_time
from govsec.report import rectify
from govsec.report.assessment import VERDICTS, Control, Look, Output, Reading, Requirement, telling
from govsec.report.catalog import Lang
from govsec.report.office import settle
from govsec.report.sheets import Book, Cell, Coded

#: An output has less than a cell may hold (32,767), or rows cannot be read.
_OUTPUT_CHARS_MAX = 4_000
#: Excel's limit is 1,048,576 rows; what is beyond lies in the record, and the last row says so.
_ROWS_MAX = 200_000


def render_xlsx(record: Mapping[str, Any], lang: Lang) -> bytes:
    """The workbook on a record (``govsec.assessment.v1``). Same record, same bytes.

    Raises:
        ConfigurationError: openpyxl (the extra ``office``) is not installed.
    """
    reading = Reading(record, lang)
    book = Book()
    book.sheet(reading.words.text("sheet.summary"), (30, 60, 70), _summary(reading), has_filter=False)
    book.sheet(reading.words.text("sheet.counts"), (34, 12, 12, 12, 12, 12, 10), _counts(reading))
    book.sheet(reading.words.text("sheet.rows"), tuple(width for _, width in _COLUMNS), _rows(reading), frozen="C2")
    book.sheet(reading.words.text("sheet.cases"), (12, 40, 14, 12, 24, 28, 40, 40), _cases(reading))
    book.sheet(reading.words.text("sheet.plan"), (7, 16, 40, 50, 28, 24, 50, 36, 36, 12), _plan(reading))
    book.sheet(reading.words.text("sheet.objects"), (22, 12, 18, 14, 30, 44, 20, 12, 68), _objects(reading))
    return settle(book.save(), parse_time(record["ended"]))


#: Heading (a key of the catalogue) and width in characters.
_COLUMNS = (
    ("label.clause", 13),
    ("label.requirement", 34),
    ("label.category", 16),
    ("label.control", 18),
    ("label.unit", 13),
    ("label.attribute", 6),
    ("label.verdict", 12),
    ("label.basis", 14),
    ("label.host", 18),
    ("label.decision", 12),
    ("label.check", 32),
    ("plan.failed", 36),
    ("label.command", 40),
    ("label.output", 60),
    ("label.evidence", 30),
    ("label.advice", 46),
    ("label.high_risk", 12),
    ("label.mark", 30),
)


def _rows(reading: Reading) -> Iterator[Sequence[Cell]]:
    text = reading.words.text
    yield [text(key) for key, _ in _COLUMNS]
    for count, (category, control, requirement, name, looks) in enumerate(reading.rows(), 1):
        if count > _ROWS_MAX:
            left_out = sum(1 for _ in reading.rows()) - _ROWS_MAX
            yield [text("label.more_objects", {"count": left_out}), *[""] * (len(_COLUMNS) - 1)]
            return
        yield _row(reading, category.name, control, requirement, name, looks)


def _row(
    reading: Reading, category: str, control: Control, requirement: Requirement, name: str, looks: tuple[Look, ...]
) -> Sequence[Cell]:
    text, row = reading.words.text, requirement.row
    worst = looks[0].status if looks else ""
    outputs = list({output.command: output for look in telling(looks) for output in look.outputs}.values())
    digests = [output.sha256 for output in outputs if output.sha256]
    digests += [entry["digest"] for entry in requirement.evidence]
    digests += row["attestation"]["evidence"] if row["attestation"] else []
    return [
        requirement.id,
        requirement.summary,
        category,
        f"{control.id} {control.name}",
        row["assessment_unit"],
        row["attribute"],
        Coded(text(f"verdict.{requirement.verdict}"), requirement.verdict),
        text(f"basis.{row['basis']}"),
        name or reading.system(),
        Coded(text(f"status.{worst}") if worst else "", worst),
        _lines(f"{text('status.' + look.status)}{text('colon')}{look.title} [{look.check}]" for look in looks),
        _lines(_found(reading, requirement, looks)),
        _lines(dict.fromkeys(output.command for output in outputs)),
        _lines(_output(reading, output, is_one=len(outputs) == 1) for output in outputs),
        _lines(dict.fromkeys(digests)),
        _lines(_advice(reading, requirement, looks)),
        _lines(dict.fromkeys(case for look in looks for case in look.cases)),
        _lines(_marks(reading, requirement)),
    ]


def _lines(parts: Iterator[str] | Mapping[str, None]) -> str:
    return "\n".join(part for part in parts if part)


def _found(reading: Reading, requirement: Requirement, looks: tuple[Look, ...]) -> Iterator[str]:
    yield from requirement.reasons
    yield from dict.fromkeys(look.reason for look in looks)
    for look in looks:
        yield from (f"✗ {message}" for message, holds in look.expectations if holds is False)
        yield from (f"? {message}" for message, holds in look.expectations if holds is None)
    for entry in requirement.evidence:
        yield reading.say(entry["title"])


def _output(reading: Reading, output: Output, *, is_one: bool) -> str:
    """An answer; behind its command, where there are several."""
    if output.status != "ok":
        said = f"{reading.words.text('outcome.' + output.status)} {output.reason}".strip()
    else:
        said = output.excerpt[:_OUTPUT_CHARS_MAX].rstrip()
    return said if is_one else f"$ {output.command}\n{said}"


def _advice(reading: Reading, requirement: Requirement, looks: tuple[Look, ...]) -> Iterator[str]:
    failing = {look.check for look in looks if look.status in ("fail", "partial")}
    for advice in requirement.advice:
        if advice.check in failing:
            yield advice.text
            yield from advice.commands
    if requirement.verdict == "undecided" and requirement.hint:
        yield f"{reading.words.text('label.show')}{reading.words.text('colon')}{requirement.hint}"


def _marks(reading: Reading, requirement: Requirement) -> Iterator[str]:
    text, row = reading.words.text, requirement.row
    if not row["is_confirmed"]:
        yield text("label.unconfirmed")
    if row["is_optional"]:
        yield text("label.optional")
    if waiver := row["waiver"]:
        yield text("label.waived", {"approver": waiver["approver"], "until": reading.day(waiver["until"])})
    if attestation := row["attestation"]:
        key = "label.attested_expired" if attestation["is_expired"] else "label.attested"
        days = {name: reading.day(attestation[name]) for name in ("made", "until")}
        yield text(key, {"by": attestation["by"], **days})


def _summary(reading: Reading) -> Iterator[Sequence[Cell]]:
    text, record = reading.words.text, reading.record
    yield [text("title"), text("disclaimer"), ""]
    yield [text("label.system"), reading.system(), ""]
    yield [text("label.organization"), record["organization"], ""]
    yield [text("label.scopes"), f"{reading.level()} {reading.scopes()}", ""]
    for words in reading.extent():
        yield [text("label.extent"), Coded(words, "partial"), ""]
    yield [text("label.time"), reading.moment(record["ended"]), text("zone")]
    yield [text("number"), record["id"], ""]
    yield [text("label.coverage"), reading.share(), text("label.coverage_of", record["coverage"])]
    for rate in record["rates"]:
        status = text("label.confirmed_rate" if rate["is_confirmed"] else "label.unconfirmed_rate")
        value = f"{reading.value(rate)} · {text('label.coverage')} {reading.share()} · {status}"
        decided = f"{text('label.rate_decided')} {reading.value(rate, 'value_decided')}"
        yield [
            reading.say(rate["title"]),
            f"{value}\n{decided}\n{text('label.estimate')}{text('colon')}{reading.say(rate['conclusion_words'])}",
            "\n".join([reading.say(rate["formula"]), *map(reading.say, rate["notes"])]),
        ]
    yield [text("label.cases_open"), len(reading.open_cases()), ""]
    yield [text("label.dangers"), len(record["dangers"]), text("label.person_confirms")]
    for row in record["expiring"]:
        until = f"{reading.day(row['until'])}{' ' + text('label.expired') if row['is_expired'] else ''}"
        yield [f"{text('section.expiring')} · {text('expiring_kind.' + row['kind'])}", row["subject"], until]
    for position, line in enumerate(reading.words.lines("limits")):
        yield ["" if position else text("section.limits"), line, ""]


def _counts(reading: Reading) -> Iterator[Sequence[Cell]]:
    text = reading.words.text
    yield [text("label.category"), *(text(f"verdict.{name}") for name in VERDICTS), text("label.total")]
    for part in reading.categories:
        numbers = [part.counts[name] for name in VERDICTS]
        yield [f"{part.id} {part.name}", *numbers, sum(numbers)]


def _cases(reading: Reading) -> Iterator[Sequence[Cell]]:
    text = reading.words.text
    keys = ("case", "subject", "state", "mark", "items", "objects", "check", "mitigation")
    yield [text(f"label.{key}") for key in keys]
    for case in reading.cases():
        yield [
            case["case"],
            "\n".join([reading.say(case["title"]), *map(reading.say, case["reasons"])]),
            Coded(text("case_state." + case["state"]), case["state"]),
            "" if case["is_confirmed"] else text("label.unconfirmed"),
            "\n".join(case["items"]),
            "\n".join(case["objects"]),
            "\n".join(reading.title_of(name) for name in case["checks"]),
            "\n".join(map(reading.title_of, case["mitigated_by"])),
        ]
    for danger in reading.record["dangers"]:
        state = f"{text('label.dangers')} · {text('principle.' + danger['principle'])}"
        title = f"{reading.say(danger['title'])}\n{reading.say(danger['reason'])}"
        yield [danger["case"], title, Coded(state, "danger"), "", "", "\n".join(danger["objects"]), "", ""]


def _plan(reading: Reading) -> Iterator[Sequence[Cell]]:
    text = reading.words.text
    keys = ("number", "priority", "check", "advice", "where", "gain", "commands", "risk", "rollback", "reboot")
    yield [text(f"label.{key}") for key in keys]
    for step in rectify.plan(reading.record)["steps"]:
        yield [
            step["number"],
            Coded(text("priority." + step["priority"]), step["priority"]),
            reading.say(step["title"]),
            reading.say(step["advice"]),
            "\n".join(thing["name"] for thing in step["objects"]),
            "\n".join(step["items"]),
            "\n".join(step["commands"]),
            reading.say(step["risk"]),
            reading.say(step["rollback"]),
            text("label.reboot") if step["needs_reboot"] else "",
        ]


def _objects(reading: Reading) -> Iterator[Sequence[Cell]]:
    text = reading.words.text
    keys = ("host", "kind", "address", "state", "reason", "platform", "collected", "clock", "facts")
    yield [text(f"label.{key}") for key in keys]
    for thing in reading.record["objects"].values():
        platform = (str(thing["platform"].get(key, "")) for key in ("os_id", "version", "kernel", "arch"))
        yield [
            thing["name"],
            text("object_kind." + thing["kind"]),
            thing["address"],
            text("object_state." + thing["state"]),
            reading.why(thing),
            " ".join(part for part in platform if part),
            reading.moment(thing["collected"]),
            thing["clock_offset_s"],
            thing["facts_sha256"],
        ]
