"""A program of the site: gets the notice as JSON on standard input; exit code 0 is a yes, 75 asks for another try.

No shell, a clean environment, a time limit; what it prints stays here but for the first line of its errors.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence

from govsec.canonical import dumps
from govsec.clock import Clock
from govsec.notice.api import DeliveryError, Limits, Receipt, ReceiptState
from govsec.notice.words import cut
from govsec.records import Notice

_TRY_AGAIN = 75
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


class Command:
    """Runs ``argv`` for each notice."""

    def __init__(self, name: str, argv: Sequence[str], clock: Clock, *, timeout_s: float = 50.0) -> None:
        self.name = name
        self.limits = Limits()
        self._argv = list(argv)
        self._clock = clock
        self._timeout_s = timeout_s

    def send(self, notice: Notice) -> Receipt:
        """Run the program. Raises as ``Channel.send``."""
        try:
            process = subprocess.Popen(
                self._argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=_ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise DeliveryError(f"channel {self.name}: {self._argv[0]}: {error.strerror}", is_retryable=True) from error
        with process:
            try:
                _, said = process.communicate(dumps(notice.canonical()), timeout=self._timeout_s)
            except subprocess.TimeoutExpired as error:
                raise DeliveryError(
                    f"channel {self.name}: {self._argv[0]} was not done within {self._timeout_s:g} s", is_retryable=True
                ) from error
            finally:
                # Whatever it started goes with it, also what outlived it.
                _kill_group(process.pid)
        if process.returncode:
            first = cut((said or b"").decode("utf-8", "replace").strip().partition("\n")[0], 200)
            raise DeliveryError(
                f"channel {self.name}: {self._argv[0]} ended with {process.returncode}: {first!a}",
                is_retryable=process.returncode == _TRY_AGAIN or process.returncode < 0,
            )
        return Receipt(ReceiptState.ACCEPTED, self._clock.now())


def _kill_group(leader: int) -> None:
    # The leader was waited for, but its group keeps the number while anything of it lives.
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
