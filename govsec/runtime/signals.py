"""Ctrl-C and SIGTERM at a moment that suits: remembered while work is put down, acted on afterwards.

An exception out of nowhere in the middle of reading a worker's message would lose the message. So long work that can
stop in order defers the two signals, looks for them, and ends; leaving the block then does what the program had asked
for. A second signal does not wait.

Putting work down can take as long as a request to a store. A person who pressed Ctrl-C is told so at once
(:class:`Interrupts`), or presses it again in the wrong belief that nothing happened.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_DEFERRED = (signal.SIGINT, signal.SIGTERM)
#: What a shell says of a program that SIGINT ended.
_EXIT_INTERRUPTED = 130
#: What cleaning up after a second Ctrl-C may take.
_CLEAN_UP_MAX_S = 3.0


class Interrupts:
    """What a program does at Ctrl-C: the first ends its work in order, the second does not wait for it.

    Both raise ``KeyboardInterrupt`` where the program is, so that it can clean up. After the second it has a few
    seconds for that, whatever its threads wait for; at the third it is gone. Repositories are valid whatever dies.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        #: How many there were. After a second one the program must not wait for its threads when it ends.
        self.count = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.notice()
        raise KeyboardInterrupt

    def notice(self) -> None:
        """Count one and answer it."""
        self.count += 1
        if self.count == 1:
            self._say("stopping when what runs now is put down in order; Ctrl-C again does not wait for that")
        elif self.count == 2:
            self._say("leaving now; repositories stay valid, a lock may stay until it is stale")
            # A second one that comes within the handling of the first is lost in it: the exception alone is no promise.
            signal.signal(signal.SIGALRM, _leave)
            signal.setitimer(signal.ITIMER_REAL, _CLEAN_UP_MAX_S)
        else:
            _leave()


def _leave(*_: object) -> None:
    os._exit(_EXIT_INTERRUPTED)


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
    handlers = {int(number): signal.getsignal(number) for number in _DEFERRED}

    def remember(number: int, frame: FrameType | None) -> None:
        deferred.received = number
        restore()
        handler = handlers[number]
        if isinstance(handler, Interrupts):
            handler.notice()

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
        if isinstance(handlers[deferred.received], Interrupts):
            raise KeyboardInterrupt  # counted and answered when it came
        os.kill(os.getpid(), deferred.received)
