"""The nonce and the samples that a drill finds again."""

from __future__ import annotations

import hashlib
import os
import random
import stat
from pathlib import Path

import pytest

from govsec.backup.listing import dump_file, find_entry
from govsec.backup.sources import FileSource
from govsec.backup.witness import PREFIX, find_witness, load_witness, observe, save_witness
from govsec.errors import FormatError, IntegrityError, SourceError
from govsec.testing.clock import FakeClock
from tests.backup.conftest import Desk


@pytest.fixture
def many(tmp_path: Path) -> Path:
    root = tmp_path / "many"
    for number in range(40):
        path = root / f"d{number % 5}" / f"文件-{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content %d" % number)
    return root


def test_the_nonce_is_in_the_snapshot_and_is_another_one_each_time(desk: Desk, many: Path) -> None:
    digests = set()
    for _ in range(2):
        seen = observe(FileSource([many]), clock=desk.clock, samples_count=0)
        desk.back_up(many)
        repository = desk.readable()
        assert seen.nonce is not None
        entry = find_entry(repository, repository.resolve(), seen.nonce.path)
        assert hashlib.sha256(b"".join(dump_file(repository, entry.node))).hexdigest() == seen.nonce.sha256
        digests.add(seen.nonce.sha256)
        desk.clock.sleep(60)
    assert len(digests) == 2


def test_the_nonce_is_for_its_owner_alone_and_replaces_a_link_instead_of_following_it(
    many: Path, clock: FakeClock, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"do not touch")
    (many / ".govsec-nonce").symlink_to(victim)
    observe(FileSource([many]), clock=clock, samples_count=0)
    assert victim.read_bytes() == b"do not touch"
    status = (many / ".govsec-nonce").lstat()
    assert stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o600
    assert sorted(path.name for path in many.iterdir() if not path.is_dir()) == [".govsec-nonce"]


def test_samples_are_files_of_the_source_with_their_digests(many: Path, clock: FakeClock) -> None:
    seen = observe(FileSource([many]), clock=clock, samples_count=10)
    witness = seen.confirm("1" * 64)
    assert len(witness.samples) == len({sample.path for sample in witness.samples}) == 10
    for sample in witness.samples:
        data = Path(os.fsdecode(sample.path)).read_bytes()
        assert (sample.size_bytes, sample.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_every_file_can_be_met_and_excluded_ones_are_not(many: Path, clock: FakeClock) -> None:
    source = FileSource([many], exclude=["d3", "*-7.txt"])
    choose = random.Random(5).randrange
    met = set()
    for _ in range(60):
        seen = observe(source, clock=clock, samples_count=10, is_planting=False, choose=choose)
        met |= {sample.path for sample in seen.confirm("").samples}
    everything = {os.fsencode(path) for path in many.rglob("*.txt")}
    assert met == {path for path in everything if b"/d3/" not in path and not path.endswith(b"-7.txt")}


def test_a_sample_that_changed_during_the_backup_is_dropped(many: Path, clock: FakeClock) -> None:
    seen = observe(FileSource([many]), clock=clock, samples_count=40)
    before = {sample.path for sample, _ in seen.samples}
    changed, removed = sorted(before)[:2]
    with open(changed, "ab") as file:
        file.write(b"more")
    os.unlink(removed)
    assert {sample.path for sample in seen.confirm("").samples} == before - {changed, removed}


def test_a_witness_is_found_by_its_snapshot_and_is_sealed(desk: Desk, many: Path) -> None:
    suite = desk.first.suite
    seen = observe(FileSource([many]), clock=desk.clock, samples_count=5)
    result = desk.back_up(many)
    witness = seen.confirm(result.snapshot_id)
    info = save_witness(desk.store, suite, witness)
    save_witness(desk.store, suite, seen.confirm("2" * 64))
    assert info.name == PREFIX + hashlib.sha256(desk.store.get(info.name, size_max=1 << 20)).hexdigest()
    assert find_witness(desk.store, suite, result.snapshot_id) == witness
    assert find_witness(desk.store, suite, "3" * 64) is None
    stored = desk.store.get(info.name, size_max=1 << 20)
    assert witness.samples[0].sha256.encode() not in stored


def test_an_altered_witness_is_refused_and_passed_over(desk: Desk, many: Path) -> None:
    suite = desk.first.suite
    witness = observe(FileSource([many]), clock=desk.clock, samples_count=1).confirm("1" * 64)
    info = save_witness(desk.store, suite, witness)
    data = bytearray(desk.store.get(info.name, size_max=1 << 20))
    data[20] ^= 1
    desk.store.delete(info.name)
    desk.store.put(info.name, bytes(data))
    with pytest.raises(IntegrityError):
        load_witness(desk.store, suite, info.name)
    # A right name does not help: the seal is not ours.
    forged = PREFIX + hashlib.sha256(bytes(data)).hexdigest()
    desk.store.put(forged, bytes(data))
    with pytest.raises(IntegrityError):
        load_witness(desk.store, suite, forged)
    assert find_witness(desk.store, suite, "1" * 64) is None


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"version":2}', b'{"nonce":1,"samples":[],"snapshot":"","time":"x","version":1}']
)
def test_what_is_sealed_but_no_witness_is_refused(desk: Desk, body: bytes) -> None:
    sealed = desk.first.suite.seal(body)
    name = PREFIX + hashlib.sha256(sealed).hexdigest()
    desk.store.put(name, sealed)
    with pytest.raises(FormatError):
        load_witness(desk.store, desk.first.suite, name)


def test_a_source_that_cannot_take_the_nonce_is_an_error_and_not_a_backup_without_one(
    tmp_path: Path, clock: FakeClock
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / ".govsec-nonce").mkdir()
    (root / ".govsec-nonce" / "in the way").write_bytes(b"")
    with pytest.raises(SourceError, match="nonce"):
        observe(FileSource([root]), clock=clock)
