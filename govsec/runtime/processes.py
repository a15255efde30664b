"""Worker processes by ``fork``: a list of tasks, done by as many workers as asked for, results as they come.

One idea: everything that the tasks need is in memory before the fork, so only positions go to the workers and only
small results come back; a worker makes its own store connections and cipher contexts when it starts. The parent hands
out one position at a time, so it knows what each worker has in hand, and the largest tasks come first when the caller
sorts them so.

Where nobody knows beforehand how large a task is, the list may grow: a worker sees that others have nothing to do
(``is_anyone_idle``) and posts a part of what it has before it, which the parent adds to the list
(:meth:`Pool.add`). Such tasks travel through the pipe.

With ``workers=0`` the same work runs in the calling process, in order: no fork, nothing random, for stores in memory
and for tests that count calls.

What happens when things end early:

* an error of :mod:`govsec.errors` in a worker is raised in the parent, as itself;
* a worker that dies, or fails in any other way, is a :class:`~govsec.errors.WorkerError` that names it;
* when the parent's loop is left by an exception, the workers are killed; when they are to put their work down in
  order, the parent calls :meth:`Pool.stop` first and goes on reading until each of them has finished;
* when the parent dies, the workers see it (``is_stopped``) and end.

Not for code that holds threads or locks at the moment of the fork.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import mmap
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from types import TracebackType
from typing import Generic, NoReturn, Protocol, Self, TypeVar

from govsec.errors import GovsecError, WorkerError

log = logging.getLogger(__name__)

TaskT = TypeVar("TaskT")
TaskIn = TypeVar("TaskIn", contravariant=True)

#: glibc's mallopt parameters (malloc.h): a worker's many buffers of one size would otherwise stay in its arenas.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEEP_FREE_BYTES_MAX = 1 << 20
#: The most that glibc takes (half of HEAP_MAX_SIZE).
_MMAP_THRESHOLD_MAX = 32 << 20
_IDLE_AFTER_S = 0.5
#: Places of the shared flags.
_STOP, _IDLE = 0, 1
#: A worker makes many objects and hardly any cycles; looking for those less often saves a tenth of its time.
_GC_THRESHOLDS = (50_000, 20, 50)


@dataclass(frozen=True, slots=True)
class Message:
    """What a worker posted while it was at work."""

    worker: int
    body: object


@dataclass(frozen=True, slots=True)
class Done:
    """A task that is done: its position in the list, and what came of it."""

    position: int
    result: object


@dataclass(frozen=True, slots=True)
class Finished:
    """A worker that has no more to do, and what its ``finish`` gave."""

    worker: int
    result: object


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing was reported for a while: a chance to look at other things."""


Event = Message | Done | Finished | Idle


class Work(Protocol[TaskIn]):
    """What runs in a worker. Results and messages must pickle."""

    def do(self, task: TaskIn) -> object:
        """Do one task."""
        ...

    def finish(self) -> object:
        """Called once, after the last task or after a stop: put down what is in hand."""
        ...


class Desk:
    """A worker's side of the pool."""

    def __init__(
        self,
        post: Callable[[object], None],
        is_stopped: Callable[[], bool],
        is_anyone_idle: Callable[[], bool] = lambda: False,
    ) -> None:
        self.post = post
        #: True when the parent asked to stop or is no longer there; long tasks look now and then.
        self.is_stopped = is_stopped
        #: True while a worker of a growing pool waits for a task that somebody could share out.
        self.is_anyone_idle = is_anyone_idle


