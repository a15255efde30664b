"""The contract of ``ObjectStore``, as functions that any store must pass; our own and those of others.

Each function takes a fresh, empty store and raises ``AssertionError`` where the contract is broken::

    @pytest.mark.parametrize("case", CONTRACT, ids=lambda case: case.__name__)
    def test_my_store(case, tmp_path):
        case(MyStore(tmp_path))

``SHARED_CONTRACT`` is for stores whose objects other processes see: all but those in memory. What stores with versions
and object lock promise besides is in ``govsec.testing.versionsuite``.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from typing import Final, TypeVar

from govsec.errors import (
    GovsecError,
    IntegrityError,
    LimitError,
    ObjectExistsError,
    ObjectNotFoundError,
    RefusedError,
)
from govsec.store.api import ObjectInfo, ObjectStore
from govsec.store.pieces import pieces_of, put_pieces

Case = Callable[[ObjectStore], None]
E = TypeVar("E", bound=GovsecError)

_NAME: Final = "data/ab/" + "ab" * 32
_WRITERS_COUNT: Final = 8
#: Not one of these may reach a file system or a server.
_ODD_NAMES: Final = (
    "",
    "/",
    "/etc/passwd",
    "..",
    "../up",
    "a/../b",
    "a//b",
    "a/",
    ".hidden",
    "a/.hidden",
    ".incoming/x",
    "-option",
    "a b",
    "a\nb",
    "a\x00b",
    "a\\b",
    "a?b",
    "a%2fb",
    "名",
    "é",
    "a" * 201,
    "/".join(["a" * 100] * 10),
)


def put_object_is_read_back_unchanged(store: ObjectStore) -> None:
    """Whatever the bytes, none included."""
    for position, data in enumerate([b"", b"\x00", bytes(range(256)) * 40, os.urandom(3 << 20)]):
        name = f"data/{position}"
        put, head = store.put(name, data), store.head(name)
        for info in (put, head):
            assert (info.name, info.size_bytes) == (name, len(data)), info
            assert info.modified is None or info.modified.tzinfo == UTC, info
            assert info.held_by == (store.name,), info
        assert store.get(name, size_max=len(data)) == data


def ranges_are_cut_exactly(store: ObjectStore) -> None:
    """From the first byte, up to the last, in between, and empty ones."""
    data = bytes(range(200))
    store.put(_NAME, data)
    for offset, length in [(0, 1), (0, 200), (199, 1), (17, 100), (0, 0), (100, 0), (200, 0)]:
        found = store.get(_NAME, offset=offset, length=length, size_max=length)
        assert found == data[offset : offset + length], (offset, length)
    for offset in (0, 1, 199, 200):
        assert store.get(_NAME, offset=offset, size_max=200) == data[offset:], offset


def range_outside_the_object_is_an_error(store: ObjectStore) -> None:
    """Fewer bytes than were asked for are never returned."""
    store.put(_NAME, bytes(100))
    for offset, length in [(0, 101), (100, 1), (99, 2), (5000, 1), (101, 0), (101, None), (-1, 2), (0, -1)]:
        raises(IntegrityError, store.get, _NAME, offset=offset, length=length, size_max=1000)


def answer_longer_than_size_max_is_refused(store: ObjectStore) -> None:
    """Whole objects and ranges; what fits exactly is given."""
    store.put(_NAME, bytes(100))
    raises(LimitError, store.get, _NAME, size_max=99)
    raises(LimitError, store.get, _NAME, offset=10, length=50, size_max=49)
    raises(LimitError, store.get, _NAME, offset=10, size_max=89)
    assert len(store.get(_NAME, offset=10, size_max=90)) == 90
    assert len(store.get(_NAME, offset=10, length=50, size_max=50)) == 50


def missing_object_is_not_found(store: ObjectStore) -> None:
    """By every call that names one; a folder is no object."""
    store.put("folder/object", b"1")
    for name in ("none", "folder", "folder/none", "none/none"):
        raises(ObjectNotFoundError, store.head, name)
        raises(ObjectNotFoundError, store.get, name, size_max=10)
        raises(ObjectNotFoundError, store.get, name, offset=0, length=1, size_max=10)
    assert names(store, "none") == []


def odd_names_are_refused(store: ObjectStore) -> None:
    """By every call, before anything is asked or written."""
    for name in _ODD_NAMES:
        raises(RefusedError, store.put, name, b"x")
        raises(RefusedError, store.put, name, b"x", if_absent=True)
        raises(RefusedError, store.get, name, size_max=10)
        raises(RefusedError, store.head, name)
        raises(RefusedError, store.delete, name)
    for prefix in ("/", "..", "../", "a/../", "a//", ".hidden", "a b"):
        raises(RefusedError, names, store, prefix)
    assert names(store, "") == []


def long_names_are_held(store: ObjectStore) -> None:
    """A name may be 900 characters long, a segment 200."""
    name = "/".join(["s" * 200] * 4 + ["n" * 96])
    assert len(name) == 900
    store.put(name, b"long")
    assert store.get(name, size_max=4) == b"long"
    assert names(store, "s") == [name]


def names_are_listed_in_order_by_prefix(store: ObjectStore) -> None:
    """Ascending by bytes, also where a folder's name begins another name."""
    held = ["a-b", "a.b", "a/b", "a/b-c", "a/bb/c", "a=b", "aa", "b", "data/00/1", "data/01/1", "data/0a", "z"]
    for name in reversed(held):
        store.put(name, name.encode())
    for prefix in ("", "a", "a/", "a/b", "a/b-", "a-", "data/", "data/0", "data/00/", "z", "zz", "nothing/"):
        expected = [name for name in sorted(held) if name.startswith(prefix)]
        assert names(store, prefix) == expected, (prefix, names(store, prefix))
    assert [info.size_bytes for info in store.list("data/")] == [9, 9, 7]


