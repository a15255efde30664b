from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from govsec.clock import SystemClock
from govsec.drill.child import call_in_child
from govsec.drill.judge import against_coverage, restore_time
from govsec.drill.plan import Isolation, Plan
from govsec.drill.process import run_command
from govsec.drill.result import IsolationResult, Outcome, StepResult, Verdict
from govsec.drill.sandbox import INSIDE, NamespaceSandbox, OpenSandbox, open_sandbox
from govsec.drill.sqlite import ask
from govsec.errors import FormatError, RefusedError
from tests.support.require import require_root

CLOCK = SystemClock()


@contextmanager
def as_nobody() -> Iterator[None]:
    """The effective user of an operator who is not root."""
    require_root()
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = tmp_path / "tree"
    path.mkdir(mode=0o755)
    (path / "file").write_text("content")
    return path


def test_without_root_the_plans_commands_are_refused_unless_the_plan_says_so(tree: Path) -> None:
    with as_nobody():
        with pytest.raises(RefusedError, match="need root"):
            open_sandbox(Isolation(), tree, CLOCK)
        sandbox = open_sandbox(Isolation(allow_unisolated=True), tree, CLOCK)
    assert isinstance(sandbox, OpenSandbox)
    assert "root" in sandbox.reason
    sandbox.close()


def test_a_drill_without_isolation_is_partial_at_best_and_says_why() -> None:
    plan = Plan.model_validate(
        {
            "name": "p",
            "system": "oa",
            "scenario": {"kind": "lose_production"},
            "expect": {"paths": ["/x"]},
            "steps": [
                {"kind": "restore", "name": "restore", "timeout_s": 1},
                {"kind": "probe", "name": "nonce", "timeout_s": 1, "probe": {"kind": "nonce"}},
            ],
        }
    )
    reasons = list(against_coverage(plan, None, [], IsolationResult(is_isolated=False, reason="no root")))

    assert ("unisolated", Verdict.PARTIAL, "no root") in [
        (item.code, item.verdict, item.facts.get("detail")) for item in reasons
    ]


def test_a_service_that_was_not_seen_working_in_every_probe_has_no_restore_time() -> None:
    probe = {"kind": "probe", "timeout_s": 1, "probe": {"kind": "command", "argv": ["x"]}}
    plan = Plan.model_validate(
        {
            "name": "p",
            "system": "oa",
            "scenario": {"kind": "lose_production"},
            "expect": {"paths": ["/x"]},
            "steps": [
                {"kind": "restore", "name": "restore", "timeout_s": 1},
                probe | {"name": "first"},
                probe | {"name": "second"},
            ],
        }
    )

    def result(name: str, outcome: Outcome, offset_s: float) -> StepResult:
        started = CLOCK.now()
        return StepResult(
            name=name, kind="command", outcome=outcome, started=started, offset_s=offset_s, duration_s=0.5
        )

    first, second = result("first", Outcome.PASSED, 1), result("second", Outcome.PASSED, 2)
    assert restore_time(plan, [first, second]) == (2.5, "second")
    assert restore_time(plan, [first]) is None  # interrupted before the second
    assert restore_time(plan, [first, result("second", Outcome.FAILED, 2)]) is None
    assert restore_time(plan, []) is None


