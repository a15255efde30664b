"""``govsec-network``: the agent that watches its network: a sensor on each interface. Wiring only.

    python -m govsec_agents.network [--config /etc/govsec/govsec.yaml]

Runs as ``units/govsec-network.service``; ``govsec agent status network`` asks it.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from govsec.agent.program import run_agent
from govsec.assemble.agent import plans_of
from govsec.cli.logs import log_as_service
from govsec.clock import SystemClock
from govsec.errors import GovsecError


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM; the exit code of the error tree when it cannot begin."""
    parser = argparse.ArgumentParser(
        prog="govsec-network", description="Watch its network: a sensor on each interface."
    )
    parser.add_argument("--config", type=Path, default=Path("/etc/govsec/govsec.yaml"), help="configuration file")
    args = parser.parse_args(argv)
    log_as_service()
    try:
        return run_agent(plans_of("network", args.config), SystemClock(), talk=logging.getLogger("agent").warning)
    except GovsecError as error:
        sys.stderr.write(f"govsec-network: {error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
