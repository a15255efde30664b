"""A restore that loses anything but content fails the drill, and the record names what, where and how it differs."""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from govsec.backup.archive import archive
from govsec.backup.restore import RestoreReport, restore
from govsec.backup.sources import FileSource
from govsec.backup.witness import Sample, Witness, observe, save_witness
from govsec.clock import SystemClock
from govsec.crypto.keyfile import KdfParameters
from govsec.drill.result import DrillResult, MetadataResult, Verdict
from govsec.progress import ProgressSink
from govsec.repo.repository import Repository, WritableRepository
from govsec.repo.snapshot import Snapshot
from govsec.store.local import LocalStore
from tests.drill.conftest import Rig, codes
from tests.support.require import require_root

#: user::rw-, user:1234:r--, group::r--, mask::r--, other::--- (version 2; acl(5)).
_ACL = bytes.fromhex(
    "02000000 01000600ffffffff 02000400d2040000 04000400ffffffff 10000400ffffffff 20000000ffffffff".replace(" ", "")
)


@pytest.fixture(autouse=True)
def _as_root() -> None:
    require_root()


@pytest.fixture
def rich(rig: Rig) -> Rig:
    """A system with everything that a file can be besides its content, backed up and shipped."""
    root = rig.source
    shutil.rmtree(root / "docs")
    (root / "docs").mkdir()
    (root / "docs").chmod(0o2750)
    for name in ("plain", "owned", "tagged", "listed", "program"):
        (root / "docs" / name).write_bytes(name.encode())
    os.chown(root / "docs" / "owned", 1234, 4321)
    os.setxattr(root / "docs" / "tagged", "user.处室", b"value")
    os.setxattr(root / "docs" / "tagged", "user.empty", b"")
    os.setxattr(root / "docs" / "listed", "system.posix_acl_access", _ACL)
    (root / "docs" / "program").chmod(0o4755)
    os.link(root / "docs" / "plain", root / "second name")
    for name in ("twin", "alone"):
        (root / "docs" / name).write_bytes(b"the same")
        os.utime(root / "docs" / name, ns=(9, 9))
    os.mkfifo(root / "fifo")
    (root / "fifo").chmod(0o620)
    os.mknod(root / "device", 0o20600, os.makedev(1, 3))
    for path in (root / "docs", root / "link"):
        os.utime(path, ns=(7, 1_600_000_000_123_456_789), follow_symlinks=False)
    # So many draws that every file is met.
    rig.back_up(samples_count=200)
    rig.ship()
    return rig


def drill_of(rig: Rig, spoil: Callable[[Path], None]) -> DrillResult:
    """A drill whose restore does what ``spoil`` does to the tree afterwards."""

    def spoiling(repository: Repository, snapshot: Snapshot, target: Path, progress: ProgressSink) -> RestoreReport:
        report = restore(repository, snapshot, target, allow_devices=True, allow_set_id=True, workers=0)
        spoil(target / str(rig.source).lstrip("/"))
        return report

    steps = rig.steps()[:2]
    expect = {"paths": [f"{rig.source}/docs"]}
    return rig.drill(rig.plan(steps=steps, expect=expect), restorer=spoiling)


def compared(result: DrillResult) -> MetadataResult:
    assert result.metadata is not None
    return result.metadata


def test_a_restore_that_keeps_everything_passes_and_says_what_was_compared(rich: Rig) -> None:
    result = drill_of(rich, lambda root: None)

    found = compared(result)
    assert (result.verdict, codes(result), found.mismatches) == (Verdict.PASS, set(), ())
    counts = dict(found.compared)
    assert counts.pop("sample") == 10
    # Directories above the source count too, and how many these are is the machine's business.
    assert {counts.pop(what) for what in ("owner", "time")} == {found.entries}
    assert counts.pop("mode") == found.entries - 1  # a symbolic link has none
    assert counts == {"acl": 1, "attribute": 2, "device": 1, "hard_link": 2}


