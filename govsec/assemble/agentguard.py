"""The module ``guard`` of the host agent: events and snapshots of this machine, judged as they come.

One idea: one loop. It reads what happened, takes a snapshot when one is due, and has the guard judge both; a look that
takes long (all tables, all files of the baseline) tells the supervisor on the way that work goes on.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, StringConstraints

from govsec.agent.api import Context
from govsec.config import Config, Model
from govsec.errors import ConfigurationError

if TYPE_CHECKING:  # the supervisor reads this module, and needs nothing of a guard
    from govsec.guard.watch import HostGuard
    from govsec.host.logplaces import LogPlaces
    from govsec.host.snapshot import HostReader
    from govsec.host.stream import EventStream, StreamOptions
    from govsec.host.tables import HostSnapshot

_READ_S = 1.0
_METRICS_EVERY_S = 10.0
#: At the end the disk is waited for so long.
_LAST_WORD_S = 3.0
_Folder = Annotated[str, StringConstraints(pattern=r"^/", max_length=4_000)]


class WebLogSettings(Model):
    """A web server's log, and what in it is a log-in."""

    path: Path
    login_paths: tuple[str, ...] = ("/login",)
    methods: tuple[str, ...] = ("POST",)
    failure_statuses: tuple[int, ...] = (401, 403)
    success_statuses: tuple[int, ...] = (200, 302, 303)
    pattern: str | None = Field(
        default=None,
        max_length=4_000,
        description="of a line, with groups source and status, and user, time, method, path; default: combined format",
    )
    time_format: str | None = Field(
        default=None, max_length=100, description="of strptime, for the group time; default: 22/Nov/2026:09:08:07 +0800"
    )


class GuardModuleSettings(Model):
    """What is watched beside the guard's own roots, and how often the machine's tables are looked at."""

    has_processes: bool = True
    has_files: bool = True
    has_logins: bool = True
    watched: tuple[_Folder, ...] = Field(
        default=("/home", "/srv", "/var/www", "/opt"),
        max_length=100,
        description="folders whose files are watched for what ransomware does, beside guard.roots",
    )
    unwatched: tuple[_Folder, ...] = Field(default=(), max_length=100)
    folders_max: int = Field(default=100_000, ge=1_000, le=2_000_000, description="about 300 bytes each")
    polling_every_s: float = Field(
        default=30, ge=1, le=3_600, description="between looks at all files, where the kernel tells of no change"
    )
    polling_files_max: int = Field(
        default=100_000, ge=1_000, le=2_000_000, description="in such a look; 500 bytes each"
    )
    auth_logs: tuple[Path, ...] | None = Field(default=None, description="default: where distributions have theirs")
    web_logs: tuple[WebLogSettings, ...] = Field(default=(), max_length=20)
    snapshot_every_s: float = Field(default=120, ge=5, le=3_600, description="processes, listeners, accounts, modules")
    tasks_every_s: float = Field(default=600, ge=5, le=86_400, description="cron and timers, whose files are many")
    full_every_s: float = Field(default=3_600, ge=60, le=86_400, description="all tables that drift is judged by")


