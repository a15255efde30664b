"""The daemon with everything beside it: sending, signing, anchors, playbooks; as a process that is killed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from govsec.assemble import demo
from govsec.assemble.centers import init_centers
from govsec.assemble.dutyrun import DutyRun
from govsec.assemble.dutystatus import read_status
from govsec.assemble.evidence import open_evidence
from govsec.assemble.incident import build_desk
from govsec.assemble.ledger import open_ledger
from govsec.assemble.notify import open_outbox
from govsec.assemble.plans import plans_of
from govsec.assemble.systems import Site
from govsec.cli.main import main
from govsec.clock import SystemClock, format_time
from govsec.config import load_config
from govsec.drill.result import parse_result
from govsec.errors import HostUnreachableError, LockedError
from govsec.incident.api import Query
from govsec.incident.chain import link
from govsec.incident.entries import Acknowledged, FindingJoined, Opened, RecoveryProved
from govsec.ledger.anchor import PREFIX as ANCHORS
from govsec.ledger.queue import unpacked
from govsec.ledger.verify import LedgerReport, walk
from govsec.records import Evidence
from govsec.testing.clock import FakeClock
from tests.assemble.dutysite import NOW, Machine, finding, joined, told
from tests.report.samples import passed

CENTERS = ("main", "near", "far")


class ProvedMachine(Machine):
    """A machine whose evidence goes to three centers, which are directories."""

    def __init__(self, folder: Path, clock: Any, *, has_plans: bool = False) -> None:
        super().__init__(folder, clock)
        source = folder / "system"
        source.mkdir()
        plain = json.loads(self.path.read_text())
        self.path = demo.write_site(folder, demo.local_centers(folder), source)
        site = json.loads(self.path.read_text())
        if not has_plans:
            site["systems"][0]["plans"] = []
        self.path.write_text(json.dumps({**site, "notify": plain["notify"]}))
        self.site = Site(self.config, clock)
        init_centers(self.site, self.site.system())

    def run(self) -> dict[str, Any]:
        with DutyRun(self.config, self.clock) as run:
            run.settle()
            return dict(run.status())

    def evidence(self) -> list[Evidence]:
        """All that the ledger proves, batches taken apart."""
        system = self.site.system()
        stores = [self.site.read_store(system, name) for name in CENTERS]
        report = LedgerReport()
        found = [piece for entry in walk(stores, self.site.trusted(), report) for piece in unpacked(entry.evidence)]
        assert report.is_clean and report.copies_count == 3 * report.entries_count
        return found

    def ledger(self, *argv: str) -> int:
        return main(["ledger", *argv, "--config", str(self.path)])

    def objects(self, center: str, prefix: str) -> list[Path]:
        """The files of a center under a prefix, by name."""
        return sorted(path for path in (self.folder / center / demo.SYSTEM / prefix).rglob("*") if path.is_file())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "plain").mkdir()
    return Machine(tmp_path / "plain", FakeClock(NOW))


@pytest.fixture(scope="module")
def _proved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("proved")
    machine = ProvedMachine(folder, SystemClock())
    machine.spool([finding(), finding("net.scan.vertical", "10.0.0.8")])
    assert machine.run()["problems"] == []
    machine.spool([finding(subject="/srv/other")])
    assert machine.run()["problems"] == []
    return folder


def test_entries_notices_and_playbooks_are_signed_and_the_head_is_anchored_in_every_center(tmp_path: Path) -> None:
    machine = ProvedMachine(tmp_path, SystemClock())
    machine.spool([finding()])
    assert machine.run()["problems"] == []
    kinds = {piece.kind for piece in machine.evidence()}
    # What playbooks and people write meanwhile comes in pieces of its own, by the machine's pace.
    assert {"incident.entries", "notice.delivered", "response.planned"} <= kinds
    newest = machine.objects("main", "govsec/ledger")[-1].name
    assert [machine.objects(name, ANCHORS)[-1].name for name in CENTERS] == [newest] * 3
    assert machine.ledger("verify") == 0

    desk = build_desk(machine.config, (store := DutyRun(machine.config, machine.clock)).duty.store, machine.clock)
    with store as run:
        (line,) = run.duty.store.find(Query())
        desk.add(line.id, Acknowledged(time=machine.clock.now(), by="张三"))
        run.settle()
    pieces = [piece for piece in machine.evidence() if piece.kind == "incident.entries"]
    assert [piece.facts["first"] for piece in pieces][:2] == [1, pieces[0].facts["last"] + 1]
    assert pieces[1].facts["head_before"] == pieces[0].facts["head"]
    (taken,) = [entry for entry in pieces[-1].facts["entries"] if entry["kind"] == "acknowledged"]
    assert taken["entry"]["by"] == "张三"


def _flip(machine: ProvedMachine) -> None:
    entry = machine.objects("near", "govsec/ledger")[0]
    data = bytearray(entry.read_bytes())
    data[len(data) // 2] ^= 1
    entry.write_bytes(bytes(data))


def _remove(machine: ProvedMachine) -> None:
    for center in CENTERS:
        machine.objects(center, "govsec/ledger")[0].unlink()


def _swap(machine: ProvedMachine) -> None:
    first, second, *_ = machine.objects("far", "govsec/ledger")
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)


def _truncate(left: str) -> Callable[[ProvedMachine], None]:
    def cut(machine: ProvedMachine) -> None:
        for center in CENTERS:
            machine.objects(center, "govsec/ledger")[-1].unlink()
            if center != left:
                for anchor in machine.objects(center, ANCHORS):
                    anchor.unlink()

    return cut


@pytest.mark.parametrize(
    ("tamper", "fault"),
    [
        (_flip, "altered"),
        (_remove, "lost"),
        (_swap, "misplaced"),
        (_truncate("main"), "cut_everywhere"),
        (_truncate("near"), "cut_everywhere"),
        (_truncate("far"), "cut_everywhere"),
    ],
    ids=["flipped-bit", "removed-line", "swapped-pair", "cut-main-left", "cut-near-left", "cut-far-left"],
)
def test_the_command_finds_what_was_done_to_the_ledger(
    tamper: Callable[[ProvedMachine], None],
    fault: str,
    _proved: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    machine = _copy(_proved, tmp_path)
    assert machine.ledger("verify") == 0
    assert machine.ledger("export", "--output", str(machine.folder / "whole.jsonl")) == 0
    tamper(machine)
    capsys.readouterr()
    assert machine.ledger("verify", "--json") == 6
    faults = {problem["fault"] for problem in json.loads(capsys.readouterr().out)["problems"]}
    assert fault in faults


def _rewrite(machine: ProvedMachine) -> None:
    """Whoever owns the file of cases writes another chain into it, whole in itself."""
    path = machine.folder / "state/incidents/cases.db"
    with contextlib.closing(sqlite3.connect(path)) as file:
        rows = file.execute("SELECT case_id, number, body FROM entries ORDER BY case_id, number").fetchall()
        heads: dict[str, str] = {}
        for case, number, body in rows:
            body = body.replace(b"/srv/share", b"/srv/shade")
            heads[case] = link(case, number, heads.get(case, ""), body)
            values = (heads[case], body, case, number)
            file.execute("UPDATE entries SET digest = ?, body = ? WHERE case_id = ? AND number = ?", values)
        file.executemany("UPDATE cases SET head = ? WHERE id = ?", [(head, case) for case, head in heads.items()])
        file.commit()


def _forget_case(machine: ProvedMachine) -> None:
    with contextlib.closing(sqlite3.connect(machine.folder / "state/incidents/cases.db")) as file:
        for table, column in (("origins", "case_id"), ("entries", "case_id"), ("cases", "id")):
            file.execute(f"DELETE FROM {table} WHERE {column} LIKE '%-0001'")
        file.commit()


@pytest.mark.parametrize("tamper", [_rewrite, _forget_case], ids=["rewritten", "removed"])
def test_a_case_that_was_written_anew_is_found_with_the_ledger(
    tamper: Callable[[ProvedMachine], None], _proved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = _copy(_proved, tmp_path)
    assert main(["incident", "verify", "--config", str(machine.path)]) == 0
    tamper(machine)
    capsys.readouterr()
    assert main(["incident", "verify", "--json", "--config", str(machine.path)]) == 6
    assert len(json.loads(capsys.readouterr().out)["faults"]) == 1


def _copy(proved: Path, folder: Path) -> ProvedMachine:
    machine = ProvedMachine.__new__(ProvedMachine)
    machine.folder = folder / "copy"
    shutil.copytree(proved, machine.folder)
    machine.path = machine.folder / "govsec.yaml"
    machine.path.write_text(machine.path.read_text().replace(str(proved), str(machine.folder)))
    return machine


def test_a_plan_that_was_never_drilled_is_a_case_and_a_drill_that_passes_its_recovery(tmp_path: Path) -> None:
    machine = ProvedMachine(tmp_path, SystemClock(), has_plans=True)
    for _ in range(2):
        assert machine.run()["problems"] == []
    with machine.duty() as duty:
        (line,) = duty.store.find(Query())
        opened, *rest = duty.store.entries(line.id)
    assert isinstance(opened, Opened) and (opened.system, opened.event_class) == (demo.SYSTEM, "hidden_danger")
    assert [entry.finding for entry in rest if isinstance(entry, FindingJoined)] == ["drill.never_run"]
    assert machine.notices.read_text().count('"incident.opened"') == 1, "what holds is told once, not at each look"

    system, (plan,) = machine.site.system(), plans_of(machine.site)
    now = format_time(machine.clock.now())
    said = {"system": demo.SYSTEM, "plan": plan.name, "plan_digest": plan.digest(), "started": now, "ended": now}
    result = parse_result({**passed(), **said})
    entry = open_ledger(machine.site, system).append(result.evidence())
    for _ in range(2):
        assert machine.run()["problems"] == []
    with machine.duty() as duty:
        proved = [one for one in duty.store.entries(line.id) if isinstance(one, RecoveryProved)]
    assert [one.digest for one in proved] == [f"sha256:{entry.digest}"]


def test_one_daemon_runs_on_a_state_directory(machine: Machine) -> None:
    with DutyRun(machine.config, machine.clock), pytest.raises(LockedError, match="runs already"):
        DutyRun(machine.config, machine.clock)


def test_a_status_that_is_old_is_of_no_daemon(machine: Machine) -> None:
    with pytest.raises(HostUnreachableError, match="no duty daemon"):
        read_status(machine.config, machine.clock)
    with DutyRun(machine.config, machine.clock) as run:
        run.settle()
    assert read_status(machine.config, machine.clock)["problems"] == []
    assert isinstance(machine.clock, FakeClock)
    machine.clock.advance(121)
    with pytest.raises(HostUnreachableError, match="has said nothing since"):
        read_status(machine.config, machine.clock)


def test_limits_are_told_while_nobody_does_anything(machine: Machine) -> None:
    assert isinstance(machine.clock, FakeClock)
    facts = {"portal_kind": "prefecture_government"}
    machine.write({"duty": {"services": {"www": {"system": "portal", "down": "portal_down_h", "facts": facts}}}})
    machine.spool([finding("service.down", "www", service="www")])
    with DutyRun(machine.config, machine.clock) as run:
        for _ in range(2 * 6 * 4):
            run.turn(0.0)
            machine.clock.advance(600)
        kinds = {kind: count for (kind, _), count in told(run.duty.outbox).items()}
    # Four hours from the finding, which is two and a half before the second level: 50, 75 and 90 %, and late.
    assert kinds["incident.duty_late"] == 1 and kinds["incident.level_reached"] == 2
    assert kinds["incident.duty_warned"] >= 3


def _start(machine: Machine) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "govsec_agents.duty", "--config", str(machine.path)]
    return subprocess.Popen(argv, stderr=subprocess.DEVNULL)


def _wait_for(what: Callable[[], bool], clock: SystemClock) -> None:
    """Against a hang only."""
    end = clock.monotonic() + 120
    while not what():
        assert clock.monotonic() < end, "it never came to that"
        clock.sleep(0.05)


def test_the_program_takes_over_what_a_killed_one_left_and_ends_when_it_is_told(tmp_path: Path) -> None:
    clock = SystemClock()
    machine = Machine(tmp_path, clock)
    machine.spool([finding(subject=f"/srv/{number}") for number in range(1200)])
    killed = _start(machine)
    try:
        _wait_for(lambda: machine.behind() < 1200, clock)
    finally:
        killed.send_signal(signal.SIGKILL)
        assert killed.wait(60) == -signal.SIGKILL
    machine.spool([finding(subject="/srv/last")])
    program = _start(machine)
    try:
        _wait_for(lambda: machine.behind() == 0, clock)
        _wait_for(lambda: (machine.folder / "state/incidents/duty.json").exists(), clock)
    finally:
        program.send_signal(signal.SIGTERM)
        assert program.wait(120) == 0
    with machine.duty() as duty:
        subjects = [subject for _, _, subject in joined(duty)]
        assert sorted(subjects) == sorted({*(f"/srv/{number}" for number in range(1200)), "/srv/last"})
    assert "incident.case_opened" in machine.notices.read_text()
    assert os.stat(machine.folder / "state/incidents/duty.json").st_mode & 0o077 == 0


def _numbers(machine: ProvedMachine, prefix: str) -> list[str]:
    """The last name under a prefix at each center."""
    return [found[-1].name if (found := machine.objects(name, prefix)) else "" for name in CENTERS]


def _is_quiet(machine: ProvedMachine) -> bool:
    """True when all that was found is told, proved and signed."""
    with open_outbox(machine.config) as outbox, open_evidence(machine.config) as evidence:
        is_told = not outbox.counters()["waiting"] and not outbox.unrecorded()
        return is_told and machine.behind() == 0 and evidence.waiting_count() == 0


def test_what_a_killed_daemon_signed_and_did_not_anchor_is_anchored_by_the_next_when_nothing_new_comes(
    tmp_path: Path,
) -> None:
    clock = SystemClock()
    machine = ProvedMachine(tmp_path, clock)
    killed = _start(machine)
    try:
        _wait_for(lambda: (tmp_path / "state/incidents/duty.json").exists(), clock)
        for number in range(2):
            before = _numbers(machine, "govsec/ledger")
            machine.spool([finding(subject=f"/srv/{number}")])
            _wait_for(lambda before=before: _numbers(machine, "govsec/ledger") > before and _is_quiet(machine), clock)  # type: ignore[misc]
    finally:
        killed.send_signal(signal.SIGKILL)
        assert killed.wait(60) == -signal.SIGKILL
    left = _numbers(machine, "govsec/ledger")
    assert "" < _numbers(machine, ANCHORS)[0] < left[0], "the first was anchored, the rest had time"
    program = _start(machine)
    try:
        _wait_for(lambda: min(_numbers(machine, ANCHORS)) >= left[0], clock)
    finally:
        program.send_signal(signal.SIGTERM)
        assert program.wait(120) == 0
    assert machine.ledger("verify") == 0
    for entry in [entry for name in CENTERS for entry in machine.objects(name, "govsec/ledger")]:
        if entry.name >= left[0]:
            entry.unlink()
    assert machine.ledger("verify") == 6


def test_a_reload_changes_who_is_told_and_loses_nothing_on_the_way(machine: Machine) -> None:
    second = machine.folder / "second.jsonl"
    with DutyRun(machine.config, machine.clock) as run:
        machine.spool([finding()])
        run.settle()
        before = run.status()
        channel = {"kind": "file", "path": str(second)}
        machine.write({}, notify={"channels": {"other": channel}, "routes": [{"channels": ["other"]}]})
        machine.spool([finding(subject="/srv/other")])
        said = run.reload(lambda: machine.config)
        run.settle()
        after = run.status()

    assert "read again" in said
    assert "/srv/share" in machine.notices.read_text() and "/srv/other" not in machine.notices.read_text()
    assert "/srv/other" in second.read_text()
    assert after["problems"] == []
    assert after["counters"]["findings"] == before["counters"]["findings"] + 1  # type: ignore[call-overload, index, operator]


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"notify": {"channels": {}, "routes": [{"channels": ["nobody"]}]}}, "nobody"),
        ({"response": {"live": ["format.disk"]}, "signing": {"roots_file": "/nowhere/roots.yaml"}}, None),
        ({"incident": {"duty": {"ledger_system": "nobody"}}}, "nobody"),
        ({"incident": {"duty": {"services": {"www": {"facts": {"no_fact": "1"}}}}}}, "no_fact"),
    ],
    ids=["what cannot be read", "what waits for a restart", "whose ledger", "what fails when it is opened"],
)
def test_a_configuration_that_cannot_be_followed_changes_nothing_and_is_told(
    broken: dict[str, Any], why: str | None, machine: Machine
) -> None:
    good = machine.path.read_text()
    with DutyRun(machine.config, machine.clock) as run:
        machine.path.write_text(json.dumps({**json.loads(good), **broken}))
        said = run.reload(lambda: load_config(machine.path))
        machine.spool([finding()])
        run.settle()
        status = run.status()
        machine.path.write_text(good)
        run.reload(lambda: load_config(machine.path))
        whole = run.status()

    if why is None:
        assert "signing: restart" in said and status["configuration"]["for_a_restart"] == ["signing"]  # type: ignore[call-overload, index]
    else:
        assert "not taken" in said and why in str(status["configuration"])
    assert any("restart" in str(one) or "not taken" in str(one) for one in status["problems"])  # type: ignore[union-attr]
    assert "/srv/share" in machine.notices.read_text()
    assert whole["problems"] == []


def test_the_program_reads_its_configuration_again_at_a_hangup(tmp_path: Path) -> None:
    clock = SystemClock()
    machine, second = Machine(tmp_path, clock), tmp_path / "second.jsonl"
    status = tmp_path / "state/incidents/duty.json"
    program = _start(machine)
    try:
        _wait_for(status.exists, clock)
        before = json.loads(status.read_text())["configuration"]["loaded_at"]
        channel = {"kind": "file", "path": str(second)}
        machine.write({}, notify={"channels": {"other": channel}, "routes": [{"channels": ["other"]}]})
        program.send_signal(signal.SIGHUP)
        _wait_for(lambda: json.loads(status.read_text())["configuration"]["loaded_at"] > before, clock)
        machine.spool([finding()])
        _wait_for(second.exists, clock)
    finally:
        program.send_signal(signal.SIGTERM)
        assert program.wait(120) == 0
