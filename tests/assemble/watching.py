"""A small watched site and a script of what happens while it is watched, by what receipts come: no clock decides."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from govsec.assemble.demo import local_centers, write_site
from govsec.assemble.systems import Site
from govsec.assemble.watch import WatchTold, watch_job, watched_job
from govsec.assemble.watchstatus import WatchRecord, read_record, state_path
from govsec.backup.restore import restore
from govsec.centers.near import Receipt
from govsec.clock import Clock, SystemClock
from govsec.config import load_config
from govsec.repo.repository import Repository
from tests.centers.commands import run
from tests.support.cheapkey import begin_cheaply
from tests.support.story import describe

#: Guards against a hang; nothing is expected to take so long.
LIMIT_S = 120.0
NONCE = b".govsec-nonce"
Step = Callable[[], object]


def prepare(directory: Path, source: Path | None = None, **watch: object) -> Path:
    """A site of three directories whose only job is watched closely; the configuration's path."""
    source = source or directory / "system"
    source.mkdir(exist_ok=True)
    path = write_site(directory, local_centers(directory), source)
    written = json.loads(path.read_text(encoding="utf-8"))
    (job,) = written["systems"][0]["backups"]
    job["watch"] = {"window_s": 0.2, "tidy_s": 0, **watch}
    job["samples_count"] = 2
    path.write_text(json.dumps(written), encoding="utf-8")
    begin_cheaply(path)
    assert run(directory, "center", "init") == 0
    return path


class Watch:
    """One run of a watcher in this process. ``steps`` are done one by one, each when the one before shows."""

    def __init__(self, config: Path, clock: Clock | None = None) -> None:
        self.site = Site(load_config(config), clock or SystemClock())
        self.system = self.site.system()
        self.job = watched_job(self.system, "")
        self.receipts: list[Receipt] = []
        self.said: list[str] = []

    @property
    def record(self) -> WatchRecord:
        found = read_record(state_path(self.site, self.system, self.job.name))
        assert found is not None
        return found

    def follow(self, steps: Sequence[tuple[Callable[[], bool], Step]], **options: bool) -> None:
        """Watch until every step was done: each waits for its condition, which may look at receipts and words."""
        pending = list(steps)
        clock = SystemClock()
        deadline = clock.monotonic() + LIMIT_S

        def is_over() -> bool:
            assert clock.monotonic() < deadline, f"waited too long: {len(pending)} steps left; said {self.said}"
            if pending and pending[0][0]():
                pending.pop(0)[1]()
            return not pending

        told = WatchTold(self.said.append, lambda receipt, lag_s: self.receipts.append(receipt))
        watch_job(self.site, self.system, self.job, is_stopped=is_over, told=told, workers=0, **options)

    def after(self, count: int) -> Callable[[], bool]:
        """True when so many receipts came."""
        return lambda: len(self.receipts) >= count

    def heard(self, words: str) -> Callable[[], bool]:
        """True when something with these words was said."""
        return lambda: any(words in line for line in self.said)


def nothing() -> None:
    """The step that only waits."""


def restored(
    config: Path, target: Path, *, center: str = "main", snapshot: str = "latest"
) -> dict[bytes, tuple[object, ...]]:
    """What a snapshot gives back of the source, as plain system calls describe it."""
    site = Site(load_config(config), SystemClock())
    system = site.system()
    repository = Repository.open(site.read_store(system, center), site.password(system))
    restore(repository, repository.resolve(snapshot), target, clock=site.clock, workers=0)
    (job,) = system.backups
    assert job.source.kind == "files"
    return described(target / job.source.paths[0].relative_to("/"))


def described(source: Path) -> dict[bytes, tuple[object, ...]]:
    return {path: what for path, what in describe(source).items() if path != NONCE}
