"""A repository written and read back: order, fallbacks, junk beside the good, passwords, floods."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from govsec.crypto.keyfile import KdfParameters
from govsec.crypto.restic import MasterKey, ResticSuite
from govsec.errors import (
    FormatError,
    IntegrityError,
    ObjectExistsError,
    ObjectNotFoundError,
    RefusedError,
    StoreUnavailableError,
    UsageError,
    WrongPasswordError,
)
from govsec.repo.layout import Kind, object_name
from govsec.repo.pack import BlobType
from govsec.repo.packer import Packer
from govsec.repo.rebuild import rebuild_index
from govsec.repo.repository import Repository, WritableRepository
from govsec.repo.settings import RepositoryConfig, decode_config, encode_config, is_irreducible, new_config
from govsec.repo.snapshot import Snapshot, Summary, decode_snapshot, encode_snapshot
from govsec.repo.tree import Node, encode_tree
from govsec.store.memory import MemoryStore
from govsec.testing.clock import FakeClock
from govsec.testing.faults import FaultKind, Faults, FaultStore

CHEAP = KdfParameters(n=2)
WHEN = "2026-01-01T00:00:00Z"
T0 = datetime(2026, 1, 1, tzinfo=UTC)


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore("production")


@pytest.fixture
def repository(store: MemoryStore, clock: FakeClock) -> WritableRepository:
    return WritableRepository.initialize(store, b"right", clock, kdf=CHEAP)


def add_files(repository: WritableRepository, *contents: bytes, time: datetime = T0, host: str = "h") -> Snapshot:
    """A snapshot of a directory with one file for each content."""
    packer = Packer(repository.suite, pack_size=50_000)
    packs = []
    nodes = []
    for number, content in enumerate(contents):
        packs.append(packer.add(BlobType.DATA, sha(content), content))
        name = f"{number:05d}"
        ids = [sha(content).hex()]
        nodes.append(
            Node(
                name=name, type="file", mtime=WHEN, atime=WHEN, ctime=WHEN, uid=0, gid=0, size=len(content), content=ids
            )
        )
    tree = encode_tree(nodes)
    packs.append(packer.add(BlobType.TREE, sha(tree), tree))
    finished = [pack for pack in packs + list(packer.flush()) if pack is not None]
    for pack in finished:
        repository.save_pack(pack)
    repository.save_index([(pack.id, pack.rows) for pack in finished])
    return repository.save_snapshot(Snapshot(time=time, tree=sha(tree).hex(), paths=("/d",), hostname=host))[0]


def contents_of(repository: Repository, snapshot: Snapshot) -> list[bytes]:
    tree = repository.load_tree(bytes.fromhex(snapshot.tree))
    return [
        b"".join(repository.load_blob(BlobType.DATA, bytes.fromhex(blob)) for blob in node.content or ())
        for node in tree.nodes
    ]


def copied(store: MemoryStore, name: str) -> MemoryStore:
    other = MemoryStore(name)
    for item in store.list(""):
        other.put(item.name, store.get(item.name, size_max=1 << 30))
    return other


def names(store: MemoryStore, prefix: str) -> list[str]:
    return [item.name for item in store.list(prefix)]


def damage(store: MemoryStore, name: str) -> None:
    """Every byte of the object is another one."""
    store.put(name, bytes(byte ^ 1 for byte in store.get(name, size_max=1 << 30)))


FILES = [b"one" * 100, b"two" * 50_000, b"three"]


def test_what_was_written_is_read_with_the_password_alone(repository: WritableRepository, store: MemoryStore) -> None:
    add_files(repository, *FILES)
    reader = Repository.open(store, b"right")
    assert contents_of(reader, reader.resolve()) == FILES
    assert reader.config == repository.config and reader.key_id == repository.key_id
    assert reader.fallback_count == 0 and reader.unreadable == ()


def test_every_object_is_named_by_its_digest(repository: WritableRepository, store: MemoryStore) -> None:
    add_files(repository, *FILES)
    stored = [item.name for item in store.list("") if item.name != "config"]
    assert len(stored) >= 5
    assert all(sha(store.get(name, size_max=1 << 30)).hex() == name.rpartition("/")[2] for name in stored)


def test_a_wrong_password_opens_nothing(repository: WritableRepository, store: MemoryStore) -> None:
    with pytest.raises(WrongPasswordError, match="production"):
        Repository.open(store, b"wrong")


def test_an_empty_store_is_no_repository(store: MemoryStore) -> None:
    with pytest.raises(ObjectNotFoundError, match="no repository"):
        Repository.open(store, b"right")


def test_a_second_repository_is_not_made_over_the_first(repository: WritableRepository, store: MemoryStore) -> None:
    before = names(store, "")
    with pytest.raises(ObjectExistsError):
        WritableRepository.initialize(store, b"other", FakeClock(), kdf=CHEAP)
    assert names(store, "") == before


def test_an_initialisation_that_was_cut_off_is_taken_up_with_the_key_that_is_there() -> None:
    store = MemoryStore("production")
    begun = WritableRepository.initialize(store, b"right", FakeClock(), kdf=CHEAP)
    store.delete("config")
    with pytest.raises(WrongPasswordError):
        WritableRepository.initialize(store, b"other", FakeClock(), kdf=CHEAP)
    taken_up = WritableRepository.initialize(store, b"right", FakeClock(), kdf=CHEAP)
    assert taken_up.key_id == begun.key_id
    assert names(store, "keys/") == [f"keys/{begun.key_id}"]
    assert Repository.open(store, b"right").config == taken_up.config


def test_a_repository_that_lost_its_config_is_not_made_anew(repository: WritableRepository, store: MemoryStore) -> None:
    store.put("data/ab/" + "ab" * 32, b"somebody's data")
    store.delete("config")
    with pytest.raises(ObjectExistsError):
        WritableRepository.initialize(store, b"right", FakeClock(), kdf=CHEAP)


def test_junk_among_the_keys_does_not_lock_the_owner_out(repository: WritableRepository, store: MemoryStore) -> None:
    key = json.loads(store.get(object_name(Kind.KEY, repository.key_id), size_max=1 << 20))
    junk = [b"", b"junk", json.dumps({**key, "kdf": "argon2"}).encode(), json.dumps({**key, "N": 1 << 40}).encode()]
    for data in junk:
        store.put(object_name(Kind.KEY, sha(data).hex()), data)
    store.put("keys/README", b"no key")
    store.put(object_name(Kind.KEY, "0" * 64), b"not its digest")
    assert Repository.open(store, b"right").config == repository.config


def test_a_key_hint_finds_the_key_behind_a_flood_of_others(repository: WritableRepository, store: MemoryStore) -> None:
    key = json.loads(store.get(object_name(Kind.KEY, repository.key_id), size_max=1 << 20))
    for number in range(60):
        data = json.dumps({**key, "username": str(number), "data": key["salt"]}).encode()
        store.put(object_name(Kind.KEY, sha(data).hex()), data)
    assert Repository.open(store, b"right", key_hint=repository.key_id).key_id == repository.key_id


def test_snapshots_come_oldest_first_and_are_chosen_by_what_is_asked(repository: WritableRepository) -> None:
    late = add_files(repository, b"b", time=T0 + timedelta(days=2), host="other")
    early = add_files(repository, b"a", time=T0)
    middle = add_files(repository, b"c", time=T0 + timedelta(days=1))
    assert repository.snapshots() == [
        replace(item, time_text=item.time.isoformat().replace("+00:00", "Z")) for item in (early, middle, late)
    ]
    assert repository.resolve().id == late.id
    assert repository.resolve(hostname="h").id == middle.id
    assert repository.resolve(before=T0 + timedelta(days=1)).id == early.id
    assert repository.resolve(early.id[:8]).id == early.id
    assert repository.resolve(paths=["/d"]).id == late.id


@pytest.mark.parametrize("selector", ["latest", "ffffffff", "abc", ""])
def test_a_snapshot_that_is_not_there_is_a_usage_error(repository: WritableRepository, selector: str) -> None:
    with pytest.raises(UsageError):
        repository.resolve(selector)


def test_junk_among_indexes_and_snapshots_is_passed_over_and_named(
    repository: WritableRepository, store: MemoryStore
) -> None:
    snapshot = add_files(repository, *FILES)
    sealed = repository.suite.seal(b"\x02junk")
    for prefix in ("index", "snapshots"):
        store.put(f"{prefix}/{'1' * 64}", b"another digest")
        store.put(f"{prefix}/{sha(sealed).hex()}", sealed)
        store.put(f"{prefix}/README", b"foreign")
    reader = Repository.open(store, b"right")
    assert contents_of(reader, reader.resolve()) == FILES
    assert [item.id for item in reader.snapshots()] == [snapshot.id]
    assert sorted(item.name for item in reader.unreadable) == sorted(
        f"{prefix}/{name}" for prefix in ("index", "snapshots") for name in ("1" * 64, sha(sealed).hex())
    )
    with pytest.raises(IntegrityError):
        reader.load_index(strict=True)
    with pytest.raises(IntegrityError):
        reader.snapshots(strict=True)


def test_a_genuine_object_under_the_name_of_another_is_refused(
    repository: WritableRepository, store: MemoryStore
) -> None:
    old = add_files(repository, b"old")
    new = add_files(repository, b"new", time=T0 + timedelta(days=1))
    packs = names(store, "data/")
    store.put(f"snapshots/{new.id}", store.get(f"snapshots/{old.id}", size_max=1 << 20))
    store.put(packs[0], store.get(packs[1], size_max=1 << 20))
    reader = Repository.open(store, b"right")
    assert [item.id for item in reader.snapshots()] == [old.id]
    assert [item.name for item in reader.unreadable] == [f"snapshots/{new.id}"]
    with pytest.raises(IntegrityError, match="digest"):
        reader.load_pack(bytes.fromhex(packs[0].rpartition("/")[2]))


@pytest.mark.parametrize("what", ["data", "index", "snapshots", "keys", "config"])
@pytest.mark.parametrize("how", ["damaged", "missing"])
def test_whatever_is_lost_at_one_center_is_read_from_another(
    repository: WritableRepository, store: MemoryStore, what: str, how: str
) -> None:
    add_files(repository, *FILES)
    other = copied(store, "remote")
    for name in names(store, what):
        damage(store, name) if how == "damaged" else store.delete(name)
    if how == "missing" and what == "snapshots":
        # What is not listed cannot be missed; the commit log is what tells of snapshots that are gone.
        assert Repository.open(store, b"right", fallbacks=[other]).snapshots() == []
        return
    reader = Repository.open(store, b"right", fallbacks=[other])
    assert contents_of(reader, reader.resolve()) == FILES
    assert reader.fallback_count > 0 or what in ("keys", "index", "snapshots")
    assert reader.unreadable == ()


def test_a_store_that_does_not_answer_is_asked_last_from_then_on(
    repository: WritableRepository, store: MemoryStore
) -> None:
    add_files(repository, *FILES)
    dead = Faults(1, FaultKind.TIMEOUT, is_permanent=True)
    reader = Repository.open(FaultStore(copied(store, "dead"), dead), b"right", fallbacks=[store])
    assert contents_of(reader, reader.resolve()) == FILES
    dead.assert_injected()
    assert dead.calls_count < 8


def test_an_index_file_that_is_replaced_while_reading_is_found_under_its_new_name(
    repository: WritableRepository, store: MemoryStore
) -> None:
    class Pruned(MemoryStore):
        """The first time that an index file is read, a prune has just replaced it."""

        def get(self, name: str, **options: Any) -> bytes:
            if name.startswith("index/") and name in before:
                for old in before:
                    self.delete(old)
                repository.save_index(content)
                for new in names(store, "index/"):
                    self.put(new, store.get(new, size_max=1 << 20))
                before.clear()
            return super().get(name, **options)

    add_files(repository, *FILES)
    before = set(names(store, "index/"))
    content = next(repository.index_files())[1]
    racing = Pruned("racing")
    for item in store.list(""):
        racing.put(item.name, store.get(item.name, size_max=1 << 20))
    for name in before:
        store.delete(name)
    reader = Repository.open(racing, b"right")
    assert contents_of(reader, reader.resolve()) == FILES
    assert reader.unreadable == ()


def test_a_writer_does_not_count_on_blobs_of_another_center(repository: WritableRepository, store: MemoryStore) -> None:
    other = copied(store, "remote")
    add_files(WritableRepository(other, repository.suite, repository.config), *FILES)
    writer = WritableRepository(store, repository.suite, repository.config, fallbacks=[other])
    reader = Repository(store, repository.suite, repository.config, fallbacks=[other])
    assert (BlobType.DATA, sha(FILES[0])) not in writer.index
    assert (BlobType.DATA, sha(FILES[0])) in reader.index


def test_a_clone_of_a_writer_still_writes_where_it_should(repository: WritableRepository, store: MemoryStore) -> None:
    snapshot = add_files(repository, *FILES)
    faults = Faults(1, FaultKind.TIMEOUT, operations=frozenset({"get"}))
    writer = WritableRepository(
        FaultStore(store, faults), repository.suite, repository.config, fallbacks=[copied(store, "remote")]
    )
    writer.load_snapshot(snapshot.id)
    assert writer.fallback_count == 1
    assert writer.clone().object_store.name == "production"


def test_a_blob_is_read_from_another_pack_when_one_is_gone(repository: WritableRepository, store: MemoryStore) -> None:
    first = add_files(repository, *FILES)
    before = names(store, "data/")
    add_files(repository, *FILES)  # the packer knows no index, so all blobs are stored a second time
    for name in before:
        store.delete(name)
    reader = Repository.open(store, b"right")
    assert contents_of(reader, first) == FILES


def test_a_blob_that_nobody_has_whole_is_an_error_that_names_it(
    repository: WritableRepository, store: MemoryStore
) -> None:
    add_files(repository, *FILES)
    for name in names(store, "data/"):
        damage(store, name)
    reader = Repository.open(store, b"right", fallbacks=[MemoryStore("empty")])
    with pytest.raises(IntegrityError):
        for content in FILES:
            reader.load_blob(BlobType.DATA, sha(content))
    with pytest.raises(ObjectNotFoundError, match="ab" * 32):
        reader.load_blob(BlobType.DATA, b"\xab" * 32)


def test_when_no_store_answers_the_error_is_worth_another_try(store: MemoryStore) -> None:
    dead = FaultStore(store, Faults(1, FaultKind.TIMEOUT, is_permanent=True))
    with pytest.raises(StoreUnavailableError):
        Repository.open(dead, b"right", fallbacks=[MemoryStore("empty")])


@pytest.mark.parametrize("how", ["whole", "damaged", "missing", "silent"])
def test_blobs_of_a_pack_are_read_together_and_each_from_where_it_is_good(
    repository: WritableRepository, store: MemoryStore, how: str
) -> None:
    contents = [b"%d" % number * 1000 for number in range(40)]
    add_files(repository, *contents)
    other = copied(store, "remote")
    for name in names(store, "data/"):
        if how == "damaged":
            damage(store, name)
        elif how == "missing":
            store.delete(name)
    faults = Faults(1, FaultKind.TIMEOUT, is_permanent=True, operations=frozenset({"get"})) if how == "silent" else None
    first = FaultStore(store, faults) if faults else store
    reader = Repository(first, repository.suite, repository.config, fallbacks=[other])
    reader._index = repository.load_index()
    places = sorted(
        (reader.index.find(BlobType.DATA, sha(content))[0] for content in contents),
        key=lambda place: (place.pack, place.offset),
    )
    found = dict(reader.load_pack_blobs(places))
    assert sorted(found.values()) == sorted(contents)
    assert all(sha(plain) == place.blob_id for place, plain in found.items())


def test_a_clone_reads_with_connections_of_its_own(repository: WritableRepository) -> None:
    snapshot = add_files(repository, *FILES)
    repository.load_index()
    other = repository.clone()
    assert other.suite is not repository.suite and other.index is repository.index
    assert contents_of(other, snapshot) == FILES


def test_the_header_of_a_pack_is_read_from_its_end(repository: WritableRepository, store: MemoryStore) -> None:
    # Two thousand blobs: a header longer than the first request.
    packer = Packer(repository.suite, pack_size=1 << 30)
    for number in range(4000):
        packer.add(BlobType.DATA, sha(b"%d" % number), b"%d" % number)
    (pack,) = packer.flush()
    repository.save_pack(pack)
    assert repository.load_pack_header(pack.id, len(pack.data)).tobytes() == pack.rows.tobytes()
    with pytest.raises(FormatError):
        repository.load_pack_header(pack.id, 3)


# --- rebuilding the index


@pytest.mark.parametrize("loss", ["all gone", "one damaged", "one junk", "none"])
def test_a_rebuilt_index_names_every_blob_again(
    repository: WritableRepository, store: MemoryStore, clock: FakeClock, loss: str
) -> None:
    snapshots = [add_files(repository, b"%d" % number * 999, b"more %d" % number) for number in range(3)]
    before = names(store, "index/")
    if loss == "all gone":
        for name in before:
            store.delete(name)
    elif loss == "one damaged":
        damage(store, before[0])
    elif loss == "one junk":
        sealed = repository.suite.seal(b"{}")
        store.put(f"index/{sha(sealed).hex()}", sealed)
    report = rebuild_index(repository, clock)
    kept = {"all gone": 0, "one damaged": 2, "one junk": 3, "none": 3}[loss]
    assert (report.kept_files, report.unreadable) == (kept, ())
    reader = Repository.open(store, b"right")
    reader.load_index(strict=True)
    assert [contents_of(reader, item) for item in snapshots] == [
        [b"%d" % number * 999, b"more %d" % number] for number in range(3)
    ]
    assert names(store, "locks/") == []


def test_a_pack_in_two_index_files_is_in_one_after_rebuilding(
    repository: WritableRepository, store: MemoryStore, clock: FakeClock
) -> None:
    add_files(repository, *FILES)
    repository.save_index(next(repository.index_files())[1])
    report = rebuild_index(repository, clock)
    assert (report.kept_files, len(report.removed_files), report.written_files) == (1, 1, 0)


def test_a_pack_that_is_gone_is_no_longer_named(
    repository: WritableRepository, store: MemoryStore, clock: FakeClock
) -> None:
    add_files(repository, *FILES)
    gone = names(store, "data/")[0]
    store.delete(gone)
    rebuild_index(repository, clock)
    packs = {pack.hex() for _, group in repository.index_files(strict=True) for pack, _ in group}
    assert gone.rpartition("/")[2] not in packs and len(packs) == len(names(store, "data/"))


def test_a_pack_with_a_broken_header_is_named_in_the_report(
    repository: WritableRepository, store: MemoryStore, clock: FakeClock
) -> None:
    add_files(repository, *FILES)
    broken = names(store, "data/")[0]
    data = store.get(broken, size_max=1 << 30)
    store.put(broken, data[:-5] + bytes(5))
    report = rebuild_index(repository, clock, read_all=True)
    assert [item.name for item in report.unreadable] == [broken]


def test_a_dry_run_changes_nothing(repository: WritableRepository, store: MemoryStore, clock: FakeClock) -> None:
    add_files(repository, *FILES)
    before = names(store, "")
    report = rebuild_index(repository, clock, read_all=True, dry_run=True)
    assert report.packs_read == len(names(store, "data/")) and len(report.removed_files) == 1
    assert names(store, "") == before


def test_rebuilding_loses_no_blob_wherever_it_stops(
    repository: WritableRepository, store: MemoryStore, clock: FakeClock
) -> None:
    snapshots = [add_files(repository, b"%d" % number * 999) for number in range(2)]
    for call in range(1, 100):
        faults = Faults(call, FaultKind.ERROR, is_permanent=True)
        attempt = copied(store, "attempt")
        broken = WritableRepository(FaultStore(attempt, faults), repository.suite, repository.config)
        with contextlib.suppress(StoreUnavailableError):
            rebuild_index(broken, clock, read_all=True)
        reader = Repository(attempt, repository.suite, repository.config)
        assert [contents_of(reader, item) for item in snapshots] == [[b"%d" % number * 999] for number in range(2)]
        if not faults.was_reached:
            break
    assert 8 < call < 99


# --- config and snapshots


def test_a_new_config_is_one_that_restic_opens() -> None:
    config = new_config()
    polynomial = int(config.chunker_polynomial, 16)
    assert (config.version, polynomial.bit_length() - 1) == (2, 53)
    assert is_irreducible(polynomial)
    assert decode_config(encode_config(config)) == config
    assert new_config() != config


def test_irreducibility_agrees_with_known_polynomials() -> None:
    # x^2+x+1, x^3+x+1, the AES polynomial, and restic's test polynomial; then products.
    assert all(map(is_irreducible, (0b111, 0b1011, 0x11B, 0x3DA3358B4DC173)))
    assert not any(map(is_irreducible, (0b101, 0b1001, 0x11A, 0x3DA3358B4DC172, 1)))


@pytest.mark.parametrize(
    "change",
    [{"version": 0}, {"version": 3}, {"version": "2"}, {"id": "x"}, {"chunker_polynomial": "0x1"}, {"id": None}],
    ids=str,
)
def test_a_config_that_cannot_be_is_refused(change: dict[str, object]) -> None:
    fields = {"version": 2, "id": "ab" * 32, "chunker_polynomial": "25b468838dcb75", **change}
    with pytest.raises(FormatError):
        decode_config(json.dumps(fields).encode())


def test_version_1_is_read_but_not_written() -> None:
    suite, config = ResticSuite(MasterKey.generate()), RepositoryConfig(1, "ab" * 32, "25b468838dcb75")
    store = MemoryStore("old")
    store.put("config", suite.seal(encode_config(config)))
    raw = suite.seal(encode_snapshot(Snapshot(time=T0, tree="cd" * 32, paths=("/",))))
    store.put(object_name(Kind.SNAPSHOT, sha(raw).hex()), raw)
    assert [item.tree for item in Repository(store, suite).snapshots()] == ["cd" * 32]
    with pytest.raises(RefusedError, match="version 1"):
        WritableRepository(store, suite)


def test_a_snapshot_looks_as_restic_writes_it() -> None:
    snapshot = Snapshot(
        time=datetime(2026, 8, 1, 12, 0, 0, 123456, UTC),
        time_text="2026-08-01T12:00:00.123456789Z",
        tree="ab" * 32,
        paths=("/data",),
        hostname="h",
        username="u",
        tags=("govsec",),
        program_version="govsec 0.1",
    )
    data = encode_snapshot(snapshot)
    assert data.decode() == (
        f'{{"time":"2026-08-01T12:00:00.123456789Z","tree":"{"ab" * 32}","paths":["/data"],"hostname":"h",'
        '"username":"u","tags":["govsec"],"program_version":"govsec 0.1"}'
    )
    assert decode_snapshot("", data) == snapshot


def test_a_summary_and_unknown_fields_are_read() -> None:
    data = encode_snapshot(Snapshot(time=T0, tree="ab" * 32, paths=("/",), summary=Summary(files_new=3)))
    changed = json.dumps({**json.loads(data), "label": "later"}).encode()
    snapshot = decode_snapshot("id", changed)
    assert snapshot.summary is not None and snapshot.summary.files_new == 3


@pytest.mark.parametrize(
    "change",
    [{"tree": None}, {"tree": "ab"}, {"parent": "../x"}, {"time": "yesterday"}, {"time": "0001-01-01T00:00:00+23:00"}],
    ids=str,
)
def test_a_snapshot_that_cannot_be_is_refused(change: dict[str, object]) -> None:
    data = encode_snapshot(Snapshot(time=T0, tree="ab" * 32, paths=("/",)))
    with pytest.raises(FormatError):
        decode_snapshot("id", json.dumps({**json.loads(data), **change}).encode())
