"""The MariaDB steps of a plan: a server is recovered in the sandbox, then asked."""

from __future__ import annotations

from govsec.clock import Clock
from govsec.drill.plan import MariadbQueryProbe, MariadbStep
from govsec.drill.probes import Answer, compare
from govsec.drill.sandbox import Sandbox
from govsec.errors import GovsecError
from govsec.mariadb.isolated import IsolatedServer


def recover_mariadb(step: MariadbStep, sandbox: Sandbox, clock: Clock) -> tuple[Answer, IsolatedServer | None]:
    """Recover and start the server that a step names; None when it did not come up as it should."""
    server = IsolatedServer(sandbox, clock, step.path)
    try:
        facts = server.recover(
            time=step.time,
            position=step.position,
            gtid=step.gtid,
            timeout_s=step.timeout_s,
            is_asking_nonce=step.nonce,
        )
    except GovsecError as error:
        return Answer(False, str(error)[:500], {}), None
    return Answer(True, "", facts), server


def ask_mariadb(probe: MariadbQueryProbe, server: IsolatedServer | None, timeout_s: float) -> Answer:
    """Compare what the query gives with what the probe expects."""
    if server is None:
        return Answer(False, "no step recovered a server", {})
    try:
        value = server.ask(probe.query, timeout_s)
    except GovsecError as error:
        return Answer(False, str(error)[:500], {})
    if not isinstance(value, (int, float, str)):
        return Answer(False, "the query gives no value", {})
    return compare(value, probe.expect, probe.minimum)
