"""A clock that was wrong: looks go on, what was told in a future that did not come silences nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from govsec.findings.engine import Engine
from govsec.guard.api import Observation
from govsec.guard.logview import LogView
from govsec.guard.registry import Site, build_detectors
from govsec.guard.sampling import Sampler, SamplingSettings
from govsec.guard.watch import DEGRADED, HostGuard, Intervals
from govsec.host.events import LoginOutcome, LoginRecord, LoginTool, Record
from govsec.records import Finding
from tests.guard.records import MONDAY_NS, SECOND

_YEAR = 365 * 86_400 * SECOND
_LINE = "Nov 22 10:00:00 vm sshd[1]: Accepted publickey for root from 203.0.113.9 port 1 ssh2\n"


class _Host:
    """A guard that looks at one log."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "auth.log"
        self.log.write_text(_LINE * 100)
        detectors = build_detectors({}, Site())
        self.guard = HostGuard(
            Engine[Observation](detectors, degraded_kind=DEGRADED),
            Sampler(SamplingSettings()),
            logs=LogView([f"{folder}/*.log"]),
            intervals=Intervals(look_s=30),
        )

    def step(self, now_ns: int, records: Sequence[Record] = ()) -> list[Finding]:
        return list(self.guard.step(records, now_ns=now_ns))

    def cut(self) -> None:
        self.log.write_text("")

    def grow(self) -> None:
        self.log.write_text(_LINE * 100)


def _kinds(findings: Sequence[Finding]) -> list[str]:
    return [finding.kind for finding in findings if finding.kind.startswith("host.tamper")]


def test_a_clock_that_was_a_year_ahead_for_a_moment_stops_no_look(tmp_path: Path) -> None:
    host = _Host(tmp_path)
    host.step(MONDAY_NS)
    host.step(MONDAY_NS + _YEAR)
    told = host.step(MONDAY_NS + 60 * SECOND)
    assert any("the clock went back" in finding.summary for finding in told)
    host.cut()
    found = host.step(MONDAY_NS + 120 * SECOND)
    assert _kinds(found), [finding.kind for finding in found]


def test_a_record_that_lies_about_its_time_stops_no_look(tmp_path: Path) -> None:
    host = _Host(tmp_path)
    lie = LoginRecord(
        time_ns=MONDAY_NS + 10 * _YEAR, tool=LoginTool.SSHD, outcome=LoginOutcome.FAILURE, user="root",
        source="203.0.113.9", terminal=None, method="password", pid=1, count=1, by_user=None, command=None,
        log="auth.log", line="x",
    )  # fmt: skip
    host.step(MONDAY_NS, [lie])
    host.cut()
    # It may put looks off by the minutes that clocks lie apart, once.
    assert _kinds(host.step(MONDAY_NS + 400 * SECOND))


def test_what_was_told_in_a_future_that_did_not_come_is_told_again(tmp_path: Path) -> None:
    host = _Host(tmp_path)
    host.step(MONDAY_NS + _YEAR)
    host.cut()
    assert _kinds(host.step(MONDAY_NS + _YEAR + 60 * SECOND))
    host.grow()
    host.step(MONDAY_NS)
    host.step(MONDAY_NS + 60 * SECOND)
    host.cut()
    assert _kinds(host.step(MONDAY_NS + 120 * SECOND))
