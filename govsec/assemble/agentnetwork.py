"""The network agent: a sensor on each interface of ``agent.interfaces``, each a module of its own.

A sensor opens its rings as root and goes on as ``monitor.user`` without rights; see :mod:`govsec.assemble.monitorlive`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from govsec.agent.api import Budget, Context
from govsec.assemble.agentwired import Wired
from govsec.config import Config
from govsec.errors import ConfigurationError
from govsec.privatefile import make_private_directory

SENSOR = "sensor"
ENTRIES = (SENSOR,)
#: A sensor works with whole cores and rings of tens of megabytes; its flow table has its own bound.
_BUDGET = Budget(cpu_percent_max=150, memory_max_bytes=600 << 20, hang_s=60, stop_s=30, nice=0)
_METRICS_EVERY_S = 5.0


def network_modules(config: Config) -> Sequence[Wired]:
    """A sensor for each interface.

    Raises:
        ConfigurationError: no interface is named.
    """
    if not config.agent.interfaces:
        raise ConfigurationError("agent.interfaces names no interface to listen to")
    return [
        Wired(
            f"{SENSOR}-{interface}",
            partial(_run, config, interface),
            _BUDGET,
            partial(_try_out, config),
            entry=SENSOR,
            parts=("monitor", "state_dir"),
        )
        for interface in config.agent.interfaces
    ]


def _try_out(config: Config) -> None:
    from govsec.assemble.monitor import Sensor
    from govsec.assemble.monitorevidence import read_options
    from govsec.assemble.monitorlearned import quiet_of
    from govsec.net.evidence import EvidenceOptions
    from govsec.net.live import LiveOptions

    read_options(LiveOptions, config.monitor.live, "monitor.live")
    read_options(EvidenceOptions, config.monitor.evidence, "monitor.evidence")
    quiet_of(config)
    Sensor(config.monitor)


def _run(config: Config, interface: str, context: Context) -> None:
    from govsec.assemble.monitorlearned import live_folder, quiet_of
    from govsec.assemble.monitorlive import open_watch

    evidence = _reachable(config.state_dir, interface)
    folder = live_folder(config, interface)
    with open_watch(
        interface, config.monitor, context.clock, evidence=evidence, state=folder, quiet=quiet_of(config)
    ) as watch:
        measured_at = 0.0

        def turn() -> None:
            nonlocal measured_at
            if context.alive():
                watch.stop()
            now = context.clock.monotonic()
            if now - measured_at >= _METRICS_EVERY_S:
                measured_at = now
                _measure(context, watch.counters())

        for finding in watch.findings(turn):
            context.emit(finding)


def _reachable(state_dir: Path, interface: str) -> Path:
    """The folder for packets of findings. Those above it may be passed through by all, but not listed: the sensor is
    another user when it writes there, and everything else below them is closed by its own mode.

    Raises:
        ConfigurationError: they cannot be made.
    """
    above = state_dir / "evidence"
    try:
        make_private_directory(above)
        for folder in (state_dir, above):
            folder.chmod(folder.stat().st_mode & 0o7777 | 0o011)
    except OSError as error:
        raise ConfigurationError(f"the folder of evidence {above}: {error.strerror}") from error
    return above / interface


def _measure(context: Context, counters: Mapping[str, Mapping[str, int]]) -> None:
    capture = counters["capture"]
    for name in ("packets", "wide_dropped", "deep_dropped", "batches_not_dissected", "narrowings", "interface_losses"):
        context.metric(f"sensor_{name}_total", capture[name])
    context.metric("sensor_interface_up", capture["is_interface_up"])
    for name in ("findings", "held_back", "errors"):
        context.metric(f"sensor_{name}_total", counters["engine"][name])
    context.metric("sensor_detectors_stopped", counters["engine"]["detectors_stopped"])
