"""The shipping loop: what ``govsec center ship --loop`` and the agent ``govsec-ship`` run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from govsec.assemble.access import centers_to_ship
from govsec.assemble.centers import Shipped, Shipper
from govsec.assemble.lagrecord import LagRecord
from govsec.assemble.systems import Site
from govsec.errors import ConfigurationError, GovsecError, StoreError
from govsec.progress import Progress
from govsec.runtime.ticks import Stop, notify, run_ticks

BACKOFF_MAX_S = 3600.0
#: How often the lag that rounds showed is signed into the ledger.
LAG_EVERY_S = 900.0
#: A loop that follows closely comes back soon after an outage too: no pause is longer than so many intervals.
_BACKOFF_INTERVALS = 30


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


class Shippers:
    """What a loop keeps from round to round: a shipper for each task, and the lag that each system's rounds showed."""

    def __init__(self, site: Site, *, lag_every_s: float | None = None) -> None:
        self._site = site
        self._shippers: dict[ShipTask, Shipper] = {}
        self._lags: dict[str, LagRecord] = {}
        self._lag_every_s = lag_every_s

    def round(self, task: ShipTask) -> Shipped:
        """One round of a task. Raises as :meth:`govsec.assemble.centers.Shipper.round`."""
        system = self._site.system(task.system)
        shipper = self._shippers.get(task)
        if shipper is None:
            shipper = self._shippers[task] = Shipper(self._site, system, task.target, source=task.source)
        shipped = shipper.round(progress=_keep_watchdog_calm)
        if self._lag_every_s is not None:
            record = self._lags.get(task.system)
            if record is None:
                record = self._lags[task.system] = LagRecord(self._site, system, "shipping", every_s=self._lag_every_s)
            for arrival in shipped.report.arrivals:
                lag_s = (arrival.time - arrival.snapshot.time).total_seconds()
                record.add(arrival.snapshot.job, shipper.target, lag_s, arrival.time)
        return shipped

    def tell_lags(self, talk: Callable[[str], None], *, is_last: bool = False) -> None:
        """Sign what was measured into the ledger, where that is due."""
        for record in self._lags.values():
            record.tell(talk, is_last=is_last)


def ship_round(
    site: Site, tasks: Sequence[ShipTask], *, talk: Callable[[str], None], shippers: Shippers | None = None
) -> None:
    """One round over all tasks; one that fails does not keep the others from their turn.

    A round whose locks could not be set has shipped, and has failed all the same.

    Raises:
        GovsecError: of the first that failed, after the round.
    """
    errors: list[GovsecError] = []
    shippers = shippers or Shippers(site)
    for task in tasks:
        notify("WATCHDOG=1")
        try:
            shipped = shippers.round(task)
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
    shippers.tell_lags(talk)
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
    shippers = Shippers(site, lag_every_s=LAG_EVERY_S)
    run_ticks(
        lambda: ship_round(site, tasks, talk=talk, shippers=shippers),
        interval_s=interval_s,
        backoff_max_s=min(BACKOFF_MAX_S, _BACKOFF_INTERVALS * interval_s),
        stop=stop,
        wait=wait,
    )
    shippers.tell_lags(talk, is_last=True)
    return 0


def _keep_watchdog_calm(moment: Progress) -> None:
    # A first round may copy for days; every object that arrives is a sign of life.
    notify("WATCHDOG=1")
