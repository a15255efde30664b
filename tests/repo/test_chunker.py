"""The chunker: bounds hold, an insertion moves few cuts, and the cuts are the secret of one repository."""

from __future__ import annotations

import random

import pytest

from govsec.repo.chunker import CHUNK_SIZE_MAX, CHUNK_SIZE_MIN, Chunker

DATA = random.Random(1).randbytes(24 << 20)
CHUNKER = Chunker("25b468838dcb75")


def chunks(data: bytes, chunker: Chunker = CHUNKER) -> list[bytes]:
    cuts = list(chunker.cuts(data))
    return [data[start:end] for start, end in zip([0, *cuts], cuts, strict=False)]


def test_chunks_are_the_whole_and_keep_their_bounds() -> None:
    found = chunks(DATA)
    assert b"".join(found) == DATA
    assert all(CHUNK_SIZE_MIN <= len(chunk) <= CHUNK_SIZE_MAX for chunk in found[:-1])
    assert 8 < len(found) < 40


def test_the_same_data_is_cut_the_same_way_each_time() -> None:
    assert chunks(DATA) == chunks(DATA, Chunker("25b468838dcb75"))


def test_an_insertion_changes_few_chunks() -> None:
    changed = DATA[: 10 << 20] + b"inserted" + DATA[10 << 20 :]
    assert len(set(chunks(changed)) - set(chunks(DATA))) <= 3


def test_another_repository_cuts_elsewhere() -> None:
    assert len(set(chunks(DATA, Chunker("3da3358b4dc173"))) & set(chunks(DATA))) <= 1


def test_data_without_any_cut_is_cut_at_the_largest_size() -> None:
    assert {len(chunk) for chunk in chunks(bytes(20 << 20))[:-1]} <= {CHUNK_SIZE_MIN, CHUNK_SIZE_MAX}


@pytest.mark.parametrize("size", [0, 1, CHUNK_SIZE_MIN])
def test_what_is_small_is_one_chunk(size: int) -> None:
    assert chunks(DATA[:size]) == ([DATA[:size]] if size else [])


def test_cuts_in_a_window_agree_with_cuts_of_the_whole() -> None:
    # As the archiver reads: windows of 9 MiB, and what is left of one goes before the next.
    found: list[bytes] = []
    rest = b""
    for start in range(0, len(DATA), 9 << 20):
        rest += DATA[start : start + (9 << 20)]
        is_last = start + (9 << 20) >= len(DATA)
        pieces = chunks(rest)
        while pieces and (is_last or len(pieces) > 1 or len(pieces[0]) == CHUNK_SIZE_MAX):
            found.append(pieces.pop(0))
        rest = b"".join(pieces)
    assert found == chunks(DATA)
