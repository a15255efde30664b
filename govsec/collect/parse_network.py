"""Packet filter, time and interfaces: what is asked of a host, and how its answers are read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from pydantic import JsonValue

from govsec.collect.parse_software import RUNNING, running_names
from govsec.collect.probes_host import FirewallProbe, NetworkProbe, TimeProbe
from govsec.collect.readers import decimal_number, plain_lines, texts, whole_number
from govsec.collect.sources import NoFactError, Reading, Source

# iptables is asked only where its tables are loaded already, or where it speaks to nft: asking would load them.
FIREWALL = Source(
    "firewall",
    """have nft && { mark nft; lim nft -j list ruleset; printf '\\nrc=%s\\n' $?; }
for t in iptables ip6tables; do
  have $t || continue
  case $t in iptables) p=/proc/net/ip_tables_names;; *) p=/proc/net/ip6_tables_names;; esac
  mark $t
  case $(lim $t -V) in
  *nf_tables*) have nft || { lim $t -S; echo "rc=$?"; };;
  *) if grep -q filter $p; then lim $t -S; echo "rc=$?"; elif [ -d /proc/net ]; then echo rc=0; fi;;
  esac
done
have firewall-cmd && { mark firewalld; lim firewall-cmd --state; lim firewall-cmd --get-default-zone; }
have ufw && { mark ufw; lim ufw status | head -n 1; }
:""",
    sudo=True,
    size_max=1 << 20,
)


def firewall_sources(probe: FirewallProbe) -> tuple[Source, ...]:
    """nft, the iptables that is loaded, firewalld, ufw."""
    return (FIREWALL,)


def parse_firewall(probe: FirewallProbe, reading: Reading) -> JsonValue:
    """See :class:`FirewallProbe`."""
    parts = {record.partition("\n")[0]: record.partition("\n")[2] for record in reading.records("firewall")}
    nft, nft_denies = _nft(parts.get("nft"))
    tables = {name: _iptables(parts.get(name)) for name in ("iptables", "ip6tables")}
    firewalld = parts.get("firewalld", "").split("\n")
    is_firewalld = firewalld[0].strip() == "running"
    is_ufw = "Status: active" in parts.get("ufw", "")
    if not (nft["readable"] or any(table["readable"] for table, _ in tables.values()) or is_firewalld or is_ufw):
        raise NoFactError("error", "no tool of the host could say what its packet filter does")
    counts = [nft["rules_count"], *(table["rules_count"] for table, _ in tables.values())]
    rules = sum(count for count in counts if isinstance(count, int))
    denies = nft_denies or tables["iptables"][1]
    return {
        "nft": nft,
        "iptables": tables["iptables"][0],
        "ip6tables": tables["ip6tables"][0],
        "firewalld": {
            "present": "firewalld" in parts,
            "active": is_firewalld,
            "default_zone": firewalld[1].strip() or None if is_firewalld and len(firewalld) > 1 else None,
        },
        "ufw": {"present": "ufw" in parts, "active": is_ufw},
        "rules_count": rules,
        "default_deny_input": denies,
        "active": denies or rules > 0 or is_firewalld or is_ufw,
    }


def _nft(text: str | None) -> tuple[dict[str, JsonValue], bool]:
    nothing: dict[str, JsonValue] = {
        "present": text is not None, "readable": False, "tables_count": 0, "rules_count": 0, "input_policy": None,
    }  # fmt: skip
    body, _, code = (text or "").rpartition("\nrc=")
    if code.strip() != "0":
        return nothing, False
    try:
        listing = json.loads(body)
    except (ValueError, RecursionError):
        return nothing, False
    items = listing.get("nftables") if isinstance(listing, dict) else None
    if not isinstance(items, list):
        return nothing, False
    tables = [item["table"] for item in items if isinstance(item, dict) and "table" in item]
    rules = [item["rule"] for item in items if isinstance(item, dict) and isinstance(item.get("rule"), dict)]
    chains = [item["chain"] for item in items if isinstance(item, dict) and isinstance(item.get("chain"), dict)]
    inputs = [
        chain for chain in chains
        if chain.get("hook") == "input" and chain.get("type") == "filter" and chain.get("family") in ("ip", "inet")
    ]  # fmt: skip
    policies = [str(chain.get("policy", "accept")) for chain in inputs]
    denies = "drop" in policies or any(_ends_in_denial(chain, rules) for chain in inputs)
    policy = "drop" if "drop" in policies else "accept" if policies else None
    return {
        **nothing,
        "readable": True,
        "tables_count": len(tables),
        "rules_count": len(rules),
        "input_policy": policy,
    }, denies


def _ends_in_denial(chain: dict[str, JsonValue], rules: Iterable[dict[str, JsonValue]]) -> bool:
    """Whether the last rule of a chain drops or rejects whatever reaches it."""
    same = (("family", "family"), ("table", "table"), ("chain", "name"))
    own = [rule for rule in rules if all(rule.get(key) == chain.get(other) for key, other in same)]
    expression = own[-1].get("expr") if own else None
    if not isinstance(expression, list):
        return False
    words = [key for part in expression if isinstance(part, dict) for key in part]
    return bool(words) and words[-1] in ("drop", "reject") and set(words[:-1]) <= {"counter", "log"}


def _iptables(text: str | None) -> tuple[dict[str, JsonValue], bool]:
    lines = (text or "").split("\n")
    policies = {
        words[1]: words[2].lower() for line in lines if line.startswith("-P ") and len(words := line.split()) == 3
    }
    rules = [line for line in lines if line.startswith("-A ")]
    last = next((line for line in reversed(rules) if line.startswith("-A INPUT ")), "")
    denies = policies.get("INPUT") in ("drop", "reject") or bool(
        re.fullmatch(r"-A INPUT -j (DROP|REJECT)( .*)?", last.strip())
    )
    fact: dict[str, JsonValue] = {
        "present": text is not None,
        "readable": "rc=0" in lines,
        "rules_count": len(rules),
        "input_policy": policies.get("INPUT"),
        "forward_policy": policies.get("FORWARD"),
    }
    return fact, denies and "rc=0" in lines


TIME = Source(
    "time",
    """have chronyc && { mark chrony; lim chronyc -n tracking; }
