"""``govsec monitor``: what a capture file or an interface shows, in flows and findings."""

from __future__ import annotations

from govsec.cli import frame, monitordismiss, monitorexplain, monitorreplay, monitorviews, monitorwatch


def register(parser: frame.Parser) -> None:
    """Add the verbs."""
    verbs = frame.verbs_of(parser)
    monitorreplay.register(verbs)
    monitorwatch.register(verbs)
    monitorviews.register(verbs)
    monitorexplain.register(verbs)
    monitordismiss.register(verbs)
