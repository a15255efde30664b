"""``govsec-duty``: takes what agents found, tells people, keeps cases, deadlines and evidence. Wiring only.

    python -m govsec_agents.duty [--config /etc/govsec/govsec.yaml]

Runs as ``units/govsec-duty.service``; ``govsec incident status`` says how it is.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from govsec.assemble.dutyrun import run_duty
from govsec.cli.logs import log_as_service
from govsec.clock import SystemClock
from govsec.config import load_config
from govsec.errors import GovsecError


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM, and read the configuration again at SIGHUP; the exit code, of the error tree when it fails."""
    parser = argparse.ArgumentParser(
        prog="govsec-duty", description="Take findings, tell people, keep cases, deadlines and evidence."
    )
    parser.add_argument("--config", type=Path, default=Path("/etc/govsec/govsec.yaml"), help="configuration file")
    args = parser.parse_args(argv)
    log_as_service()
    try:
        talk = logging.getLogger("duty").warning
        return run_duty(load_config(args.config), SystemClock(), talk=talk, reread=lambda: load_config(args.config))
    except GovsecError as error:
        sys.stderr.write(f"govsec-duty: {error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
