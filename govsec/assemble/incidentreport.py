"""Reports on events from this site's cases and register, as records and as files."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pydantic import JsonValue

from govsec import canonical
from govsec.config import Config, SystemConfig
from govsec.errors import ConfigurationError, UsageError
from govsec.incident.case import Case
from govsec.incident.desk import Desk, View
from govsec.incident.entries import ReportMade
from govsec.incident.record import Record
from govsec.incident.reportform import Report, shipped_form
from govsec.incident.reportparts import Unit
from govsec.incident.reports import compose_report
from govsec.localfile import read_given
from govsec.privatefile import write_private
from govsec.registerentry import RegisterEntry
from govsec.report.catalog import Lang

_TEMPLATE_SIZE_MAX = 16 << 20
#: Endings of files that a report is written to.
FORMATS = ("docx", "json", "txt")


def build_report(config: Config, desk: Desk, case_id: str, report: Report | None, by: str) -> Record:
    """The record of a report now; without ``report``, of the kind that :func:`next_report` says.

    Raises:
        RefusedError: there is no such case.
        IntegrityError: an entry of it was changed.
    """
    view = desk.view(case_id)
    return compose_report(
        report or next_report(view),
        view,
        desk.store.entries(case_id),
        form=shipped_form(),
        unit=unit_of(config, view.case),
        packs=desk.packs,
        by=by,
    )


def next_report(view: View) -> Report:
    """The kind of report that comes next: the final one when handling has ended, else the first that was not made."""
    if view.case.handling_ended_at is not None:
        return Report.FINAL
    made = {report.report for report in view.case.reports}
    return Report.SUPPLEMENTARY if Report.FIRST.value in made else Report.FIRST


def made_entry(record: Record, by: str, time: datetime) -> ReportMade:
    """The entry that says that this report was written."""
    meter, report = record["meter"], record["report"]
    if not isinstance(meter, dict):
        raise TypeError("not a record of a report")
    return ReportMade.model_validate(
        {
            "time": time,
            "by": by,
            "report": report,
            "digest": f"sha256:{canonical.digest(record)}",
            "needed_count": meter["needed_count"],
            "answered_count": meter["answered_count"],
        }
    )


def write_report(record: Record, path: Path, lang: Lang, *, template: Path | None = None) -> None:
    """Write a report in the format of the file's ending; readable by its owner alone.

    Raises:
        UsageError: another ending, or a template for what is no Word document.
        ConfigurationError: the file or the template cannot be read, filled or written.
    """
    ending = path.suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        raise UsageError(f"{path}: its ending says the format: {', '.join(FORMATS)}")
    if template is not None and ending != "docx":
        raise UsageError("--template goes with a .docx")
    _write(
        path, _rendered(record, ending, lang, None if template is None else read_given(template, _TEMPLATE_SIZE_MAX))
    )


def write_form(path: Path, lang: Lang) -> None:
    """Write the shipped Word form, to be changed. Raises as :func:`write_report`."""
    from govsec.report.incidentreport_docx import report_form

    _write(path, report_form(lang))


def unit_of(config: Config, case: Case) -> Unit:
    """Who reports on a case, and what the register knows of its system."""
    system = next((system for system in config.systems if system.name == case.opened.system), None)
    if system is None:
        return Unit(config.organization, {"title": case.opened.system} if case.opened.system else {})
    people = [
        {"name": person.name, "role": person.role, "contact": person.contact} for person in system.register_.responsible
    ]
    contacts: list[dict[str, JsonValue]] = [{**person} for person in people]
    return Unit(config.organization or system.register_.owner, _known(system), contacts)


def _known(system: SystemConfig) -> dict[str, JsonValue]:
    entry: RegisterEntry = system.register_
    data = "；".join(f"{one.name} ({one.level.value})" for one in entry.data[:10])
    known: dict[str, JsonValue] = {
        "title": f"{system.title} ({system.name})" if system.title else system.name,
        "kind": None if entry.kind is None else entry.kind.value,
        "owner": entry.owner,
        "authority": entry.authority,
        "level": entry.system_level,
        "filing": entry.filing.number if entry.filing is not None else "",
        "platform": entry.platform.name if entry.platform is not None else "",
        "critical_infrastructure": entry.critical_infrastructure,
        "internet": entry.internet,
        "users_count": entry.users_count,
        "location": entry.location,
        "data": data,
    }
    return {name: value for name, value in known.items() if value is not None and value != ""}


def _rendered(record: Record, ending: str, lang: Lang, template: bytes | None) -> bytes:
    if ending == "json":
        return canonical.dumps(record) + b"\n"
    if ending == "txt":
        from govsec.report.incidentreport import report_text

        return report_text(record, lang).encode() + b"\n"
    from govsec.report.incidentreport_docx import render_report

    return render_report(record, lang, template=template)


def _write(path: Path, data: bytes) -> None:
    try:
        write_private(path, data)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
