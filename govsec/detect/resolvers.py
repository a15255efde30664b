"""Which hosts answer names for others: what such a host asks, it asks for many, so more of it is usual.

More is asked of it before it is told, not everything forgiven: a host that only pretends to be a resolver still shows
when it asks a few times as much. Whoever hides behind a true one shows by his own questions, which are seen where the
resolver's answers are.
"""

from __future__ import annotations

from govsec.dissect.messages import DnsMessage
from govsec.findings.tables import Recent

#: Different hosts that were answered; a proxy of one machine answers itself.
_CLIENTS_MIN = 3


class Resolvers:
    """The hosts that answered at least three others, of the latest ``hosts_max`` that answered at all."""

    def __init__(self, hosts_max: int) -> None:
        self._served: Recent[str, set[str]] = Recent(hosts_max, set)

    def learn(self, message: DnsMessage) -> None:
        """Look at one message of the DNS."""
        if message.is_response and message.sender != message.receiver:
            clients = self._served.at(message.sender)
            if len(clients) < _CLIENTS_MIN:
                clients.add(message.receiver)

    def has(self, host: str) -> bool:
        """True when ``host`` answers for others."""
        clients = self._served.get(host)
        return clients is not None and len(clients) >= _CLIENTS_MIN
