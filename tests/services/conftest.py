"""What tests of probes share: a portal on both families, and a prober with a memory of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from govsec.findings.baseline import Baseline
from govsec.serviceentry import ServiceConfig
from govsec.services.memory import ServiceMemory
from govsec.services.probe import Prober
from govsec.testing.clock import FakeClock
from tests.services.portals import PATIENT_S, Keys, Portal, make_keys, running


@pytest.fixture
def clock() -> FakeClock:
    """Stands still at this moment of the machine: certificates that servers show are judged by real dates."""
    return FakeClock(datetime.now(UTC))


@pytest.fixture
def portal() -> Iterator[Portal]:
    with running(Portal()) as one:
        yield one


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return make_keys(tmp_path)


Make = Callable[..., Prober]


@pytest.fixture
def make(portal: Portal, clock: FakeClock) -> Make:
    def prober(**entries: Any) -> Prober:
        config = {"name": "portal", "timeout_s": PATIENT_S, **entries}
        return Prober(
            ServiceConfig.model_validate(config),
            memory=ServiceMemory(),
            baseline=Baseline(),
            pages={},
            clock=clock,
            resolve=portal.resolve,
        )

    return prober