have timedatectl && { mark timedatectl; lim timedatectl show --no-pager || lim timedatectl status --no-pager; }
have ntpq && { mark ntpq; lim ntpq -pn; }
mark zone
if [ -h /etc/localtime ]; then readlink /etc/localtime; elif [ -r /etc/timezone ]; then head -n 1 /etc/timezone; fi
:""",
)
TIME_FILES = Source(
    "time_files",
    "show /etc/chrony.conf /etc/chrony/chrony.conf /etc/chrony/conf.d/*.conf /etc/chrony/sources.d/*.sources "
    "/etc/chrony.d/*.conf /etc/ntp.conf /etc/ntpsec/ntp.conf /etc/openntpd/ntpd.conf "
    "/etc/systemd/timesyncd.conf /etc/systemd/timesyncd.conf.d/*.conf",
)
_TIME_DAEMONS = {
    "chronyd": "chronyd",
    "ntpd": "ntpd",
    "ntpsec": "ntpsec",
    "systemd-timesyn": "systemd-timesyncd",
    "openntpd": "openntpd",
}


def time_sources(probe: TimeProbe) -> tuple[Source, ...]:
    """What the daemons say of themselves, and whom they are told to ask."""
    return (TIME, TIME_FILES, RUNNING)


def parse_time(probe: TimeProbe, reading: Reading) -> JsonValue:
    """See :class:`TimeProbe`."""
    parts = {record.partition("\n")[0]: record.partition("\n")[2] for record in reading.records("time")}
    names = running_names(reading)
    synchronized: bool | None = None
    offset_s: float | None = None
    stratum: int | None = None
    control = dict(re.findall(r"(?m)^\s*([A-Za-z ]+?)\s*[=:]\s*(.*?)\s*$", parts.get("timedatectl", "")))
    state = control.get("NTPSynchronized", control.get("System clock synchronized", control.get("NTP synchronized")))
    if state in ("yes", "no"):
        synchronized = state == "yes"
    chrony = dict(re.findall(r"(?m)^([A-Za-z ]+?)\s*:\s*(.*?)\s*$", parts.get("chrony", "")))
    if chrony:
        stratum = whole_number(chrony.get("Stratum", ""))
        synchronized = chrony.get("Leap status") == "Normal" and stratum not in (None, 0)
        match = re.match(r"([0-9.]+) seconds (slow|fast)", chrony.get("System time", ""))
        seconds = decimal_number(match.group(1)[:20]) if match else None
        offset_s = (seconds if match and match.group(2) == "fast" else -seconds) if seconds is not None else None
    peer = re.search(r"(?m)^\*\S+\s+\S+\s+([0-9]{1,2})\s.*?\s(-?[0-9.]+)\s+[0-9.]+\s*$", parts.get("ntpq", ""))
    if "ntpq" in parts and not chrony:
        synchronized = peer is not None
        milliseconds = decimal_number(peer.group(2)) if peer else None
        stratum = int(peer.group(1)) if peer else None
        offset_s = round(milliseconds / 1000, 6) if milliseconds is not None else None
    servers: list[str] = []
    for lines in reading.files("time_files").values():
        for line in plain_lines(lines, "#!%"):
            if match := re.match(r"(?:server|servers|pool|peer)\s+(\S+)", line):
                servers.append(match.group(1))
            elif match := re.match(r"NTP\s*=\s*(.*)", line):
                servers += match.group(1).split()
    zone = parts.get("zone", "").strip().split("zoneinfo/")[-1]
    return {
        "services": texts(word for name, word in _TIME_DAEMONS.items() if name in (names or ())),
        "synchronized": synchronized,
        "offset_s": offset_s,
        "stratum": stratum,
        "servers": texts(dict.fromkeys(servers)),
        "timezone": zone[:80] or None,
    }


NETWORK = Source(
    "network",
    """need ip
