"""Progress on standard error: one line that is rewritten on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

from typing import TextIO

from govsec.cli import texts
from govsec.clock import Clock
from govsec.progress import Progress

_REDRAW_S = 0.2
#: A log file or a journal wants to know that work goes on, not to be filled by it.
_PLAIN_LINE_S = 10.0
_LINE_WIDTH_MAX = 110


class ProgressPrinter:
    """A ``ProgressSink`` that prints what is done, the rate and the time left; throttled by the clock."""

    def __init__(self, stream: TextIO, clock: Clock, *, is_terminal: bool) -> None:
        self._stream = stream
        self._clock = clock
        self._is_terminal = is_terminal
        self._phase = ""
        self._started = 0.0
        self._first = Progress("")
        self._printed: float | None = None
        self._is_line_open = False

    def __call__(self, moment: Progress) -> None:
        now = self._clock.monotonic()
        is_new_phase = moment.phase != self._phase
        if is_new_phase:
            self._phase, self._started, self._first = moment.phase, now, moment
        if self._printed is None and not self._is_terminal:
            self._printed = now  # work that is short leaves no line in a log
        pause_s = _REDRAW_S if self._is_terminal else _PLAIN_LINE_S
        if self._printed is not None and now - self._printed < pause_s and not (is_new_phase and self._is_terminal):
            return
        self._printed = now
        line = describe(moment, self._first, now - self._started)
        if self._is_terminal:
            self._stream.write("\r" + _cut(line) + "\x1b[K")
            self._is_line_open = True
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def clear(self) -> None:
        """Remove the line that is being rewritten, so that something else can be printed."""
        if self._is_line_open:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._is_line_open = False


def describe(moment: Progress, first: Progress, elapsed_s: float) -> str:
    """One line for ``moment``, given the first moment of its phase and the seconds since then."""
    parts = []
    if moment.total_bytes:
        parts.append(f"{texts.size(moment.done_bytes)} of {texts.size(moment.total_bytes)}")
    elif moment.done_bytes:
        parts.append(texts.size(moment.done_bytes))
    if moment.total_items:
        parts.append(f"{moment.done_items} of {moment.total_items} items")
    elif moment.done_items:
        parts.append(f"{moment.done_items} items")
    if elapsed_s > 0 and moment.done_bytes > first.done_bytes:
        parts.append(f"{texts.size((moment.done_bytes - first.done_bytes) / elapsed_s)}/s")
    left_s = _seconds_left(moment, first, elapsed_s)
    if left_s is not None:
        parts.append(f"{texts.duration(left_s)} left")
    if moment.current:
        parts.append(texts.printable(moment.current))
    return f"{texts.printable(moment.phase)}: {', '.join(parts)}" if parts else texts.printable(moment.phase)


def _seconds_left(moment: Progress, first: Progress, elapsed_s: float) -> float | None:
    # Bytes foretell better than items, whose sizes differ; items serve where no bytes are counted.
    for done, begun, total in (
        (moment.done_bytes, first.done_bytes, moment.total_bytes),
        (moment.done_items, first.done_items, moment.total_items),
    ):
        if total and done > begun and elapsed_s > 0:
            return max(0, total - done) * elapsed_s / (done - begun)
    return None


def _cut(line: str) -> str:
    while texts.width(line) > _LINE_WIDTH_MAX:
        line = line[: len(line) - max(1, (texts.width(line) - _LINE_WIDTH_MAX) // 2)]
    return line