def listing_survives_changes_made_meanwhile(store: ObjectStore) -> None:
    """An object removed while the list is consumed may be listed or not; the others are."""
    for position in range(10):
        store.put(f"data/{position}", b"x")
    listing = store.list("data/")
    first = next(listing).name
    store.delete("data/5")
    store.put("index/new", b"x")
    rest = [info.name for info in listing]
    assert [first, *(name for name in rest if name != "data/5")] == [f"data/{p}" for p in range(10) if p != 5]


def equal_bytes_again_are_an_ack(store: ObjectStore) -> None:
    """A put may be repeated."""
    for _ in range(3):
        assert store.put(_NAME, b"same").size_bytes == 4
    assert names(store, "") == [_NAME]
    assert store.get(_NAME, size_max=4) == b"same"


def put_repairs_an_object(store: ObjectStore) -> None:
    """A plain put wins over what is there: so a damaged object is healed."""
    store.put(_NAME, b"damaged, and longer")
    store.put(_NAME, b"right")
    assert store.get(_NAME, size_max=100) == b"right"
    assert store.head(_NAME).size_bytes == 5


def conditional_put_leaves_what_is_there(store: ObjectStore) -> None:
    """Also when the bytes are equal; and it works again once the object is gone."""
    store.put(_NAME, b"first", if_absent=True)
    for data in (b"first", b"other"):
        raises(ObjectExistsError, store.put, _NAME, data, if_absent=True)
    assert store.get(_NAME, size_max=10) == b"first"
    store.delete(_NAME)
    store.put(_NAME, b"third", if_absent=True)
    assert store.get(_NAME, size_max=10) == b"third"


def one_of_many_writers_wins(store: ObjectStore) -> None:
    """Threads that put the same name if absent, each with its own clone and bytes."""

    def write(writer: int) -> int | None:
        try:
            clones[writer].put(_NAME, b"%d" % writer, if_absent=True)
        except ObjectExistsError:
            return None
        return writer

    clones = [store.clone() for _ in range(_WRITERS_COUNT)]
    with ThreadPoolExecutor(_WRITERS_COUNT) as threads:
        won = [writer for writer in threads.map(write, range(_WRITERS_COUNT)) if writer is not None]
    assert len(won) == 1, f"{len(won)} writers won"
    assert store.get(_NAME, size_max=10) == b"%d" % won[0]


def deleting_is_idempotent(store: ObjectStore) -> None:
    """What is not there is deleted; neighbours stay."""
    store.put(_NAME, b"x")
    store.put(_NAME + "0", b"neighbour")
    for _ in range(3):
        store.delete(_NAME)
    store.delete("never/was/there")
    raises(ObjectNotFoundError, store.get, _NAME, size_max=10)
    raises(ObjectNotFoundError, store.head, _NAME)
    assert names(store, "") == [_NAME + "0"]


def clones_see_the_same_objects(store: ObjectStore) -> None:
    """In the same thread, in others at once, and under the same name."""
    store.put("before", b"1")
    clone = store.clone()
    clone.put("after", b"2")
    assert clone.name == store.name
    assert names(store, "") == names(clone, "") == ["after", "before"]

    def work(writer: int) -> bytes:
        own = store.clone()
        own.put(f"data/{writer}", b"%d" % writer * 1000)
        return own.get(f"data/{writer}", size_max=10_000)

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(work, range(8))) == [b"%d" % writer * 1000 for writer in range(8)]


def retention_is_kept_or_refused(store: ObjectStore) -> None:
    """A plain store says that it cannot keep an object from deletion, and stores nothing."""
    until = store.put("probe", b"x").modified or store.head("probe").modified
    assert until is not None
    raises(RefusedError, store.put, _NAME, b"x", retain_until=until.replace(year=until.year + 1))


def pieces_are_the_object(store: ObjectStore) -> None:
    """In order and whole, whatever its size; two that are read in turn do not disturb each other."""
    held = {f"data/{size}": os.urandom(size) for size in (0, 1, 250, (2 << 20) + 7)}
    for name, data in held.items():
        store.put(name, data)
        assert b"".join(bytes(piece) for piece in pieces_of(store, name, size_max=len(data))) == data, name
    name, data = f"data/{(2 << 20) + 7}", held[f"data/{(2 << 20) + 7}"]
    store.put(_NAME, data[::-1])
    pairs = zip(*(pieces_of(store, each, size_max=len(data)) for each in (name, _NAME)), strict=True)
    found = [(bytes(one), bytes(other)) for one, other in pairs]
    assert b"".join(one for one, _ in found) == data
    assert b"".join(other for _, other in found) == data[::-1]
    raises(LimitError, lambda: [*pieces_of(store, name, size_max=len(data) - 1)])
    raises(ObjectNotFoundError, lambda: [*pieces_of(store, "none", size_max=10)])


