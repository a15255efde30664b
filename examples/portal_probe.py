"""A thin service: the portals of a configuration are asked, once or for ever, and findings come out.

    python examples/portal_probe.py --config govsec.yaml [--once] [--accept]

One line of JSON on standard output for each finding, ready for a log shipper; what is still so is told once an hour.
``--accept`` takes the pages as they are as what they are to be. A service that cannot be asked (a missing secret, say)
is told as an error, and the others go on.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from govsec.assemble.services import SiteServices
from govsec.clock import SystemClock
from govsec.config import load_config
from govsec.errors import GovsecError

LOOK_S = 1.0


def main() -> int:
    """Run for ever, or once; then 1 when something was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--once", action="store_true", help="ask all of them now, then leave")
    parser.add_argument("--accept", action="store_true", help="accept the pages as they are, then leave")
    arguments = parser.parse_args()
    try:
        with SiteServices(load_config(arguments.config), SystemClock()) as services:
            if arguments.accept:
                tell({"accepted": [page.url for page in services.accept()]})
                return 0
            if arguments.once:
                findings = services.probe().findings
                for finding in findings:
                    tell(finding.canonical())
                return 1 if findings else 0
            watch(services)
    except GovsecError as error:
        tell({"error": str(error)})
        return error.exit_code


def watch(services: SiteServices) -> NoReturn:
    """Ask what is due, for ever; what goes wrong once may go well the next time."""
    while True:
        try:
            for finding in services.step(LOOK_S):
                tell(finding.canonical())
        except GovsecError as error:
            tell({"error": str(error)})
            SystemClock().sleep(LOOK_S)


def tell(record: Mapping[str, object]) -> None:
    """One line for the log shipper."""
    print(json.dumps(record), flush=True)


if __name__ == "__main__":
    sys.exit(main())
