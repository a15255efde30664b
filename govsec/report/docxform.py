"""Writing a Word form whose gaps a template engine fills later: A4, one style, tables with repeated rows.

Expressions follow docxtpl: ``{{ value }}``, ``{%p … %}`` in a paragraph of its own and ``{%tr … %}`` in a table row of
its own, both of which vanish. A form is of no day: its parts carry a fixed one, so the same form has the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from govsec.report.office import office_extra, settle

#: The form itself is not of a day; ZIP needs one.
_FORM_TIME = datetime(2026, 1, 1, tzinfo=UTC)
_A4_WIDTH_MM, _A4_HEIGHT_MM, _MARGIN_MM = 210, 297, 18
_FONT, _FONT_CHINESE = "Arial", "宋体"
_HEADER_FILL = "E8EDF3"


class Form:
    """A Word document being written; python-docx is imported when a form is asked for.

    Raises:
        ConfigurationError: the extra ``office`` is not installed.
    """

    def __init__(self, footer: str) -> None:
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
        section.footer.paragraphs[0].text = footer
        for name, size in (("Normal", 9.5), ("Title", 20), ("Heading 1", 13), ("Heading 2", 11)):
            self._set_font(self._document.styles[name], size)
        properties = self._document.core_properties
        properties.author = properties.last_modified_by = "govsec"
        properties.title, properties.comments = "", ""
        properties.created = properties.modified = _FORM_TIME.replace(tzinfo=None)

    def save(self) -> bytes:
        """The form as a .docx."""
        out = io.BytesIO()
        self._document.save(out)
        return settle(out.getvalue(), _FORM_TIME)

    def title(self, above: str, title: str) -> None:
        """The title with a line above it."""
        self._document.add_paragraph(above)
        self._document.add_paragraph(title, style="Title")

    def heading(self, text: str, *, level: int = 1) -> None:
        """A heading."""
        self._document.add_heading(text, level)

    def line(self, text: str, *, is_strong: bool = False) -> None:
        """A paragraph."""
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
        """A table as it stands; line breaks in a cell become paragraphs of it."""
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