def pieces_are_stored_as_one_object(store: ObjectStore) -> None:
    """However they are cut; over what was there before, as a put."""
    buffer = bytearray(b"abc")

    def reused() -> Iterator[bytes | memoryview]:
        for letter in b"xyz":
            buffer[0] = letter
            yield memoryview(buffer)

    assert put_pieces(store, _NAME, reused()).size_bytes == 9
    assert store.get(_NAME, size_max=9) == b"xbcybczbc"
    assert put_pieces(store, _NAME, [b"", b"1", b""]).size_bytes == 1
    assert store.get(_NAME, size_max=1) == b"1"
    assert put_pieces(store, "empty", []).size_bytes == 0
    assert store.get("empty", size_max=0) == b""


def pieces_that_end_in_an_error_store_nothing(store: ObjectStore) -> None:
    """The error comes out unchanged, what was there stays, and the name that was not there is not."""

    def wrong() -> Iterator[bytes]:
        yield bytes(1000)
        raise IntegrityError("not what its name says")

    store.put(_NAME, b"before")
    for name in (_NAME, "data/new"):
        assert str(raises(IntegrityError, put_pieces, store, name, wrong())) == "not what its name says"
    assert store.get(_NAME, size_max=10) == b"before"
    assert names(store, "") == [_NAME]


def forked_process_uses_a_clone(store: ObjectStore) -> None:
    """Parent and child work at the same time, on connections of their own."""
    store.put("shared", bytes(100_000))

    def child() -> None:
        own = store.clone()
        for position in range(20):
            own.put(f"child/{position}", b"c%d" % position)
            assert own.get("shared", size_max=100_000) == bytes(100_000)

    with Child(child) as process:
        for position in range(20):
            store.put(f"parent/{position}", b"p%d" % position)
            assert store.get("shared", size_max=100_000) == bytes(100_000)
        process.wait()
    for position in range(20):
        assert store.get(f"child/{position}", size_max=10) == b"c%d" % position


def forked_process_may_even_use_the_store_itself(store: ObjectStore) -> None:
    """Forgetting ``clone`` after a fork must not mix up two processes' answers."""
    store.put("shared", b"s" * 1000)
    store.put("other", b"o" * 1000)

    def child() -> None:
        for _ in range(20):
            assert store.get("other", size_max=1000) == b"o" * 1000

    with Child(child) as process:
        for _ in range(20):
            assert store.get("shared", size_max=1000) == b"s" * 1000
        process.wait()


CONTRACT: Final[Sequence[Case]] = (
    put_object_is_read_back_unchanged,
    ranges_are_cut_exactly,
    range_outside_the_object_is_an_error,
    answer_longer_than_size_max_is_refused,
    missing_object_is_not_found,
    odd_names_are_refused,
    long_names_are_held,
    names_are_listed_in_order_by_prefix,
    listing_survives_changes_made_meanwhile,
    equal_bytes_again_are_an_ack,
    put_repairs_an_object,
    conditional_put_leaves_what_is_there,
    one_of_many_writers_wins,
    deleting_is_idempotent,
    clones_see_the_same_objects,
    retention_is_kept_or_refused,
    pieces_are_the_object,
    pieces_are_stored_as_one_object,
    pieces_that_end_in_an_error_store_nothing,
)

SHARED_CONTRACT: Final[Sequence[Case]] = (forked_process_uses_a_clone, forked_process_may_even_use_the_store_itself)


def names(store: ObjectStore, prefix: str) -> Sequence[str]:
    """The names that ``store`` lists under ``prefix``."""
    infos: Sequence[ObjectInfo] = [*store.list(prefix)]
    return [info.name for info in infos]


def raises(expected: type[E], call: Callable[..., object], *arguments: object, **options: object) -> E:
    """The error of class ``expected`` that the call raises; ``AssertionError`` when it raises none."""
    try:
        result = call(*arguments, **options)
    except expected as error:
        return error
    raise AssertionError(f"expected {expected.__name__}, got {result!r:.200}")


class Child:
    """A forked process that runs ``work`` and ends with 0, or with 1 and a traceback."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._pid = 0

    def __enter__(self) -> Child:
        self._pid = os.fork()
        if self._pid == 0:
            code = 1
            try:
                self._work()
                code = 0
            except BaseException:  # noqa: BLE001 - the outermost frame of a process
                traceback.print_exc()
            finally:
                os._exit(code)
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()

    def wait(self) -> None:
        """Raises ``AssertionError`` unless the process ended well."""
        if self._pid:
            _, status = os.waitpid(self._pid, 0)
            self._pid = 0
            assert os.waitstatus_to_exitcode(status) == 0, f"the forked process ended with status {status}"
