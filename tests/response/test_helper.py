"""The root helper: who may ask for what, and what it does to accounts and processes."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import tokenize
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from govsec.errors import ConfigurationError, RefusedError, TryAgainError
from govsec.response.helper.accounts import Accounts
from govsec.response.helper.api import Verb, read_settings
from govsec.response.helper.desk import HelperDesk
from govsec.response.helper.processes import Suspend, program_of, status_of
from govsec.response.helper.server import REQUEST_SIZE_MAX, answer_bytes
from govsec.response.order import Order, approve
from govsec.testing.clock import FakeClock
from tests.response.far import ROOT, People, ask, ask_bytes, helper_running, make_order, wait_for, write_settings
from tests.response.rooms import START
from tests.support.require import missing, require, require_root


class Lamp:
    """A verb that only remembers. ``lamp`` names what is lit."""

    is_volatile = False

    def __init__(self) -> None:
        self.lit: dict[str, int] = {}
        self.fails: Exception | None = None
        self.calls: list[str] = []

    def plan(self, arguments: Mapping[str, str | int], peer_pid: int) -> dict[str, Any]:
        if arguments.get("lamp") == "never":
            raise RefusedError("never this one")
        return {"lamp": arguments.get("lamp", "")}

    def before(self, arguments: Mapping[str, str | int]) -> dict[str, Any]:
        return {"was_lit": str(arguments["lamp"]) in self.lit}

    def act(self, arguments: Mapping[str, str | int], before: dict[str, Any], ttl_s: int, nonce: str) -> None:
        self.calls.append("act")
        if self.fails is not None:
            raise self.fails
        self.lit[str(arguments["lamp"])] = ttl_s

    def holds(self, arguments: Mapping[str, str | int], before: dict[str, Any]) -> bool:
        return str(arguments["lamp"]) in self.lit

    def undo(self, arguments: Mapping[str, str | int], before: dict[str, Any]) -> str:
        self.calls.append("undo")
        if not before["was_lit"]:
            self.lit.pop(str(arguments["lamp"]), None)
        return ""

    def processes(self, arguments: Mapping[str, str | int]) -> list[int]:
        return [os.getpid()]


class Desk:
    def __init__(self, folder: Path, **given: object) -> None:
        self.people = People(folder)
        self.clock = FakeClock(START)
        self.lamp = Lamp()
        self.settings = dataclasses.replace(read_settings(write_settings(folder)), **given)  # type: ignore[arg-type]  # handed on
        self.open()

    def open(self) -> None:
        verbs: dict[str, Verb] = {"light.lamp": self.lamp}
        self.desk = HelperDesk(self.settings, verbs, self.clock)

    def order(self, lamp: str = "red", *, ttl_s: int = 600, **given: Any) -> Order:
        made = given.pop("made", self.clock.now())
        return make_order("light.lamp", {"lamp": lamp, "ttl_s": ttl_s}, made=made, **given)

    def do(self, order: Order, *names: str) -> dict[str, Any]:
        return self.ask({"step": "do", "approvals": self.people.approvals(order, *names)})

    def ask(self, request: object) -> dict[str, Any]:
        return answer_bytes(self.desk, json.dumps(request).encode(), 1)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.desk.close()


def test_a_deed_needs_an_approval_that_fits_it_in_every_part(desk: Desk, tmp_path: Path) -> None:
    order = desk.order()
    (tmp_path / "x").mkdir()
    stranger = approve(People(tmp_path / "x").signers["zhang"], order, START).decode()
    good = desk.people.approvals(order)[0]
    wrong = {
        "none": [],
        "a stranger's": [stranger],
        "altered": [good.replace('"red"', '"blu"')],
        "no document": ["{}"],
        "another purpose": [good.replace('"purpose":"response"', '"purpose":"approval"')],
        "two orders": [good, desk.people.approvals(desk.order("green"))[0]],
        "too many": [good] * 6,
    }
    answers = {name: desk.ask({"step": "do", "approvals": approvals}) for name, approvals in wrong.items()}

    assert {name: answer["ok"] for name, answer in answers.items()} == dict.fromkeys(wrong, False)
    assert desk.lamp.calls == []
    assert desk.do(order)["state"] == "done"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"host": "web2"}, "for host"),
        ({"verb": "light.fire"}, "there are light.lamp"),
        ({"made": START - timedelta(hours=2), "expires": START - timedelta(hours=1)}, "was to be begun"),
        ({"made": START + timedelta(minutes=6), "expires": START + timedelta(hours=1)}, "was to be begun"),
        ({"arguments": {"lamp": "red", "ttl_s": 86_401}}, "is more than"),
        ({"arguments": {"lamp": "red"}}, "ttl_s"),
        ({"arguments": {"lamp": "never", "ttl_s": 60}}, "never this one"),
    ],
)
def test_an_order_that_is_signed_is_refused_all_the_same_when(desk: Desk, changed: dict[str, Any], why: str) -> None:
    answer = desk.do(dataclasses.replace(desk.order(), **changed))

    assert answer["kind"] == "refused" and why in answer["why"]
    assert desk.lamp.calls == []


def test_a_helper_that_only_tries_does_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path, dry_run=True)

    assert desk.ask({"step": "try", "order": desk.order().body()})["facts"]["lamp"] == "red"
    assert "only tries" in desk.do(desk.order())["why"]
    assert desk.lamp.calls == []


def test_two_persons_are_two_names_and_not_two_signatures(tmp_path: Path) -> None:
    desk = Desk(tmp_path, approvals={"light.lamp": 2})

    assert "approval of 2 persons" in desk.do(desk.order())["why"]
    assert "approval of 2 persons" in desk.do(desk.order(), "zhang", "zhang")["why"]
    assert desk.do(desk.order(), "zhang", "li")["facts"]["approved_by"] == ["zhang", "li"]


def test_an_order_is_done_once_however_often_it_is_asked_for(desk: Desk) -> None:
    order = desk.order()
    first = desk.do(order)
    again = desk.do(order, "li")
    desk.ask({"step": "undo", "nonce": order.nonce})
    after = desk.do(order)

    assert first == again and after["state"] == "undone"
    assert desk.lamp.calls == ["act", "undo"]
    other = dataclasses.replace(order, arguments={"lamp": "green", "ttl_s": 60})
    assert "was used for another" in desk.do(other)["why"]


def test_what_is_in_force_is_taken_back_when_its_time_is_over_without_being_asked(desk: Desk) -> None:
    order = desk.order(ttl_s=600)
    desk.do(order)
    desk.clock.advance(599)
    desk.desk.tend()
    assert desk.lamp.lit
    desk.clock.advance(1)

    assert desk.desk.tend() == []
    assert not desk.lamp.lit
    assert desk.ask({"step": "check", "nonce": order.nonce})["state"] == "expired"


def test_a_clock_that_was_set_back_keeps_nothing_in_force_for_years(desk: Desk) -> None:
    order = desk.order(ttl_s=600)
    desk.do(order)
    desk.clock.jump(-50 * 365 * 86_400)
    desk.desk.tend()

    assert not desk.lamp.lit
    assert desk.ask({"step": "check", "nonce": order.nonce})["state"] == "expired"


def test_what_could_not_be_put_back_at_the_start_is_put_back_when_it_can_be_and_once(desk: Desk) -> None:
    desk.lamp.is_volatile = True
    order = desk.order(ttl_s=600)
    desk.do(order)
    desk.desk.close()
    desk.lamp.lit.clear()
    desk.open()
    desk.clock.advance(10)
    desk.lamp.fails = TryAgainError("not yet")

    assert ["not yet" in each and order.nonce in each for each in desk.desk.tend()] == [True]
    desk.lamp.fails = None
    desk.clock.advance(90)
    assert desk.desk.tend() == []
    assert desk.lamp.lit == {"red": 500}

    calls = len(desk.lamp.calls)
    assert desk.desk.tend() == []
    assert len(desk.lamp.calls) == calls


def test_what_root_allows_less_time_for_has_less_also_when_it_was_begun_before(desk: Desk) -> None:
    desk.lamp.is_volatile = True
    desk.do(desk.order(ttl_s=600))
    desk.desk.close()
    desk.settings = dataclasses.replace(desk.settings, ttl_max_s=200)
    desk.open()
    # Clocks may differ by some minutes: nothing gets more than it could have had.
    desk.clock.jump(-60)
    desk.desk.tend()
    assert desk.lamp.lit == {"red": 200}
    desk.clock.advance(260)
    desk.desk.tend()

    assert not desk.lamp.lit


def test_a_deed_that_was_begun_when_the_helper_died_is_finished_by_asking_again(desk: Desk) -> None:
    order = desk.order()
    desk.lamp.fails = TryAgainError("the power is gone")
    assert desk.do(order)["kind"] == "later"
    desk.desk.close()
    desk.open()
    desk.lamp.fails = None
    desk.clock.advance(100)

    assert desk.do(order)["state"] == "done"
    # Its end is that of the first try.
    assert desk.lamp.lit == {"red": 500}


def test_a_deed_that_was_refused_in_its_middle_is_taken_back(desk: Desk) -> None:
    desk.lamp.fails = RefusedError("half way")
    order = desk.order()

    assert desk.do(order)["kind"] == "refused"
    assert desk.lamp.calls == ["act", "undo"]
    assert desk.ask({"step": "check", "nonce": order.nonce})["state"] == "failed"


def test_no_more_are_in_force_or_begun_in_an_hour_than_root_allows(tmp_path: Path) -> None:
    desk = Desk(tmp_path, active_max=2, per_hour_max=3)
    for lamp in ("a", "b"):
        assert desk.do(desk.order(lamp))["ok"]
    assert "in force" in desk.do(desk.order("c"))["why"]
    desk.clock.advance(600)
    desk.desk.tend()
    assert desk.do(desk.order("c"))["ok"]
    assert "within an hour" in desk.do(desk.order("d"))["why"]
    # A clock that is set back gives nobody more.
    desk.clock.jump(-7200)
    assert "within an hour" in desk.do(desk.order("d"))["why"]
    desk.clock.jump(7200)
    desk.clock.advance(3600)

    assert desk.do(desk.order("d"))["ok"]


def test_two_orders_for_one_deed_leave_it_as_it_was_before_the_first(desk: Desk) -> None:
    first, second = desk.order(ttl_s=600), desk.order(ttl_s=300)
    desk.do(first)
    desk.do(second)
    assert desk.ask({"step": "undo", "nonce": first.nonce})["facts"]["kept_for"] == second.nonce
    assert desk.lamp.lit
    desk.clock.advance(300)
    desk.desk.tend()

    assert not desk.lamp.lit, "the second one thought that it had found it so"


def test_the_pack_is_from_before_the_deed_and_known_by_its_digest(desk: Desk) -> None:
    order = desk.order()
    facts = desk.do(order)["facts"]
    path = Path(facts["pack"])
    pack = json.loads(path.read_bytes())

    assert path.stat().st_mode & 0o777 == 0o600 and path.stat().st_size == facts["pack_bytes"]
    (subject,) = pack["subjects"]
    assert subject["pid"] == os.getpid() and "/" in subject["maps"] and len(subject["program_sha256"]) == 64
    assert any(each["pid"] == os.getpid() and each["parent"] == os.getppid() for each in pack["processes"])
    assert "local_address" in pack["sockets"]["tcp"]


def test_what_is_no_request_is_refused_whatever_it_is(desk: Desk) -> None:
    seed = 20261122
    chance = random.Random(seed)
    order = desk.order()
    good = json.dumps({"step": "do", "approvals": desk.people.approvals(order)}).encode()
    requests = [b"", b"[]", b"{}", b"[" * 100_000, b'{"step":"do","approvals":[1,null,{}]}', b"\xff\xfe", b"null"]
    for _ in range(300):
        mutated = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(mutated))
            match chance.randrange(3):
                case 0:
                    mutated[place] ^= 1 << chance.randrange(8)
                case 1:
                    del mutated[place : place + chance.randrange(1, 40)]
                case _:
                    mutated[place:place] = chance.randbytes(chance.randrange(1, 20))
        if not says_the_same(bytes(mutated), good):
            requests.append(bytes(mutated))
    answers = [answer_bytes(desk.desk, request, 1) for request in requests]

    assert [answer for answer in answers if answer["ok"]] == [], f"seed {seed}"
    assert desk.lamp.calls == []


def says_the_same(mutated: bytes, good: bytes) -> bool:
    """A space between two parts changes nothing of a request."""
    with contextlib.suppress(ValueError, RecursionError):
        return bool(json.loads(mutated) == json.loads(good))
    return False


def test_only_users_that_are_named_get_an_answer_and_no_peer_keeps_the_others_waiting(tmp_path: Path) -> None:
    people = People(tmp_path)
    order = make_order("nft.block", {"address": "127.0.0.1", "ttl_s": 60})
    with helper_running(write_settings(tmp_path, peers=[12345])):
        assert ask(tmp_path / "s", {"step": "try", "order": order.body()}) == {}
    with helper_running(write_settings(tmp_path)) as helper:
        for junk in (b"\n", b"x" * (REQUEST_SIZE_MAX + 5), b'{"step":', os.urandom(300) + b"\n"):
            assert ask_bytes(tmp_path / "s", junk).get("ok") is not True
        answer = ask(tmp_path / "s", {"step": "do", "approvals": people.approvals(order)})
        assert answer["ok"] is False and helper.poll() is None
        assert (tmp_path / "s").stat().st_mode & 0o077 == 0
        helper.terminate()
        assert helper.wait(60) == 0


@pytest.mark.parametrize(
    "line",
    [
        "unknown = 1",
        "peers = 'root'",
        "peers = [-1]",
        "management = ['10.0.0.0/33']",
        "dry_run = 'no'",
        "active_max = 1.5",
    ],
)
def test_settings_that_are_not_understood_are_refused(tmp_path: Path, line: str) -> None:
    path = write_settings(tmp_path)
    name = line.split(" ")[0]
    kept = [each for each in path.read_text(encoding="utf-8").splitlines() if not each.startswith(f"{name} =")]
    path.write_text("\n".join([*kept, line]), encoding="utf-8")

    with pytest.raises(ConfigurationError, match=name):
        read_settings(path)


@pytest.mark.parametrize("name", ["helper.toml", "roots.yaml", "."])
def test_what_others_can_write_decides_nothing(tmp_path: Path, name: str) -> None:
    desk = Desk(tmp_path)
    order = desk.order()
    (tmp_path / name).chmod(0o777 if name == "." else 0o666)

    if name == "helper.toml":
        with pytest.raises(ConfigurationError, match="others than root"):
            read_settings(tmp_path / name)
    else:
        assert "others than root" in desk.do(order)["why"]


def test_who_is_taken_out_of_the_roots_approves_nothing_more(desk: Desk, tmp_path: Path) -> None:
    first, second = desk.order("a"), desk.order("b")
    assert desk.do(first)["ok"]
    approvals = desk.people.approvals(second)
    del desk.people.signers["zhang"]
    desk.people.roots.save(tmp_path / "roots.yaml")

    assert desk.ask({"step": "do", "approvals": approvals})["kind"] == "integrity"


def test_settings_that_lack_what_is_needed_are_refused(tmp_path: Path) -> None:
    (tmp_path / "helper.toml").write_text("host = 'x'", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="missing: peers"):
        read_settings(tmp_path / "helper.toml")


# Processes


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    process.kill()
    process.wait(60)


def suspend_arguments(pid: int) -> dict[str, str | int]:
    status = status_of(pid)
    assert status is not None
    return {"pid": pid, "started": status[3], "ttl_s": 60}


def state_of(pid: int) -> str:
    status = status_of(pid)
    assert status is not None
    return status[1]


def test_a_process_is_stopped_where_it_stands_and_goes_on(sleeper: subprocess.Popen[bytes]) -> None:
    verb, arguments = Suspend(()), suspend_arguments(sleeper.pid)
    wait_for(lambda: "sleep" in verb.plan(arguments, 1)["name"], "the program has started")
    before = verb.before(arguments)
    verb.act(arguments, before, 60, "x")
    wait_for(lambda: state_of(sleeper.pid) == "T", "it stands still")
    assert verb.holds(arguments, before)

    assert verb.undo(arguments, before) == ""

    wait_for(lambda: state_of(sleeper.pid) == "S", "it goes on")


def test_another_process_of_the_same_number_is_left_alone(sleeper: subprocess.Popen[bytes]) -> None:
    verb = Suspend(())
    arguments = {**suspend_arguments(sleeper.pid), "started": 1}
    with pytest.raises(RefusedError, match="another one by now"):
        verb.plan(arguments, 1)
    with pytest.raises(RefusedError, match="gone"):
        verb.act(arguments, {}, 60, "x")

    assert state_of(sleeper.pid) != "T"


def test_a_process_that_stood_still_before_stays_so(sleeper: subprocess.Popen[bytes]) -> None:
    sleeper.send_signal(signal.SIGSTOP)
    wait_for(lambda: state_of(sleeper.pid) == "T", "it stands still")
    verb, arguments = Suspend(()), suspend_arguments(sleeper.pid)
    before = verb.before(arguments)
    verb.act(arguments, before, 60, "x")
    verb.undo(arguments, before)

    assert state_of(sleeper.pid) == "T"


def test_the_machine_itself_and_its_helper_are_never_suspended(sleeper: subprocess.Popen[bytes]) -> None:
    for pid in {1, os.getpid(), os.getppid()}:
        with pytest.raises(RefusedError, match="never suspended"):
            Suspend(()).plan(suspend_arguments(pid), 0)
    with pytest.raises(RefusedError, match="never suspended"):
        Suspend(()).plan(suspend_arguments(sleeper.pid), sleeper.pid)


def test_programs_that_are_named_are_never_suspended_and_nobody_borrows_their_name(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    wait_for(lambda: "sleep" in program_of(sleeper.pid), "the program has started")
    real = program_of(sleeper.pid)
    for never in (real, str(Path(real).parent) + "/"):
        with pytest.raises(RefusedError, match="named in the settings"):
            Suspend([never]).plan(suspend_arguments(sleeper.pid), 0)
    shutil.copy(real, tmp_path / "sshd")
    with subprocess.Popen([tmp_path / "sshd", "1000"]) as liar:
        try:
            wait_for(lambda: status_of(liar.pid)[0] == "sshd", "it has taken the name")  # type: ignore[index]  # it is there
            plan = Suspend(["/usr/sbin/sshd"]).plan(suspend_arguments(liar.pid), 0)
        finally:
            liar.kill()

    assert plan["program"] == str(tmp_path / "sshd")


# Accounts

_SHADOW = (
    "root:*:19000:0:99999:7:::\n"
    "ann:$6$abc$def:19000:0:99999:7:::\n"
    "bob:$6$abc$xyz:19001:0:99999:7::20500:\n"
    "eve::19000:0:99999:7:::\n"
    "shut:!$6$abc$def:19000:0:99999:7:::\n"
    "daemon:*:19000:0:99999:7:::\n"
)
_PASSWD = (
    "root:x:0:0::/root:/bin/bash\n"
    "ann:x:70001:70001::/home/ann:/bin/bash\n"
    "bob:x:70002:70002::/home/bob:/bin/bash\n"
    "eve:x:70003:70003::/home/eve:/bin/bash\n"
    "shut:x:70004:70004::/home/shut:/bin/bash\n"
    "daemon:x:1:1::/:/usr/sbin/nologin\n"
    "toor:x:0:0::/root:/bin/bash\n"
)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The files of accounts of a machine, in a folder."""
    require_root()
    if not Path("/usr/sbin/usermod").exists():
        missing("usermod", "no /usr/sbin/usermod (package passwd)")
    folder = tmp_path / "machine" / "etc"
    folder.mkdir(parents=True)
    (folder / "passwd").write_text(_PASSWD)
    (folder / "shadow").write_text(_SHADOW)
    (folder / "shadow").chmod(0o640)
    (folder / "group").write_text("root:x:0:\nsudo:x:27:bob\nann:x:70001:\n")
    return tmp_path / "machine"


