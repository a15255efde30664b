"""Repositories made to do harm: who writes objects, even with the key, costs a reader little and lies to none.

Every case runs in a child with a limit on memory and time; a good answer is a report that names the object, or one of
our errors.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator
from datetime import timedelta

import numpy as np
import pytest
import zstandard

from govsec.errors import FormatError, GovsecError, IntegrityError, LimitError
from govsec.repo.check import CheckReport, Scope, check
from govsec.repo.indexfile import OBJECTS_MAX
from govsec.repo.layout import Kind, object_name, pack_name
from govsec.repo.pack import COMPRESSED_ENTRY, LENGTH, PLAIN_ENTRY, ROW, BlobType, Rows
from govsec.repo.prune import prune
from govsec.repo.repository import Repository, WritableRepository
from govsec.repo.snapshot import Snapshot
from govsec.repo.tree import encode_tree
from govsec.store.api import ObjectInfo
from govsec.store.memory import MemoryStore
from govsec.testing.clock import FakeClock
from govsec.testing.faults import FaultStore, no_faults
from tests.repo.bounded import bounded
from tests.repo.small import PASSWORD, Writer, back_up, digest, dir_node, file_node, names, new_repository, reopened

MIB = 1 << 20
#: What a check may take beyond the interpreter and the test suite around it.
MEMORY = 300 * MIB
SECONDS = 20


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def repository(store: MemoryStore, clock: FakeClock) -> WritableRepository:
    repository = new_repository(store, clock)
    back_up(repository, {"file": b"content " * 1000, "sub": {"other": b"other"}}, clock)
    return repository


def checked(repository: Repository, *, memory: int = MEMORY, seconds: int = SECONDS) -> CheckReport:
    """The report of a check of all data, made within the limits."""
    return bounded(
        lambda: check(repository, clock=FakeClock(), scope=Scope.ALL_DATA, workers=0),
        memory_bytes=memory,
        seconds=seconds,
    )


def kinds(report: CheckReport) -> set[str]:
    assert not report.is_good
    return set(report.problem_counts)


def put_sealed(repository: WritableRepository, kind: Kind, plain: bytes) -> str:
    sealed = repository.suite.seal(plain)
    name = object_name(kind, digest(sealed).hex())
    repository.object_store.put(name, sealed)
    return name


def frame(plain_size: int, *, states_size: bool = True, piece: bytes = b" " * MIB) -> bytes:
    """A zstd frame of a few kilobytes that holds ``plain_size`` bytes."""
    compressor = zstandard.ZstdCompressor(level=1, write_content_size=states_size).compressobj(
        plain_size if states_size else -1
    )
    parts = [compressor.compress(piece) for _ in range(plain_size // len(piece))]
    return b"".join([*parts, compressor.compress(piece[: plain_size % len(piece)]), compressor.flush()])


def put_pack(repository: WritableRepository, entries: list[tuple[int, bytes, int, bytes]]) -> tuple[bytes, Rows]:
    """A pack of (type in the header, sealed bytes, stated plain length, id), and the rows that an index would have."""
    header, rows, offset = b"", [], 0
    for kind, sealed, raw, blob_id in entries:
        if kind & 2:
            header += COMPRESSED_ENTRY.pack(kind, len(sealed), raw, blob_id)
        else:
            header += PLAIN_ENTRY.pack(kind, len(sealed), blob_id)
        rows.append((blob_id, offset, len(sealed), raw if kind & 2 else 0, kind & 1))
        offset += len(sealed)
    sealed_header = repository.suite.seal(header)
    data = b"".join(sealed for _, sealed, _, _ in entries) + sealed_header + LENGTH.pack(len(sealed_header))
    repository.object_store.put(pack_name(digest(data)), data)
    return digest(data), np.array(rows, ROW)


def put_index(repository: WritableRepository, rows: Rows, pack_id: bytes = digest(b"no such pack")) -> None:
    repository.save_index([(pack_id, rows)])


def snapshot_of(repository: WritableRepository, tree: bytes) -> None:
    repository.save_snapshot(Snapshot(time=FakeClock().now(), tree=tree.hex(), paths=("/",)))


# Bombs


@pytest.mark.parametrize("states_size", [True, False])
@pytest.mark.parametrize("kind", [Kind.INDEX, Kind.SNAPSHOT, Kind.LOCK])
def test_a_bomb_in_place_of_a_json_object_is_stopped(
    repository: WritableRepository, clock: FakeClock, kind: Kind, states_size: bool
) -> None:
    bomb = put_sealed(repository, kind, b"\x02" + frame(512 * MIB, states_size=states_size))
    report = checked(repository)
    if kind is Kind.LOCK:
        assert report.is_good
        with pytest.raises(GovsecError, match="cannot be read"):
            bounded(lambda: prune(repository, clock=clock, grace=timedelta(0)), memory_bytes=MEMORY, seconds=SECONDS)
    else:
        assert [problem.object for problem in report.problems] == [bomb] and not report.is_good


@pytest.mark.parametrize("stated", [1000, 60 * MIB, 0xFFFFFFFF])
@pytest.mark.parametrize("blob_type", list(BlobType))
def test_a_blob_that_grows_beyond_what_is_stated_or_allowed_is_stopped(
    repository: WritableRepository, blob_type: BlobType, stated: int
) -> None:
    sealed = repository.suite.seal(frame(400 * MIB, states_size=False))
    blob_id = digest(b"never looked at")
    put_index(repository, *reversed(put_pack(repository, [(blob_type + 2, sealed, stated, blob_id)])))
    snapshot_of(repository, blob_id)
    assert "blob_damaged" in kinds(checked(repository))


def test_a_tree_of_a_hundred_megabytes_of_nothing_is_refused(repository: WritableRepository) -> None:
    plain_size = 100 * MIB
    tree = b" " * plain_size
    sealed = repository.suite.seal(frame(plain_size))
    put_index(repository, *reversed(put_pack(repository, [(3, sealed, plain_size, digest(tree))])))
    snapshot_of(repository, digest(tree))
    del tree
    report = checked(repository, memory=500 * MIB)
    assert "tree_refused" in kinds(report)


def test_thousands_of_blobs_that_each_grow_take_no_more_memory_than_one(repository: WritableRepository) -> None:
    plain = bytes(8 * MIB)
    sealed = repository.suite.seal(frame(len(plain), piece=bytes(MIB)))
    entries = [(2, sealed, len(plain), digest(plain))] * 100
    pack_id, rows = put_pack(repository, entries)
    put_index(repository, rows, pack_id)
    checked(repository)


# Index


def test_the_largest_index_file_that_is_allowed_is_read_within_bounds(repository: WritableRepository) -> None:
    row = b'{"id":"' + b"ab" * 32 + b'","type":"data","offset":0,"length":33},'
    count = min((90 * MIB) // len(row), OBJECTS_MAX - 2)  # the file and the pack are objects too
    json = b'{"packs":[{"id":"' + b"cd" * 32 + b'","blobs":[' + (row * count)[:-1] + b"]}]}"
    put_sealed(repository, Kind.INDEX, b"\x02" + zstandard.compress(json, 1))
    del json
    report = checked(repository, memory=700 * MIB, seconds=60)
    assert {"pack_missing", "index_pack_split"} <= kinds(report)


def test_an_index_that_claims_more_than_any_honest_one_is_refused(repository: WritableRepository) -> None:
    name = put_sealed(repository, Kind.INDEX, b"\x02" + frame(100 * MIB))
    report = checked(repository)
    assert [(p.kind.value, p.object) for p in report.problems] == [("index_unreadable", name)]


INDEX_LIES = {
    "outside the pack": [(digest(b"a"), 1 << 30, 100, 0, 0)],
    "beyond four gigabytes": [(digest(b"a"), 0xFFFFFFF0, 0xFFFFFFF0, 0, 1)],
    "all over each other": [(digest(bytes([n])), 0, 60 * MIB, 0, 0) for n in range(200)],
    "one byte apart": [(digest(bytes([n])), n, 33, 0, n & 1) for n in range(200)],
    "four gigabytes long": [(digest(b"a"), 0, 0xFFFFFFFF, 0xFFFFFFFF, 1)],
}


@pytest.mark.parametrize("has_header", [True, False])
@pytest.mark.parametrize("what", sorted(INDEX_LIES))
def test_an_index_that_lies_about_a_pack_is_found(repository: WritableRepository, what: str, has_header: bool) -> None:
    if has_header:
        pack_id, _ = put_pack(repository, [(0, repository.suite.seal(b"x" * 1000), 0, digest(b"x" * 1000))])
    else:
        data = bytes(100_000)
        pack_id = digest(data)
        repository.object_store.put(pack_name(pack_id), data)
    rows = np.array(INDEX_LIES[what], ROW)
    put_index(repository, rows, pack_id)
    for row in rows[rows["type"] == 1][:3]:
        snapshot_of(repository, bytes(row["id"].tobytes()))
    found = kinds(checked(repository))
    assert {"pack_size"} <= found and found & {"pack_not_as_indexed", "pack_header"}


def test_blobs_that_lie_over_each_other_do_not_make_a_pack_be_read_again_and_again(
    repository: WritableRepository, store: MemoryStore
) -> None:
    data = bytes(30 * MIB)  # too large for one piece, and without a header that would say better
    store.put(pack_name(digest(data)), data)
    rows = np.array([(digest(bytes([n])), n, 25 * MIB, 0, 0) for n in range(50)], ROW)
    put_index(repository, rows, digest(data))
    counting = CountingStore(store)
    report = check(reopened(repository, counting), clock=FakeClock(), scope=Scope.ALL_DATA, workers=0)
    assert "pack_header" in kinds(report)
    assert counting.bytes_count < 3 * len(data)  # it is read twice, because the first reading was not good


class CountingStore(FaultStore[MemoryStore]):
    """Counts what it gives."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store, no_faults())
        self.bytes_count = 0

    def get(self, name: str, *, offset: int = 0, length: int | None = None, size_max: int) -> bytes:
        data = super().get(name, offset=offset, length=length, size_max=size_max)
        self.bytes_count += len(data)
        return data

    def clone(self) -> CountingStore:
        return self


