"""``govsec-helper``: the root helper of responses. Wiring only; what it does is in ``govsec/response/helper``.

    python -m govsec_agents.helper [--settings /etc/govsec/helper.toml]

Runs as ``units/govsec-helper.service``. It executes a closed list of verbs, each with a signed approval of its own and
within limits that are root's to set, and takes every deed back when its time is over.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from govsec.clock import SystemClock
from govsec.errors import GovsecError
from govsec.response.helper.accounts import Accounts
from govsec.response.helper.api import Settings, Verb, read_settings
from govsec.response.helper.desk import HelperDesk
from govsec.response.helper.firewall import Block, Isolate
from govsec.response.helper.processes import Suspend
from govsec.response.helper.server import listen, serve


def verbs_of(settings: Settings) -> dict[str, Verb]:
    """The closed list."""
    return {
        "account.disable": Accounts(settings.accounts_root, settings.never_disable, settings.admin_groups),
        "host.isolate": Isolate(settings.management),
        "nft.block": Block(settings.management, settings.never_block),
        "process.suspend": Suspend(settings.never_suspend),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Answer until SIGTERM."""
    parser = argparse.ArgumentParser(prog="govsec-helper", description="The root helper of responses.")
    parser.add_argument("--settings", type=Path, default=Path("/etc/govsec/helper.toml"), help="settings (TOML)")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    wanted = [True]
    signal.signal(signal.SIGTERM, lambda *_: wanted.clear())
    try:
        settings, clock = read_settings(args.settings), SystemClock()
        desk = HelperDesk(settings, verbs_of(settings), clock)
        with listen(settings) as listener:
            serve(listener, desk, settings, clock, lambda: bool(wanted))
        desk.close()
    except GovsecError as error:
        sys.stderr.write(f"govsec-helper: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
