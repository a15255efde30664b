"""What a run does besides the happy path: limits, undo, interrupts, room, isolation, and hostile trees."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from govsec.backup.restore import RestoreReport, restore
from govsec.drill.result import DrillResult, Outcome, Verdict
from govsec.errors import ConfigurationError
from govsec.progress import Progress, ProgressSink
from govsec.repo.repository import Repository
from govsec.repo.snapshot import Snapshot
from tests.drill.conftest import Rig, codes
from tests.support.require import require_root

pytestmark = pytest.mark.usefixtures("_as_root")


@pytest.fixture
def _as_root() -> None:
    require_root()


def command(name: str, *argv: str, undo: list[str] | None = None, **more: Any) -> dict[str, Any]:
    step: dict[str, Any] = {"kind": "start", "name": name, "timeout_s": 60, "argv": list(argv), **more}
    return step if undo is None else step | {"undo": {"argv": undo, "timeout_s": 60}}


def probe(name: str, *argv: str, **more: Any) -> dict[str, Any]:
    return {"kind": "probe", "name": name, "timeout_s": 60, "probe": {"kind": "command", "argv": list(argv), **more}}


def outcomes(result: DrillResult) -> dict[str, Outcome]:
    return {step.name: step.outcome for step in result.steps}


def test_what_was_started_is_undone_in_reverse_order_also_when_a_step_failed(shipped: Rig) -> None:
    steps = [
        *shipped.steps()[:1],
        command("first", "true", undo=["sh", "-c", "echo first >> order; cat order"]),
        command("second", "true", undo=["sh", "-c", "echo second >> order; cat order"]),
        command("third", "false", undo=["sh", "-c", "echo third >> order; cat order"]),
        probe("ask", "test", "-f", "order"),
    ]

    result = shipped.drill(shipped.plan(steps=steps))

    assert [undo.name for undo in result.undo] == ["third", "second", "first"]
    assert result.undo[-1].output == "third\nsecond\nfirst\n"
    assert outcomes(result)["ask"] is Outcome.SKIPPED
    assert result.verdict is Verdict.FAIL
    assert {"step_failed", "probe_not_run"} <= codes(result)


def test_an_undo_that_fails_is_on_record(shipped: Rig) -> None:
    steps = [*shipped.steps(), command("odd", "true", undo=["false"])]

    result = shipped.drill(shipped.plan(steps=steps))

    assert (result.verdict, codes(result)) == (Verdict.PARTIAL, {"undo_failed"})


def test_a_command_that_outlasts_its_limit_is_stopped_and_fails_the_drill(shipped: Rig) -> None:
    steps = [*shipped.steps()[:1], command("slow", "sleep", "60", timeout_s=0.3), probe("ask", "test", "-f", "x")]

    result = shipped.drill(shipped.plan(steps=steps))

    assert result.verdict is Verdict.FAIL
    assert next(step for step in result.steps if step.name == "slow").detail == "stopped after 0.3 s"


def test_a_restore_that_outlasts_its_limit_is_stopped_and_fails_the_drill(shipped: Rig) -> None:
    def slow(repository: Repository, snapshot: Snapshot, target: Path, progress: ProgressSink) -> RestoreReport:
        begun = shipped.clock.monotonic()
        while shipped.clock.monotonic() - begun < 5:
            progress(Progress("restore"))
        return restore(repository, snapshot, target, workers=0)

    steps = [shipped.steps()[0] | {"timeout_s": 0.1}, *shipped.steps()[1:]]

    result = shipped.drill(shipped.plan(steps=steps), restorer=slow)

    assert result.verdict is Verdict.FAIL
    assert "step_timeout" in codes(result)
    assert list(shipped.scratch.iterdir()) == []


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_undoes_wipes_records_and_goes_on(interrupt: type[BaseException], shipped: Rig) -> None:
    def interrupted(repository: Repository, snapshot: Snapshot, target: Path, progress: ProgressSink) -> RestoreReport:
        restore(repository, snapshot, target, workers=0)
        raise interrupt

    records: list[DrillResult] = []
    steps = [shipped.steps()[0] | {"undo": {"argv": ["true"]}}, *shipped.steps()[1:]]

    with pytest.raises(interrupt):
        shipped.drill(shipped.plan(steps=steps), restorer=interrupted, record=records.append)

    (result,) = records
    assert result.verdict is Verdict.FAIL
    assert "interrupted" in codes(result)
    assert [undo.outcome for undo in result.undo] == [Outcome.PASSED]
    assert list(shipped.scratch.iterdir()) == []


def test_the_restored_data_stay_when_asked_and_only_their_owner_can_reach_them(shipped: Rig) -> None:
    result = shipped.drill(is_kept=True)

    kept = Path(result.scratch_kept)
    assert kept.stat().st_mode & 0o777 == 0o700
    assert kept.stat().st_uid == os.geteuid()
    assert (kept / "tree" / str(shipped.source).lstrip("/") / "oa.db").exists()
    assert (
        kept / "tree" / str(shipped.source).lstrip("/") / "conf" / "app.ini"
    ).read_text() == "home = /tmp/restored\n"


@pytest.fixture
def small_scratch(shipped: Rig) -> Iterator[Rig]:
    """A scratch directory on a file system that is too small for any restore."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "drill", shipped.scratch], check=True)
    try:
        yield shipped
    finally:
        subprocess.run(["umount", shipped.scratch], check=True)


