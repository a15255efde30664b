"""The network sensor on an interface: capture, privileges, sensor and evidence put together.

One idea: everything that needs rights is opened first, then the rights go, and only then is a packet looked at. In the
loop, packets go before depth: while the ring is filling, batches are counted but their conversations not read, and that
is a loss which detectors are told. When the machine's clock was set back, event time would stand still until it has
caught up: what is open is finished, and a fresh sensor begins.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from govsec.assemble.monitor import Sensor
from govsec.clock import Clock
from govsec.config import MonitorConfig, explain
from govsec.detect.api import Losses, Observation, Sink
from govsec.dissect.dissect import DissectLimits
from govsec.errors import ConfigurationError
from govsec.findings.quiet import Quiet
from govsec.net.columns import PacketBatch
from govsec.net.evidence import CaptureCounts, EvidenceFile, EvidenceKeeper, EvidenceOptions
from govsec.net.live import LiveCapture, LiveOptions
from govsec.net.privileges import Dropped, drop_privileges
from govsec.privatefile import make_private_directory
from govsec.records import Finding

_Options = TypeVar("_Options", bound=BaseModel)
#: Fullness of the ring above which conversations are not read: at 300,000 packets/s the rest of it lasts 0.3 s, longer
#: than one batch takes.
PRESSURE_MAX = 0.25


class EvidenceSink:
    """Keeps the packets of findings; ``files`` are those written so far, the oldest first."""

    def __init__(self, folder: Path, options: EvidenceOptions, source: str) -> None:
        """``source``: the interface or file that the packets come from.

        Raises:
            ConfigurationError: the folder cannot be made or read.
        """
        self.keeper = EvidenceKeeper(folder, options)
        self.files: list[EvidenceFile] = []
        self._source = source

    def take(self, observation: Observation, findings: tuple[Finding, ...]) -> None:
        losses = observation.losses
        received = losses.packets_received or self.keeper.seen_count + len(observation.packets)
        counts = CaptureCounts(self._source, received, losses.packets_dropped)
        self.files += self.keeper.observe(observation.packets, counts)
        for finding in findings:
            self.keeper.open_window(finding)

    def finish(self) -> None:
        """No more packets come: write what is open."""
        self.files += self.keeper.finish()


@contextmanager
def evidence_of(folder: Path, config: MonitorConfig, source: str) -> Iterator[EvidenceSink]:
    """A sink that keeps packets of findings in ``folder``; in the end it writes what is open.

    Raises:
        ConfigurationError: a setting or the folder is wrong.
    """
    sink = EvidenceSink(folder, read_options(EvidenceOptions, config.evidence, "monitor.evidence"), source)
    yield sink
    sink.finish()


class Watch:
    """A sensor that listens; a context manager. Made as root, it goes on as ``monitor.user``."""

    def __init__(
        self,
        interface: str,
        config: MonitorConfig,
        clock: Clock,
        *,
        evidence: Path | None = None,
        quiet: Quiet | None = None,
        sinks: Sequence[Sink] = (),
    ) -> None:
        """``evidence``: folder for packets of findings. ``quiet``: what the site has dismissed, as of now; by default
        what its configuration allows. What is usual is learned in memory, for as long as this listens.

        Raises:
            RefusedError: the right to capture is missing, or rights could not be given up.
            ConfigurationError: a setting, the interface, the user or the folder is wrong.
            TryAgainError: no memory for the rings.
        """
        self._config = config
        live = read_options(LiveOptions, config.live, "monitor.live")
        options = read_options(EvidenceOptions, config.evidence, "monitor.evidence")
        self.evidence = _evidence(evidence, options, interface, config.user) if evidence is not None else None
        self._sinks = (*sinks, *([self.evidence] if self.evidence is not None else []))
        self._quiet = quiet
        self.sensor = self._fresh()
        writable = [evidence] if evidence is not None else []
        # Words for people are read from the package's own folder when they are needed.
        readable = [*config.indicators, Path(__file__).resolve().parent.parent]
        with ExitStack() as undo:  # a sensor that kept its rights does not listen
            self.capture = LiveCapture(interface, live, clock)
            undo.callback(self.capture.close)
            self.dropped: Dropped = drop_privileges(config.user, readable=readable, writable=writable)
            undo.pop_all()
        self._undissected_count = 0
        self._steps_count = 0
        self._last: PacketBatch | None = None

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.capture.close()

    def stop(self) -> None:
        """Let :meth:`findings` end; for a signal's handler."""
        self.capture.stop()

    def findings(self) -> Iterator[Finding]:
        """Findings as they are sure, until :meth:`stop`; then those of what was open."""
        for batch in self.capture.batches():
            if not len(batch):
                continue
            losses = self._losses()
            if self.capture.counters().clock_steps_back > self._steps_count:
                self._steps_count += 1
                yield from self._finished()
                self.sensor = self._fresh()
            is_dissected = self.capture.pressure() <= PRESSURE_MAX
            self._undissected_count += not is_dissected
            yield from self.sensor.take(batch, losses, is_dissected=is_dissected)
            self._last = batch
        yield from self._finished()
        if self.evidence is not None:
            self.evidence.finish()

    def counters(self) -> dict[str, dict[str, int]]:
        """What every part did, left out and lost."""
        capture = {name: int(value) for name, value in asdict(self.capture.counters()).items()}
        counters = {"capture": capture | {"batches_not_dissected": self._undissected_count}, **self.sensor.counters()}
        if self.evidence is not None:
            counters["evidence"] = asdict(self.evidence.keeper.counters())
        return counters

    def _fresh(self) -> Sensor:
        """With budgets that one core bears beside capture and flows, so that one host's queries do not stall it."""
        return Sensor(self._config, quiet=self._quiet, limits=DissectLimits.live(), sinks=self._sinks)

    def _finished(self) -> tuple[Finding, ...]:
        last, self._last = self._last, None
        return self.sensor.finish(last, self._losses()) if last is not None else ()

    def _losses(self) -> Losses:
        counters = self.capture.counters()
        return Losses(
            packets_received=counters.packets + counters.dropped,
            packets_dropped=counters.dropped,
            batches_not_dissected=self._undissected_count,
        )


def read_options(model: type[_Options], configured: object, name: str) -> _Options:
    """The settings below ``name`` of the configuration.

    Raises:
        ConfigurationError: no such setting, or a value out of its bounds; names it.
    """
    try:
        return model.model_validate(configured)
    except ValidationError as error:
        raise ConfigurationError(f"{name}: {explain(error)}") from error


def _evidence(folder: Path, options: EvidenceOptions, interface: str, user: str) -> EvidenceSink:
    """The folder is made over to the user that the sensor runs as."""
    try:
        make_private_directory(folder)
        if os.geteuid() == 0:
            with suppress(KeyError):  # dropping privileges says that there is no such user
                os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    except OSError as error:
        raise ConfigurationError(f"the folder of evidence {folder}: {error.strerror}") from error
    return EvidenceSink(folder, options, interface)
