"""``govsec monitor``: what a capture file, an interface, a service or the list of packages shows."""

from __future__ import annotations

from govsec.cli import (
    frame,
    monitorbaseline,
    monitorcanary,
    monitordismiss,
    monitorexplain,
    monitorhost,
    monitorinventory,
    monitorprobe,
    monitorreplay,
    monitorviews,
    monitorwatch,
)


def register(parser: frame.Parser) -> None:
    """Add the verbs."""
    verbs = frame.verbs_of(parser)
    monitorreplay.register(verbs)
    monitorwatch.register(verbs)
    monitorviews.register(verbs)
    monitorexplain.register(verbs)
    monitorprobe.register(verbs)
    monitordismiss.register(verbs)
    monitorhost.register(verbs)
    monitorinventory.register(verbs)
    monitorbaseline.register(verbs)
    monitorcanary.register(verbs)
