"""Rules as ``nft -j list ruleset`` prints them: any value in, base chains out.

Verdict maps become one rule for each element. A match by a named set is looked up, for a set may hold every address.

Source: libnftables-json(5).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from govsec.collect.filterrules import Asks, BaseChain, Does, Rule

_FAMILIES = {"ip": (True, False), "ip6": (False, True), "inet": (True, True)}
_VERDICTS = {
    "accept": Does.ACCEPT, "drop": Does.DENY, "reject": Does.DENY, "return": Does.RETURN, "queue": Does.ACCEPT,
    "jump": Does.JUMP, "goto": Does.GOTO, "tproxy": Does.ACCEPT, "synproxy": Does.PASS,
}  # fmt: skip
#: Statements that ask nothing of a packet and do not end its way.
_SILENT = frozenset({"counter", "log", "mangle", "meter", "notrack", "set", "flow", "ct helper", "ct timeout"})
_PROTOCOLS = frozenset({"tcp", "udp", "udplite", "sctp", "dccp", "icmp", "icmpv6", "igmp", "esp", "ah", "comp", "th"})
_PORT_MAX = 65_535
_ELEMENTS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class _Table:
    """A table's named sets and maps."""

    elements: Mapping[str, Sequence[Any]]


def nft_chains(listing: object) -> list[BaseChain]:
    """The base chains for forwarding and input in a listing."""
    items = listing.get("nftables") if isinstance(listing, dict) else None
    parts: dict[tuple[str, str], dict[str, list[Mapping[str, Any]]]] = {}
    for item in items if isinstance(items, list) else ():
        for kind, part in item.items() if isinstance(item, dict) else ():
            if isinstance(part, dict) and kind in ("table", "chain", "rule", "set", "map"):
                table = (str(part.get("family")), str(part.get("name" if kind == "table" else "table")))
                parts.setdefault(table, {}).setdefault(kind, []).append(part)
    return [chain for (family, name), found in parts.items()
            if family in _FAMILIES and not any("dormant" in str(table.get("flags")) for table in found.get("table", ()))
            for chain in _of_table(family, name, found)]  # fmt: skip


