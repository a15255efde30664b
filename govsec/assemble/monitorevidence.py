"""Packets of findings on their way to a folder: the sink that stands beside the detectors, for a file or an interface.

The folder of a live sensor belongs to the user that it becomes, so it goes on writing when its rights are gone.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from govsec.config import MonitorConfig, explain
from govsec.detect.api import Observation
from govsec.errors import ConfigurationError
from govsec.net.evidence import CaptureCounts, EvidenceFile, EvidenceKeeper, EvidenceOptions
from govsec.privatefile import make_private_directory
from govsec.records import Finding

_Options = TypeVar("_Options", bound=BaseModel)


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


def live_evidence(folder: Path, options: EvidenceOptions, interface: str, user: str) -> EvidenceSink:
    """A sink for what an interface brings; the folder is made over to the user that the sensor runs as.

    Raises:
        ConfigurationError: the folder cannot be made or read.
    """
    try:
        make_private_directory(folder)
        if os.geteuid() == 0:
            with suppress(KeyError):  # dropping privileges says that there is no such user
                os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    except OSError as error:
        raise ConfigurationError(f"the folder of evidence {folder}: {error.strerror}") from error
    return EvidenceSink(folder, options, interface)


def read_options(model: type[_Options], configured: object, name: str) -> _Options:
    """The settings below ``name`` of the configuration.

    Raises:
        ConfigurationError: no such setting, or a value out of its bounds; names it.
    """
    try:
        return model.model_validate(configured)
    except ValidationError as error:
        raise ConfigurationError(f"{name}: {explain(error)}") from error
