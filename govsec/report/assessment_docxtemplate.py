"""The shipped Word form for assessments, built here and not stored: what it says can be read, and its bytes repeated.

Expressions follow docxtpl: ``{{ value }}``, ``{%p … %}`` in a paragraph of its own and ``{%tr … %}`` in a table row of
its own, both of which vanish. The values are those of :func:`govsec.report.assessment_docx.context`.
"""

from __future__ import annotations

from govsec.report.assessment import VERDICTS
from govsec.report.catalog import Catalogue, Lang
from govsec.report.docxform import Form


def build_template(lang: Lang) -> bytes:
    """The form in one language, as a .docx.

    Raises:
        ConfigurationError: the extra ``office`` is not installed.
    """
    words = Catalogue("assessment", lang)
    form = Form("{{ system }} · {{ disclaimer }} · {{ number }}")
    _first_page(form, words)
    _lists(form, words)
    _details(form, words)
    form.heading(words.text("section.limits"))
    form.repeated("limits", "line", "{{ loop.index }}. {{ line }}")
    form.heading(words.text("section.signatures"))
    role_names = [words.text(f"label.role_{role}") for role in ("lead", "review", "approve")]
    form.table([[*role_names], ["\n\n"] * 3, [words.text("label.sign_date")] * 3], (58, 58, 58))
    return form.save()


def _first_page(form: Form, words: Catalogue) -> None:
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


def _lists(form: Form, words: Catalogue) -> None:
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


def _details(form: Form, words: Catalogue) -> None:
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
