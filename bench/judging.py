"""How long judging takes: 250 checks on 200 hosts from stored facts, and what it needs in memory.

    python bench/judging.py [hosts, default 200] [checks, default 250]

The facts are this host's, collected once for all probes of the shipped packs and then read again for each host, as a
fleet's would be. Where the packs have fewer checks than asked for, they are taken again, in other words. Budget: 10 s
on two cores.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path
from typing import TypeVar

from govsec.clock import SystemClock
from govsec.collect.collect import collect
from govsec.collect.facts import load_facts
from govsec.collect.transport import LocalTransport
from govsec.policy.expressions import Expressions
from govsec.policy.judge import Judge
from govsec.policy.pack import Condition, Expect, Pack
from govsec.policy.packload import Known, load_shipped, shipped_packs

_BUDGET_S = 10.0
_M = TypeVar("_M", Expect, Condition)


def enough(packs: list[Pack], count: int) -> list[Pack]:
    """The packs with ``count`` checks in all: the same ones in round after round, each round in other words."""
    checks = [(pack, check) for pack in packs for check in pack.checks]
    chosen: list[Pack] = []
    for number in range(count):
        pack, check = checks[number % len(checks)]
        turn = number // len(checks)
        # Equal expressions are evaluated once a host, so a round that repeats the one before would cost nothing.
        again = check.model_copy(
            update={
                "id": f"{check.id}-{number}",
                "expect": tuple(_in_other_words(expect, turn) for expect in check.expect),
                "conclusive": tuple(_in_other_words(condition, turn) for condition in check.conclusive),
            }
        )
        chosen.append(pack.model_copy(update={"checks": (again,)}))
    return chosen


def _in_other_words(model: _M, turn: int) -> _M:
    return model.model_copy(update={"cel": f"{turn} >= 0 && ({model.cel})"})


def resident_mb(pid: str) -> float:
    """Memory of a process, in MB."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) / 1024


def main() -> None:
    """Collect, judge, print."""
    hosts, checks = (int(text) for text in (sys.argv[1:] + ["200", "250"][len(sys.argv) - 1 :])[:2])
    clock = SystemClock()
    with Expressions(clock, children_count=2) as expressions:
        packs = [load_shipped(pack_id, Known.shipped(), expressions) for pack_id in shipped_packs()]
        real = sum(len(pack.checks) for pack in packs)
        probes = {probe.identity: probe for pack in packs for check in pack.checks for probe in check.probes.values()}
        # A walk over the whole file system is no part of judging, and takes minutes.
        asked = [probe for probe in probes.values() if probe.kind != "walk"]
        data = collect("bench", asked, LocalTransport(clock), clock).dump()
        chosen = enough(packs, checks)
        begun = time.perf_counter()
        judge = Judge(chosen, expressions, levels={check.id: 3 for pack in chosen for check in pack.checks})
        ready_s = time.perf_counter() - begun
        statuses: Counter[str] = Counter()
        for results in judge.judge_each(load_facts(data) for _ in range(hosts)):
            statuses.update(result.status.value for result in results)
        taken_s = time.perf_counter() - begun
    sys.stdout.write(
        f"{checks} checks ({real} of the shipped packs, the others once more) on {hosts} hosts,"
        f" {len(data)} bytes of facts each: {taken_s:.1f} s (ready after {ready_s:.1f} s; budget {_BUDGET_S:g} s);"
        f" this process {resident_mb('self'):.0f} MB at most; {dict(statuses)}\n"
    )


if __name__ == "__main__":
    main()
