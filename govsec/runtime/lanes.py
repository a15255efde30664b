"""Bounded work on threads: many items through one function, and single calls that may not take for ever.

One idea: the caller never waits longer than it said and never has more in flight than it asked for. Threads suit work
that waits (stores) or hashes large buffers (which frees the interpreter's lock); what computes goes to processes.
With ``threads=0`` everything happens in the calling thread, in order: what deterministic tests want.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from govsec.errors import StoreUnavailableError

T = TypeVar("T")
R = TypeVar("R")


def for_each(
    items: Iterable[T], prepare: Callable[[], Callable[[T], R]], *, threads: int, limit: Callable[[], int] | None = None
) -> Iterator[R]:
    """What the function gives for each item, as they are done; each thread calls ``prepare`` for a function of its own.

    At most two items a thread are in flight, or as many as ``limit`` says at the moment (no more than ``threads`` are
    worked on), and ``items`` is consumed no faster. The first error ends it: nothing more is begun, what runs is waited
    for, the error is raised.
    """
    if threads <= 0:
        yield from map(prepare(), items)
        return
    local = threading.local()

    def run(item: T) -> R:
        work: Callable[[T], R] | None = getattr(local, "work", None)
        if work is None:
            work = local.work = prepare()
        return work(item)

    with ThreadPoolExecutor(threads, thread_name_prefix="govsec") as pool:
        running: set[Future[R]] = set()
        try:
            for item in items:
                running.add(pool.submit(run, item))
                while len(running) >= (2 * threads if limit is None else max(1, limit())):
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield future.result()
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            for future in running:
                future.cancel()


class Lane:
    """One thread that does one call at a time; the caller waits a limited time for each.

    A call that is late goes on in its thread, and its outcome is lost: the caller must treat it as unknown. Until it
    ends, further calls are refused at once instead of queued.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._pool: ThreadPoolExecutor | None = None
        self._late: Future[object] | None = None

    @property
    def is_stuck(self) -> bool:
        """True while a late call has not ended."""
        return self._late is not None and not self._late.done()

    def start(self, call: Callable[[], R]) -> Future[R]:
        """Begin ``call``. Raises ``StoreUnavailableError`` while a late one has not ended."""
        if self.is_stuck:
            raise StoreUnavailableError(f"{self._name}: an earlier call has not answered yet")
        self._late = None
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"govsec-{self._name}")
        return self._pool.submit(call)

    def result(self, future: Future[R], timeout_s: float) -> R:
        """What the call gives. Raises ``StoreUnavailableError`` when it takes longer than ``timeout_s``."""
        try:
            return future.result(timeout_s)
        except TimeoutError as error:
            self._late = future  # type: ignore[assignment]  # Future is invariant; only done() is asked of it
            raise StoreUnavailableError(f"{self._name}: no answer within {timeout_s:g} s") from error

    def close(self) -> None:
        """Let the thread end; a late call is not waited for."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
