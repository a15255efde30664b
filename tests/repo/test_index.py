"""The index: found in every way that it can be asked, small, shared with children, and safe from hostile ids."""

from __future__ import annotations

import os
import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govsec.errors import FormatError, LimitError
from govsec.repo.claims import ClaimTable
from govsec.repo.index import Index, ids_from_hex
from govsec.repo.indexbuild import IndexBuilder
from govsec.repo.indexfile import decode_index, encode_index, split_for_files
from govsec.repo.pack import ROW, BlobType, Rows

PACKS = [bytes([number]) * 32 for number in range(1, 5)]


def rows_of(*entries: tuple[bytes, int, int, int, int]) -> Rows:
    return np.array(list(entries), ROW)


def built(content: dict[bytes, Rows]) -> Index:
    builder = IndexBuilder()
    for pack, rows in content.items():
        builder.add_pack(pack, rows)
    return builder.finish()


def random_rows(count: int, seed: int) -> Rows:
    ids = np.random.default_rng(seed).bytes(32 * count)
    rows = np.zeros(count, ROW)
    rows["id"] = np.frombuffer(ids, "V32")
    rows["offset"] = np.arange(count) * 100
    rows["length"] = 100
    return rows


ids = st.one_of(
    st.binary(min_size=32, max_size=32),
    # Ids that agree in their first bytes fill one bucket and defeat comparisons of prefixes.
    st.binary(min_size=2, max_size=2).map(lambda end: bytes(30) + end),
    st.binary(min_size=1, max_size=1).map(lambda end: b"\xff" * 31 + end),
    st.binary(min_size=1, max_size=1).map(lambda one: one * 32),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(ids, st.sampled_from(BlobType), st.integers(0, 3), st.integers(0, 5)), max_size=150),
    st.lists(ids, max_size=30),
)
def test_the_index_says_what_a_dictionary_says(
    entries: list[tuple[bytes, BlobType, int, int]], others: list[bytes]
) -> None:
    expected: dict[tuple[BlobType, bytes], set[tuple[bytes, int]]] = {}
    builder = IndexBuilder()
    for blob_id, blob_type, pack, offset in entries:
        builder.add_pack(PACKS[pack], rows_of((blob_id, offset, 50, 0, blob_type)))
        expected.setdefault((blob_type, blob_id), set()).add((PACKS[pack], offset))
    index = builder.finish()
    assert len(index) == sum(map(len, expected.values()))
    asked = sorted({blob_id for blob_id, *_ in entries} | set(others))
    for blob_type in BlobType:
        rows = index.find_many(blob_type, b"".join(asked)).tolist()
        for blob_id, row in zip(asked, rows, strict=True):
            places = expected.get((blob_type, blob_id), set())
            assert {(place.pack, place.offset) for place in index.find(blob_type, blob_id)} == places
            assert ((blob_type, blob_id) in index) == bool(places) == (row >= 0)
            if row >= 0:
                assert (index.location(row).blob_type, index.location(row).blob_id) == (blob_type, blob_id)


def test_two_hundred_thousand_blobs_are_found_and_take_less_than_a_hundred_bytes_each() -> None:
    rows = random_rows(200_000, seed=1)
    index = built({PACKS[0]: rows[:100_000], PACKS[1]: rows[100_000:]})
    assert index.size_bytes / len(index) < 60
    sought = rows["id"].tobytes()
    assert index.contains_many(BlobType.DATA, sought).all()
    assert not index.contains_many(BlobType.TREE, sought).any()
    assert not index.contains_many(BlobType.DATA, random_rows(1000, seed=2)["id"].tobytes()).any()
    chosen = random.Random(3).sample(range(200_000), 500)
    assert all(index.find(BlobType.DATA, rows["id"][n].tobytes())[0].offset == n * 100 for n in chosen)