def has_foreign(listing: object, family: str) -> bool:
    """Whether iptables wrote rules of the family that nft cannot tell in full."""
    items = listing.get("nftables") if isinstance(listing, dict) else None
    rules = [item.get("rule") for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    return any(
        isinstance(rule, dict)
        and (rule.get("family"), rule.get("table")) == (family, "filter")
        and any("xt" in word for word in _statements(rule))
        for rule in rules
    )


def _of_table(family: str, table: str, found: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[BaseChain]:
    named = _Table(
        {
            str(one.get("name")): one["elem"][:_ELEMENTS_MAX] if isinstance(one.get("elem"), list) else []
            for one in (*found.get("set", ()), *found.get("map", ()))
        }
    )
    chains: dict[str, list[Rule]] = {str(chain.get("name")): [] for chain in found.get("chain", ())}
    for rule in found.get("rule", ()):
        text = f"{family} {table} {rule.get('chain')} handle {rule.get('handle')}"
        chains.setdefault(str(rule.get("chain")), []).extend(_rules(rule, named, text))
    ipv4, ipv6 = _FAMILIES[family]
    for chain in found.get("chain", ()):
        if chain.get("type") == "filter" and chain.get("hook") in ("forward", "input"):
            name, hook = str(chain.get("name")), str(chain.get("hook"))
            yield BaseChain("nft", f"{family} {table}", name, hook, ipv4, ipv6, chain.get("policy") == "drop", chains)


def _statements(rule: Mapping[str, Any]) -> list[dict[str, Any]]:
    words = rule.get("expr")
    return [word for word in words if isinstance(word, dict)] if isinstance(words, list) else []


def _rules(rule: Mapping[str, Any], named: _Table, text: str) -> Iterator[Rule]:
    """A rule of nft: its statements work in order, and one that ends the packet's way ends the rule."""
    held = Rule(text=text)
    for statement in _statements(rule):
        for word, value in statement.items():
            if word == "match" and isinstance(value, dict):
                held = replace(held, asks=held.asks & _match(value, named))
            elif word == "log":
                prefix = value.get("prefix") if isinstance(value, dict) else None
                held = replace(held, log=str(prefix or ""))
            elif word == "vmap" and isinstance(value, dict):
                for element in _elements(value.get("data"), named):
                    yield _of_element(held, value.get("key"), element, named)
            elif word in _VERDICTS:
                target = value.get("target") if isinstance(value, dict) else ""
                yield replace(held, does=_VERDICTS[word], target=str(target or ""))
                return
            elif word in ("limit", "quota"):
                held = replace(held, asks=held.asks & Asks(limited=True))
            elif word not in _SILENT:
                held = replace(held, asks=held.asks & Asks(other=True))
    yield held


def _of_element(held: Rule, key: object, element: object, named: _Table) -> Rule:
    """One element of a verdict map: what it asks, and what it does."""
    value, verdict = element if isinstance(element, list) and len(element) == 2 else (None, None)
    word = next(iter(verdict), "") if isinstance(verdict, dict) else ""
    inner = verdict.get(word) if isinstance(verdict, dict) else None
    target = str(inner.get("target", "")) if isinstance(inner, dict) else ""
    asks = held.asks & _match({"op": "==", "left": key, "right": value}, named)
    return replace(held, asks=asks, does=_VERDICTS.get(word, Does.ACCEPT), target=target, log=None)


def _elements(value: object, named: _Table) -> Sequence[Any]:
    """The elements of a set, named or written out; a single value is one."""
    if isinstance(value, str) and value.startswith("@"):
        return named.elements.get(value[1:], ())
    if isinstance(value, dict) and isinstance(value.get("set"), list):
        return list(value["set"][:_ELEMENTS_MAX])
    if isinstance(value, dict) and "set" in value:
        return [value["set"]]
    return value if isinstance(value, list) else [value]


def _match(match: Mapping[str, Any], named: _Table) -> Asks:
    """What a match asks; where it is turned round or unknown, something else."""
    is_plain = match.get("op") in ("==", "in", None)
    return (_field(match.get("left"), match.get("right"), named) if is_plain else Asks(other=True)) & Asks(partly=True)


def _field(left: object, right: object, named: _Table) -> Asks:
    elements = [one["elem"].get("val") if isinstance(one, dict) and isinstance(one.get("elem"), dict) else one
                for one in _elements(right, named)]  # fmt: skip
    if isinstance(left, dict) and isinstance(left.get("concat"), list):
        asks = Asks()
        for position, part in enumerate(left["concat"]):
            asks = asks & _one(part, [_part_of(element, position) for element in elements])
        return asks
    return _one(left, elements)


def _part_of(element: object, position: int) -> object:
    parts = element.get("concat") if isinstance(element, dict) else None
    return parts[position] if isinstance(parts, list) and position < len(parts) else None


def _one(left: object, elements: Sequence[Any]) -> Asks:
    """What is asked when the field ``left`` has to be one of ``elements``."""
    if not isinstance(left, dict) or not elements:
        return Asks(other=True)
    if isinstance(payload := left.get("payload"), dict):
        return _payload(str(payload.get("protocol")), str(payload.get("field")), elements)
    if isinstance(meta := left.get("meta"), dict):
        return _meta(str(meta.get("key")), elements)
    if isinstance(ct := left.get("ct"), dict) and ct.get("key") == "state":
        return Asks(states=tuple(sorted({str(one) for one in elements})))
    if isinstance(ct, dict) and ct.get("key") == "status" and list(elements) == ["dnat"]:
        # What a rule of address translation sends on has the destination that it names.
        return Asks(destination="address")
    return Asks(other=True)


def _payload(protocol: str, name: str, elements: Sequence[Any]) -> Asks:
    if protocol in ("ip", "ip6") and name in ("saddr", "daddr"):
        kind = "address" if not any(_is_everywhere(one) for one in elements) else ""
        return Asks(source=kind) if name == "saddr" else Asks(destination=kind)
    if (protocol, name) in (("ip", "protocol"), ("ip6", "nexthdr")):
        return Asks(protocol=_protocol(elements))
    if protocol in _PROTOCOLS:
        kept = "" if protocol == "th" else protocol
        # A source port is the sender's choice: asking for it narrows nothing.
        is_port = name in ("dport", "type") and not any(_is_every_port(one) for one in elements)
        return Asks(protocol=kept, ports=is_port, other=not is_port)
    return Asks(other=True)


def _meta(key: str, elements: Sequence[Any]) -> Asks:
    if key in ("iif", "iifname", "oif", "oifname"):
        kind = "interface" if "*" not in elements else ""
        is_loopback = list(elements) == ["lo"]
        return Asks(source=kind, loopback=is_loopback) if key.startswith("i") else Asks(destination=kind)
    if key == "l4proto":
        return Asks(protocol=_protocol(elements))
    # Which of the two families: each is an object of its own here.
    return Asks() if key in ("nfproto", "protocol") else Asks(other=True)


def _protocol(elements: Sequence[Any]) -> str:
    return ",".join(sorted(str(one) for one in elements))[:100]


def _is_everywhere(element: object) -> bool:
    """Whether an element of a set of addresses holds all of them, or nobody can tell."""
    if isinstance(element, str):
        return element.startswith("@") or element in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
    if not isinstance(element, dict):
        return True
    if isinstance(prefix := element.get("prefix"), dict):
        return prefix.get("len") in (0, 1, None)  # half of all addresses is no choice either
    if isinstance(ends := element.get("range"), list) and len(ends) == 2:
        try:
            first, last = (ipaddress.ip_address(str(end)) for end in ends)
        except ValueError:
            return True
        return int(last) - int(first) >= 1 << (first.max_prefixlen - 1)
    return True


def _is_every_port(element: object) -> bool:
    if isinstance(element, dict) and isinstance(ends := element.get("range"), list) and len(ends) == 2:
        return all(isinstance(end, int) for end in ends) and ends[0] <= 1 and ends[1] >= _PORT_MAX
    return not isinstance(element, int | str) or (isinstance(element, str) and element.startswith("@"))
