"""Indicators where they are found at once: addresses in whole columns, names by suffix, the rest by equality."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from govsec.detect.indicators import Indicator
from govsec.detect.windows import U64, mix
from govsec.dissect.messages import DnsMessage, HttpRequest, Message, SshKeyExchange, TlsCertificates, TlsClientHello
from govsec.net.addresses import Prefix

#: A name of DNS has no more labels (RFC 1035, 2.3.4).
_LABELS_MAX = 127


class IndicatorIndex:
    """Indicators where they are found at once."""

    def __init__(self, indicators: Iterable[Indicator]) -> None:
        by_kind: dict[str, dict[str, Indicator]] = {}
        for indicator in indicators:
            by_kind.setdefault(indicator.kind, {}).setdefault(indicator.value, indicator)
        self.count = sum(len(values) for values in by_kind.values())
        self.is_empty = not self.count
        self.addresses = _Addresses([*by_kind.get("address", {}).values(), *by_kind.get("network", {}).values()])
        self._domains = by_kind.get("domain", {})
        self._prints = {**by_kind.get("fingerprint", {}), **by_kind.get("ja4", {})}
        self._hashes = {**by_kind.get("sha1", {}), **by_kind.get("sha256", {})}

    def of_message(self, message: Message) -> list[Indicator]:
        """What of a message is on a list; each once."""
        found: list[Indicator | None] = []
        if isinstance(message, DnsMessage):
            found += [self._domain(question.name) for question in message.questions]
        elif isinstance(message, TlsClientHello):
            found += [
                self._domain(message.server_name or ""),
                self._prints.get(message.ja3),
                self._prints.get(message.ja4),
            ]
        elif isinstance(message, HttpRequest):
            found.append(self._domain(message.host.partition(":")[0]))
        elif isinstance(message, SshKeyExchange):
            found.append(self._prints.get(message.hassh))
        elif isinstance(message, TlsCertificates):
            found += [self._hashes.get(facts.sha256) for facts in message.certificates]
        return list(dict.fromkeys(indicator for indicator in found if indicator is not None))

    def _domain(self, name: str) -> Indicator | None:
        """The entry for the name or the nearest name above it."""
        if not self._domains or not name:
            return None
        labels = name.lower().rstrip(".").split(".")[-_LABELS_MAX:]
        for start in range(len(labels) - 1):
            if (indicator := self._domains.get(".".join(labels[start:]))) is not None:
                return indicator
        return None


class _Addresses:
    """Addresses and networks, searched in whole columns: one sorted array for each length of prefix in use."""

    def __init__(self, indicators: Sequence[Indicator]) -> None:
        self._by_mask: dict[tuple[int, int], dict[tuple[int, int], Indicator]] = {}
        for indicator in indicators:
            prefix = Prefix.parse(indicator.value)
            self._by_mask.setdefault(_mask(prefix.bits), {})[prefix.hi, prefix.lo] = indicator
        # Longest first: the narrowest entry is the one that is told.
        self._by_mask = dict(sorted(self._by_mask.items(), reverse=True))
        self._keys: dict[tuple[int, int], U64] = {
            masks: np.sort(mix(*_columns(list(entries)))) for masks, entries in self._by_mask.items()
        }

    def find(self, hi: U64, lo: U64) -> NDArray[np.intp]:
        """Positions of addresses that are on a list."""
        is_found = np.zeros(len(hi), dtype=np.bool_)
        for (mask_hi, mask_lo), keys in self._keys.items():
            mine = mix(hi & np.uint64(mask_hi), lo & np.uint64(mask_lo))
            at = np.minimum(np.searchsorted(keys, mine), len(keys) - 1)
            is_found |= keys[at] == mine
        return np.flatnonzero(is_found)

    def indicator(self, hi: int, lo: int) -> Indicator | None:
        """The narrowest entry for an address that was found; None when only their mixed keys are equal, by chance or
        craft."""
        for (mask_hi, mask_lo), entries in self._by_mask.items():
            if (indicator := entries.get((hi & mask_hi, lo & mask_lo))) is not None:
                return indicator
        return None


def _columns(keys: Sequence[tuple[int, int]]) -> tuple[U64, U64]:
    return np.array([key[0] for key in keys], dtype=np.uint64), np.array([key[1] for key in keys], dtype=np.uint64)


def _mask(bits: int) -> tuple[int, int]:
    mask = ((1 << bits) - 1) << (128 - bits)
    return mask >> 64, mask & ((1 << 64) - 1)