def test_a_place_outside_its_pack_cannot_be_read(repository: WritableRepository) -> None:
    pack_id, _ = put_pack(repository, [(0, repository.suite.seal(b"x"), 0, digest(b"x"))])
    put_index(repository, np.array([(digest(b"a"), 1 << 30, 100, 0, 0)], ROW), pack_id)
    repository.load_index()
    with pytest.raises(IntegrityError):
        repository.load_blob(BlobType.DATA, digest(b"a"))


def test_ids_made_to_collide_in_their_first_bytes_cost_no_more_time(repository: WritableRepository) -> None:
    ids = [b"\0" * 24 + struct.pack(">Q", number + 1) for number in range(20_000)]
    rows = np.array([(blob_id, at * 40, 40, 0, 0) for at, blob_id in enumerate(ids)], ROW)
    put_index(repository, rows)
    writer_tree = encode_tree([file_node(b"all", ids, 8 * len(ids))])
    writer = Writer(repository)
    writer.snapshot(writer.blob(BlobType.TREE, writer_tree), FakeClock())
    assert kinds(checked(repository, seconds=60)) == {"pack_missing"}


# Headers


def _header_pack(repository: WritableRepository, header: bytes, *, body: bytes = b"") -> bytes:
    sealed = repository.suite.seal(header)
    return body + sealed + LENGTH.pack(len(sealed))


