"""The command line of the centers, the loop that ships, and the unit that runs it."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import govsec_agents
import pytest
import yaml

from govsec.assemble.care import kept_ids
from govsec.assemble.centers import ship_to, site_name
from govsec.assemble.probes import probe_center, protection_of
from govsec.assemble.shipping import all_tasks, run_loop, ship_round
from govsec.assemble.systems import Site
from govsec.centers.commits import SnapshotRef
from govsec.cli.main import build_parser
from govsec.config import SystemConfig, load_config
from govsec.errors import (
    ConfigurationError,
    RefusedError,
    StoreDeniedError,
    StoreError,
    StoreUnavailableError,
    UsageError,
)
from govsec.runtime.ticks import Stop, run_ticks
from govsec.store.api import VersionedStore
from govsec.store.local import LocalStore
from govsec.store.memory import MemoryStore
from govsec.store.probe import probe
from govsec.testing.clock import FakeClock
from tests.centers.commands import answer, run, some_pack

UNIT = Path(govsec_agents.__file__).parent / "units" / "govsec-ship.service"


def test_a_round_of_commands_from_shipping_to_status(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, shipped = answer(place, capsys, "center", "ship")
    assert (code, [round_["commits_count"] for round_ in shipped["shipped"]]) == (0, [0, 1])
    code, status = answer(place, capsys, "center", "status")
    rows = status["systems"][0]["centers"]
    assert [row["is_within_rpo"] for row in rows] == [True, True, True]
    assert {row["protection"] for row in rows} == {"not protected from production: a directory"}
    code, verified = answer(place, capsys, "center", "verify")
    assert (code, [center["is_clean"] for center in verified["centers"]]) == (0, [True, True, True])


def test_damage_is_exit_code_6_until_it_is_healed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack = some_pack(place, "near")
    data = bytearray(pack.read_bytes())
    data[50] ^= 1
    pack.write_bytes(data)
    code, verified = answer(place, capsys, "center", "verify", "near")
    assert (code, verified["centers"][0]["damaged_count"]) == (6, 1)
    code, healed = answer(place, capsys, "center", "heal", "near")
    assert (code, len(healed["centers"][0]["healed"])) == (0, 1)
    assert run(place, "center", "verify", "near", "-q") == 0


def remove_newest(directory: Path, center: str) -> None:
    """The newest commit and the snapshot of a center, as if it never got them."""
    for folder in ("commits", "snapshots"):
        [found] = (path for path in (directory / center).rglob(folder) if path.is_dir())
        max(found.iterdir(), key=lambda path: path.name if folder == "commits" else path.stat().st_mtime_ns).unlink()


@pytest.mark.parametrize(("mode", "is_clean"), [("maximum-protection", False), ("maximum-performance", True)])
def test_same_city_may_lack_the_newest_commit_only_where_it_follows(
    place: Path, capsys: pytest.CaptureFixture[str], mode: str, is_clean: bool
) -> None:
    path = place / "govsec.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("maximum-protection", mode), encoding="utf-8")
    assert load_config(path).systems[0].mode.value == mode
    (place / "system" / "new").write_text("new", encoding="utf-8")
    assert run(place, "backup", "run") == 0
    assert run(place, "center", "ship", "--from", "main", "near") == 0
    assert run(place, "center", "verify", "near") == 0
    remove_newest(place, "near")
    assert run(place, "center", "verify", "near") == (0 if is_clean else 1)
    _, status = answer(place, capsys, "center", "status")
    near = next(row for system in status["systems"] for row in system["centers"] if row["center"] == "near")
    assert (near["backlog_commits"], near["state"]) == (1, None if is_clean else "degraded")


def test_a_paused_center_is_try_again(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(place, "center", "pause", "far", "--by", "li", "--reason", "disks", "--hours", "1") == 0
    code, error = answer(place, capsys, "center", "ship", "far")
    assert (code, "disks" in error["error"]["message"]) == (75, True)
    assert run(place, "center", "resume", "far") == 0
    assert run(place, "center", "ship", "far", "-q") == 0


def test_junk_is_moved_aside_and_put_back(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    junk = next((place / "near").rglob("index")) / ("0" * 64)
    junk.write_bytes(b"junk")
    os.utime(junk, (0, 0))
    code, found = answer(place, capsys, "center", "quarantine", "near", "--dry-run")
    assert (code, found["junk"]) == (1, [f"index/{'0' * 64}"])
    code, moved = answer(place, capsys, "center", "quarantine", "near")
    assert (code, junk.exists()) == (0, False)
    assert run(place, "center", "quarantine", "near", "--undo", moved["quarantine"]) == 0
    assert junk.read_bytes() == b"junk"


def test_prometheus_text_and_probe_of_a_directory(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(place, "center", "status", "--prometheus") == 0
    assert "# TYPE govsec_center_up gauge" in capsys.readouterr().out
    code, probed = answer(place, capsys, "center", "probe", "near")
    assert (code, probed["is_protected"]) == (1, False)


def test_release_lock_and_union_say_what_they_did(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(place, "center", "ship", "-q")
    code, refused = answer(place, capsys, "center", "release", "far")
    assert (code, "release_key_file" in refused["error"]["message"]) == (3, True)
    path = place / "govsec.yaml"
    written = json.loads(path.read_text(encoding="utf-8"))
    written["signing"]["release_key_file"] = "keys/release.key"
    path.write_text(json.dumps(written), encoding="utf-8")
    assert run(place, "center", "init", "-q") == 0
    code, released = answer(place, capsys, "center", "release", "far")
    assert (code, released.get("marked_count"), released.get("removed")) == (0, 0, []), released
    code, refused = answer(place, capsys, "center", "lock", "far")
    assert (code, refused["error"]["kind"]) == (3, "configuration")
    code, united = answer(place, capsys, "center", "union")
    assert (code, united["heads_count"]) == (0, 1)


@pytest.mark.parametrize(
    "argv",
    [
        ("verify", "--budget", "much"),
        ("verify", "--budget", "0"),
        ("ship", "--interval", "-1"),
        ("pause", "far"),
        ("ship", "nowhere"),
        ("quarantine", "near", "--undo", "../x"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(place: Path, argv: tuple[str, ...]) -> None:
    assert run(place, "center", *argv) == 2


def remote_site(place: Path) -> dict:  # type: ignore[type-arg]
    """What a remote site has: same-city to read, a directory of its own, a key for evidence, and pinned roots."""
    written = json.loads((place / "govsec.yaml").read_text(encoding="utf-8"))
    del written["centers"]["main"]
    written["centers"]["far"] |= {"site": "省外", "store": {"kind": "local", "path": "own"}}
    written["signing"] = {"evidence_key_file": "${CREDENTIALS_DIRECTORY}/evidence.key", "roots_file": "own-roots.yaml"}
    for system in written["systems"]:
        del system["password_file"]
    return written


def test_a_remote_site_is_initialised_with_its_own_configuration(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(place / "credentials"))
    (place / "govsec.yaml").write_text(json.dumps(remote_site(place)), encoding="utf-8")
    shutil.copy(place / "roots.yaml", place / "own-roots.yaml")
    code, refused = answer(place, capsys, "center", "init")
    assert (code, f"there is no directory {place}/own" in refused["error"]["message"]) == (3, True)
    (place / "own").mkdir()

    code, made = answer(place, capsys, "center", "init")
    assert (code, made["is_new"], made["reached"]) == (0, False, ["far"])
    assert [key["purpose"] for key in made["pinned"]] == ["evidence"]
    assert sorted(path.name for path in (place / "credentials").iterdir()) == ["evidence.key"]
    code, again = answer(place, capsys, "center", "init")
    assert (code, again["reached"], again["pinned"]) == (0, [], made["pinned"])
    assert run(place, "center", "ship", "far", "-q") == 0
    assert run(place, "center", "verify", "far", "-q") == 0


def test_an_init_that_cannot_work_writes_nothing(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(place / "credentials"))
    (place / "govsec.yaml").write_text(json.dumps(remote_site(place)), encoding="utf-8")
    (place / "own").mkdir()
    shutil.rmtree(place / "near" / "permits")
    code, refused = answer(place, capsys, "center", "init")
    assert (code, "at the production site first" in refused["error"]["message"]) == (3, True)
    assert not (place / "credentials").exists()
    assert not (place / "own-roots.yaml").exists()
    assert not list((place / "own").iterdir())


class LockingStore(LocalStore):
    """A directory that remembers what it was told to retain."""

    until: dict[str, datetime]

    def retention(self, name: str) -> datetime | None:
        self.head(name)
        return self.until.get(name)

    def retain(self, name: str, until: datetime) -> None:
        if self.until is DENIED:
            raise StoreDeniedError(f"{name}: no right to lock")
        self.until[name] = until

    def clone(self) -> LockingStore:
        store = LockingStore(self.root, name=self.name)
        store.until = self.until
        return store


DENIED: dict[str, datetime] = {}


class OwnedSite(Site):
    """A site that owns a far center with object lock."""

    until: dict[str, datetime]

    def owner_store(self, system: SystemConfig, center: str) -> VersionedStore | None:
        store = LockingStore(self.config.state_dir.parent / center / system.name, name=center)
        store.until = self.until
        return cast(VersionedStore, store)


def owned_site(place: Path, until: dict[str, datetime]) -> OwnedSite:
    path = place / "govsec.yaml"
    written = json.loads(path.read_text(encoding="utf-8"))
    written["centers"]["far"] |= {"object_lock": {"days": 30}, "owner_credentials_file": "owner"}
    path.write_text(json.dumps(written), encoding="utf-8")
    site = OwnedSite(load_config(path), FakeClock())
    site.until = until
    return site


def test_what_a_round_brought_is_locked_before_it_ends(place: Path) -> None:
    until: dict[str, datetime] = {}
    site = owned_site(place, until)
    shipped = ship_to(site, site.system(), "far")
    assert (shipped.report.commits_count, shipped.lock_problem) == (1, None)
    assert shipped.locking is not None
    stored = {info.name for info in site.read_store(site.system(), "far").list("")}
    assert {name for name in stored if not name.startswith("govsec/ledger/")} == set(until)
    assert ship_to(site, site.system(), "far").locking is None, "nothing came, and all was locked today"
    site.clock.advance(20 * 86400)  # type: ignore[attr-defined]
    later = ship_to(site, site.system(), "far").locking
    assert later is not None
    assert later.report is not None
    assert later.report.extended_count == len(until)


def test_a_round_that_could_not_lock_has_shipped_and_says_so(place: Path) -> None:
    site, said = owned_site(place, DENIED), list[str]()
    with pytest.raises(StoreError, match=r"shipped, but .* objects not locked, .*no right to lock"):
        ship_round(site, all_tasks(site), talk=said.append)
    assert [line for line in said if "→ far: 1 commits" in line]
    assert [line for line in said if "not locked" in line]


def test_a_command_that_shipped_and_could_not_lock_is_exit_code_1(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    owned_site(place, {})
    code, shipped = answer(place, capsys, "center", "ship", "far")
    (round_,) = shipped["shipped"]
    assert (code, round_["commits_count"]) == (1, 1)
    assert "a directory has no object lock" in round_["lock_problem"]


def far_site(directory: Path, owner: str, **more: object) -> Site:
    for name in ("writer", "owner"):
        path = directory / name
        path.write_text(json.dumps({"access_key": name, "secret_key": "s"}), encoding="utf-8")
        path.chmod(0o600)
    bucket = {"kind": "s3", "endpoint": "http://127.0.0.1:9", "bucket": "nobody"}
    far = {"role": "remote", "store": bucket, "credentials_file": "writer", "owner_credentials_file": owner}
    value = {"centers": {"far": far, **more}, "systems": [{"name": "hr"}], "state_dir": "state"}
    (directory / "govsec.yaml").write_text(json.dumps(value), encoding="utf-8")
    return site_of(directory)


def test_a_probe_with_the_owner_s_credential_is_refused(tmp_path: Path) -> None:
    site = far_site(tmp_path, owner="writer")
    with pytest.raises(UsageError, match="is the owner's credential"):
        probe_center(site, site.system(), "far")


def test_status_blames_only_production_s_own_credential_on_production(tmp_path: Path) -> None:
    # Found at a directory; what a site makes of the record does not ask where it was found.
    record = probe(MemoryStore("far"), FakeClock()).model_dump_json()
    (tmp_path / "state" / "hr").mkdir(parents=True)
    (tmp_path / "state" / "hr" / "probe-far.json").write_text(record, encoding="utf-8")
    remote = far_site(tmp_path, owner="owner")
    assert protection_of(remote, remote.system(), "far").words.startswith("not protected from this site's credential: ")
    main = {"role": "production", "store": {"kind": "local", "path": "main"}}
    production = far_site(tmp_path, owner="owner", main=main)
    assert protection_of(production, production.system(), "far").words.startswith("not protected from production: ")


def test_what_a_probe_saw_of_a_server_is_what_its_stores_go_by(tmp_path: Path) -> None:
    site = far_site(tmp_path, owner="owner")
    with pytest.raises(StoreUnavailableError):  # asked, and nobody listens there
        site.store(site.system(), "far").put("config", b"1", if_absent=True)
    record = probe(MemoryStore("far"), FakeClock()).model_copy(update={"has_conditional_put": False})
    path = site.probe_path(site.system(), "far")
    path.parent.mkdir(parents=True)
    path.write_text(record.model_dump_json(), encoding="utf-8")
    owned = site.owner_store(site.system(), "far")
    assert owned is not None
    for store in (site.store(site.system(), "far"), owned):
        with pytest.raises(RefusedError, match="ignores If-None-Match"):
            store.put("config", b"1", if_absent=True)
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(StoreUnavailableError):
        site.store(site.system(), "far").put("config", b"1", if_absent=True)


@pytest.mark.parametrize("first", ["near", "far"])
def test_a_signing_key_is_called_after_the_center_that_its_site_owns(tmp_path: Path, first: str) -> None:
    (tmp_path / "credentials").write_text('{"access_key": "a", "secret_key": "b"}', encoding="utf-8")
    bucket = {"kind": "s3", "endpoint": "http://127.0.0.1:9", "bucket": "nobody"}
    near = {"role": "same_city", "store": bucket, "site": "同城", "read_credentials_file": "credentials"}
    far = {"role": "remote", "store": bucket, "site": "省外", "credentials_file": "credentials"}
    centers = {"near": near, "far": far}
    centers = {first: centers.pop(first), **centers}
    (tmp_path / "govsec.yaml").write_text(json.dumps({"centers": centers}), encoding="utf-8")
    assert site_name(site_of(tmp_path)) == "省外"


def site_of(directory: Path) -> Site:
    return Site(load_config(directory / "govsec.yaml"), FakeClock())


def test_the_loop_ships_every_round_and_ends_when_it_is_told(place: Path) -> None:
    stop, said, waits = Stop(), list[str](), list[float]()

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        if len(waits) > 40:
            stop.set()
        return stop.is_set

    site = site_of(place)
    assert run_loop(site, all_tasks(site), interval_s=300, talk=said.append, stop=stop, wait=wait) == 0
    assert [line for line in said if "near → far: 1 commits" in line]
    assert len(said) == 1, "a round without news says nothing"
    assert max(waits) <= 30, "the watchdog hears from a loop that waits"


def test_a_center_that_fails_does_not_keep_the_others_from_their_turn(place: Path) -> None:
    site, said = site_of(place), list[str]()
    tasks = all_tasks(site)
    assert [task.target for task in tasks] == ["near", "far"]
    shutil.rmtree(place / "near")
    with pytest.raises(StoreUnavailableError):
        ship_round(site, tasks, talk=said.append)
    assert [line for line in said if "→ far: 1 commits" in line], "it pulls from production then"


def test_a_configuration_without_anything_to_ship_is_an_error(place: Path) -> None:
    site = site_of(place)
    empty = Site(site.config.model_copy(update={"systems": ()}), FakeClock())
    with pytest.raises(ConfigurationError, match="nothing to ship"):
        all_tasks(empty)


def test_failures_lengthen_the_wait_up_to_a_bound_and_success_shortens_it_again() -> None:
    stop, waits, told = Stop(), list[float](), list[str]()
    outcomes = [True] * 8 + [False] * 2

    def tick() -> None:
        waits.append(0)
        if not outcomes:
            stop.set()
        elif outcomes.pop(0):
            raise StoreUnavailableError("no route")

    def wait(seconds: float) -> bool:
        waits[-1] += seconds
        return False

    failed_count = run_ticks(
        tick, interval_s=10, backoff_max_s=100, stop=stop, wait=wait, tell=told.append, watchdog_s=30
    )
    assert failed_count == 8
    assert [int(seconds // 10) for seconds in waits[:3]] == [2, 4, 8]
    assert all(100 <= seconds <= 111 for seconds in waits[4:8])
    assert all(10 <= seconds <= 12 for seconds in waits[8:10])
    seen = Counter(line.partition("=")[0] for line in told)
    assert (seen["READY"], seen["STOPPING"]) == (1, 1)
    assert "STATUS=no route" in told


def test_the_agent_tells_systemd_that_it_is_ready_and_ends_on_sigterm(place: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        address = tmp_path / "notify"
        manager.bind(str(address))
        manager.settimeout(60)
        process = subprocess.Popen(
            [sys.executable, "-m", "govsec_agents.shipper", "--config", str(place / "govsec.yaml")],
            env={**os.environ, "NOTIFY_SOCKET": str(address)},
            stderr=subprocess.PIPE,
        )
        try:
            heard = [manager.recv(4096)]
            while b"WATCHDOG=1" not in heard[-1]:
                heard.append(manager.recv(4096))
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert heard[0] == b"READY=1"
    assert process.returncode == 0, errors


def test_the_agent_says_in_one_line_what_is_wrong_with_its_configuration(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "govsec_agents.shipper", "--config", str(tmp_path / "none.yaml")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("govsec-ship: ")
    assert len(done.stderr.splitlines()) == 1


HARDENING = {
    "DynamicUser": "yes",
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "CapabilityBoundingSet": "",
    "RestrictNamespaces": "yes",
    "MemoryDenyWriteExecute": "yes",
    "SystemCallArchitectures": "native",
    "Type": "notify",
    "Restart": "always",
    "UMask": "0077",
}


#: What holds a repository's key, restores owners or becomes another user cannot do with less than root.
ROOT_UNITS = {"govsec-backup@.service", "govsec-drill@.service"}
#: For each unit its site, and every credential that its command needs there.
UNITS = {
    "govsec-ship.service": ("remote", {"near-read", "far-write", "far-owner", "evidence.key"}),
    "govsec-verify@.service": ("remote", {"near-read", "far-write", "far-owner"}),
    "govsec-verify@.service.d/same-city.conf": ("same-city", {"near-write", "near-owner", "main-read"}),
    "govsec-lock@.service": ("same-city", {"near-owner"}),
    "govsec-backup@.service": ("production", {"main-write", "near-write", "commit.key", "hr.password"}),
    "govsec-drill@.service": ("remote", {"near-read", "far-write", "far-owner", "evidence.key", "hr.password"}),
    "govsec-assess@.service": ("remote", {"near-read", "far-write", "far-owner", "evidence.key", "assessor"}),
}


#: Those that follow a source of one system for years, with its key.
FOLLOWING_UNITS = {
    "govsec-watch@.service": {"main-write", "near-write", "commit.key", "evidence.key", "hr.password"},
    "govsec-pg-stream@.service": {"main-write", "near-write", "commit.key", "evidence.key", "hr.password"},
    "govsec-mariadb-stream@.service": {"main-write", "near-write", "commit.key", "hr.password"},
}
#: Their own tests are those of the agents, of who is on duty and of the helper.
AGENT_UNITS = {
    "govsec-host.service",
    "govsec-network.service",
    "govsec-duty.service",
    "govsec-helper.service",
    "govsec-helper.socket",
}


def service_of(unit: Path) -> dict[str, str]:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit.read_text(encoding="utf-8"))
    return dict(parser["Service"])


def credentials_of(text: str) -> set[str]:
    """The names of the credentials that a unit loads, or that a configuration reads, for the system ``hr``."""
    loaded = re.findall(r"^LoadCredential=([^:\n]+):/etc/govsec/credentials/\1$", text, flags=re.MULTILINE)
    return {name.replace("%i", "hr") for name in loaded or re.findall(r"\$\{CREDENTIALS_DIRECTORY\}/(\S+)", text)}


def test_every_unit_is_here() -> None:
    found = {path.relative_to(UNIT.parent).as_posix() for path in UNIT.parent.rglob("*") if path.is_file()}
    timers = {name.replace(".service", ".timer") for name in UNITS if name.endswith("@.service")}
    assert found == UNITS.keys() | timers | FOLLOWING_UNITS.keys() | AGENT_UNITS


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_loads_what_its_command_needs_of_the_sample_configuration_and_no_more(name: str) -> None:
    site, needed = UNITS[name]
    sample = (UNIT.parents[1] / "config" / f"{site}.yaml").read_text(encoding="utf-8")
    assert credentials_of((UNIT.parent / name).read_text(encoding="utf-8")) == needed
    assert needed <= credentials_of(sample)


def test_the_unit_that_ships_is_hardened_and_holds_no_password() -> None:
    service = service_of(UNIT)
    assert {key: service.get(key) for key in HARDENING} == HARDENING
    assert not [name for name in UNITS["govsec-ship.service"][1] if "password" in name or "commit" in name]


@pytest.mark.parametrize("name", [name for name in UNITS if name.endswith("@.service")])
def test_the_other_units_are_hardened_and_run_a_command_that_there_is(name: str) -> None:
    service = service_of(UNIT.parent / name)
    everywhere = {"NoNewPrivileges": "yes", "SystemCallArchitectures": "native", "UMask": "0077", "Type": "oneshot"}
    hardening = everywhere if name in ROOT_UNITS else {**HARDENING, **everywhere}
    hardening.pop("Restart", None)
    assert {key: service.get(key) for key in hardening} == hardening
    assert ("DynamicUser" in service) == (name not in ROOT_UNITS)
    program, *argv = shlex.split(service["ExecStart"].replace("%i", "hr"))
    assert program == "/opt/govsec/bin/govsec"
    assert build_parser().parse_args(argv).system == "hr"


@pytest.mark.parametrize("name", FOLLOWING_UNITS)
def test_a_unit_that_follows_a_source_is_hardened_and_runs_a_command_that_there_is(name: str) -> None:
    service = service_of(UNIT.parent / name)
    hardening = {"NoNewPrivileges": "yes", "SystemCallArchitectures": "native", "UMask": "0077", "Type": "notify"}
    hardening |= {
        "ProtectSystem": "full",
        "PrivateDevices": "yes",
        "RestrictNamespaces": "yes",
        "Restart": "on-failure",
    }
    assert {key: service.get(key) for key in hardening} == hardening
    assert "CAP_SYS_ADMIN" not in service["CapabilityBoundingSet"]
    assert credentials_of((UNIT.parent / name).read_text(encoding="utf-8")) == FOLLOWING_UNITS[name]
    program, *argv = shlex.split(service["ExecStart"].replace("%i", "hr"))
    assert program == "/opt/govsec/bin/govsec"
    assert build_parser().parse_args(argv).system == "hr"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    units = []
    for path in UNIT.parent.glob("*.*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8").replace("/opt/govsec/bin/python", sys.executable)
            unit = tmp_path / path.name.replace("@", "@hr")
            unit.write_text(text.replace("/opt/govsec/bin/govsec", sys.executable), encoding="utf-8")
            units.append(unit)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, timeout=60)
    assert len(units) == 11 + len(AGENT_UNITS) + len(FOLLOWING_UNITS)
    assert [line for line in done.stderr.splitlines() if "govsec-" in line] == []


def test_status_and_release_know_the_job_that_made_a_snapshot(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = place / "govsec.yaml"
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    system = written["systems"][0]
    [job] = system["backups"]
    system["backups"] = [job, {**job, "name": "second"}]
    system["retention"] = {"keep_last": 1}
    path.write_text(yaml.safe_dump(written), encoding="utf-8")
    code, status = answer(place, capsys, "center", "status")
    row = next(row for row in status["systems"][0]["centers"] if row["center"] == "main")
    assert (code, row["recovery_point_age_s"], row["is_within_rpo"]) == (1, None, False), "second never ran"
    for name in ("second", "second"):
        assert run(place, "backup", "run", "--job", name) == 0
    _, status = answer(place, capsys, "center", "status")
    points = next(row["jobs"] for row in status["systems"][0]["centers"] if row["center"] == "main")
    assert [(point["job"], point["snapshot_id"] is None) for point in points] == [
        (job["name"], False),
        ("second", False),
    ]
    assert run(place, "center", "status") in (0, 1)
    assert max(map(len, capsys.readouterr().out.splitlines()[:6])) <= 100
    site = Site(load_config(path), FakeClock())
    refs = [
        SnapshotRef(id=letter * 64, time=site.clock.now() + timedelta(minutes=number), job=name)
        for number, (letter, name) in enumerate([("a", "files"), ("b", "second"), ("c", "second")])
    ]
    assert kept_ids(site, site.system(), refs) == {"a" * 64, "c" * 64}, "one job pushes nothing of another out"
