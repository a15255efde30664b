"""What an agent is to do, where that comes from, and where on the machine it lives."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from govsec.agent.api import ModuleSpec
from govsec.agententry import AgentConfig
from govsec.errors import ConfigurationError
from govsec.lockfile import held_lock
from govsec.privatefile import make_private_directory

#: In a plan's directory.
SPOOL_NAME = "spool.db"


@dataclass(frozen=True, slots=True)
class Plan:
    """What an agent is to do. ``try_out`` imports and builds what the modules will need, and raises what is wrong."""

    name: str
    config: AgentConfig
    #: Private to the agent: spool, lock, the last good configuration.
    directory: Path
    modules: Sequence[ModuleSpec]
    try_out: Callable[[], None]


class Plans(Protocol):
    """Where plans come from, and which was the last good one."""

    #: The configuration's file.
    path: Path

    def load(self) -> Plan:
        """The plan by the configuration as it is now. Raises ``GovsecError``."""
        ...

    def keep(self) -> None:
        """The plan that was loaded last is good: remember it beyond this process, as well as one can."""
        ...

    def last_good(self) -> Plan | None:
        """The plan that was kept last; None when there is none, or it does not work any more."""
        ...


def control_path(run_dir: Path, name: str) -> Path:
    """Where the agent ``name`` is asked."""
    return run_dir / f"govsec-{name}" / "control.sock"


@contextlib.contextmanager
def occupied(plan: Plan) -> Iterator[None]:
    """The agent's directories are there, and locked: there is one agent of this name.

    Raises:
        ConfigurationError: they cannot be made.
        LockedError: an agent of this name runs.
    """
    try:
        make_private_directory(control_path(plan.config.run_dir, plan.name).parent)
    except OSError as error:
        raise ConfigurationError(f"agent {plan.name}: {error.filename}: {error.strerror}") from error
    with held_lock(plan.directory / "lock", busy=f"an agent {plan.name} runs already on {plan.directory}"):
        yield