HEADER_LIES: dict[str, Callable[[WritableRepository], bytes]] = {
    "no header": lambda repository: b"abc",
    "a length of zero": lambda repository: bytes(200),
    "a length beyond the pack": lambda repository: bytes(200) + LENGTH.pack(1 << 20),
    "a length of four gigabytes": lambda repository: bytes(200) + LENGTH.pack(0xFFFFFFFF),
    "an unknown type": lambda repository: _header_pack(
        repository, PLAIN_ENTRY.pack(9, 40, digest(b"a")), body=bytes(40)
    ),
    "half an entry": lambda repository: _header_pack(
        repository, PLAIN_ENTRY.pack(0, 40, digest(b"a"))[:-1] + b"\1" * 9
    ),
    "a null id": lambda r: _header_pack(r, PLAIN_ENTRY.pack(0, 40, bytes(32)), body=bytes(40)),
    "blobs longer than the pack": lambda r: _header_pack(r, PLAIN_ENTRY.pack(0, 1 << 30, digest(b"a")), body=bytes(40)),
    "blobs shorter than the pack": lambda r: _header_pack(r, PLAIN_ENTRY.pack(0, 40, digest(b"a")), body=bytes(400)),
    "a million empty blobs": lambda r: _header_pack(r, PLAIN_ENTRY.pack(0, 0, digest(b"a")) * 400_000),
    "a stated length of zero": lambda r: _header_pack(r, COMPRESSED_ENTRY.pack(2, 40, 0, digest(b"a")), body=bytes(40)),
    "sealed under another key": lambda r: bytes(40) + new_repository().suite.seal(bytes(37)) + LENGTH.pack(69),
}


