"""A session that stays open: windows become committed snapshots, whatever happens between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from govsec.assemble.demo import local_centers, write_site
from govsec.assemble.live import LiveSession
from govsec.assemble.systems import Site
from govsec.assemble.tidying import tidy
from govsec.backup.archive import ArchiveResult
from govsec.backup.witness import PREFIX, Nonce, Witness, save_witness
from govsec.clock import SystemClock
from govsec.config import Mode, load_config
from govsec.errors import LockedError
from govsec.repo.pack import BlobType
from govsec.repo.repository import WritableRepository
from govsec.repo.tree import Node, encode_tree
from govsec.testing.clock import FakeClock
from tests.centers.commands import run
from tests.support.cheapkey import begin_cheaply
from tests.support.restic import local_restic


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    source = tmp_path / "system"
    source.mkdir()
    config = write_site(tmp_path, local_centers(tmp_path), source)
    begin_cheaply(config)
    assert run(tmp_path, "center", "init") == 0
    yield Site(load_config(config), SystemClock())


def small_snapshot(session: LiveSession, contents: dict[str, bytes]) -> ArchiveResult:
    """One window: these files at the top of a snapshot."""
    with session.writer.window() as window:
        nodes = []
        for name, data in sorted(contents.items()):
            blob_id = window.save(BlobType.DATA, data)
            time = "2026-01-01T00:00:00Z"
            nodes.append(
                Node(
                    name=name,
                    type="file",
                    mode=0o644,
                    mtime=time,
                    atime=time,
                    ctime=time,
                    uid=0,
                    gid=0,
                    size=len(data),
                    content=[blob_id.hex()],
                )
            )
        return window.finish(window.save(BlobType.TREE, encode_tree(nodes)), paths=("/live",))


def test_windows_become_snapshots_that_two_centers_hold(site: Site) -> None:
    with LiveSession(site, site.system(), job="live") as session:
        first = session.commit(small_snapshot(session, {"a": b"one" * 100}))
        second = session.commit(small_snapshot(session, {"a": b"one" * 100, "b": b"two" * 100}))
    assert (first.held_by, first.reached) == (("main", "near"), "synced")
    assert (second.held_by, second.number) == (("main", "near"), first.number + 1)


def test_a_window_stores_nothing_twice_and_reads_what_the_one_before_stored(site: Site) -> None:
    data = bytes(range(256)) * 40
    with LiveSession(site, site.system(), job="live") as session:
        session.commit(small_snapshot(session, {"a": data}))
        result = small_snapshot(session, {"a": data})
        assert (result.summary.data_blobs, result.summary.tree_blobs) == (0, 0)
        assert [info.name.partition("/")[0] for info in result.objects] == ["snapshots"]
        tree = session.repository.load_tree(bytes.fromhex(result.snapshot.tree))
        assert session.repository.load_blob(BlobType.DATA, bytes.fromhex((tree.nodes[0].content or [""])[0])) == data


def test_a_window_that_was_left_names_its_packs_in_the_next(site: Site) -> None:
    with LiveSession(site, site.system(), job="live") as session:
        with pytest.raises(RuntimeError), session.writer.window() as window:
            window.save(BlobType.DATA, b"kept" * 100)
            window.saver.flush()
            raise RuntimeError("the source failed")
        result = small_snapshot(session, {"a": b"kept" * 100})
        assert result.summary.data_blobs == 1  # the index did not know it yet: stored again, which costs space only
        assert sum(info.name.startswith("data/") for info in result.objects) == 3
        session.commit(result)
    site_store = site.read_store(site.system(), "main")
    assert not list(site_store.list("locks/"))


def test_stock_restic_checks_what_a_session_wrote(site: Site, tmp_path: Path) -> None:
    with LiveSession(site, site.system(), job="live") as session:
        for number in range(4):
            session.commit(small_snapshot(session, {f"file-{number}": b"x" * (number + 1) * 1000}))
    for center in ("main", "near"):
        password = site.password(site.system()).decode()
        local_restic(tmp_path / center / site.system().name, password, tmp_path).assert_clean()


class CallingClock(FakeClock):
    """Calls somebody whenever it is slept by: what happens meanwhile, in one thread."""

    call: Callable[[], None] | None = None

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        call, self.call = self.call, None
        if call is not None:
            call()


@pytest.fixture
def faked(site: Site) -> Site:
    """The same site, whose time moves when told."""
    return Site(site.config, CallingClock())


def test_a_session_gives_way_to_a_prune_that_waits_and_goes_on_after_it(faked: Site) -> None:
    clock = faked.clock
    assert isinstance(clock, CallingClock)
    with LiveSession(faked, faked.system(), job="live") as session:
        session.commit(small_snapshot(session, {"a": b"one" * 100}))
        generation = session.generation
        other = WritableRepository.open(faked.store(faked.system(), "main"), faked.password(faked.system()))

        def give_way() -> None:
            with pytest.raises(LockedError, match="gives way"):
                session.tend()

        clock.call = give_way
        with other.lock(clock, exclusive=True, wait_s=60):
            with pytest.raises(LockedError):
                session.tend()
            with pytest.raises(LockedError):
                small_snapshot(session, {"b": b"x"})
        session.tend()
        assert session.generation == generation + 1
        receipt = session.commit(small_snapshot(session, {"a": b"one" * 100, "b": b"two" * 100}))
        assert receipt.held_by == ("main", "near")


def test_who_waits_in_vain_for_the_repository_takes_his_lock_away_again(faked: Site) -> None:
    with LiveSession(faked, faked.system(), job="live") as session:
        other = WritableRepository.open(faked.store(faked.system(), "main"), faked.password(faked.system()))
        with pytest.raises(LockedError, match="shared lock"), other.lock(faked.clock, exclusive=True, wait_s=5):
            raise AssertionError("it was had while the session held one")
        session.tend()
        session.commit(small_snapshot(session, {"a": b"one" * 100}))


def test_a_center_that_comes_back_is_brought_up_while_nothing_changes(faked: Site, tmp_path: Path) -> None:
    clock = faked.clock
    assert isinstance(clock, CallingClock)
    config = faked.config
    (system,) = config.systems
    available = system.model_copy(update={"mode": Mode.MAXIMUM_AVAILABILITY})
    site = Site(config.model_copy(update={"systems": (available,)}), clock)
    said: list[str] = []
    with LiveSession(site, site.system(), job="live", say=said.append) as session:
        assert session.commit(small_snapshot(session, {"a": b"1" * 100})).reached == "synced"
        (tmp_path / "near").rename(tmp_path / "away")
        degraded = session.commit(small_snapshot(session, {"a": b"2" * 100}))
        assert (degraded.held_by, degraded.reached) == (("main",), "degraded")
        (tmp_path / "away").rename(tmp_path / "near")
        clock.advance(600)
        session.tend()
        assert said == ["near holds everything again"]
        again = session.commit(small_snapshot(session, {"a": b"3" * 100}))
        assert (again.held_by, again.reached) == (("main", "near"), "synced")
    for center in ("main", "near"):
        password = site.password(site.system()).decode()
        local_restic(tmp_path / center / "permits", password, tmp_path).assert_clean()


def test_many_windows_become_few_snapshots_packs_and_witnesses(faked: Site, tmp_path: Path) -> None:
    clock = faked.clock
    assert isinstance(clock, CallingClock)
    system = faked.system()
    with LiveSession(faked, system, job="live") as session:
        for number in range(40):
            clock.advance(240)
            result = small_snapshot(session, {"a": f"{number}".encode() * 100, "b": b"same" * 100})
            witness = Witness(result.snapshot_id, clock.now(), Nonce(b"/live/a", "0" * 64), ())
            digest = save_witness(session.near, session.repository.suite, witness).name.removeprefix(PREFIX)
            session.commit(result, witness=digest)
        store = faked.store(system, "main")
        packs = len(list(store.list("data/")))
        result_of = tidy(faked, system, session)
        assert len(result_of.forgotten) >= 12
        left = {info.name for info in store.list("snapshots/")}
        assert len(left) == 40 - len(result_of.forgotten)
        assert len(list(store.list(PREFIX))) == len(left)
        assert len(list(store.list("index/"))) < 5
        assert result_of.repacked_packs_count > 10
        clock.advance(40 * 86_400)  # the grace of what was let go is over
        session.commit(small_snapshot(session, {"a": b"after" * 100}))
        tidy(faked, system, session)
        assert len(list(store.list("data/"))) < packs / 4
        session.commit(small_snapshot(session, {"a": b"last" * 100}))
    for center in ("main", "near"):
        local_restic(tmp_path / center / "permits", faked.password(system).decode(), tmp_path).assert_clean()
