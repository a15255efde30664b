"""A worker in a process of its own, to be killed: sends what is due, again and again, until it finds nothing."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path

from govsec.clock import SystemClock
from govsec.errors import TryAgainError
from govsec.notice.channels.file import FileChannel
from govsec.notice.outbox import Outbox
from govsec.notice.sender import Sender


class _Ahead(SystemClock):
    def __init__(self, ahead: timedelta) -> None:
        self._ahead = ahead

    def now(self) -> datetime:
        return super().now() + self._ahead


def main(folder: Path, ahead_s: float) -> None:
    clock = _Ahead(timedelta(seconds=ahead_s))
    outbox = Outbox(folder / "outbox.db")
    sender = Sender(outbox, {"file": FileChannel("file", folder / "sent.jsonl", clock)}, clock)
    print("working", flush=True)
    while True:
        try:
            if not sender.step(limit=50).delivered:
                return
        except TryAgainError:  # another worker holds the file for longer than one waits
            continue


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
