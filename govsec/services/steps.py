"""The steps of a service, run in order over one family of addresses: what a user would meet there, and how fast.

The first step that fails ends the run: what comes behind it needs what it did not give.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from govsec.clock import Clock
from govsec.crypto.certificates import CertificateFacts
from govsec.serviceentry import Family, ServiceConfig, StepConfig
from govsec.services.asking import Asker, NoAddress, Trace, Wanted
from govsec.services.checks import Failure, judge_answer
from govsec.services.values import Mask, body_of, fill, fill_url, kept_value, secret_values
from govsec.web.addresses import Names
from govsec.web.connection import NO_WAY, RequestError


class RunState(StrEnum):
    """How a run ended."""

    PASSED = "passed"
    FAILED = "failed"
    #: The first name has no address in this family.
    NOT_OFFERED = "not offered"
    #: This machine has no route in this family: nothing is known of the service.
    NO_ROUTE = "no route"


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step. ``seconds``: by phase; ``visited``: host and path of each request, without queries."""

    name: str
    address: str
    visited: tuple[str, ...]
    status: int | None
    size_bytes: int
    seconds: Mapping[str, float]
    certificate: CertificateFacts | None
    tls_version: str
    failure: Failure | None

    @property
    def redirects(self) -> int:
        """How many were followed."""
        return max(0, len(self.visited) - 1)


@dataclass(frozen=True, slots=True)
class Run:
    """All steps that were made, in order; of a failed run the last has the failure."""

    family: Family
    state: RunState
    steps: tuple[StepResult, ...]
    #: Why, where the run has no step to say it.
    reason: str = ""

    @property
    def failed(self) -> StepResult | None:
        """The step that failed."""
        return self.steps[-1] if self.state is RunState.FAILED and self.steps else None


def run_steps(config: ServiceConfig, family: Family, names: Names, context: ssl.SSLContext, clock: Clock) -> Run:
    """Run the steps of a service.

    Raises:
        ConfigurationError: a secret cannot be read.
    """
    values = secret_values(config.secrets, clock)
    mask = Mask()
    for name, value in values.items():
        mask.hide(name, value, is_secret=True)
    asker = Asker(config, family, names, context, clock)
    results: list[StepResult] = []
    for position, step in enumerate(config.steps):
        trace = Trace()
        try:
            result = _step(step, asker, trace, values, mask)
        except RequestError as error:
            # Only the first step can tell that there is nothing in this family: later ones follow from an answer.
            if position == 0 and isinstance(error, NoAddress):
                return Run(family, RunState.NOT_OFFERED, (), error.seen)
            if position == 0 and error.errno in NO_WAY:
                return Run(family, RunState.NO_ROUTE, (), error.seen)
            expected = f"an answer within {config.timeout_s:g} s"
            failure = Failure(error.phase, expected, mask.plain(error.seen), error.tls_code)
            result = _result(step, trace, mask, failure)
        results.append(result)
        if result.failure is not None:
            return Run(family, RunState.FAILED, tuple(results))
    return Run(family, RunState.PASSED, tuple(results))


def _step(step: StepConfig, asker: Asker, trace: Trace, values: dict[str, str], mask: Mask) -> StepResult:
    body, content_type = body_of(step, values)
    headers = {name: fill(text, values) for name, text in step.headers.items()}
    if content_type and "content-type" not in {name.lower() for name in headers}:
        headers["Content-Type"] = content_type
    if body is None and step.method in ("POST", "PUT", "PATCH"):
        body = b""
    wanted = Wanted(fill_url(step.url, values), step.method, headers, body, step.redirects_max, step.size_bytes_max)
    answer = asker.ask(wanted, trace)
    failure = judge_answer(step.expect, answer)
    if failure is None:
        for name, keep in step.keep.items():
            value = kept_value(keep, answer)
            if value is None:
                failure = Failure(f"keep {name}", "a value for later steps", "none where it should stand")
                break
            values[name] = value
            mask.hide(name, value, is_secret=False)
    if failure is not None:
        failure = Failure(failure.what, mask.plain(failure.expected), mask.plain(failure.seen), failure.tls_code)
    return _result(step, trace, mask, failure, answer.status, len(answer.body))


def _result(
    step: StepConfig,
    trace: Trace,
    mask: Mask,
    failure: Failure | None,
    status: int | None = None,
    size_bytes: int = 0,
) -> StepResult:
    return StepResult(
        name=step.name,
        address=trace.address,
        visited=tuple(mask.plain(place) for place in trace.visited),
        status=status,
        size_bytes=size_bytes,
        seconds=dict(trace.phases.seconds),
        certificate=trace.certificate,
        tls_version=trace.tls_version,
        failure=failure,
    )
