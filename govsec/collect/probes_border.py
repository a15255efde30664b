"""Probes about a host that stands between zones or at the edge of a network: what it lets through, what it records."""

from __future__ import annotations

from typing import Literal

from govsec.collect.probe_base import Privilege, ProbeModel


class BorderProbe(ProbeModel):
    """What the packet filter of a gateway lets through, rule by rule, and what it records.

    Fact::

        {forwards: {ipv4: bool|null, ipv6: bool|null},     # packets go from one interface to another
         bridges: [str],             # with two ports and more: frames cross them without meeting rules for forwarding
         forward: [{tool: "nft"|"iptables"|"ip6tables", table, name, ipv4: bool, ipv6: bool,
                    default_deny: bool,                    # what no rule accepts is dropped or rejected
                    drops_invalid: bool,                   # of connections that are none, before any other accept
                    log_prefixes: [str],                   # of rules that record whatever comes to them
                    accepts: [{rule: str, source: "address"|"interface"|"", destination: "address"|"interface"|"",
                               protocol: str, ports: bool, states: [str], other: bool}],
                    truncated: bool}],                     # not every rule was followed
         input: the same,
         record: {source: bool, destination: bool, protocol: bool, year: bool, prefix: str, days: number|null}|null}

    ``forward`` and ``input`` are the base chains at these hooks; a packet has to be accepted by each. An ``accepts``
    is a way to an accept with all conditions on it; what was denied before is not taken off. ``""``: any. ``ports``:
    a port of the destination or a type of ICMP. A match turned round (``!=``) or unknown is ``other``. ``record``: the
    newest record of a packet in the system log, ``null`` where there is none. No tool could list rules: ``error``.
    """

    kind: Literal["border"] = "border"
    privilege: Privilege = "sudo"