@pytest.mark.parametrize("what", sorted(HEADER_LIES))
def test_a_header_that_lies_is_found(repository: WritableRepository, what: str) -> None:
    data = HEADER_LIES[what](repository)
    repository.object_store.put(pack_name(digest(data)), data)
    put_index(repository, np.array([(digest(b"a"), 0, 40, 0, 0)], ROW), digest(data))
    assert "pack_header" in kinds(checked(repository))


def test_a_header_that_gives_a_blob_another_type_is_found(repository: WritableRepository) -> None:
    pack_id, rows = put_pack(repository, [(0, repository.suite.seal(b"data"), 0, digest(b"data"))])
    rows["type"] = 1
    put_index(repository, rows, pack_id)
    assert "pack_not_as_indexed" in kinds(checked(repository))


def test_a_blob_that_is_not_what_its_id_says_is_found(repository: WritableRepository) -> None:
    pack_id, rows = put_pack(repository, [(0, repository.suite.seal(b"another"), 0, digest(b"data"))])
    put_index(repository, rows, pack_id)
    assert kinds(checked(repository)) == {"blob_damaged"}


# Trees


NAMES = ["..", ".", "", "/", "a/b", "/etc/passwd", "../up", "\\x2e\\x2e", "\\x2f", "a\\x00b", "\\x00", "bad \\q", '"']


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_would_leave_its_directory_is_refused(repository: WritableRepository, name: str) -> None:
    node = file_node(b"name", [], 0)
    tree = encode_tree([node]).replace(b'"name":"name"', b'"name":' + _json(name))
    writer = Writer(repository)
    writer.snapshot(writer.blob(BlobType.TREE, tree), FakeClock())
    assert kinds(checked(repository)) == {"tree_refused"}


def test_a_chain_of_three_thousand_directories_is_cut(repository: WritableRepository) -> None:
    writer = Writer(repository)
    tree = writer.tree({})
    for _ in range(3000):
        tree = writer.blob(BlobType.TREE, encode_tree([dir_node(b"d", tree)]))
    writer.snapshot(tree, FakeClock())
    report = checked(repository)
    assert kinds(report) == {"tree_too_deep"} and report.trees_count < 2100
    with pytest.raises(IntegrityError, match="nothing was changed"):
        prune(repository, clock=FakeClock(), grace=timedelta(0))


def test_trees_that_unfold_to_more_paths_than_atoms_are_read_once_each(repository: WritableRepository) -> None:
    writer = Writer(repository)
    tree = writer.tree({})
    for _ in range(300):
        tree = writer.blob(BlobType.TREE, encode_tree([dir_node(bytes([letter]), tree) for letter in b"abcdefgh"]))
    writer.snapshot(tree, FakeClock())
    report = checked(repository)
    assert report.is_good and report.trees_count == 303


def test_a_tree_of_wrong_json_is_refused_whatever_is_wrong(repository: WritableRepository) -> None:
    writer = Writer(repository)
    wrong = [
        b"[]",
        b"{}",
        b"null",
        b"[" * 100_000,
        b'{"nodes":{}}',
        b'{"nodes":[[]]}',
        b"\xff\xfe",
        b'{"nodes":[1]}',
    ]
    wrong += [b'{"nodes":[{"name":"a","size":1e999}]}', b'{"nodes":[{"name":"a","size":' + b"9" * 500 + b"}]}"]
    for tree in wrong:
        snapshot_of(repository, writer.blob(BlobType.TREE, tree))
    writer.flush()
    report = checked(repository)
    assert report.problem_counts == {"tree_refused": len(wrong)}


# Config and junk