def test_the_open_sandbox_has_limits_and_no_secrets_either(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The environment is what a child would inherit, so it has to be the real one.
    monkeypatch.setenv("RESTIC_PASSWORD", "do not leak")
    sandbox = OpenSandbox(Isolation(), tree, CLOCK, "a reason")

    outcome = sandbox.run(["sh", "-c", "cat file; env"], 10)
    called = sandbox.call(lambda: {"names": sorted(os.listdir(sandbox.tree))}, 10)
    started = sandbox.spawn(["sleep", "60"])
    sandbox.close()

    assert outcome.exit_code == 0
    assert outcome.output.startswith(b"content")
    assert b"do not leak" not in outcome.output
    assert called == {"names": ["file"]}
    assert started == ""


def test_the_tree_is_mounted_without_devices_and_set_user_id_and_nothing_else_of_tmp_is_seen(tree: Path) -> None:
    require_root()
    sandbox = NamespaceSandbox(Isolation(), tree, CLOCK)
    try:
        mounts = sandbox.run(["cat", "/proc/mounts"], 10).output.decode().splitlines()
        seen = sandbox.run(["ls", "/tmp"], 10).output.decode().split()
    finally:
        sandbox.close()

    (mine,) = [line.split()[3].split(",") for line in mounts if line.split()[1] == INSIDE]
    assert {"nosuid", "nodev"} <= set(mine)
    assert seen == ["restored"]
    assert not [line for line in Path("/proc/mounts").read_text().splitlines() if INSIDE in line]


def test_what_is_called_in_a_child_has_given_up_root(tree: Path) -> None:
    require_root()
    sandbox = NamespaceSandbox(Isolation(), tree, CLOCK)

    def look() -> dict[str, object]:
        status = Path(f"/proc/{os.getpid()}/status")
        return {
            "ids": [*os.getresuid(), *os.getresgid(), *os.getgroups()],
            "names": sorted(os.listdir(INSIDE)),
            "is_own_proc": not status.exists(),
        }

    try:
        assert sandbox.call(look, 10) == {"ids": [65534] * 6, "names": ["file"], "is_own_proc": True}
        assert "Permission denied" in str(sandbox.call(lambda: {"x": Path("/etc/shadow").read_text()}, 10)["error"])
    finally:
        sandbox.close()


def test_a_child_that_dies_hangs_or_fails_gives_an_error_and_not_its_fate(tree: Path) -> None:
    def die() -> dict[str, object]:
        os._exit(3)

    def hang() -> dict[str, object]:
        while True:
            os.sched_yield()

    def fail() -> dict[str, object]:
        raise FormatError("the reason")

    def eat() -> dict[str, object]:
        return {"size": len(bytearray(8 << 30))}

    sandbox = OpenSandbox(Isolation(memory_bytes=4 << 30), tree, CLOCK, "")
    assert sandbox.call(die, 120) == {"error": "the child ended without a result"}
    assert sandbox.call(hang, 0.2) == {"error": "stopped after 0.2 s"}
    assert sandbox.call(fail, 120) == {"error": "the reason"}
    assert "error" in sandbox.call(eat, 120)
    assert call_in_child(lambda: {"x": "y" * (1 << 20)}, lambda: None, timeout_s=60, clock=CLOCK)["error"]


def test_a_command_that_leaves_a_child_behind_does_not_hold_the_drill_up() -> None:
    begun = CLOCK.monotonic()

    outcome = run_command(
        ["sh", "-c", "sleep 300 & echo done"],
        environment={"PATH": os.environ["PATH"]},
        cwd=None,
        timeout_s=250,
        clock=CLOCK,
    )

    assert (outcome.exit_code, outcome.output) == (0, b"done\n")
    assert CLOCK.monotonic() - begun < 200


def test_a_command_that_is_not_there_is_an_outcome() -> None:
    outcome = run_command(["/absent/program"], environment={}, cwd=None, timeout_s=60, clock=CLOCK)

    assert outcome.exit_code is None
    assert "cannot be started" in outcome.note


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT count(*) FROM t", {"value": 3}),
        ("SELECT name FROM t WHERE id = 2", {"value": "乙"}),
        ("SELECT id FROM t", {"error": "the query gives 2 rows, one value is expected"}),
        ("SELECT id, name FROM t WHERE id = 1", {"error": "the query gives 1 rows, one value is expected"}),
        ("SELECT NULL", {"error": "the query gives NoneType, a number or text is expected"}),
        ("SELECT * FROM absent", {"error": "no such table: absent"}),
        ("DELETE FROM t", {"error": "attempt to write a readonly database"}),
    ],
)
def test_a_database_is_asked_for_one_value_and_cannot_be_written(
    query: str, expected: dict[str, object], tmp_path: Path
) -> None:
    import sqlite3

    path = tmp_path / "库 1.db"
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)")
        connection.executemany("INSERT INTO t (name) VALUES (?)", [("甲",), ("乙",), ("丙",)])
    connection.close()

    assert ask(str(path), query) == expected


def test_damage_that_the_query_does_not_meet_is_found_by_the_integrity_check(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "indexed.db"
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)")
        connection.execute("CREATE INDEX by_name ON t (name)")
        connection.executemany("INSERT INTO t (name) VALUES (?)", [("alpha",), ("bravo",), ("carol",)])
    connection.close()
    data = path.read_bytes()
    place = data.rindex(b"bravo")  # the index's copy lies on a later page than the table's
    path.write_bytes(data[:place] + b"brXvo" + data[place + 5 :])
    query = "SELECT count(*) FROM t NOT INDEXED"
    damaged = sqlite3.connect(path)
    assert damaged.execute(query).fetchone() == (3,)
    damaged.close()

    assert str(ask(str(path), query).get("error")).startswith("integrity check: ")


def test_a_database_with_a_write_ahead_log_is_asked_with_what_the_log_holds(tmp_path: Path) -> None:
    import shutil
    import sqlite3

    path = tmp_path / "live.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    with connection:
        connection.execute("CREATE TABLE t (id INTEGER)")
        connection.execute("INSERT INTO t VALUES (1)")
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", tmp_path / f"restored.db{suffix}")
    connection.close()

    assert ask(str(tmp_path / "restored.db"), "SELECT count(*) FROM t") == {"value": 1}
    assert "error" in ask(str(tmp_path / "absent.db"), "SELECT 1")
    (tmp_path / "junk.db").write_bytes(b"junk" * 2000)
    assert "error" in ask(str(tmp_path / "junk.db"), "SELECT 1")
