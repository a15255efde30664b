"""Packet filter: nft, iptables, firewalld, ufw; and what the kernel says where none of them is installed.

One idea: only what looks at packets *for this host* protects it. Docker fills the tables with rules of its own, all of
them about containers; a host whose filter consists of these has none. IPv4 and IPv6 are told apart, because a rule for
one leaves the other open.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from govsec.collect.probes_host import FirewallProbe
from govsec.collect.sources import NoFactError, Reading, Source

# iptables is asked only where its tables are loaded already, or where it speaks to nft: asking would load them. What
# nft lists of rules that iptables made lacks what nft has no words for ("xt"): these are listed once more, by iptables.
# Where nft is there and no table of the old kind is loaded, nft has told everything.
FIREWALL = Source(
    "firewall",
    """x=; have nft && { x=$(lim nft -j list ruleset); r=$?; mark nft; printf '%s\\nrc=%s\\n' "$x" $r; }
for t in iptables ip6tables; do
  have $t || continue
  mark $t
  case $t in iptables) p=/proc/net/ip_tables_names;; *) p=/proc/net/ip6_tables_names;; esac
  n=; [ -e $p ] && n=$(cat $p)
  if have nft && [ -z "$n" ]; then case $x in *'{"xt":'*) ;; *) continue;; esac; fi
  case $(lim $t -V) in
  *nf_tables*) if ! have nft; then lim $t -S; echo "rc=$?"
    else case $x in *'{"xt":'*) mark "nft $t"; lim $t -S; echo "rc=$?";; esac; fi;;
  *) case $n in *filter*) lim $t -S; echo "rc=$?";; *) [ -d /proc/net ] && echo rc=0;; esac;;
  esac
done
have firewall-cmd && { mark firewalld; lim firewall-cmd --state; lim firewall-cmd --get-default-zone; }
have ufw && { mark ufw; lim ufw status | head -n 1; }
mark kernel
if [ -d /proc/net/ ]; then for t in ip ip6; do
  f=/proc/net/${t}_tables_names
  if [ ! -e $f ]; then echo "$t none"; elif n=$(cat $f); then echo "$t ${n:+rules}"; fi
done; fi
k=$(uname -r); c=
if [ -r "/boot/config-$k" ]; then c=$(grep 'CONFIG_NF_TABLES[= ]' "/boot/config-$k")
elif [ -r /proc/config.gz ] && have zcat; then c=$(lim zcat /proc/config.gz | grep 'CONFIG_NF_TABLES[= ]'); fi
m=; [ -r /proc/modules ] && { m=none; grep -q '^nf_tables ' /proc/modules && m=rules; }
b=; f=/lib/modules/$k/modules.builtin; [ -r "$f" ] && { b=none; grep -q /nf_tables.ko "$f" && b=rules; }
echo "nft config=$c modules=$m builtin=$b"
mark ipv6
[ -d /proc/net/ ] && { echo known; [ -r /proc/net/if_inet6 ] && grep -v ' lo$' /proc/net/if_inet6; }
:""",
    sudo=True,
    timeout_s=30,  # thousands of rules take their time
    size_max=1 << 20,
)
#: Chains that other programs keep for their own ends: their rules say nothing of who may reach the host.
_FOREIGN = re.compile(
    r"(DOCKER|KUBE|LIBVIRT|CNI|FLANNEL|cali|cilium|CILIUM|f2b|fail2ban|PODMAN|NETAVARK|LXC|WEAVE)([-_].*)?|DOCKER.*"
)
_DENIALS = ("drop", "reject")


@dataclass(frozen=True, slots=True)
class _Side:
    """What one protocol's input meets."""

    is_active: bool = False
    denies: bool = False


def firewall_sources(probe: FirewallProbe) -> tuple[Source, ...]:
    """nft, the iptables that is loaded, firewalld, ufw, and the kernel's own word."""
    return (FIREWALL,)


def parse_firewall(probe: FirewallProbe, reading: Reading) -> JsonValue:
    """See :class:`FirewallProbe`."""
    parts = {record.partition("\n")[0]: record.partition("\n")[2] for record in reading.records("firewall")}
    nft, listed = _nft(parts.get("nft"))
    tables = {name: _iptables(parts.get(name)) for name in ("iptables", "ip6tables")}
    firewalld = parts.get("firewalld", "").split("\n")
    is_firewalld = firewalld[0].strip() == "running"
    is_ufw = "Status: active" in parts.get("ufw", "")
    kernel = _kernel(parts.get("kernel", ""))
    is_told = nft["readable"] or any(table["readable"] for table, _ in tables.values()) or is_firewalld or is_ufw
    if not is_told and not (kernel == "none" and not set(parts) & {"nft", "iptables", "ip6tables"}):
        raise NoFactError("error", "no tool of the host could say what its packet filter does")
    counts = [nft["rules_count"], *(table["rules_count"] for table, _ in tables.values())]
    sides = {4: (_input(listed, ("ip", "inet")), tables["iptables"][1])}
    sides[6] = (_input(listed, ("ip6", "inet")), tables["ip6tables"][1])
    denies = {version: any(side.denies for side in both) for version, both in sides.items()}
    active = {version: is_firewalld or any(side.is_active for side in both) for version, both in sides.items()}
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
        "kernel": kernel,
        "rules_count": sum(count for count in counts if isinstance(count, int)),
        "default_deny_input": denies[4],
        "active": active[4] or is_ufw,
        "ipv6": {"enabled": _ipv6(parts.get("ipv6")), "default_deny_input": denies[6], "active": active[6]},
    }


