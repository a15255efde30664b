"""A program of the site: gets the notice as JSON on standard input; exit code 0 is a yes, 75 asks for another try.

No shell, a clean environment, a time limit; what it prints stays here but for the first line of its errors.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
from collections.abc import Sequence
from typing import IO, cast

from govsec.canonical import dumps
from govsec.clock import Clock
from govsec.notice.api import DeliveryError, Limits, Receipt, ReceiptState
from govsec.notice.words import cut
from govsec.records import Notice
from govsec.web.connection import Deadline, RequestError

#: Of what a program prints as errors; the rest is read and dropped.
ERRORS_KEPT_SIZE = 64 << 10
_PIECE_SIZE = 64 << 10
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
        program = f"channel {self.name}: {self._argv[0]}"
        try:
            code, said = run(self._argv, dumps(notice.canonical()), Deadline(self._clock, self._timeout_s))
        except OSError as error:
            raise DeliveryError(f"{program}: {error.strerror}", is_retryable=True) from error
        except (RequestError, subprocess.TimeoutExpired) as error:
            raise DeliveryError(f"{program} was not done within {self._timeout_s:g} s", is_retryable=True) from error
        if code:
            first = cut(said.decode("utf-8", "replace").strip().partition("\n")[0], 200)
            raise DeliveryError(f"{program} ended with {code}: {first!a}", is_retryable=code == _TRY_AGAIN or code < 0)
        return Receipt(ReceiptState.ACCEPTED, self._clock.now())


def run(argv: Sequence[str], data: bytes, deadline: Deadline) -> tuple[int, bytes]:
    """What the program ended with, and the first :data:`ERRORS_KEPT_SIZE` bytes of its errors; it and whatever it
    started is gone afterwards.

    Raises:
        OSError: it cannot be started.
        RequestError, subprocess.TimeoutExpired: it was not done by the deadline.
    """
    process = subprocess.Popen(
        argv,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=_ENVIRONMENT,
        cwd="/",
        start_new_session=True,
    )
    assert process.stdin is not None and process.stderr is not None  # both are pipes
    with process:
        try:
            said = _talk(process.stdin, process.stderr, data, deadline)
            return process.wait(deadline.left("answer")), said
        finally:
            # Whatever it started goes with it, also what outlived it.
            _kill_group(process.pid)


def _talk(stdin: IO[bytes], stderr: IO[bytes], data: bytes, deadline: Deadline) -> bytes:
    """Both ways at once, so that neither side waits for the other; more errors than are kept are read and dropped."""
    left, said = memoryview(data), bytearray()
    os.set_blocking(stdin.fileno(), False)
    with selectors.DefaultSelector() as selector:
        selector.register(stdin, selectors.EVENT_WRITE)
        selector.register(stderr, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(deadline.left("answer"))
            if not ready:
                raise deadline.over("answer")
            for key, _ in ready:
                if key.fileobj is stdin:
                    left = left[_written(stdin.fileno(), left) :]
                    is_over = not left
                else:
                    piece = os.read(stderr.fileno(), _PIECE_SIZE)
                    said += piece[: ERRORS_KEPT_SIZE - len(said)]
                    is_over = not piece
                if is_over:
                    selector.unregister(key.fileobj)
                    cast("IO[bytes]", key.fileobj).close()
    return bytes(said)


def _written(descriptor: int, data: memoryview) -> int:
    try:
        return os.write(descriptor, data[:_PIECE_SIZE])
    except BlockingIOError:
        return 0
    except BrokenPipeError:  # it does not want to know more
        return len(data)


def _kill_group(leader: int) -> None:
    # The leader was waited for, but its group keeps the number while anything of it lives.
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
