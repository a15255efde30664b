"""The log of a service: records with their fields on one line, levels for the journal, exceptions with their places."""

from __future__ import annotations

import os
import subprocess
import sys

_SCRIPT = """
import logging
from govsec.cli.logs import log_as_service
log_as_service()
log = logging.getLogger("govsec.demo")
log.info("not of interest")
log.warning("agent finding", extra={"kind": "host.tamper", "subject": "a\\nb\\x1b[2J"})
try:
    raise ValueError("it went wrong")
except ValueError:
    log.exception("module failed", extra={"agent_module": "guard"})
"""


def _said(**environment: str) -> list[str]:
    known = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT], env={**known, **environment}, capture_output=True, text=True, check=True
    )
    return done.stderr.splitlines()


def test_a_record_is_one_line_with_its_fields_and_cannot_steer_who_reads_it() -> None:
    finding, failure = _said()

    assert finding == r"warning govsec.demo: agent finding kind=host.tamper subject=a\x0ab\x1b[2J"
    assert failure.startswith("error govsec.demo: module failed agent_module=guard error=ValueError('it went wrong')")
    assert failure.endswith("places=<string>:9")


def test_the_journal_gets_the_level_of_each_line() -> None:
    assert [line[:3] for line in _said(JOURNAL_STREAM="8:12345")] == ["<4>", "<3>"]