@pytest.mark.parametrize("account", ["ann", "eve", "shut", "daemon"])
def test_a_disabled_account_comes_back_as_it_was_to_the_byte(machine: Path, account: str) -> None:
    verb, arguments = Accounts(machine, (), ("sudo",)), {"account": account, "ttl_s": 60}
    verb.plan(arguments, 1)
    before = verb.before(arguments)
    verb.act(arguments, before, 60, "x")
    # Asked again after a crash, with what was kept from before.
    verb.act(arguments, before, 60, "x")
    line = next(line for line in (machine / "etc/shadow").read_text().splitlines() if line.startswith(f"{account}:"))
    assert (account == "eve" or line.split(":")[1].startswith(("!", "*"))) and line.split(":")[7] == "1"
    assert verb.holds(arguments, before)

    assert verb.undo(arguments, before) == ""

    assert (machine / "etc/shadow").read_text() == _SHADOW
    assert verb.undo(arguments, before) == ""
    assert (machine / "etc/shadow").read_text() == _SHADOW


def test_what_somebody_else_changed_meanwhile_is_said(machine: Path) -> None:
    verb, arguments = Accounts(machine, (), ("sudo",)), {"account": "ann", "ttl_s": 60}
    before = verb.before(arguments)
    verb.act(arguments, before, 60, "x")
    changed = (machine / "etc/shadow").read_text().replace("$6$abc$def:19000", "$6$new$new:19999")
    (machine / "etc/shadow").write_text(changed)

    assert "changed its line" in verb.undo(arguments, before)
    assert "ann:$6$new$new:19999:0:99999:7:::" in (machine / "etc/shadow").read_text()


