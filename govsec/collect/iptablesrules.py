"""Rules as ``iptables -S`` and ``ip6tables -S`` print them, of the table *filter*.

Source: iptables(8), iptables-extensions(8).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from govsec.collect.filterrules import Asks, BaseChain, Does, Rule

_HOOKS = {"INPUT": "input", "FORWARD": "forward"}
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_VERDICTS = {"ACCEPT": Does.ACCEPT, "DROP": Does.DENY, "REJECT": Does.DENY, "RETURN": Does.RETURN, "TARPIT": Does.DENY}
#: A program decides; what it refuses is not known here, so that it may accept.
_QUEUES = ("NFQUEUE", "QUEUE")
_LOGS = ("LOG", "NFLOG", "ULOG")
_PREFIXES = ("--log-prefix", "--nflog-prefix", "--ulog-prefix")
_PORTS = ("--dport", "--dports", "--destination-port", "--destination-ports", "--ports", "--icmp-type", "--icmpv6-type")
_STATES = ("--ctstate", "--state")
_LIMITS = ("--limit", "--limit-burst")
#: What stands before a value and asks nothing.
_SILENT = ("-m", "--match", "-c", "--set-counters", "--comment", "--reject-with", "--log-level", "--log-prefix")
_EVERY_PORT = re.compile(r"(?:[01]?:(?:65535)?|any|255(?:/255)?)")


def iptables_chains(text: str, *, is_ipv6: bool) -> list[BaseChain]:
    """The base chains in a listing; none where it did not end well (``rc=0`` stands at its end)."""
    lines = text.split("\n")
    if "rc=0" not in lines:
        return []
    rules: dict[str, list[Rule]] = {}
    policies: dict[str, str] = {}
    for line in lines:
        words = [quoted or plain for quoted, plain in _WORD.findall(line)]
        if len(words) == 3 and words[0] == "-P":
            policies[words[1]] = words[2]
            rules.setdefault(words[1], [])
        elif len(words) == 2 and words[0] == "-N":
            rules.setdefault(words[1], [])
        elif len(words) > 2 and words[0] == "-A":
            rules.setdefault(words[1], []).append(_rule(words[2:], line))
    rules = {name: [_resolved(rule, rules) for rule in chain] for name, chain in rules.items()}
    tool = "ip6tables" if is_ipv6 else "iptables"
    return [
        BaseChain(tool, "filter", name, hook, not is_ipv6, is_ipv6, policies[name] == "DROP", rules)
        for name, hook in _HOOKS.items()
        if name in policies
    ]


def _rule(words: Sequence[str], line: str) -> Rule:
    rule = Rule(text=line)
    for option, value, is_not in _options(words):
        if option in ("-j", "--jump", "-g", "--goto"):
            rule = _with_target(rule, value, is_goto=option in ("-g", "--goto"))
        elif option in _PREFIXES:
            rule = replace(rule, log=value)
        elif option not in _SILENT:
            # "Not this one" lets all others through.
            asks = Asks(other=True) if is_not else _asks(option, value)
            rule = replace(rule, asks=rule.asks & asks & Asks(partly=True))
    return rule


def _resolved(rule: Rule, chains: Mapping[str, Sequence[Rule]]) -> Rule:
    """Targets of extensions (MARK, TCPMSS …) look like chains, and let the packet go on."""
    return replace(rule, does=Does.PASS) if rule.does is Does.JUMP and rule.target not in chains else rule


def _options(words: Sequence[str]) -> Iterator[tuple[str, str, bool]]:
    """Option, value, and whether it is turned round by a ``!`` before it."""
    position, is_not = 0, False
    while position < len(words):
        word = words[position]
        if word == "!":
            is_not = True
        else:
            has_value = position + 1 < len(words) and not words[position + 1].startswith("-") and words[
                position + 1
            ] != "!"  # fmt: skip
            # What a rule says of itself may begin with a dash.
            has_value = has_value or (word in (*_PREFIXES, "--comment") and position + 1 < len(words))
            yield word, words[position + 1] if has_value else "", is_not
            position, is_not = position + has_value, False
        position += 1


def _with_target(rule: Rule, target: str, *, is_goto: bool) -> Rule:
    if is_goto:
        return replace(rule, does=Does.GOTO, target=target)
    if target in _VERDICTS:
        return replace(rule, does=_VERDICTS[target])
    if target in _QUEUES:
        return replace(rule, does=Does.ACCEPT)
    if target in _LOGS:
        return replace(rule, log=rule.log or "")
    return replace(rule, does=Does.JUMP, target=target)


def _asks(option: str, value: str) -> Asks:
    if option in ("-s", "--source", "-d", "--destination"):
        kind = "" if value.endswith(("/0", "/1")) else "address"  # half of all addresses is no choice either
        return Asks(source=kind) if option in ("-s", "--source") else Asks(destination=kind)
    if option in ("-i", "--in-interface"):
        return Asks(source="interface" if value not in ("", "+") else "", loopback=value == "lo")
    if option in ("-o", "--out-interface"):
        return Asks(destination="interface" if value not in ("", "+") else "")
    if option in ("-p", "--protocol"):
        return Asks(protocol="" if value == "all" else value)
    if option in _PORTS:
        return Asks(ports=not _EVERY_PORT.fullmatch(value))
    if option in _LIMITS:
        return Asks(limited=True)
    if option in _STATES:
        states = tuple(sorted(state.lower() for state in value.split(",")))
        # What a rule of address translation sends on has the destination that it names.
        return Asks(destination="address") if states == ("dnat",) else Asks(states=states)
    return Asks(other=True)
