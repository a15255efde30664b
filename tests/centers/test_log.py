"""The commit log: what is believed, what is not, and that reading it stays cheap."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govsec.centers import checkpoints, names
from govsec.centers.checkpoints import newest_checkpoint
from govsec.centers.commits import (
    INLINE_ENTRIES_MAX,
    LIST_ENTRIES_MAX,
    Commit,
    NameSet,
    iterate_names,
    open_commit,
    sign_commit,
    split_names,
)
from govsec.centers.log import START, FlawKind, Log, compare, covering_prefixes, named_objects, read_log, union
from govsec.errors import FormatError, IntegrityError, LimitError
from govsec.store.memory import MemoryStore
from govsec.testing.faults import FaultStore, no_faults
from tests.centers.world import World, copy_store


def log_of(world: World, store: MemoryStore | None = None, **options: object) -> Log:
    return read_log(store or world.production, world.trusted, repository=world.repository, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def long_log() -> World:
    """More than two checkpoints and five commits; read only."""
    world = World()
    for number in range(checkpoints.COMMITS_BETWEEN * 2 + 5):
        world.backup(packs_count=number % 3 == 0)
    return world


def three_commits() -> World:
    world = World()
    for _ in range(3):
        world.backup()
    return world


def test_a_removed_commit_in_the_middle_is_a_gap() -> None:
    world = three_commits()
    world.production.delete(log_of(world).entries[1].name)
    log = log_of(world)
    assert [flaw.kind for flaw in log.flaws] == [FlawKind.GAP]
    assert log.head.number == 1, "what hangs on nothing is not believed"


def test_a_cut_off_end_shows_when_the_centers_are_compared() -> None:
    world = three_commits()
    world.production.delete(log_of(world).entries[2].name)
    logs = {store.name: log_of(world, store) for store in (world.production, world.same_city)}
    assert logs["production"].flaws == ()
    lacking = compare(logs)
    assert [entry.number for entry in lacking["production"]] == [3]
    assert lacking["same_city"] == ()


def test_altered_bytes_are_forged_whatever_the_name_says() -> None:
    world = three_commits()
    entry = log_of(world).entries[2]
    data = world.production.get(entry.name, size_max=1 << 20)
    world.production.put(entry.name, data.replace(b'"number":3', b'"number":4'))
    assert [flaw.kind for flaw in log_of(world).flaws] == [FlawKind.FORGED]


def test_re_ordered_commits_are_refused() -> None:
    world = three_commits()
    first, second, third = log_of(world).entries
    for entry, number in ((second, 3), (third, 2)):
        data = world.production.get(entry.name, size_max=1 << 20)
        world.production.delete(entry.name)
        world.production.put(names.numbered(names.COMMITS, number, entry.digest), data)
    log = log_of(world)
    assert log.head.digest == first.digest
    assert len(log.flaws) == 2


def test_a_commit_that_skips_a_number_or_falls_back_an_epoch_is_refused() -> None:
    world = three_commits()
    last = log_of(world).entries[-1]
    for change in ({"number": 9}, {"number": 4, "epoch": 1}):
        store = copy_store(world.production)
        body = {**last.commit.model_dump(), "number": 4, "previous": last.digest, "epoch": 2}
        fourth, data = sign_commit(world.commit_signer, Commit.model_validate(body))
        store.put(fourth.name, data)
        assert log_of(world, store).head.number == 4
        after = {**body, "previous": fourth.digest, "number": 5, **change}
        after["number"] = 9 if change.get("number") == 9 else 5
        fifth, data = sign_commit(world.commit_signer, Commit.model_validate(after))
        store.put(fifth.name, data)
        assert log_of(world, store).head.number == 4
        assert [flaw.kind for flaw in log_of(world, store).flaws] == [FlawKind.GAP]


def test_a_second_first_commit_is_a_fork_that_is_named() -> None:
    world = three_commits()
    first = log_of(world).entries[0]
    body = {**first.commit.model_dump(), "held_by": ("same_city",)}
    other, data = sign_commit(world.commit_signer, Commit.model_validate(body))
    world.production.put(other.name, data)
    log = log_of(world)
    assert [flaw.kind for flaw in log.flaws] == [FlawKind.FORK]
    assert log.head.number == 3


def test_objects_that_are_no_commits_are_named_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    world = three_commits()
    for number in range(20):
        world.production.put(f"{names.COMMITS}junk{number}", b"x")
    log = log_of(world)
    assert [flaw.kind for flaw in log.flaws] == [FlawKind.MISPLACED] * 20
    assert log.head.number == 3
    # The bound is ten thousand; a smaller one keeps the test fast.
    monkeypatch.setattr("govsec.centers.log._FLAWS_MAX", 10)
    with pytest.raises(LimitError):
        log_of(world)


def test_a_checkpoint_is_not_taken_for_a_commit(long_log: World) -> None:
    world = long_log
    stored = newest_checkpoint(world.production, world.trusted, world.repository)
    assert stored is not None
    data = world.production.get(stored.name, size_max=1 << 20)
    with pytest.raises(FormatError):
        open_commit(world.trusted, stored.name.replace(names.CHECKPOINTS, names.COMMITS), data)


def test_reading_from_a_checkpoint_gives_the_same_state_for_a_bounded_number_of_calls(long_log: World) -> None:
    world = long_log
    counter = no_faults()
    store = FaultStore(world.production, counter)
    short = read_log(store, world.trusted, repository=world.repository)
    assert counter.calls_count < checkpoints.COMMITS_BETWEEN
    whole = log_of(world, after=START)
    assert short.checkpoint is not None
    assert short.head == whole.head
    assert len(short.entries) == 5
    assert named_objects(short, world.production) == named_objects(whole, world.production)


def test_a_damaged_checkpoint_is_passed_over(long_log: World) -> None:
    store = copy_store(long_log.production)
    whole = log_of(long_log, store)
    for info in list(store.list(names.CHECKPOINTS)):
        store.put(info.name, b"{}")
    log = log_of(long_log, store)
    assert (log.checkpoint, log.head) == (None, whole.head)


def test_the_union_of_logs_is_a_log() -> None:
    world = three_commits()
    left, right = copy_store(world.production), copy_store(world.production)
    left.delete(log_of(world).entries[1].name)
    right.delete(log_of(world).entries[2].name)
    joint = union([log_of(world, left, after=START), log_of(world, right, after=START)])
    # The gap at the left hides its third commit from it; together nothing is missing but that.
    assert [entry.number for entry in joint.entries] == [1, 2]


@given(st.integers(min_value=0, max_value=10**9), st.integers(min_value=1, max_value=10**6))
def test_every_later_commit_lies_under_one_of_the_covering_prefixes(number: int, later: int) -> None:
    name = names.numbered(names.COMMITS, number + later, "0" * 64)
    is_near = len(str(number + later)) <= len(str(number)) + 1
    covered = [prefix for prefix in covering_prefixes(number) if name.startswith(prefix)]
    assert len(covered) == 1 or not is_near
    assert len(covering_prefixes(number)) <= 110


@settings(deadline=None, max_examples=15)
@given(st.integers(min_value=0, max_value=2 * LIST_ENTRIES_MAX + 3))
def test_names_are_split_and_found_again(count: int) -> None:
    entries = [(f"index/{number:064x}", number % 1000) for number in range(count)]
    name_set, lists = split_names(entries)
    store = MemoryStore()
    for name, data in lists.items():
        store.put(name, data)
    assert sorted(iterate_names(store, name_set)) == sorted(entries)
    assert (name_set.count, name_set.size_bytes) == (count, sum(size for _, size in entries))
    assert bool(lists) == (count > INLINE_ENTRIES_MAX)


@pytest.mark.parametrize(
    "name",
    [
        "config",
        "keys/" + "0" * 64,
        "locks/" + "0" * 64,
        "../" + "0" * 64,
        "data/aa/" + "0" * 64,
        "govsec/paused",
        "index/" + "G" * 64,
        "snapshots/" + "0" * 63,
    ],
)
def test_a_commit_cannot_name_what_must_not_travel(name: str) -> None:
    with pytest.raises(ValueError, match="not a name that a commit may list"):
        NameSet(count=1, size_bytes=1, names=((name, 1),))


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_junk_under_a_commit_s_name_raises_only_our_errors(data: bytes) -> None:
    world = World()
    with pytest.raises(IntegrityError):
        open_commit(world.trusted, names.numbered(names.COMMITS, 1, "0" * 64), data)


@settings(deadline=None)
@given(position=st.integers(min_value=0, max_value=2000), replacement=st.integers(min_value=0, max_value=255))
def test_a_mutated_commit_raises_only_our_errors(position: int, replacement: int) -> None:
    import hashlib

    world = World()
    world.backup()
    entry = log_of(world).entries[0]
    data = bytearray(world.production.get(entry.name, size_max=1 << 20))
    position %= len(data)
    if data[position] == replacement:
        return
    data[position] = replacement
    name = names.numbered(names.COMMITS, 1, hashlib.sha256(data).hexdigest())
    with pytest.raises(IntegrityError):
        open_commit(world.trusted, name, bytes(data))
