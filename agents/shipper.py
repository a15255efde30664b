"""``govsec-ship``: brings every configured system to the centers of this site, for years. Wiring only.

    python -m govsec_agents.shipper --config /etc/govsec/govsec.yaml [--interval SECONDS]

Runs as ``units/govsec-ship.service``. It holds a read-only credential for its source and two for its own center (to
write, and to lock what arrived); no password of any repository.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from govsec.assemble.shipping import all_tasks, run_loop
from govsec.assemble.systems import Site
from govsec.cli.logs import log_as_service
from govsec.clock import SystemClock
from govsec.config import load_config
from govsec.errors import GovsecError


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM; the exit code of the error tree when it cannot begin."""
    parser = argparse.ArgumentParser(prog="govsec-ship", description="Bring every system to the centers of this site.")
    parser.add_argument("--config", type=Path, default=Path("/etc/govsec/govsec.yaml"), help="configuration file")
    parser.add_argument("--interval", type=float, default=10.0, metavar="SECONDS", help="between rounds (10)")
    args = parser.parse_args(argv)
    log_as_service(logging.INFO)
    try:
        site = Site(load_config(args.config), SystemClock())
        return run_loop(site, all_tasks(site), interval_s=max(1.0, args.interval), talk=logging.getLogger("ship").info)
    except GovsecError as error:
        sys.stderr.write(f"govsec-ship: {error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
