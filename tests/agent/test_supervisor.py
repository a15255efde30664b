"""The supervisor with real processes: findings arrive, budgets hold, deaths are told, nothing outlives it."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from govsec.agent.api import Context, ModuleSpec
from govsec.agent.life import State
from tests.agent.running import ROOMY, WAIT_S, findings, idle, kinds, something, supervised, until

LOOP_OF = 5


def is_there(pid: int) -> bool:
    """A process that is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_a_module_finds_is_in_the_spool_with_its_name(tmp_path: Path) -> None:
    def run(context: Context) -> None:
        context.emit(something(context, 1))
        context.emit(something(context, 2))
        idle(context)

    with supervised(tmp_path, ModuleSpec("eyes", run, budget=ROOMY)) as supervisor:
        until(supervisor, lambda: len(findings(supervisor, "host.test.something")) == 2)

        record = supervisor.intake.spool.after(0)[0]
        assert record.body["module"] == "eyes"
        assert record.body["agent"] == "test"
        assert "host.test.something" in [entry["kind"] for entry in supervisor.intake.recent]


def test_what_a_module_said_just_before_it_died_is_not_lost(tmp_path: Path) -> None:
    def run(context: Context) -> None:
        for number in range(100):
            context.emit(something(context, number))
        os.kill(os.getpid(), signal.SIGKILL)

    with supervised(tmp_path, ModuleSpec("eyes", run, budget=ROOMY)) as supervisor:
        until(supervisor, lambda: "agent.module.restarted" in kinds(supervisor))

        assert [finding["facts"]["number"] for finding in findings(supervisor, "host.test.something")] == list(
            range(100)
        )
        told = findings(supervisor, "agent.module.restarted")[0]
        assert told["facts"]["reason"] == "killed"
        assert "SIGKILL" in told["summary"]


def test_names_that_are_no_text_and_facts_that_are_too_large_still_arrive(tmp_path: Path) -> None:
    def run(context: Context) -> None:
        context.emit(something(context, 1, text=os.fsdecode(b"/tmp/\xff\xfe\n\x1b[2J")))
        context.emit(something(context, 2, text="y" * 200_000))
        context.emit(something(context, 2**60))
        idle(context)

    with supervised(tmp_path, ModuleSpec("eyes", run, budget=ROOMY)) as supervisor:
        until(supervisor, lambda: len(findings(supervisor, "host.test.something")) == 3)

        odd, large, number = findings(supervisor, "host.test.something")
        assert odd["facts"]["text"] == "/tmp/\\udcff\\udcfe\n\x1b[2J"
        assert large["facts"] == {"facts_cut": 3, "pattern": "host.test.something|2"}
        assert number["facts"]["number"] == str(2**60)


def hostile_noise(end: socket.socket) -> None:
    for packet in (b"{", b"\xff" * 1_000, b'{"what":"finding"}', b"[" * 5_000, b'{"what":"stop"}', b"x" * 70_000):
        end.send(packet)


def hostile_names(end: socket.socket) -> None:
    finding = '{"kind":"agent.module.stopped","severity":50,"time":"2026-01-01T00:00:00Z","subject":"x","summary":"x"}'
    canary = finding.replace("agent.module.stopped", "agent.selftest.canary")
    for text in (finding, canary):
        end.send(f'{{"what":"finding","finding":{text}}}'.encode())


@pytest.mark.parametrize(("act", "refused_count"), [(hostile_noise, 6), (hostile_names, 2)])
def test_a_hostile_module_is_counted_and_told_and_disturbs_no_other(
    tmp_path: Path, act: Callable[[socket.socket], None], refused_count: int
) -> None:
    def hostile(context: Context) -> None:
        act(context._end)  # type: ignore[attr-defined]  # the socket below, as somebody would use it who took it over
        idle(context)

    def honest(context: Context) -> None:
        context.emit(something(context))
        idle(context)

    modules = [ModuleSpec("bad", hostile, budget=ROOMY), ModuleSpec("good", honest, budget=ROOMY)]
    with supervised(tmp_path, *modules) as supervisor:
        until(supervisor, lambda: supervisor.lives["bad"].counts["packets_refused"] == refused_count)
        until(supervisor, lambda: "host.test.something" in kinds(supervisor))
        until(supervisor, lambda: "agent.records.lost" in kinds(supervisor))

        assert supervisor.lives["bad"].state is State.RUNNING
        assert not {"agent.module.stopped", "agent.selftest.canary"} & set(kinds(supervisor))
        assert findings(supervisor, "agent.records.lost")[0]["facts"]["module"] == "bad"


