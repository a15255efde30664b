"""The shipping loop: what ``govsec center ship --loop`` and the agent ``govsec-ship`` run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from govsec.assemble.access import centers_to_ship
from govsec.assemble.centers import ship_to
from govsec.assemble.systems import Site
from govsec.errors import ConfigurationError, GovsecError, StoreError
from govsec.progress import Progress
from govsec.runtime.ticks import Stop, notify, run_ticks

BACKOFF_MAX_S = 3600.0


@dataclass(frozen=True, slots=True)
class ShipTask:
    """One system to bring to one center; from ``source``, or from the nearest center that answers."""

    system: str
    target: str
    source: str | None = None


def all_tasks(site: Site) -> list[ShipTask]:
    """Every system to every center that this site may write to, production excepted.

    Raises:
        ConfigurationError: there is nothing to do, so the configuration is not what was meant.
    """
    tasks = [ShipTask(system.name, center) for system in site.config.systems for center in centers_to_ship(site)]
    if not tasks:
        raise ConfigurationError("nothing to ship: no system, or no center besides production that this site may write")
    return tasks


def ship_round(site: Site, tasks: Sequence[ShipTask], *, talk: Callable[[str], None]) -> None:
    """One round over all tasks; one that fails does not keep the others from their turn.

    A round whose locks could not be set has shipped, and has failed all the same.

    Raises:
        GovsecError: of the first that failed, after the round.
    """
    errors: list[GovsecError] = []
    for task in tasks:
        notify("WATCHDOG=1")
        try:
            shipped = ship_to(
                site, site.system(task.system), task.target, source=task.source, progress=_keep_watchdog_calm
            )
        except GovsecError as error:
            talk(f"{task.system} → {task.target}: {error}")
            errors.append(error)
            continue
        report, problem = shipped.report, shipped.lock_problem
        if problem is not None:
            talk(f"{task.system} → {task.target}: {problem}")
            errors.append(StoreError(f"{task.system} → {task.target}: shipped, but {problem}"))
        if report.commits_count or report.flaws or report.source_is_behind:
            talk(
                f"{task.system}: {report.source} → {report.target}: {report.commits_count} commits, "
                f"{report.bytes_count} bytes, head {report.head.number}"
                + (f", {len(report.flaws)} flaws" if report.flaws else "")
                + (", source is behind" if report.source_is_behind else "")
            )
    if errors:
        raise errors[0]


def run_loop(
    site: Site,
    tasks: Sequence[ShipTask],
    *,
    interval_s: float,
    talk: Callable[[str], None],
    stop: Stop | None = None,
    wait: Callable[[float], bool] | None = None,
) -> int:
    """Rounds until SIGTERM or SIGINT; gives exit code 0, because ending is what was asked for."""
    if stop is None:
        stop = Stop()
        stop.on_signals()
    run_ticks(
        lambda: ship_round(site, tasks, talk=talk),
        interval_s=interval_s,
        backoff_max_s=BACKOFF_MAX_S,
        stop=stop,
        wait=wait,
    )
    return 0


def _keep_watchdog_calm(moment: Progress) -> None:
    # A first round may copy for days; every object that arrives is a sign of life.
    notify("WATCHDOG=1")
