"""Ctrl-C and SIGTERM at a moment that suits: remembered while work is put down, acted on afterwards.

An exception out of nowhere in the middle of reading a worker's message would lose the message. So long work that can
stop in order defers the two signals, looks for them, and ends; leaving the block then does what the program had asked
for. A second signal does not wait.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_DEFERRED = (signal.SIGINT, signal.SIGTERM)


class Deferred:
    """What came in the meantime."""

    def __init__(self) -> None:
        self.received: int | None = None


@contextmanager
def deferred_signals() -> Iterator[Deferred]:
    """Remember SIGINT and SIGTERM within the block, deliver them at its end.

    Only a process's main thread may set handlers; in any other thread nothing is deferred.
    """
    deferred = Deferred()
    if threading.current_thread() is not threading.main_thread():
        yield deferred
        return
    handlers = {number: signal.getsignal(number) for number in _DEFERRED}

    def remember(number: int, frame: FrameType | None) -> None:
        deferred.received = number
        restore()

    def restore() -> None:
        for number, handler in handlers.items():
            # None: the handler was not set from Python and cannot be given back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    for number in _DEFERRED:
        signal.signal(number, remember)
    try:
        yield deferred
    finally:
        restore()
    if deferred.received is not None:
        os.kill(os.getpid(), deferred.received)
