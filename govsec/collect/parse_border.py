"""Gateways: what is asked of a host that passes packets on, and how its rules become a fact."""

from __future__ import annotations

import json
import re
from datetime import datetime

from pydantic import JsonValue

from govsec.collect.filterrules import BaseChain, told
from govsec.collect.iptablesrules import iptables_chains
from govsec.collect.nftrules import has_foreign, nft_chains
from govsec.collect.parse_firewall import FIREWALL
from govsec.collect.probes_border import BorderProbe
from govsec.collect.readers import texts
from govsec.collect.sources import NoFactError, Reading, Source

# A switch is told by its ports; a host with containers has one as well.
BORDER = Source(
    "border",
    """mark forwarding
grep -H . /proc/sys/net/ipv4/conf/*/forwarding /proc/sys/net/ipv6/conf/*/forwarding
mark bridges
for d in /sys/class/net/*/brif; do
  [ -d "$d" ] || continue
  n=0; for p in "$d"/*; do [ -e "$p" ] && n=$((n + 1)); done
  b=${d%/brif}; echo "$n ${b##*/}"
done
[ -d /sys/class/net ] && echo known
mark records
e=' SRC=[^ ]* DST=[^ ]* .*PROTO='
for f in /var/log/kern.log /var/log/messages /var/log/syslog; do
  [ -r $f ] && lim tail -c 262144 $f | grep -a -e "$e" | tail -n 1 && break
done
have journalctl && lim journalctl -k -q --no-pager -o short-iso -n 3000 | grep -a -e "$e" | tail -n 1
:""",
    sudo=True,
    timeout_s=30,
    size_max=64 << 10,
)
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:?[0-9]{2})")
_PACKET = re.compile(r"(?:kernel:|\] )\s*(?:\[[ 0-9.]+\] ?)?(.*?)\s*\bIN=\S* OUT=")


def border_sources(probe: BorderProbe) -> tuple[Source, ...]:
    """The rules that ``FirewallProbe`` asks for, whether packets are passed on, bridges, the newest record."""
    return (FIREWALL, BORDER)


def parse_border(probe: BorderProbe, reading: Reading) -> JsonValue:
    """See :class:`BorderProbe`."""
    parts = {record.partition("\n")[0]: record.partition("\n")[2] for record in reading.records("firewall")}
    asked = {record.partition("\n")[0]: record.partition("\n")[2] for record in reading.records("border")}
    chains = _chains(parts)
    bridges = [line.split(None, 1) for line in asked.get("bridges", "").split("\n") if line.strip()]
    if ["known"] not in bridges:
        raise NoFactError("error", "the host does not show its network interfaces")
    lines = [line for line in asked.get("records", "").split("\n") if line.strip()]
    records = [found for line in lines if (found := _record(line, reading.now)) is not None]
    return {
        "forwards": {family: _forwards(asked.get("forwarding", ""), family) for family in ("ipv4", "ipv6")},
        "bridges": texts(
            sorted(words[1] for words in bridges if len(words) == 2 and words[0].isdigit() and int(words[0]) > 1)
        ),
        "forward": [told(chain) for chain in chains if chain.hook == "forward"],
        "input": [told(chain) for chain in chains if chain.hook == "input"],
        "record": max(records, key=lambda record: (record["year"] is True, record["source"] is True), default=None),
    }


def _chains(parts: dict[str, str]) -> list[BaseChain]:
    """Every base chain that some tool lists.

    Raises:
        NoFactError: no tool could.
    """
    body, _, code = parts.get("nft", "").rpartition("\nrc=")
    listing: object = None
    if code.strip() == "0":
        try:
            listing = json.loads(body)
        except (ValueError, RecursionError):
            listing = None
    chains = nft_chains(listing)
    is_told = listing is not None
    for name, family in (("iptables", "ip"), ("ip6tables", "ip6")):
        text = parts.get(f"nft {name}") or parts.get(name, "")
        is_told = is_told or "rc=0" in text.split("\n")
        if found := iptables_chains(text, is_ipv6=family == "ip6"):
            # nft shows rules of iptables without what it has no words for.
            if has_foreign(listing, family):
                chains = [chain for chain in chains if chain.table != f"{family} filter"]
            chains += found
    if not is_told:
        raise NoFactError("error", "no tool of the host could list the rules of its packet filter")
    return chains


def _forwards(text: str, family: str) -> bool | None:
    values = [line.rsplit(":", 1)[-1] for line in text.split("\n") if f"/net/{family}/" in line]
    # No such files: the kernel does without that family.
    return any(value != "0" for value in values) if values or "/net/" in text else None


def _record(line: str, now: datetime) -> dict[str, JsonValue] | None:
    """What a line of the log says of a packet; None where it is no such line."""
    fields = dict(re.findall(r"\b(SRC|DST|PROTO)=(\S+)", line))
    packet = _PACKET.search(line)
    if packet is None:
        return None
    stamp = _ISO.match(line)
    days: float | None = None
    if stamp is not None:
        written = stamp[0] if stamp[0][-3] in ":Z" or stamp[0].endswith("Z") else f"{stamp[0][:-2]}:{stamp[0][-2:]}"
        try:
            days = round((now - datetime.fromisoformat(written)).total_seconds() / 86400, 2)
        except ValueError:
            stamp = None
    return {
        "source": "SRC" in fields,
        "destination": "DST" in fields,
        "protocol": "PROTO" in fields,
        "year": stamp is not None,
        "prefix": packet[1][:60],
        "days": days,
    }
