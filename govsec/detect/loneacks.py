"""Which lone ACKs are probes: ACKs and FIN-ACKs of no connection that was seen, refused or left alone.

One idea: what is left of a connection looks like a probe, so each form of scan is held against what connections cannot
have. They have a port of their own each: probes that share one are none of theirs. Nobody has connections with twenty
services of one host. And an honest end that gets no answer asks again, while a host that is not there is asked once or
twice and left alone, between others of the street that refuse.

So remains of connections are not told: those that a firewall forgot are refused all together, or asked for again and
again. Where a sensor sees one direction only, nobody refuses.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from govsec.detect.attempts import SERVICE_PORT_MAX
from govsec.detect.windows import U64, Groups, Rows, mix
from govsec.findings.api import SECOND_NS

#: Ports that lone ACKs of one scan come from, if it does not take another one for each: so many, or this part of their
#: number.
_PORTS_MAX = 4
_PORTS_SHARE = 0.2
#: A flow without an answer is over after so long (``FlowTable``'s time-out for TCP).
_LEFT_ALONE_NS = 300 * SECOND_NS
#: Refusals that are remembered.
_REFUSALS_MAX = 65_536


def without_remains_of_pairs(rows: Rows, pairs: U64) -> NDArray[np.bool_]:
    """All tries but what may be left of connections, where different ports of one host are counted.

    ``pairs``: one key a row, for originator and responder. Of lone ACKs from a port of their own each, those to ports
    of services count.
    """
    return _is_no_ack_or(rows, _from_few_ports(rows, pairs) | (rows["responder_port"] <= SERVICE_PORT_MAX))


def without_remains_of_streets(rows: Rows, streets: U64, refusing: U64) -> NDArray[np.bool_]:
    """The same where hosts are counted that were asked for one port; ``streets``: a key for originator and port.

    Of lone ACKs from a port of their own each, those count that were left alone in a street that refuses others
    (``refusing``).
    """
    is_probe = rows["is_left"] & np.isin(streets, refusing)
    return _is_no_ack_or(rows, _from_few_ports(rows, streets) | is_probe)


def is_refused(rows: Rows) -> NDArray[np.bool_]:
    """Which tries are lone ACKs that were answered by RST."""
    found: NDArray[np.bool_] = rows["is_ack"] & rows["is_refused"]
    return found


class Refusals:
    """The streets that refused lone ACKs lately. What is refused is over long before what is left alone."""

    def __init__(self, span_ns: int) -> None:
        self._span_ns = span_ns + _LEFT_ALONE_NS
        self._times = np.zeros(0, np.int64)
        self._streets = np.zeros(0, np.uint64)
        self.dropped_count = 0

    def add(self, times: NDArray[np.int64], streets: U64) -> None:
        """Refusals of these streets at these times; of very many the oldest go."""
        if not len(times):
            return
        is_near = self._times > int(times.min()) - self._span_ns
        all_times = np.concatenate([self._times[is_near], times])
        all_streets = np.concatenate([self._streets[is_near], streets])
        self.dropped_count += max(0, len(all_times) - _REFUSALS_MAX)
        self._times, self._streets = all_times[-_REFUSALS_MAX:], all_streets[-_REFUSALS_MAX:]

    def streets(self, time_ns: int) -> U64:
        """Those that refused within the span before a moment."""
        return self._streets[(self._times > time_ns - self._span_ns) & (self._times <= time_ns)]


def _is_no_ack_or(rows: Rows, is_probe: NDArray[np.bool_]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = ~rows["is_ack"] | is_probe
    return found


def _from_few_ports(rows: Rows, keys: U64) -> NDArray[np.bool_]:
    """Which lone ACKs come from few ports, by group of equal ``keys``."""
    is_found = np.zeros(len(rows), np.bool_)
    lone = np.flatnonzero(rows["is_ack"])
    if len(lone):
        groups = Groups(keys[lone])
        ports = groups.distinct(mix(rows["originator_port"][lone]))
        is_few = ports <= np.maximum(_PORTS_MAX, groups.sizes() * _PORTS_SHARE)
        is_found[lone] = is_few[groups.labels]
    return is_found
