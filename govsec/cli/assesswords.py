"""What ``govsec assess`` and ``govsec system`` say in the reader's language: headings, figures, what was verified."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # see govsec.cli.assessrun
    from govsec.assemble.runs import RunCheck
    from govsec.cli.frame import IO
    from govsec.policy.runfolder import StoredRun
    from govsec.report.catalog import Catalogue, Lang


def lang_of(io: IO) -> Lang:
    """The language of what people read."""
    return "en" if io.lang == "en" else "zh"


def words_of(io: IO) -> Catalogue:
    """The words of these topics."""
    from govsec.report.catalog import Catalogue

    return Catalogue("assess", lang_of(io))


def heads(words: Catalogue, *keys: str) -> list[str]:
    """The headings of a table; an empty key is an empty heading."""
    return [words.text(f"head.{key}") if key else "" for key in keys]


def percent(share: float | None) -> str:
    """A share as people read it."""
    return "-" if share is None else f"{100 * share:.1f} %"


def value(words: Catalogue, value: float | None, is_confirmed: bool) -> str:
    """A figure, never without its status."""
    if value is None:
        return "-"
    return f"{value:.2f}" if is_confirmed else words.text("text.unconfirmed", {"value": f"{value:.2f}"})


def verify_words(words: Catalogue, run: StoredRun, check: RunCheck, *, is_asked: bool) -> str:
    """What verifying came to; ``is_asked``: there was a ledger to ask."""
    text = words.text
    lines = [f"{text('flaw.' + flaw.what)}: {flaw.name}" for flaw in check.flaws]
    if check.is_contradicted:
        lines.append(text("text.contradicted"))
    if check.ledger_problems_count:
        lines.append(text("text.ledger_problems", {"count": check.ledger_problems_count}))
    lines += [text("text.vanished", {"run": run_id}) for run_id in check.vanished]
    if check.is_intact:
        lines.append(text("text.intact", {"count": len(run.manifest.files)}))
        if check.entry is None:
            lines.append(text("text.not_on_record" if is_asked else "text.no_ledger"))
        else:
            entry = {"number": check.entry.number, "chain": check.entry.chain, "digest": check.entry.digest}
            lines.append(text("text.on_record", entry))
    return "\n".join(lines)
