"""The restic suite: golden vectors, round trips, refusals, and nonces that are never used twice."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govsec.crypto.restic import OVERHEAD, MasterKey, ResticSuite
from govsec.errors import IntegrityError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "restic-crypto.json").read_text())
KEY = MasterKey(**{name: bytes.fromhex(value) for name, value in VECTORS["key"].items()})
#: Sizes around the switch from joined pieces to the reused buffer, and around a whole batch of blocks.
SIZES = (0, 1, 15, 16, 17, 1000, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, 10 << 20)


@pytest.mark.parametrize("vector", VECTORS["sealed"], ids=lambda vector: vector["plaintext"])
def test_published_ciphertexts_open(vector: dict[str, str]) -> None:
    assert ResticSuite(KEY).open(bytes.fromhex(vector["sealed"])) == vector["plaintext"].encode()


@pytest.mark.parametrize("vector", VECTORS["poly1305_aes"], ids=lambda vector: vector["tag"])
def test_tags_agree_with_the_paper(vector: dict[str, str]) -> None:
    key = MasterKey(bytes(range(32)), bytes.fromhex(vector["k"]), bytes.fromhex(vector["r"]))
    message, nonce, tag = (bytes.fromhex(vector[name]) for name in ("message", "nonce", "tag"))
    assert len(ResticSuite(key).open(nonce + message + tag)) == len(message)


@pytest.mark.parametrize("size", SIZES)
def test_what_was_sealed_opens(size: int) -> None:
    suite, plain = ResticSuite(MasterKey.generate()), os.urandom(size)
    sealed = suite.seal(memoryview(plain))
    assert len(sealed) == size + OVERHEAD
    assert suite.open(memoryview(sealed)) == plain
    assert size < 16 or plain not in sealed


@given(st.binary(max_size=300), st.data())
def test_a_flipped_bit_is_refused(plain: bytes, data: st.DataObject) -> None:
    suite = ResticSuite(KEY)
    sealed = bytearray(suite.seal(plain))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(IntegrityError):
        suite.open(sealed)


@given(st.binary(max_size=300), st.integers(1, 400))
def test_truncated_bytes_are_refused(plain: bytes, cut: int) -> None:
    suite = ResticSuite(KEY)
    with pytest.raises(IntegrityError):
        suite.open(suite.seal(plain)[:-cut])


def test_another_key_opens_nothing() -> None:
    with pytest.raises(IntegrityError):
        ResticSuite(MasterKey.generate()).open(ResticSuite(MasterKey.generate()).seal(b"secret"))


def test_a_zero_nonce_is_refused() -> None:
    suite = ResticSuite(KEY)
    with pytest.raises(IntegrityError, match="nonce"):
        suite.open(bytes(16) + suite.seal(b"x")[16:])


def test_nonces_do_not_repeat_beyond_a_batch() -> None:
    suite = ResticSuite(KEY)
    nonces = {suite.seal(b"")[:16] for _ in range(1000)}
    assert len(nonces) == 1000


def test_a_forked_child_shares_no_nonce_with_its_parent() -> None:
    suite = ResticSuite(KEY)
    suite.seal(b"")  # a batch is drawn now, and the child inherits the rest of it
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, b"".join(suite.seal(b"")[:16] for _ in range(100)))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        theirs = pipe.read()
    os.waitpid(child, 0)
    ours = {suite.seal(b"")[:16] for _ in range(255)}
    assert len(theirs) == 1600
    assert ours.isdisjoint(theirs[start : start + 16] for start in range(0, 1600, 16))


def test_a_clone_opens_what_the_original_sealed_and_draws_its_own_nonces() -> None:
    suite = ResticSuite(KEY)
    other = suite.clone()
    assert other.open(suite.seal(b"x")) == b"x"
    assert {suite.seal(b"")[:16] for _ in range(300)}.isdisjoint(other.seal(b"")[:16] for _ in range(300))


def test_a_key_is_not_shown_when_printed() -> None:
    assert KEY.encrypt.hex() not in repr(KEY) and str(KEY.encrypt) not in repr(KEY)


@pytest.mark.parametrize("part", ["encrypt", "mac_k", "mac_r"])
def test_an_all_zero_key_part_is_refused(part: str) -> None:
    parts = {"encrypt": KEY.encrypt, "mac_k": KEY.mac_k, "mac_r": KEY.mac_r}
    parts[part] = bytes(len(parts[part]))
    with pytest.raises(IntegrityError, match=part):
        MasterKey(**parts)
