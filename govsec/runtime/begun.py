"""One call that has begun: it runs in a thread while its owner does other things, until the result is asked for.

For work that leaves the interpreter alone (deriving a key, waiting for a store). In a module of its own, and without
the standard library's executors, because it is what a program starts with.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

ResultT = TypeVar("ResultT")


class Begun(Generic[ResultT]):
    """``call`` runs from now on; a program that ends first does not wait for it."""

    def __init__(self, call: Callable[[], ResultT]) -> None:
        self._call = call
        self._results: list[ResultT] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="govsec-begun", daemon=True)
        self._thread.start()

    def result(self) -> ResultT:
        """What the call gives, once it has ended; its thread is gone then. Raises what the call raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._results[0]

    def _run(self) -> None:
        try:
            self._results.append(self._call())
        except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
            self._error = error
