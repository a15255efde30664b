"""``govsec monitor probe``: the services of the configuration, asked as their users ask them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Literal

from govsec.cli import frame, texts

if TYPE_CHECKING:  # pydantic takes its time; `govsec monitor --help` does without it
    from govsec.services.pagebaseline import AcceptedPage


def register(verbs: frame.Verbs[frame.Parser]) -> None:
    """Add the verb ``probe``."""
    probe = frame.add_verb(
        verbs,
        "probe",
        run_probe,
        "ask the services of the configuration: steps, certificates, figures, pages; 1 when something was found",
        examples=["govsec monitor probe", "govsec monitor probe portal --json", "govsec monitor probe --accept"],
    )
    probe.add_argument("names", nargs="*", metavar="SERVICE", help="only these (default: all)")
    probe.add_argument(
        "--accept", action="store_true", help="the pages as they are now are what later ones are held against"
    )


def run_probe(args: argparse.Namespace, io: frame.IO) -> int:
    """Ask, or accept."""
    from govsec.assemble.services import SiteServices, probed_record
    from govsec.report.services import probe_words

    config = io.config()  # says the language, too
    lang: Literal["zh", "en"] = "en" if io.lang == "en" else "zh"
    with SiteServices(config, io.clock, names=args.names) as services:
        if args.accept:
            accepted = services.accept()
            io.result({"accepted": [_accepted_record(page) for page in accepted]}, _accepted_words(accepted, lang))
            return 0
        report = services.probe()
    records = [probed_record(probed) for probed in report.services]
    result = {
        "services": records,
        "findings": [finding.canonical() for finding in report.findings],
        "suppressed": report.suppressed,
    }
    io.result(result, lambda: texts.printable_lines(probe_words(records, report.findings, report.suppressed, lang)))
    return 1 if report.findings else 0


def _accepted_record(page: AcceptedPage) -> dict[str, object]:
    return {
        "url": page.url,
        "texts": len(page.texts),
        "targets": sorted(page.targets),
        "hidden": sorted(page.hidden),
        "words": sorted(page.words),
    }


def _accepted_words(accepted: tuple[AcceptedPage, ...], lang: Literal["zh", "en"]) -> str:
    """What was accepted, and what of it a person should look at before believing it."""
    from govsec.report.catalog import Catalogue, plain

    words = Catalogue("services", lang)
    lines = [words.text("accepted", {"count": len(accepted)})]
    for page in accepted:
        facts = {"url": plain(page.url), "texts": len(page.texts), "targets": len(page.targets)}
        lines.append(words.text("accepted_page", facts))
        if page.hidden:
            lines.append(words.text("accepted_hidden", {"hosts": plain(", ".join(sorted(page.hidden)[:8]))}))
        if page.words:
            lines.append(words.text("accepted_words", {"words": ", ".join(sorted(page.words)[:8])}))
    return texts.printable_lines("\n".join(lines))
