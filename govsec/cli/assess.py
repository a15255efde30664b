"""``govsec assess``: what graded protection asks of a system, what its hosts show, and what follows.

The verbs are in modules of their own: :mod:`govsec.cli.assessrun` runs and collects, :mod:`govsec.cli.assessview`
shows, compares and verifies what was stored, :mod:`govsec.cli.assesspeople` takes the words of people,
:mod:`govsec.cli.assessrisk` tells risks, and :mod:`govsec.cli.assesspack` looks after packs.
"""

from __future__ import annotations

from govsec.cli import assesspack, assesspeople, assessrisk, assessrun, assessview, frame


def register(parser: frame.Parser) -> None:
    """Add all verbs."""
    verbs = frame.verbs_of(parser)
    assessrun.register(verbs)
    assessview.register(verbs)
    assesspeople.register(verbs)
    assessrisk.register(verbs)
    assesspack.register(verbs)