@pytest.mark.parametrize(
    ("account", "why"),
    [
        ("root", "never"),
        ("toor", "never"),
        ("shut", "never"),
        ("nobody-here", "there is none"),
        ("../etc", "no name"),
        ("-u", "no name"),
        ("Ann", "no name"),
    ],
)
def test_an_account_that_the_machine_cannot_do_without_is_never_disabled(machine: Path, account: str, why: str) -> None:
    verb = Accounts(machine, ("shut",), ("sudo",))
    with pytest.raises(RefusedError, match=why):
        verb.plan({"account": account, "ttl_s": 60}, 1)


def test_the_last_administrator_is_never_disabled(machine: Path) -> None:
    shadow = machine / "etc/shadow"
    shadow.write_text(_SHADOW.replace("::20500:", ":::"))
    (machine / "etc/group").write_text("sudo:x:27:bob,shut\n")
    verb = Accounts(machine, (), ("sudo",))
    with pytest.raises(RefusedError, match="last administrator"):
        verb.plan({"account": "bob", "ttl_s": 60}, 1)
    (machine / "etc/group").write_text("sudo:x:27:bob,ann\n")

    assert verb.plan({"account": "bob", "ttl_s": 60}, 1)["is_admin"] is True


def test_an_administrator_who_comes_by_key_alone_counts_and_is_not_disabled_as_the_last(machine: Path) -> None:
    shadow = machine / "etc/shadow"
    # As cloud images have it: one administrator with a locked password and a key.
    shadow.write_text(_SHADOW.replace("::20500:", ":::"))
    (machine / "etc/group").write_text("sudo:x:27:shut\n")
    verb = Accounts(machine, (), ("sudo",))
    with pytest.raises(RefusedError, match="last administrator"):
        verb.plan({"account": "shut", "ttl_s": 60}, 1)
    (machine / "etc/group").write_text("sudo:x:27:shut,bob\n")
    assert verb.plan({"account": "shut", "ttl_s": 60}, 1)["is_admin"] is True
    # Bob can only come back while shut can come, and shut has no key yet.
    with pytest.raises(RefusedError, match="last administrator"):
        verb.plan({"account": "bob", "ttl_s": 60}, 1)
    keys = machine / "home/shut/.ssh"
    keys.mkdir(parents=True)
    (keys / "authorized_keys").write_text("ssh-ed25519 AAAA shut\n")
    assert verb.plan({"account": "bob", "ttl_s": 60}, 1)["is_admin"] is True