def try_guard(config: Config, settings: GuardModuleSettings) -> None:
    """Import and read what the module needs, but open and learn nothing.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    from govsec.assemble.guard import sampling_of, sweeps_of, tables_for
    from govsec.guard.registry import Site, build_detectors
    from govsec.host.api import SourceUnavailableError
    from govsec.host.logins import WebReader

    tables_for(config, is_full=True)
    build_detectors(config.guard.detectors, Site())
    sampling_of(config)
    sweeps_of(config)
    logins = stream_options(config, settings).logins
    try:
        for log in logins.web_logs if logins is not None else ():
            WebReader(log)
    except SourceUnavailableError as error:
        raise ConfigurationError(f"agent.modules.guard.settings.web_logs: {error}") from error


def stream_options(config: Config, settings: GuardModuleSettings, places: LogPlaces | None = None) -> StreamOptions:
    """What of this machine's events is read; ``places``: how far its logs were by an earlier run.

    Folders that are not there are left out; links are followed once, here.
    """
    from govsec.host.filewatch import WatchOptions
    from govsec.host.logins import LoginOptions, WebLog
    from govsec.host.stream import StreamOptions

    wanted = [*config.guard.roots, *settings.watched, *_canary_folders(config)]
    roots = tuple(dict.fromkeys(Path(each).resolve() for each in wanted if Path(each).is_dir()))
    own = (config.state_dir.resolve(), *(Path(each) for each in settings.unwatched))
    web_logs = tuple(WebLog(**each.model_dump(exclude_none=True)) for each in settings.web_logs)
    logins = LoginOptions(web_logs=web_logs, places=places)
    if settings.auth_logs is not None:
        logins = LoginOptions(auth_logs=settings.auth_logs, web_logs=web_logs, places=places)
    return StreamOptions(
        has_processes=settings.has_processes,
        files=WatchOptions(roots, own, settings.folders_max) if settings.has_files and roots else None,
        logins=logins if settings.has_logins else None,
        polling_round_s=settings.polling_every_s,
        polling_files_max=settings.polling_files_max,
    )


def _canary_folders(config: Config) -> list[str]:
    from govsec.assemble.guard import canaries_of

    return sorted({str(Path(path).parent) for path in canaries_of(config)})


def run_guard(config: Config, settings: GuardModuleSettings, context: Context) -> None:
    """Watch and judge until told to end."""
    from govsec.assemble.guard import build_guard, sweeps_of
    from govsec.host.logplaces import LogPlaces
    from govsec.host.snapshot import HostReader
    from govsec.host.stream import open_stream

    reader = HostReader(sweeps=sweeps_of(config), pause=lambda: _go_on(context))
    places = LogPlaces(config.state_dir / "guard" / "log-places.json", context.clock)
    options = stream_options(config, settings, places)
    logins = options.logins
    followed = (*logins.auth_logs, *(log.path for log in logins.web_logs)) if logins is not None else ()
    guard = build_guard(config, context.clock, followed=followed)
    with open_stream(options, context.clock) as stream:
        _Watch(config, settings, context, guard, reader, stream, places).run()


def _go_on(context: Context) -> None:
    context.alive()


class _Watch:
    """The loop."""

    def __init__(
        self,
        config: Config,
        settings: GuardModuleSettings,
        context: Context,
        guard: HostGuard,
        reader: HostReader,
        stream: EventStream,
        places: LogPlaces,
    ) -> None:
        self._config = config
        self._settings = settings
        self._context = context
        self._guard = guard
        self._reader = reader
        self._stream = stream
        self._places = places
        #: Places that wait for the findings before them, and the mark behind those.
        self._noted: tuple[int, bytes] | None = None
        self._quick_at = self._tasks_at = self._full_at = self._measured_at = float("-inf")

    def run(self) -> None:
        """Until told to end; what the guard still has to say then is said."""
        from govsec.clock import to_ns

        context = self._context
        while not context.alive():
            records = self._stream.read(_READ_S)
            snapshot = self._snapshot()
            context.alive()
            for finding in self._guard.step(records, snapshot, now_ns=to_ns(context.clock.now())):
                context.emit(finding)
            self._keep_places()
            self._measure()
        for finding in self._guard.finish():
            context.emit(finding)
        self._keep_places(is_last=True)

    def _keep_places(self, *, is_last: bool = False) -> None:
        """Once what was found there is on the disk; whichever of the two processes dies before, it is read again."""
        if self._noted is None or is_last:
            noted = self._places.due(is_last=is_last)
            if noted is not None:
                self._noted = (self._context.mark(), noted)
        if self._noted is not None and self._context.kept(_LAST_WORD_S if is_last else 0.0) >= self._noted[0]:
            self._places.save(self._noted[1])
            self._noted = None

    def _snapshot(self) -> HostSnapshot | None:
        """The tables that are due."""
        from govsec.assemble.guard import tables_for
        from govsec.host.tables import TableName

        now = self._context.clock.monotonic()
        is_full = now - self._full_at >= self._settings.full_every_s
        if not is_full and now - self._quick_at < self._settings.snapshot_every_s:
            return None
        self._quick_at = now
        if is_full:
            self._full_at = now
        tables = tables_for(self._config, is_full=is_full)
        if is_full or now - self._tasks_at >= self._settings.tasks_every_s:
            self._tasks_at = now
        else:
            tables -= {TableName.TASKS}
        return self._reader.take(self._context.clock, tables)

    def _measure(self) -> None:
        now = self._context.clock.monotonic()
        if now - self._measured_at < _METRICS_EVERY_S:
            return
        self._measured_at = now
        for name, count in self._stream.counters().items():
            self._context.metric("host_events_total", count, counter=name)
        measure_guard(self._guard, self._context)


def measure_guard(guard: HostGuard, context: Context) -> None:
    """What the guard did, left out and forgot, as metrics."""
    from govsec.guard.shortfalls import left_out

    counters = guard.counters()
    for part, reason, count in left_out(counters):
        context.metric("guard_left_out", count, part=part, reason=reason)
    for part, counts in counters.items():
        forgotten = [count for name, count in counts.items() if name.endswith("forgotten")]
        if forgotten:
            context.metric("guard_forgotten_total", sum(forgotten), part=part)
    for name in ("findings", "held_back", "errors"):
        context.metric(f"guard_{name}_total", counters["engine"][name])
    context.metric("guard_detectors_stopped", counters["engine"]["detectors_stopped"])
