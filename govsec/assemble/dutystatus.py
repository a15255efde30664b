"""How the duty daemon is: a small file that it writes while it runs, and the same as metrics."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from govsec.agent.metrics import Sample, exposition, write_text_file
from govsec.clock import Clock, parse_time
from govsec.config import Config
from govsec.errors import GovsecError, HostUnreachableError, TryAgainError
from govsec.localfile import read_bounded
from govsec.privatefile import write_private

_STATUS_SIZE_MAX = 1 << 20
#: A status that is older is of a daemon that hangs or is gone.
_STATUS_OLD_S = 120.0


def write_status(config: Config, status: Mapping[str, Any]) -> None:
    """Keep the status where :func:`read_status` finds it, and as metrics where the configuration asks for them.

    Raises:
        TryAgainError: it cannot be written.
    """
    path = _path(config)
    try:
        write_private(path, json.dumps(status, ensure_ascii=False).encode())
    except OSError as error:
        raise TryAgainError(f"{path}: {error.strerror}") from error
    if (file := config.incident.duty.metrics_file) is not None:
        write_text_file(file, exposition(_samples(status)))


def read_status(config: Config, clock: Clock) -> dict[str, Any]:
    """How the daemon of this machine was when it last said so.

    Raises:
        HostUnreachableError: it never ran here, or has said nothing for two minutes.
    """
    path = _path(config)
    try:
        status: dict[str, Any] = json.loads(read_bounded(path, _STATUS_SIZE_MAX))
        age_s = (clock.now() - parse_time(status["time"])).total_seconds()
    except (OSError, ValueError, KeyError, GovsecError) as error:
        raise HostUnreachableError(f"no duty daemon has run here: {path}") from error
    if abs(age_s) > _STATUS_OLD_S:
        raise HostUnreachableError(f"the duty daemon has said nothing since {status['time']}")
    return status


def _samples(status: Mapping[str, Any]) -> Iterator[Sample]:
    for name, count in sorted(status["counters"].items()):
        is_total = not name.startswith("triage_")
        yield Sample(f"duty_{name}_total" if is_total else f"duty_{name}", count)
    for state, count in sorted(status["outbox"].items()):
        yield Sample("duty_outbox_notices", count, (("state", state),), "notices in the outbox")
    for name, source in sorted(status["sources"].items()):
        if source.get("records_behind") is not None:
            labels = (("source", name),)
            yield Sample("duty_records_behind", source["records_behind"], labels, "records that were not taken yet")
    yield Sample("duty_cases_followed", status["cases_followed"], (), "cases that are looked at")
    yield Sample("duty_evidence_waiting", status["ledger"]["evidence_waiting"], (), "pieces that are not signed yet")
    yield Sample("duty_problems", len(status["problems"]), (), "what is wrong now")


def _path(config: Config) -> Path:
    return config.state_dir / "incidents" / "duty.json"
