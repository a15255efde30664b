"""What a module of an agent is, and what it is given: ``ModuleSpec``, ``Budget``, ``Context``.

One idea: a module is a function ``run(context)`` in a process of its own. It looks at the world and emits findings;
what it may use, how it is restarted, and how its findings get to the disk is the supervisor's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import JsonValue

from govsec.clock import Clock
from govsec.records import Finding


class Context(Protocol):
    """What a module sees of its agent. Not for threads."""

    settings: Mapping[str, JsonValue]
    clock: Clock

    def emit(self, finding: Finding) -> None:
        """Queue a finding. Returns at once; when the queue is full, the least severe is dropped and counted."""
        ...

    def mark(self) -> int:
        """A number for all findings that were emitted so far; see :meth:`kept`."""
        ...

    def kept(self, wait_s: float = 0.0) -> int:
        """Every finding before the mark of this number is on the disk, or was counted as lost; 0: none is known to be.

        Waits for the newest mark, at most ``wait_s`` seconds. Who notes how far it read notes it only then.
        """
        ...

    def lost(self, stage: str, reason: str, count: int) -> None:
        """Say that ``count`` records were lost in this module, at ``stage`` for ``reason`` (short plain words)."""
        ...

    def metric(self, name: str, value: float, **labels: str) -> None:
        """Set a metric ``govsec_<name>``; one whose name ends in ``_total`` is a counter, another a gauge.

        A gauge whose name ends in ``_left_out`` also stands in the agent's status when it is not zero.
        """
        ...

    def wait(self, seconds: float) -> bool:
        """Sleep, alive to the supervisor; True as soon as the module is to end."""
        ...

    def alive(self) -> bool:
        """Tell that work goes on, and send what is queued; True when the module is to end.

        A module that does not call it (or ``wait``) for its budget's ``hang_s`` is taken for hanging and restarted.
        """
        ...


Run = Callable[[Context], None]


@dataclass(frozen=True, slots=True)
class Budget:
    """What a module may use; beyond the processor's share it is throttled, beyond memory or silence restarted."""

    #: Of one core, over ten seconds.
    cpu_percent_max: float = 25.0
    #: PSS of the module and of the processes it started.
    memory_max_bytes: int = 150 << 20
    #: Longest silence.
    hang_s: float = 60.0
    #: From being told to end to being ended.
    stop_s: float = 10.0
    #: 0 to 19; a higher one yields to others when the processor is short.
    nice: int = 5
    #: More are counted, not kept: one module that went mad must not push out what others found.
    findings_per_minute_max: int = 600


@dataclass(frozen=True, slots=True)
class ModuleSpec:
    """One module: what runs, with which settings, within which budget.

    ``version``: of everything that it was made from; a module whose version changed at a reload is started anew.
    """

    name: str
    #: Not compared: a reload makes the same functions anew.
    run: Run = field(compare=False)
    settings: Mapping[str, JsonValue] = field(default_factory=dict)
    budget: Budget = Budget()
    version: str = ""
