"""Centers that are full, that hang, that cut the line in mid-object or answer 500: real file systems, real servers."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from govsec.centers import names
from govsec.centers.near import Near
from govsec.centers.ship import ship
from govsec.centers.state import SyncState
from govsec.config import Mode, S3StoreConfig
from govsec.errors import StoreFullError, StoreUnavailableError
from govsec.repo.check import Scope, check
from govsec.repo.repository import Repository
from govsec.store.api import ObjectStore
from govsec.store.credentials import Credentials
from govsec.store.local import LocalStore
from govsec.store.memory import MemoryStore
from govsec.store.retry import RetryStore
from govsec.store.s3 import S3Store
from govsec.testing.clock import FakeClock
from tests.support.proxy import CutAnswer, CutRequest, Pass, Proxy, Reset, answer
from tests.support.require import missing, require_root
from tests.support.restic import local_restic
from tests.support.servers import S3Server
from tests.support.story import PASSWORD, Story, dump

_MIB = 1 << 20
#: What a call to a center that hangs may take here; the quorum waits for it once, then leaves the center alone.
_TIMEOUT_S = 1.5
_BACKUP_MAX_S = 120.0


@dataclass
class Elsewhere(Story):
    """A story in which some centers are not in memory."""

    places: dict[str, ObjectStore] = field(default_factory=dict)
    timeout_s: float | None = None

    def store(self, center: str) -> ObjectStore:
        return self.places.get(center) or super().store(center)

    def near(self) -> Near:
        near = super().near()
        near._timeout_s = self.timeout_s
        return near

    def fill(self, size_bytes: int) -> None:
        """Something new in the source that cannot be compressed."""
        (self.source / f"new-{uuid.uuid4().hex}").write_bytes(os.urandom(size_bytes))

    def back_up(self) -> None:
        self._back_up()

    def assert_good(self, center: str) -> None:
        """Our own check of all data, where the center is."""
        repository = Repository.open(self.store(center), PASSWORD)
        report = check(repository, clock=self.clock, scope=Scope.ALL_DATA, workers=0)
        assert report.is_good, (center, report.problems[:3], report.gaps)


class Disk:
    """A file system in memory of a few megabytes."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._mount("size=3m")

    def grow(self) -> None:
        self._mount("remount,size=64m")

    def close(self) -> None:
        subprocess.run(["umount", str(self.place)], check=True)

    def _mount(self, options: str) -> None:
        argv = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.place)]
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode:
            missing("mount", f"no file system can be mounted here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    require_root()
    place = tmp_path / "disk"
    place.mkdir()
    made = Disk(place)
    yield made
    made.close()


def told(tmp_path: Path, places: dict[str, ObjectStore], mode: Mode = Mode.MAXIMUM_AVAILABILITY) -> Elsewhere:
    """Initialised, backed up once and shipped."""
    story = Elsewhere(tmp_path / "source", tmp_path / "target", mode=mode, places=places, check_receipts=False)
    story.run(until=3)
    return story


@pytest.mark.parametrize("center", ["production", "same_city"])
def test_a_full_center_is_named_and_catches_up_when_there_is_room_again(
    tmp_path: Path, disk: Disk, center: str
) -> None:
    story = told(tmp_path, {center: LocalStore(disk.place / "store", name=center, create=True)})
    story.fill(6 * _MIB)
    story.back_up()
    receipt = story.receipts[-1]
    assert center not in receipt.held_by and len(receipt.held_by) == 1
    assert (receipt.reached, story.states.get(center).state) == ("degraded", SyncState.DEGRADED)
    assert "space" in story.states.get(center).reason
    story.assert_good(center)
    assert not list((disk.place / "store").glob(".incoming/*")), "the rest of what did not fit takes room"
    # A center that failed is left alone for a while, also by the removing of this run's lock.
    done = local_restic(disk.place / "store", PASSWORD.decode(), tmp_path).run("check", "--read-data", "--no-lock")
    assert done.is_clean, done.stderr

    disk.grow()
    story.clock.advance(3600)
    story.back_up()
    assert story.receipts[-1].held_by == ("production", "same_city")
    assert story.states.get(center).state is SyncState.SYNCED
    story.assert_good(center)


def test_a_full_disk_that_the_mode_needs_ends_the_backup_with_try_again_and_breaks_nothing(
    tmp_path: Path, disk: Disk
) -> None:
    story = told(
        tmp_path,
        {"same_city": LocalStore(disk.place / "store", name="same_city", create=True)},
        Mode.MAXIMUM_PROTECTION,
    )
    story.fill(6 * _MIB)
    with pytest.raises(StoreFullError) as refused:
        story.back_up()
    assert refused.value.exit_code == 75
    assert len(list(story.stores["production"].list(names.SNAPSHOTS))) == 1, "a snapshot that nobody acknowledged"
    for center in ("production", "same_city"):
        story.assert_good(center)
    disk.grow()
    story.clock.advance(3600)
    story.back_up()
    assert story.receipts[-1].held_by == ("production", "same_city")


def test_a_remote_center_that_is_full_stays_valid_and_the_next_round_goes_on(tmp_path: Path, disk: Disk) -> None:
    story = told(tmp_path, {"remote": LocalStore(disk.place / "store", name="remote", create=True)})
    story.fill(6 * _MIB)
    story.back_up()
    with pytest.raises(StoreFullError):
        story.ship_second()
    local_restic(disk.place / "store", PASSWORD.decode(), tmp_path).assert_clean()
    disk.grow()
    story.ship_second()
    local_restic(disk.place / "store", PASSWORD.decode(), tmp_path).assert_clean()
    story.restore_from_remote()


def at_server(server: S3Server, name: str, url: str, prefix: str) -> ObjectStore:
    config = S3StoreConfig(
        kind="s3",
        endpoint=url,
        bucket=server.bucket,
        prefix=prefix,
        connect_timeout_s=_TIMEOUT_S,
        read_timeout_s=_TIMEOUT_S,
    )
    owner = server.owner
    return S3Store(config, Credentials(owner.access_key, owner.secret_key), name=name)


def test_a_center_that_hangs_does_not_hang_a_backup(tmp_path: Path, seaweed: S3Server) -> None:
    city = at_server(seaweed, "same_city", seaweed.http, f"hangs-{uuid.uuid4().hex}")
    story = told(tmp_path, {"same_city": city})
    story.timeout_s = 2 * _TIMEOUT_S
    story.fill(100_000)
    seaweed.suspend()
    began = time.monotonic()
    try:
        story.back_up()
    finally:
        seaweed.resume()
    assert time.monotonic() - began < _BACKUP_MAX_S
    receipt = story.receipts[-1]
    assert (receipt.held_by, receipt.reached) == (("production",), "degraded")
    assert story.states.get("same_city").state is SyncState.DEGRADED
    story.clock.advance(3600)
    story.back_up()
    assert story.receipts[-1].held_by == ("production", "same_city")
    story.assert_good("same_city")


@pytest.mark.parametrize("way", ["cut answers", "cut requests", "resets", "500"])
def test_a_bad_line_ends_in_the_same_bytes_or_in_an_error_that_is_worth_another_try(
    tmp_path: Path, seaweed: S3Server, way: str
) -> None:
    story = told(tmp_path, {})
    story.fill(2 * _MIB)
    story.back_up()
    with Proxy(int(seaweed.http.rsplit(":", 1)[1])) as proxy:
        bad = {
            "cut answers": CutAnswer(100),
            "cut requests": CutRequest(1000),
            "resets": Reset(),
            "500": answer("500 Internal Server Error"),
        }[way]
        far = at_server(seaweed, "remote", proxy.url, f"line-{uuid.uuid4().hex}")
        target = RetryStore[ObjectStore](far, FakeClock(), attempts_max=4)
        for info in story.stores["production"].list(names.KEYS):
            target.put(info.name, story.stores["production"].get(info.name, size_max=1 << 20))
        target.put(names.CONFIG, story.stores["production"].get(names.CONFIG, size_max=1 << 20))
        # A bad line for longer than the store tries, and then a good one.
        proxy.script[:] = [bad] * 5
        for _ in range(5):
            try:
                ship(story.stores["same_city"], target, story.trusted, clock=story.clock, threads=0)
                break
            except StoreUnavailableError:
                continue
        assert not proxy.script, "the bad connections were never made"
        copied = MemoryStore("copy")
        for info in target.list(""):
            copied.put(info.name, target.get(info.name, size_max=1 << 30))
    wanted = story.objects("same_city", names.PACKS, names.INDEXES, names.SNAPSHOTS, names.COMMITS)
    held = {name: found.data for name, found in copied._objects.items() if not name.startswith((names.KEYS, "config"))}
    assert {name: held.get(name) for name in wanted} == wanted
    local_restic(dump(copied, tmp_path / "copy"), PASSWORD.decode(), tmp_path).assert_clean()


def test_a_pack_that_is_cut_off_on_its_way_never_arrives_short(tmp_path: Path, seaweed: S3Server) -> None:
    story = told(tmp_path, {})
    story.fill(2 * _MIB)
    story.back_up()
    prefix = f"cut-{uuid.uuid4().hex}"
    direct = at_server(seaweed, "same_city", seaweed.http, prefix)
    for name, data in story.objects("same_city", "").items():
        direct.put(name, data)
    remote = story.stores["remote"]
    before = story.objects("remote", "")
    # Less than what a second attempt would go on from.
    with Proxy(int(seaweed.http.rsplit(":", 1)[1]), behaviour=CutAnswer(200_000)) as proxy:
        source = RetryStore[ObjectStore](
            at_server(seaweed, "same_city", proxy.url, prefix), FakeClock(), attempts_max=3
        )
        with pytest.raises(StoreUnavailableError):
            ship(source, remote, story.trusted, clock=story.clock, threads=0)
        assert story.objects("remote", names.SNAPSHOTS) == {
            name: data for name, data in before.items() if name.startswith(names.SNAPSHOTS)
        }
        story.assert_valid(["remote"])
        proxy.behaviour = Pass()
        ship(source, remote, story.trusted, clock=story.clock, threads=0)
    assert story.objects("remote", names.PACKS) == story.objects("same_city", names.PACKS)
    story.restore_from_remote()
