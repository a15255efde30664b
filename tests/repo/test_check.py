"""Check: each kind of damage is found and named, nothing is green unseen, budgets get round."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from govsec.errors import CoverageError, GovsecError, IntegrityError, StoreUnavailableError
from govsec.repo.check import Budget, CheckReport, Scope, check
from govsec.repo.indexfile import PackRows
from govsec.repo.layout import Kind, object_name, pack_name
from govsec.repo.pack import BlobType
from govsec.repo.repository import Repository, WritableRepository
from govsec.repo.snapshot import Snapshot
from govsec.repo.tree import encode_tree
from govsec.repo.verified import VerificationRecord, load_record, save_record
from govsec.store.api import ObjectInfo
from govsec.store.local import LocalStore
from govsec.store.memory import MemoryStore
from govsec.testing.clock import FakeClock
from govsec.testing.faults import FaultKind, Faults, FaultStore, no_faults
from tests.repo.small import (
    PASSWORD,
    Writer,
    back_up,
    digest,
    dir_node,
    file_node,
    flip,
    mutate,
    names,
    new_repository,
    reopened,
)


def noise(label: str, size: int) -> bytes:
    return b"".join(hashlib.sha256(f"{label}{n}".encode()).digest() for n in range(size // 32 + 1))[:size]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def repository(store: MemoryStore, clock: FakeClock) -> WritableRepository:
    repository = new_repository(store, clock)
    files = {"a": noise("a", 100_000), "empty": b"", "text": b"text " * 5000, "sub": {"deep": {"b": noise("b", 3000)}}}
    back_up(repository, files, clock, pack_size=50_000)
    clock.advance(60)
    back_up(repository, {**files, "c": noise("c", 70_000)}, clock, pack_size=50_000)
    return repository


def structure(repository: Repository, clock: FakeClock) -> CheckReport:
    return check(repository, clock=clock, workers=0)


def all_data(repository: Repository, clock: FakeClock) -> CheckReport:
    return check(repository, clock=clock, scope=Scope.ALL_DATA, workers=0)


def kinds(report: CheckReport) -> set[str]:
    return set(report.problem_counts)


def index_packs(repository: Repository) -> list[PackRows]:
    return [pack for _, packs in repository.index_files() for pack in packs]


def replace_index(repository: WritableRepository, groups: list[list[PackRows]]) -> None:
    store = repository.object_store
    for name in names(store, "index/"):
        store.delete(name)
    for group in groups:
        repository.save_index(group)


def test_a_whole_repository_is_good_and_counted(repository: WritableRepository, clock: FakeClock) -> None:
    report = all_data(repository, clock)
    assert report.is_good and report.exit_code == 0 and not report.problems
    assert report.snapshots_count == 2 and report.index_files_count == 2
    assert report.trees_count == 4  # two roots; sub and deep are shared
    assert report.blobs_count == report.used_blobs_count == report.blobs_read_count
    assert report.packs_read_count == report.packs_count > 4
    assert report.bytes_read == report.packs_bytes == sum(i.size_bytes for i in repository.store.list("data/"))
    report.raise_unless_good()


def test_the_structure_alone_reads_no_data_pack(repository: WritableRepository, clock: FakeClock) -> None:
    faults = no_faults()
    report = check(reopened(repository, FaultStore(repository.object_store, faults)), clock=clock, workers=0)
    assert report.is_good and report.packs_read_count == 0 and report.bytes_read == 0
    assert report.used_blobs_count == report.blobs_count


def test_an_empty_repository_is_never_green(clock: FakeClock) -> None:
    report = all_data(new_repository(MemoryStore(), clock), clock)
    assert not report.is_good and report.exit_code == CoverageError.exit_code
    assert report.errors_count == 0 and len(report.gaps) >= 2
    with pytest.raises(CoverageError):
        report.raise_unless_good()


def test_a_repository_whose_snapshots_were_removed_is_never_green(
    repository: WritableRepository, clock: FakeClock
) -> None:
    for name in names(repository.store, "snapshots/"):
        repository.object_store.delete(name)
    report = structure(repository, clock)
    assert report.exit_code == CoverageError.exit_code and "there is no snapshot that can be read" in report.gaps


def test_a_missing_pack_is_named(repository: WritableRepository, clock: FakeClock) -> None:
    name = names(repository.store, "data/")[0]
    repository.object_store.delete(name)
    for report in (structure(repository, clock), all_data(repository, clock)):
        assert report.exit_code == IntegrityError.exit_code
        assert ("pack_missing", name) in {(problem.kind.value, problem.object) for problem in report.problems}
        with pytest.raises(IntegrityError):
            report.raise_unless_good()


@pytest.mark.parametrize("cut", [0, 1, 100])
def test_a_truncated_pack_is_named_by_its_size(repository: WritableRepository, clock: FakeClock, cut: int) -> None:
    name = names(repository.store, "data/")[-1]
    mutate(repository.object_store, name, lambda data: data.__delitem__(slice(cut, None)))
    assert "pack_size" in kinds(structure(repository, clock))
    assert not all_data(repository, clock).is_good


def test_every_flipped_byte_of_a_pack_is_found_by_reading_it(repository: WritableRepository, clock: FakeClock) -> None:
    (name, size) = min((i.size_bytes, i.name) for i in repository.store.list("data/"))[::-1]
    assert size < 2000
    for position in range(0, size, 7):
        flip(repository.object_store, name, position)
        found = check(repository, clock=clock, scope=Scope.ALL_DATA, workers=0)
        assert "pack_digest" in kinds(found) and not found.is_good
        assert kinds(found) & {"blob_damaged", "pack_header"}, position
        flip(repository.object_store, name, position)
    assert all_data(repository, clock).is_good


def test_a_flipped_byte_in_a_data_pack_is_not_seen_by_the_structure_alone(
    repository: WritableRepository, clock: FakeClock
) -> None:
    data_pack = next(pack for pack, rows in index_packs(repository) if rows["type"][0] == BlobType.DATA)
    flip(repository.object_store, pack_name(data_pack), 30)
    assert structure(repository, clock).is_good
    assert kinds(all_data(repository, clock)) == {"pack_digest", "blob_damaged"}


def test_two_packs_that_were_swapped_are_both_named(repository: WritableRepository, clock: FakeClock) -> None:
    store = repository.object_store
    first, second = names(store, "data/")[:2]
    one, two = store.get(first, size_max=1 << 20), store.get(second, size_max=1 << 20)
    store.put(first, two)
    store.put(second, one)
    report = all_data(repository, clock)
    named = {problem.object for problem in report.problems if problem.kind.value == "pack_digest"}
    assert named == {first, second}


def test_an_index_file_that_cannot_be_read_is_one_problem_and_not_the_end(
    repository: WritableRepository, clock: FakeClock
) -> None:
    name = names(repository.store, "index/")[0]
    flip(repository.object_store, name, 25)
    report = structure(repository, clock)
    assert {"index_unreadable", "pack_orphan"} <= kinds(report)
    assert kinds(report) & {"tree_missing", "blob_missing"}


def test_a_pack_in_two_index_files_is_a_hint_when_whole_and_an_error_in_parts(
    repository: WritableRepository, clock: FakeClock
) -> None:
    packs = index_packs(repository)
    replace_index(repository, [packs, packs[:1]])
    report = structure(repository, clock)
    assert report.is_good and kinds(report) == {"index_pack_repeated"}
    split = next(position for position, (_, rows) in enumerate(packs) if len(rows) > 1)
    pack_id, rows = packs[split]
    rest = packs[:split] + packs[split + 1 :]
    replace_index(repository, [[*rest, (pack_id, rows[:1])], [(pack_id, rows[1:])]])
    report = structure(repository, clock)
    assert not report.is_good and kinds(report) == {"index_pack_split"}


def test_an_index_that_leaves_out_a_blob_of_a_pack_is_found_by_the_pack_size(
    repository: WritableRepository, clock: FakeClock
) -> None:
    packs = [(pack_id, rows[: max(1, len(rows) - 1)]) for pack_id, rows in index_packs(repository)]
    replace_index(repository, [packs])
    assert "pack_size" in kinds(structure(repository, clock))
    assert "pack_not_as_indexed" in kinds(all_data(repository, clock))


def change_rows(repository: WritableRepository, change: Callable[[PackRows], None]) -> None:
    packs = index_packs(repository)
    position = next(at for at, (_, rows) in enumerate(packs) if len(rows) > 1 and rows["type"][0] == BlobType.DATA)
    change(packs[position])
    replace_index(repository, [packs])


def test_gaps_and_overlaps_in_the_index_are_found(repository: WritableRepository, clock: FakeClock) -> None:
    def move(pack: PackRows) -> None:
        pack[1]["offset"][1] -= 5

    change_rows(repository, move)
    report = all_data(repository, clock)
    assert {"index_offsets", "pack_not_as_indexed"} <= kinds(report)


def test_a_blob_id_that_the_header_does_not_know_is_found(repository: WritableRepository, clock: FakeClock) -> None:
    def rename(pack: PackRows) -> None:
        pack[1]["id"][0] = digest(b"another").ljust(32)

    change_rows(repository, rename)
    assert {"pack_not_as_indexed", "blob_missing"} <= kinds(all_data(repository, clock))


def test_a_pack_of_both_types_is_a_hint(store: MemoryStore, clock: FakeClock) -> None:
    repository = new_repository(store, clock)
    from govsec.repo.codec import Codec

    content = b"some content"
    tree = encode_tree([file_node(b"f", [digest(content)], len(content))])
    # A writer of ours never mixes; the header is made by hand.
    from govsec.repo.pack import COMPRESSED_ENTRY, LENGTH, PLAIN_ENTRY, read_header

    suite, codec = repository.suite, Codec()
    blob, node = suite.seal(content), suite.seal(codec.compress(tree))
    header = PLAIN_ENTRY.pack(0, len(blob), digest(content))
    header += COMPRESSED_ENTRY.pack(3, len(node), len(tree), digest(tree))
    sealed = suite.seal(header)
    data = blob + node + sealed + LENGTH.pack(len(sealed))
    store.put(pack_name(digest(data)), data)
    repository.save_index([(digest(data), read_header(suite, data))])
    repository.save_snapshot(Snapshot(time=clock.now(), tree=digest(tree).hex(), paths=("/",)))
    report = all_data(repository, clock)
    assert report.is_good and kinds(report) == {"pack_mixed"}


def test_a_snapshot_that_cannot_be_read_or_has_no_tree_is_named(
    repository: WritableRepository, clock: FakeClock
) -> None:
    damaged = names(repository.store, "snapshots/")[0]
    mutate(repository.object_store, damaged, lambda data: data.append(0))
    lost, _ = repository.save_snapshot(Snapshot(time=clock.now(), tree="ab" * 32, paths=("/",)))
    report = structure(repository, clock)
    assert kinds(report) == {"snapshot_unreadable", "tree_missing"}
    assert [p.object for p in report.problems if p.kind.value == "snapshot_unreadable"] == [damaged]
    assert any(object_name(Kind.SNAPSHOT, lost.id) in problem.detail for problem in report.problems)


def test_a_file_whose_blobs_are_not_as_long_as_it_says_is_found(store: MemoryStore, clock: FakeClock) -> None:
    repository = new_repository(store, clock)
    writer = Writer(repository)
    blob = writer.blob(BlobType.DATA, b"twelve bytes")
    nodes = [file_node(b"a", [blob], 12), file_node(b"b", [blob, blob], 23), file_node(b"c", [], 1)]
    writer.snapshot(writer.blob(BlobType.TREE, encode_tree(nodes)), clock)
    report = structure(repository, clock)
    assert report.problem_counts == {"file_size": 2}
    assert all("'b'" in problem.detail or "'c'" in problem.detail for problem in report.problems)


def test_a_missing_blob_is_found_and_only_where_a_snapshot_needs_it(store: MemoryStore, clock: FakeClock) -> None:
    repository = new_repository(store, clock)
    writer = Writer(repository)
    broken = writer.blob(BlobType.TREE, encode_tree([file_node(b"lost", [digest(b"nowhere")], 7)]))
    writer.snapshot(writer.tree({"fine": b"fine"}), clock)
    report = structure(repository, clock)
    assert report.is_good and report.used_blobs_count == report.blobs_count - 1
    writer.snapshot(broken, clock)
    assert structure(repository, clock).problem_counts == {"blob_missing": 1}


BAD_TREES = {
    "a file without a content list": b'"name":"f","type":"file","content":null',
    "a directory without a subtree": b'"name":"d","type":"dir","content":null',
    "a null id": b'"name":"f","type":"file","content":["' + b"0" * 64 + b'"]',
    "an empty name": b'"name":"","type":"file","content":[]',
    "an unknown type": b'"name":"f","type":"door","content":null',
    "a name that leaves": b'"name":"..","type":"dir","subtree":"' + b"a" * 64 + b'"',
}


@pytest.mark.parametrize("what", sorted(BAD_TREES))
def test_a_tree_that_is_none_is_refused_and_named(store: MemoryStore, clock: FakeClock, what: str) -> None:
    repository = new_repository(store, clock)
    writer = Writer(repository)
    times = b',"mtime":"2026-01-01T00:00:00Z","atime":"2026-01-01T00:00:00Z","ctime":"2026-01-01T00:00:00Z"'
    tree = b'{"nodes":[{' + BAD_TREES[what] + times + b',"uid":0,"gid":0}]}\n'
    writer.snapshot(writer.blob(BlobType.TREE, tree), clock)
    report = structure(repository, clock)
    assert report.problem_counts == {"tree_refused": 1}
    assert digest(tree).hex() in report.problems[0].object


@pytest.mark.parametrize("order", [(b"b", b"a"), (b"a", b"a")])
def test_nodes_out_of_order_or_twice_are_refused(
    store: MemoryStore, clock: FakeClock, order: tuple[bytes, bytes]
) -> None:
    repository = new_repository(store, clock)
    writer = Writer(repository)
    tree = encode_tree([file_node(name, [], 0) for name in order])
    writer.snapshot(writer.blob(BlobType.TREE, tree), clock)
    assert structure(repository, clock).problem_counts == {"tree_refused": 1}


def test_a_tree_that_is_damaged_in_one_pack_and_good_in_another_is_read(
    repository: WritableRepository, clock: FakeClock
) -> None:
    tree_pack, _ = next(pack for pack in index_packs(repository) if pack[1]["type"][0] == BlobType.TREE)
    twin = reopened(repository, MemoryStore())
    back_up_twin = Writer(twin)
    for place in repository.load_index().locations():
        if place.pack == tree_pack:
            back_up_twin.blob(BlobType.TREE, repository.load_blob(BlobType.TREE, place.blob_id))
    back_up_twin.flush()
    for name in names(twin.store, ""):
        repository.object_store.put(name, twin.store.get(name, size_max=1 << 20))
    flip(repository.object_store, pack_name(tree_pack), 40)
    assert structure(repository, clock).is_good
    assert kinds(all_data(repository, clock)) == {"pack_digest", "blob_damaged"}


def test_foreign_objects_are_hints(repository: WritableRepository, clock: FakeClock) -> None:
    for name in ("data/ab/README", "index/README", "snapshots/README", "data/zz"):
        repository.object_store.put(name, b"not ours")
    report = all_data(repository, clock)
    assert report.is_good and report.problem_counts == {"foreign_object": 4} and report.hints_count == 4


def test_problems_are_bounded_and_the_rest_is_counted(store: MemoryStore, clock: FakeClock) -> None:
    repository = new_repository(store, clock)
    writer = Writer(repository)
    nodes = [file_node(f"{n:04}".encode(), [digest(str(n).encode())], 1) for n in range(500)]
    writer.snapshot(writer.blob(BlobType.TREE, encode_tree(nodes)), clock)
    for n in range(20):
        store.put(f"index/{n}", b"")
    report = check(repository, clock=clock, workers=0, problems_max=10)
    assert len(report.problems) == 10 and all(problem.kind.value == "blob_missing" for problem in report.problems)
    assert report.errors_count == 500 and report.hints_count == 20 and report.dropped_count == 510


def test_a_store_that_gives_two_answers_is_named(repository: WritableRepository, clock: FakeClock) -> None:
    class Flaky(MemoryStore):
        reads = 0

        def get(self, name: str, *, offset: int = 0, length: int | None = None, size_max: int) -> bytes:
            data = repository.store.get(name, offset=offset, length=length, size_max=size_max)
            if name == target and length is not None and length > 60:
                self.reads += 1
                if self.reads == 1:
                    return bytes([data[0] ^ 1]) + data[1:]
            return data

        def list(self, prefix: str) -> Iterator[ObjectInfo]:
            return repository.store.list(prefix)

    target = pack_name(next(pack for pack, rows in index_packs(repository) if rows["type"][0] == BlobType.DATA))
    report = all_data(reopened(repository, Flaky()), clock)
    assert report.problem_counts == {"pack_unstable": 1} and not report.is_good


def test_a_store_that_stops_answering_is_an_error_and_not_damage(
    repository: WritableRepository, clock: FakeClock
) -> None:
    faults = Faults(1, FaultKind.TIMEOUT, is_permanent=True)
    with pytest.raises(StoreUnavailableError):
        all_data(reopened(repository, FaultStore(repository.object_store, faults)), clock)
    faults.assert_injected()


def test_one_pack_that_is_not_given_is_a_problem_of_its_own(repository: WritableRepository, clock: FakeClock) -> None:
    counting = no_faults()
    assert all_data(reopened(repository, FaultStore(repository.object_store, counting)), clock).is_good
    last_read = Faults(counting.calls_count, FaultKind.DENIED)
    report = all_data(reopened(repository, FaultStore(repository.object_store, last_read)), clock)
    last_read.assert_injected()
    assert report.problem_counts == {"pack_unreadable": 1} and report.exit_code == IntegrityError.exit_code


def test_no_fault_of_the_store_makes_a_damaged_repository_green(
    repository: WritableRepository, clock: FakeClock
) -> None:
    data_pack = next(pack for pack, rows in index_packs(repository) if rows["type"][0] == BlobType.DATA)
    flip(repository.object_store, pack_name(data_pack), 30)
    for call in range(1, 60):
        faults = Faults(call, FaultKind.ERROR)
        try:
            report = all_data(reopened(repository, FaultStore(repository.object_store, faults)), clock)
        except GovsecError:
            faults.assert_injected()
        else:
            assert not report.is_good


def test_worker_processes_find_what_one_process_finds(tmp_path: Path, clock: FakeClock) -> None:
    store = LocalStore(tmp_path / "store", create=True)
    repository = new_repository(store, clock)
    files = {f"f{n}": noise(str(n), 30_000) for n in range(20)}
    back_up(repository, {**files, "sub": {"x": b"x"}}, clock, pack_size=60_000)
    flip(store, names(store, "data/")[2], 30)
    store.delete(names(store, "data/")[1])
    alone = all_data(repository, clock)
    together = check(repository, clock=clock, scope=Scope.ALL_DATA, workers=2)
    assert {(p.kind, p.object) for p in alone.problems} == {(p.kind, p.object) for p in together.problems}
    for name in ("bytes_read", "blobs_read_count", "trees_count", "used_blobs_count", "packs_read_count", "gaps"):
        assert getattr(alone, name) == getattr(together, name), name


def test_fallbacks_do_not_hide_damage(repository: WritableRepository, clock: FakeClock) -> None:
    good = repository.object_store
    bad = MemoryStore("bad")
    for name in names(good, ""):
        bad.put(name, good.get(name, size_max=1 << 20))
    bad.delete(names(bad, "data/")[0])
    with_help = Repository.open(bad, PASSWORD, fallbacks=[good])
    report = structure(with_help, clock)
    assert report.store == "bad" and "pack_missing" in kinds(report)


def test_a_budget_gets_round_oldest_first_and_says_what_is_left(
    repository: WritableRepository, clock: FakeClock
) -> None:
    record_store = MemoryStore("records")
    packs_count = len(names(repository.store, "data/"))
    left = []
    # One pack in eight is drawn by lot, so a round may bring nothing new; so many in a row never do.
    for _ in range(20 * packs_count):
        clock.advance(86400)
        budget = Budget(size_bytes=60_000)
        report = check(repository, clock=clock, scope=budget, workers=0, record_store=record_store, center="remote")
        assert report.is_good and 0 < report.packs_read_count < packs_count
        assert report.never_verified_count is not None
        left.append(report.never_verified_count)
        if not report.never_verified_count:
            break
    assert left == sorted(left, reverse=True) and left[-1] == 0
    assert report.oldest_verified_age_s is not None and report.oldest_verified_age_s >= 86400
    assert len(names(record_store, "govsec/verified/remote/")) == 1


def test_a_pack_that_was_found_bad_is_due_again_at_once(repository: WritableRepository, clock: FakeClock) -> None:
    data_pack = next(pack for pack, rows in index_packs(repository) if rows["type"][0] == BlobType.DATA)
    flip(repository.object_store, pack_name(data_pack), 30)
    first = check(repository, clock=clock, scope=Scope.ALL_DATA, workers=0, record_store=repository.object_store)
    assert first.never_verified_count == 1
    clock.advance(86400)
    budget = Budget(size_bytes=1)
    again = check(repository, clock=clock, scope=budget, workers=0, record_store=repository.object_store)
    assert again.packs_read_count == 1 and "pack_digest" in kinds(again)


def test_a_record_that_calls_a_bad_pack_fresh_hides_it_for_some_days_only(
    repository: WritableRepository, clock: FakeClock
) -> None:
    """A hostile holder of the credential rewrites the record every night; the lot finds the pack all the same."""
    data_pack = next(pack for pack, rows in index_packs(repository) if rows["type"][0] == BlobType.DATA)
    flip(repository.object_store, pack_name(data_pack), 30)
    store = repository.object_store
    total = sum(item.size_bytes for item in store.list("data/"))
    for _ in range(2000):
        clock.advance(86400)
        lie = VerificationRecord.empty().updated(good=[data_pack], bad=[], moment=clock.now(), existing=[])
        save_record(store, "memory", lie)
        report = check(repository, clock=clock, scope=Budget(size_bytes=total // 2), workers=0, record_store=store)
        if not report.is_good:
            return
    raise AssertionError("two thousand days were not enough")


def test_time_ends_a_budgeted_check(repository: WritableRepository, clock: FakeClock) -> None:
    class Slow(FakeClock):
        def monotonic(self) -> float:
            self.advance(1)
            return super().monotonic()

    report = check(repository, clock=Slow(), scope=Budget(seconds=12), workers=0)
    assert 0 < report.packs_read_count < report.packs_count and report.is_good
    report = check(repository, clock=Slow(), scope=Budget(seconds=1), workers=0)
    assert report.packs_read_count == 0 and report.exit_code == CoverageError.exit_code


def test_the_newest_record_that_can_be_read_counts(clock: FakeClock) -> None:
    store = MemoryStore()
    packs = [digest(bytes([n])) for n in range(5)]
    record = VerificationRecord.empty().updated(good=packs, bad=[], moment=clock.now(), existing=[])
    save_record(store, "remote", record)
    store.put("govsec/verified/remote/000000000009", record.encode()[:-1])
    store.put("govsec/verified/remote/junk", b"")
    assert len(load_record(store, "remote")) == 5
    assert len(load_record(store, "same_city")) == 0
    info = save_record(store, "remote", record)
    assert info.name.endswith("000000000010")
    assert names(store, "govsec/verified/remote/0") == [info.name]


def test_a_record_that_cannot_be_deleted_does_not_stop_a_check(
    repository: WritableRepository, clock: FakeClock
) -> None:
    kept = FaultStore(MemoryStore(), Faults(1, FaultKind.DENIED, is_permanent=True, operations=frozenset({"delete"})))
    for count in range(1, 4):
        clock.advance(60)
        report = check(repository, clock=clock, scope=Budget(size_bytes=1), workers=0, record_store=kept)
        assert report.is_good and len(names(kept, "govsec/verified/")) == count


def test_times_in_the_future_count_as_never(clock: FakeClock) -> None:
    pack = digest(b"pack")
    record = VerificationRecord.empty().updated(good=[pack], bad=[], moment=clock.now(), existing=[])
    assert record.times([pack, digest(b"x")], now=clock.now()).tolist() == [int(clock.now().timestamp()), 0]
    clock.jump(-5)
    assert record.times([pack], now=clock.now()).tolist() == [0]


def test_subtrees_that_are_shared_are_read_once(store: MemoryStore, clock: FakeClock) -> None:
    """Sixty levels, each naming the next twice: 2^60 paths, 61 trees."""
    repository = new_repository(store, clock)
    writer = Writer(repository)
    tree = writer.tree({"leaf": b"leaf"})
    for _ in range(60):
        tree = writer.blob(BlobType.TREE, encode_tree([dir_node(b"a", tree), dir_node(b"b", tree)]))
    writer.snapshot(tree, clock)
    report = structure(repository, clock)
    assert report.is_good and report.trees_count == 61