def test_a_module_that_floods_keeps_its_share_of_the_spool_and_the_rest_is_counted(tmp_path: Path) -> None:
    def flood(context: Context) -> None:
        for number in range(3_000):
            context.emit(something(context, number))
            if number % 100 == 0:
                context.wait(0)
        idle(context)

    def honest(context: Context) -> None:
        context.emit(something(context, -1))
        idle(context)

    budget = replace(ROOMY, findings_per_minute_max=50)
    modules = [ModuleSpec("flood", flood, budget=budget), ModuleSpec("good", honest, budget=ROOMY)]
    with supervised(tmp_path, *modules) as supervisor:
        until(supervisor, lambda: supervisor.lives["flood"].counts.total() >= 3_000)
        until(supervisor, lambda: "agent.records.lost" in kinds(supervisor))

        counts = supervisor.lives["flood"].counts
        numbers = [finding["facts"]["number"] for finding in findings(supervisor, "host.test.something")]
        assert -1 in numbers
        assert len(numbers) - 1 == counts["findings"]
        assert counts["findings"] < 3_000
        assert supervisor.intake.spool.state().lost_count > 0


def test_a_crash_loop_is_told_once_and_the_module_is_tried_later_and_later(tmp_path: Path) -> None:
    def run(context: Context) -> None:
        raise ValueError("this cannot work")

    with supervised(tmp_path, ModuleSpec("broken", run, budget=ROOMY)) as supervisor:
        life = supervisor.lives["broken"]
        life.backoff.first_s = 0.01
        until(supervisor, lambda: life.restarts["failed"] >= LOOP_OF + 2)

        assert kinds(supervisor).count("agent.module.stopped") == 1
        assert kinds(supervisor).count("agent.module.restarted") == LOOP_OF - 1
        stopped = findings(supervisor, "agent.module.stopped")[0]
        assert stopped["facts"]["reason"] == "crash_loop"
        assert "ValueError: this cannot work" in stopped["summary"]