def _kernel(text: str) -> str | None:
    """Whether the kernel may hold rules, where it says so for each of the three places that rules are kept in."""
    said = {words[0]: words[1:] for line in text.split("\n") if (words := line.split())}
    nft = dict(
        re.findall(r"(config|modules|builtin)=([^\n]*?)(?= modules=| builtin=|$)", " ".join(said.pop("nft", [])))
    )
    if "rules" in (nft.get("modules"), nft.get("builtin")) or nft.get("config", "").endswith("=y"):
        return "rules"
    if any("rules" in words for words in said.values()):
        return "rules"
    is_left_out = nft.get("config", "").endswith("is not set")
    # What is neither built in nor loaded holds nothing.
    is_not_loaded = nft.get("modules") == "none" and (
        nft.get("builtin") == "none" or nft.get("config", "")[-2:] == "=m"
    )
    return "none" if (is_left_out or is_not_loaded) and {"ip", "ip6"} <= said.keys() else None


def _ipv6(text: str | None) -> bool | None:
    lines = (text or "").split()
    return len(lines) > 1 if lines[:1] == ["known"] else None


@dataclass(frozen=True, slots=True)
class _Listed:
    """What ``nft -j list ruleset`` listed."""

    chains: Sequence[Mapping[str, Any]] = ()
    rules: Sequence[Mapping[str, Any]] = ()


def _nft(text: str | None) -> tuple[dict[str, JsonValue], _Listed]:
    nothing: dict[str, JsonValue] = {
        "present": text is not None, "readable": False, "tables_count": 0, "rules_count": 0, "input_policy": None,
    }  # fmt: skip
    body, _, code = (text or "").rpartition("\nrc=")
    if code.strip() != "0":
        return nothing, _Listed()
    try:
        listing = json.loads(body)
    except (ValueError, RecursionError):
        return nothing, _Listed()
    items = listing.get("nftables") if isinstance(listing, dict) else None
    if not isinstance(items, list):
        return nothing, _Listed()

    def parts(name: str) -> list[Mapping[str, Any]]:
        return [item[name] for item in items if isinstance(item, dict) and isinstance(item.get(name), dict)]

    listed = _Listed(parts("chain"), parts("rule"))
    policies = [str(chain.get("policy", "accept")) for chain in _inputs(listed, ("ip", "inet"))]
    return {
        **nothing,
        "readable": True,
        "tables_count": len(parts("table")),
        "rules_count": len(listed.rules),
        "input_policy": "drop" if "drop" in policies else "accept" if policies else None,
    }, listed


def _inputs(listed: _Listed, families: tuple[str, ...]) -> list[Mapping[str, Any]]:
    return [
        chain
        for chain in listed.chains
        if chain.get("hook") == "input" and chain.get("type") == "filter" and chain.get("family") in families
    ]


def _input(listed: _Listed, families: tuple[str, ...]) -> _Side:
    is_active = denies = False
    for chain in _inputs(listed, families):
        same = (("family", "family"), ("table", "table"), ("chain", "name"))
        rules = [_words(rule) for rule in listed.rules if all(rule.get(key) == chain.get(other) for key, other in same)]
        last = rules[-1] if rules else {}
        ends = bool(last) and set(last) <= {"counter", "log", *_DENIALS} and bool(set(last) & set(_DENIALS))
        denies = denies or chain.get("policy") == "drop" or ends
        is_active = is_active or denies or any(not _is_foreign(rule) for rule in rules)
    return _Side(is_active, denies)


def _words(rule: Mapping[str, Any]) -> dict[str, Any]:
    expression = rule.get("expr")
    parts = expression if isinstance(expression, list) else []
    return {word: value for part in parts if isinstance(part, dict) for word, value in part.items()}


def _is_foreign(rule: Mapping[str, Any]) -> bool:
    for word in ("jump", "goto"):
        target = rule.get(word)
        if isinstance(target, dict) and _FOREIGN.fullmatch(str(target.get("target"))):
            return True
    return False


def _iptables(text: str | None) -> tuple[dict[str, JsonValue], _Side]:
    lines = (text or "").split("\n")
    policies = {
        words[1]: words[2].lower() for line in lines if line.startswith("-P ") and len(words := line.split()) == 3
    }
    rules = [line for line in lines if line.startswith("-A ")]
    inputs = [line.strip() for line in rules if line.startswith("-A INPUT ")]
    own = [
        line for line in inputs if not ((found := re.search(r" -[jg] (\S+)", line)) and _FOREIGN.fullmatch(found[1]))
    ]
    ends = bool(inputs) and re.fullmatch(r"-A INPUT -j (DROP|REJECT)( .*)?", inputs[-1]) is not None
    is_readable = "rc=0" in lines
    denies = is_readable and (policies.get("INPUT") in _DENIALS or ends)
    fact: dict[str, JsonValue] = {
        "present": text is not None,
        "readable": is_readable,
        "rules_count": len(rules),
        "input_policy": policies.get("INPUT"),
        "forward_policy": policies.get("FORWARD"),
    }
    return fact, _Side(is_readable and (denies or bool(own)), denies)