@contextmanager
def _same_time(directory: Path) -> Iterator[None]:
    """What happens inside leaves the directory's own time as it was."""
    status = directory.stat()
    yield
    os.utime(directory, ns=(status.st_atime_ns, status.st_mtime_ns))


def _replace_by_copy(path: Path) -> None:
    with _same_time(path.parent):
        shutil.copy2(path, path.with_name("a copy"))
        path.with_name("a copy").rename(path)


def _replace_by_link(path: Path, other: Path) -> None:
    with _same_time(path.parent):
        path.unlink()
        os.link(other, path)


def _remove_attributes(path: Path) -> None:
    for name in os.listxattr(path):
        os.removexattr(path, name)


def _replace_device(path: Path) -> None:
    status = path.stat()
    with _same_time(path.parent):
        path.unlink()
        os.mknod(path, status.st_mode, os.makedev(1, 5))
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))


LOSSES: dict[str, tuple[Callable[[Path], None], set[tuple[str, str, str, str]]]] = {
    "owner": (
        lambda root: os.chown(root / "docs" / "owned", 0, 0),
        {("docs/owned", "owner", "1234:4321", "0:0"), ("docs/owned", "sample_owner", "1234:4321", "0:0")},
    ),
    "mode": (
        lambda root: (root / "docs" / "owned").chmod(0o666),
        {("docs/owned", "mode", "0644", "0666"), ("docs/owned", "sample_mode", "0644", "0666")},
    ),
    "set-id bit": (
        lambda root: (root / "docs" / "program").chmod(0o755),
        {("docs/program", "mode", "4755", "0755"), ("docs/program", "sample_mode", "4755", "0755")},
    ),
    "mode of a directory": (
        lambda root: (root / "docs").chmod(0o750),
        {("docs", "mode", "2750", "0750")},
    ),
    "time of a directory": (
        lambda root: os.utime(root / "docs", ns=(7, 7)),
        {("docs", "time", "1600000000123456789", "7")},
    ),
    "time of a link": (
        lambda root: os.utime(root / "link", ns=(7, 7), follow_symlinks=False),
        {("link", "time", "1600000000123456789", "7")},
    ),
    "attributes": (
        lambda root: _remove_attributes(root / "docs" / "tagged"),
        {
            ("docs/tagged", "attribute", "user.处室", "absent"),
            ("docs/tagged", "attribute", "user.empty", "absent"),
            ("docs/tagged", "sample_attribute", "", r"user.empty user.处室"),
        },
    ),
    "value of an attribute": (
        lambda root: os.setxattr(root / "docs" / "tagged", "user.empty", b"x"),
        {
            ("docs/tagged", "attribute", "user.empty", "another value"),
            ("docs/tagged", "sample_attribute", "", "user.empty"),
        },
    ),
    "an attribute more": (
        lambda root: os.setxattr(root / "oa.db", "user.more", b"x"),
        {("oa.db", "attribute", "absent", "user.more")},
    ),
    "ACL": (
        lambda root: _remove_attributes(root / "docs" / "listed"),
        {
            ("docs/listed", "acl", "system.posix_acl_access", "absent"),
            ("docs/listed", "sample_attribute", "", "system.posix_acl_access"),
        },
    ),
    "device number": (lambda root: _replace_device(root / "device"), {("device", "device", "1:3", "1:5")}),
    "hard link": (
        lambda root: _replace_by_copy(root / "docs" / "plain"),
        {("docs/plain", "hard_link", "second name", "a file of its own"), ("second name", "hard_link", "2", "1")},
    ),
    "files of their own": (
        lambda root: _replace_by_link(root / "docs" / "twin", root / "docs" / "alone"),
        {("docs/twin", "hard_link", "1", "2"), ("docs/alone", "hard_link", "1", "2")},
    ),
    "mode of a fifo": (lambda root: (root / "fifo").chmod(0o600), {("fifo", "mode", "0620", "0600")}),
}


