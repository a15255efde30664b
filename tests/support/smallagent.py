"""An agent of one module in a process of its own: ``python -m tests.support.smallagent CONFIG host|network [MODULE]``.

The supervisor, its spool and its control socket are the real ones; the module waits, and a network's first has one
finding that says who did what to whom. So no interface is needed, and no rights.
"""

from __future__ import annotations

import sys
from pathlib import Path

from govsec.agent.api import Budget, Context, ModuleSpec
from govsec.agent.plans import Plan
from govsec.agent.program import run_agent
from govsec.assemble.agent import agent_directory
from govsec.clock import SystemClock, to_ns
from govsec.config import load_config
from govsec.detect.judgement import judge
from govsec.records import Severity

_ROOMY = Budget(cpu_percent_max=1_000, memory_max_bytes=2 << 30, hang_s=600, stop_s=60)


class _Plans:
    def __init__(self, path: Path, name: str, module: str = "services") -> None:
        self.path = path
        self._name = name
        self._module = module

    def load(self) -> Plan:
        config = load_config(self.path)
        run, module = (_sensor, "sensor-wan") if self._name == "network" else (_idle, self._module)
        directory = agent_directory(self._name, config)
        return Plan(self._name, config.agent, directory, (ModuleSpec(module, run, {}, _ROOMY),), lambda: None)

    def keep(self) -> None:
        pass

    def last_good(self) -> Plan | None:
        return None


def _idle(context: Context) -> None:
    while not context.wait(0.05):
        pass


def _sensor(context: Context) -> None:
    context.emit(
        judge(
            kind="net.scan.vertical",
            detector="scan",
            severity=Severity.HIGH,
            time_ns=to_ns(context.clock.now()),
            subject="198.51.100.7",
            summary="A test attack.",
            pattern=("198.51.100.7",),
            originators=("198.51.100.7",),
            responders=("192.0.2.10",),
        )
    )
    _idle(context)


if __name__ == "__main__":
    sys.exit(run_agent(_Plans(Path(sys.argv[1]), *sys.argv[2:]), SystemClock()))
