"""Time and interfaces: what is asked of a host, and how its answers are read."""

from __future__ import annotations

import re

from pydantic import JsonValue

from govsec.collect.parse_software import RUNNING, running_names
from govsec.collect.probes_host import NetworkProbe, TimeProbe
from govsec.collect.readers import decimal_number, plain_lines, texts, whole_number
from govsec.collect.sources import NoFactError, Reading, Source

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