def test_a_module_that_uses_too_much_of_the_processor_is_paused_and_goes_on(tmp_path: Path) -> None:
    def spin(context: Context) -> None:
        while not context.alive():
            pass

    budget = replace(ROOMY, cpu_percent_max=1)
    with supervised(tmp_path, ModuleSpec("spin", spin, budget=budget)) as supervisor:
        life = supervisor.lives["spin"]
        until(supervisor, lambda: life.state is State.THROTTLED)
        stat = Path(f"/proc/{life.pid}/stat")
        until(supervisor, lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")
        life.resume_at = 0  # as if the pause were over
        until(supervisor, lambda: life.counts["throttlings"] >= 2)  # it ran in between, or it could not be paused

        assert kinds(supervisor).count("agent.module.throttled") == 1, "told once an hour"
        measured = findings(supervisor, "agent.module.throttled")[0]["facts"]["measured"]
        assert measured["share"]["threshold"] == 1
        assert life.restarts.total() == 0


def test_a_module_that_takes_too_much_memory_is_started_again(tmp_path: Path) -> None:
    def hoard(context: Context) -> None:
        heap = []
        # Slow enough that the supervisor sees it before the limit of its address space does, on a slow machine too.
        while not context.wait(0.1):
            heap.append(b"\x01" * (8 << 20))

    budget = replace(ROOMY, memory_max_bytes=300 << 20)
    with supervised(tmp_path, ModuleSpec("hoard", hoard, budget=budget)) as supervisor:
        until(supervisor, lambda: supervisor.lives["hoard"].restarts["memory"] >= 1)

        all_told = [finding["facts"] for finding in findings(supervisor, "agent.module.restarted")]
        told = next(facts for facts in all_told if facts["reason"] == "memory")
        assert told["measured"]["memory"]["value"] > told["measured"]["memory"]["threshold"] == 300 << 20


@pytest.mark.parametrize("by", ["silence", "being stopped"])
def test_a_module_that_hangs_is_killed_and_started_again(tmp_path: Path, by: str) -> None:
    def silent(context: Context) -> None:
        while True:
            time.sleep(60)

    budget = replace(ROOMY, hang_s=1)
    with supervised(tmp_path, ModuleSpec("silent", silent if by == "silence" else idle, budget=budget)) as supervisor:
        life = supervisor.lives["silent"]
        until(supervisor, lambda: life.pid)
        first = life.pid
        if by == "being stopped":
            os.kill(first, signal.SIGSTOP)
        until(supervisor, lambda: life.restarts["hang"] >= 1 and life.pid not in (0, first))

        assert not is_there(first)
        assert findings(supervisor, "agent.module.restarted")[0]["facts"]["reason"] == "hang"


def test_when_the_machine_stood_still_no_module_is_blamed(tmp_path: Path) -> None:
    with supervised(tmp_path, ModuleSpec("idle", idle, budget=replace(ROOMY, hang_s=30))) as supervisor:
        life = supervisor.lives["idle"]
        until(supervisor, lambda: life.pid)
        os.kill(life.pid, signal.SIGSTOP)  # so that nothing but the rule can save it
        supervisor._looked_at -= 3_600
        life.heard_at -= 3_600
        supervisor.step(0)

        assert (life.state, life.reason) == (State.RUNNING, "")
        life.heard_at -= 3_600  # and without standing still it would have been
        supervisor._looked_at = supervisor._clock.monotonic() - 1  # whatever the machine did since
        supervisor.step(0)
        assert life.reason == "hang"


def test_a_module_that_does_not_end_when_told_to_is_ended_with_what_it_started(tmp_path: Path) -> None:
    place = tmp_path / "grandchild"

    def stubborn(context: Context) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        below = subprocess.Popen(["sleep", "1000"])
        place.write_text(str(below.pid))
        context.emit(something(context))
        while True:
            time.sleep(60)

    with supervised(tmp_path, ModuleSpec("stubborn", stubborn, budget=replace(ROOMY, stop_s=0.5))) as supervisor:
        life = supervisor.lives["stubborn"]
        until(supervisor, lambda: "host.test.something" in kinds(supervisor))
        pid, below = life.pid, int(place.read_text())
        supervisor.shut_down()

        assert not is_there(pid)
        limit = time.monotonic() + WAIT_S
        while is_there(below):
            assert time.monotonic() < limit
            time.sleep(0.05)


def test_a_mark_is_kept_when_the_findings_before_it_are_on_the_disk_and_not_before(tmp_path: Path) -> None:
    said = tmp_path / "said"

    def run(context: Context) -> None:
        context.emit(something(context, 1))
        first = context.mark()
        while context.kept() < first and not context.wait(0.05):
            pass
        said.write_text("first")
        idle(context)
        context.emit(something(context, 2))
        if context.mark() == context.kept(WAIT_S):
            said.write_text("last")

    with supervised(tmp_path, ModuleSpec("careful", run, budget=ROOMY)) as supervisor:
        until(supervisor, lambda: supervisor.lives["careful"].pid)
        holder = sqlite3.connect(tmp_path / "spool.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        until(supervisor, lambda: supervisor.lives["careful"].mark)
        until(supervisor, lambda: supervisor.intake.trouble)
        for _ in range(20):
            supervisor.step(0.05)
        assert not said.exists() and len(supervisor.intake) > 0
        holder.execute("ROLLBACK")
        holder.close()
        until(supervisor, said.exists)
        assert findings(supervisor, "host.test.something")[0]["facts"]["number"] == 1
        supervisor.shut_down()
        assert said.read_text() == "last"


def test_a_module_that_ends_in_order_says_its_last_words(tmp_path: Path) -> None:
    def run(context: Context) -> None:
        idle(context)
        context.emit(something(context, 99))

    with supervised(tmp_path, ModuleSpec("tidy", run, budget=ROOMY)) as supervisor:
        until(supervisor, lambda: supervisor.lives["tidy"].counts["findings"] == 0 and supervisor.lives["tidy"].pid)
        until(supervisor, lambda: supervisor.lives["tidy"].heard_at > supervisor.lives["tidy"].started_at)
        supervisor.shut_down()

        assert findings(supervisor, "host.test.something")[0]["facts"]["number"] == 99
        assert supervisor.lives == {}


def test_a_reload_starts_what_is_new_ends_what_is_gone_and_leaves_the_rest_alone(tmp_path: Path) -> None:
    def spec(name: str, version: str = "") -> ModuleSpec:
        return ModuleSpec(name, idle, budget=ROOMY, version=version)

    with supervised(tmp_path, spec("stays"), spec("changes"), spec("goes")) as supervisor:
        until(supervisor, lambda: all(life.pid for life in supervisor.lives.values()))
        before = {name: life.pid for name, life in supervisor.lives.items()}
        changed = supervisor.replace([spec("stays"), spec("changes", "2"), spec("comes")])
        assert changed == ("changes", "comes", "goes")
        until(supervisor, lambda: set(supervisor.lives) == {"stays", "changes", "comes"})
        until(supervisor, lambda: all(life.pid for life in supervisor.lives.values()))

        after = {name: life.pid for name, life in supervisor.lives.items()}
        assert after["stays"] == before["stays"]
        assert after["changes"] != before["changes"]
        assert "agent.module.restarted" not in kinds(supervisor), "a reload is no fault"


PROGRAM = """
import sys
from pathlib import Path
from govsec.agent.api import Budget, ModuleSpec
from govsec.agent.spool import Spool
from govsec.agent.supervisor import Supervisor
from govsec.clock import SystemClock
from tests.agent.running import idle
def deaf(context):
    import time
    context.alive()
    while True:
        time.sleep(60)
clock = SystemClock()
modules = [ModuleSpec("idle", idle), ModuleSpec("deaf", deaf)]
supervisor = Supervisor("test", modules, Spool(Path(sys.argv[1]), clock), clock)
while True:
    supervisor.step(0.1)
    print(*[life.pid for life in supervisor.lives.values()], flush=True)
"""


def test_when_the_supervisor_is_killed_no_module_outlives_it(tmp_path: Path) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "spool.db")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert program.stdout is not None
    pids: list[int] = []
    while len(pids) < 2 or 0 in pids:
        pids = [int(word) for word in program.stdout.readline().split()]
    assert all(is_there(pid) for pid in pids)
    program.kill()
    program.wait(WAIT_S)
    program.stdout.close()

    limit = time.monotonic() + WAIT_S
    while any(is_there(pid) for pid in pids):
        assert time.monotonic() < limit
        time.sleep(0.05)
