"""A directory as a store: nothing half-written, nothing outside, and disks that are full, gone or not ours."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from govsec.errors import (
    ConfigurationError,
    IntegrityError,
    ObjectExistsError,
    ObjectNotFoundError,
    RefusedError,
    StoreDeniedError,
    StoreFullError,
    StoreUnavailableError,
)
from govsec.store.local import LocalStore
from govsec.testing.storesuite import Child, names, raises
from tests.support.require import missing, require_root

NAME = "data/ab/" + "ab" * 32


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store", create=True)


def incoming(store: LocalStore) -> list[str]:
    folder = store.root / ".incoming"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_missing_root_is_a_disk_that_is_not_mounted_and_not_an_empty_store(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "not-mounted")
    for call in (
        lambda: names(store, ""),
        lambda: store.get("config", size_max=10),
        lambda: store.head("config"),
        lambda: store.put("config", b"x"),
        lambda: store.delete("config"),
    ):
        raises(StoreUnavailableError, call)
    assert not (tmp_path / "not-mounted").exists()


@pytest.mark.parametrize("below", ["", "hr"])
def test_root_that_is_a_file_is_a_store_that_the_others_go_on_without(below: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    root = tmp_path / "file" / below
    store = LocalStore(root)
    for call in (lambda: names(store, ""), lambda: store.head("config"), lambda: store.put("config", b"x")):
        raises(StoreUnavailableError, call)
    with pytest.raises(ConfigurationError, match="not a directory"):
        LocalStore(root, create=True)


def test_objects_lie_where_stock_restic_looks_for_them(store: LocalStore) -> None:
    store.put(NAME, b"x")
    assert (store.root / NAME).read_bytes() == b"x"


def test_objects_are_readable_for_their_owner_only(store: LocalStore) -> None:
    store.put(NAME, b"x")
    for path in (store.root, store.root / "data", store.root / "data/ab"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((store.root / NAME).stat().st_mode) == 0o600


@pytest.mark.parametrize("if_absent", [False, True])
def test_nothing_is_left_beside_the_object(store: LocalStore, if_absent: bool) -> None:
    store.put(NAME, b"x", if_absent=if_absent)
    raises(ObjectExistsError, store.put, NAME, b"y", if_absent=True)
    assert incoming(store) == []
    assert (store.root / NAME).stat().st_nlink == 1


def test_leftovers_of_dead_processes_are_not_listed_and_go_after_a_day(store: LocalStore) -> None:
    store.put(NAME, b"x")
    for name, age_s in {"old": 90_000, "young": 1000}.items():
        path = store.root / ".incoming" / name
        path.write_bytes(b"half")
        os.utime(path, ns=((path.stat().st_mtime_ns - age_s * 10**9),) * 2)
    assert names(store, "") == [NAME]
    store.clone().put("config", b"x")
    assert incoming(store) == ["young"]


@pytest.mark.parametrize("planted", ["link to a file", "link to nothing", "fifo", "device"])
def test_what_is_no_regular_file_is_damage_and_never_followed(store: LocalStore, tmp_path: Path, planted: str) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"secret")
    store.put("data/good", b"x")
    path = store.root / "data/planted"
    if planted == "fifo":
        os.mkfifo(path)
    elif planted == "device":
        require_root()
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero: reading it would never end
    else:
        path.symlink_to(outside if planted == "link to a file" else tmp_path / "nothing")
    raises(IntegrityError, store.get, "data/planted", size_max=100)
    raises(IntegrityError, store.head, "data/planted")
    assert names(store, "data/") == ["data/good"]
    store.put("data/planted", b"healed")
    assert store.get("data/planted", size_max=100) == b"healed"
    assert outside.read_bytes() == b"secret" and not (tmp_path / "nothing").exists()


def test_folder_that_is_a_link_leads_nowhere(store: LocalStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_bytes(b"secret")
    (store.root / "data").symlink_to(outside)
    for call in (
        lambda: store.get("data/x", size_max=100),
        lambda: store.head("data/x"),
        lambda: store.put("data/x", b"y"),
        lambda: store.put("data/y", b"y", if_absent=True),
        lambda: store.delete("data/x"),
    ):
        raises(IntegrityError, call)
    assert names(store, "") == []
    raises(IntegrityError, names, store, "data/")
    assert (outside / "x").read_bytes() == b"secret" and len(list(outside.iterdir())) == 1
    assert incoming(store) == []


def test_file_where_a_folder_belongs_is_damage(store: LocalStore) -> None:
    store.put("data", b"x")
    raises(IntegrityError, store.put, "data/x", b"y")
    raises(IntegrityError, store.get, "data/x", size_max=10)


def test_folder_in_the_place_of_an_object_is_no_object(store: LocalStore) -> None:
    (store.root / "config").mkdir()
    raises(ObjectNotFoundError, store.get, "config", size_max=10)
    raises(IntegrityError, store.put, "config", b"x")
    assert names(store, "") == []


def test_odd_files_are_left_out_of_the_list(store: LocalStore) -> None:
    store.put("data/good", b"x")
    for name in (".hidden", "with space", "名", "-option", "x\n", "\udcff"):
        (store.root / "data" / name).write_bytes(b"")
    (store.root / "data/.folder").mkdir()
    assert names(store, "") == ["data/good"]


def test_full_disk_is_named_and_leaves_nothing(small_disk: Path) -> None:
    store = LocalStore(small_disk / "store", create=True)
    store.put("data/small", b"x" * 1000)
    for if_absent in (False, True):
        error = raises(StoreFullError, store.put, "data/big", bytes(4 << 20), if_absent=if_absent)
        assert "data/big" in str(error) and error.exit_code == 75
    assert incoming(store) == []
    assert names(store, "") == ["data/small"]
    store.put("data/fits", b"x" * 1000)


def test_file_size_limit_is_like_a_full_disk(store: LocalStore) -> None:
    def child() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
        raises(StoreFullError, store.put, NAME, bytes(1 << 20))

    with Child(child):
        pass
    assert incoming(store) == [] and names(store, "") == []


def test_store_of_somebody_else_is_denied() -> None:
    require_root()
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        store = LocalStore(Path(directory) / "store", create=True)
        store.put("data/x", b"secret")

        def child() -> None:
            os.setgid(65534)
            os.setuid(65534)
            raises(StoreDeniedError, names, store, "")
            raises(StoreDeniedError, store.get, "data/x", size_max=10)
            raises(StoreDeniedError, store.put, "data/y", b"y")
            raises(StoreDeniedError, store.delete, "data/x")

        with Child(child):
            pass
        assert names(store, "") == ["data/x"]


@pytest.mark.parametrize("if_absent", [False, True])
def test_put_syncs_the_file_and_then_its_folder(
    store: LocalStore, if_absent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, bool]] = []
    original = os.fsync

    def record(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        synced.append((Path(path).name, (store.root / NAME).exists()))
        original(descriptor)

    store.put(NAME + "0", b"makes the folders")
    # monkeypatch: what survives a power cut cannot be tested here; that the right things are synced can.
    monkeypatch.setattr(os, "fsync", record)
    store.put(NAME, b"x", if_absent=if_absent)
    (file, was_visible), (folder, is_visible) = synced
    assert file.startswith("abab") and not was_visible
    assert (folder, is_visible) == ("ab", True)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EIO, StoreUnavailableError),
        (errno.ESTALE, StoreUnavailableError),
        (errno.EROFS, StoreDeniedError),
        (errno.EDQUOT, StoreFullError),
    ],
)
def test_disk_that_fails_at_the_sync_leaves_nothing(
    store: LocalStore, number: int, expected: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    store.put("config", b"x")
    # monkeypatch: no disk here fails on demand, and the answer to fsync is what the promise of put hangs on.
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(expected):
        store.put(NAME, b"x")
    monkeypatch.undo()
    assert names(store, "") == ["config"] and incoming(store) == []


def test_killed_writer_leaves_whole_objects_or_none(store: LocalStore) -> None:
    data = os.urandom(1 << 20)
    acks, ack = os.pipe()
    for round_number in range(3):
        pid = os.fork()
        if pid == 0:
            for position in range(100_000):
                store.put(f"data/{round_number}-{position}", data, if_absent=position % 2 == 0)
                os.write(ack, b".")
            os._exit(0)
        for _ in range(5):
            assert os.read(acks, 1) == b"."
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        found = [info for info in store.list("") if info.name.startswith(f"data/{round_number}-")]
        assert len(found) >= 5
        assert all(store.get(info.name, size_max=len(data)) == data for info in found)
    os.close(acks)
    os.close(ack)


def test_retention_is_refused_and_nothing_stored(store: LocalStore) -> None:
    raises(RefusedError, store.put, NAME, b"x", retain_until=datetime(2030, 1, 1, tzinfo=UTC))
    assert names(store, "") == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    require_root()
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "govsec-test", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        missing("mount", "this machine does not let root mount a tmpfs")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_pieces_that_end_in_an_error_leave_no_file_behind(store: LocalStore) -> None:
    def wrong() -> Iterator[bytes]:
        yield bytes(100_000)
        raise IntegrityError("not what its name says")

    raises(IntegrityError, store.put_pieces, NAME, wrong())
    assert incoming(store) == []


def test_object_that_becomes_shorter_while_its_pieces_are_read_is_an_error(store: LocalStore) -> None:
    store.put(NAME, bytes(3 << 20))
    pieces = store.pieces(NAME, size_max=3 << 20)
    next(pieces)
    os.truncate(store.root / NAME, 1 << 20)
    raises(StoreUnavailableError, lambda: [*pieces])
