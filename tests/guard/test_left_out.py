"""What the guard's own limits leave out is told with its number, once; what was when people accepted is not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from govsec.agent.api import ModuleSpec
from govsec.agent.frames import Metric
from govsec.agent.status import status_of
from govsec.assemble.agentguard import measure_guard
from govsec.assemble.guard import build_guard
from govsec.clock import to_ns
from govsec.findings.baseline import Baseline
from govsec.guard.filescan import FileChecker, FileScanner
from govsec.guard.filestate import marks_of
from govsec.guard.watch import HostGuard
from govsec.host.snapshot import take
from govsec.host.tables import TableName
from govsec.records import Finding
from govsec.testing.clock import FakeClock
from tests.agent.running import ROOMY, idle, supervised
from tests.guard.guarded import NOON, Machine
from tests.guard.records import HOUR, change

LOST, DEGRADED = "host.events.lost", "host.events.degraded"
_FLOOD = 1100


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    guard = machine.config.guard.model_copy(update={"files_max": 1000})
    machine.config = machine.config.model_copy(update={"guard": guard})
    return machine


class Guarded:
    """The guard of a machine, stepped by the hour, so that every look and the pass are due."""

    def __init__(self, machine: Machine) -> None:
        self.guard: HostGuard = build_guard(machine.config, NOON, habits=Baseline())
        self.time_ns = to_ns(NOON.now())

    def step(self, *records: Any) -> list[Finding]:
        self.time_ns += HOUR
        return list(self.guard.step(records, now_ns=self.time_ns))


def told(findings: list[Finding], kind: str, reason: str) -> list[str]:
    """What findings of the kind say of the reason."""
    return [finding.summary for finding in findings if finding.kind == kind and reason in finding.summary]


def flood(machine: Machine, count: int = _FLOOD) -> None:
    """Empty files without end, in the first of the folders that are guarded."""
    for number in range(count):
        (machine.root / f"etc/x{number}").touch()


def test_files_without_end_hide_no_change_behind_them_and_are_told_with_their_number(machine: Machine) -> None:
    machine.accept()
    guarded = Guarded(machine)
    guarded.step()
    flood(machine)
    (machine.root / "usr/bin/app").write_text("#!/bin/sh\nexec /tmp/.x\n")

    found = guarded.step()

    assert str(machine.root / "usr/bin/app") in {finding.subject for finding in found}
    (summary,) = told(found, LOST, "guard.files_max")
    # Of 1,100 new ones some fit beside those that are known.
    count = guarded.guard.counters()["integrity"]["over_limit"]
    assert 100 < count < _FLOOD
    assert f"{count} events" in summary


def test_a_limit_that_stays_met_is_told_once_and_again_when_it_has_doubled(machine: Machine) -> None:
    machine.accept()
    guarded = Guarded(machine)
    flood(machine)
    assert len(told(guarded.step(), LOST, "guard.files_max")) == 1

    assert [told(guarded.step(), LOST, "guard.files_max") for _ in range(30)] == [[]] * 30

    for number in range(_FLOOD):
        (machine.root / f"usr/y{number}").touch()
    assert len(told(guarded.step(), LOST, "guard.files_max")) == 1


def test_what_was_left_out_when_people_accepted_is_not_told(machine: Machine, tmp_path: Path) -> None:
    guard = machine.config.guard.model_copy(update={"roots": (*machine.config.guard.roots, str(tmp_path / "nowhere"))})
    machine.config = machine.config.model_copy(update={"guard": guard})
    flood(machine)
    baseline = machine.accept()
    assert baseline.left_out["roots_missing"] == 1
    assert baseline.left_out["over_limit"] > 0

    guarded = Guarded(machine)

    for _ in range(3):
        found = guarded.step()
        assert told(found, LOST, "guard.files_max") == []
        assert told(found, DEGRADED, "guard.roots") == []


def test_a_root_that_goes_is_told(machine: Machine) -> None:
    machine.accept()
    guarded = Guarded(machine)
    guarded.step()

    (machine.root / "etc").rename(machine.root / "etc.old")

    assert len(told(guarded.step(), DEGRADED, "integrity: roots_missing")) == 1


def test_more_changed_files_than_a_pass_reads_are_told_and_still_drift(machine: Machine) -> None:
    guard = machine.config.guard.model_copy(update={"pass_size_max_mb": 64})
    machine.config = machine.config.model_copy(update={"guard": guard})
    machine.accept()
    guarded = Guarded(machine)
    guarded.step()
    for number in range(3):
        (machine.root / f"etc/large{number}").touch()
        os.truncate(machine.root / f"etc/large{number}", 40 << 20)

    found = guarded.step()

    assert len([finding for finding in found if finding.kind == "host.drift.file" and "large" in finding.subject]) == 3
    assert len(told(found, DEGRADED, "integrity: not_hashed")) == 1


def test_a_key_file_that_cannot_be_read_is_told_once(machine: Machine, tmp_path: Path) -> None:
    keys = tmp_path / "keys-of-all"
    keys.mkdir()
    guard = machine.config.guard.model_copy(update={"key_files": (str(keys),)})
    machine.config = machine.config.model_copy(update={"guard": guard})
    machine.accept()
    guarded = Guarded(machine)
    accounts = take(NOON, {TableName.ACCOUNTS}, root=machine.root)
    found = list(guarded.guard.step((), accounts, now_ns=guarded.time_ns))

    for _ in range(20):
        found += guarded.step()

    assert len(told(found, DEGRADED, "keys: unreadable")) == 1
    assert guarded.guard.counters()["keys"]["unreadable"] > 0


def test_files_that_were_written_too_fast_to_be_sampled_are_told(machine: Machine, tmp_path: Path) -> None:
    machine.accept()
    guarded = Guarded(machine)
    document = tmp_path / "a.docx"
    document.write_bytes(b"PK\x03\x04")

    found = guarded.step(*(change(1, str(document)) for _ in range(150)))

    (summary,) = told(found, DEGRADED, "sampler: over_rate")
    assert "50 written files" in summary


def test_known_files_are_looked_at_where_a_folder_above_them_can_not_be_listed(tmp_path: Path) -> None:
    """Their own paths are asked: a folder that hides its names hides no change of what is known to be in it."""
    hidden = tmp_path / "tree/hidden"
    hidden.mkdir(parents=True)
    (hidden / "app").write_text("one")
    scanner = FileScanner([str(tmp_path / "tree")], [])
    known = {path: marks_of(status) + scanner.digest(path, status) for path, status in scanner.walk()}
    (hidden / "app").write_text("two")

    # As a pass over a root that leads past it.
    past = FileScanner([str(tmp_path / "elsewhere")], [])
    changed = [path for path, _, _ in FileChecker(past, known).everything()]

    assert str(hidden / "app") in changed


class _Recorder:
    """Metrics by name and labels."""

    def __init__(self) -> None:
        self.metrics: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    def metric(self, name: str, value: float, **labels: str) -> None:
        self.metrics[name, tuple(sorted(labels.items()))] = value


def test_the_module_measures_all_that_is_left_out(machine: Machine) -> None:
    machine.accept()
    flood(machine)
    guarded = Guarded(machine)
    guarded.step()
    context: Any = _Recorder()

    measure_guard(guarded.guard, context)

    place = ("guard_left_out", (("part", "integrity"), ("reason", "over_limit")))
    assert context.metrics[place] > 100
    parts = {dict(labels)["part"] for name, labels in context.metrics if name == "guard_left_out"}
    assert parts == {"integrity", "sampler", "logs", "keys"}
    assert ("guard_forgotten_total", (("part", "sampler"),)) in context.metrics


def test_the_status_of_an_agent_names_what_is_left_out(tmp_path: Path) -> None:
    with supervised(tmp_path, ModuleSpec("guard", idle, {}, ROOMY, "1")) as supervisor:
        for reason, value in (("over_limit", 7), ("unreadable", 0)):
            labels = {"part": "integrity", "reason": reason}
            metric = Metric(name="guard_left_out", value=value, labels=labels)
            supervisor.lives["guard"].metrics[metric.name, tuple(labels.items())] = metric
        modules: Any = status_of(supervisor, FakeClock())["modules"]

    assert modules["guard"]["left_out"] == {"integrity over_limit": 7}
