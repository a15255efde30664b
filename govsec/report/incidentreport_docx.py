"""A report on an event as a Word document, through a form: the user's own, or the shipped one to start from.

The form is filled in a child process with limits (:mod:`govsec.report.docxfill`). Its values are those of
:func:`govsec.report.incidentreport.context`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from govsec.clock import parse_time
from govsec.report.catalog import Catalogue, Lang
from govsec.report.docxfill import fill_form
from govsec.report.docxform import Form
from govsec.report.incidentreport import context


def render_report(record: Mapping[str, Any], lang: Lang, *, template: bytes | None = None) -> bytes:
    """The document on a record (``govsec.incident-report.v1``); same record, same form, same bytes.

    Raises:
        ConfigurationError: the extra ``office`` is not installed, or the form cannot be filled.
    """
    form = report_form(lang) if template is None else template
    return fill_form(form, context(record, lang), parse_time(record["made_at"]))


def report_form(lang: Lang) -> bytes:
    """The shipped form, to start one's own from. The same bytes every time.

    Raises:
        ConfigurationError: the extra ``office`` is not installed.
    """
    text = Catalogue("incidentreport", lang).text
    form = Form("{{ organization }} · {{ number }} · {{ report }} {{ nth }}")
    form.title("{{ organization }}", "{{ title }}")
    facts = [
        ("case", "{{ number }}"),
        ("subject", "{{ subject }}"),
        ("report", "{{ report }} {{ nth }}"),
        ("level", "{{ level }}"),
        ("stage", "{{ stage }}"),
        ("made_at", "{{ made_at }}"),
        ("made_by", "{{ made_by }}"),
        ("meter", "{{ meter.words }}{% if missing %}\n" + text("label.missing") + text("colon")
         + "{{ missing|join('" + text("comma") + "') }}{% endif %}"),
    ]  # fmt: skip
    form.table([[text(f"label.{key}"), value] for key, value in facts], (34, 140), has_header=False)
    form.line("{%p if note %}")
    form.line("{{ note }}", is_strong=True)
    form.line("{%p endif %}")
    form.heading(text("section.due"))
    heads = [text(f"label.{key}") for key in ("recipient", "limit", "state", "receipt")]
    form.rows("duties", ("duty", "recipient", "due", "state", "receipt"), heads, (58, 40, 22, 54))
    form.heading(text("section.content"))
    cells = ("{{ item.number }}", "{{ item.name }}", "{{ item.text }}")
    form.loop_table("item in items", cells, ["", text("label.item"), text("label.content")], (10, 46, 118))
    form.heading(text("section.sign"))
    roles = [text(f"label.{role}") for role in ("handler", "reviewer", "approver")]
    form.table([roles, ["\n\n"] * 3, [text("label.sign_date")] * 3], (58, 58, 58))
    form.line("{{ disclaimer }}")
    form.line(text("label.digest") + text("colon") + "{{ digest }}")
    return form.save()