def test_a_program_that_an_upgrade_replaced_is_still_known_by_its_path(tmp_path: Path) -> None:
    program = tmp_path / "sshd"
    shutil.copy("/bin/sleep", program)
    child = subprocess.Popen([program, "1000"])
    try:
        started = status_of(child.pid)
        assert started is not None
        arguments = {"pid": child.pid, "started": started[3], "ttl_s": 60}
        program.unlink()
        with pytest.raises(RefusedError, match="named in the settings"):
            Suspend([str(program)]).plan(arguments, 1)
        assert Suspend([]).plan(arguments, 1)["program"] == str(program)
    finally:
        child.kill()
        child.wait()


def test_a_thread_is_no_process_that_could_be_suspended() -> None:
    ready, over = threading.Event(), threading.Event()
    numbers: list[int] = []

    def live() -> None:
        numbers.append(threading.get_native_id())
        ready.set()
        over.wait(60)

    thread = threading.Thread(target=live)
    thread.start()
    try:
        assert ready.wait(60)
        status = status_of(numbers[0])
        assert status is not None
        with pytest.raises(RefusedError, match="a thread"):
            Suspend([]).plan({"pid": numbers[0], "started": status[3], "ttl_s": 60}, 1)
    finally:
        over.set()
        thread.join()


# What it is made of


