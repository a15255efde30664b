"""One call ahead: a thread does one thing while its owner prepares the next.

Deliberately no queue: at most one call runs and none waits, so memory is bounded by two pieces of work, and an error
comes back at the very next call.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

ResultT = TypeVar("ResultT")


class OneAhead(Generic[ResultT]):
    """Runs calls one after another in a thread of its own. A context manager: leaving waits for the last call."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1)
        self._running: Future[ResultT] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown(wait=True)

    def submit(self, call: Callable[[], ResultT]) -> ResultT | None:
        """Wait for the call before, start this one, and give the result of the one before (None when there is none).

        Raises whatever the call before raised; this one is not started then.
        """
        before = self.drain()
        self._running = self._executor.submit(call)
        return before

    def drain(self) -> ResultT | None:
        """Wait for the call that runs and give its result, None when none runs. Raises what it raised."""
        running, self._running = self._running, None
        return None if running is None else running.result()
