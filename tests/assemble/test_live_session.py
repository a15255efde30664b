"""A session that stays open: windows become committed snapshots, whatever happens between them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from govsec.assemble.demo import local_centers, write_site
from govsec.assemble.live import LiveSession
from govsec.assemble.systems import Site
from govsec.backup.archive import ArchiveResult
from govsec.clock import SystemClock
from govsec.config import load_config
from govsec.repo.pack import BlobType
from govsec.repo.tree import Node, encode_tree
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
