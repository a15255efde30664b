"""A loop that lives for years: one tick an interval, longer waits after failures, signals, systemd's watchdog.

The loop never gives up and never spins: after a failure it waits twice as long as before, up to a bound, and a tick
that works brings it back to its interval. systemd is told that the program is ready, alive and stopping
(``sd_notify``), so a loop that hangs is restarted by it.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType

from govsec.errors import GovsecError

log = logging.getLogger(__name__)

_NOTIFY_MAX_S = 5.0
#: Spread, so that a thousand agents that were started together do not call together.
_SPREAD = 0.1


class Stop:
    """Ends a loop. :meth:`on_signals` makes SIGTERM and SIGINT set it."""

    def __init__(self) -> None:
        self._event = threading.Event()

    @property
    def is_set(self) -> bool:
        return self._event.is_set()

    def set(self) -> None:
        """Let the loop end after its running tick."""
        self._event.set()

    def wait(self, seconds: float) -> bool:
        """True as soon as the loop is to end, False after ``seconds``."""
        return self._event.wait(max(0.0, seconds))

    def on_signals(self) -> None:
        """Set it at the first SIGTERM or SIGINT; the second one ends the process as usual."""

        def stop(number: int, frame: FrameType | None) -> None:
            signal.signal(number, signal.SIG_DFL)
            self.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)


def notify(state: str) -> None:
    """Tell systemd (``READY=1``, ``WATCHDOG=1``, ``STATUS=…``); without systemd nothing happens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            # Who does not read must not hold a program that watches over others.
            sender.settimeout(_NOTIFY_MAX_S)
            sender.connect(address)
            sender.send(state.encode()[:4096])
    except OSError as error:
        log.warning("systemd not told", extra={"state": state[:40], "error": str(error)})


def run_ticks(
    tick: Callable[[], None],
    *,
    interval_s: float,
    backoff_max_s: float,
    stop: Stop,
    wait: Callable[[float], bool] | None = None,
    tell: Callable[[str], None] = notify,
    watchdog_s: float = 30,
) -> int:
    """Run ``tick`` until ``stop``; gives how many ticks failed. ``wait`` replaces the stop's own in tests.

    A tick fails by raising ``GovsecError``, which is logged; anything else ends the loop, for systemd to restart it.
    """
    wait = wait or stop.wait
    failed_count = failed_in_row = 0
    tell("READY=1")
    while not stop.is_set:
        tell("WATCHDOG=1")
        try:
            tick()
            failed_in_row = 0
        except GovsecError as error:
            failed_count += 1
            failed_in_row += 1
            log.error("tick failed", extra={"error": str(error), "in_row": failed_in_row})
            tell(f"STATUS={str(error)[:200]}")
        pause_s = min(interval_s * 2 ** min(failed_in_row, 20), max(backoff_max_s, interval_s))
        pause_s += pause_s * _SPREAD * secrets.randbelow(1000) / 1000
        # In small steps, because systemd wants to hear from a program that waits as well.
        while pause_s > 0 and not stop.is_set:
            step = min(pause_s, watchdog_s)
            pause_s -= step
            if wait(step):
                break
            tell("WATCHDOG=1")
    tell("STOPPING=1")
    return failed_count
