"""Packs: golden vector, round trips, headers that lie, and blobs that are opened again before a pack leaves."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from pathlib import Path

import pytest

from govsec.crypto.api import Suite
from govsec.crypto.restic import MasterKey, ResticSuite
from govsec.errors import FormatError, IntegrityError, LimitError
from govsec.repo.codec import Codec
from govsec.repo.layout import DATA_BLOB_SIZE_MAX
from govsec.repo.pack import BlobType, open_blob, pack_size_of, read_header
from govsec.repo.packer import FinishedPack, PackBuilder, Packer

VECTORS = Path(__file__).parents[1] / "vectors"
SUITE = ResticSuite(MasterKey.generate())
CODEC = Codec()


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def built(*plains: bytes, blob_type: BlobType = BlobType.DATA) -> FinishedPack:
    builder = PackBuilder(blob_type, CODEC, SUITE)
    for plain in plains:
        builder.add(sha(plain), plain)
    return builder.finish()


def forged(header: bytes, blobs: bytes = b"") -> bytes:
    sealed = SUITE.seal(header)
    return blobs + sealed + struct.pack("<I", len(sealed))


def test_the_reference_pack_is_read() -> None:
    vector = json.loads((VECTORS / "restic-pack.json").read_text())
    key = json.loads((VECTORS / "restic-crypto.json").read_text())["key"]
    suite = ResticSuite(MasterKey(**{name: bytes.fromhex(value) for name, value in key.items()}))
    data = bytes.fromhex(vector["pack"])
    assert sha(data).hex() == vector["id"]
    (row,) = read_header(suite, data)
    assert (row["id"].tobytes().hex(), row["offset"], row["length"], row["raw"]) == (vector["blob"], 0, 38, 0)
    plain = open_blob(suite, CODEC, data[:38], blob_id=bytes.fromhex(vector["blob"]), raw=0, size_max=100)
    assert plain == vector["plaintext"].encode()


def test_blobs_come_back_from_where_the_rows_say() -> None:
    plains = [os.urandom(1000), b"z" * 100_000, b"x"]
    pack = built(*plains)
    assert pack.id == sha(pack.data)
    assert pack_size_of(pack.rows) == len(pack.data)
    for plain, row in zip(plains, pack.rows, strict=True):
        sealed = pack.data[row["offset"] : row["offset"] + row["length"]]
        assert (
            open_blob(SUITE, CODEC, sealed, blob_id=sha(plain), raw=int(row["raw"]), size_max=DATA_BLOB_SIZE_MAX)
            == plain
        )


def test_data_that_does_not_shrink_is_stored_as_it_is_and_trees_are_always_compressed() -> None:
    noise = os.urandom(5000)
    assert built(noise).rows["raw"][0] == 0
    assert built(noise, blob_type=BlobType.TREE).rows["raw"][0] == 5000


@pytest.mark.parametrize("size", [0, DATA_BLOB_SIZE_MAX + 1])
def test_blobs_that_no_reader_takes_are_not_stored(size: int) -> None:
    with pytest.raises(LimitError):
        PackBuilder(BlobType.DATA, CODEC, SUITE).add(bytes([1]) * 32, bytes(size))


class _Faulty:
    """A suite in a machine with bad memory: the n-th sealed text has a bit flipped before it is sealed."""

    name = "faulty"
    overhead_bytes = SUITE.overhead_bytes

    def __init__(self, position: int) -> None:
        self._left = position

    def seal(self, plaintext: bytes | bytearray | memoryview) -> bytes:
        self._left -= 1
        return SUITE.seal(bytes(plaintext)[:-1] + bytes([plaintext[-1] ^ 1]) if self._left == 0 else plaintext)

    def seal_into(self, plaintext: bytes | bytearray | memoryview, place: memoryview) -> None:
        place[:] = self.seal(plaintext)

    def open(self, sealed: bytes | bytearray | memoryview) -> bytes:
        return SUITE.open(sealed)

    def digest(self, data: bytes | bytearray | memoryview) -> bytes:
        return SUITE.digest(data)

    def clone(self) -> Suite:
        return self


@pytest.mark.parametrize("position", [1, 2, 3, 4])
def test_a_pack_does_not_leave_when_anything_in_it_opens_to_something_else(position: int) -> None:
    builder = PackBuilder(BlobType.DATA, CODEC, _Faulty(position))
    with pytest.raises(IntegrityError, match="not stored"):
        for plain in (b"one", b"two" * 1000, b"three"):
            builder.add(sha(plain), plain)
        builder.finish()


@pytest.mark.parametrize("position", [1, 2])
def test_a_blob_that_does_not_open_again_leaves_its_pack_as_it_was(position: int) -> None:
    builder = PackBuilder(BlobType.DATA, CODEC, _Faulty(position))
    plains = [b"one" * 999, b"two" * 1000, b"three"]
    with pytest.raises(IntegrityError):
        for plain in plains:
            builder.add(sha(plain), plain)
    taken = plains[: position - 1]
    for plain in plains[position:]:
        builder.add(sha(plain), plain)
    pack = builder.finish()
    assert pack.rows["id"].tobytes() == b"".join(map(sha, [*taken, *plains[position:]]))
    assert pack.id == sha(pack.data)


def test_what_memory_does_to_a_pack_after_its_blobs_were_opened_is_found_out() -> None:
    builder = PackBuilder(BlobType.DATA, CODEC, SUITE)
    builder.add(sha(b"one"), b"one")
    builder._buffer[20] ^= 1  # the fault itself: no public door leads to it
    with pytest.raises(IntegrityError, match="not stored"):
        builder.finish()


def test_a_builder_is_used_again_and_nothing_of_the_pack_before_is_left() -> None:
    builder = PackBuilder(BlobType.DATA, CODEC, SUITE)
    packs = []
    for plains in ([os.urandom(9000), b"a" * 5000], [b"short"], [os.urandom(20_000)]):
        for plain in plains:
            builder.add(sha(plain), plain)
        packs.append((plains, builder.finish()))
    for plains, pack in packs:
        assert pack.id == sha(pack.data) and pack_size_of(pack.rows) == len(pack.data)
        assert pack.rows["id"].tobytes() == b"".join(map(sha, plains))


class _FaultyCodec(Codec):
    def compress(self, plain: bytes | bytearray | memoryview) -> bytes:
        return super().compress(bytes(plain)[:-1] + b"!")


def test_a_compressor_that_changes_content_is_found_out() -> None:
    with pytest.raises(IntegrityError, match="not stored"):
        PackBuilder(BlobType.DATA, _FaultyCodec(), SUITE).add(sha(b"a" * 999), b"a" * 999)


def test_a_packer_fills_two_packs_at_random_and_flushes_the_rest() -> None:
    packer = Packer(SUITE, pack_size=100_000)
    plains = [os.urandom(1000) for _ in range(500)]
    packs = [pack for plain in plains if (pack := packer.add(BlobType.DATA, sha(plain), plain))]
    packs += packer.flush()
    orders = [[row.tobytes() for row in pack.rows["id"]] for pack in packs]
    assert sorted(blob for order in orders for blob in order) == sorted(map(sha, plains))
    # With one open pack the first would hold the first hundred blobs.
    assert orders[0] != [sha(plain) for plain in plains[: len(orders[0])]]
    assert all(100_000 <= len(pack.data) < 120_000 for pack in packs[:-2])
    assert packer.pending_bytes == 0 and packer.flush() == []


def test_types_never_share_a_pack_and_two_small_rests_become_one() -> None:
    packer = Packer(SUITE)
    for number in range(50):
        plain = b"%d" % number
        packer.add(BlobType(number % 2), sha(plain), plain)
    packs = packer.flush()
    assert [sorted(set(pack.rows["type"].tolist())) for pack in packs] == [[0], [1]]


def test_a_blob_as_large_as_a_pack_goes_alone() -> None:
    packer = Packer(SUITE, pack_size=1 << 20)
    packer.add(BlobType.DATA, sha(b"small"), b"small")
    plain = os.urandom(1 << 20)
    pack = packer.add(BlobType.DATA, sha(plain), plain)
    assert pack is not None and len(pack.rows) == 1


ENTRY = struct.pack("<BI32s", 0, 40, bytes([7]) * 32)


@pytest.mark.parametrize(
    ("header", "blobs_size"),
    [
        (ENTRY, 41),
        (ENTRY, 39),
        (ENTRY + ENTRY, 40),
        (ENTRY[:-1], 40),
        (ENTRY + b"\0", 40),
        (b"\4" + ENTRY[1:], 40),
        (struct.pack("<BI32s", 0, 40, bytes(32)), 40),
        (struct.pack("<BI32s", 0, 32, bytes([7]) * 32), 32),
        (struct.pack("<BII32s", 2, 40, 0, bytes([7]) * 32), 40),
        (struct.pack("<BI32s", 0, 0xFFFFFFFF, bytes([7]) * 32) * 2, 40),
    ],
    ids=["gap", "overlap", "two", "cut", "rest", "type", "null", "empty", "empty-compressed", "4GiB"],
)
def test_headers_that_do_not_fit_their_pack_are_refused(header: bytes, blobs_size: int) -> None:
    with pytest.raises(FormatError):
        read_header(SUITE, forged(header, bytes(blobs_size)))


@pytest.mark.parametrize(
    "data",
    [b"", b"\0\0\0", struct.pack("<I", 0), bytes(80) + struct.pack("<I", 81), bytes(80) + struct.pack("<I", 1 << 31)],
    ids=["empty", "short", "zero", "larger-than-pack", "huge"],
)
def test_header_lengths_that_cannot_be_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        read_header(SUITE, data)


def test_a_blob_under_another_id_is_refused() -> None:
    with pytest.raises(IntegrityError, match="digest"):
        open_blob(SUITE, CODEC, SUITE.seal(b"swapped"), blob_id=sha(b"expected"), raw=0, size_max=100)


def test_a_blob_of_another_length_than_written_down_is_refused() -> None:
    sealed = SUITE.seal(CODEC.compress(b"a" * 50))
    with pytest.raises(IntegrityError, match="written down"):
        open_blob(SUITE, CODEC, sealed, blob_id=sha(b"a" * 50), raw=51, size_max=100)


def test_a_zstd_bomb_is_refused_before_it_unfolds() -> None:
    bomb = SUITE.seal(CODEC.compress(bytes(50 << 20)))
    with pytest.raises(LimitError):
        open_blob(SUITE, CODEC, bomb, blob_id=bytes([1]) * 32, raw=1000, size_max=DATA_BLOB_SIZE_MAX)
    with pytest.raises(LimitError):
        open_blob(SUITE, CODEC, bomb, blob_id=bytes([1]) * 32, raw=1 << 31, size_max=DATA_BLOB_SIZE_MAX)
