"""The shipped Word form for assessments, built here and not stored: what it says can be read, and its bytes repeated.

Expressions follow docxtpl: ``{{ value }}``, ``{%p … %}`` in a paragraph of its own and ``{%tr … %}`` in a table row of
its own, both of which vanish. The values are those of :func:`govsec.report.assessment_docx.context`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from govsec.report.assessment import VERDICTS
from govsec.report.catalog import Catalogue, Lang
from govsec.report.office import office_extra, settle

#: The form itself is not of a day; ZIP needs one.
_FORM_TIME = datetime(2026, 1, 1, tzinfo=UTC)
_A4_WIDTH_MM, _A4_HEIGHT_MM, _MARGIN_MM = 210, 297, 18
_FONT, _FONT_CHINESE = "Arial", "宋体"
_HEADER_FILL = "E8EDF3"


def build_template(lang: Lang) -> bytes:
    """The form in one language, as a .docx.

    Raises:
        ConfigurationError: the extra ``office`` is not installed.
    """
    words = Catalogue("assessment", lang)
    form = _Form()
    _first_page(form, words)
    _lists(form, words)
    _details(form, words)
    form.heading(words.text("section.limits"))
    form.repeated("limits", "line", "{{ loop.index }}. {{ line }}")
    form.heading(words.text("section.signatures"))
    role_names = [words.text(f"label.role_{role}") for role in ("lead", "review", "approve")]
    form.table([[*role_names], ["\n\n"] * 3, [words.text("label.sign_date")] * 3], (58, 58, 58))
    return settle(form.save(), _FORM_TIME)


def _first_page(form: _Form, words: Catalogue) -> None:
    text = words.text
    form.title("{{ organization }}", "{{ title }}")
    form.line("{{ disclaimer }}", is_strong=True)
    facts = [
        ("label.system", "{{ system }}"),
        ("label.scopes", "{{ level }} {{ scopes }}"),
        ("label.owner", "{{ owner }}"),
        ("label.responsible", "{{ responsible }}"),
        ("label.filing", "{{ filing_number }}"),
        ("label.operator", "{{ operator }}"),
        ("label.time", "{{ time }} " + text("zone")),
        ("number", "{{ number }}"),
    ]
    form.table([[text(key), value] for key, value in facts], (38, 136), has_header=False)
    form.heading(text("section.summary"))
    form.line(f"{text('label.estimate')}{text('colon')}{{{{ conclusion }}}}", is_strong=True)
    form.line(text("label.coverage") + " {{ coverage.share }} ({{ coverage.decided }} / {{ coverage.applicable }})")
    rate = ("rate", "title", "value", "status", "coverage", "value_decided", "conclusion")
    heads = ("label.rate", "label.verdict", "label.mark", "label.coverage", "label.rate_decided", "label.estimate")
    form.rows("rates", rate, [text(key) for key in heads], (42, 24, 28, 22, 28, 30))
    form.repeated("rates", "rate", f"{{{{ rate.title }}}} {text('label.formula')}{text('colon')}{{{{ rate.formula }}}}")
    form.heading(text("section.counts"))
    heads_counts = [text("label.category"), *(text(f"verdict.{name}") for name in VERDICTS), text("label.total")]
    form.rows("categories", ("part", "name", *VERDICTS, "total"), heads_counts, (54, 20, 20, 20, 20, 20, 20))


def _lists(form: _Form, words: Catalogue) -> None:
    text = words.text
    form.heading(text("section.cases"))
    heads = [text(f"label.{key}") for key in ("case", "subject", "state", "mark", "items", "objects", "mitigation")]
    of_case = ("case", "case", "title", "state", "mark", "clauses", "objects", "mitigation")
    form.rows("cases", of_case, heads, (18, 40, 20, 18, 24, 26, 28))
    form.heading(text("section.dangers"))
    heads = [text(f"label.{key}") for key in ("case", "subject", "principle", "reason", "objects")]
    form.rows("dangers", ("danger", "case", "title", "principle", "reason", "objects"), heads, (20, 50, 24, 50, 30))
    form.heading(text("plan.title"))
    form.line(text("plan.notice"))
    heads = [text(f"label.{key}") for key in ("number", "check", "advice", "where", "risk")]
    back = text("label.rollback") + text("colon")
    cells = (
        "R-{{ step.number }}\n{{ step.priority }}",
        "{{ [step.title, step.clauses]|select|join('\\n') }}",
        "{{ [step.advice, step.commands, step.reboot]|select|join('\\n') }}",
        "{{ step.objects }}",
        "{{ step.risk }}{% if step.rollback %}\n" + back + "{{ step.rollback }}{% endif %}",
    )
    form.loop_table("step in plan", cells, heads, (20, 38, 58, 22, 36))
    form.heading(text("section.difference"))
    heads = [text(f"label.{key}") for key in ("clause", "state", "before", "after")]
    form.rows("changes", ("change", "id", "direction", "before", "after"), heads, (44, 44, 43, 43))
    form.heading(text("section.expiring"))
    heads = [text(f"label.{key}") for key in ("kind", "subject", "until")]
    form.rows("expiring", ("row", "kind", "subject", "until"), heads, (44, 86, 44))
    form.heading(text("section.objects"))
    heads = [text(f"label.{key}") for key in ("host", "kind", "address", "state", "platform", "collected")]
    form.rows(
        "objects",
        ("thing", "name", "kind", "address", "state", "platform", "collected"),
        heads,
        (32, 18, 28, 20, 44, 32),
    )


def _details(form: _Form, words: Catalogue) -> None:
    text = words.text
    form.heading(text("section.detail"))
    form.line("{%p for part in categories %}")
    form.heading("{{ part.id }} {{ part.name }}", level=2)
    heads = [text(f"label.{key}") for key in ("clause", "requirement", "verdict", "found", "advice")]
    cells = (
        "{{ [row.id, row.unit, row.marks]|select|join('\\n') }}",
        "{{ row.requirement }}",
        "{{ row.verdict }}\n{{ row.basis }}",
        "{{ [row.found, row.commands]|select|join('\\n') }}",
        "{{ row.steps or row.show }}",
    )
    form.loop_table("row in part.rows", cells, heads, (24, 32, 20, 64, 34))
    form.line("{%p endfor %}")


class _Form:
    """A Word document being written; python-docx is imported when a form is asked for."""

    def __init__(self) -> None:
        with office_extra():
            import docx
            from docx.oxml import OxmlElement
            from docx.oxml.ns import qn
            from docx.shared import Mm, Pt
        self._element: Any = OxmlElement
        self._qn, self._mm, self._pt = qn, Mm, Pt
        self._document: Any = docx.Document()
        section = self._document.sections[0]
        section.page_width, section.page_height = Mm(_A4_WIDTH_MM), Mm(_A4_HEIGHT_MM)
        for side in ("left_margin", "right_margin", "top_margin", "bottom_margin"):
            setattr(section, side, Mm(_MARGIN_MM))
        section.footer.paragraphs[0].text = "{{ system }} · {{ disclaimer }} · {{ number }}"
        for name, size in (("Normal", 9.5), ("Title", 20), ("Heading 1", 13), ("Heading 2", 11)):
            self._set_font(self._document.styles[name], size)
        properties = self._document.core_properties
        properties.author = properties.last_modified_by = "govsec"
        properties.title, properties.comments = "", ""
        properties.created = properties.modified = _FORM_TIME.replace(tzinfo=None)

    def save(self) -> bytes:
        out = io.BytesIO()
        self._document.save(out)
        return out.getvalue()

    def title(self, above: str, title: str) -> None:
        self._document.add_paragraph(above)
        self._document.add_paragraph(title, style="Title")

    def heading(self, text: str, *, level: int = 1) -> None:
        self._document.add_heading(text, level)

    def line(self, text: str, *, is_strong: bool = False) -> None:
        self._document.add_paragraph().add_run(text).bold = is_strong

    def repeated(self, values: str, name: str, text: str) -> None:
        """One paragraph for each of ``values``."""
        self.line(f"{{%p for {name} in {values} %}}")
        self.line(text)
        self.line("{%p endfor %}")

    def rows(self, values: str, fields: Sequence[str], heads: Sequence[str], widths_mm: Sequence[int]) -> None:
        """A table with a row for each of ``values``; the first of ``fields`` is what a row is called."""
        name, *columns = fields
        cells = [f"{{{{ {name}.{column} }}}}" for column in columns]
        self.loop_table(f"{name} in {values}", cells, heads, widths_mm)

    def loop_table(self, loop: str, cells: Sequence[str], heads: Sequence[str], widths_mm: Sequence[int]) -> None:
        """A table whose middle row is repeated."""
        blank = [""] * (len(heads) - 1)
        self.table([heads, [f"{{%tr for {loop} %}}", *blank], cells, ["{%tr endfor %}", *blank]], widths_mm)

    def table(self, rows: Sequence[Sequence[str]], widths_mm: Sequence[int], *, has_header: bool = True) -> None:
        table = self._document.add_table(len(rows), len(widths_mm), style="Table Grid")
        table.autofit = False
        for column, width in zip(table.columns, widths_mm, strict=True):
            column.width = self._mm(width)
        for position, row in enumerate(rows):
            for cell, text, width in zip(table.rows[position].cells, row, widths_mm, strict=True):
                cell.width = self._mm(width)
                lines = text.split("\n")
                cell.paragraphs[0].text = lines[0]
                for line in lines[1:]:
                    cell.add_paragraph(line)
                for paragraph in cell.paragraphs:
                    paragraph.paragraph_format.space_after = self._pt(1)
                    for run in paragraph.runs:
                        run.font.size = self._pt(8.5)
                        run.bold = has_header and position == 0
                if has_header and position == 0:
                    self._shade(cell)
        if has_header:
            properties = table.rows[0]._tr.get_or_add_trPr()
            repeated = self._element("w:tblHeader")
            repeated.set(self._qn("w:val"), "true")
            properties.append(repeated)
        self._document.add_paragraph()

    def _shade(self, cell: Any) -> None:
        shade = self._element("w:shd")
        for name, value in (("val", "clear"), ("color", "auto"), ("fill", _HEADER_FILL)):
            shade.set(self._qn(f"w:{name}"), value)
        cell._tc.get_or_add_tcPr().append(shade)

    def _set_font(self, style: Any, size: float) -> None:
        style.font.name, style.font.size = _FONT, self._pt(size)
        fonts = style.element.get_or_add_rPr().get_or_add_rFonts()
        fonts.set(self._qn("w:eastAsia"), _FONT_CHINESE)
