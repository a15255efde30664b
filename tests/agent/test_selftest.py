"""The self-test: passes on a whole agent, and names the first stage that is broken, at each stage."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
from pathlib import Path

from pydantic import JsonValue

from govsec.agent.api import Context, ModuleSpec
from govsec.agent.frames import CanaryFrame, pack
from govsec.agent.supervisor import Supervisor
from tests.agent.running import ROOMY, findings, idle, small_disk, something, supervised, until


def run_selftest(supervisor: Supervisor, limit_s: float = 600) -> dict[str, JsonValue]:
    until(supervisor, lambda: all(life.pid and life.heard_at > life.started_at for life in supervisor.lives.values()))
    supervisor.begin_selftest(limit_s)
    until(supervisor, lambda: not supervisor.selftest.is_running)
    return supervisor.selftest.report()


def stage_of(report: dict[str, JsonValue], module: str) -> tuple[object, object]:
    modules = report["modules"]
    assert isinstance(modules, dict)
    passage = modules[module]
    assert isinstance(passage, dict)
    return passage["failed_stage"], passage["error"]


def test_a_whole_agent_brings_a_canary_of_every_module_to_the_disk_and_back(tmp_path: Path) -> None:
    with supervised(
        tmp_path, ModuleSpec("one", idle, budget=ROOMY), ModuleSpec("two", idle, budget=ROOMY)
    ) as supervisor:
        report = run_selftest(supervisor)

        assert report["passed"] is True
        assert {finding["facts"]["pattern"] for finding in findings(supervisor, "agent.selftest.canary")} == {
            "agent.selftest.canary|one",
            "agent.selftest.canary|two",
        }


def test_a_module_that_hangs_fails_at_the_first_stage(tmp_path: Path) -> None:
    with supervised(
        tmp_path, ModuleSpec("hung", idle, budget=ROOMY), ModuleSpec("well", idle, budget=ROOMY)
    ) as supervisor:
        until(supervisor, lambda: supervisor.lives["hung"].pid)
        until(supervisor, lambda: supervisor.lives["hung"].heard_at > supervisor.lives["hung"].started_at)
        os.kill(supervisor.lives["hung"].pid, signal.SIGSTOP)
        supervisor.begin_selftest(600)
        until(supervisor, lambda: stage_of(supervisor.selftest.report(), "well")[0] is None)
        supervisor.begin_selftest(0)  # its time is over
        supervisor.step(0)
        report = supervisor.selftest.report()

        assert report["passed"] is False
        assert stage_of(report, "hung") == ("module", "no answer within the limit")


def test_a_module_that_is_not_there_fails_at_once_and_says_why(tmp_path: Path) -> None:
    def broken(context: Context) -> None:
        raise ValueError("no")

    with supervised(tmp_path, ModuleSpec("broken", broken, budget=ROOMY)) as supervisor:
        supervisor.lives["broken"].backoff.first_s = 3_600
        until(supervisor, lambda: supervisor.lives["broken"].restarts.total())
        supervisor.begin_selftest(600)
        until(supervisor, lambda: not supervisor.selftest.is_running)

        assert stage_of(supervisor.selftest.report(), "broken") == ("module", "the module is waiting")


def test_a_module_whose_queue_swallows_findings_fails_at_the_queue(tmp_path: Path) -> None:
    def swallowing(context: Context) -> None:
        end = context._end  # type: ignore[attr-defined]  # as somebody would who took the module over
        end.setblocking(True)
        end.send(b'{"what":"alive"}')
        while packet := end.recv(1_000):
            if (order := json.loads(packet))["what"] == "canary":
                end.send(pack(CanaryFrame(nonce=order["nonce"])))

    with supervised(tmp_path, ModuleSpec("thief", swallowing, budget=ROOMY)) as supervisor:
        until(supervisor, lambda: supervisor.lives["thief"].heard_at > supervisor.lives["thief"].started_at)
        supervisor.begin_selftest(600)
        until(supervisor, lambda: "module" in supervisor.selftest.passages["thief"].took_s)
        supervisor.selftest._until = 0  # its time is over
        supervisor.step(0)

        assert stage_of(supervisor.selftest.report(), "thief") == ("queue", "no answer within the limit")


def test_a_spool_that_takes_nothing_fails_at_the_spool_and_says_why(tmp_path: Path) -> None:
    with supervised(tmp_path, ModuleSpec("one", idle, budget=ROOMY)) as supervisor:
        until(supervisor, lambda: supervisor.lives["one"].heard_at > supervisor.lives["one"].started_at)
        with contextlib.closing(sqlite3.connect(tmp_path / "spool.db", isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            supervisor.begin_selftest(600)
            until(
                supervisor,
                lambda: stage_of(supervisor.selftest.report(), "one")[1] not in ("", "no answer within the limit"),
            )
            stage, why = stage_of(supervisor.selftest.report(), "one")
            holder.execute("ROLLBACK")

        assert stage == "spool"
        assert "locked" in str(why)
        until(supervisor, lambda: not supervisor.intake.trouble)
        assert findings(supervisor, "agent.spool.failing"), "told as soon as the spool takes something again"


def test_a_disk_that_gives_back_something_else_fails_at_the_reading(tmp_path: Path) -> None:
    with supervised(tmp_path, ModuleSpec("one", idle, budget=ROOMY)) as supervisor:
        until(supervisor, lambda: supervisor.lives["one"].heard_at > supervisor.lives["one"].started_at)
        with contextlib.closing(sqlite3.connect(tmp_path / "spool.db", isolation_level=None)) as disk:
            disk.execute(
                "CREATE TRIGGER rot AFTER INSERT ON record BEGIN "
                "UPDATE record SET body = replace(body, 'nothing is wrong', 'nothing is right') "
                "WHERE sequence = new.sequence; END"
            )
        report = run_selftest(supervisor)

        stage, why = stage_of(report, "one")
        assert stage == "read"
        assert "not what its digest says" in str(why)
        until(supervisor, lambda: findings(supervisor, "agent.spool.damaged"))


def test_with_a_full_disk_the_agent_goes_on_and_keeps_what_came_meanwhile(tmp_path: Path) -> None:
    def busy(context: Context) -> None:
        number = 0
        while not context.wait(0.001):
            number += 1
            if number <= 300:
                context.emit(something(context, number, text="x" * 5_000))

    with (
        small_disk(tmp_path / "disk") as disk,
        supervised(disk.place, ModuleSpec("busy", busy, budget=ROOMY), size_max_bytes=16 << 20) as supervisor,
    ):
        until(supervisor, lambda: "no room" in supervisor.intake.trouble)
        assert supervisor.lives["busy"].restarts.total() == 0
        disk.grow()
        supervisor.intake._retry_at = 0  # not to wait for the next try
        until(supervisor, lambda: supervisor.lives["busy"].counts["findings"] == 300)
        until(supervisor, lambda: not supervisor.intake.trouble and not len(supervisor.intake))

        numbers = [finding["facts"]["number"] for finding in findings(supervisor, "host.test.something")]
        assert numbers == list(range(1, 301))
        assert findings(supervisor, "agent.spool.failing")