def test_the_helper_is_small_enough_to_be_looked_through() -> None:
    folder = ROOT / "govsec/response/helper"
    files = [*folder.glob("*.py"), ROOT / "govsec/response/order.py", ROOT / "agents/helper.py"]
    counts = {file.name: code_lines(file.read_text(encoding="utf-8")) for file in files}
    gate = counts["order.py"] + counts["desk.py"] + counts["server.py"]

    assert len(counts) == 10
    assert 0 < gate < 400, counts
    assert sum(counts.values()) < 1100, counts


def test_the_helper_is_made_of_the_standard_library_and_what_every_room_stands_on() -> None:
    allowed = {"clock", "errors", "localfile", "privatefile", "redact", "database", "canonical", "crypto", "response"}
    folder = ROOT / "govsec/response/helper"
    for file in [*folder.glob("*.py"), ROOT / "govsec/response/order.py", ROOT / "agents/helper.py"]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [each.name for each in node.names] if isinstance(node, ast.Import) else []
            for module in modules:
                top, _, rest = module.partition(".")
                is_ours = top == "govsec" and all(
                    part.split(".")[0] in allowed for part in ([rest] if rest else ["canonical"])
                )
                assert is_ours or top in sys.stdlib_module_names, f"{file.name}: {module}"
                assert not module.startswith("govsec.response.") or module.split(".")[2] in ("helper", "order"), file


def code_lines(source: str) -> int:
    """Lines with code on them: without blank ones, comments and docstrings."""
    lines: set[int] = set()
    quiet = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in quiet:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            assert node.body[0].end_lineno is not None
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def test_the_settings_that_are_shipped_are_read_and_only_try() -> None:
    settings = read_settings(ROOT / "agents/config/helper.toml")

    assert settings.dry_run and settings.management and settings.approvals == {"host.isolate": 2}


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    program = str(require("systemd-analyze"))
    for name in ("govsec-helper.service", "govsec-helper.socket"):
        text = (ROOT / "agents/units" / name).read_text(encoding="utf-8").replace("/opt/govsec/bin/python", "/bin/true")
        (tmp_path / name).write_text(text, encoding="utf-8")
    argv = [
        program,
        "verify",
        "--man=no",
        str(tmp_path / "govsec-helper.service"),
        str(tmp_path / "govsec-helper.socket"),
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=200)

    assert done.returncode == 0, done.stderr
    assert "govsec-helper" not in done.stderr, done.stderr