mark addresses; lim ip -o addr show || exit $?
mark links; lim ip -o link show
mark routes; lim ip route show default; lim ip -6 route show default
mark ipv6; [ -r /proc/sys/net/ipv6/conf/all/disable_ipv6 ] && cat /proc/sys/net/ipv6/conf/all/disable_ipv6
:""",
    size_max=512 << 10,
)
RESOLVERS = Source("resolvers", "show /etc/resolv.conf")


def network_sources(probe: NetworkProbe) -> tuple[Source, ...]:
    """``ip``, and the resolver's file."""
    return (NETWORK, RESOLVERS)


def parse_network(probe: NetworkProbe, reading: Reading) -> JsonValue:
    """See :class:`NetworkProbe`."""
    parts = {record.partition("\n")[0]: record.partition("\n")[2] for record in reading.records("network")}
    addresses: dict[str, list[str]] = {}
    for name, address in re.findall(r"(?m)^[0-9]+: (\S+)\s+inet6? (\S+)", parts.get("addresses", "")):
        addresses.setdefault(name.split("@")[0], []).append(address)
    interfaces: list[JsonValue] = [
        {
            "name": name.split("@")[0],
            "up": "UP" in flags.split(","),
            "promiscuous": "PROMISC" in flags.split(","),
            "addresses": texts(addresses.get(name.split("@")[0], [])),
        }
        for name, flags in re.findall(r"(?m)^[0-9]+: (\S+?):? <([A-Z0-9_,-]*)>", parts.get("links", ""))
    ]
    if not interfaces:
        raise NoFactError("error", "the host named no interface")
    files = reading.files("resolvers")
    return {
        "interfaces": interfaces[:500],
        "default_gateways": texts(re.findall(r"(?m)^default via (\S+)", parts.get("routes", ""))[:50]),
        "resolvers": texts(
            words[1]
            for lines in files.values()
            for line in lines
            if len(words := line.split()) > 1 and words[0] == "nameserver"
        ),
        "ipv6_enabled": parts.get("ipv6", "").strip() == "0",
    }