class Pool(Generic[TaskT]):
    """Workers at a list of tasks. A context manager: leaving it ends every worker that still runs.

    ``make`` runs in the worker, once. ``workers`` is how many processes; 0 is the calling process. When the pool
    ``is_growing``, there are as many even for a single task, and each of them stays until nobody has anything to do.
    """

    def __init__(
        self,
        tasks: Sequence[TaskT],
        make: Callable[[Desk], Work[TaskT]],
        workers: int,
        *,
        is_growing: bool = False,
    ) -> None:
        self._tasks = list(tasks)
        #: Tasks that the workers know from the fork on; those behind are sent to them.
        self._inherited = len(self._tasks)
        self._make = make
        self._is_growing = is_growing
        self._count = min(workers, workers if is_growing else max(1, len(tasks)))
        # Shared bytes, written by the parent alone: no lock that a killed process could leave behind.
        self._flags = mmap.mmap(-1, 2)
        self._next = 0
        self._idle: list[_Child] = []
        self._children: dict[Connection, _Child] = {}

    def __enter__(self) -> Self:
        if self._count:
            self._fork_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self._children.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
        for child in list(self._children.values()):
            self._reap(child)
        self._flags.close()

    def stop(self) -> None:
        """Hand out no more tasks; workers finish what they have in hand as soon as they look."""
        self._flags[_STOP] = 1
        self._next = len(self._tasks)

    def add(self, task: TaskT) -> None:
        """One task more, for a pool that ``is_growing``; called while its events are read, and in vain after a stop."""
        if not self._is_growing:
            raise ValueError("only a growing pool takes more tasks")
        self._tasks.append(task)
        if self._flags[_STOP]:
            self._next = len(self._tasks)

    def events(self) -> Iterator[Event]:
        """Everything that the workers report, until each of them has finished.

        Raises:
            GovsecError: the first that a worker met.
            WorkerError: a worker died or failed in a way that nobody foresaw.
        """
        if not self._count:
            yield from self._inline()
            return
        while self._children:
            self._serve_idle()
            all_ready = wait(list(self._children), _IDLE_AFTER_S)
            if not all_ready:
                yield Idle()
            for ready in all_ready:
                assert isinstance(ready, Connection)  # only connections are waited for
                child = self._children[ready]
                try:
                    kind, body = ready.recv()
                except (EOFError, ConnectionError) as error:
                    raise WorkerError(self._describe_death(child)) from error
                if kind == "message":
                    yield Message(child.number, body)
                elif kind == "ready":
                    self._hand_out(child)
                elif kind == "done":
                    position, result = body
                    self._hand_out(child)
                    yield Done(position, result)
                elif kind == "finished":
                    self._reap(child)
                    yield Finished(child.number, body)
                else:
                    raise _as_error(child, body)

    def _inline(self) -> Iterator[Event]:
        posted: list[object] = []
        work = self._make(Desk(posted.append, lambda: bool(self._flags[_STOP])))
        while self._next < len(self._tasks):
            position = self._next
            self._next += 1
            result = work.do(self._tasks[position])
            while posted:
                yield Message(0, posted.pop(0))
            yield Done(position, result)
        final = work.finish()
        while posted:
            yield Message(0, posted.pop(0))
        yield Finished(0, final)

    def _fork_all(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        gc.freeze()  # objects that exist now stay out of the children's collections, so their pages stay shared
        parent = os.getpid()
        for number in range(self._count):
            ours, theirs = Pipe()
            pid = os.fork()
            if pid == 0:
                ours.close()
                for other in self._children:
                    other.close()
                self._child_main(theirs, parent)
            theirs.close()
            self._children[ours] = _Child(number, pid, ours)
        gc.unfreeze()

    def _child_main(self, connection: Connection, parent: int) -> NoReturn:
        # Ctrl-C and a service manager's SIGTERM reach the whole group; the parent alone decides what they mean.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        code = 70
        try:
            tune_malloc()
            gc.set_threshold(*_GC_THRESHOLDS)
            flags = self._flags
            desk = Desk(
                lambda body: connection.send(("message", body)),
                lambda: bool(flags[_STOP]) or os.getppid() != parent,
                lambda: bool(flags[_IDLE]),
            )
            self._work(connection, desk)
            code = 0
        except (EOFError, BrokenPipeError, ConnectionResetError):
            code = 0  # the parent is gone; there is nobody to tell
        except BaseException as error:  # noqa: BLE001 - outermost loop of a process: reports and ends
            with contextlib.suppress(OSError):
                connection.send(("failed", _pickled(error)))
        finally:
            # Never back into the parent's stack: its context managers and exit handlers are not ours.
            os._exit(code)

    def _work(self, connection: Connection, desk: Desk) -> None:
        work = self._make(desk)
        connection.send(("ready", None))
        while True:
            order = connection.recv()
            if order is None:
                break
            position, task = order if isinstance(order, tuple) else (order, self._tasks[order])
            connection.send(("done", (position, work.do(task))))
        connection.send(("finished", work.finish()))

    def _hand_out(self, child: _Child) -> None:
        position: int | None = None
        if self._next < len(self._tasks):
            position = self._next
            self._next += 1
        child.position = position
        if position is None and self._is_growing:
            self._idle.append(child)
            self._flags[_IDLE] = 1
        else:
            self._send(child, position)

    def _send(self, child: _Child, position: int | None) -> None:
        is_new = position is not None and position >= self._inherited
        with contextlib.suppress(BrokenPipeError):  # it died; reading from it tells how
            child.connection.send((position, self._tasks[position]) if is_new and position is not None else position)

    def _serve_idle(self) -> None:
        """What was added goes to those who wait; when nobody is left who could add more, they are let go."""
        idle, self._idle = self._idle, []
        is_over = self._next >= len(self._tasks) and (len(idle) == len(self._children) or bool(self._flags[_STOP]))
        for child in idle:
            if is_over:
                self._send(child, None)
            else:
                self._hand_out(child)
        self._flags[_IDLE] = bool(self._idle)

    def _reap(self, child: _Child) -> int:
        self._children.pop(child.connection, None)
        child.connection.close()
        _, status = os.waitpid(child.pid, 0)
        return os.waitstatus_to_exitcode(status)

    def _describe_death(self, child: _Child) -> str:
        code = self._reap(child)
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        doing = "" if child.position is None else f" while it had task {child.position + 1} of {len(self._tasks)}"
        return f"worker process {child.number} {how}{doing}"


@dataclass(slots=True)
class _Child:
    number: int
    pid: int
    connection: Connection
    position: int | None = None


def workers_default() -> int:
    """How many workers suit this machine: one a processor that this process may use, at most four."""
    return min(4, len(os.sched_getaffinity(0)))


def tune_malloc(keep_free_bytes: int = _KEEP_FREE_BYTES_MAX) -> None:
    """Make this process give freed memory back at once, beyond what it may keep.

    Keeping what the next task takes again saves the page faults of getting it anew: on a virtual machine those cost
    more than a blob's decryption. Where the C library has no such setting, nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_ARENA_MAX, 1)
    mallopt(_M_TRIM_THRESHOLD, keep_free_bytes)
    mallopt(_M_MMAP_THRESHOLD, min(keep_free_bytes, _MMAP_THRESHOLD_MAX))


def _pickled(error: BaseException) -> bytes | str:
    """The error itself when it is one of ours and travels, else its text."""
    if isinstance(error, GovsecError):
        with contextlib.suppress(pickle.PicklingError, TypeError, AttributeError):
            return pickle.dumps(error)
    return "".join(traceback.format_exception(error))


def _as_error(child: _Child, body: object) -> GovsecError:
    if isinstance(body, bytes):
        error = pickle.loads(body)  # noqa: S301 - from our own child, over our own pipe
        if isinstance(error, GovsecError):
            return error
    log.error("worker failed", extra={"worker": child.number, "trace": str(body)})
    last_line = str(body).strip().rpartition("\n")[2]
    return WorkerError(f"worker process {child.number} failed: {last_line[:500]}")
