"""Reports of a stored assessment in every format, written to files that are their owner's alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from govsec.errors import ConfigurationError
from govsec.ledger.entry import Entry
from govsec.localfile import read_given
from govsec.policy.run import Assessment
from govsec.privatefile import write_private
from govsec.report.catalog import Lang

LANGS: tuple[Lang, ...] = ("zh", "en")
_TEMPLATE_SIZE_MAX = 32 << 20
Record = Mapping[str, Any]


def write_report(
    assessment: Assessment,
    format: str,
    lang: Lang,
    path: Path,
    *,
    entry: Entry | None = None,
    template: Path | None = None,
) -> None:
    """Write the report in one of :data:`FORMATS`; ``template`` is a Word file of the user's own, for ``docx``.

    Raises:
        ConfigurationError: the file cannot be written, a template is none, or the extra for the format is missing.
    """
    _write(path, FORMATS[format](assessment.canonical(), lang, entry, template))


def write_template(lang: Lang, path: Path) -> None:
    """Write the Word form that came with govsec, for people to change and use as their own.

    Raises:
        ConfigurationError: the file cannot be written, or the extra for Word is missing.
    """
    from govsec.report.assessment_docx import template

    _write(path, template(lang))


def _text(record: Record, lang: Lang, _entry: Entry | None, _template: Path | None) -> bytes:
    from govsec.report.assessment_text import render_text

    return render_text(record, lang).encode()


def _json(record: Record, _lang: Lang, _entry: Entry | None, _template: Path | None) -> bytes:
    from govsec import canonical

    return canonical.dumps(record) + b"\n"


def _html(record: Record, lang: Lang, entry: Entry | None, _template: Path | None) -> bytes:
    from govsec.report.assessment_html import render_html
    from govsec.report.page import LedgerRef

    where = None if entry is None else LedgerRef(entry.chain, entry.number, entry.digest, entry.held_by)
    return render_html(record, lang, ledger=where).encode()


def _xlsx(record: Record, lang: Lang, _entry: Entry | None, _template: Path | None) -> bytes:
    from govsec.report.assessment_xlsx import render_xlsx

    return render_xlsx(record, lang)


def _docx(record: Record, lang: Lang, _entry: Entry | None, template: Path | None) -> bytes:
    from govsec.report.assessment_docx import render_docx

    return render_docx(record, lang, template=None if template is None else read_given(template, _TEMPLATE_SIZE_MAX))


def _oscal(record: Record, lang: Lang, _entry: Entry | None, _template: Path | None) -> bytes:
    from govsec.report.assessment_oscal import render_oscal

    return render_oscal(record, lang)


def _write(path: Path, data: bytes) -> None:
    try:
        write_private(path, data)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error


#: Name of a format: how it is made. The libraries are loaded when a format is asked for.
FORMATS: Mapping[str, Callable[[Record, Lang, Entry | None, Path | None], bytes]] = {
    "text": _text,
    "json": _json,
    "html": _html,
    "xlsx": _xlsx,
    "docx": _docx,
    "oscal": _oscal,
}
