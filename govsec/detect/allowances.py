"""What the configuration allows: kinds of findings between named networks, until a day."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from govsec.config import AllowConfig
from govsec.errors import ConfigurationError
from govsec.findings.quiet import Allowance
from govsec.net.addresses import Prefix, parse
from govsec.records import Finding


def allowances_of(entries: Iterable[AllowConfig]) -> list[Allowance]:
    """The entries, ready to be compared with findings."""
    return [NetworkAllowance(entry) for entry in entries]


class NetworkAllowance:
    """An entry of the configuration, ready to be compared."""

    def __init__(self, entry: AllowConfig) -> None:
        self.name = entry.name
        self._entry = entry
        self._sides = (
            ("originators", [Prefix.parse(network) for network in entry.originators]),
            ("responders", [Prefix.parse(network) for network in entry.responders]),
        )

    def covers(self, finding: Finding) -> bool:
        is_in_force = finding.time.date() < self._entry.expires
        return (
            is_in_force
            and finding.kind in self._entry.kinds
            and all(self._fits(finding, *side) for side in self._sides)
        )

    def _fits(self, finding: Finding, side: str, networks: Sequence[Prefix]) -> bool:
        """All hosts of the side lie in the networks. Where the finding does not list them all, it cannot be known."""
        if not networks:
            return True
        hosts = finding.facts.get(side)
        if not isinstance(hosts, list) or not hosts or f"{side}_count" in finding.facts:
            return False
        return all(any(_lies_in(str(host), network) for network in networks) for host in hosts)


def _lies_in(host: str, network: Prefix) -> bool:
    try:
        hi, lo = parse(host)
    except ConfigurationError:  # a hardware address: allowances are of networks
        return False
    shift = 128 - network.bits
    return (hi << 64 | lo) >> shift == (network.hi << 64 | network.lo) >> shift
