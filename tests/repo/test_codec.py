"""Compression is bounded: a frame never gives more than was agreed, whatever it says of itself."""

from __future__ import annotations

import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from govsec.errors import FormatError, IntegrityError, LimitError
from govsec.repo.codec import Codec

CODEC = Codec()


@given(st.binary(max_size=2000))
def test_what_was_compressed_comes_back(plain: bytes) -> None:
    assert CODEC.decompress(CODEC.compress(plain), len(plain)) == plain


def test_a_frame_without_a_stated_size_is_read() -> None:
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(b"as Go writes it" * 100)
    assert zstandard.frame_content_size(frame) == -1
    assert CODEC.decompress(frame, 1500) == b"as Go writes it" * 100


@pytest.mark.parametrize("is_stated", [True, False])
def test_a_bomb_takes_no_memory(is_stated: bool) -> None:
    bomb = zstandard.ZstdCompressor(write_content_size=is_stated).compress(bytes(100 << 20))
    tracemalloc.start()
    with pytest.raises((LimitError, FormatError)):
        CODEC.decompress(bomb, 1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("data", [b"", b"junk", b"\x28\xb5\x2f\xfd", CODEC.compress(b"x") + b"y"])
def test_what_is_not_one_whole_frame_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        CODEC.decompress(data, 1000)


def test_json_of_both_versions_is_read_and_other_encodings_are_not() -> None:
    assert CODEC.unpack_json(CODEC.pack_json(b'{"a":1}'), 100) == b'{"a":1}'
    assert CODEC.unpack_json(b'{"a":1}', 100) == b'{"a":1}'
    assert CODEC.unpack_json(b"[]", 100) == b"[]"
    for other in (b"", b"\x01", b"\x03{}"):
        with pytest.raises(FormatError):
            CODEC.unpack_json(other, 100)


@given(st.binary(max_size=300))
def test_junk_raises_only_our_errors(data: bytes) -> None:
    for prefix in (b"", b"\x28\xb5\x2f\xfd"):
        try:
            CODEC.decompress(prefix + data, 10_000)
        except IntegrityError:
            continue