def test_rows_are_ascending_and_grouped_by_pack_on_demand() -> None:
    rows = random_rows(1000, seed=4)
    index = built({PACKS[0]: rows[:300], PACKS[1]: rows[300:]})
    assert [bytes(row) for row in index.ids] == sorted(rows["id"][n].tobytes() for n in range(1000))
    order, starts = index.rows_by_pack()
    assert starts.tolist() == [0, 300, 1000]
    assert [index.location(int(row)).offset for row in order[:300]] == [n * 100 for n in range(300)]


def test_a_pack_in_two_index_files_counts_once() -> None:
    rows = random_rows(100, seed=5)
    builder = IndexBuilder()
    builder.add_pack(PACKS[0], rows)
    builder.add_pack(PACKS[0], rows)
    assert len(builder.finish()) == 100


def test_an_index_grows_by_building_it_anew() -> None:
    old = built({PACKS[0]: random_rows(50_000, seed=6)})
    builder = IndexBuilder()
    builder.add_index(old)
    builder.add_pack(PACKS[1], random_rows(1000, seed=7))
    new = builder.finish()
    assert len(new) == 51_000
    assert new.contains_many(BlobType.DATA, old.ids).all()
    assert {place.pack for place in new.locations()} == {PACKS[0], PACKS[1]}