@pytest.mark.parametrize("what", LOSSES)
def test_a_restore_that_loses_something_besides_content_fails_with_what_and_where(what: str, rich: Rig) -> None:
    spoil, expected = LOSSES[what]

    result = drill_of(rich, spoil)

    base = str(rich.source).lstrip("/") + "/"
    found = {
        (item.path.removeprefix(base), item.what, item.expected.removeprefix(base), item.found)
        for item in compared(result).mismatches
    }
    assert found == expected
    assert (result.verdict, codes(result)) == (Verdict.FAIL, {"metadata_mismatch"})
    assert result.content is not None
    assert not result.content.mismatches_count


def _with_witness(rig: Rig, change: Callable[[Path], None], of_sample: Callable[[Sample], Sample]) -> DrillResult:
    """A drill of a backup that was made after ``change``, with a witness from before it."""
    source = FileSource([rig.source])
    seen = observe(source, clock=rig.clock, samples_count=10)
    change(rig.source)
    made = archive(rig.repository, source, clock=rig.clock, workers=0)
    samples = tuple(of_sample(sample) for sample, _ in seen.samples)
    witness = Witness(made.snapshot_id, seen.time, seen.nonce, samples)
    save_witness(rig.repository.object_store, rig.repository.suite, witness)
    rig.ship()
    return drill_of(rig, lambda root: None)


def test_a_backup_that_noted_other_metadata_than_the_source_had_is_found_by_the_witness(rig: Rig) -> None:
    shutil.rmtree(rig.source / "docs")
    shutil.rmtree(rig.source / "conf")
    os.setxattr(rig.source / "oa.db", "user.x", b"1")

    def change(root: Path) -> None:
        os.removexattr(root / "oa.db", "user.x")
        os.chown(root / "oa.db", 5, 6)
        (root / "oa.db").chmod(0o600)
        os.utime(root / "oa.db", ns=(1, 1))
        (root / "docs").mkdir()

    result = _with_witness(rig, change, lambda sample: sample)

    assert [item.what for item in compared(result).mismatches] == [
        "sample_owner",
        "sample_mode",
        "sample_time",
        "sample_attribute",
    ]
    assert result.verdict is Verdict.FAIL


def test_samples_of_a_witness_that_held_contents_alone_are_counted_as_not_compared(rig: Rig) -> None:
    result = _with_witness(rig, lambda root: None, lambda sample: replace(sample, entry=None))

    (left_out,) = compared(result).not_compared
    assert (left_out.what, left_out.why) == ("sample", "not_recorded")
    assert "sample" not in compared(result).compared
    assert result.verdict is Verdict.PASS


@contextmanager
def _as_nobody(directory: Path) -> Iterator[None]:
    """Run as an unprivileged user, to whom all of ``directory`` was given before."""
    for place in (directory, *directory.rglob("*")):
        os.chown(place, 65534, 65534, follow_symlinks=False)
    os.setegid(65534)
    os.seteuid(65534)
    try:
        # Or the process may not look at its own /proc, which a restore uses to reach what it has open.
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def test_whoever_cannot_set_owners_is_told_that_they_were_not_compared() -> None:
    with tempfile.TemporaryDirectory(prefix="govsec-") as directory:
        base = Path(directory)
        store = LocalStore(base / "production", name="production", create=True)
        clock = SystemClock()
        rig = Rig(base, WritableRepository.initialize(store, b"a password", clock, kdf=KdfParameters(n=16)))
        rig.scratch.mkdir()
        rig.fill()
        for path in (base, *base.rglob("*")):
            os.chown(path, 65534, 65534, follow_symlinks=False)
        os.chown(rig.source / "oa.db", 1234, 65534)
        rig.back_up()
        rig.ship()
        with _as_nobody(base):
            result = drill_of(rig, lambda root: None)

    assert result.verdict is Verdict.PARTIAL
    assert codes(result) == {"owners_not_compared"}
    left_out = [(item.what, item.why) for item in compared(result).not_compared]
    assert left_out == [("owner", "not_root")]
    assert compared(result).compared["owner"] > 20
