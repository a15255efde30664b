"""Continuous protection of files: changes become small snapshots, a window at a time.

::

    open events ──▶ scan ──▶ wait ──changes, window over──▶ window ──▶ receipt ──▶ wait …
                     ▲                                         │ failed: its marks come back, a pause, again
                     └── events lost, source replaced, rescan due ◀──┘

One idea: the kernel's word is never the only one. Events say where to look; whatever may have been missed (full queue,
a restart, a folder that was replaced, a file system that went) leads to a *scan*, an ordinary backup that compares the
whole source with the last snapshot. Watching is opened before the scan begins, so that nothing falls between the two.

A source that is gone, or empty because its file system is not mounted, is a failure that is told until it is back; it
is never an empty snapshot. While nothing changes, a snapshot of the same tree is made now and then: it is how a center
without keys can tell "nothing changed" from "nobody watches".

*Lag* is measured from the earliest moment that a change can have been made (when the queue was last seen empty) to the
receipt, so it is never flattered.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence

from govsec.backup.api import Change, ChangeSource
from govsec.backup.archive import INCOMPLETE_TAG, ArchiveResult, paths_of
from govsec.backup.marks import Marks
from govsec.backup.sources import FileSource
from govsec.backup.walk import Counts, Stopped
from govsec.backup.watchstate import WatchSettings, WatchState, WatchTarget
from govsec.backup.watchtree import TreeUpdate
from govsec.clock import Clock
from govsec.errors import GovsecError, SourceError
from govsec.repo.snapshot import Snapshot

log = logging.getLogger(__name__)

#: After a failure the next attempt waits this long, doubled each time up to the largest.
_PAUSE_S, _PAUSE_MAX_S = 2.0, 60.0
#: How often the source's identity is looked at, and the longest sleep.
_TICK_S = 1.0
_GATHER_S = 0.1
_TEND_EVERY_S = 20.0
#: What a window that runs may still take after it was told to stop.
_GRACE_S = 15.0
#: Owed for a snapshot that shows no change.
_NO_CHANGE = -1.0
#: Batches that are read before anything else gets its turn.
_READS_MAX = 64
#: A source of which a part is not watched is compared at least so often.
_UNWATCHED_RESCAN_S = 300.0
#: Files that changed while a scan read: more than this are found by the next scan.
_REREAD_MAX = 50_000


class Watcher:
    """Follows one source.

    ``scan`` makes an ordinary backup of the whole source and commits it, calling what it is given now and then; it
    gives the snapshot and the receipt. ``witness`` is called before a window and gives what to call with its result for
    the digest of a witness. ``note`` is told of each receipt with the lag of its oldest change in seconds (None: the
    window held no change), ``changed`` whenever the state did. ``tidy`` is called between windows.
    """

    def __init__(
        self,
        source: FileSource,
        events: ChangeSource,
        target: WatchTarget,
        *,
        scan: Callable[[Callable[[], None]], tuple[Snapshot, object]],
        settings: WatchSettings,
        clock: Clock,
        is_stopped: Callable[[], bool],
        tags: tuple[str, ...] = (),
        witness: Callable[[], Callable[[ArchiveResult], str | None]] = lambda: lambda result: None,
        note: Callable[[object, float | None], None] = lambda receipt, lag_s: None,
        changed: Callable[[WatchState], None] = lambda state: None,
        tidy: Callable[[], None] = lambda: None,
    ) -> None:
        self._source = source
        self._events = events
        self._target = target
        self._scan = scan
        self._settings = settings
        self._clock = clock
        self._is_stopped = is_stopped
        self._tags = tags
        self._witness = witness
        self._note = note
        self._tidy = tidy
        self._changed = changed
        self.state = WatchState()
        self._last: Snapshot | None = None
        self._marks = Marks()
        self._renamed: dict[bytes, bytes] = {}
        self._reread: set[bytes] = set()
        self._is_scanning = False
        self._why_scan = "begins"
        self._is_open = False
        #: On the monotonic clock: the earliest moment that a change not yet kept can have been made.
        self._oldest: float | None = None
        #: Of the snapshot that is stored and has no commit yet.
        self._owed: float | None = None
        self._seen_empty = clock.monotonic()
        self._scanned = self._kept = self._tended = clock.monotonic()
        self._failed_in_row = 0
        self._not_before = 0.0
        self._told_to_stop: float | None = None
        #: Of the witness of the last window.
        self._digest: str | None = None

    def run(self) -> None:
        """Follow until told to stop; what is known to have changed by then becomes a last window."""
        try:
            while not self._is_stopped():
                self.turn()
            if self._last is not None and self._is_open and not self._why_scan:
                self._attempt(self._finish)
            self._changed(self.state)
        finally:
            self._events.close()

    def turn(self) -> None:
        """One step: wait a little, read what happened, and do what is due."""
        if self._is_open and self._oldest is None:
            # What is there before anybody waits may have come at any time since the queue was seen empty.
            is_sudden = not self._events.wait(0) and self._events.wait(self._pause_s())
            self._attempt(lambda: self._pump(was_waiting=is_sudden))
        elif self._is_open:
            # A window has begun: its changes gather in the kernel, and reading them one by one would cost more.
            self._clock.sleep(min(_GATHER_S, self._pause_s()))
            self._attempt(self._pump)
        else:
            self._clock.sleep(min(_TICK_S, max(0.0, self._not_before - self._clock.monotonic())))
        now = self._clock.monotonic()
        if now < self._not_before or self._is_stopped():
            return
        if self._is_open and not self._attempt(self._check_source):
            return
        if now - self._tended >= _TEND_EVERY_S:
            self._tended = now
            if not self._attempt(self._tend):
                return
        if self._owed is not None:
            self._attempt(self._settle)
        elif self._why_scan or not self._is_open:
            self._attempt(self._scan_all)
        elif self._is_window_due(now):
            self._attempt(self._make_window)

    def _pause_s(self) -> float:
        now = self._clock.monotonic()
        if now < self._not_before:
            return min(_TICK_S, self._not_before - now)
        if self._oldest is not None:
            return min(_TICK_S, max(0.0, self._oldest + self._settings.window_s - now))
        return _TICK_S

    def _is_window_due(self, now: float) -> bool:
        if self._marks and self._oldest is not None:
            return now - self._oldest >= self._settings.window_s
        return now - self._kept >= self._settings.heartbeat_s

    def _attempt(self, work: Callable[[], None]) -> bool:
        """True when it worked; a failure is told, and the next attempt waits for a while."""
        try:
            work()
        except Stopped:
            return False
        except GovsecError as error:
            self._failed(error)
            return False
        return True

    def _failed(self, error: GovsecError) -> None:
        state = self.state
        state.counts.failures += 1
        self._failed_in_row += 1
        if not state.problem:
            state.problem_since = self._clock.now()
        state.problem, state.phase = str(error)[:500], "degraded"
        pause_s = min(_PAUSE_S * 2 ** min(self._failed_in_row - 1, 10), _PAUSE_MAX_S)
        self._not_before = self._clock.monotonic() + pause_s
        if isinstance(error, SourceError):
            self._events.close()
            self._is_open = False
            self._why_scan = self._why_scan or str(error)
            # What happens from here on is not told: the lag of what comes next begins here.
            self._oldest = self._seen_empty if self._oldest is None else self._oldest
        log.warning("continuous protection failed", extra={"reason": state.problem, "pause_s": pause_s})
        self._changed(state)

    def _worked(self, phase: str) -> None:
        state = self.state
        state.phase, state.problem, state.problem_since = phase, "", None
        state.last_at = self._clock.now()
        self._failed_in_row = 0
        self._kept = self._clock.monotonic()
        self._changed(state)

    def _pump(self, *, was_waiting: bool = False) -> None:
        """Take in what the kernel tells. With ``was_waiting`` the first of it happened just now, not before."""
        before = self._clock.monotonic() if was_waiting else self._seen_empty
        for _ in range(_READS_MAX):
            now = self._clock.monotonic()
            found = self._events.read()
            if found.lost:
                self.state.counts.losses += 1
                self._why_scan = self._why_scan or found.lost
                self._oldest = before if self._oldest is None else self._oldest
            if not found.changes:
                self._seen_empty = now
                return
            self.state.counts.changes += len(found.changes)
            for change in found.changes:
                self._take(change)
            if self._marks and self._oldest is None:
                self._oldest = before

    def _take(self, change: Change) -> None:
        if self._is_left_out(change.path):
            return
        self._marks.listed(os.path.dirname(change.path))  # noqa: PTH120 - bytes
        if change.old_path is not None:
            self._marks.listed(os.path.dirname(change.old_path))  # noqa: PTH120 - bytes
            if change.is_directory:
                # What it was called in the last snapshot, through any number of renames since.
                self._renamed[change.path] = self._renamed.pop(change.old_path, change.old_path)
                start = change.old_path + b"/"
                moved = {path for path in self._reread if path.startswith(start)}
                self._reread |= {change.path + path[len(change.old_path) :] for path in moved}
        elif self._is_scanning and not change.is_directory and len(self._reread) < _REREAD_MAX:
            self._reread.add(change.path)

    def _is_left_out(self, path: bytes) -> bool:
        patterns = self._source.patterns
        if not patterns:
            return False
        end = len(path)
        while end > 0:
            if patterns.match(path[:end]):
                return True
            end = path.rfind(b"/", 0, end)
        return False

    def _check_source(self) -> None:
        trouble = self._events.trouble()
        if trouble:
            raise SourceError(trouble)
        rescan_s = self._settings.rescan_s
        unwatched = self._events.unwatched()
        if unwatched != self.state.unwatched:
            self.state.unwatched = unwatched
            self._changed(self.state)
        if unwatched:
            rescan_s = min(rescan_s, _UNWATCHED_RESCAN_S)
        if self._clock.monotonic() - self._scanned >= rescan_s:
            self._why_scan = self._why_scan or "it is time to compare everything"

    def _scan_all(self) -> None:
        state = self.state
        why, self._why_scan = self._why_scan, ""
        state.phase = f"compares the whole source: {why}"
        self._changed(state)
        began, oldest = self._clock.monotonic(), self._oldest
        try:
            if not self._is_open:
                self._events.open()
                self._is_open = True
            # What was marked before is found by the scan; what changes while it runs is marked anew.
            self._marks, self._renamed, self._reread, self._oldest = Marks(), {}, set(), None
            self._seen_empty = began
            self._is_scanning = True
            self._last, receipt = self._scan(self._pump)
            self._pump()
        except BaseException:
            self._why_scan = self._why_scan or why
            self._oldest = oldest if self._oldest is None else self._oldest
            raise
        finally:
            self._is_scanning = False
        self._scanned = began
        state.counts.scans += 1
        self._told(receipt, oldest)

    def _finish(self) -> None:
        self._pump()
        if self._marks and self._owed is None:
            self._make_window()

    def _make_window(self) -> None:
        marks, renamed, reread, oldest = self._marks, self._renamed, self._reread, self._oldest
        self._marks, self._renamed, self._reread, self._oldest = Marks(), {}, set(), None
        try:
            made = self._save_window(marks, renamed, reread)
        except BaseException:
            marks.add(self._marks)
            self._marks = marks
            self._oldest = oldest if oldest is not None else self._oldest
            self._renamed = {**renamed, **{new: renamed.get(old, old) for new, old in self._renamed.items()}}
            self._reread |= reread
            raise
        if made is None:
            return
        result, counts, is_heartbeat = made
        self._count(result, counts, is_heartbeat=is_heartbeat)
        # The snapshot is stored: if the commit is not taken now, it is owed, and its marks are done with.
        self._last, self._owed = result.snapshot, oldest if oldest is not None else _NO_CHANGE
        receipt = self._target.commit(result, witness=self._digest)
        self._owed = None
        self._told(receipt, oldest)

    def _settle(self) -> None:
        """Commit the snapshot that waits."""
        self._settled(self._target.commit_waiting())

    def _settled(self, receipts: Sequence[object]) -> None:
        owed, self._owed = self._owed, None
        self._told(receipts[-1] if receipts else None, None if owed == _NO_CHANGE else owed)

    def _told(self, receipt: object, oldest: float | None) -> None:
        lag_s = None if oldest is None else self._clock.monotonic() - oldest
        if lag_s is not None:
            self.state.last_lag_s = lag_s
        if receipt is not None:
            self._note(receipt, lag_s)
        self._worked("follows")

    def _save_window(
        self, marks: Marks, renamed: dict[bytes, bytes], reread: set[bytes]
    ) -> tuple[ArchiveResult, Counts, bool] | None:
        """The small snapshot, stored; None when nothing has changed and none is due."""
        assert self._last is not None  # a scan came first
        writer, last_id = self._target.writer, bytes.fromhex(self._last.tree)
        confirm = self._witness()
        with writer.window() as window:
            update = TreeUpdate(
                self._source,
                writer.repository,
                window,
                renamed=renamed,
                reread=reread,
                is_stopped=self._is_over,
                advance=self._advance,
            )
            tree_id = update.save(last_id, marks.root) if marks else last_id
            trouble = self._events.trouble()
            if trouble:
                # What was just looked at may have been the empty place of a file system.
                raise SourceError(trouble)
            self._look_again(update.hot)
            is_heartbeat = tree_id == last_id
            if is_heartbeat and self._clock.monotonic() - self._kept < self._settings.heartbeat_s:
                return None  # what was told has changed nothing that a snapshot holds
            counts = update.counts
            result = window.finish(
                tree_id,
                paths=paths_of(self._source),
                tags=(*self._tags, *((INCOMPLETE_TAG,) if counts.problems_count else ())),
                parent=self._last,
                excludes=self._source.exclude,
                counts=counts,
            )
        self._digest = confirm(result)
        return result, counts, is_heartbeat

    def _look_again(self, paths: Sequence[bytes]) -> None:
        """Files that may change once more within the same tick of the file system's clock are read again."""
        for path in paths[:_REREAD_MAX]:
            self._marks.listed(os.path.dirname(path))  # noqa: PTH120 - bytes
            self._reread.add(path)
        if paths and self._oldest is None:
            self._oldest = self._clock.monotonic()

    def _tend(self) -> None:
        receipts = self._target.tend()
        if self._owed is not None and receipts:
            self._settled(receipts)
        self._tidy()
        self._changed(self.state)

    def _count(self, result: ArchiveResult, walked: Counts, *, is_heartbeat: bool) -> None:
        counts = self.state.counts
        counts.windows += not is_heartbeat
        counts.heartbeats += is_heartbeat
        counts.files_read += walked.files_new + walked.files_changed
        counts.bytes_read += result.summary.data_added
        packs = [info.size_bytes for info in result.objects if info.name.startswith("data/")]
        counts.packs += len(packs)
        counts.packs_bytes += sum(packs)

    def _advance(self, files: int, size_bytes: int, current: bytes) -> None:
        self._pump()

    def _is_over(self) -> bool:
        if not self._is_stopped():
            return False
        now = self._clock.monotonic()
        self._told_to_stop = self._told_to_stop or now
        return now - self._told_to_stop > _GRACE_S
