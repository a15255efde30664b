"""An index in two layers answers whatever it is asked as one index of all rows does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govsec.repo import indexlayers
from govsec.repo.index import Index
from govsec.repo.indexbuild import IndexBuilder
from govsec.repo.indexfile import PackRows
from govsec.repo.indexlayers import LayeredIndex, grown
from govsec.repo.pack import ROW, BlobType

blobs = st.lists(st.tuples(st.integers(0, 40), st.sampled_from(BlobType)), max_size=25)


def pack(number: int, content: list[tuple[int, BlobType]]) -> PackRows:
    rows = [(bytes([seed]) * 32, 100 * at, 90, 0, int(kind)) for at, (seed, kind) in enumerate(content)]
    return bytes([200 + number]) * 32, np.array(rows, ROW)


def built(packs: list[PackRows]) -> Index:
    builder = IndexBuilder()
    builder.add_packs(packs)
    return builder.finish()


def places(index: Index, kind: BlobType, blob: bytes) -> set[tuple[bytes, int]]:
    return {(place.pack, place.offset) for place in index.find(kind, blob)}


def assert_same(index: Index, whole: Index) -> None:
    assert len(index) >= len(whole)
    wanted = b"".join(bytes([seed]) * 32 for seed in range(42))
    for kind in BlobType:
        assert (index.contains_many(kind, wanted) == whole.contains_many(kind, wanted)).all()
        assert ((index.find_many(kind, wanted) >= 0) == (whole.find_many(kind, wanted) >= 0)).all()
        for seed in range(42):
            blob = bytes([seed]) * 32
            assert ((kind, blob) in index) == ((kind, blob) in whole)
            assert places(index, kind, blob) == places(whole, kind, blob)
    assert {(one.pack, one.offset) for one in index.locations()} == {
        (one.pack, one.offset) for one in whole.locations()
    }
    assert sorted(index.packs) == sorted(whole.packs)
    assert index.ids.tobytes() == whole.ids.tobytes()


@settings(max_examples=30, deadline=None)
@given(blobs, blobs)
def test_two_layers_are_one_index(old: list[tuple[int, BlobType]], new: list[tuple[int, BlobType]]) -> None:
    packs = [pack(0, old), pack(1, new)]
    assert_same(LayeredIndex(built(packs[:1]), built(packs[1:])), built(packs))


@pytest.mark.parametrize("young_max", [0, 7, 1000])
def test_an_index_that_grows_by_packs_is_that_of_all_packs(monkeypatch: pytest.MonkeyPatch, young_max: int) -> None:
    # As many rows as in production would make the test slow, and show nothing more.
    monkeypatch.setattr(indexlayers, "_YOUNG_MAX", young_max)
    index, packs = Index.empty(), []
    for number in range(12):
        packs.append(pack(number, [((5 * number + at) % 41, BlobType.DATA) for at in range(3)]))
        index = grown(index, packs[-1:])
        assert_same(index, built(packs))
    assert isinstance(index, LayeredIndex) == (young_max == 7)
