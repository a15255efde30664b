"""The network sensor on an interface: capture, privileges, sensor, evidence and what it has learned put together.

One idea: everything that needs rights is opened first, then the rights go, and only then is a packet looked at. In the
loop, packets go before depth: while the ring is filling, batches are counted but their conversations not read, and that
is a loss which detectors are told. When the machine's clock was set back, event time would stand still until it has
caught up: what is open is finished, and a fresh sensor begins, with what the old one had learned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path

from govsec.assemble.monitor import Sensor
from govsec.assemble.monitorevidence import EvidenceSink, live_evidence, read_options
from govsec.assemble.monitorstate import BaselineFolder
from govsec.clock import Clock, to_ns
from govsec.config import MonitorConfig
from govsec.detect.api import Losses, Sink
from govsec.detect.judgement import judge
from govsec.dissect.dissect import DissectLimits
from govsec.errors import TryAgainError
from govsec.findings.baseline import Baseline
from govsec.findings.judgement import Measure
from govsec.findings.quiet import Quiet
from govsec.net.columns import PacketBatch
from govsec.net.evidence import EvidenceOptions
from govsec.net.live import LiveCapture, LiveOptions
from govsec.net.privileges import Dropped, drop_privileges
from govsec.records import Finding, Severity

#: Fullness of the ring above which conversations are not read: at 300,000 packets/s the rest of it lasts 0.3 s, longer
#: than one batch takes.
PRESSURE_MAX = 0.25
#: And below which what was learned may be saved, which takes as long as the disk.
_CALM_MAX = 0.05


def open_watch(
    interface: str,
    config: MonitorConfig,
    clock: Clock,
    *,
    evidence: Path | None = None,
    state: Path | None = None,
    quiet: Quiet | None = None,
    sinks: Sequence[Sink] = (),
) -> Watch:
    """A sensor that listens to ``interface``. Made as root, it goes on as ``monitor.user``.

    ``evidence``: folder for packets of findings. ``state``: folder of this interface's own where what is usual is kept
    between runs; by default it is learned in memory, for as long as this listens. ``quiet``: what the site has
    dismissed, as of now; by default what its configuration allows.

    Raises:
        RefusedError: the right to capture is missing, or rights could not be given up.
        ConfigurationError: a setting, the interface, the user or a folder is wrong.
        TryAgainError: no memory for the rings.
    """
    live = read_options(LiveOptions, config.live, "monitor.live")
    options = read_options(EvidenceOptions, config.evidence, "monitor.evidence")
    sink = live_evidence(evidence, options, interface, config.user) if evidence is not None else None
    # Words for people are read from the package's own folder when they are needed.
    readable = [*config.indicators, Path(__file__).resolve().parent.parent]
    with ExitStack() as undo:  # a sensor that kept its rights does not listen
        capture = undo.enter_context(LiveCapture(interface, live, clock))
        folder = BaselineFolder(state, config.user) if state is not None else None
        if folder is not None:
            undo.callback(folder.close)
        writable = [path for path in (evidence, state) if path is not None]
        drop = partial(drop_privileges, config.user, readable=readable, writable=writable)
        watch = Watch(capture, config, clock, drop, evidence=sink, folder=folder, quiet=quiet, sinks=sinks)
        undo.pop_all()
    return watch


class Watch:
    """A sensor on an open capture; a context manager, which closes the capture."""

    def __init__(
        self,
        capture: LiveCapture,
        config: MonitorConfig,
        clock: Clock,
        drop: Callable[[], Dropped],
        *,
        evidence: EvidenceSink | None = None,
        folder: BaselineFolder | None = None,
        quiet: Quiet | None = None,
        sinks: Sequence[Sink] = (),
    ) -> None:
        """``drop`` gives up the rights: once all that needs them is open, before anything of this network is read, also
        what was learned of it in earlier runs.

        Raises:
            ConfigurationError: a setting is wrong, or a list of indicators cannot be read. And what ``drop`` does.
        """
        self.capture = capture
        self.evidence = evidence
        self._config = config
        self._clock = clock
        self._folder = folder
        self._quiet = quiet
        self._sinks = (*sinks, *([evidence] if evidence is not None else []))
        self.baseline = Baseline()
        self.sensor = self._fresh()
        self.dropped = drop()
        self._damage = folder.load(self.baseline) if folder is not None else None
        self._undissected_count = 0
        self._steps_count = 0
        self._last: PacketBatch | None = None

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.capture.close()
        if self._folder is not None:
            self._folder.close()

    def stop(self) -> None:
        """Let :meth:`findings` end; for a signal's handler."""
        self.capture.stop()

    def findings(self, turn: Callable[[], None] = lambda: None) -> Iterator[Finding]:
        """Findings as they are sure, until :meth:`stop`; then those of what was open.

        ``turn`` is called with every batch, and once a second while there are no packets.
        """
        if self._damage is not None:
            yield self._of_baseline("baseline_damaged", "cannot be read and was set aside", self._damage)
        for batch in self.capture.batches():
            turn()
            if len(batch):
                yield from self._take(batch)
            if self.capture.pressure() <= _CALM_MAX:
                yield from self._save()
        yield from self._finished()
        yield from self._save()
        if self.evidence is not None:
            self.evidence.finish()

    def counters(self) -> dict[str, dict[str, int]]:
        """What every part did, left out and lost."""
        capture = {name: int(value) for name, value in asdict(self.capture.counters()).items()}
        counters = {"capture": capture | {"batches_not_dissected": self._undissected_count}, **self.sensor.counters()}
        if self.evidence is not None:
            counters["evidence"] = asdict(self.evidence.keeper.counters())
        if self._folder is not None:
            counters["baseline"] = asdict(self._folder.counters)
        return counters

    def _take(self, batch: PacketBatch) -> Iterator[Finding]:
        losses = self._losses()
        if self.capture.counters().clock_steps_back > self._steps_count:
            self._steps_count += 1
            yield from self._finished()
            self.sensor = self._fresh()
        is_dissected = self.capture.pressure() <= PRESSURE_MAX
        self._undissected_count += not is_dissected
        yield from self.sensor.take(batch, losses, is_dissected=is_dissected)
        self._last = batch

    def _save(self) -> Iterator[Finding]:
        """What was learned since the last time goes to the disk: once an hour."""
        if self._folder is None or not self._folder.is_due(self.baseline):
            return
        try:
            self._folder.save(self.baseline)
        except TryAgainError as error:
            yield self._of_baseline("baseline_not_saved", "cannot be saved", str(error))

    def _of_baseline(self, reason: str, what: str, problem: str) -> Finding:
        return judge(
            kind="net.sensor.degraded",
            detector="baseline",
            severity=Severity.MEDIUM,
            time_ns=to_ns(self._clock.now()),
            subject="sensor",
            summary=f"What is usual {what}: {problem[:500]}.",
            pattern=("baseline", reason),
            measured={"failures": Measure(1, 0)},
            facts={"reason": reason, "problem": problem[:500]},
        )

    def _fresh(self) -> Sensor:
        """With budgets that one core bears beside capture and flows, so that one host's queries do not stall it."""
        return Sensor(
            self._config,
            baseline=self.baseline,
            quiet=self._quiet,
            limits=DissectLimits.live(),
            sinks=self._sinks,
        )

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
