"""``govsec monitor``: what a capture file, an interface or a machine shows."""

from __future__ import annotations

from govsec.cli import frame, monitordismiss, monitorexplain, monitorhost, monitorreplay, monitorviews, monitorwatch


def register(parser: frame.Parser) -> None:
    """Add the verbs."""
    verbs = frame.verbs_of(parser)
    monitorreplay.register(verbs)
    monitorwatch.register(verbs)
    monitorviews.register(verbs)
    monitorexplain.register(verbs)
    monitorhost.register(verbs)
    monitordismiss.register(verbs)
