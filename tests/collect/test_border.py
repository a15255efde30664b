"""What a gateway lets through: the same policy for nft and for iptables, in a network of its own, and rules that only
look as if they refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govsec.clock import SystemClock
from govsec.collect.collect import collect
from govsec.collect.kinds import parse
from govsec.collect.probes_border import BorderProbe
from govsec.collect.probes_host import FirewallProbe
from govsec.collect.shapes import fact_shapes
from govsec.collect.sources import Answer, NoFactError
from govsec.collect.transport import LocalTransport
from tests.collect.samples import reading
from tests.support.require import require, require_root

CLOCK = SystemClock()
NFT = """
table inet border {
  set admins { type ipv4_addr; flags interval; elements = { 10.9.0.0/24 } }
  set nobody { type ipv4_addr; }
  map services { type ipv4_addr . inet_service : verdict; elements = { 192.0.2.20 . 8443 : accept } }
  chain input {
    type filter hook input priority 0; policy drop;
    ct state vmap { invalid : drop, established : accept, related : accept }
    iifname "lo" accept
    ip saddr @admins tcp dport 22 ct state new accept
    log prefix "border-denied "
  }
  chain web {
    ip daddr 192.0.2.10 tcp dport { 80, 443 } accept
  }
  chain forward {
    type filter hook forward priority 0; policy accept;
    ct state established,related accept
    ct state invalid drop
    iifname "wan" oifname "dmz" ct state new jump web
    ip saddr 10.1.0.0/16 ip daddr . tcp dport vmap @services
    limit rate 10/second log prefix "border-denied " counter
    counter drop
  }
}
"""
IPTABLES = """
iptables -P INPUT DROP
iptables -A INPUT -i lo -j ACCEPT
iptables -N web
iptables -A web -d 192.0.2.10/32 -p tcp -m multiport --dports 80,443 -j ACCEPT
iptables -P FORWARD DROP
iptables -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -A FORWARD -m conntrack --ctstate INVALID -j DROP
iptables -A FORWARD -i wan -o dmz -m conntrack --ctstate NEW -m comment --comment "-j ACCEPT to the web" -j web
iptables -A FORWARD -p tcp -j TCPMSS --clamp-mss-to-pmtu
iptables -A FORWARD ! -s 10.1.0.0/16 -d 192.0.2.20/32 -p tcp --dport 8443 -j ACCEPT
iptables -A FORWARD -m limit --limit 5/min -j LOG --log-prefix "border-denied "
"""
BRIDGES = """set -e
mount -t sysfs none /sys
ip link add sw type bridge
ip link add single type bridge
for n in 1 2; do ip link add p$n type veth peer name q$n; ip link set p$n master sw; done
exec sh "$@"
"""


def _asked(folder: Path, commands: str) -> Any:
    """What this machine answers in a network of its own, set up by ``commands``."""
    require_root()
    setup = folder / "setup.sh"
    setup.write_text(f'set -e\n{commands}\nexec sh "$@"\n', encoding="utf-8")
    interpreter = ("unshare", "--net", "sh", str(setup))
    facts = collect("gate", [BorderProbe(), FirewallProbe()], LocalTransport(CLOCK, interpreter=interpreter), CLOCK)
    outcome = facts.outcomes[BorderProbe().identity]
    assert outcome.status == "ok", outcome.reason
    assert list(fact_shapes()["border"].misfits(outcome.value)) == []
    return outcome.value


def _ends(chain: dict[str, Any]) -> list[tuple[str, str, str, bool, tuple[str, ...], bool]]:
    return [
        (one["source"], one["destination"], one["protocol"], one["ports"], tuple(one["states"]), one["other"])
        for one in chain["accepts"]
    ]


RETURN = ("", "", "", False, ("established", "related"), False)
WEB = ("interface", "address", "tcp", True, ("new",), False)


def test_rules_of_nft_are_followed_through_chains_maps_and_sets(tmp_path: Path) -> None:
    require("nft")
    (tmp_path / "rules.nft").write_text(NFT, encoding="utf-8")
    found = _asked(tmp_path, f"nft -f {tmp_path}/rules.nft; echo 1 > /proc/sys/net/ipv4/ip_forward")

    assert found["forwards"] == {"ipv4": True, "ipv6": False}
    (forward,), (into,) = found["forward"], found["input"]
    assert _ends(forward) == [RETURN, WEB, ("address", "address", "tcp", True, (), False)]
    assert _ends(into) == [
        ("", "", "", False, ("established",), False),
        ("", "", "", False, ("related",), False),
        ("address", "", "tcp", True, ("new",), False),
    ]
    assert (forward["default_deny"], forward["drops_invalid"], into["drops_invalid"]) == (True, True, True)
    assert forward["log_prefixes"] == into["log_prefixes"] == ["border-denied "]
    assert (forward["ipv4"], forward["ipv6"], forward["truncated"]) == (True, True, False)


def test_rules_of_iptables_are_told_in_full_also_where_nft_has_no_words_for_them(tmp_path: Path) -> None:
    require("nft")
    require("iptables")
    found = _asked(tmp_path, IPTABLES)

    forward = next(chain for chain in found["forward"] if chain["ipv4"])
    assert forward["tool"] == "iptables"
    assert _ends(forward) == [RETURN, WEB, ("", "address", "tcp", True, (), True)]
    assert (forward["default_deny"], forward["drops_invalid"], forward["log_prefixes"]) == (
        True,
        True,
        ["border-denied "],
    )
    assert found["forwards"] == {"ipv4": False, "ipv6": False}
    assert [chain["default_deny"] for chain in found["input"] if chain["ipv4"]] == [True]


def test_a_bridge_of_two_ports_is_told(tmp_path: Path) -> None:
    require("nft")
    require("ip")
    require_root()
    script = tmp_path / "setup.sh"
    script.write_text(BRIDGES, encoding="utf-8")
    interpreter = ("unshare", "--net", "--mount", "--propagation", "private", "sh", str(script))
    facts = collect("gate", [BorderProbe()], LocalTransport(CLOCK, interpreter=interpreter), CLOCK)
    value: Any = facts.outcomes[BorderProbe().identity].value

    assert value["bridges"] == ["sw"]


# What follows needs no tool: what tools print, and what it must not be taken for.


def nft(*rules: list[Any], policy: str = "accept", extra: tuple[dict[str, Any], ...] = ()) -> Any:
    place = {"family": "inet", "table": "t"}
    base = {"chain": {**place, "name": "f", "type": "filter", "hook": "forward", "policy": policy}}
    items = [*extra, base, *({"rule": {**place, "chain": "f", "handle": n, "expr": e}} for n, e in enumerate(rules))]
    return fact(f"@T nft\n{json.dumps({'nftables': items})}\nrc=0\n")["forward"][0]


def fact(firewall: str, border: str = "@T bridges\nknown\n") -> Any:
    answers = {"firewall": Answer(firewall.encode(), 0), "border": Answer(border.encode(), 0)}
    return parse(BorderProbe(), reading(BorderProbe(), answers))


def match(left: Any, right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


SOURCE = {"payload": {"protocol": "ip", "field": "saddr"}}
DROP, ACCEPT = {"drop": None}, {"accept": None}


@pytest.mark.parametrize(
    "last",
    [
        [match(SOURCE, "@nobody"), DROP],
        [match(SOURCE, {"prefix": {"addr": "0.0.0.0", "len": 0}}), DROP],
        [match({"meta": {"key": "nfproto"}}, "ipv4"), DROP],
        [{"limit": {"rate": 10, "per": "second", "inv": True}}, DROP],
        [match({"ct": {"key": "state"}}, "invalid", "in"), DROP],
        [{"xt": None}, DROP],
        [ACCEPT],
        [DROP, ACCEPT][1:],
    ],
)
def test_a_last_rule_that_drops_some_is_no_default(last: list[Any]) -> None:
    nobody = ({"set": {"family": "inet", "table": "t", "name": "nobody", "type": "ipv4_addr"}},)

    assert not nft([ACCEPT], last, extra=nobody)["default_deny"]
    assert nft([ACCEPT], [{"counter": {}}, DROP])["default_deny"]
    assert nft([ACCEPT], last, policy="drop", extra=nobody)["default_deny"]


@pytest.mark.parametrize("leaves", [{"return": None}, {"goto": {"target": "x"}}])
def test_who_leaves_a_base_chain_meets_its_policy_and_not_its_last_rule(leaves: dict[str, Any]) -> None:
    assert not nft([match(SOURCE, "192.0.2.1"), leaves], [DROP])["default_deny"]


@pytest.mark.parametrize(
    ("right", "op", "source", "other"),
    [
        ("192.0.2.1", "==", "address", False),
        ({"set": ["192.0.2.1", {"prefix": {"addr": "0.0.0.0", "len": 0}}]}, "==", "", False),
        ({"range": ["0.0.0.0", "255.255.255.255"]}, "==", "", False),
        (
            {"set": [{"prefix": {"addr": "0.0.0.0", "len": 1}}, {"prefix": {"addr": "128.0.0.0", "len": 1}}]},
            "==",
            "",
            False,
        ),
        ({"range": ["192.0.2.1", "192.0.2.9"]}, "==", "address", False),
        ("@everybody", "==", "", False),
        ("@unknown", "==", "", True),
        ("192.0.2.1", "!=", "", True),
    ],
)
def test_only_a_choice_of_addresses_names_a_source(right: Any, op: str, source: str, other: bool) -> None:
    everybody = {"family": "inet", "table": "t", "name": "everybody", "elem": [{"prefix": {"addr": "::", "len": 0}}]}
    (accept,) = nft([match(SOURCE, right, op), ACCEPT], extra=({"set": everybody},))["accepts"]

    assert (accept["source"], accept["other"]) == (source, other)


def test_a_dormant_table_refuses_nothing() -> None:
    items = [
        {"table": {"family": "inet", "name": "t", "flags": "dormant"}},
        {"chain": {"family": "inet", "table": "t", "name": "f", "type": "filter", "hook": "forward", "policy": "drop"}},
    ]

    assert fact(f"@T nft\n{json.dumps({'nftables': items})}\nrc=0\n")["forward"] == []


def test_a_packet_of_no_connection_is_dropped_first_or_not_at_all() -> None:
    invalid = [match({"ct": {"key": "state"}}, "invalid", "in"), DROP]
    web = [match({"payload": {"protocol": "tcp", "field": "dport"}}, 443), ACCEPT]

    assert nft(invalid, web)["drops_invalid"]
    assert not nft(web, invalid)["drops_invalid"]


def test_chains_that_call_each_other_end_and_are_told_as_not_followed() -> None:
    place = {"family": "inet", "table": "t"}
    around = [{"chain": {**place, "name": "a"}}, {"rule": {**place, "chain": "a", "expr": [{"jump": {"target": "a"}}]}}]

    assert nft([{"jump": {"target": "a"}}], extra=tuple(around))["truncated"]


ENDS = "SRC=198.51.100.7 DST=192.0.2.10"
NAMED = {"source": True, "destination": True, "protocol": True}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            f"2026-11-21T16:00:00+0000 gate kernel: border-denied IN=wan OUT=dmz {ENDS} PROTO=TCP",
            NAMED | {"year": True, "prefix": "border-denied", "days": 0.5},
        ),
        (
            f"2026-11-21T16:00:00.123456+08:00 gate kernel: [ 12.3] fw: IN=wan OUT= {ENDS} PROTO=UDP",
            NAMED | {"year": True, "prefix": "fw:", "days": 0.83},
        ),
        (
            f"Nov 21 16:00:00 gate kernel: [12.3] IN=wan OUT= {ENDS} PROTO=UDP",
            NAMED | {"year": False, "prefix": "", "days": None},
        ),
    ],
)
def test_a_record_of_a_packet_is_told_by_what_it_holds(line: str, expected: dict[str, Any]) -> None:
    found = fact('@T nft\n{"nftables": []}\nrc=0\n', f"@T bridges\nknown\n@T records\n{line}\n")

    assert found["record"] == expected


def test_where_no_tool_lists_rules_there_is_no_fact() -> None:
    for text in ("", "@T nft\n\nrc=1\n", "@T iptables\n-P FORWARD DROP\nrc=4\n", "@T nft\nnot json\nrc=0\n"):
        with pytest.raises(NoFactError, match="no tool"):
            fact(text)


_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["@t", "accept", "ip", "f"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(["match", "left", "right", "set", "elem", "concat", "vmap", "key", "data", "payload", "jump",
                         "target", "range", "prefix", "ct", "meta", "log", "xt", "accept", "drop"]), inner, max_size=4
    ),
    max_leaves=12,
)  # fmt: skip


@given(st.lists(_VALUE, max_size=4))
def test_any_rule_at_all_becomes_a_fact_of_the_shape(rules: list[Any]) -> None:
    found = nft(*[[rule] for rule in rules], rules)

    assert not found["default_deny"] or found["accepts"] is not None
    assert list(fact_shapes()["border"].fields["forward"].items.misfits(found)) == []  # type: ignore[union-attr] # a list


@given(st.lists(st.text(st.sampled_from('-AFORWDpsjg! "0/PTCE:\\'), max_size=40), max_size=6))
def test_any_listing_of_iptables_becomes_a_fact_or_none(lines: list[str]) -> None:
    text = "\n".join(["-P FORWARD ACCEPT", *lines, "rc=0"])
    found = fact(f"@T iptables\n{text}\n")

    assert len(found["forward"]) == 1