def test_too_little_room_is_seen_before_anything_is_written(small_scratch: Rig) -> None:
    result = small_scratch.drill()

    assert "no_space" in codes(result)
    assert outcomes(result)["restore"] is Outcome.SKIPPED


def test_a_scratch_that_is_not_there_is_a_configuration_error(shipped: Rig) -> None:
    shipped.scratch.rmdir()

    with pytest.raises(ConfigurationError, match="scratch"):
        shipped.drill()


def test_commands_run_as_the_plans_user_without_network_secrets_or_other_processes(
    shipped: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The environment is what a child would inherit, so it has to be the real one.
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do not leak")
    monkeypatch.setenv("UNRELATED", "neither")
    script = (
        "id -u; id -G; ulimit -v; env; echo PIDS /proc/[0-9]*; grep -E 'NoNew|Cap' /proc/self/status; cat /proc/net/dev"
    )
    asked = probe("look", "sh", "-c", f"{script}; cat {{target}}/{str(shipped.source).lstrip('/')}/conf/app.ini")

    result = shipped.drill(shipped.plan(steps=[*shipped.steps(), asked]))

    output = next(step for step in result.steps if step.name == "look").output
    lines = output.splitlines()
    assert result.verdict is Verdict.PASS, result.reasons
    assert lines[:3] == ["65534", "65534", str((2 << 30) // 1024)]
    assert "do not leak" not in output
    assert "UNRELATED" not in output
    assert "NoNewPrivs:\t1" in output
    assert all(f"{name}:\t0000000000000000" in output for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"))
    assert f"/proc/{os.getpid()}" not in output.split()
    assert "/proc/1" in output.split()
    assert [line.split(":")[0].strip() for line in lines if ":" in line and line.startswith(" ")] == ["lo"]


def test_a_service_answers_over_the_sandboxs_own_loopback_and_is_gone_afterwards(shipped: Rig) -> None:
    server = "import socket as s; l = s.create_server(('127.0.0.1', 18080)); c, _ = l.accept(); c.sendall(b'alive')"
    client = "import socket as s; print(s.create_connection(('127.0.0.1', 18080), 2).recv(9).decode())"
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if python is None:
        pytest.skip("no system python3 that the drill's user may run")
    steps = [
        *shipped.steps(),
        command("serve", python, "-c", server, background=True),
        probe("call", python, "-c", client, output_contains="alive", retry_s=8),
    ]

    result = shipped.drill(shipped.plan(steps=steps))

    assert (result.verdict, codes(result)) == (Verdict.PASS, set())
    assert next(control for control in result.controls if control.name == "call").outcome is Outcome.PASSED


def test_output_without_end_is_cut_and_the_cut_is_counted(shipped: Rig) -> None:
    noisy = probe("noisy", "sh", "-c", "test -d tmp && head -c 3000000 /dev/zero | tr '\\0' x")

    result = shipped.drill(shipped.plan(steps=[*shipped.steps(), noisy]))

    step = next(step for step in result.steps if step.name == "noisy")
    assert (len(step.output), step.output_dropped_bytes) == (2000, 3_000_000 - 2000)


def test_a_user_that_is_root_or_unknown_is_refused(shipped: Rig) -> None:
    for user in ("root", "nobody-of-that-name"):
        with pytest.raises(ConfigurationError, match=user):
            shipped.drill(shipped.plan(isolation={"user": user}))
    assert list(shipped.scratch.iterdir()) == []


def test_a_link_in_the_backup_leads_neither_probes_nor_configuration_out_of_the_target(rig: Rig) -> None:
    outside = rig.base / "outside"
    (outside / "docs").mkdir(parents=True)
    (outside / "app.ini").write_text("the host's own")
    shutil.rmtree(rig.source / "conf")
    (rig.source / "conf").symlink_to(outside)
    rig.back_up()
    rig.ship()
    plan = rig.plan(expect={"paths": [f"{rig.source}/conf/docs"]})

    result = rig.drill(plan)

    assert result.verdict is Verdict.FAIL
    assert {"expect_path", "step_failed"} <= codes(result)
    assert (outside / "app.ini").read_text() == "the host's own"


def test_a_tree_with_every_kind_of_entry_comes_back_whole(rig: Rig) -> None:
    source = rig.source
    os.mkfifo(source / "fifo")
    os.mknod(source / "null", 0o20666, os.makedev(1, 3))
    os.link(source / "oa.db", source / "hard link")
    (source / "set-id").write_bytes(b"program")
    (source / "set-id").chmod(0o4755)
    (source / os.fsdecode(b"bad \xff name")).write_bytes(b"content")
    (source / "empty").write_bytes(b"")
    (source / "closed").mkdir(mode=0o000)
    with (source / "holes").open("wb") as file:
        file.truncate(3_000_000)
    rig.back_up()
    rig.ship()

    result = rig.drill()

    assert (result.verdict, codes(result)) == (Verdict.PASS, set())
    assert result.content is not None
    assert result.content.files_checked == 32
    assert list(rig.scratch.iterdir()) == []


def test_an_address_is_switched_in_rehearsal_only_and_after_passed_probes_only(shipped: Rig) -> None:
    def switch(**more: Any) -> dict[str, Any]:
        marker = str(shipped.base / "switched")
        real = ["touch", marker]
        return {
            "kind": "switch_address",
            "name": "dns",
            "timeout_s": 60,
            "argv": real,
            "undo": {"argv": ["true"]},
            **more,
        }

    rehearsed = shipped.drill(shipped.plan(steps=[*shipped.steps(), switch(rehearsal=["true"])]))
    unrehearsed = shipped.drill(shipped.plan(steps=[*shipped.steps(), switch()]))
    failing = [*shipped.steps(), probe("never", "false"), switch(rehearsal=["true"])]
    barred = shipped.drill(shipped.plan(steps=failing))

    assert (rehearsed.verdict, outcomes(rehearsed)["dns"]) == (Verdict.PASS, Outcome.PASSED)
    assert (unrehearsed.verdict, codes(unrehearsed)) == (Verdict.PARTIAL, {"not_rehearsed"})
    assert outcomes(barred)["dns"] is Outcome.SKIPPED
    assert not (shipped.base / "switched").exists()


def test_a_drill_that_is_killed_leaves_no_process_behind(shipped: Rig, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    child = os.fork()
    if child == 0:

        def stay(repository: Repository, snapshot: Snapshot, target: Path, progress: ProgressSink) -> RestoreReport:
            holders = _holders_of(os.getpid())
            ready.with_suffix(".new").write_text(json.dumps(holders))
            ready.with_suffix(".new").rename(ready)
            signal.pause()
            raise AssertionError("killed before")

        try:
            shipped.drill(restorer=stay)
        finally:
            os._exit(1)
    while not ready.exists():
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
        os.sched_yield()
    holders = json.loads(ready.read_text())
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)

    assert holders
    deadline = shipped.clock.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() and not _is_zombie(pid) for pid in holders):
        assert shipped.clock.monotonic() < deadline, "the sandbox outlived the drill"
        os.sched_yield()


def _holders_of(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for child in children for pid in [child, *_grandchildren(child)]]


def _grandchildren(pid: str) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
