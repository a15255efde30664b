"""The PostgreSQL steps of a plan: a server is recovered in the sandbox, then asked."""

from __future__ import annotations

from contextlib import suppress

from govsec.clock import Clock
from govsec.drill.plan import PostgresQueryProbe, PostgresStep
from govsec.drill.probes import Answer, compare
from govsec.drill.sandbox import Sandbox
from govsec.errors import GovsecError
from govsec.postgres.isolated import IsolatedServer, target_of


def recover_server(step: PostgresStep, sandbox: Sandbox, clock: Clock) -> tuple[Answer, IsolatedServer | None]:
    """Recover and start the server that a step names; None when it did not come up as it should."""
    server = IsolatedServer(sandbox, clock, step.path, user=step.user)
    try:
        target = target_of(time=step.time, lsn=step.lsn, point=step.point)
        facts = server.recover(target, step.timeout_s, is_asking_nonce=step.nonce)
    except GovsecError as error:
        return Answer(False, str(error)[:500], {}), None
    return Answer(True, "", facts), server


def ask_server(probe: PostgresQueryProbe, server: IsolatedServer | None, timeout_s: float) -> Answer:
    """Compare what the query gives with what the probe expects."""
    if server is None:
        return Answer(False, "no step recovered a server", {})
    try:
        value = server.ask(probe.database, probe.query, timeout_s)
    except GovsecError as error:
        return Answer(False, str(error)[:500], {})
    return compare(_typed(value, probe), probe.expect, probe.minimum)


def _typed(text: str, probe: PostgresQueryProbe) -> int | float | str:
    """The server's program prints text; where a number is expected, it is read as one."""
    if not isinstance(probe.expect, str):
        for kind in (int, float):
            with suppress(ValueError):
                return kind(text)
    return text