_ID = b"a" * 64
_POLYNOMIAL = b',"chunker_polynomial":"25b468838dcb75"}'
CONFIGS = {
    "of a version to come": (b'{"version":3,"id":"' + _ID + b'"' + _POLYNOMIAL, FormatError),
    "without a version": (b'{"id":"' + _ID + b'"' + _POLYNOMIAL, FormatError),
    "with an id that is none": (b'{"version":2,"id":"../.."' + _POLYNOMIAL, FormatError),
    "with a polynomial that is none": (b'{"version":2,"id":"' + _ID + b'","chunker_polynomial":"x"}', FormatError),
    "that is no JSON": (bytes(100), FormatError),
    "of a megabyte": (b" " * MIB, LimitError),
}


@pytest.mark.parametrize("what", sorted(CONFIGS))
def test_a_config_is_refused(repository: WritableRepository, what: str) -> None:
    plain, error = CONFIGS[what]
    repository.object_store.put("config", repository.suite.seal(plain))
    with pytest.raises(error):
        bounded(lambda: Repository.open(repository.store, PASSWORD) and None, memory_bytes=MEMORY, seconds=SECONDS)


def test_a_config_that_was_not_sealed_with_the_key_is_refused(repository: WritableRepository) -> None:
    other = new_repository()
    repository.object_store.put("config", other.store.get("config", size_max=MIB))
    with pytest.raises(IntegrityError):
        Repository.open(repository.store, PASSWORD)


def test_junk_with_right_digests_is_named_and_stops_no_reader(repository: WritableRepository) -> None:
    junk = []
    for kind in (Kind.INDEX, Kind.SNAPSHOT, Kind.PACK):
        for number in range(50):
            data = f"junk {kind.value} {number}".encode()
            junk.append(object_name(kind, digest(data).hex()))
            repository.object_store.put(junk[-1], data)
    report = checked(repository)
    assert {problem.object for problem in report.problems} == set(junk)
    assert report.problem_counts == {"index_unreadable": 50, "snapshot_unreadable": 50, "pack_orphan": 50}
    assert report.snapshots_count == 1 and report.used_blobs_count == report.blobs_count
    assert Repository.open(repository.store, PASSWORD).resolve().paths == ("/data",)


class LyingStore(MemoryStore):
    """Tells of tens of thousands of objects that are none, and of packs of a terabyte."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__()
        self._store = store

    def get(self, name: str, *, offset: int = 0, length: int | None = None, size_max: int) -> bytes:
        return self._store.get(name, offset=offset, length=length, size_max=size_max)

    def head(self, name: str) -> ObjectInfo:
        return self._store.head(name)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        for item in self._store.list(prefix):
            yield ObjectInfo(item.name, 1 << 40) if prefix == "data/" else item
        if prefix == "data/":
            for number in range(30_000):
                yield ObjectInfo(f"data/zz/{number:06}", 1 << 40)
                yield ObjectInfo(pack_name(b"\xff" * 24 + struct.pack(">Q", number)), 1 << 40)


def test_a_store_that_lists_what_is_not_there_costs_little(repository: WritableRepository, store: MemoryStore) -> None:
    report = checked(reopened(repository, LyingStore(store)))
    assert report.problem_counts["foreign_object"] == report.problem_counts["pack_orphan"] == 30_000
    assert report.dropped_count > 58_000 and len(report.problems) <= 1000
    assert "pack_size" in kinds(report)
    # Errors are kept, however many hints there are.
    assert sum(not problem.is_hint for problem in report.problems) == report.errors_count


def test_no_digest_is_taken_on_trust(repository: WritableRepository) -> None:
    """An object that another name would suit: each kind, swapped with another of its kind."""
    clock = FakeClock()
    back_up(repository, {"second": b"second"}, clock)
    for prefix in ("index/", "snapshots/"):
        first, second = names(repository.store, prefix)[:2]
        one = repository.store.get(first, size_max=MIB)
        repository.object_store.put(first, repository.store.get(second, size_max=MIB))
        assert first in {problem.object for problem in checked(repository).problems}
        repository.object_store.put(first, one)
    assert checked(repository).is_good


def _json(text: str) -> bytes:
    import json

    return json.dumps(text).encode()


def test_the_digest_of_these_tests_is_the_repository_s() -> None:
    assert digest(b"govsec") == hashlib.sha256(b"govsec").digest()