def test_a_forked_child_reads_the_parents_index() -> None:
    rows = random_rows(1000, seed=8)
    index = built({PACKS[0]: rows})
    child = os.fork()
    if child == 0:
        found = index.contains_many(BlobType.DATA, rows["id"].tobytes()).all()
        os._exit(0 if found and (BlobType.DATA, rows["id"][5].tobytes()) in index else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_an_empty_index_holds_nothing() -> None:
    index = Index.empty()
    assert len(index) == 0 and (BlobType.DATA, PACKS[0]) not in index
    assert index.find_many(BlobType.DATA, PACKS[0]).tolist() == [-1]


def test_a_giant_index_is_refused_before_it_is_in_memory() -> None:
    builder = IndexBuilder(blobs_max=5000)
    with pytest.raises(LimitError, match="5000"):
        for seed in range(100):
            builder.add_pack(PACKS[0], random_rows(1000, seed=seed))
    assert len(builder) <= 6000


def test_a_giant_index_file_is_refused_before_it_is_decoded() -> None:
    bomb = b'{"packs":[{"id":"","blobs":[' + b'{"id":""},' * 2_000_000 + b"]}]}"
    tracemalloc.start()
    with pytest.raises(LimitError):
        decode_index(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_one_bucket_full_of_ids_does_not_make_lookups_slow_or_wrong() -> None:
    # Only whoever holds the key can write an index; a hostile production host does. Same first 24 bytes for all.
    count = 20_000
    rows = np.zeros(count, ROW)
    rows["id"] = np.frombuffer(b"".join(bytes(24) + number.to_bytes(8, "big") for number in range(1, count + 1)), "V32")
    rows["length"] = 50
    index = built({PACKS[0]: rows})
    assert index.contains_many(BlobType.DATA, rows["id"].tobytes()).all()
    assert all((BlobType.DATA, rows["id"][n].tobytes()) in index for n in range(0, count, 100))


def test_an_id_made_of_the_halves_of_two_neighbours_is_not_there() -> None:
    first, second = b"\x11" * 16 + b"\x12" * 16, b"\x13" * 32
    index = built({PACKS[0]: rows_of((first, 0, 50, 0, 0), (second, 50, 50, 0, 0))})
    between = first[16:] + second[:16]
    assert (BlobType.DATA, between) not in index
    assert not index.contains_many(BlobType.DATA, between).any()


def test_index_files_are_the_json_that_restic_writes() -> None:
    rows = rows_of((b"\x01" * 32, 0, 38, 0, 0), (b"\x02" * 32, 38, 612, 4096, 1))
    one, two = "01" * 32, "02" * 32
    assert (
        encode_index([(PACKS[3], rows)])
        == (
            f'{{"packs":[{{"id":"{"04" * 32}","blobs":['
            f'{{"id":"{one}","type":"data","offset":0,"length":38}},'
            f'{{"id":"{two}","type":"tree","offset":38,"length":612,"uncompressed_length":4096}}]}}]}}'
        ).encode()
    )


def test_an_index_file_comes_back() -> None:
    packs = [(PACKS[0], random_rows(100, seed=9)), (PACKS[1], random_rows(1, seed=10))]
    decoded = decode_index(encode_index(packs))
    assert [pack for pack, _ in decoded] == PACKS[:2]
    assert all(np.array_equal(rows, other[1]) for (_, rows), other in zip(packs, decoded, strict=True))


def test_unknown_fields_and_an_index_of_nothing_are_read() -> None:
    assert (
        decode_index(b'{"supersedes":["x"],"packs":[{"id":"%s","blobs":[],"time":1}]}' % (b"ab" * 32))[0][1].size == 0
    )
    assert decode_index(b'{"packs":null}') == []


@pytest.mark.parametrize(
    "blob",
    [
        {"id": '"00"'},
        {"id": f'"{"0" * 64}"'},
        {"id": f'"{" " * 2}{"ab" * 31}"'},
        {"id": f'"{"zz" * 32}"'},
        {"offset": "-1"},
        {"offset": "4294967296"},
        {"length": "32"},
        {"length": "1.5"},
        {"type": '"other"'},
        {"uncompressed_length": "-1"},
    ],
    ids=str,
)
def test_index_entries_that_cannot_be_are_refused(blob: dict[str, str]) -> None:
    fields = {"id": f'"{"ab" * 32}"', "type": '"data"', "offset": "0", "length": "40", **blob}
    body = ",".join(f'"{name}":{value}' for name, value in fields.items())
    with pytest.raises(FormatError):
        decode_index(f'{{"packs":[{{"id":"{"cd" * 32}","blobs":[{{{body}}}]}}]}}'.encode())


def test_a_pack_is_never_divided_among_index_files() -> None:
    packs = [(bytes([n]) * 32, random_rows(20_000, seed=n)) for n in range(7)]
    groups = list(split_for_files(packs))
    assert [len(group) for group in groups] == [3, 3, 1]
    assert [pack for group in groups for pack, _ in group] == [pack for pack, _ in packs]


def test_ids_with_white_space_or_of_another_length_are_refused() -> None:
    for bad in ("ab" * 31, "ab" * 33, " " * 64, "ab" * 31 + "  "):
        with pytest.raises(FormatError):
            ids_from_hex(["cd" * 32, bad])


def test_a_claim_is_given_once() -> None:
    table = ClaimTable()
    sought = [os.urandom(32) for _ in range(3000)] + [bytes(31) + bytes([n]) for n in range(1, 60)]
    assert all(table.claim(blob) for blob in sought)
    assert not any(table.claim(blob) for blob in sought)


def test_a_table_without_room_gives_blobs_twice_and_counts_them() -> None:
    table = ClaimTable()
    # Not digests: all of them belong into the same slots.
    sought = [number.to_bytes(8, "big") + bytes(23) + b"x" for number in range(1, 400)]
    assert all(table.claim(blob) for blob in sought)
    assert table.overflow_count > 0


def test_claims_go_on_beyond_the_first_level() -> None:
    table = ClaimTable()
    sought = random_rows(150_000, seed=11)["id"].tobytes()
    chunks = [sought[start : start + 32] for start in range(0, len(sought), 32)]
    assert sum(map(table.claim, chunks)) == 150_000
    assert not any(map(table.claim, chunks))
    assert table.overflow_count == 0


def test_a_claim_of_one_process_is_seen_by_another() -> None:
    table, blob = ClaimTable(), os.urandom(32)
    child = os.fork()
    if child == 0:
        os._exit(0 if table.claim(blob) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert not table.claim(blob)
