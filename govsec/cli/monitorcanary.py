"""``govsec monitor canary``: bait against ransomware, placed, listed and removed."""

from __future__ import annotations

import argparse
from pathlib import Path

from govsec.cli import frame
from govsec.cli.monitorreplay import tongue
from govsec.clock import format_time


def register(verbs: frame.Verbs[frame.Parser]) -> None:
    """Add the verb ``canary`` with its own verbs."""
    canary = verbs.add_parser("canary", help="bait against ransomware: files that nobody has a reason to write to")
    inner = frame.verbs_of(canary, dest="canary_verb")
    place = frame.add_verb(
        inner,
        "place",
        run_place,
        "put two canaries into a folder, one that sorts first and one that sorts last",
        examples=["govsec monitor canary place /srv/share/office"],
    )
    place.add_argument("folder", type=Path, metavar="FOLDER")
    remove = frame.add_verb(
        inner,
        "remove",
        run_remove,
        "take the canaries of a folder away, without alarm",
        examples=["govsec monitor canary remove /srv/share/office"],
    )
    remove.add_argument("folder", type=Path, metavar="FOLDER")
    frame.add_verb(
        inner, "list", run_list, "which canaries are in place", examples=["govsec monitor canary list --json"]
    )


def run_place(args: argparse.Namespace, io: frame.IO) -> int:
    """Place canaries."""
    from govsec.assemble.guard import canaries_of
    from govsec.report.catalog import Catalogue

    placed = canaries_of(io.config()).place(args.folder, io.clock)
    words = Catalogue("guard", tongue(io))
    facts = {"placed": [one.model_dump(mode="json") for one in placed]}
    io.result(facts, "\n".join(words.text("canary.placed", {"path": one.path}) for one in placed))
    return 0


def run_remove(args: argparse.Namespace, io: frame.IO) -> int:
    """Remove canaries."""
    from govsec.assemble.guard import canaries_of
    from govsec.report.catalog import Catalogue

    removed = canaries_of(io.config()).remove(args.folder)
    words = Catalogue("guard", tongue(io))
    facts = {"removed": [one.path for one in removed]}
    io.result(facts, "\n".join(words.text("canary.removed", {"path": one.path}) for one in removed))
    return 0


def run_list(args: argparse.Namespace, io: frame.IO) -> int:
    """List canaries."""
    from govsec.assemble.guard import canaries_of
    from govsec.report.catalog import Catalogue

    found = canaries_of(io.config()).all()
    words = Catalogue("guard", tongue(io))
    lines = [words.text("canary.listed", {"path": one.path, "placed": format_time(one.placed)}) for one in found]
    io.result(
        {"canaries": [one.model_dump(mode="json") for one in found]}, "\n".join(lines) or words.text("canary.none")
    )
    return 0
