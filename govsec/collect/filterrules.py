"""What a packet filter lets through, whatever tool wrote its rules: base chains walked to everything that accepts.

One idea: for each way from a base chain to an *accept*, the conditions of all rules on the way are added up, and what
was denied before is not taken off. So what comes out is never less than what the filter accepts: a rule that is not
understood makes an accept look wider, never narrower; and it makes no deny look like one of everything. Of two base
chains at one hook a packet has to be accepted by both, so one that denies by default is enough, whatever else there is.

What reads rules is :mod:`govsec.collect.nftrules` and :mod:`govsec.collect.iptablesrules`.

Source: nft(8), "Verdict statements"; iptables(8), "Targets".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from pydantic import JsonValue

from govsec.collect.readers import texts

#: nft allows sixteen jumps below each other (NFT_JUMP_STACK_SIZE).
_DEPTH_MAX = 16
#: Rules looked at for one base chain; a chain that many jump to is looked at as often.
_STEPS_MAX = 20_000
#: Accepts told of one base chain.
ACCEPTS_MAX = 1000


class Does(StrEnum):
    """What a rule does with a packet that meets its conditions."""

    ACCEPT = "accept"
    DENY = "deny"
    JUMP = "jump"
    GOTO = "goto"
    RETURN = "return"
    PASS = "pass"  # noqa: S105 - goes on to the next rule; no password


@dataclass(frozen=True, slots=True)
class Asks:
    """What rules ask of a packet, as far as it matters. All fields empty: nothing, any packet will do."""

    #: ``address``, ``interface``, or nothing.
    source: str = ""
    destination: str = ""
    protocol: str = ""
    ports: bool = False
    states: tuple[str, ...] = ()
    #: Of the host to itself; crosses no border.
    loopback: bool = False
    #: Something else: a mark, a set without elements, what this code does not know.
    other: bool = False
    #: Up to a rate only.
    limited: bool = False
    #: There is a condition at all, be it one that every packet meets.
    partly: bool = False

    def __and__(self, further: Asks) -> Asks:
        both = set(self.states) & set(further.states)
        states = tuple(sorted(both)) if self.states and further.states else self.states or further.states
        return Asks(
            source="address" if "address" in (self.source, further.source) else self.source or further.source,
            destination="address"
            if "address" in (self.destination, further.destination)
            else self.destination or further.destination,
            protocol=further.protocol or self.protocol,
            ports=self.ports or further.ports,
            states=states,
            loopback=self.loopback or further.loopback,
            other=self.other or further.other,
            limited=self.limited or further.limited,
            partly=self.partly or further.partly,
        )

    @property
    def is_everything(self) -> bool:
        """Every packet meets it, for certain: what denies on such terms denies all."""
        return self == Asks()

    @property
    def is_nothing(self) -> bool:
        """Nothing is asked that chooses among packets: what accepts on such terms accepts any."""
        return replace(self, limited=False, partly=False) == Asks()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, or one element of a verdict map."""

    asks: Asks = Asks()
    does: Does = Does.PASS
    target: str = ""
    #: Beginning of the record that it writes; None where it writes none.
    log: str | None = None
    #: Where it stands, for people.
    text: str = ""


@dataclass(frozen=True, slots=True)
class BaseChain:
    """A chain that a hook of the kernel calls, with the chains of its table."""

    tool: str
    table: str
    name: str
    hook: str
    ipv4: bool
    ipv6: bool
    is_drop: bool
    chains: Mapping[str, Sequence[Rule]]


@dataclass(slots=True)
class _Found:
    accepts: list[Rule] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    drops_invalid: bool = False
    is_truncated: bool = False
    steps_count: int = 0


def told(base: BaseChain) -> dict[str, JsonValue]:
    """The chain as a fact, in the shape of ``BorderProbe``."""
    found = _Found()
    _walk(base, base.name, Asks(), 0, found)
    rules = base.chains.get(base.name, ())
    # Who returns from a base chain, or goes to another without a way back, meets its policy.
    leaves = any(rule.does in (Does.RETURN, Does.GOTO) for rule in rules)
    ends = bool(rules) and rules[-1].does is Does.DENY and rules[-1].asks.is_everything and not leaves
    return {
        "tool": base.tool,
        "table": base.table,
        "name": base.name,
        "ipv4": base.ipv4,
        "ipv6": base.ipv6,
        "default_deny": base.is_drop or ends,
        "drops_invalid": found.drops_invalid,
        "log_prefixes": texts(dict.fromkeys(found.prefixes)),
        "accepts": [_accept(rule) for rule in found.accepts[:ACCEPTS_MAX]],
        "truncated": found.is_truncated or len(found.accepts) > ACCEPTS_MAX,
    }


def _accept(rule: Rule) -> JsonValue:
    asks = rule.asks
    return {
        "rule": rule.text[:200],
        "source": asks.source,
        "destination": asks.destination,
        "protocol": asks.protocol,
        "ports": asks.ports,
        "states": texts(asks.states),
        "other": asks.other,
    }


def _walk(base: BaseChain, name: str, before: Asks, depth: int, found: _Found) -> None:
    """Add what is reached from the chain ``name``, which packets enter that meet ``before``."""
    if depth > _DEPTH_MAX or name not in base.chains:
        found.is_truncated = True
        return
    for rule in base.chains[name]:
        found.steps_count += 1
        if found.steps_count > _STEPS_MAX:
            found.is_truncated = True
            return
        asks = before & rule.asks
        if rule.log is not None and asks.is_nothing:
            found.prefixes.append(rule.log[:100])
        if rule.does is Does.ACCEPT:
            if not asks.loopback:
                found.accepts.append(replace(rule, asks=asks))
        elif rule.does in (Does.JUMP, Does.GOTO):
            _walk(base, rule.target, asks, depth + 1, found)
        elif rule.does is Does.DENY and replace(asks, partly=False) == Asks(states=("invalid",)):
            # Only what comes before the accepts keeps a packet without a session from them.
            found.drops_invalid = found.drops_invalid or all(_is_of_session(one.asks) for one in found.accepts)


def _is_of_session(asks: Asks) -> bool:
    return bool(asks.states) and set(asks.states) <= {"established", "related", "new"}
